"""Unpacks archives: compression is undone, and members become new files below one directory, hashed.

Compression is told by magic bytes, and every checksum in it is verified. Sources: RFC 1952 (gzip), the bzip2
and xz file formats, POSIX.1-2017 pax (tar).
"""

from __future__ import annotations

import bz2
import hashlib
import itertools
import lzma
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from isal import igzip_lib

from hubcli.archive import FileRecord, Limits, Member, MemberStream
from hubcli.archive.tree import NameRules
from hubcli.config.environment import on_disk
from hubcli.durability import UNSYNCED, Durability, WriteBack, unique_number
from hubcli.errors import DiskFullError, IntegrityError, TruncatedError, UnsafeArchiveError
from hubcli.units import format_size

__all__ = ["MemberCheck", "decompressed", "lift_wrapping_folder", "require_room", "unpack"]


class MemberCheck:
    """What every reader of an archive holds its members to: names, limits, and copies that are the same.

    `hint` says what to do with an archive that is larger than the limit.
    """

    def __init__(self, limits: Limits, hint: str) -> None:
        self._rules = NameRules(limits)
        self._limits = limits
        self._hint = hint
        self._total_bytes = 0
        self._first: dict[str, tuple[int, str]] = {}

    def accept(self, member: Member, pieces: Iterator[memoryview]) -> tuple[str, ...] | None:
        """The segments of the member's path; None of a file that came before, which is read and compared.

        Raises UnsafeArchiveError for a name or a size that isn't allowed, and for copies that differ.
        """
        segments = self._rules.accept(member.name, is_directory=member.is_directory)
        if member.is_directory:
            return segments
        self._total_bytes += member.size_bytes
        if self._total_bytes > self._limits.unpacked_bytes:
            raise UnsafeArchiveError(
                f"The archive unpacks to more than {format_size(self._limits.unpacked_bytes)}",
                hint=self._hint,
            )
        if not self._rules.is_repeated:
            return segments
        size_bytes, sha256 = self._first["/".join(segments)]
        if member.size_bytes != size_bytes or _sha256(pieces) != sha256:
            raise UnsafeArchiveError(
                f"The archive contains {member.name[:200]!r} twice, with different content",
                hint="Report it to the publisher of the archive.",
            )
        return None

    def note(self, path: str, size_bytes: int, sha256: str) -> None:
        """Takes down a file that came for the first time."""
        self._first[path] = (size_bytes, sha256)


