"""A strict walk over a tar stream within limits: regular files and directories, nothing else.

The standard library's `extractall` filters were bypassed several times, and its
stream mode accepts a truncated archive; this reader supports fewer features.
Source: POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar manual, "Basic
Tar Format" (type `L`, base-256 numbers).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hubcli.archive import Limits, Member, MemberStream
from hubcli.errors import IntegrityError, TruncatedError, UnsafeArchiveError
from hubcli.units import format_size, plural

__all__ = ["BLOCK_BYTES", "ChunkReader", "walk_tar"]


class ChunkReader:
    """Exact reads from a stream of chunks, without copying file data.

    `position` counts the bytes taken so far.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")
        self.position = 0

    def at_end(self) -> bool:
        """Whether no byte is left; pulls the next chunk to find out."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return True
            self._rest = memoryview(chunk)
        return False

    def stream(self, size: int) -> Iterator[memoryview]:
        """The next `size` bytes in pieces; raises TruncatedError where the stream ends first."""
        while size > 0:
            if self.at_end():
                raise TruncatedError(
                    f"The archive is truncated: it ends after {self.position} bytes, inside a member"
                )
            piece = self._rest[:size]
            self._rest = self._rest[len(piece) :]
            self.position += len(piece)
            size -= len(piece)
            yield piece

    def read(self, size: int) -> bytes:
        """The next `size` bytes; raises TruncatedError where the stream ends first."""
        return b"".join(self.stream(size))

    def rest(self) -> Iterator[memoryview]:
        """All pieces to the end of the stream."""
        while not self.at_end():
            yield from self.stream(len(self._rest))


BLOCK_BYTES = 512
_MAX_EXTENSION_BYTES = 1 << 20  # Of a member, in all of its extension headers.
_HEADERS_HINT = "If you trust the archive, add --max-headers SIZE."
# GNU tar fills up to 10 KiB, tapes to some MiB.
_MAX_PADDING_BYTES = 64 << 20
_NUMBER = re.compile(rb" *([0-7]*)[ \0]*")
_PAX_RECORD = re.compile(rb"(\d{1,7}) ([^=]+)=")
_REGULAR, _DIRECTORY = b"0", b"5"
_PAX, _PAX_GLOBAL, _GNU_LONG_NAME = b"x", b"g", b"L"
_REFUSED_TYPES = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a FIFO",
    b"K": "a link with a long target",
    b"S": "a sparse file",
}


@dataclass(frozen=True, slots=True)
class _Header:
    """A header block, its checksum verified."""

    name: bytes
    type: bytes
    size: int

    @classmethod
    def decode(cls, block: bytes) -> _Header:
        if _number(block[148:156]) != sum(block[:148]) + 8 * 32 + sum(block[156:]):
            raise IntegrityError("The archive is corrupt: checksum mismatch of a header")
        name = block[:100].split(b"\0", 1)[0]
        if block[257:263] == b"ustar\0":
            prefix = block[345:500].split(b"\0", 1)[0]
            name = prefix + b"/" + name if prefix else name
        kind = block[156:157].replace(b"\0", _REGULAR)
        return cls(name, kind, _number(block[124:136]))


def _number(field: bytes) -> int:
    if field[0] == 0x80:  # GNU's base-256 form, for files of 8 GiB and more
        return int.from_bytes(field[1:], "big")
    match = _NUMBER.fullmatch(field)
    if match is None:
        raise IntegrityError(f"The archive is corrupt: {field!r} is not an octal number")
    return int(match[1] or b"0", 8)


class _HeaderBudget:
    """The limits of extension headers, and how much of them is used."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._bytes = 0
        self._records_left = limits.header_records

    def take(self, size_bytes: int, of_member_bytes: int) -> None:
        """Counts a header before it is read; `of_member_bytes` are those of its member before it."""
        if of_member_bytes + size_bytes > _MAX_EXTENSION_BYTES:
            raise UnsafeArchiveError(
                f"The archive has {of_member_bytes + size_bytes} bytes of extension headers for one member"
            )
        self._bytes += size_bytes
        if self._bytes > self._limits.header_bytes:
            size = format_size(self._limits.header_bytes)
            raise UnsafeArchiveError(
                f"The archive has more than {size} of extension headers", hint=_HEADERS_HINT
            )

    def take_record(self) -> None:
        """Counts a record of a pax header."""
        self._records_left -= 1
        if self._records_left < 0:
            raise UnsafeArchiveError(
                f"The archive has more than {self._limits.header_records} records in its extension headers",
                hint=_HEADERS_HINT,
            )


