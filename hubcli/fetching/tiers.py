"""Shared tiers as a fetch uses them: the interface of one, and the part that all of them have in it.

`hubcli.tiers` implements `Tier`; the verb hands its tiers in. A tier is never trusted: what comes from it
passes the checks of an origin's bytes, and a fault of one is a note, or an error where tiers are required.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hubcli.archive import FileRecord
from hubcli.cache.records import Manifest
from hubcli.config.settings import Settings
from hubcli.errors import (
    CacheError,
    ChecksumError,
    DiskFullError,
    HubcliError,
    IntegrityError,
    NetworkError,
    NotFoundError,
    TierError,
    UnsupportedError,
)
from hubcli.fetching.options import ExpectedDigests, FetchOptions
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle
from hubcli.regular_file import write_all

if TYPE_CHECKING:
    from hubcli.net.byte_source import ByteSource

__all__ = ["ArchiveCopy", "Tier", "TierLease", "TierModel", "TierTurn", "latest_in_tiers"]

# What a tier may fail with; others are faults of the cache, or of the command.
_FAULTS = (NetworkError, IntegrityError, NotFoundError)


@dataclass(frozen=True, slots=True)
class TierModel:
    """What a tier claims to have of a handle: `name` is the address of the archive, `tier` of the tier.

    `is_private` says that it was fetched with credentials when it was put there.
    """

    tier: str
    name: str
    handle: str
    archive_sha256: str
    archive_bytes: int
    tree_sha256: str
    etag: str | None
    is_private: bool = False

    def check_archive(self, sha256: str | None, size_bytes: int | None) -> None:
        """Raises ChecksumError if the archive that came is another."""
        if sha256 != self.archive_sha256:
            raise ChecksumError(
                f"SHA-256 mismatch for {self.name}: expected {self.archive_sha256}, got {sha256}"
            )
        if size_bytes != self.archive_bytes:
            raise ChecksumError(f"{self.name} has {size_bytes} bytes instead of {self.archive_bytes}")


class TierLease(Protocol):
    """The right to be the one machine that downloads from the origin."""

    @property
    def is_held(self) -> bool:
        """Whether this process has it."""

    def release(self, *, has_failed: bool) -> None:
        """Gives it up; if the download failed, others try the origin themselves."""


class Tier(Protocol):
    """A shared tier. Its methods raise NetworkError, IntegrityError, NotFoundError."""

    name: str
    is_writable: bool
    is_local: bool
    takes_private: bool

    @property
    def is_down(self) -> bool:
        """Whether it failed within the last minute: then it gets no requests."""

    def note_outage(self) -> None:
        """Notes that it did not answer, after all retries."""

    def find(self, handle: Handle, expected: ExpectedDigests) -> TierModel | None:
        """What it has of the handle, or exactly what is expected; None if it hasn't got it."""

    def latest(self, handle: Handle) -> Handle | None:
        """The version that the handle without one meant when it was last put there."""

    def open(self, model: TierModel, spool: Path | None) -> AbstractContextManager[ByteSource]:
        """The bytes of the archive, resumed in the spool."""

    def check(self, model: TierModel, files: Sequence[FileRecord]) -> None:
        """Raises ChecksumError if the unpacked files aren't those that it claimed."""

    def distrust(self, model: TierModel) -> None:
        """Notes that its archive is corrupt: the next `put` writes it anew."""

    def used(self, model: TierModel) -> None:
        """Records that the model is used, where that may be written."""

    def put(self, handle: Handle, manifest: Manifest, archive: Path, on_sent: Callable[[int], None]) -> bool:
        """Puts the archive there with its manifest; False if it was there. Raises TierConflictError.

        `on_sent` gets the sizes of what is on its way, and may raise an error to abort it.
        """

    def point(self, unversioned: Handle, version: Handle) -> None:
        """Records which version the handle without one means."""

    def lease(
        self,
        handle: Handle,
        expected: ExpectedDigests,
        timeout_s: float,
        on_wait: Callable[[str], None],
        check: Callable[[], None],
    ) -> TierLease:
        """Waits until this process may use the origin, the tier has what is expected, or the time is over."""


