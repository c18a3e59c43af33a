"""Where text goes: payload to standard output, everything else to standard error."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

from hubcli.errors import BrokenPipe, HubcliError, OutputError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["JSON_SCHEMA", "Output", "error_document", "printable"]

JSON_SCHEMA = 1
_MAX_INDENTED_MODELS = 1000


def error_document(error: HubcliError) -> dict[str, str]:
    """The error as a script sees it."""
    return {"code": error.code, "message": error.message, "hint": error.hint}


class Output:
    """The two streams of a run, and how they are to be written."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False, no_color: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.no_color = no_color

    @property
    def is_terminal(self) -> bool:
        """Whether a person sees the payload."""
        return sys.stdout is not None and sys.stdout.isatty()

    @property
    def has_unicode(self) -> bool:
        """Whether standard output can hold more than ASCII."""
        encoding = getattr(sys.stdout, "encoding", None) or "ascii"
        return encoding.lower().replace("-", "") in ("utf8", "utf16", "utf32")

    @property
    def shows_progress(self) -> bool:
        """Whether a person sees what goes to standard error, and wants it."""
        return sys.stderr is not None and sys.stderr.isatty() and not self.quiet

    def console(self, stream: TextIO) -> Console:
        """A rich console on the stream."""
        from rich.console import Console

        return Console(file=stream, no_color=True if self.no_color else None, highlight=False)

    def payload(self, text: str) -> None:
        """Writes what was asked for.

        Raises BrokenPipe where nobody reads any more, OutputError where the
        stream can't be written.
        """
        if sys.stdout is None:
            raise BrokenPipe("Standard output is closed")
        try:
            _write(sys.stdout, text if text.endswith("\n") else text + "\n")
        except OSError as error:
            # Python would try to flush once more at its end, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if isinstance(error, BrokenPipeError):
                raise BrokenPipe("The reader of standard output went away") from error
            raise OutputError(
                f"Standard output can't be written: {error.strerror}", hint="Check where it is sent to."
            ) from error

    def document(self, content: dict[str, Any]) -> None:
        """Writes the one JSON document of the run."""
        # Python's encoder is quick without indentation alone: a long document does without.
        indent = 2 if len(content.get("models", ())) <= _MAX_INDENTED_MODELS else None
        # ASCII, so that a path that is no text is a valid string too.
        self.payload(json.dumps({"schema": JSON_SCHEMA, **content}, indent=indent))

    def say(self, text: str) -> None:
        """Writes a line to standard error, unless `--quiet`."""
        if not self.quiet:
            self._to_standard_error(f"{printable(text)}\n")

    def note(self, text: str) -> None:
        """Tells what a person should know, and what is no error."""
        self.say(f"Note: {text}")

    def error(self, error: HubcliError) -> None:
        """Writes the error and its hint to standard error."""
        bold, plain = ("\x1b[1;31m", "\x1b[0m") if self._colors_errors() else ("", "")
        hint = f"Hint: {printable(error.hint)}\n" if error.hint else ""
        self._to_standard_error(f"{bold}Error:{plain} {printable(error.message)}\n{hint}")

    def _to_standard_error(self, text: str) -> None:
        """Nothing is lost where it can't be written: the payload and the exit status tell."""
        if sys.stderr is not None:
            with suppress(OSError, ValueError):
                _write(sys.stderr, text)

    def _colors_errors(self) -> bool:
        return sys.stderr is not None and sys.stderr.isatty() and not self.no_color


def printable(text: str) -> str:
    """The text with what could command a terminal escaped as Python writes it."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or "\udc80" <= one <= "\udcff" else ascii(one)[1:-1] for one in text
    )


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:  # A path that the locale has no letters for: its bytes as they are.
        stream.flush()
        stream.buffer.write(text.encode("utf-8", "surrogateescape"))
    stream.flush()
