"""`fetch`: a model into the cache, atomically."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hubcli.cache.cached_model import CachedModel
from hubcli.cache.disk_usage import directory_size_bytes, file_sizes
from hubcli.cache.other_caches import other_caches
from hubcli.cache.records import LockOwner, Manifest
from hubcli.cache.store import Staging, Store
from hubcli.concurrency import CancellationToken
from hubcli.config.settings import Settings
from hubcli.errors import (
    BrokenModelError,
    CacheError,
    IntegrityError,
    LockLostError,
)
from hubcli.fetching.cached import (
    Aliases,
    AliasRecord,
    archive_changed,
    local_directory,
    manifest_of_adopted,
    problem_of,
    versioned,
)
from hubcli.fetching.model_ref import naming
from hubcli.fetching.options import FetchOptions, FetchResult
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle
from hubcli.units import format_size

if TYPE_CHECKING:
    from hubcli.fetching.model_ref import ModelRef
    from hubcli.fetching.sources import DiskSpaceGuard, RetryLoop, Unpacked
    from hubcli.net.byte_source import ByteSource

__all__ = ["FetchOptions", "FetchResult", "fetch", "fetched_directory"]

_MAX_LOST_LOCKS = 3


def fetch(
    handle: Handle | str,
    settings: Settings | None = None,
    options: FetchOptions | None = None,
    listener: ProgressListener | None = None,
    stop: CancellationToken | None = None,
) -> FetchResult:
    """Makes sure that the model is in the cache, where `hub.load` finds it, and says where.

    A local directory is its own place. Another thread can `stop` it. Raises HubcliError of the class that
    fits: HandleError, NotFoundError, NetworkError, IntegrityError, CacheError.
    """
    parsed = Handle.parse(handle) if isinstance(handle, str) else handle
    settings = settings or Settings.read()
    verb = _Fetch(parsed, settings, options or FetchOptions(), listener or ProgressListener())
    verb.stop = stop or verb.stop
    with naming(parsed, settings):
        return verb.run()


def fetched_directory(target: ModelRef, settings: Settings, listener: ProgressListener) -> Path:
    """The model's directory: a handle's is the one in the cache, fetched where it isn't there or not whole.

    The target is not an archive. Raises what `fetch` does.
    """
    directory = target.local_directory
    if directory is not None:
        return directory
    assert target.handle is not None
    return fetch(target.handle, settings, listener=listener).path


class _Fetch:
    """One run of the verb."""

    def __init__(
        self, handle: Handle, settings: Settings, options: FetchOptions, listener: ProgressListener
    ) -> None:
        self.handle = handle
        self.settings = settings
        self.options = options.completed(settings)
        self.listener = listener
        self.stop = CancellationToken()
        self.store = Store(settings.cache_root, settings.durability)
        self.started_at = time.monotonic()
        self.aliases = Aliases(handle, self.store, settings, listener)
        self.disk_space: DiskSpaceGuard | None = None
        self.source: ByteSource | None = None

    def run(self) -> FetchResult:
        if self.handle.is_directory:
            return local_directory(self.handle, self.options, self._received)
        if self.options.local is None:
            self._take_version()
        entry = None if self.options.force else self._hit()
        if entry is not None and not self._is_to_be_asked_for():
            if self.options.local is not None:
                self.listener.note(
                    f"{self.handle} is already cached; use --force to replace it with {self.options.local}"
                )
            return self._finish(entry, was_cached=True)
        adopted = None if entry is not None else self._from_other_cache()
        return adopted or self._fetched()

    def _take_version(self) -> None:
        """Goes on with the version that a handle without any means, where its host knows."""
        options, typed = self.options, self.handle
        is_asked = options.refresh or options.force
        self.handle = versioned(
            typed, self.store, self.settings, self.listener, retries=options.retries, refresh=is_asked
        )
        # Offline, the newest that is cached needn't be the latest: it isn't named so.
        unversioned = None if self.handle is typed or self.settings.offline else typed
        self.aliases = Aliases(self.handle, self.store, self.settings, self.listener, unversioned)

    def _is_to_be_asked_for(self, *, quiet: bool = False) -> bool:
        """Whether the host is to tell if what is cached is still what the handle means."""
        is_changeable = self.handle.is_remote and not self.handle.is_immutable
        if not self.options.refresh or not is_changeable:
            return False
        if self.settings.offline and not quiet:
            self.listener.note(f"Offline: not checking whether {self.handle} changed")
        return not self.settings.offline

    def _from_other_cache(self) -> FetchResult | None:
        """The model as another tool has it, through the checks of any directory; None without a whole one."""
        options = self.options
        if options.force or options.local is not None or options.sha256 is not None:
            return None
        if not self.handle.is_remote:  # Other tools keep copies of what hosts have alone.
            return None
        copies = ((cache.name, cache.find(self.handle)) for cache in other_caches(self.settings))
        owner, copy = next((found for found in copies if found[1] is not None), ("", None))
        if copy is None:
            return None
        self.options = replace(options, local=str(copy))
        try:
            result = self._fetched()
        except IntegrityError as error:
            self.listener.note(f"Ignoring {owner}'s copy of {self.handle}, which is corrupt: {error.message}")
            return None
        finally:
            self.options = options
        if not result.was_cached:
            self.listener.note(f"Using {self.handle} from {owner}'s cache; tensor checksums verified")
        return result

    def _fetched(self) -> FetchResult:
        if not self._is_locked():  # What a crash cut off is completed first: it may need no source.
            from hubcli.fetching.sources import require_source

            require_source(self.handle, self.settings, self.options.local)
        for _ in range(_MAX_LOST_LOCKS):
            with suppress(LockLostError):
                return self._fetch_under_lock()
        return self._fetch_under_lock()

    def _is_locked(self) -> bool:
        return os.path.lexists(self.store.paths(self.handle).lock)

    def _fetch_under_lock(self) -> FetchResult:
        self.stop.check()
        with (
            self.store.locked(
                self.handle, timeout_s=self.settings.lock_timeout_s, on_wait=self._waiting
            ) as lock,
            self.stop.undoing(lock.release),
        ):
            # Another process may have fetched it while this one waited.
            entry = cached = None if self.options.force else self._hit(quiet=True)
            was_cached = True
            if entry is None or self._is_to_be_asked_for():
                with self.store.staged(lock, self.handle) as staging, self.stop.undoing(staging.abandon):
                    entry = self._stage_and_publish(staging, cached)
                    was_cached = not staging.is_published
                    if self.options.pin:
                        self.store.pin(entry.paths)
        if was_cached:
            self.options.expected.check_entry(str(self.handle), entry, self._received)
        return self._finish(entry, was_cached=was_cached)

    def _hit(self, *, quiet: bool = False) -> CachedModel | None:
        """The entry, if it is whole and still what the handle names."""
        entry = self.store.find(self.handle)
        if entry is None or archive_changed(self.handle, entry):
            return None
        problem = problem_of(entry)
        if problem is not None:
            if not quiet and not self._is_locked():
                self.listener.note(
                    f"The cached copy of {self.handle} is corrupt ({problem}): fetching it again"
                )
            return None
        if entry.manifest is None:
            entry = self.store.adopt(entry, manifest_of_adopted(self.handle, entry))
        if not self._is_to_be_asked_for(quiet=True):
            if self.options.tree_sha256 is not None:
                self.listener.started(str(self.handle), str(entry.path), directory_size_bytes(entry.path))
            self.options.expected.check_entry(str(self.handle), entry, self._received)
        # What is said here is seen by a collection that has taken the model away and not yet let it go.
        entry.touch()
        if self.options.pin:
            self.store.pin(entry.paths)
        return entry if entry.path.is_dir() else None

    def _waiting(self, owner: LockOwner | None) -> None:
        self.listener.waiting(str(self.handle), str(owner) if owner else "an unknown process")

    def _stage_and_publish(self, staging: Staging, cached: CachedModel | None) -> CachedModel:
        """Fetches and publishes; begins anew where the body can't be had to its end in one go.

        `cached` is the whole entry that may turn out to be what the host has still.
        """
        from hubcli.fetching.sources import RetryLoop

        retry_loop = RetryLoop(self.options, staging.spool, self.listener.retrying, self.settings)
        entry = None
        while entry is None:
            with retry_loop.attempt(staging.clear):
                entry = self._attempt(staging, retry_loop, cached)
        with suppress(CacheError):  # The model is there: what can't be removed beside it is left to gc.
            retry_loop.discard()
        return entry

    def _attempt(self, staging: Staging, retry_loop: RetryLoop, cached: CachedModel | None) -> CachedModel:
        # Of a download alone: a fetch of a cached model, which is the usual one, starts 15 ms sooner.
        from hubcli.fetching.sources import DiskSpaceGuard, open_source, unpack_source

        local, known = self.options.local, cached.manifest if cached is not None else None
        transfer = replace(retry_loop.transfer(), known_etag=known.etag if known is not None else None)
        with open_source(self.handle, self.settings, local, transfer) as source:
            retry_loop.opened(source)
            self.source = source
            self.stop.check()
            same = self.aliases.entry_of(source, cached)
            if same is not None and not self.options.force:
                return same
            self.listener.started(str(self.handle), source.name, source.size_bytes)
            self.disk_space = DiskSpaceGuard(staging.path, source.name, source.size_bytes)
            if source.resumed_bytes:
                self.listener.resumed(source.resumed_bytes)
                self.listener.note(f"Resuming {self.handle} at {format_size(source.resumed_bytes)}")
            try:
                unpacked = unpack_source(
                    source,
                    staging.path,
                    self.options.limits,
                    on_received=self._received,
                    on_unpacked=self._unpacked,
                    durability=self.settings.durability,
                )
            except FileNotFoundError as error:
                raise LockLostError(f"Another process took over {self.handle}") from error
            manifest = self._checked(source, staging.path, unpacked)
        self.aliases.withdraw_others(AliasRecord(manifest.handle, manifest.aliases))
        return staging.publish(manifest)

    def _received(self, size_bytes: int) -> None:
        self.stop.check()
        if self.source is not None and self.source.is_spooled:
            arrived = self.source.arrived_bytes()
            if arrived:
                self.listener.arrived(arrived)
        self.listener.received(size_bytes)
        if self.disk_space is not None:
            self.disk_space.received(size_bytes)

    def _unpacked(self, size_bytes: int) -> None:
        self.stop.check()
        self.listener.unpacked(size_bytes)
        if self.disk_space is not None:
            self.disk_space.unpacked(size_bytes)

    def _checked(self, source: ByteSource, staged: Path, unpacked: Unpacked) -> Manifest:
        """The manifest of what was staged, once it has passed every check."""
        from hubcli.archive.unpack import lift_wrapping_folder
        from hubcli.savedmodel.layout import check_structure

        self.options.expected.check_archive(source.name, unpacked.archive_sha256)
        wrapping, files = lift_wrapping_folder(staged, unpacked.files)
        if wrapping is not None:
            self.listener.note(f"Removed the top folder '{wrapping}' of the archive")
        self.options.expected.check_unpacked(source.name, files)
        try:
            found = check_structure(staged)
            self._check_content(staged)
        except BrokenModelError as error:
            raise BrokenModelError(f"{source.name}: {error.message}", hint=error.hint) from error
        now_s = time.time()
        record = self.aliases.record()
        return Manifest(
            handle=record.handle,
            aliases=record.aliases,
            source=source.name,
            kind=found.kind,
            format=found.value,
            files=files,
            fetched_at_s=now_s,
            last_used_at_s=now_s,
            etag=source.etag,
            archive_sha256=unpacked.archive_sha256,
            archive_bytes=unpacked.archive_bytes,
        )

    def _check_content(self, staged: Path) -> None:
        """Every tensor against its checksum; assets that lead out are refused, missing ones are said."""
        from hubcli.savedmodel.checks.integrity import ModelCheck

        for fault in ModelCheck(staged).run(lambda _: self.stop.check()).faults:
            if fault.code == "missing":
                self.listener.note(f"{self.handle} is incomplete: {fault}")
            else:
                raise BrokenModelError(str(fault))

    def _finish(self, entry: CachedModel, *, was_cached: bool) -> FetchResult:
        if not self.aliases.link(entry) and not was_cached:
            self.listener.note(
                "Cannot create links here: hub.load finds the model only as "
                f"{self.handle}, not by its aliases"
            )
        self.aliases.show_to(self.options.shown_to, entry)
        manifest = entry.manifest
        if manifest is not None:
            sizes = [file.size_bytes for file in manifest.files]
        else:
            sizes = list(file_sizes(entry.path).values())
        return FetchResult(
            handle=str(self.handle),
            path=entry.path,
            source=manifest.source if manifest is not None else None,
            size_bytes=sum(sizes),
            file_count=len(sizes),
            archive_sha256=manifest.archive_sha256 if manifest is not None else None,
            seconds=self._seconds(),
            was_cached=was_cached,
        )

    def _seconds(self) -> float:
        return time.monotonic() - self.started_at
