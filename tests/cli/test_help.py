"""Help that fits a terminal and ends with examples; errors that name what was meant."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
from typer.main import get_command

from hubcli.cli import help_pages
from hubcli.cli.app import COMMANDS, GROUPS, app_of
from hubcli.cli.options import GLOBAL_OPTIONS, GLOBAL_PANEL
from tests import models
from tests.cases import pass_all
from tests.cli.command_batch import help_texts, run_many
from tests.cli.terminal import run_on_terminal
from tests.conftest import Run

EXAMPLES = [
    (str(command.name), line)
    for command in app_of().registered_commands
    for line in (command.epilog or "").replace("\\[", "[").splitlines()[1:]
]
# What needs no network, no TensorFlow and no file but those that the test makes.
RUNNABLE = [
    line.strip()
    for _, line in EXAMPLES
    if "https://" not in line
    and not re.search(r"train|keras|\./model |w\.h5|ckpt|locked|-r |--network", line)
    and not re.search(r"hubcli (search|versions|info|publish|push|tier)", line)
]


@pytest.mark.parametrize("columns", ["80", "120"])
def test_help_fits_the_terminal(columns: str) -> None:
    for result in help_texts(columns).values():
        assert result.status == 0
        assert max(map(len, result.stdout.splitlines())) <= int(columns)


def test_paragraphs_of_a_help_fill_their_lines() -> None:
    for result in [help_texts("80")[command] for command in COMMANDS]:
        lines = [line.strip() for line in result.stdout.split("╭─", 1)[0].splitlines()]
        for line, following in pairwise(lines):
            if line and following:
                assert len(line) + 1 + len(following.split()[0]) > 78, line


def test_each_help_ends_with_examples_to_copy() -> None:
    for command in COMMANDS:
        result = help_texts("80")[command]
        title, *lines, blank, last = [
            line.strip() for line in result.stdout.rsplit("╯", 1)[1].strip().splitlines()
        ]
        assert (title, blank) == ("Examples:", "")
        assert last == "Global options such as --json, --quiet and --cache-dir: hubcli --help"
        assert lines == [line.strip() for name, line in EXAMPLES if name == command]
        assert all(line.startswith(f"hubcli {command}") for line in lines)


def test_the_short_help_is_one_sentence_and_the_usual_options() -> None:
    short_pages = run_many([[command, "-h"] for command in COMMANDS])
    for command, short in zip(COMMANDS, short_pages, strict=True):
        long = help_texts("80")[command]
        assert len(short.stdout) < len(long.stdout)
        assert f"All options and examples: hubcli {command} --help" in short.stdout
        assert "Examples:\n" not in short.stdout
    short, long = short_pages[list(COMMANDS).index("fetch")], help_texts("80")["fetch"]
    assert "--max-members" in long.stdout
    assert "--max-members" not in short.stdout


def test_hubcli_lists_its_commands_in_groups() -> None:
    short, long = run_many([["-h"], ["--help"]], columns="100")
    for result in (short, long):
        places = [result.stdout.index(f"─ {group} ─") for group in GROUPS]
        assert places == sorted(places)
    assert ("─ Global options ─" in short.stdout, "─ Global options ─" in long.stdout) == (False, True)
    assert "Global options and examples: hubcli --help" in short.stdout


def test_the_summaries_of_the_groups_are_those_of_the_commands() -> None:
    summaries = {
        str(command.name): (command.help or "").split("\n\n")[0] for command in app_of().registered_commands
    }
    assert summaries == {name: summary for names in GROUPS.values() for name, summary in names.items()}


def test_global_options_stand_before_the_command_or_behind_it(cache: Path) -> None:
    before = ["--color=never", "--cache-dir", str(cache), "-q", "ls"]
    behind = ["ls", "--color=never", "--cache-dir", str(cache), "-q"]
    nothing, unknown, first, second = run_many([["--json"], ["--offline", "lss"], before, behind])
    assert (first.status, first.stdout) == (second.status, second.stdout) == (0, first.stdout)
    assert json.loads(nothing.stdout)["error"]["message"] == "Missing command"
    assert "No such command 'lss'. Did you mean 'ls'?" in unknown.stderr


def test_the_global_options_are_the_same_everywhere() -> None:
    for command in get_command(app_of()).commands.values():  # type: ignore[attr-defined]
        found = [
            name
            for parameter in command.params
            if getattr(parameter, "rich_help_panel", None) == GLOBAL_PANEL
            for name in parameter.opts
        ]
        assert sorted(found) == sorted(GLOBAL_OPTIONS)


def test_the_option_for_help_stands_once_and_with_the_options_of_the_command() -> None:
    for name, command in get_command(app_of()).commands.items():  # type: ignore[attr-defined]
        text = "\n".join(help_pages._lines(command, f"hubcli {name}"))
        section = text.partition("\nOptions:\n")[2].partition("\n\n")[0]
        assert (section.count("-h, --help"), text.count("-h, --help")) == (1, 1), text


def test_an_option_stands_with_its_value_and_a_flag_alone() -> None:
    command = get_command(app_of()).commands["gc"]  # type: ignore[attr-defined]
    lines = list(help_pages._lines(command, "hubcli gc"))
    for line in ("  --older-than TIME", "  --keep-versions N", "  --dry-run", "  -y, --yes"):
        assert line in lines


def test_no_default_of_an_option_hides_the_timeout_of_the_config_file() -> None:
    defaults = {
        name: parameter.default
        for name, command in get_command(app_of()).commands.items()  # type: ignore[attr-defined]
        for parameter in command.params
        if "--timeout" in parameter.opts and "without data" in parameter.help
    }
    assert {name for name, default in defaults.items() if default is not None} == {"doctor"}
    assert {"fetch", "inspect", "info", "search", "versions"} <= defaults.keys()


def test_help_on_a_terminal_has_colours_unless_they_are_unwanted() -> None:
    command = [sys.executable, "-m", "hubcli", "ls", "--help"]
    for variables, has_colours in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        status, screen = run_on_terminal(command, {**os.environ, **variables}, columns=80)
        assert status == 0
        assert bool(re.search("\x1b\\[[0-9;]*3[0-9]m", screen)) is has_colours
        bare = re.sub("\x1b\\[[0-9;]*m", "", screen)
        assert max(map(len, bare.splitlines())) <= 80


def test_help_under_a_c_locale_is_plain(hubcli: Run) -> None:
    result = hubcli("fetch", "--help", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert result.returncode == 0
    assert result.stdout.isascii()


def test_there_are_examples_that_run() -> None:
    assert len(RUNNABLE) > 12
    assert {line.split()[1] for line in RUNNABLE} >= {
        "fetch",
        "ls",
        "inspect",
        "verify",
        "export",
        "gc",
        "rm",
        "pin",
    }


def test_the_examples_run_as_they_are_written(
    hubcli: Run, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUBCLI_CACHE_DIR", str(cache))
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.tar.gz").write_bytes(models.archive())
    models.write_tree(tmp_path / "mul", models.example_files())
    lines = [["fetch", "example://mul/1"], *(shlex.split(line)[1:] for line in RUNNABLE)]
    # What removes comes last, and isn't asked for.
    lines.sort(key=lambda line: line[0] in ("rm", "gc"))
    runs = run_many([[*line, "-y"] if line[0] == "rm" else line for line in lines], with_runners=True)
    for line, result in zip(lines, runs, strict=True):
        # A pattern that fits nothing in this cache is no such model: 4. What --scan finds is 9.
        allowed = (0, 4) if any("*" in word for word in line) else (0, 9) if "--scan" in line else (0,)
        if line[0] == "run" and find_spec("tensorflow") is None:
            allowed = (7,)
        assert result.status in allowed, (line, result.stderr)


def test_every_example_is_a_command_line_that_can_be_parsed() -> None:
    commands = get_command(app_of()).commands  # type: ignore[attr-defined]

    def parse(command: str, line: str) -> None:
        program, name, *words = shlex.split(line)
        assert (program, name) == ("hubcli", command)
        assert not commands[name].make_context(name, words).args

    pass_all({line: partial(parse, command, line) for command, line in EXAMPLES})


# --- The near miss


NEAR = {
    "instpect": "inspect",
    "fetsh": "fetch",
    "finetune": "finetune-export",
    "list": "ls",
    "download": "fetch",
    "Delete": "rm",
    "--vrsion": "--version",
    "ls --offlin": "--offline",
    "fetch --conections 3 x": "--connections",
    "export a b --format tr": "tar",
    "export a b --layout servng": "serving",
    "finetune-export a b --method rewrit": "rewrite",
    "finetune-export a b --strategy mirored": "mirrored",
    "inspect x --fail-on hgh": "high",
    "ls --sort sise": "size",
    "ls --sort size:dsc": "size:desc",
    "ls --filter siz>1GB": "size",
    "ls --filter kind=TF3": "TF2",
    "ls --filter state=incomplet": "incomplete",
    "ls --filter pinned=ye": "yes",
    "ls --color alway": "always",
    # What other tools call it.
    "version": "--version",
    "env": "doctor",
    "cache ls": "ls",
    "cache": "ls",
    "cache dir": "ls --path",
    "cache rm x": "rm",
    "cache prune --all": "gc",
    "cache purge": "gc",
    "CACHE Delete x": "rm",
    "pull x": "fetch",
    "get x": "fetch",
    "show --all x": "inspect",
    "find x": "search",
    "readme x": "info",
    "tags x": "versions",
    "model_upload x": "publish",
    "delete x": "rm",
    "remove x": "rm",
    "clean": "gc",
    "prune": "gc",
    "scan --dir x": "inspect --scan",
    "convert x": "export",
    "diff a b": "inspect --diff",
    "du": "ls --size",
    "which x": "ls --path",
    "install x": "fetch",
    "model_download x": "fetch",
    "completion bash": "--show-completion",
    "scan-cache": "ls",
    "delete-cache": "rm",
    "update x": "fetch --refresh",
    "google/nnlm-en-dim50/2": "fetch",
    "https://tfhub.dev/google/nnlm-en-dim50/2": "fetch",
    "./model": "inspect",
    "help instpect": "inspect",
    "help download": "fetch",
    "fetch --force-download x": "--force",
    "fetch --max-workers 3 x": "--jobs",
    "fetch --cache_dir x y": "--cache-dir",
    "ls --verbose": "--debug",
    "inspect x --tag_set serve": "--tag-set",
    "-v": "--version",
}


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
def test_a_near_miss_is_named_in_text_and_in_json(step: int) -> None:
    near = dict(list(NEAR.items())[::step])
    lines = [line.split() for line in near]
    plain = run_many(lines)
    for name, result in zip(near.values(), plain, strict=True):
        assert result.status == 2
        assert f"Did you mean '{name}'?\n" in result.stderr
    # One of each way that they are found in.
    some = slice(None, None, 6)
    as_json = run_many([[*line, "--json"] for line in lines[some]])
    for name, document in zip(list(near.values())[some], as_json, strict=True):
        assert document.status == 2
        error = json.loads(document.stdout)["error"]
        assert error["message"].endswith(f"Did you mean '{name}'?")
        assert error["hint"]


def test_an_option_in_the_wrong_place_is_told_where_it_stands() -> None:
    places = {
        "--scan": "hubcli inspect --scan",
        "fetch --scan x": "hubcli inspect --scan",
        "ls --install-completion": "hubcli --install-completion",
    }
    for place, result in zip(places.values(), run_many([line.split() for line in places]), strict=True):
        assert result.status == 2
        assert f"Hint: Use it with: {place}\n" in result.stderr


def test_what_is_near_to_nothing_gets_no_suggestion() -> None:
    lines = ["xyzzy", "ls --xyzzy", "ls --sort xyzzy", "export a b --format q", "ls --filter state=xyzzy"]
    for result in run_many([line.split() for line in lines]):
        assert result.status == 2
        assert "Did you mean" not in result.stderr
