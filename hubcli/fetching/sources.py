"""From bytes to a model's files: the byte source of a handle, unpacked or walked.

Failed attempts are retried here, and disk space is checked before and while a model is written.
"""

from __future__ import annotations

import errno
import gc
import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hubcli.archive import FileRecord, Limits, MemberStream
from hubcli.archive.compression import decompressed
from hubcli.archive.tar import ChunkReader, walk_tar
from hubcli.archive.tree import walk_tree
from hubcli.archive.unpack import lift_wrapping_folder, require_room, unpack
from hubcli.concurrency import STAGE_BYTES, ReadAhead
from hubcli.config.settings import Settings
from hubcli.durability import UNSYNCED, Durability
from hubcli.errors import (
    AuthenticationError,
    BodyChangedError,
    CacheError,
    DiskFullError,
    HubcliError,
    IntegrityError,
    NotFoundError,
    OfflineError,
    UsageError,
    means_full,
)
from hubcli.fetching.model_ref import archive_address, is_mirrored, latest_of
from hubcli.net.retries import RetryPolicy, release_frames
from hubcli.net.spool import discard_spool
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle

if TYPE_CHECKING:
    from hubcli.fetching.byte_sources import Transfer
    from hubcli.fetching.options import FetchOptions
    from hubcli.net.byte_source import ByteSource

__all__ = [
    "DiskSpaceGuard",
    "OnBytes",
    "RetryLoop",
    "Unpacked",
    "members_of",
    "open_source",
    "require_source",
    "unpack_archive",
    "unpack_source",
    "unpacked_archive",
]

_ITEMS_AHEAD = 256  # Counted, since chunks of a slow host may have a few bytes each.

OnBytes = Callable[[int], None]


class Unpacked(NamedTuple):
    """The files that were written, sorted by path; SHA-256 and size of the archive, None of a directory."""

    files: tuple[FileRecord, ...]
    archive_sha256: str | None = None
    archive_bytes: int | None = None


def unpack_source(
    source: ByteSource,
    destination: Path,
    limits: Limits,
    *,
    on_received: OnBytes,
    on_unpacked: OnBytes,
    durability: Durability = UNSYNCED,
    keep: Callable[[bytes], None] | None = None,
    ahead_bytes: int = STAGE_BYTES,
) -> Unpacked:
    """Fills the empty directory in one pass, on three threads: receive and hash, inflate, write and hash.

    `keep` gets the bytes of the archive as they come. Up to `ahead_bytes` wait for each of the last two.
    A directory is copied through the same checks. Raises what `ByteSource.read` and `unpack` do.
    """
    if source.directory is not None:
        return Unpacked(unpack(walk_tree(source.directory), destination, limits, on_unpacked, durability))
    digest = _Digest(on_received, keep)
    with _closed_at_end(source.read()) as chunks:
        received = ReadAhead(digest.through(chunks), _ITEMS_AHEAD, ahead_bytes)
        inflated = ReadAhead(decompressed(received, source.name), _ITEMS_AHEAD, ahead_bytes)
        # The first stage is closed first: it may be what the second waits for.
        with inflated, received:
            members = walk_tar(ChunkReader(inflated), limits)
            files = unpack(members, destination, limits, on_unpacked, durability)
    return Unpacked(files, digest.sha256.hexdigest(), digest.size_bytes)


@contextmanager
def members_of(source: ByteSource, limits: Limits, on_received: OnBytes) -> Iterator[MemberStream]:
    """The members with their bytes, for a reader that may stop before the end: no more is inflated."""
    if source.directory is not None:
        yield walk_tree(source.directory)
        return
    with _closed_at_end(source.read()) as chunks:
        yield walk_tar(ChunkReader(decompressed(_Digest(on_received).through(chunks), source.name)), limits)


@contextmanager
def _closed_at_end(chunks: Iterator[bytes]) -> Iterator[Iterator[bytes]]:
    """Ends the reading with the context, even where an error is kept: the next download resumes there."""
    try:
        yield chunks
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            with suppress(ValueError):  # The thread that reads them may still be running.
                close()


