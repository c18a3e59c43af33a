"""The generated parts of a command's page in the documentation: how it is called, and its options."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from hubcli.cli.options import GLOBAL_PANEL
from tools.command_line import Argument, Command, CommandLine, Option, read_command_line

__all__ = ["options", "usage"]

_VARIABLES = re.compile(r" ?\[env: ([A-Z0-9_=, ]+)\]")
_DEFAULT = re.compile(r" ?\[default: ([^\]]+)\]")
_FIRST_OPTIONS = "Options"


def usage(name: str) -> str:
    """The line that calls the command, what it does, and its examples."""
    command = _command(name)
    words = ["hubcli", command.name, "[OPTIONS]", *map(_placeholder, command.arguments)]
    blocks = [f"```text\n{' '.join(words)}\n```", *command.paragraphs]
    if command.arguments:
        rows = [(f"`{_placeholder(argument)}`", _cell(argument.help)) for argument in command.arguments]
        blocks.append(_table(("argument", "meaning"), rows))
    if command.examples:
        blocks.append("```console\n" + "\n".join(f"$ {line}" for line in command.examples) + "\n```")
    return "\n" + "\n\n".join(blocks) + "\n"


def options(name: str) -> str:
    """The options of the command by their panels; those of every command are on another page."""
    panels: dict[str, list[Option]] = {_FIRST_OPTIONS: []}
    for option in _command(name).options:
        if option.panel != GLOBAL_PANEL and option.names[0] != "--help":
            panels.setdefault(option.panel or _FIRST_OPTIONS, []).append(option)
    blocks = []
    for panel, group in panels.items():
        if not group:
            continue
        table = _table(("option", "meaning", "default", "variable"), [_row(option) for option in group])
        blocks.append(table if panel == _FIRST_OPTIONS else f"### {panel}\n\n{table}")
    blocks.append(
        "[Global options](../common-options.md): `--json`, `--quiet`, `--offline`, `--cache-dir` and more."
    )
    return "\n" + "\n\n".join(blocks) + "\n"


@cache
def _line() -> CommandLine:
    from hubcli.cli.app import app_of

    return read_command_line(app_of())


def _command(name: str) -> Command:
    return next(command for command in _line().commands if command.name == name)


def _placeholder(argument: Argument) -> str:
    word = argument.metavar.strip("[]").removesuffix("...") + ("..." if argument.repeatable else "")
    return word if argument.required else f"[{word}]"


def _row(option: Option) -> tuple[str, str, str, str]:
    names = ", ".join(f"`{name}{' ' + option.metavar if option.metavar else ''}`" for name in option.names)
    variables = ", ".join(
        f"`{name}`" for found in _VARIABLES.findall(option.help) for name in found.split(", ")
    )
    default = ", ".join(_DEFAULT.findall(option.help)) or option.default
    text = _DEFAULT.sub("", _VARIABLES.sub("", option.help)).strip()
    return _cell(names), _cell(text), _cell(default), variables


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table without the columns that are empty in every row."""
    columns = [number for number in range(len(head)) if any(row[number] for row in rows)]
    lines = [f"| {' | '.join(row[number] for number in columns)} |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(columns), *lines[1:]])
