"""Code in an archive that stands among a model's assets: its members by name and by their first bytes.

Bounded: 5,000 members, 32 MiB in the whole scan, no member unpacked to the
disk. Archives within archives are looked into three deep, of 8 MiB each; those
beyond are told as not looked into.
"""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, NamedTuple, cast

from hubcli.savedmodel.file_signatures import HEAD_BYTES, Budget, TooMuchError, goes_on, kind_of, names_code

__all__ = ["MemberKind", "code_in_archive"]

_MAX_MEMBERS, _MAX_INDEX_BYTES = 5_000, 8 << 20
_MAX_DEPTH, _MAX_INNER_BYTES = 3, 8 << 20
_HEAD = 4096
_GZIP, _BZIP2, _XZ, _ZSTD, _ZIP = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"
_SEVEN, _RAR = b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07"
_LZ4, _LZMA = b"\x04\x22\x4d\x18", b"\x5d\0\0"
_ZLIB_HEADS = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_UNREADABLE = (_SEVEN, _RAR, _ZSTD, _LZ4)
_ARCHIVES = (_ZIP, _GZIP, _BZIP2, _XZ, _LZMA, *_UNREADABLE, *_ZLIB_HEADS)
_DATA_PICKLE = re.compile(r"(?:^|/)data\.pkl$|\.(?:pkl|pickle|joblib)$", re.IGNORECASE)


class MemberKind(NamedTuple):
    """A member that is code: its name ("" for the archive itself), a code and a noun phrase."""

    name: str
    code: str
    noun: str


_NOT_READ = MemberKind("", "not-scanned", "can't be looked into")


def code_in_archive(file: IO[bytes], head: bytes, budget: Budget, *, depth: int = 0) -> MemberKind | None:
    """The first member that is code; None where there is none, or where the file is no archive.

    `head` are the file's first bytes; `budget` is that of the whole scan.
    """
    try:
        if head.startswith(_UNREADABLE):
            return _NOT_READ
        if head.startswith(_ZIP) or _ends_as_zip(file):
            return _first_code(_zip_members(file), depth, budget)
        if _is_tar(head):
            file.seek(0)
            return _first_code(_tar_members(io.BufferedReader(_Bounded(file, budget))), depth, budget)
        opened = _decompressed(file, head)
        return None if opened is None else _in_compressed(opened, depth, budget)
    except (TooMuchError, NotImplementedError):
        return _NOT_READ
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, ValueError, RuntimeError):
        # What only looks like an archive is none; what breaks off shows no more to its loader.
        return None


def _first_code(members: Iterator[tuple[str, IO[bytes]]], depth: int, budget: Budget) -> MemberKind | None:
    for name, member in members:
        found = _code_in_member(name, member, depth, budget)
        if found is not None:
            return found
    return None


def _code_in_member(name: str, member: IO[bytes], depth: int, budget: Budget) -> MemberKind | None:
    shown = ascii(name)[1:-1][:200]
    head = budget.read(member, _HEAD)
    is_whole = len(head) < _HEAD
    if not is_whole and goes_on(head):
        head += budget.read(member, HEAD_BYTES)
        is_whole = len(head) < _HEAD + HEAD_BYTES
    budget.charge(head)
    kind = kind_of(name, head, is_whole=is_whole)
    if kind is not None:
        return MemberKind(shown, kind.code, kind.noun)
    if names_code(name):
        return MemberKind(shown, "archive-code", "code by its name")
    if _DATA_PICKLE.search(name) and head[:1] == b"\x80":
        return MemberKind(shown, "pickle", "a pickle")
    inner = _in_inner(head, member, depth, budget)
    if inner is None or inner.code != "not-scanned":
        return inner and MemberKind(shown, inner.code, f"an archive with {inner.name or inner.noun}")
    return MemberKind("", inner.code, f"holds {shown}, which can't be looked into")


def _in_inner(head: bytes, stream: IO[bytes], depth: int, budget: Budget) -> MemberKind | None:
    """What stands in an archive within the archive, which is read into memory."""
    if not head.startswith(_ARCHIVES) and not _is_tar(head):
        return None
    if depth >= _MAX_DEPTH:
        return _NOT_READ
    content = head + budget.read(stream, _MAX_INNER_BYTES)
    if len(content) >= _MAX_INNER_BYTES:
        return _NOT_READ
    return code_in_archive(io.BytesIO(content), content[:HEAD_BYTES], budget, depth=depth + 1)


def _in_compressed(opened: IO[bytes], depth: int, budget: Budget) -> MemberKind | None:
    """A compressed tar's members, or what else was compressed."""
    stream = io.BufferedReader(_Bounded(opened, budget), HEAD_BYTES)
    head = stream.peek(HEAD_BYTES)[:HEAD_BYTES]
    if _is_tar(head):
        return _first_code(_tar_members(stream), depth, budget)
    budget.charge(head)
    kind = kind_of("", head, is_whole=len(head) < _HEAD)
    if kind is not None:
        return MemberKind("what is compressed", kind.code, kind.noun)
    return _in_inner(stream.read(len(head)), stream, depth, budget)


def _zip_members(file: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    if _index_bytes(file) > _MAX_INDEX_BYTES:
        raise TooMuchError
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        if len(infos) > _MAX_MEMBERS:
            raise TooMuchError
        for info in infos:
            if info.is_dir():
                continue
            if info.flag_bits & 1:  # Encrypted: its name has to do.
                yield info.filename, io.BytesIO()
                continue
            with archive.open(info) as member:
                yield info.filename, member


def _index_bytes(file: IO[bytes]) -> int:
    """How large the zip's index says that it is: zipfile reads it whole."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - (1 << 16) - 22))
    tail = file.read()
    place = tail.rfind(b"PK\x05\x06")
    return int.from_bytes(tail[place + 12 : place + 16], "little") if place >= 0 else 0


def _is_tar(head: bytes) -> bool:
    """Whether a tar begins there, of any age: the sum of its header is right."""
    try:
        tarfile.TarInfo.frombuf(head[:512], "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError):
        return head[257:262] == b"ustar"
    return True


def _tar_members(file: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(fileobj=file, mode="r|") as archive:
        for count, member in enumerate(archive):
            if count >= _MAX_MEMBERS:
                raise TooMuchError
            opened = archive.extractfile(member) if member.isreg() else None
            yield member.name, io.BytesIO() if opened is None else opened


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
    if head.startswith((_XZ, _LZMA)):
        import lzma

        return lzma.LZMAFile(file)
    if head.startswith(_ZLIB_HEADS):
        return io.BytesIO(zlib.decompressobj().decompress(head, HEAD_BYTES))
    return None


class _Bounded(io.RawIOBase):
    """A stream that is read within the budget; behind that nothing is."""

    def __init__(self, file: IO[bytes], budget: Budget) -> None:
        super().__init__()
        self._file, self._budget = file, budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        found = self._budget.read(self._file, min(len(buffer), 1 << 20))
        buffer[: len(found)] = found
        return len(found)