def _sha256(pieces: Iterator[memoryview]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
# What stays free on the disk: a file system that is full to the last block hurts everyone.
_RESERVE_BYTES = 16 << 20


def unpack(
    members: MemberStream,
    destination: Path,
    limits: Limits,
    on_bytes: Callable[[int], None] = lambda size: None,
    durability: Durability = UNSYNCED,
) -> tuple[FileRecord, ...]:
    """Writes the members below the empty directory `destination`; the files, sorted by path.

    A file that comes again with the same bytes is one file. Stored owners, modes and times are ignored.
    `on_bytes` hears of each piece written, in bytes. Where `durability` is on, large files go to the disk
    while they are written; the sync is the caller's. Raises UnsafeArchiveError, TruncatedError,
    IntegrityError or DiskFullError; what was written until then is the caller's to remove.
    """
    check, records = (
        MemberCheck(limits, "If you trust the archive, add --max-unpacked SIZE."),
        list[FileRecord](),
    )
    for member, pieces in members:
        segments = check.accept(member, pieces)
        if segments is None:
            continue
        names = tuple(map(on_disk, segments))
        _make_folders(destination, names if member.is_directory else names[:-1])
        if member.is_directory:
            continue
        require_room(destination, member.size_bytes, repr(member.name))
        digest = _write(destination.joinpath(*names), member, pieces, on_bytes, durability)
        records.append(FileRecord("/".join(segments), member.size_bytes, digest))
        check.note(records[-1].path, member.size_bytes, digest)
    return tuple(sorted(records, key=lambda record: record.path))


def require_room(folder: Path, size_bytes: int, what: str, way_out: str = "use another --cache-dir") -> None:
    """Raises DiskFullError where `what`, of that size, would fill the disk of the folder."""
    free = shutil.disk_usage(folder).free
    if size_bytes + _RESERVE_BYTES > free:
        raise DiskFullError(
            f"Not enough disk space for {what}: it needs {format_size(size_bytes)}, "
            f"{format_size(free)} are free",
            hint=f"Free some space, or {way_out}.",
        )


def _make_folders(destination: Path, segments: tuple[str, ...]) -> None:
    """Makes each folder below the destination, but never the destination itself.

    Where that is gone, another process took it away: what is written there
    afterwards would be half a model.
    """
    folder = destination
    for segment in segments:
        folder = folder / segment
        folder.mkdir(exist_ok=True)


def _write(
    path: Path,
    member: Member,
    pieces: Iterator[memoryview],
    on_bytes: Callable[[int], None],
    durability: Durability,
) -> str:
    """Writes one file and returns its SHA-256."""
    digest, written = hashlib.sha256(), 0
    descriptor = os.open(path, _CREATE, 0o666)
    write_back = WriteBack(descriptor, durability)
    try:
        for piece in pieces:
            digest.update(piece)
            written += len(piece)
            rest = piece
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            write_back.wrote(len(piece))
            on_bytes(len(piece))
    finally:
        os.close(descriptor)
    if written != member.size_bytes:
        raise TruncatedError(f"{member.name!r} changed while it was read")
    return digest.hexdigest()


def lift_wrapping_folder(
    destination: Path, records: tuple[FileRecord, ...]
) -> tuple[str | None, tuple[FileRecord, ...]]:
    """Moves the content up where one folder wraps it all; that folder's name, and the new records.

    The name is None where nothing was wrapped.
    """
    tops = list(destination.iterdir())
    if len(tops) != 1 or not tops[0].is_dir():
        return None, records
    wrapping = os.fsencode(tops[0].name).decode("utf-8", "surrogateescape")  # As the records have it.
    # Under another name first: the folder may hold a member of its own name.
    aside = tops[0].rename(destination / f".{unique_number()}")
    for child in aside.iterdir():
        child.rename(destination / child.name)
    aside.rmdir()
    lifted = tuple(
        FileRecord(record.path.removeprefix(f"{wrapping}/"), record.size_bytes, record.sha256)
        for record in records
    )
    return wrapping, lifted


OUTPUT_CHUNK_BYTES = 256 << 10
_HEAD_BYTES = 512
_XZ_MEMORY_BYTES = 256 << 20
_MAX_LAYERS = 2
# So many streams may be empty or nearly so; each costs as much as a hundred kilobytes of content.
_FREE_STREAMS = 1000
# So much input may bring no output: a block of bzip2 has 900 kB, packers pad to some MiB at most. In all,
# a packer never makes more of its input than some hundredths; streams with little in them cost a header.
_MAX_IDLE_BYTES = 4 << 20
_MAX_EXPANSION = 2
# The stub of isal takes the class for an instance.
_IGZIP_ERROR: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment]

