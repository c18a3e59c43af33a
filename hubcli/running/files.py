"""Files of inputs, opened and read: arrays, images, sound, records, tables, JSON, text.

Nothing in them is executed, pickles are refused, and every length is bounded. What has rows is read row by
row, so that a stream of any length takes constant memory.
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from hubcli.errors import BrokenModelError, HubcliError, InputError, NotFoundError
from hubcli.formats.checksums import masked_crc32c
from hubcli.formats.npy import read_array
from hubcli.regular_file import open_stream
from hubcli.running.file_kind import BOM, HEAD_BYTES, FileKind, kind_of
from hubcli.tf.run_protocol import Tensor
from hubcli.units import plural

__all__ = ["InputFile", "open_input", "parse_json"]

_CHUNK_BYTES = 1 << 17
_MAX_FILE_BYTES = 1 << 32
_MAX_LINE_BYTES = 1 << 28
_MAX_RECORD_BYTES = 1 << 30
_MAX_MEMBERS = 10_000
_WAIT_S = 3600.0
# What a number beyond float64 has, which Python reads as infinite: a long exponent, or more digits than
# any other number needs. Few texts have either.
_LARGE_EXPONENT = re.compile(r"[eE]\+?\d{3}")
_MANY_DIGITS = b"0" * 200
_DIGITS_AS_ZERO = bytes.maketrans(b"123456789", b"000000000")
_GZIP = b"\x1f\x8b\x08"


class _RepeatedKeyError(ValueError):
    """A key that an object of JSON has twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object. Raises _RepeatedKeyError: of two values for one input, neither may be dropped."""
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise _RepeatedKeyError(counts.most_common(1)[0][0])
    return found


# json.loads looks at eight arguments first, a million times.
_decode = json.JSONDecoder(object_pairs_hook=_object).decode


class InputFile:
    """An opened file or standard input: its `name`, its `kind`, its size in bytes where that is known."""

    def __init__(
        self, name: str, raw: IO[bytes], head: bytes, kind: FileKind, unpacked: Any | None = None
    ) -> None:
        self.name = name
        self.kind = kind
        self.size_bytes = _size(raw) if unpacked is None else None
        self.on_bytes: Callable[[int], None] = lambda size: None
        self._raw = raw
        joined = _Joined(head, raw) if unpacked is None else _Joined(b"", unpacked)
        self._stream = io.BufferedReader(joined, _CHUNK_BYTES)
        self._lines_at_hand: int | None = None

    def close(self) -> None:
        """Closes it; standard input stays open."""
        self._raw.close()

    def is_ready(self) -> bool:
        """Whether the next line, or the end, can be read without waiting for its writer."""
        if self.size_bytes is not None or self._lines_at_hand is None or self._lines_at_hand:
            return True
        from select import select

        return bool(select([self._raw], [], [], 0)[0])

    def read(self) -> bytes:
        """All of it. Raises InputError for more than 4 GiB."""
        data = b""
        if (self.size_bytes or 0) <= _MAX_FILE_BYTES:
            with _reading(self.name):
                data = self._stream.read(_MAX_FILE_BYTES + 1)
        if max(len(data), self.size_bytes or 0) > _MAX_FILE_BYTES:
            raise InputError(
                f"{self.name} is larger than 4 GiB", hint="Use a format with rows: JSON Lines, CSV, TFRecord."
            )
        return data

    def text(self) -> str:
        """All of it as text. Raises InputError."""
        return _decoded(self.read().removeprefix(BOM), self.name)

    def json(self) -> Any:
        """The document in it. Raises InputError."""
        return parse_json(self.text(), self.name)

    def array(self) -> Tensor:
        """The array in it. Raises InputError for Python objects and what is damaged."""
        with _reading(self.name):
            return Tensor(*read_array(self._stream, self.name))

    def arrays(self) -> dict[str, Tensor]:
        """The arrays of an archive by name. Raises InputError."""
        import zipfile

        arrays: dict[str, Tensor] = {}
        with _reading(self.name), zipfile.ZipFile(io.BytesIO(self.read())) as archive:
            members = archive.infolist()
            if len(members) > _MAX_MEMBERS:
                raise InputError(f"{self.name} contains {len(members)} files")
            if sum(member.file_size for member in members) > _MAX_FILE_BYTES:
                raise InputError(f"{self.name} unpacks to more than 4 GiB")
            for member in members:
                name = member.filename.removesuffix(".npy")
                if name in arrays:
                    raise InputError(f"{self.name} contains the array '{name}' twice")
                with archive.open(member) as file:
                    arrays[name] = Tensor(*read_array(file, f"{self.name}: {name}"))
        return arrays

    def lines(self, *, has_empty: bool = False) -> Iterator[tuple[int, bytes]]:
        """Each line without its end, by its number from 1 on; empty ones are left out unless `has_empty`.

        Raises InputError.
        """
        number = 0
        for lines in self._line_groups():
            self._lines_at_hand = len(lines)
            for line in lines:
                number += 1
                self._lines_at_hand -= 1
                if number == 1:
                    line = line.removeprefix(BOM)
                line = line.rstrip(b"\r")
                if line or has_empty:
                    yield number, line

    def _line_groups(self) -> Iterator[list[bytes]]:
        """The lines as they come, several at a time."""
        parts, size = list[bytes](), 0
        while True:
            with _reading(self.name):
                chunk = self._stream.read1(_CHUNK_BYTES)
            self.on_bytes(len(chunk))
            parts.append(chunk)
            size += len(chunk)
            if size > _MAX_LINE_BYTES:
                raise InputError(f"{self.name} has a line that is longer than 256 MiB")
            if not chunk or b"\n" in chunk:
                *lines, rest = b"".join(parts).split(b"\n")
                yield [*lines, rest] if not chunk and rest else lines
                parts, size = [rest], len(rest)
            if not chunk:
                return

    def json_rows(self) -> Iterator[tuple[str, Any]]:
        """Each line's document, by its place."""
        for number, line in self.lines():
            yield f"line {number}", parse_json(line, f"{self.name}, line {number}")

    def text_rows(self) -> Iterator[tuple[str, Any]]:
        """Each line, by its place; bytes that aren't UTF-8 as they are."""
        for number, line in self.lines():
            yield f"line {number}", line

    def csv_rows(self) -> Iterator[tuple[str, Any]]:
        """Each row as an object of texts by the header's names, by its place. Raises InputError."""
        import csv  # Few runs read a table.

        numbers = iter(self.lines(has_empty=True))  # A cell in quotes may have empty lines.
        place = 0

        def texts() -> Iterator[str]:
            nonlocal place
            for number, line in numbers:
                place = number
                yield _decoded(line, f"{self.name}, line {number}") + "\n"

        rows = csv.reader(texts())
        try:
            header = next(filter(None, rows), [])
            if len(set(header)) < len(header):
                raise InputError(f"{self.name} names a column twice in its header")
            for row in filter(None, rows):
                if len(row) != len(header):
                    raise InputError(
                        f"{self.name}, line {place} has {plural(len(row), 'column')}; "
                        f"the header names {len(header)}"
                    )
                yield f"line {place}", dict(zip(header, row, strict=True))
        except csv.Error as error:
            raise InputError(f"Cannot read {self.name}, line {place}: {error}") from error

    def records(self) -> Iterator[tuple[str, Any]]:
        """Each record's bytes, checked against its checksum, by its place. Raises InputError.

        Source: tensorflow/core/lib/io/record_writer.h.
        """
        number = 0
        while True:
            with _reading(self.name):
                head = self._stream.read(12)
            if not head:
                return
            number += 1
            where = f"{self.name}, record {number}"
            length = int.from_bytes(head[:8], "little")
            if len(head) < 12 or masked_crc32c(head[:8]) != int.from_bytes(head[8:], "little"):
                raise InputError(f"{where} has a corrupt length")
            if length > _MAX_RECORD_BYTES:
                raise InputError(f"{where} has {length} bytes")
            with _reading(self.name):
                data = self._stream.read(length + 4)
            if len(data) < length + 4:
                raise InputError(f"{where} is truncated")
            if masked_crc32c(data[:length]) != int.from_bytes(data[length:], "little"):
                raise InputError(f"{where}: checksum mismatch")
            self.on_bytes(length + 16)
            yield f"record {number}", data[:length]


