"""Colours and progress: when they are shown, by option, variable and config file; help and errors too."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests import models
from tests.cli.terminal import run_on_terminal
from tests.entries import hubcli_entry
from tests.forkserver import run_python
from tests.server import HubServer

ESCAPE = "\x1b["


@pytest.fixture
def filled(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    hubcli_entry(cache, "https://tfhub.dev/google/elmo/3", shard_bytes=100)
    monkeypatch.setenv("HUBCLI_CACHE_DIR", str(cache))
    return cache


def in_a_pipe(arguments: Sequence[str], variables: Mapping[str, str]) -> tuple[str, str]:
    result = run_python(["-m", "hubcli", *arguments], env={**os.environ, **variables})
    return result.stdout, result.stderr


@pytest.mark.parametrize(
    ("arguments", "variables", "is_colored"),
    [
        (["ls"], {}, False),
        (["ls", "--color", "always"], {"NO_COLOR": "1"}, True),
        (["ls", "--color=always"], {}, True),
        (["ls"], {"FORCE_COLOR": "1"}, True),
        (["ls"], {"CLICOLOR_FORCE": "1", "TERM": "dumb"}, True),
        (["ls"], {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (["ls", "--no-color"], {"FORCE_COLOR": "1"}, False),
        (["ls", "--json"], {"FORCE_COLOR": "1"}, False),
        (["ls", "-q"], {"FORCE_COLOR": "1"}, False),
        (["ls", "--help"], {}, False),
        (["ls", "--help"], {"GITHUB_ACTIONS": "true"}, False),
        (["ls", "--help"], {"FORCE_COLOR": "1"}, True),
        (["ls", "--help", "--color", "always"], {}, True),
        (["help", "ls", "--color", "never"], {"FORCE_COLOR": "1"}, False),
        (["lss"], {"CLICOLOR_FORCE": "1"}, True),
        (["lss", "--color", "always"], {}, True),
        (["lss", "--json"], {"CLICOLOR_FORCE": "1"}, False),
        (["ls", "--sort", "x", "--color=always"], {}, True),
    ],
)
def test_in_a_pipe(arguments: list[str], variables: dict[str, str], is_colored: bool, filled: Path) -> None:
    stdout, stderr = in_a_pipe(arguments, variables)
    assert (ESCAPE in stdout + stderr) is is_colored


def test_coloured_for_a_pipe_lines_are_as_long_as_plain_ones(filled: Path) -> None:
    plain, _ = in_a_pipe(["ls"], {"COLUMNS": "40"})
    colored, _ = in_a_pipe(["ls", "--color", "always"], {"COLUMNS": "40"})
    assert re.search("\x1b\\[32mok *\x1b\\[0m", colored)
    bare = re.sub("\x1b\\[[0-9;]*m", "", colored)
    assert [line.rstrip() for line in bare.splitlines()] == plain.splitlines()


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["--color", "never"], {}),
        (["--no-color"], {}),
        ([], {"NO_COLOR": "1"}),
        ([], {"CLICOLOR": "0"}),
        ([], {"TERM": "dumb"}),
        (["--color=never"], {"FORCE_COLOR": "1"}),
    ],
)
def test_on_a_terminal_nothing_but_text_is_left(
    arguments: list[str], variables: dict[str, str], filled: Path
) -> None:
    for line in (["ls"], ["ls", "--help"], ["ls", "--sort", "x"]):
        command = [sys.executable, "-m", "hubcli", *line, *arguments]
        _, screen = run_on_terminal(command, {**os.environ, **variables}, columns=80)
        assert "\x1b" not in screen
        assert screen.strip()


def test_the_config_file_is_obeyed_by_commands_help_and_errors(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    config.write_text('color = "always"\n')
    monkeypatch.setenv("HUBCLI_CONFIG", str(config))
    for line in (["ls"], ["ls", "--help"], ["lss"], ["doctor"]):
        assert ESCAPE in "".join(in_a_pipe(line, {}))
        assert ESCAPE not in "".join(in_a_pipe(line, {"NO_COLOR": "1"}))
    config.write_text('color = "allways"\n')
    assert "color is 'allways'" in in_a_pipe(["ls"], {})[1]


@pytest.mark.parametrize(
    ("arguments", "variables"), [(["--no-progress"], {}), ([], {"HUBCLI_NO_PROGRESS": "1"})]
)
def test_without_progress_a_terminal_shows_no_bar(
    arguments: list[str], variables: dict[str, str], server: HubServer, cache: Path
) -> None:
    url = server.serve("/m/1", models.archive(assets__large=os.urandom(300_000)))
    command = [sys.executable, "-m", "hubcli", "fetch", url, "--cache-dir", str(cache)]
    status, screen = run_on_terminal([*command, *arguments], {**os.environ, **variables}, columns=80)
    assert status == 0
    assert "━" not in screen
    assert "\x1b[2K" not in screen
    assert f"Fetched {url}" in screen
    _, with_bars = run_on_terminal([*command, "--force"], os.environ, columns=80)
    assert "━" in with_bars
