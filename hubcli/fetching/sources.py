"""Where the bytes of a model come from: a host, a file, a directory, standard input, this package."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import BinaryIO

from hubcli.archive.compression import decompressed
from hubcli.archive.members import FileRecord, Limits, MemberStream
from hubcli.archive.tar import ChunkReader, walk_tar
from hubcli.archive.tree import walk_tree
from hubcli.archive.unpack import lift_wrapping_folder, unpack
from hubcli.concurrency import ReadAhead
from hubcli.config.settings import Settings
from hubcli.durability import UNSYNCED, Durability
from hubcli.errors import (
    CacheError,
    DiskFullError,
    HandleError,
    NotFoundError,
    OfflineError,
    UsageError,
    means_full,
)
from hubcli.fetching.addresses import archive_address, latest_of
from hubcli.net.retries import DEFAULT_RETRIES, RetryPolicy
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle, HandleKind
from hubcli.regular_file import open_regular, open_stream

__all__ = [
    "ArchiveSource",
    "Source",
    "Transfer",
    "TreeSource",
    "offline_miss",
    "open_source",
    "unpack_archive",
    "unpacked_archive",
    "unreadable_bucket",
]

_READ_BYTES = 256 << 10
# Items, not bytes: chunks of the network and inflated ones have at most 256 KiB.
_RECEIVED_AHEAD, _INFLATED_AHEAD = 32, 32
_EXAMPLES = {"mul": "mul-1.tar.gz", "mul/1": "mul-1.tar.gz"}

OnBytes = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Transfer:
    """How a body comes from a host: attempts, connections, and the path of a spool where there may be one.

    A body that has the `known_etag` still isn't fetched again. The spool is used from `spool_after_bytes` on.
    """

    retries: RetryPolicy = field(default_factory=lambda: RetryPolicy(DEFAULT_RETRIES))
    connections: int = 1
    spool: Path | None = None
    known_etag: str | None = None
    spool_after_bytes: int = 0


class Source(ABC):
    """An opened source. `name` has no secrets; sizes are in bytes, None where unknown.

    Of a large body `resumed_bytes` may be in a spool on the disk from before. `hops` are the
    addresses that led to it; `is_known` says that the bytes are known, and don't come.
    """

    name: str
    size_bytes: int | None = None
    resumed_bytes = 0
    hops: tuple[str, ...] = ()
    is_known = False
    etag: str | None = None
    archive_sha256: str | None = None
    archive_bytes: int | None = None

    @abstractmethod
    def unpack_into(
        self,
        destination: Path,
        limits: Limits,
        *,
        on_received: OnBytes,
        on_unpacked: OnBytes,
        durability: Durability = UNSYNCED,
    ) -> tuple[FileRecord, ...]:
        """Fills the empty directory; the files that were written, sorted by path."""

    @abstractmethod
    def members(self, limits: Limits, on_received: OnBytes) -> MemberStream:
        """The members with their bytes, for a reader that may stop before the end."""


class ArchiveSource(Source):
    """An archive that comes in chunks. Its SHA-256 and size are known once it is unpacked.

    `was_spooled` says, once it has come, whether parts of it came on their own.
    """

    def __init__(
        self, name: str, chunks: Iterable[bytes], size_bytes: int | None, etag: str | None = None
    ) -> None:
        self.name = name
        self.size_bytes = size_bytes
        self.etag = etag
        self._chunks = chunks
        self.was_spooled: Callable[[], bool] = lambda: False
        self.arrived_bytes: Callable[[], int] = lambda: 0  # Ahead of the reader too, of a large body.

    def unpack_into(
        self,
        destination: Path,
        limits: Limits,
        *,
        on_received: OnBytes,
        on_unpacked: OnBytes,
        durability: Durability = UNSYNCED,
    ) -> tuple[FileRecord, ...]:
        """Unpacks in one pass, on three threads: receive and hash, inflate, write and hash."""
        received = ReadAhead(self._hashed(on_received), _RECEIVED_AHEAD)
        inflated = ReadAhead(decompressed(received), _INFLATED_AHEAD)
        # The first stage is closed first: it may be what the second waits for.
        with inflated, received:
            return unpack(
                walk_tar(ChunkReader(inflated), limits), destination, limits, on_unpacked, durability
            )

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
        self,
        destination: Path,
        limits: Limits,
        *,
        on_received: OnBytes,
        on_unpacked: OnBytes,
        durability: Durability = UNSYNCED,
    ) -> tuple[FileRecord, ...]:
        """Copies every file, hashing it on the way."""
        return unpack(walk_tree(self._top), destination, limits, on_unpacked, durability)

    def members(self, limits: Limits, on_received: OnBytes) -> MemberStream:
        """Walks the directory."""
        return walk_tree(self._top)


@contextmanager
def open_source(
    handle: Handle, settings: Settings, local: str | None, transfer: Transfer | None = None
) -> Iterator[Source]:
    """The source of the handle's bytes, or of `local` (a path, or `-` for standard input) instead.

    `transfer` is for hosts; by default one connection, and attempts that nobody hears of.

    Raises NotFoundError, NetworkError, HandleError for what can't be opened.
    """
    if local == "-":
        with _open_standard_input() as file:
            yield ArchiveSource("standard input", _chunks_of(file), None)
    elif local is not None:
        with _open_path(_local_path(local), fifo_wait_s=settings.timeout_s) as source:
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
        transfer = transfer or Transfer()
        if settings.offline:  # The last gate, whatever a command forgot.
            raise offline_miss(handle)
        url = archive_address(latest_of(handle, settings, transfer.retries), settings)
        with _open_url(url, settings, transfer) as source:
            yield source
    else:
        raise unreadable_bucket(handle)


def require_source(handle: Handle, settings: Settings, local: str | None) -> None:
    """Raises what can be known before the cache is touched: HandleError, OfflineError, UsageError."""
    if local is None and handle.kind is HandleKind.GCS:
        raise unreadable_bucket(handle)
    if local is None and settings.offline and handle.is_remote:
        raise offline_miss(handle)
    if local not in (None, "-") and _lies_within(settings.cache_root, str(local)):
        raise UsageError(
            f"The cache {settings.cache_root} lies within {local}", hint="Name the model's own directory."
        )


def _lies_within(root: Path, local: str) -> bool:
    try:
        return root.resolve().is_relative_to(Path(local).expanduser().resolve())
    except (OSError, RuntimeError):
        return False


def offline_miss(handle: Handle) -> OfflineError:
    """The error for a handle that would have to be fetched."""
    return OfflineError(
        f"{handle} is not in the cache, and --offline forbids to fetch it",
        hint=f"Without it: hubcli fetch {handle}",
    )


def unreadable_bucket(handle: Handle) -> HandleError:
    """The error for a handle whose bytes are in a bucket."""
    return HandleError(
        f"{handle} is in a bucket, which hubcli doesn't read yet",
        hint=f"Copy it to a file first, then: hubcli fetch {handle} --from FILE",
    )


@contextmanager
def _open_url(url: str, settings: Settings, transfer: Transfer) -> Iterator[Source]:
    # Imported here: a hit in the cache needs no HTTP, and httpx takes 80 ms to load.
    from hubcli.net.certificates import read_ahead

    read_ahead(settings.access)
    from hubcli.net.download import DownloadOptions, open_download

    options = DownloadOptions(
        settings.timeout_s,
        transfer.retries,
        transfer.connections,
        transfer.spool,
        access=settings.access,
        known_etag=transfer.known_etag,
        min_rate_bytes_s=settings.min_rate_bytes_s,
        # What is only looked at is spooled late, and needs to survive nothing.
        durability=UNSYNCED if transfer.spool is None or transfer.spool_after_bytes else settings.durability,
        spool_after_bytes=transfer.spool_after_bytes,
    )
    with open_download(url, options) as download:
        chunks = download.chunks()
        source = ArchiveSource(download.url, chunks, download.size_bytes, download.etag)
        source.resumed_bytes, source.was_spooled = download.resumed_bytes, lambda: download.is_spooled
        source.arrived_bytes = download.arrived_bytes
        source.hops, source.is_known = download.hops, download.is_known
        try:
            yield source
        finally:
            with suppress(ValueError):  # The thread that reads them may still be at it.
                chunks.close()  # Now, whoever holds on to an error: what came is noted for the next fetch.


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
def _open_path(path: Path, fifo_wait_s: float | None = None) -> Iterator[Source]:
    """The file or directory; a FIFO too where a wait is given, in seconds, for its first byte."""
    try:
        name = path.resolve().as_uri()
        size = path.stat().st_size
        file = None
        if not path.is_dir():
            file = open_regular(path) if fifo_wait_s is None else open_stream(path, fifo_wait_s)
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


@contextmanager
def unpacked_archive(archive: Path, settings: Settings, listener: ProgressListener) -> Iterator[Path]:
    """The directory with the model of the archive, removed when the context ends.

    It stands where the system has room for temporary files, and passed the
    checks of a fetch. Raises IntegrityError for an archive that is damaged or
    must not be unpacked, NotFoundError, DiskFullError, CacheError.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="hubcli-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            unpack_archive(archive, folder, settings, listener)
            yield folder
    except OSError as error:
        kind = DiskFullError if means_full(error) else CacheError
        raise kind(
            f"{archive} can't be unpacked in {tempfile.gettempdir()}: {error.strerror}",
            hint="Name a directory with room for it: TMPDIR=DIR hubcli …",
        ) from error


def unpack_archive(archive: Path, folder: Path, settings: Settings, listener: ProgressListener) -> None:
    """Fills the empty directory with the model of the archive, with the checks of a fetch.

    Raises IntegrityError, NotFoundError, DiskFullError, OSError.
    """
    with open_source(Handle.parse(str(archive)), settings, None) as source:
        listener.started(str(archive), source.name, source.size_bytes)
        files = source.unpack_into(
            folder, Limits(), on_received=listener.received, on_unpacked=listener.unpacked
        )
    lift_wrapping_folder(folder, files)
