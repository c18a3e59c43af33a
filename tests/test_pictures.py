"""The pictures of the documentation come from real runs."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from html import unescape
from pathlib import Path

import pytest

from tests import models
from tools import make_pictures, make_session


@pytest.mark.slow
def test_the_script_makes_every_picture_that_is_shown(tmp_path: Path) -> None:
    model = models.write_tree(tmp_path / "model", models.example_files())
    make_pictures.main(["--model", str(model), "--to", str(tmp_path / "pictures")])
    pictures = {path.name for path in (tmp_path / "pictures").iterdir()}
    published = {path.name for path in make_pictures.PICTURES.glob("*.svg")}
    # Of tools/make_session.py and benchmarks/plots.py.
    assert pictures == published - {"session.svg", "costs.svg"}
    overview = words(tmp_path / "pictures" / "overview.svg")
    assert f"Fetched {make_pictures.HANDLE}" in overview
    assert "━" not in overview  # The bars were gone when it was taken.
    assert "Error" not in overview


def test_no_published_picture_shows_a_failure() -> None:
    for name in ("overview", "inspect", "gc", "doctor"):
        text = words(make_pictures.PICTURES / f"{name}.svg")
        assert not re.search(r"Error|Cannot reach|Not in the cache", text), name
    assert f"Fetched {make_pictures.HANDLE}" in words(make_pictures.PICTURES / "overview.svg")


# What a terminal got: a bar that is drawn twice in its line, and what is left of it.
EVENTS = [
    (0.0, "$ hubcli fetch X\n"),
    (1.0, "10%"),
    (1.05, "\r\x1b[2K20%"),
    (2.0, "\r\x1b[2K\x1b[1;31mError\x1b[0m: Interrupted & gone\n"),
]


def test_the_frames_of_a_session_are_what_the_screen_showed() -> None:
    frames = make_session.frames_of(EVENTS)
    assert [seconds for seconds, _ in frames] == [0.0, 1.0, 2.0]
    assert [lines[-1] for _, lines in frames[:2]] == ["$ hubcli fetch X", "20%"]
    assert "Interrupted" in frames[-1][1][-1]


def test_the_animation_of_a_session_shows_each_frame_in_its_turn_and_runs_no_script() -> None:
    picture = make_session.svg_of_frames(make_session.frames_of(EVENTS))
    root = ElementTree.fromstring(picture)
    frames = root.findall(".//{http://www.w3.org/2000/svg}g[@class]")
    assert [frame.get("class") for frame in frames] == ["frame", "frame", "frame last"]
    assert picture.count("@keyframes") == 3
    assert "Interrupted\xa0&amp;\xa0gone" in picture
    assert "script" not in picture
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")


def test_the_recorded_session_shows_what_it_is_for_and_no_path_of_a_machine() -> None:
    cast = (make_pictures.PICTURES / "session.cast").read_text(encoding="utf-8")
    head, *rows = map(json.loads, cast.splitlines())
    assert (head["version"], head["width"]) == (2, make_session.COLUMNS)
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    text = "".join(row[2] for row in rows)
    for command in make_session.SESSION:
        assert command.line in text
    for part in ("MB/s", "Interrupted", "resume", "Functions", "Epoch 3/3", "Exported", "reusable"):
        assert part in text
    assert not re.search(r"(?<![\w.:/~])/(?!\w+\x1b)[a-z]+/", re.sub(r"https?://\S+", "", text))


def words(picture: Path) -> str:
    """What a reader of the picture reads."""
    spans = re.findall(r"<text [^>]*>([^<]*)</text>", picture.read_text(encoding="utf-8"))
    return unescape(" ".join(spans)).replace("\xa0", " ")
