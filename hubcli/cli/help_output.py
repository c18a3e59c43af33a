"""Standard output while help is shown: Typer writes it, and knows none of our errors."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO, cast

from hubcli.errors import BrokenPipe, OutputError

__all__ = ["help_output"]

_HELP = ("-h", "--help")


@contextmanager
def help_output(argv: Sequence[str]) -> Iterator[None]:
    """Within, standard output fails as that of a payload does, if the words may ask for help.

    Raises BrokenPipe where it is closed or nobody reads any more, OutputError where it can't be written.
    """
    stream = sys.stdout
    is_asked = not argv or bool(set(_HELP) & set(argv))
    # A closed one is None, and nothing but help is written to it that doesn't see so by itself.
    may_be_asked = is_asked or any(word[:1] == "-" and "h" in word for word in argv)
    if not (is_asked if stream is None else may_be_asked):
        yield
        return
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
