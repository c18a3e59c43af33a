"""Where text goes: payload to standard output, everything else to standard error."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any, TextIO

from hubcli.errors import BrokenPipe, HubcliError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["JSON_SCHEMA", "Output", "error_document"]

JSON_SCHEMA = 1
# Code points that no encoding can write; JSON has escapes for them.
_UNPAIRED = re.compile("[\ud800-\udfff]")


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
        return sys.stdout.isatty()

    @property
    def shows_progress(self) -> bool:
        """Whether a person sees what goes to standard error, and wants it."""
        return sys.stderr.isatty() and not self.quiet

    def console(self, stream: TextIO) -> Console:
        """A rich console on the stream."""
        from rich.console import Console

        return Console(file=stream, no_color=True if self.no_color else None, highlight=False)

    def payload(self, text: str) -> None:
        """Writes what was asked for. Raises BrokenPipe where nobody reads any more."""
        try:
            sys.stdout.write(text if text.endswith("\n") else text + "\n")
            sys.stdout.flush()
        except BrokenPipeError as error:
            # Python would try to flush once more at its end, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise BrokenPipe("The reader of standard output went away") from error

    def document(self, content: dict[str, Any]) -> None:
        """Writes the one JSON document of the run."""
        text = json.dumps({"schema": JSON_SCHEMA, **content}, indent=2, ensure_ascii=False)
        self.payload(_UNPAIRED.sub(lambda one: ascii(one[0])[1:-1], text))

    def say(self, text: str) -> None:
        """Writes a line to standard error, unless `--quiet`."""
        if not self.quiet:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

    def note(self, text: str) -> None:
        """Tells what a person should know, and what is no error."""
        self.say(f"Note: {text}")

    def error(self, error: HubcliError) -> None:
        """Writes the error and its hint to standard error."""
        bold, plain = ("\x1b[1;31m", "\x1b[0m") if self._colors_errors() else ("", "")
        sys.stderr.write(f"{bold}Error:{plain} {error.message}\n")
        if error.hint:
            sys.stderr.write(f"Hint: {error.hint}\n")
        sys.stderr.flush()

    def _colors_errors(self) -> bool:
        return sys.stderr.isatty() and not self.no_color
