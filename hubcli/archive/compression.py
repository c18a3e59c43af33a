"""Compressions of archives: one table of their names, magic bytes and decompressors, and their streams.

Every checksum in a stream is verified. Sources: RFC 1952 (gzip), the bzip2 and xz file formats.

Decompressors are imported when they are used, since parsing any handle needs `ARCHIVE_SUFFIXES`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

from hubcli.errors import IntegrityError, TruncatedError, UnsafeArchiveError

__all__ = [
    "ARCHIVE_FORMATS",
    "ARCHIVE_SUFFIXES",
    "COMPRESSED_SUFFIXES",
    "HEAD_BYTES",
    "archive_format",
    "decompressed",
]

_OUTPUT_CHUNK_BYTES = 256 << 10
HEAD_BYTES = 512  # Enough to detect an archive and its compression.
_XZ_MEMORY_BYTES = 256 << 20
_MAX_LAYERS = 2
# The limit of almost empty streams: each costs as much time as 100 kB of content.
_FREE_STREAMS = 1000
# Input that may give no output: a block of bzip2 has 900 kB, packers pad to some MiB at most. In all, a
# compressor makes its input larger by some hundredths at most, and by a header for each stream.
_MAX_IDLE_BYTES = 4 << 20
_MAX_EXPANSION = 2

# Magic bytes of what hosts send instead of an archive.
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


class _Compression(NamedTuple):
    """A compression of tar archives: its name, magic bytes, suffixes of file names, and decompressor."""

    name: str
    magic: bytes
    suffixes: tuple[str, ...]
    decompressor: Callable[[], _Decompressor]


def _gzip() -> _Decompressor:
    from isal import igzip_lib

    decompressor: _Decompressor = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    return decompressor


def _bzip2() -> _Decompressor:
    import bz2

    return bz2.BZ2Decompressor()


def _xz() -> _Decompressor:
    import lzma

    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)


# Every supported compression has a line here, which handles, tiers and messages use, too.
_COMPRESSIONS = (
    _Compression("gzip", b"\x1f\x8b", (".tar.gz", ".tgz"), _gzip),
    _Compression("bzip2", b"BZh", (".tar.bz2", ".tbz2"), _bzip2),
    _Compression("xz", b"\xfd7zXZ\0", (".tar.xz", ".txz"), _xz),
)
ARCHIVE_SUFFIXES = (".tar", *(suffix for known in _COMPRESSIONS for suffix in known.suffixes))
"""The suffixes of archives, by which handles distinguish them from models."""

COMPRESSED_SUFFIXES = tuple("." + suffix.rpartition(".")[2] for suffix in ARCHIVE_SUFFIXES[1:])
"""The last suffix of each, which any file with that compression has."""

ARCHIVE_FORMATS = ("tar", *(known.suffixes[0][1:] for known in _COMPRESSIONS))
"""The formats of archives, as manifests of shared tiers name them."""


def archive_format(head: bytes) -> str:
    """The format of the archive that begins with these bytes."""
    found = _compression_of(head)
    return "tar" if found is None else found.suffixes[0][1:]


def _compression_of(head: bytes) -> _Compression | None:
    return next((known for known in _COMPRESSIONS if head.startswith(known.magic)), None)


def decompressed(chunks: Iterable[bytes], name: str = "") -> Iterator[bytes]:
    """The bytes of the tar archive in `chunks`, in pieces of at most 256 KiB; errors have its `name`.

    Takes plain tar and each compression of the table, compressed twice at most (a host may add a
    Content-Encoding of its own). It ends without an error only if every stream is complete and has the right
    checksum. Raises TruncatedError, IntegrityError, or UnsafeArchiveError for what is not a tar archive.
    """
    stream = iter(chunks)
    for _ in range(_MAX_LAYERS + 1):
        head, stream = _peek(stream)
        compression = _compression_of(head)
        if compression is None:
            _require_tar(head, name)
            yield from stream
            return
        stream = _expanded(stream, compression)
    raise UnsafeArchiveError(f"The archive is compressed more than {_MAX_LAYERS} times")


def _peek(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first 512 bytes, or fewer if there are no more; and all chunks, those bytes included."""
    taken: list[bytes] = []
    while sum(map(len, taken)) < HEAD_BYTES:
        chunk = next(chunks, None)
        if chunk is None:
            break
        taken.append(chunk)
    return b"".join(taken)[:HEAD_BYTES], itertools.chain(taken, chunks)


def _require_tar(head: bytes, name: str) -> None:
    if not head:
        raise TruncatedError("The archive is empty (0 bytes)")
    looks_like_tar = len(head) == HEAD_BYTES and (head[257:262] == b"ustar" or not head.strip(b"\0"))
    if looks_like_tar or (len(head) == HEAD_BYTES and _has_tar_checksum(head)):
        return
    what = next((name for magic, name in _OTHERS if head.lstrip().startswith(magic)), "something else")
    if head[4:8] == b"TFL3":  # FlatBuffers: the identifier stands behind the offset of the root.
        what = "a TF Lite model"
    *formats, last_format = (known.name for known in _COMPRESSIONS)
    raise UnsafeArchiveError(
        f"Not a tar archive (plain, {', '.join(formats)} or {last_format}), but {what}"
        + (name and f": {name}"),
        hint=(
            "Check the URL or path: it must be the archive itself, not a page about it. "
            "If the handle has no version, add one, such as HANDLE/1."
        ),
    )


def _has_tar_checksum(head: bytes) -> bool:
    """Whether this is a header of the format before POSIX, which has no magic bytes."""
    stored = head[148:156].strip(b" \0").lstrip(b"0")
    return stored == b"%o" % (sum(head[:148]) + 8 * 32 + sum(head[156:]))


class _Balance:
    """Compares input with output: a stream with much more input is refused."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._idle_bytes = self._input_bytes = self.output_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Counts input. Raises UnsafeArchiveError if it gives no output, or far too little."""
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


def _expanded(chunks: Iterator[bytes], compression: _Compression) -> Iterator[bytes]:
    """What the concatenated compressed streams in `chunks` hold."""
    name = compression.name
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
                if streams > _FREE_STREAMS and balance.output_bytes < streams * HEAD_BYTES:
                    raise UnsafeArchiveError(f"The archive consists of thousands of empty {name} streams")
                current = compression.decompressor()
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
        return decompressor.decompress(data, _OUTPUT_CHUNK_BYTES)
    except EOFError as error:
        raise TruncatedError(f"The {name} stream is truncated") from error
    except MemoryError as error:
        raise UnsafeArchiveError(f"The {name} stream needs too much memory") from error
    except Exception as error:  # Each library has its own class for corrupt data.
        if "emory" in str(error):  # LZMAError for LZMA_MEMLIMIT_ERROR: no class of its own.
            raise UnsafeArchiveError(f"The {name} stream needs too much memory") from error
        raise IntegrityError(f"The {name} stream is corrupt: {error}") from error