class _Digest:
    """SHA-256 and size of what went through."""

    def __init__(self, on_received: OnBytes, keep: Callable[[bytes], None] | None = None) -> None:
        self.sha256 = hashlib.sha256()
        self.size_bytes = 0
        self._on_received = on_received
        self._keep = keep

    def through(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.sha256.update(chunk)
            self.size_bytes += len(chunk)
            self._on_received(len(chunk))
            if self._keep is not None:
                self._keep(chunk)
            yield chunk


@contextmanager
def open_source(
    handle: Handle, settings: Settings, local: str | None, transfer: Transfer | None = None
) -> Iterator[ByteSource]:
    """The byte source of the handle, or of `local` (a path, or `-` for standard input) instead.

    `transfer` is for hosts; by default one connection, and attempts without messages.

    Raises NotFoundError, NetworkError, HandleError for what can't be opened.
    """
    # What is cached needs none of it.
    from hubcli.fetching.byte_sources import Transfer, open_path, open_standard_input

    opened: AbstractContextManager[ByteSource]
    if local == "-":
        opened = open_standard_input()
    elif local is not None:
        opened = open_path(_local_path(local), fifo_wait_s=settings.timeout_s)
    else:
        _require_online(handle, settings)  # The last check, should a command forget it.
        transfer = transfer or Transfer()
        opened = _of_handle(latest_of(handle, settings, transfer.retries), settings, transfer)
    with opened as source:
        yield source


@contextmanager
def _of_handle(handle: Handle, settings: Settings, transfer: Transfer) -> Iterator[ByteSource]:
    """The archive at its address; where that is denied, at its private one."""
    from hubcli.fetching.byte_sources import open_bytes

    address = archive_address(handle, settings)
    with ExitStack() as opened:
        try:
            source = opened.enter_context(open_bytes(address, settings, transfer))
        except (AuthenticationError, NotFoundError):
            private = None
            if not is_mirrored(handle, settings):
                private = handle.provider.private_address(handle, settings.access)
            if private is None:
                raise
            source = opened.enter_context(open_bytes(private, settings, transfer))
        yield source


def require_source(handle: Handle, settings: Settings, local: str | None) -> None:
    """Raises what can be known before the cache is touched: OfflineError, UsageError."""
    if local is None:
        _require_online(handle, settings)
    elif local != "-" and _lies_within(settings.cache_root, local):
        raise UsageError(
            f"The cache {settings.cache_root} is inside {local}", hint="Specify the model's own directory."
        )


def _require_online(handle: Handle, settings: Settings) -> None:
    if settings.offline and handle.is_remote:
        raise OfflineError.of_missing(handle)


def _lies_within(root: Path, local: str) -> bool:
    try:
        return root.resolve().is_relative_to(Path(local).expanduser().resolve())
    except (OSError, RuntimeError):
        return False


def _local_path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise NotFoundError(f"{text} names the home of an unknown user", hint="Check the path.") from error


def temporary_disk_error(message: str, error: OSError, command: str = "") -> CacheError:
    """What to raise where temporary files can't be written; the message is without the reason."""
    kind = DiskFullError if means_full(error) else CacheError
    hint = f"Use a directory with enough space: TMPDIR=DIR hubcli {command}…"
    return kind(f"{message}: {error.strerror or error}", hint=hint)


@contextmanager
def unpacked_archive(archive: Path, settings: Settings, listener: ProgressListener) -> Iterator[Path]:
    """The directory with the model of the archive, removed when the context ends.

    It stands where the system has room for temporary files, and passed the
    checks of a fetch. Raises IntegrityError for an archive that is damaged or
    must not be unpacked, NotFoundError, DiskFullError, CacheError.
    """
    import tempfile  # Of a fetch, nothing is unpacked there.

    with ExitStack() as opened:
        try:
            temporary = tempfile.TemporaryDirectory(prefix="hubcli-", ignore_cleanup_errors=True)
            folder = Path(opened.enter_context(temporary))
            unpack_archive(archive, folder, settings, listener)
        except OSError as error:
            message = f"{archive} cannot be unpacked in {tempfile.gettempdir()}"
            raise temporary_disk_error(message, error) from error
        yield folder  # What the caller does there has errors of its own.


def unpack_archive(archive: Path, folder: Path, settings: Settings, listener: ProgressListener) -> None:
    """Fills the empty directory with the model of the archive, with the checks of a fetch.

    Raises IntegrityError, NotFoundError, DiskFullError, OSError.
    """
    with open_source(Handle.parse(str(archive)), settings, None) as source:
        listener.started(str(archive), source.name, source.size_bytes)
        unpacked = unpack_source(
            source, folder, Limits(), on_received=listener.received, on_unpacked=listener.unpacked
        )
    lift_wrapping_folder(folder, unpacked.files)


_EVERY_BYTES = 8 << 20


class DiskSpaceGuard:
    """Checks that the disk has room for the rest of an archive, which unpacked takes at least its own size.

    The estimate is of what was not received yet, so it adapts to the compression; an archive of unknown
    size has none, and space is checked for each file. Raises DiskFullError, also when it is created.
    `received` and `unpacked` may be called from two threads.
    """

    def __init__(self, folder: Path, name: str, size_bytes: int | None) -> None:
        self._folder = folder
        self._what = name
        self._left_bytes = size_bytes
        self._unasked_bytes = 0
        self._require()
        self._what = f"the rest of {name}"

    def received(self, size_bytes: int) -> None:
        """More bytes of the archive were received."""
        if self._left_bytes is not None:
            self._left_bytes -= size_bytes

    def unpacked(self, size_bytes: int) -> None:
        """More bytes were written; free space is checked every 8 MiB. Raises DiskFullError."""
        self._unasked_bytes += size_bytes
        if self._unasked_bytes >= _EVERY_BYTES:
            self._unasked_bytes = 0
            self._require()

    def _require(self) -> None:
        if self._left_bytes is not None and self._left_bytes > 0:
            require_room(self._folder, self._left_bytes, self._what)


class RetryLoop:
    """The attempts at a body: how the next one is made, given the errors of those before."""

    def __init__(
        self, options: FetchOptions, spool: Path, on_retry: Callable[[str], None], settings: Settings
    ) -> None:
        self._retries = RetryPolicy.of(settings, options.retries, on_retry)
        self._connections = options.connections
        self._spool = spool
        self._has_ranges = options.local is None
        self._has_changed = False
        self._source: ByteSource | None = None

    def transfer(self) -> Transfer:
        """How to transfer the body: on one connection once its parts are in doubt."""
        from hubcli.fetching.byte_sources import Transfer  # What is cached comes from none.

        return Transfer(self._retries, self._connections, self._spool if self._has_ranges else None)

    def opened(self, source: ByteSource) -> None:
        """Notes where it comes from."""
        self._source = source

    @contextmanager
    def attempt(self, clear: Callable[[], None]) -> Iterator[None]:
        """One attempt: suppresses its error if another follows, once `clear` has made room for it.

        Raises the error if it is permanent, or no attempt is left. The spool stays
        for the next fetch, unless it is corrupt or fills the disk.
        """
        try:
            yield
        except HubcliError as error:
            if isinstance(error, DiskFullError):
                clear()  # Removed first: `_after` looks how much space the disk has without it.
            self._after(error)
            clear()
            # httpx's client and its pool are a cycle, and garbage collection is off in a
            # fetch. Here no thread of the attempt runs any more, and no lock is held.
            release_frames(error)
            gc.collect()

    def _after(self, error: HubcliError) -> None:
        if isinstance(error, BodyChangedError):
            self.discard()
            # Twice: perhaps two servers share the address, each with an ETag of its own.
            self._has_ranges &= error.has_ranges and not self._has_changed
            self._has_changed = True
            error.transient()
        elif isinstance(error, DiskFullError) and self._fills_the_disk(error):
            self.discard()
        elif isinstance(error, IntegrityError) and self._was_in_parts and not error.is_transient:
            # Perhaps a part of it was of another body, or damaged: once more, in one piece.
            self.discard()
            self._has_ranges = False
            self._retries.restart(error.transient(), "fetching it again, on one connection,")
            return
        self._retries.restart(error)

    @property
    def _was_in_parts(self) -> bool:
        return self._source is not None and self._source.is_spooled

    def _fills_the_disk(self, error: DiskFullError) -> bool:
        """Whether the model has no room beside the spool, not even when nothing is unpacked."""
        if not self._spool.exists():
            return False
        free_bytes, cause = shutil.disk_usage(self._spool.parent).free, error.__cause__
        # The disk doesn't know what a quota leaves.
        is_quota = isinstance(cause, OSError) and cause.errno == errno.EDQUOT
        return is_quota or free_bytes < self._spool.stat().st_size

    def discard(self) -> None:
        """Removes the spool, where there is one."""
        if self._spool.exists():
            discard_spool(self._spool)