# First bytes of what hosts send instead of an archive.
_OTHERS = (
    (b"PK\x03\x04", "a zip file"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (b"<", "a web page or XML"),
    (b"{", "JSON"),
    (b"version https://git-lfs", "a git-LFS pointer"),
    (b"\x89HDF", "an HDF5 file"),
)


class _Decompressor(Protocol):
    """What bz2, lzma and igzip_lib decompressors have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def _gzip() -> _Decompressor:
    decompressor: _Decompressor = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    return decompressor


_CODECS: tuple[tuple[bytes, str, Callable[[], _Decompressor]], ...] = (
    (b"\x1f\x8b", "gzip", _gzip),
    (b"BZh", "bzip2", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\0", "xz", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)),
)


def decompressed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes of the tar archive in `chunks`, in pieces of at most 256 KiB.

    Takes gzip, bzip2, xz and plain tar, compressed twice at most (a host that
    adds a Content-Encoding of its own). The end is reached only when every
    stream ended whole with a good checksum. Raises TruncatedError,
    IntegrityError, or UnsafeArchiveError for what is no tar archive.
    """
    stream = iter(chunks)
    for _ in range(_MAX_LAYERS + 1):
        head, stream = _peek(stream)
        codec = next((codec for codec in _CODECS if head.startswith(codec[0])), None)
        if codec is None:
            _require_tar(head)
            yield from stream
            return
        stream = _expanded(stream, codec[1], codec[2])
    raise UnsafeArchiveError(f"The archive has a compression ratio of more than {_MAX_LAYERS}")


def _peek(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes (512 if there are as many), and all chunks again."""
    taken: list[bytes] = []
    while sum(map(len, taken)) < _HEAD_BYTES:
        chunk = next(chunks, None)
        if chunk is None:
            break
        taken.append(chunk)
    return b"".join(taken)[:_HEAD_BYTES], itertools.chain(taken, chunks)


def _require_tar(head: bytes) -> None:
    if not head:
        raise TruncatedError("The archive is empty (0 bytes)")
    looks_like_tar = len(head) == _HEAD_BYTES and (head[257:262] == b"ustar" or not head.strip(b"\0"))
    if looks_like_tar or (len(head) == _HEAD_BYTES and _has_tar_checksum(head)):
        return
    what = next((name for magic, name in _OTHERS if head.lstrip().startswith(magic)), "something else")
    if head[4:8] == b"TFL3":  # FlatBuffers: the identifier stands behind the offset of the root.
        what = "a TF Lite model"
    raise UnsafeArchiveError(
        f"Not a tar archive (plain, gzip, bzip2 or xz), but {what}",
        hint=(
            "Check the URL: it must return the archive itself, not a page about it. "
            "If the handle has no version, add one, such as HANDLE/1."
        ),
    )


def _has_tar_checksum(head: bytes) -> bool:
    """Whether this is a header of the format before POSIX, which has no magic bytes."""
    stored = head[148:156].strip(b" \0").lstrip(b"0")
    return stored == b"%o" % (sum(head[:148]) + 8 * 32 + sum(head[156:]))


class _Balance:
    """Input against output: what a stream takes in must come out as something."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._idle_bytes = self._input_bytes = self.output_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Counts input. Raises UnsafeArchiveError where nothing, or next to nothing, comes of it."""
        self._idle_bytes += size_bytes
        self._input_bytes += size_bytes
        most_bytes = _MAX_IDLE_BYTES + _MAX_EXPANSION * self.output_bytes
        if self._idle_bytes > _MAX_IDLE_BYTES or self._input_bytes > most_bytes:
            raise UnsafeArchiveError(
                f"The {self._name} stream has more than {_MAX_IDLE_BYTES >> 20} MiB of padding"
            )

    def give(self, size_bytes: int) -> None:
        """Counts output."""
        self._idle_bytes = 0
        self.output_bytes += size_bytes


def _expanded(
    chunks: Iterator[bytes], name: str, make_decompressor: Callable[[], _Decompressor]
) -> Iterator[bytes]:
    """What the concatenated compressed streams in `chunks` hold."""
    current: _Decompressor | None = None  # None between two streams
    streams, balance = 0, _Balance(name)
    for chunk in chunks:
        pending = chunk
        balance.take(len(chunk))
        while True:
            if current is None:
                pending = pending.lstrip(b"\0")  # Some packers fill up the last block.
                if not pending:
                    break
                streams += 1
                if streams > _FREE_STREAMS and balance.output_bytes < streams * _HEAD_BYTES:
                    raise UnsafeArchiveError(f"The archive consists of thousands of empty {name} streams")
                current = make_decompressor()
            output = _step(current, pending, name)
            pending = b""
            if output:
                balance.give(len(output))
                yield output
            if current.eof:
                pending, current = current.unused_data, None
            elif current.needs_input:
                break
    if current is not None:
        raise TruncatedError(f"The {name} stream is truncated")


def _step(decompressor: _Decompressor, data: bytes, name: str) -> bytes:
    try:
        return decompressor.decompress(data, OUTPUT_CHUNK_BYTES)
    except EOFError as error:
        raise TruncatedError(f"The {name} stream is truncated") from error
    except MemoryError as error:
        raise UnsafeArchiveError(f"The {name} stream needs too much memory") from error
    except lzma.LZMAError as error:
        if "emory" in str(error):  # LZMA_MEMLIMIT_ERROR has no class of its own.
            raise UnsafeArchiveError(f"The {name} stream needs too much memory") from error
        raise IntegrityError(f"The {name} stream is corrupt: {error}") from error
    except (_IGZIP_ERROR, OSError, ValueError) as error:
        raise IntegrityError(f"The {name} stream is corrupt: {error}") from error
