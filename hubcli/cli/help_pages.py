"""Help in two lengths, with the global options in one place, also for a narrow terminal.

`-h` is for those who know the command: one sentence, the usual options. `--help` has all of it, and examples.
Typer has one help for both and repeats each option that commands share. The commands that it builds are
changed here before they are shown, by public attributes alone: `params`, `hidden`, `help`, `epilog`.
"""

from __future__ import annotations

import io
import re
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from typer.main import get_command

from hubcli.cli.app import GROUPS, app_of
from hubcli.cli.options import GLOBAL_PANEL, RARE_PANELS
from hubcli.cli.output import write_failure, write_text
from hubcli.errors import BrokenPipe

__all__ = ["app_for_help", "help_output", "narrow_help"]

_GLOBAL_OPTIONS = "Global options such as --json, --quiet and --cache-dir: hubcli --help"
_DOCUMENTATION = "Documentation: https://hubcli.example/docs/"


def app_for_help(name: str, *, is_short: bool) -> Any:
    """The application that shows the help of the command of that name; of hubcli itself for an empty one."""
    if name:
        root: Any = get_command(app_of(name))
        _shape(root.commands[name], name=name, is_short=is_short)
    else:
        # The global options are those of any command: `pin` is the fastest to build.
        root = get_command(app_of(*[] if is_short else ["pin"], others="summaries"))
        _shape(root, name="", is_short=is_short, shared_by=root.commands["pin"])
    return root


def _shape(command: Any, *, name: str, is_short: bool, shared_by: Any = None) -> None:
    """Changes what the command, hubcli itself for an empty name, shows as its help.

    `shared_by` is a command whose global options hubcli itself shows, at length.
    """
    if is_short:
        command.help = (command.help or "").partition("\n\n")[0]
    lines = [] if is_short else [command.epilog.rstrip("\n"), " "] if command.epilog else []
    if name:
        for parameter in command.params:
            choices = getattr(parameter.type, "choices", None)
            if choices and parameter.metavar is None:  # So that every choice is spelled like --color's.
                parameter.metavar = "|".join(getattr(choice, "value", choice) for choice in choices)
            panel = getattr(parameter, "rich_help_panel", None)
            if panel == GLOBAL_PANEL or (is_short and panel in RARE_PANELS):
                parameter.hidden = True
        lines += [f"All options and examples: hubcli {name} --help"] * is_short + [_GLOBAL_OPTIONS]
    elif is_short:
        lines.append("Global options and examples: hubcli --help")
    else:
        command.params += [
            parameter
            for parameter in shared_by.params
            if getattr(parameter, "rich_help_panel", None) == GLOBAL_PANEL
        ]
        lines += ["Help of a command: hubcli COMMAND --help, or -h for less", _DOCUMENTATION]
    command.epilog = "\n".join(lines)


@contextmanager
def help_output() -> Iterator[None]:
    """Within the context, standard output fails as that of a payload does.

    Raises BrokenPipe if it is closed or its reader has exited, OutputError if it can't be written.
    """
    stream = sys.stdout
    sys.stdout = cast("TextIO", _HelpOutput(stream))
    try:
        yield
    finally:
        if isinstance(sys.stdout, _HelpOutput):  # Other code may have replaced it.
            sys.stdout = stream


class _HelpOutput:
    """The stream with errors of hubcli; text that its encoding cannot represent is written as UTF-8."""

    def __init__(self, stream: TextIO | None) -> None:
        self._is_closed = stream is None
        self._stream: TextIO = io.StringIO() if stream is None else stream

    def write(self, text: str) -> int:
        if self._is_closed:
            raise BrokenPipe("Standard output is closed")
        try:
            write_text(self._stream, text)
        except OSError as error:
            raise write_failure(self._stream, error) from error
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            raise write_failure(self._stream, error) from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


_MARKUP = r"(?<!\\)\[/?[a-z ]+\]"


def narrow_help(name: str, columns: int, *, is_short: bool) -> str:
    """The help of the command of that name, of hubcli itself for an empty one, in lines that fit."""
    root = app_for_help(name, is_short=is_short)
    command = root.commands[name] if name else root
    lines = list(_lines(command, f"hubcli {name}".rstrip()))
    if not name:
        at = lines.index("", lines.index("Options:"))
        for group, commands in GROUPS.items():
            rows = ["", f"{group}:", *(line for row in commands.items() for line in _entry(*row))]
            lines[at:at] = rows
            at += len(rows)
    return "\n".join(line for text in lines for line in _fitted(text, columns)) + "\n"


def _lines(command: Any, usage: str) -> Iterator[str]:
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [
        parameter
        for parameter in command.params
        if parameter.param_type_name == "option" and not parameter.hidden
    ]
    names = "".join(f" {parameter.metavar or parameter.name.upper()}" for parameter in arguments)
    yield f"Usage: {usage} [OPTIONS]{names or ' COMMAND'}"
    for paragraph in _plain(command.help or "").split("\n\n"):
        yield from ("", " ".join(paragraph.split()))
    panels: dict[str, list[Any]] = {"Arguments": arguments, "Options": []}
    for option in options:
        panels.setdefault(getattr(option, "rich_help_panel", None) or "Options", []).append(option)
    for title, parameters in panels.items():
        if parameters or title == "Options":
            yield from ("", f"{title}:")
        for parameter in parameters:
            yield from _entry(_spelled(parameter), _help_text(parameter))
        if title == "Options":
            yield from _entry("-h, --help", "Show this message and exit.")
    yield ""
    for line in _plain(command.epilog or "").splitlines():
        yield f"  {line.strip()}" if line.startswith("hubcli ") else line.strip()
    yield ""


def _entry(name: str, text: str) -> Iterator[str]:
    yield f"  {name}"
    yield f"      {' '.join(_plain(text).split())}"


def _spelled(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    names = ", ".join(sorted(parameter.opts, key=len))
    return names if parameter.is_flag else f"{names} {parameter.metavar or parameter.name.upper()}"


def _help_text(parameter: Any) -> str:
    has_default = parameter.default not in (None, False, ()) and getattr(parameter, "show_default", False)
    default = f" [default: {getattr(parameter.default, 'value', parameter.default)}]" if has_default else ""
    return f"{parameter.help or ''}{default}"


def _plain(text: str) -> str:
    return re.sub(_MARKUP, "", text).replace("\\[", "[")


def _fitted(text: str, columns: int) -> list[str]:
    indent = " " * (len(text) - len(text.lstrip()))
    return textwrap.wrap(
        text.strip(),
        columns,
        initial_indent=indent,
        # Commands get a hanging indent, sentences don't.
        subsequent_indent=indent + ("    " if len(indent) == 2 or text.startswith("Usage:") else ""),
        break_on_hyphens=False,
    ) or [""]
