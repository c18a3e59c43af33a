"""Writes man/hubcli.1 anew from the Typer application.

Run it from the top of the repository: `python -m tools.make_man`. With `--check` it writes
nothing, and fails where the file isn't what it would write.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from hubcli.cli.app import app_of
from hubcli.diagnosing.settings import VARIABLES
from hubcli.errors import ExitStatus
from tools.command_line import Argument, Command, CommandLine, Option, read_command_line
from tools.generated import write_or_check
from tools.man_texts import DESCRIPTION, FILES, SEE_ALSO

__all__ = ["man_page"]

_FILE = Path(__file__).parent.parent / "man" / "hubcli.1"
_CODE = re.compile(r"`([^`]+)`")


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the page, or compares it; 1 where it differs."""
    return write_or_check({_FILE: man_page(read_command_line(app_of()))}, arguments, __doc__)


def man_page(line: CommandLine) -> str:
    """The page in the macros of man(7)."""
    shared = _shared_options(line.commands)
    rows = [
        '.\\" Written by `python -m tools.make_man`: change what it reads, then run it.',
        f'.TH HUBCLI 1 "" "hubcli {line.version}" "User Commands"',
        ".nh",
        ".ad l",
        *_section("NAME", [f"hubcli \\- {_text(line.root.summary[:1].lower() + line.root.summary[1:])}"]),
        *_section("SYNOPSIS", _synopsis(line)),
        *_section("DESCRIPTION", _paragraphs(DESCRIPTION)),
        *_section("COMMANDS", (row for command in line.commands for row in _command(command, shared))),
        *_section("GLOBAL OPTIONS", (row for option in shared for row in _option(option))),
        *_section(
            "OTHER OPTIONS",
            (row for option in line.root.options if option not in shared for row in _option(option)),
        ),
        *_section("ENVIRONMENT", _table(_variables())),
        *_section("EXIT STATUS", _table((str(int(status)), f"{status.meaning}.") for status in ExitStatus)),
        *_section("FILES", _table(FILES)),
        *_section("EXAMPLES", _examples(line.commands)),
        *_section("SEE ALSO", _paragraphs(SEE_ALSO)),
    ]
    return "\n".join(rows) + "\n"


def _variables() -> Iterator[tuple[str, str]]:
    for variable in VARIABLES:
        yield ", ".join(variable.names), f"{variable.meaning[0].upper()}{variable.meaning[1:]}."


def _shared_options(commands: Sequence[Command]) -> list[Option]:
    """The options that every command has alike."""
    return [
        option for option in commands[0].options if all(option in command.options for command in commands)
    ]


def _section(title: str, rows: Iterator[str] | Sequence[str]) -> Iterator[str]:
    yield f'.SH "{title}"'
    yield from rows


def _synopsis(line: CommandLine) -> Iterator[str]:
    for command in line.commands:
        yield f".B hubcli {_text(command.name)}"
        yield " ".join(("[\\fIoptions\\fR]", *map(_place, command.arguments)))
        yield ".br"
    yield ".B hubcli \\-\\-version"


def _place(argument: Argument) -> str:
    name = _metavar(argument.metavar)
    return name if argument.required or argument.metavar.startswith("[") else f"[{name}]"


def _command(command: Command, shared: Sequence[Option]) -> Iterator[str]:
    yield f'.SS "hubcli {_text(command.name)}"'
    yield from _paragraphs(command.paragraphs)
    for argument in command.arguments:
        yield ".TP"
        yield _metavar(argument.metavar)
        yield _line(argument.help)
    panel = ""
    for option in command.options:
        if option in shared:
            continue
        if option.panel not in ("", panel):
            yield ".PP"
            yield f"{_line(option.panel)}:"
        panel = option.panel
        yield from _option(option)
    if command.examples:
        yield ".PP"
        yield "Examples:"
        yield from _verbatim(command.examples)


def _option(option: Option) -> Iterator[str]:
    names = ", ".join(f"\\fB{_text(name)}\\fR" for name in sorted(option.names, key=len))
    yield ".TP"
    yield names + ("" if option.is_flag else f" {_metavar(option.metavar)}")
    default = f" Default: {option.default}." if option.default else ""
    yield _line(option.help.rstrip() + default)


def _table(rows: Iterator[tuple[str, str]] | Sequence[tuple[str, str]]) -> Iterator[str]:
    for term, meaning in rows:
        yield ".TP"
        yield f"\\fB{_text(term)}\\fR"
        yield _line(meaning)


def _examples(commands: Sequence[Command]) -> Iterator[str]:
    for command in commands:
        if command.examples:
            yield ".PP"
            yield _line(command.paragraphs[0])
            yield from _verbatim(command.examples[:1])


def _verbatim(lines: Sequence[str]) -> Iterator[str]:
    yield ".PP"
    yield ".nf"
    yield from map(_line, lines)
    yield ".fi"


def _paragraphs(texts: Sequence[str]) -> Iterator[str]:
    for number, text in enumerate(texts):
        if number:
            yield ".PP"
        yield _line(text)


def _metavar(text: str) -> str:
    return f"\\fI{_text(text)}\\fR"


def _line(text: str) -> str:
    """The text as a line of its own: what stands in backticks is bold, and no first letter is a command."""
    formatted = _CODE.sub(lambda match: f"\\fB{match[1]}\\fR", _text(text))
    return f"\\&{formatted}" if formatted[:1] in (".", "'") else formatted


def _text(text: str) -> str:
    """The text with what roff would read as its own."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("~", "\\(ti")
    return escaped.replace("^", "\\(ha").replace("…", "...").replace("→", "->")


if __name__ == "__main__":
    sys.exit(main())
