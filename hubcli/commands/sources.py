"""Where the bytes of a model come from: a host, a file, a directory, standard input, this package."""

from __future__ import annotations

import hashlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import BinaryIO

from hubcli.archive.compression import decompressed
from hubcli.archive.limits import Limits
from hubcli.archive.members import FileRecord, MemberStream
from hubcli.archive.reader import ChunkReader
from hubcli.archive.tar import walk_tar
from hubcli.archive.tree import walk_tree
from hubcli.archive.unpack import unpack
from hubcli.errors import HandleError, NotFoundError, UsageError
from hubcli.handle import Handle, HandleKind
from hubcli.pipeline import Ahead
from hubcli.settings import Settings

__all__ = ["ArchiveSource", "Source", "TreeSource", "open_source", "unreadable_bucket"]

_READ_BYTES = 256 << 10
# Items, not bytes: chunks of the network and inflated ones have at most 256 KiB.
_RECEIVED_AHEAD, _INFLATED_AHEAD = 32, 32
_EXAMPLES = {"mul": "mul-1.tar.gz", "mul/1": "mul-1.tar.gz"}

OnBytes = Callable[[int], None]


class Source(ABC):
    """An opened source. `name` has no secrets; sizes are in bytes, None where unknown."""

    name: str
    size_bytes: int | None = None
    etag: str | None = None
    archive_sha256: str | None = None
    archive_bytes: int | None = None

    @abstractmethod
    def unpack_into(
        self, destination: Path, limits: Limits, *, on_received: OnBytes, on_unpacked: OnBytes
    ) -> tuple[FileRecord, ...]:
        """Fills the empty directory; the files that were written, sorted by path."""

    @abstractmethod
    def members(self, limits: Limits, on_received: OnBytes) -> MemberStream:
        """The members with their bytes, for a reader that may stop before the end."""


class ArchiveSource(Source):
    """An archive that comes in chunks. Its SHA-256 and size are known once it is unpacked."""

    def __init__(
        self, name: str, chunks: Iterable[bytes], size_bytes: int | None, etag: str | None = None
    ) -> None:
        self.name = name
        self.size_bytes = size_bytes
        self.etag = etag
        self._chunks = chunks

    def unpack_into(
        self, destination: Path, limits: Limits, *, on_received: OnBytes, on_unpacked: OnBytes
    ) -> tuple[FileRecord, ...]:
        """Unpacks in one pass, on three threads: receive and hash, inflate, write and hash."""
        received = Ahead(self._hashed(on_received), _RECEIVED_AHEAD)
        inflated = Ahead(decompressed(received), _INFLATED_AHEAD)
        # The first stage is closed first: it may be what the second waits for.
        with inflated, received:
            return unpack(walk_tar(ChunkReader(inflated), limits), destination, limits, on_unpacked)

    def members(self, limits: Limits, on_received: OnBytes) -> MemberStream:
        """Inflates what is asked for and no more."""
        return walk_tar(ChunkReader(decompressed(self._hashed(on_received))), limits)

    def _hashed(self, on_received: OnBytes) -> Iterator[bytes]:
        digest, total = hashlib.sha256(), 0
        for chunk in self._chunks:
            digest.update(chunk)
            total += len(chunk)
            on_received(len(chunk))
            yield chunk
        self.archive_sha256, self.archive_bytes = digest.hexdigest(), total


class TreeSource(Source):
    """A local directory, copied through the same checks as an archive."""

    def __init__(self, name: str, top: Path) -> None:
        self.name = name
        self._top = top

    def unpack_into(
        self, destination: Path, limits: Limits, *, on_received: OnBytes, on_unpacked: OnBytes
    ) -> tuple[FileRecord, ...]:
        """Copies every file, hashing it on the way."""
        return unpack(walk_tree(self._top), destination, limits, on_unpacked)

    def members(self, limits: Limits, on_received: OnBytes) -> MemberStream:
        """Walks the directory."""
        return walk_tree(self._top)


@contextmanager
def open_source(handle: Handle, settings: Settings, local: str | None) -> Iterator[Source]:
    """The source of the handle's bytes, or of `local` (a path, or `-` for standard input) instead.

    Raises NotFoundError, NetworkError, HandleError for what can't be opened.
    """
    if local == "-":
        with _open_standard_input() as file:
            yield ArchiveSource("standard input", _chunks_of(file), None)
    elif local is not None:
        with _open_path(_local_path(local)) as source:
            yield source
    elif handle.path is not None:
        with _open_path(handle.path) as source:
            yield source
    elif handle.kind is HandleKind.EXAMPLE:
        packed = resources.files("hubcli.examples") / _example(handle)
        with resources.as_file(packed) as path, _open_path(path) as source:
            source.name = str(handle)
            yield source
    elif handle.archive_url is not None:
        with _open_url(settings.mirrored(handle.archive_url), settings) as source:
            yield source
    else:
        raise unreadable_bucket(handle)


def unreadable_bucket(handle: Handle) -> HandleError:
    """The error for a handle whose bytes are in a bucket."""
    return HandleError(
        f"{handle} is in a bucket, which hubcli doesn't read yet",
        hint=f"Copy it to a file first, then: hubcli fetch {handle} --from FILE",
    )


@contextmanager
def _open_url(url: str, settings: Settings) -> Iterator[Source]:
    # Imported here: a hit in the cache needs no HTTP, and httpx takes 80 ms to load.
    from hubcli.net.download import open_download

    with open_download(url, timeout_s=settings.timeout_s) as download:
        yield ArchiveSource(download.url, download.chunks(), download.size_bytes, download.etag)


def _open_standard_input() -> BinaryIO:
    """Standard input without a buffer: its lock would not survive an interrupt."""
    if sys.stdin is None:
        raise UsageError("Standard input is closed", hint="Pipe an archive into hubcli fetch HANDLE --from -")
    return open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)


def _local_path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise NotFoundError(f"{text} names the home of an unknown user", hint="Check the path.") from error


@contextmanager
def _open_path(path: Path) -> Iterator[Source]:
    try:
        name = path.resolve().as_uri()
        size = path.stat().st_size
        file = None if path.is_dir() else path.open("rb", buffering=0)
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise NotFoundError(f"{path} can't be opened: {reason}", hint="Check the path.") from error
    if file is None:
        yield TreeSource(name, path)
        return
    with file:
        yield ArchiveSource(name, _chunks_of(file), size)


def _chunks_of(file: BinaryIO) -> Iterator[bytes]:
    try:
        while chunk := file.read(_READ_BYTES):
            yield chunk
    except OSError as error:
        raise NotFoundError(f"The archive can't be read: {error.strerror}") from error


def _example(handle: Handle) -> str:
    name = str(handle).split("://", 1)[1]
    if name not in _EXAMPLES:
        raise NotFoundError(f"{handle} is no built-in example", hint="Built in: example://mul/1")
    return _EXAMPLES[name]