class ArchiveCopy:
    """The bytes of an archive as they come from the origin, in a file that ends with the process.

    A copy that the disk has no room for is given up. `path` opens it anew until it is closed.
    """

    path = Path()

    def __init__(self, folder: Path) -> None:
        self._opened = ExitStack()
        self._file: FileIO | None = None
        try:
            descriptor = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
            self._file = self._opened.enter_context(os.fdopen(descriptor, "w+b", buffering=0))
            self.path = Path(f"/proc/self/fd/{descriptor}")
        except (OSError, AttributeError):  # Not on this system, or on this file system.
            with suppress(OSError):  # A container may have no folder for temporary files.
                temporary = tempfile.TemporaryDirectory(prefix="hubcli-", ignore_cleanup_errors=True)
                self.path = Path(self._opened.enter_context(temporary)) / "archive"
                self._file = self._opened.enter_context(self.path.open("x+b", buffering=0))
        self.is_complete = self._file is not None

    def restart(self) -> None:
        """Begins anew, for another attempt at the download."""
        if self._file is not None:
            self._file.seek(0)
            self._file.truncate()
            self.is_complete = True

    def write(self, chunk: bytes) -> None:
        """Takes the next bytes."""
        if not self.is_complete or self._file is None:
            return
        try:
            write_all(self._file.fileno(), chunk)
        except OSError:
            self.restart()
            self.is_complete = False

    def close(self) -> None:
        """Closes it; the file is removed."""
        with suppress(OSError):
            self._opened.close()