class _Overrides:
    """Name and size of the next member from extension headers, which override its own header."""

    def __init__(self, budget: _HeaderBudget) -> None:
        self.name: bytes | None = None
        self.size: int | None = None
        self.header_bytes = 0
        self._budget = budget

    def take(self, size_bytes: int) -> None:
        """Counts a header of the next member. Raises UnsafeArchiveError beyond the limits."""
        self._budget.take(size_bytes, self.header_bytes)
        self.header_bytes += size_bytes

    def read_pax(self, data: bytes, *, is_global: bool) -> None:
        position = 0
        while position < len(data):
            self._budget.take_record()
            match = _PAX_RECORD.match(data, position)
            end = position + int(match[1]) if match else 0
            if match is None or not match.end() < end <= len(data) or data[end - 1 : end] != b"\n":
                raise IntegrityError("The archive is corrupt: invalid pax header")
            self._apply(match[2], data[match.end() : end - 1], is_global)
            position = end

    def _apply(self, key: bytes, value: bytes, is_global: bool) -> None:
        if key.startswith(b"GNU.sparse."):
            raise UnsafeArchiveError("The archive contains a sparse file, which is not unpacked")
        if key not in (b"path", b"size"):
            return  # Times, owners and comments are ignored.
        if is_global:
            raise UnsafeArchiveError(f"The archive sets one {key.decode()} for all members")
        if key == b"path":
            self.name = value
        elif value.isdigit() and len(value) < 20:
            self.size = int(value)
        else:
            raise IntegrityError(f"The archive is corrupt: invalid size {value[:40]!r}")


def walk_tar(reader: ChunkReader, limits: Limits) -> MemberStream:
    """The members of the archive and their bytes, in archive order.

    After the last one the stream is read to its end, so that the checks of the layers below have run when
    the walk ends. Raises UnsafeArchiveError for a member that must not be unpacked and for too many,
    TruncatedError if the end marker is missing, IntegrityError for a corrupt archive.
    """
    budget, count = _HeaderBudget(limits), 0
    overrides = _Overrides(budget)
    while True:
        if reader.at_end():
            raise TruncatedError(f"The archive is truncated: no end marker after {plural(count, 'member')}")
        block = reader.read(BLOCK_BYTES)
        if not block.strip(b"\0"):
            _drain(reader)
            return
        header = _Header.decode(block)
        count += 1
        if count > limits.members:
            raise UnsafeArchiveError(
                f"The archive has more than {limits.members} members",
                hint="If you trust the archive, add --max-members N.",
            )
        if header.type in (_PAX, _PAX_GLOBAL, _GNU_LONG_NAME):
            _read_extension(reader, header, overrides)
            continue
        member = _member(header, overrides)
        overrides = _Overrides(budget)
        end = reader.position + member.size_bytes + -member.size_bytes % BLOCK_BYTES
        yield member, reader.stream(member.size_bytes)
        for _ in reader.stream(end - reader.position):
            pass  # The bytes that the caller did not read, and the padding to whole blocks.


def _read_extension(reader: ChunkReader, header: _Header, overrides: _Overrides) -> None:
    overrides.take(header.size)
    data = reader.read(header.size + -header.size % BLOCK_BYTES)[: header.size]
    if header.type == _GNU_LONG_NAME:
        overrides.name = data.rstrip(b"\0")
    else:
        overrides.read_pax(data, is_global=header.type == _PAX_GLOBAL)


def _member(header: _Header, overrides: _Overrides) -> Member:
    raw = header.name if overrides.name is None else overrides.name
    name_text = raw[:200].decode("utf-8", "backslashreplace")
    if header.type not in (_REGULAR, _DIRECTORY):
        what = _REFUSED_TYPES.get(header.type, f"of the unknown type {header.type!r}")
        raise UnsafeArchiveError(
            f"The archive's member {name_text!r} is {what}: only files and directories are unpacked"
        )
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnsafeArchiveError(
            f"The archive's member {name_text!r} has a name that is not UTF-8"
        ) from error
    size = header.size if overrides.size is None else overrides.size
    # The format before POSIX had no type for directories. The whole name decides: the part of a long one
    # in the header may end at any slash.
    is_directory = header.type == _DIRECTORY or raw.endswith(b"/")
    if is_directory and size:
        raise UnsafeArchiveError(f"The archive's directory {name_text!r} claims to hold {size} bytes")
    return Member(name, is_directory, size)


def _drain(reader: ChunkReader) -> None:
    end = reader.position
    for piece in reader.rest():
        if bytes(piece).strip(b"\0"):
            raise UnsafeArchiveError("The archive has data after its end marker")
        if reader.position - end > _MAX_PADDING_BYTES:
            raise UnsafeArchiveError("The archive has no end marker, only padding")
