"""Code in an archive that stands among a model's assets: its members by name and by their first bytes.

Bounded: 5,000 members, 32 MiB of what is decompressed, no member unpacked to
the disk. Archives within archives are looked into once.
"""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, NamedTuple, cast

from hubcli.savedmodel.file_signatures import HEAD_BYTES, kind_of, names_code

__all__ = ["MemberKind", "code_in_archive"]

_MAX_MEMBERS, _MAX_BYTES, _MAX_INDEX_BYTES = 5_000, 32 << 20, 8 << 20
_HEAD = 4096
_GZIP, _BZIP2, _XZ, _ZSTD, _ZIP = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"
_SEVEN, _RAR = b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07"
_ZLIB_HEADS = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_DATA_PICKLE = re.compile(r"(?:^|/)data\.pkl$|\.(?:pkl|pickle|joblib)$", re.IGNORECASE)


class MemberKind(NamedTuple):
    """A member that is code: its name ("" for the archive itself), a code and a noun phrase."""

    name: str
    code: str
    noun: str


_NOT_READ = MemberKind("", "not-scanned", "can't be looked into")


def code_in_archive(file: IO[bytes], head: bytes, *, depth: int = 0) -> MemberKind | None:
    """The first member that is code; None where there is none, or where the file is no archive.

    `head` are the file's first bytes.
    """
    if head.startswith((_SEVEN, _RAR)):
        return _NOT_READ
    try:
        if head.startswith(_ZIP) or (depth == 0 and _ends_as_zip(file)):
            return _first_code(_zip_members(file), depth)
        if head[257:262] == b"ustar":
            file.seek(0)
            return _first_code(_tar_members(io.BufferedReader(_Bounded(file))), depth)
        opened = _decompressed(file, head)
        return None if opened is None else _in_compressed(opened, depth)
    except (_TooMuchError, NotImplementedError):
        return _NOT_READ
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, ValueError, RuntimeError):
        # What only looks like an archive is none; what breaks off shows no more to its loader.
        return None


def _first_code(members: Iterator[tuple[str, bytes]], depth: int) -> MemberKind | None:
    for name, head in members:
        shown = ascii(name)[1:-1][:200]
        kind = kind_of(name, head, is_whole=len(head) < _HEAD)
        if kind is not None:
            return MemberKind(shown, kind.code, kind.noun)
        if names_code(name):
            return MemberKind(shown, "archive-code", "code by its name")
        if _DATA_PICKLE.search(name) and head[:1] == b"\x80":
            return MemberKind(shown, "pickle", "a pickle")
        if depth == 0 and len(head) >= 4:
            inner = code_in_archive(io.BytesIO(head), head, depth=1)
            if inner is not None and inner.code != "not-scanned":
                return MemberKind(shown, inner.code, f"an archive with {inner.name or inner.noun}")
    return None


def _in_compressed(opened: IO[bytes], depth: int) -> MemberKind | None:
    """A compressed tar's members, or what else was compressed."""
    stream = io.BufferedReader(_Bounded(opened), HEAD_BYTES)
    head = stream.peek(HEAD_BYTES)[:HEAD_BYTES]
    if head[257:262] == b"ustar":
        return _first_code(_tar_members(stream), depth)
    kind = kind_of("", head, is_whole=False)
    return None if kind is None else MemberKind("what is compressed", kind.code, kind.noun)


def _zip_members(file: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    file.seek(0, io.SEEK_END)
    if _index_bytes(file) > _MAX_INDEX_BYTES:
        raise _TooMuchError
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        if len(infos) > _MAX_MEMBERS:
            raise _TooMuchError
        for info in infos:
            if info.is_dir():
                continue
            head = b""
            if not info.flag_bits & 1:  # Encrypted: its name has to do.
                with archive.open(info) as member:
                    head = member.read(_HEAD)
            yield info.filename, head


def _index_bytes(file: IO[bytes]) -> int:
    """How large the zip's index says that it is: zipfile reads it whole."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - (1 << 16) - 22))
    tail = file.read()
    place = tail.rfind(b"PK\x05\x06")
    return int.from_bytes(tail[place + 12 : place + 16], "little") if place >= 0 else 0


def _tar_members(file: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=file, mode="r|") as archive:
        for count, member in enumerate(archive):
            if count >= _MAX_MEMBERS:
                raise _TooMuchError
            opened = archive.extractfile(member) if member.isreg() else None
            yield member.name, b"" if opened is None else opened.read(_HEAD)


def _ends_as_zip(file: IO[bytes]) -> bool:
    """Whether Python would import from it: a zip may have anything before it."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - (1 << 16) - 22))
    tail = file.read()
    place = tail.rfind(b"PK\x05\x06")
    return place >= 0 and len(tail) - place >= 22


def _decompressed(file: IO[bytes], head: bytes) -> IO[bytes] | None:
    """The stream within a compressed file; None for what isn't compressed in a way that is known."""
    file.seek(0)
    if head.startswith(_GZIP):
        import gzip

        return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    if head.startswith(_BZIP2):
        import bz2

        return bz2.BZ2File(file)
    if head.startswith(_XZ):
        import lzma

        return lzma.LZMAFile(file)
    if head.startswith(_ZLIB_HEADS):
        return io.BytesIO(zlib.decompressobj().decompress(head, HEAD_BYTES))
    if head.startswith(_ZSTD):
        raise NotImplementedError
    return None


class _TooMuchError(Exception):
    """The archive holds more than is looked at."""


class _Bounded(io.RawIOBase):
    """The first 32 MiB of a stream; behind them nothing is read."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file, self._left = file, _MAX_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._left <= 0:
            raise _TooMuchError
        found = self._file.read(min(len(buffer), self._left, 1 << 20))
        buffer[: len(found)] = found
        self._left -= len(found)
        return len(found)