class TierTurn:
    """The part of the tiers in one fetch: read before the origin, written to after it."""

    def __init__(
        self,
        tiers: Sequence[Tier],
        handle: Handle,
        options: FetchOptions,
        settings: Settings,
        listener: ProgressListener,
    ) -> None:
        is_refreshed = not handle.is_immutable and (options.force or options.refresh)
        is_possible = handle.is_remote and options.local is None
        usable = [tier for tier in tiers if tier.is_local or not settings.offline]
        self._readable = [] if is_refreshed or not is_possible else usable
        self._writable = next((tier for tier in usable if tier.is_writable and is_possible), None)
        self._handle = handle
        self._expected = options.expected
        self._settings = settings
        self._listener = listener
        self._copy: ArchiveCopy | None = None
        self._lease: TierLease | None = None
        self._is_private = self._is_there = False
        self._failures: set[str] = set()  # Failures that have been reported.
        self._unreachable: set[str] = set()  # Names of tiers to which this fetch sends no more requests.
        self.manifest: Manifest | None = None
        self.disk_error: DiskFullError | None = None

    def __enter__(self) -> TierTurn:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if self._lease is not None and self._lease.is_held:
            # If the origin fails, or the tier can't have the model, waiting for the next holder is useless.
            # After an interrupt, or a fault of this machine alone, one of the others takes over.
            has_failed = not self._is_there if error is None else isinstance(error, _FAULTS)
            self._lease.release(has_failed=has_failed)
        if self._copy is not None:
            self._copy.close()

    @property
    def has_readable(self) -> bool:
        """Whether the model may come from a tier."""
        return bool(self._readable)

    def found(self) -> Iterator[tuple[Tier, TierModel]]:
        """The tiers that claim to have the model, with what they claim, in their order."""
        for tier in self._readable:
            if self._is_skipped(tier):
                continue
            model = None
            with self.faults_of(tier):
                model = tier.find(self._handle, self._expected)
            if model is not None:
                yield tier, model

    @contextmanager
    def faults_of(self, tier: Tier, model: TierModel | None = None) -> Iterator[None]:
        """Turns an error of the tier into a note, and ends the context. Raises TierError if it counts."""
        try:
            yield
        except DiskFullError as error:
            # A tier may claim more bytes than the model has: the origin tells whether there is room.
            if model is None or self._settings.require_tier:
                raise
            self.disk_error = error
            self._failed(tier, error)
        except _FAULTS as error:
            if model is not None and isinstance(error, (IntegrityError, NotFoundError)):
                with suppress(*_FAULTS):
                    tier.distrust(model)
            self._failed(tier, error)

    def _failed(self, tier: Tier, error: HubcliError) -> None:
        message = f"Shared tier {tier.name} failed: {error.message}"
        # One that answers, but can't do something, may do the rest.
        if isinstance(error, NetworkError) and not isinstance(error, UnsupportedError):
            self._unreachable.add(tier.name)
            if error.is_transient:
                tier.note_outage()
        if self._settings.require_tier:
            raise TierError(message, hint=error.hint) from error
        if message not in self._failures:
            self._failures.add(message)
            self._listener.note(message)

    def _is_skipped(self, tier: Tier) -> bool:
        """Whether the tier failed before: each question would take all retries and timeouts again."""
        if tier.name not in self._unreachable and tier.is_down:
            self._failed(tier, NetworkError("it did not answer less than a minute ago"))
        return tier.name in self._unreachable

    def used(self, tier: Tier, model: TierModel) -> None:
        """Records that the model came from the tier; where that can't be written, nothing is said."""
        self._is_there = True
        if tier.is_writable:
            with suppress(*_FAULTS):
                tier.used(model)

    def wait(self, check: Callable[[], None]) -> bool:
        """Waits until this process may use the origin; whether the tiers are to be tried once more."""
        tier = self._writable
        if tier is None or not self._readable or self._is_skipped(tier):
            return False

        def waiting(host: str) -> None:
            self._listener.waiting(str(self._handle), host)

        with self.faults_of(tier):
            timeout_s = self._settings.lock_timeout_s
            self._lease = tier.lease(self._handle, self._expected, timeout_s, waiting, check)
            return True
        return False

    def copy_of(self, source: ByteSource) -> Callable[[bytes], None] | None:
        """Takes the archive's bytes as they come from the origin, where they are to be put into a tier."""
        tier = self._writable
        if tier is None or source.directory is not None or self._is_skipped(tier):
            return None
        if source.is_private and not tier.takes_private:
            self._is_private = True
            return None
        if self._copy is None:
            self._copy = ArchiveCopy(self._settings.cache_root)
        self._copy.restart()
        return self._copy.write

    def put(self, unversioned: Handle | None, check: Callable[[], None]) -> None:
        """Puts what came from the origin into the writable tier, until `check` raises; a fault is noted."""
        tier, manifest = self._writable, self.manifest
        if tier is None or manifest is None:
            return
        if self._is_private:
            self._listener.note(
                f"Not pushed to {tier.name}: {self._handle} was fetched with credentials. "
                "To allow private models there, add private=yes to the address"
            )
        elif self._copy is not None and not self._copy.is_complete:
            self._failed(tier, CacheError("not enough disk space for a copy of the archive"))
        elif self._copy is not None and not self._is_skipped(tier):
            with self.faults_of(tier):
                if tier.put(self._handle, manifest, self._copy.path, lambda size_bytes: check()):
                    self._listener.note(f"Pushed {self._handle} to {tier.name}")
                self._is_there = True
                if unversioned is not None:
                    tier.point(unversioned, self._handle)


def latest_in_tiers(handle: Handle, tiers: Sequence[Tier], settings: Settings) -> Handle | None:
    """The version that the first tier which knows tells for the handle without one."""
    for tier in tiers:
        if (tier.is_local or not settings.offline) and not tier.is_down:
            with suppress(*_FAULTS):
                version = tier.latest(handle)
                if version is not None:
                    return version
    return None
