"""A file of this machine as a byte source: read once in order, or in parts where it has a path."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hubcli.errors import BodyChangedError, NotFoundError, TruncatedError
from hubcli.net.byte_source import ByteSource
from hubcli.regular_file import open_regular
from hubcli.units import plural

__all__ = ["FileSource"]

_READ_BYTES = 256 << 10


class FileSource(ByteSource):
    """An open file, a FIFO or standard input: read once, in order; one with a `path` in parts too."""

    def __init__(self, name: str, file: BinaryIO, size_bytes: int | None, path: Path | None = None) -> None:
        self.name = name
        self.size_bytes = size_bytes
        self._file = file
        self._path = path
        self.validator = None if path is None else _validator(file)

    def read(self) -> Iterator[bytes]:
        """What the file holds, to its end."""
        try:
            while chunk := self._file.read(_READ_BYTES):
                yield chunk
        except OSError as error:
            raise NotFoundError(f"Cannot read the archive: {error.strerror}") from error

    @contextmanager
    def range(self, start: int, end: int) -> Iterator[Iterator[bytes]]:
        """The bytes from `start` up to, not with, `end`, read by a descriptor of their own.

        Raises BodyChangedError if another file is there now or it was written to, TruncatedError,
        NotFoundError.
        """
        assert self._path is not None, "has_ranges is False"
        try:
            file = open_regular(self._path)
        except OSError as error:
            raise NotFoundError(f"Cannot open {self._path}: {error.strerror}") from error
        with file:
            if _validator(file) != self.validator:
                raise BodyChangedError(f"{self._path} changed while it was read", hint="Try again.")
            file.seek(start)
            yield self._blocks(file, end - start)

    def _blocks(self, file: BinaryIO, left_bytes: int) -> Iterator[bytes]:
        while left_bytes:
            try:
                block = file.read(min(left_bytes, _READ_BYTES))
            except OSError as error:
                raise NotFoundError(f"Cannot read {self._path}: {error.strerror}") from error
            if not block:
                raise TruncatedError(f"{self._path} ends {plural(left_bytes, 'byte')} early")
            left_bytes -= len(block)
            yield block


def _validator(file: BinaryIO) -> str | None:
    """A text that changes with the bytes of a regular file; None for a file of another kind."""
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        return None
    return f"{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"
