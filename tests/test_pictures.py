"""The pictures of the documentation come from real runs."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

from tests import models
from tools import make_pictures


@pytest.mark.slow
def test_the_script_makes_every_picture_that_is_shown(tmp_path: Path) -> None:
    model = models.write_tree(tmp_path / "model", models.example_files())
    make_pictures.main(["--model", str(model), "--to", str(tmp_path / "pictures")])
    pictures = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert pictures == {path.name for path in make_pictures.PICTURES.iterdir()}
    overview = words(tmp_path / "pictures" / "overview.svg")
    assert f"Fetched {make_pictures.HANDLE}" in overview
    assert "━" not in overview  # The bars were gone when it was taken.
    assert "Error" not in overview


def words(picture: Path) -> str:
    """What a reader of the picture reads."""
    spans = re.findall(r"<text [^>]*>([^<]*)</text>", picture.read_text(encoding="utf-8"))
    return unescape(" ".join(spans)).replace("\xa0", " ")
