"""A terminal of 40 columns: tables, help and errors can be read, and nothing of them is cut off."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

from hubcli.cli.app import COMMANDS, app_of
from hubcli.cli.options import GLOBAL_PANEL
from hubcli.cli.tables import Style
from tests.cases import each_of
from tests.cli.command_batch import run_many
from tests.cli.terminal import run_on_terminal
from tests.entries import gut_entry, hubcli_entry
from tools.command_line import read_command_line

LONG = "https://tfhub.dev/google/universal-sentence-encoder-multilingual/3"
ELMO = "https://tfhub.dev/google/elmo/3"


def _bare(text: str) -> str:
    """The text without the spaces and line ends that a narrow terminal puts anywhere."""
    return re.sub(r"\s", "", text)


@each_of("columns", [30, 40, 59])
def test_help_fits_and_tells_every_option_in_full(columns: int) -> None:
    line = read_command_line(app_of())
    lines = [["--help"], *([command, "--help"] for command in COMMANDS), ["help", "ls"]]
    for words, result in zip(lines, run_many(lines, columns=str(columns)), strict=True):
        assert result.status == 0
        assert max(map(len, result.stdout.splitlines())) <= columns
        text = _bare(result.stdout)
        name = words[0] if words[0] in COMMANDS else "ls" if words[0] == "help" else ""
        (command,) = [known for known in (line.root, *line.commands) if known.name == name]
        shared = [option for option in line.root.options if option.panel == GLOBAL_PANEL]
        for option in [option for option in command.options if not name or option not in shared]:
            assert all(name in text for name in option.names)
            assert _bare(option.help.rstrip(".")) in text
            assert _bare(f"{option.names[0]} {option.metavar or ''}") in text
        for example in command.examples:
            assert _bare(example) in text
        assert "Layout." not in text  # A default is spelled as it is typed.
        if not name:
            assert all(f"\n  {name}\n" in result.stdout for name in COMMANDS)


def test_no_arguments_and_a_typing_error_are_told_there_too() -> None:
    bare, unknown, wrong = run_many([[], ["lss", "--help"], ["ls", "--limt", "3"]], columns="40")
    assert (bare.status, "Usage: hubcli" in bare.stdout) == (2, True)
    assert (unknown.status, "Did you mean 'ls'?" in unknown.stderr) == (2, True)
    assert (wrong.status, "Did you mean '--limit'?" in wrong.stderr) == (2, True)


def test_findings_of_a_publication_are_folded_between_words(cache: Path) -> None:
    for options in ("--check", "--dry-run"):
        command = [sys.executable, "-m", "hubcli", "publish", "example://mul/1", "./www/demo/mul/1", options]
        _, screen = run_on_terminal(command, os.environ, columns=40)
        assert re.search(r" *hint: The model has no README.md and( no)?\n +(no )?model card", screen), screen
        # In two lines, the second alone would empty the file.
        assert "hubcli publish --card example://mul/1 > README.md" in screen


def test_tables_become_lines_of_their_own(cache: Path) -> None:
    hubcli_entry(cache, LONG, shard_bytes=1_000_000, fetched_at_s=time.time() - 40 * 86400)
    hubcli_entry(cache, ELMO, pinned=True)
    gut_entry(hubcli_entry(cache, "https://tfhub.dev/google/gutted/1"))
    dry_run = ["fetch", "--dry-run", "--no-progress", LONG, ELMO]
    for line in (["ls"], ["gc", "--older-than", "1d", "--dry-run"], dry_run):
        command = [sys.executable, "-m", "hubcli", *line, "--cache-dir", str(cache)]
        _, screen = run_on_terminal(command, os.environ, columns=40)
        bare = re.sub("\x1b\\[[0-9;]*m", "", screen)
        assert max(map(len, bare.splitlines())) <= 40, bare
        assert LONG in _bare(bare)
        assert f"{ELMO}\n" in bare or line[0] == "gc"
        if line[0] == "ls":
            assert "  1.0 MB  TF2  used 40d ago  ok\n" in bare
            assert "\x1b[31mincomplete\x1b[0m" in screen


@each_of(
    "hint, lines",
    [
        ("Run: hubcli fetch --force HANDLE", ["  Run:", "  hubcli fetch --force HANDLE"]),
        (
            "Remove it first: rm -r '/var/cache/of models/'",
            ["  Remove it first:", "  rm -r '/var/cache/of models/'"],
        ),
        (
            "Reform it, or run: pip install 'onnx>=1.20', and try again.",
            ["  Reform it, or run:", "  pip install 'onnx>=1.20', and", "  try again."],
        ),
    ],
)
def test_a_hint_is_broken_between_its_words_but_not_within_a_command(hint: str, lines: list[str]) -> None:
    assert Style(32, False, False).hang_hint("  ", hint) == lines
    assert Style(None, False, False).hang_hint("  ", hint) == [f"  {hint}"]


def test_the_hint_of_an_error_is_one_line_which_the_terminal_breaks_and_copies_as_one(tmp_path: Path) -> None:
    tier = str(tmp_path / "no such tier")
    command = [sys.executable, "-m", "hubcli", "tier", "ls", "--tier", tier]
    _, screen = run_on_terminal(command, os.environ, columns=40)
    assert f"hubcli push HANDLE --tier '{tier}'" in screen
    (unknown,) = run_many([["ls", "--limt", "3"]], columns="40")
    assert "Hint: See: hubcli ls --help" in unknown.stderr
