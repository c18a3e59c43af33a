"""Every command, option and word of the application is in every script, and drift is told."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
import typer

from hubcli.cli.app import app_of
from hubcli.cli.options import CompletionHint, CompletionWords
from tests.cases import each_of
from tests.cli.shells import (
    COMPLETIONS,
    KILL_LINE,
    TAB,
    bash_offers,
    fish_offers,
    shell_at_work,
)
from tests.forkserver import run_python
from tools.command_line import CommandLine, read_command_line
from tools.completion_bash import bash_script
from tools.completion_fish import fish_script
from tools.completion_powershell import powershell_script
from tools.completion_zsh import zsh_script

ROOT = COMPLETIONS.parent
LINE = read_command_line(app_of())
NAMES = [command.name for command in LINE.commands]


def enumerations() -> Iterator[tuple[str, tuple[str, ...]]]:
    """A line that wants a value, and the words that are possible there."""
    for command in (LINE.root, *LINE.commands):
        for option in command.options:
            if option.offered.words:
                yield (
                    " ".join(filter(None, ("hubcli", command.name, option.names[0], ""))) + " ",
                    option.offered.words,
                )


def long_names() -> Iterator[tuple[str, set[str]]]:
    for command in (LINE.root, *LINE.commands):
        names = {name for option in command.options for name in option.names if name.startswith("--")}
        yield f"hubcli {command.name}".rstrip() + " --", names


def test_the_application_has_words_to_offer() -> None:
    words = dict(enumerations())
    assert words["hubcli export --format "] == ("dir", "tar", "tar.gz", "tflite", "onnx")
    assert words["hubcli export --layout "] == ("plain", "serving", "hub")
    assert words["hubcli finetune-export --method "] == ("auto", "resave", "rewrite")
    assert words["hubcli finetune-export --strategy "] == ("mirrored", "multiworker")
    assert words["hubcli inspect --fail-on "] == ("info", "low", "medium", "high", "critical")
    assert {"name", "size:asc", "used:desc"} <= set(words["hubcli ls --sort "])
    assert {"size>", "kind=TF2", "state=incomplete", "pinned=yes"} <= set(words["hubcli ls --filter "])


@pytest.mark.parametrize("option", ["-f", "--check"])
def test_what_any_parameter_offers_comes_from_its_metavar_or_its_annotation(option: str) -> None:
    other = typer.Typer()

    @other.callback()
    def root() -> None:
        """Do nothing."""

    @other.command("doctor")
    def doctor(
        target: str = typer.Argument(metavar="TARGET"),
        host: str = typer.Option(option, metavar="HOST"),
        file: str = typer.Option("x", metavar="FILE|-"),
        word: Annotated[str, typer.Option(), CompletionWords(lambda: ["a"])] = "a",
    ) -> None:
        """Tell what is wrong."""

    (command,) = read_command_line(other).commands
    assert command.arguments[0].offered == CompletionHint(handles=True, files=True)
    assert [option.offered for option in command.options] == [
        CompletionHint(),
        CompletionHint(files=True, words=("-",)),
        CompletionHint(words=("a",)),
        CompletionHint(),
    ]


def test_bash_offers_every_command_option_and_word(tmp_path: Path) -> None:
    options, words = dict(long_names()), dict(enumerations())
    lines = ["hubcli ", *options, *words]
    offered = dict(zip(lines, bash_offers(lines, tmp_path / "none", tmp_path), strict=True))
    assert set(offered["hubcli "]) == set(NAMES)
    for line, names in options.items():
        assert set(offered[line]) == names
    for line, expected in words.items():
        assert set(expected) <= {shlex.split(word)[0] for word in offered[line]}, line


def test_fish_offers_every_command_option_and_word(tmp_path: Path) -> None:
    options, words = dict(long_names()), dict(enumerations())
    lines = ["hubcli ", *options, *words]
    offered = dict(zip(lines, fish_offers(lines, tmp_path / "none", tmp_path), strict=True))
    summaries = {command.name: command.summary for command in LINE.commands}
    assert dict(offered["hubcli "]) == summaries
    for line, names in options.items():
        assert {word.rstrip("=") for word, _ in offered[line]} == names
        assert all(text for _, text in offered[line])
    for line, expected in words.items():
        assert set(expected) <= {word for word, _ in offered[line]}, line


@pytest.mark.slow
def test_zsh_offers_every_command_option_and_word(tmp_path: Path) -> None:
    with shell_at_work("zsh", tmp_path, tmp_path / "none") as running:
        running.type(f"hubcli {TAB}")
        running.wait_for(*NAMES)
        for line, names in long_names():
            running.type(f"{KILL_LINE}{line}{TAB}")
            running.wait_for(*names)
        for line, words in enumerations():
            # The first TAB may put in what they have in common.
            running.type(f"{KILL_LINE}{line}{TAB}{TAB}")
            running.wait_for(*(re.sub("([<> ])", r"\\\1", word) for word in words))


def test_an_option_that_is_on_the_line_is_not_offered_again_unless_it_may_be(tmp_path: Path) -> None:
    lines = [
        "hubcli ls --json --j",
        "hubcli ls --filter x --filt",
        "hubcli ls -- --j",
        "hubcli ls --sort=size --so",
    ]
    offered = bash_offers(lines, tmp_path / "none", tmp_path)
    assert offered == [[], ["--filter"], [], []]


@each_of("make", [bash_script, zsh_script, fish_script, powershell_script])
def test_a_command_that_is_added_is_in_each_script(make: object) -> None:
    assert callable(make)
    first = LINE.commands[0]
    added = type(first)("doctor", ("Tell what it's [about].",), (), first.options, ())
    text = make(CommandLine("hubcli", "1", LINE.root, (*LINE.commands, added)))
    assert "doctor" in text
    assert text.count("doctor") > 1


@pytest.mark.parametrize("program", ["make_completions", "make_man"])
def test_what_is_generated_is_what_the_application_says(program: str) -> None:
    result = run_python(["-m", f"tools.{program}", "--check"], cwd=ROOT)
    assert result.returncode == 0, result.stderr + f"Run: python -m tools.{program}"


def test_a_drift_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tools.generated import write_or_check

    stale = tmp_path / "x"
    assert write_or_check({stale: "new"}, ["--check"], "") == 1
    assert f"{stale} isn't" in capsys.readouterr().err
    assert write_or_check({stale: "new"}, [], "") == 0
    assert write_or_check({stale: "new"}, ["--check"], "") == 0


def test_powershell_can_parse_its_script() -> None:
    """By a grammar of the language: no PowerShell is to be had where this is tested."""
    grammar = pytest.importorskip("tree_sitter_powershell")
    tree_sitter = pytest.importorskip("tree_sitter")
    parser = tree_sitter.Parser(tree_sitter.Language(grammar.language()))
    script = (COMPLETIONS / "hubcli.ps1").read_bytes()
    assert not parser.parse(script).root_node.has_error
    # The grammar does refuse what is broken.
    assert parser.parse(script.replace(b"foreach (", b"foreach ((", 1)).root_node.has_error


def test_powershell_is_told_every_option_and_word() -> None:
    script = (COMPLETIONS / "hubcli.ps1").read_text()
    for command in (LINE.root, *LINE.commands):
        block = script.split(f"        '{command.name}' = @(\n", 1)[1].split("\n        )\n", 1)[0]
        for option in command.options:
            for name in option.names:
                assert f"@('{name}', " in block
            for word in option.offered.words:
                assert f"'{word}'" in script
