"""What `search`, `versions` and `info` print on a terminal, in a pipe and as JSON; no host commands it."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hubcli.cli.info import rendered
from hubcli.cli.tables import Style
from hubcli.units import to_iso_utc
from tests.cli.terminal import run_on_terminal
from tests.fake_kaggle import FakeKaggle
from tests.forkserver import run_python
from tests.golden import compare_golden

NAME = "google/nnlm/tensorFlow2/en-dim128"
TEXT = """\
# Overview

A **token based** text embedding, see [the paper](https://paper.example).

- 128 dimensions
- English

```python
embed = hub.load("nnlm")
```

| size | loss |
|---|---|
| 1 | 2 |
"""
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x1b[31m\x9b31m\r\u202etxet\u2066 [bold]markup[/bold] <script>"

CASES = {
    "search": ["search"],
    "search-nothing": ["search", "nothing at all"],
    "search-quiet": ["search", "-q", "--sort", "name"],
    "versions": ["versions", NAME, "--limit", "2"],
    "versions-quiet": ["versions", "-q", NAME],
    "info": ["info", NAME],
    "info-denied": ["info", "google/absent/tensorFlow2/base"],
}


@pytest.fixture
def kaggle() -> Iterator[FakeKaggle]:
    fake = FakeKaggle()
    now = to_iso_utc(time.time() - 3 * 86400 - 3600)
    facts = {"title": "NNLM", "subtitle": "Token based text embedding", "votes": 12, "update_time": now}
    versions = [{"saved_model.pb": b"x" * size} for size in (1000, 480_000, 490_000)]
    fake.add(
        NAME, *versions, model={**facts, "description": TEXT},
        usage="`hub.load(handle)`", training_data=["Google News"], overrides={"downloadCount": 34_000},
    )  # fmt: skip
    fake.add("google/nnlm/tensorFlow1/en-dim50", {"saved_model.pb": b"x" * 200})
    fake.add("me/a-model-with-a-long-name/tensorFlow2/and-a-long-variation-too", *versions[:1])
    for model in fake.models.values():
        model.update_time = now
    with fake.running():
        yield fake


def command_line(name: str, cache: Path, *more: str) -> list[str]:
    return ["-m", "hubcli", *CASES[name], *more, "--cache-dir", str(cache)]


def variables(kaggle: FakeKaggle) -> dict[str, str]:
    return {**os.environ, "HUBCLI_KAGGLE_ENDPOINT": kaggle.url}


def masked(text: str, kaggle: FakeKaggle) -> str:
    text = re.sub(r'"\d{4}-\d\d-\d\dT[\d:.]+Z"', '"TIME"', text.replace(kaggle.url, "KAGGLE"))
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text).replace("\x1b", "␛")


@pytest.mark.parametrize("name", CASES)
def test_in_a_pipe(name: str, kaggle: FakeKaggle, cache: Path) -> None:
    result = run_python(command_line(name, cache), env=variables(kaggle))
    transcript = f"exit {result.returncode}\n--- stdout\n{result.stdout}--- stderr\n{result.stderr}"
    compare_golden(f"{name}.pipe.txt", masked(transcript, kaggle))


@pytest.mark.parametrize("name", ["search", "versions", "info"])
def test_as_json(name: str, kaggle: FakeKaggle, cache: Path) -> None:
    result = run_python(command_line(name, cache, "--json"), env=variables(kaggle))
    compare_golden(f"{name}.json", masked(result.stdout, kaggle))


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("search", 80),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (("search", 40), ("search", 120))),
        pytest.param("versions", 80, marks=pytest.mark.slow),
    ],
)
def test_on_a_terminal(name: str, columns: int, kaggle: FakeKaggle, cache: Path) -> None:
    command = [sys.executable, *command_line(name, cache)]
    status, screen = run_on_terminal(command, variables(kaggle), columns=columns)
    compare_golden(f"{name}.terminal-{columns}.txt", masked(f"exit {status}\n{screen}", kaggle))


def test_markdown_is_rendered_on_a_terminal_and_left_as_it_is_in_a_pipe(
    kaggle: FakeKaggle, cache: Path
) -> None:
    command = [sys.executable, *command_line("info", cache)]
    _, screen = run_on_terminal(command, variables(kaggle), columns=80)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", screen).replace("\r", "")
    assert "\x1b[1mtoken based\x1b[0m" in screen
    assert "see the paper (https://paper.example)." in plain
    assert "**" not in plain
    assert "```" not in plain
    assert 'embed = hub.load("nnlm")' in plain
    assert max(map(len, plain.splitlines())) <= 80


def test_offline_the_last_answers_are_shown_and_said_to_be_old(kaggle: FakeKaggle, cache: Path) -> None:
    online = run_python(command_line("search", cache), env=variables(kaggle))
    offline = run_python(command_line("search", cache, "--offline"), env=variables(kaggle))
    assert (offline.returncode, offline.stdout) == (0, online.stdout)
    assert re.search(r"Note: Offline: showing an answer from \d{4}-\d\d-\d\dT", offline.stderr)
    result = run_python(["-m", "hubcli", "search", "x", "--offline"], env=variables(kaggle))
    assert result.returncode == 5
    assert "No cached answer" in result.stderr
    count = len(kaggle.requests)
    run_python(command_line("search", cache, "--refresh"), env=variables(kaggle))
    assert len(kaggle.requests) > count


def test_handles_go_on_to_fetch(kaggle: FakeKaggle, cache: Path) -> None:
    from tests import models

    kaggle.add("maker/mul/tensorFlow2/small", models.example_files())
    found = run_python(["-m", "hubcli", "search", "-q", "mul"], env=variables(kaggle))
    assert found.stdout == "https://www.kaggle.com/models/maker/mul/tensorFlow2/small/1\n"
    fetched = run_python(
        ["-m", "hubcli", "fetch", "-q", "-r", "-", "--cache-dir", str(cache)],
        env=variables(kaggle),
        given=found.stdout,
    )
    assert fetched.returncode == 0
    assert (Path(fetched.stdout.strip()) / "saved_model.pb").is_file()


def test_a_host_of_ones_own_is_listed_by_handles_that_fetch_takes(cache: Path, tmp_path: Path) -> None:
    def run(*words: str) -> str:
        result = run_python(["-m", "hubcli", *words, "--cache-dir", str(cache)])
        assert result.returncode == 0, result.stderr
        return result.stdout

    host = tmp_path / "www"
    run("publish", "example://mul/1", f"{host}/maker/mul/1", "--yes")
    handle = run("search", "mul", "--host", str(host)).splitlines()[1].split()[0]
    assert handle == f"{host}/maker/mul/1"
    run("fetch", handle)


def test_no_text_of_a_host_commands_the_terminal(cache: Path) -> None:
    fake = FakeKaggle()
    facts = {"title": HOSTILE, "subtitle": HOSTILE, "description": f"{HOSTILE}\n\n# {HOSTILE}\n\n> {HOSTILE}"}
    fake.add(
        NAME, {HOSTILE: b"x"}, model=facts, usage=f"```\n{HOSTILE}\n```", overview=f"[{HOSTILE}]({HOSTILE})",
        license_name=HOSTILE, training_data=[HOSTILE], overrides={"externalBaseModelUrl": HOSTILE},
    )  # fmt: skip
    with fake.running():
        runs = [["search"], ["search", "-q"], ["versions", NAME], ["info", NAME], ["info", NAME, "--json"]]
        commands = [["-m", "hubcli", *words, "--cache-dir", str(cache)] for words in runs]
        screens = [run_python(command, env=variables(fake)).stdout for command in commands]
        screens += [
            run_on_terminal([sys.executable, *command], variables(fake), columns=60)[1]
            for command in (commands[0], commands[3])
        ]
    for screen in screens:
        plain = re.sub(r"\x1b\[[0-9;]*m", "", screen)  # Colours of our own.
        assert "\x1b" not in plain
        assert not re.search("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", plain)
        assert "\r" not in plain.replace("\r\n", "\n")


def test_no_reference_in_markdown_becomes_a_character_that_reorders_a_line() -> None:
    text = "mul&#x202e;1.0&rlm;&#x2066;\n\n| a&#x202e; | b |\n|-|-|\n| c&zwj; | &#27;[2J &#x9b;2J &#x85; |\n"
    for has_color in (False, True):
        screen = rendered(text, Style(80, is_styled=True, has_color=has_color))
        plain = re.sub(r"\x1b\[[0-9;]*m", "", screen)
        assert plain.replace("\n", "").isprintable(), ascii(plain)
        assert "mul1.0" in plain