class _reading:  # noqa: N801 - a context, used as a function
    """Within the context, errors of the file become those of hubcli."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, BrokenModelError):
            raise InputError(error.message, hint=error.hint) from error
        if isinstance(error, OSError) and error.errno is not None:
            reason = error.strerror or error
            raise NotFoundError(f"Cannot read {self._name}: {reason}", hint="Check the path.") from error
        if error is not None and not isinstance(error, HubcliError) and _is_of_file(error):
            raise InputError(f"Cannot read {self._name}: {error}") from error


def _is_of_file(error: BaseException) -> bool:
    """Whether reading a damaged archive or a stream fails so."""
    from hubcli.formats.array_files import ARCHIVE_ERRORS

    return isinstance(error, (*ARCHIVE_ERRORS, OSError)) and not isinstance(error, RecursionError)


def open_input(path: str, columns: frozenset[str], is_text: bool) -> InputFile:
    """The file, or standard input for `-`, opened and recognized.

    `columns` are the names that a table's header may have; `is_text` says that lines of text are meant
    where nothing else fits. Raises NotFoundError, InputError.
    """
    name = "standard input" if path == "-" else path
    raw: Any
    with _reading(name):
        if path != "-":
            raw = open_stream(Path(path).expanduser(), _WAIT_S)
        elif sys.stdin is None:
            raise InputError("Standard input is closed", hint="Specify a file: --input @FILE")
        else:
            raw = io.FileIO(sys.stdin.fileno(), closefd=False)
        head = _head(raw, HEAD_BYTES)
    if head[:3] == _GZIP:
        kind = kind_of(_unpacked_head(head), path.removesuffix(".gz"), columns, is_text=is_text)
        if kind.has_rows:
            from gzip import GzipFile

            stream = io.BufferedReader(_Joined(head, raw), _CHUNK_BYTES)
            return InputFile(name, raw, head, kind, GzipFile(fileobj=stream))
    return InputFile(name, raw, head, kind_of(head, path, columns, is_text=is_text))


def _unpacked_head(head: bytes) -> bytes:
    """What the beginning of a file packed by gzip holds; nothing where it is damaged."""
    import zlib

    try:
        return zlib.decompressobj(wbits=31).decompress(head, HEAD_BYTES)
    except zlib.error:
        return b""


def _size(file: IO[bytes]) -> int | None:
    import os
    import stat

    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None


class _Joined(io.RawIOBase):
    """Bytes that were read already, and the stream behind them."""

    def __init__(self, head: bytes, rest: Any) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._head:
            # What unpacks would wait for a whole buffer.
            read = getattr(self._rest, "readinto1", self._rest.readinto)
            return read(buffer) or 0
        piece = self._head[: len(buffer)]
        self._head = self._head[len(piece) :]
        buffer[: len(piece)] = piece
        return len(piece)


def _head(stream: Any, size: int) -> bytes:
    """The first bytes, up to two lines or that many."""
    head = b""
    while len(head) < size:
        piece = stream.read(size - len(head))
        if not piece:
            break
        head += piece
        # A pipe may wait for the answer to its first row: two lines tell enough.
        if head.count(b"\n") > 1:
            break
    return head


def parse_json(text: str | bytes, where: str) -> Any:
    """The document; NaN, Infinity and -Infinity are numbers. Raises InputError."""
    try:
        text = text if isinstance(text, str) else text.decode()
        if _may_be_infinite(text):
            return json.loads(
                text, parse_float=lambda number: _finite(number, where), object_pairs_hook=_object
            )
        return _decode(text)
    except RecursionError as error:
        raise InputError(f"{where} is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is not UTF-8 text (byte {error.start})") from error
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise InputError(f"{where} is not JSON: {error.msg} ({line}column {error.colno})") from error
    except _RepeatedKeyError as error:
        raise InputError(
            f"{where} has the key '{str(error)[:60]}' twice", hint="Remove one of its values."
        ) from error
    except ValueError as error:  # Python's limit; the only one that is left.
        raise InputError(f"{where} has a number of more than 4300 digits") from error


def _may_be_infinite(text: str) -> bool:
    """Whether a number in the text may be beyond float64."""
    if _LARGE_EXPONENT.search(text) is not None:
        return True
    # A pattern of many digits would take ten times as long.
    return _MANY_DIGITS in text.encode(errors="replace").translate(_DIGITS_AS_ZERO)


def _finite(text: str, where: str) -> float:
    number = float(text)
    if number in (float("inf"), -float("inf")):
        raise InputError(f"{where} has the number {text[:60]}, which is out of range for float64")
    return number


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is not UTF-8 text (byte {error.start})") from error
