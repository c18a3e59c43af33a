"""Help: written by Typer to a standard output that may be closed or full, and fitted to narrow terminals."""

from __future__ import annotations

import io
import os
import re
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from typer.main import get_command

from hubcli.cli.app import COMMANDS, app_of
from hubcli.errors import BrokenPipe, OutputError

__all__ = ["help_output", "narrow_help"]


@contextmanager
def help_output() -> Iterator[None]:
    """Within, standard output fails as that of a payload does.

    Raises BrokenPipe where it is closed or nobody reads any more, OutputError where it can't be written.
    """
    stream = sys.stdout
    sys.stdout = cast("TextIO", _HelpOutput(stream))
    try:
        yield
    finally:
        if isinstance(sys.stdout, _HelpOutput):  # Code of others may have put its own there.
            sys.stdout = stream


class _HelpOutput:
    """The stream with our errors, and with text that its encoding has no letters for as UTF-8."""

    def __init__(self, stream: TextIO | None) -> None:
        self._is_closed = stream is None
        self._stream: TextIO = io.StringIO() if stream is None else stream

    def write(self, text: str) -> int:
        if self._is_closed:
            raise BrokenPipe("Standard output is closed")
        try:
            self._write(text)
        except OSError as error:
            raise self._failed(error) from error
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            raise self._failed(error) from error

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            self._stream.flush()
            buffer = self._stream.buffer
            buffer.write(text.encode("utf-8", "surrogateescape"))
            buffer.flush()

    def _failed(self, error: OSError) -> BrokenPipe | OutputError:
        # Python would try to flush once more at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        if isinstance(error, BrokenPipeError):
            return BrokenPipe("The reader of standard output went away")
        return OutputError(
            f"Standard output can't be written: {error.strerror}", hint="Check where it is sent to."
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


_MARKUP = r"(?<!\\)\[/?[a-z ]+\]"


def narrow_help(name: str, columns: int) -> str:
    """The help of the command of that name, of hubcli itself for an empty one, in lines that fit."""
    root: Any = get_command(app_of(*([name] if name else COMMANDS)))
    command = root.commands[name] if name else root
    lines = list(_lines(command, f"hubcli {name}".rstrip()))
    if not name:
        summaries = (
            (command_name, (root.commands[command_name].help or "").split("\n\n")[0])
            for command_name in COMMANDS
        )
        lines[-1:-1] = ["", "Commands:", *(line for pair in summaries for line in _entry(*pair))]
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
    examples = [line.strip() for line in _plain(command.epilog or "").splitlines() if line.strip()]
    yield from ("", *examples[:1], *(f"  {line}" for line in examples[1:]))
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
    default = f" [default: {parameter.default}]" if has_default else ""
    return f"{parameter.help or ''}{default}"


def _plain(text: str) -> str:
    return re.sub(_MARKUP, "", text).replace("\\[", "[")


def _fitted(text: str, columns: int) -> list[str]:
    indent = " " * (len(text) - len(text.lstrip()))
    return textwrap.wrap(
        text.strip(),
        columns,
        initial_indent=indent,
        # What is typed hangs, sentences don't.
        subsequent_indent=indent + ("    " if len(indent) == 2 or text.startswith("Usage:") else ""),
        break_on_hyphens=False,
    ) or [""]
