"""`fetch`: a model into the cache, atomically."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hubcli.cache.cached_model import CachedModel
from hubcli.cache.disk_usage import directory_size_bytes, file_sizes
from hubcli.cache.other_caches import other_caches
from hubcli.cache.records import LockOwner
from hubcli.cache.store import Staging, Store
from hubcli.concurrency import CancellationToken
from hubcli.config.settings import Settings
from hubcli.errors import CacheError, IntegrityError, LockLostError, NetworkError, OfflineError
from hubcli.fetching.cached import (
    Aliases,
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

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hubcli.fetching.model_ref import ModelRef
    from hubcli.fetching.sources import RetryLoop
    from hubcli.fetching.tiers import Tier, TierTurn
    from hubcli.fetching.unpacking import ModelUnpacker

__all__ = ["FetchOptions", "FetchResult", "fetch", "fetched_directory", "model_directory"]

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


@contextmanager
def model_directory(target: ModelRef, settings: Settings, listener: ProgressListener) -> Iterator[Path]:
    """The model's directory: as `fetched_directory` gives it; of an archive, unpacked for the context.

    Raises what `fetch` and `unpacked_archive` do.
    """
    if target.archive is None:
        yield fetched_directory(target, settings, listener)
        return
    from hubcli.fetching.sources import unpacked_archive  # Most targets are no archives.

    with unpacked_archive(target.archive, settings, listener) as folder:
        yield folder


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
        self.unversioned: Handle | None = None
        self.tiers: Sequence[Tier] = ()

    def run(self) -> FetchResult:
        if self.handle.is_directory:
            return local_directory(self.handle, self.options, self._received)
        if self.options.local is None:
            self._take_version()
        entry = None if self.options.force else self._hit()
        if entry is not None and not self._needs_refresh():
            if self.options.local is not None:
                self._note_unused(self.options.local)
            return self._finish(entry, was_cached=True)
        adopted = None if entry is not None else self._from_other_cache()
        return adopted or self._fetched()

    def _note_unused(self, local: str) -> None:
        """Says that `local` was not read. It may be missing: scripts remove what they imported."""
        try:
            is_missing = local != "-" and not os.path.lexists(Path(local).expanduser())
        except (RuntimeError, ValueError):  # The home of an unknown user, a NUL character.
            is_missing = True
        what = f"{local} does not exist" if is_missing else f"use --force to replace it with {local}"
        self.listener.note(f"{self.handle} is already cached; {what}")

    def _take_version(self) -> None:
        """Replaces a handle without a version by the one with its version, where its host knows it."""
        options, typed = self.options, self.handle
        refresh = options.refresh or options.force
        try:
            self.handle = versioned(
                typed, self.store, self.settings, self.listener, retries=options.retries, refresh=refresh
            )
        except NetworkError as error:
            self.handle = self._latest_in_tiers(typed, error)
        # Offline, the newest cached version may not be the latest: the handle without one isn't linked to it.
        self.unversioned = None if self.handle is typed or self.settings.offline else typed
        self.aliases = Aliases(self.handle, self.store, self.settings, self.listener, self.unversioned)

    def _latest_in_tiers(self, typed: Handle, error: NetworkError) -> Handle:
        """The version that a shared tier has; raises the error of the host if none has one."""
        latest = None
        if self.settings.tiers:
            from hubcli.fetching.tiers import latest_in_tiers

            latest = latest_in_tiers(typed, self._opened_tiers(), self.settings)
        if latest is None:
            raise error
        self.listener.note(f"{error.message}: using {latest}, the latest version in a shared tier")
        return latest

    def _opened_tiers(self) -> Sequence[Tier]:
        if self.settings.tiers and not self.tiers:
            from hubcli.tiers.tier import open_tiers  # Most fetches have none.

            self.tiers = open_tiers(self.settings, self.listener)
        return self.tiers

    def _needs_refresh(self, *, quiet: bool = False) -> bool:
        """Whether to check with the host that the cached model is still the one that the handle means."""
        is_changeable = self.handle.is_remote and not self.handle.is_immutable
        if not self.options.refresh or not is_changeable:
            return False
        if self.settings.offline and not quiet:
            self.listener.note(f"Offline: not checking whether {self.handle} changed")
        return not self.settings.offline

    def _from_other_cache(self) -> FetchResult | None:
        """The model from another tool's cache, checked as any directory is; None without an intact one."""
        options = self.options
        if options.force or options.local is not None or options.sha256 is not None:
            return None
        if not self.handle.is_remote:  # Other tools cache only what comes from hosts.
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
        is_from_origin = self.options.local is not None or not self.settings.tiers
        if is_from_origin and not self._is_locked():
            self._require_source()  # What a crash cut off is completed first: it may need no source.
        for _ in range(_MAX_LOST_LOCKS):
            with suppress(LockLostError):
                return self._fetch_under_lock()
        return self._fetch_under_lock()

    def _require_source(self) -> None:
        from hubcli.fetching.sources import require_source

        require_source(self.handle, self.settings, self.options.local)

    def _is_locked(self) -> bool:
        return os.path.lexists(self.store.paths(self.handle).lock)

    def _fetch_under_lock(self) -> FetchResult:
        self.stop.check()
        if not self.settings.tiers:
            return self._fetch_in_turn(None)
        from hubcli.fetching.tiers import TierTurn

        tiers = self._opened_tiers()
        with TierTurn(tiers, self.handle, self.options, self.settings, self.listener) as turn:
            result = self._fetch_in_turn(turn)
            turn.put(self.unversioned, self.stop.check)  # Others that wait for the lock have the model now.
            return result

    def _fetch_in_turn(self, turn: TierTurn | None) -> FetchResult:
        with (
            self.store.locked(
                self.handle, timeout_s=self.settings.lock_timeout_s, on_wait=self._waiting
            ) as lock,
            self.stop.undoing(lock.release),
        ):
            # Another process may have fetched it while this one waited.
            entry = cached = None if self.options.force else self._hit(quiet=True)
            was_cached = True
            if entry is None or self._needs_refresh():
                with self.store.staged(lock, self.handle) as staging, self.stop.undoing(staging.abandon):
                    entry = self._stage_and_publish(staging, cached, turn)
                    was_cached = not staging.is_published
                    if self.options.pin:
                        self.store.pin(entry.paths)
        if was_cached:
            self.options.expected.check_entry(str(self.handle), entry, self._received)
        return self._finish(entry, was_cached=was_cached)

    def _hit(self, *, quiet: bool = False) -> CachedModel | None:
        """The entry, if it is intact and still what the handle names."""
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
        if not self._needs_refresh(quiet=True):
            if self.options.tree_sha256 is not None:
                self.listener.started(str(self.handle), str(entry.path), directory_size_bytes(entry.path))
            self.options.expected.check_entry(str(self.handle), entry, self._received)
        # A collection that has moved the model away sees this, and puts it back.
        entry.touch()
        if self.options.pin:
            self.store.pin(entry.paths)
        return entry if entry.path.is_dir() else None

    def _waiting(self, owner: LockOwner | None) -> None:
        self.listener.waiting(str(self.handle), str(owner) if owner else "an unknown process")

    def _stage_and_publish(
        self, staging: Staging, cached: CachedModel | None, turn: TierTurn | None
    ) -> CachedModel:
        """Fetches and publishes: from a shared tier that has the model, else from its origin.

        `cached` is the whole entry that may turn out to be what the host has still.
        """
        entry = None
        if turn is not None and turn.has_readable:
            entry = self._from_tiers(staging, turn)
            if entry is None and turn.wait(self.stop.check):
                entry = self._from_tiers(staging, turn)  # Another machine may have put it there.
        return entry or self._from_origin(staging, cached, turn)

    def _from_tiers(self, staging: Staging, turn: TierTurn) -> CachedModel | None:
        """The entry from the first tier that has the model with the checksums that it claims."""
        from hubcli.fetching.unpacking import Claim

        for tier, model in turn.found():
            with turn.faults_of(tier, model):
                spool = staging.spool
                with tier.open(model, spool) as source:
                    entry = self._unpacker().publish(source, staging, claim=Claim(tier, model))
                turn.used(tier, model)
                self._discard(spool)
                return entry
            staging.clear()
            self._discard(spool)
        return None

    def _from_origin(
        self, staging: Staging, cached: CachedModel | None, turn: TierTurn | None
    ) -> CachedModel:
        """Fetches and publishes; retries until the body is complete, or no attempt is left."""
        from hubcli.fetching.sources import RetryLoop

        try:
            self._require_source()
        except OfflineError as error:
            disk_error = None if turn is None else turn.disk_error
            raise disk_error or error from None
        retry_loop = RetryLoop(self.options, staging.spool, self.listener.retrying, self.settings)
        entry = None
        while entry is None:
            with retry_loop.attempt(staging.clear):
                entry = self._attempt(staging, retry_loop, cached, turn)
        with suppress(CacheError):  # The model is there: what can't be removed beside it is left to gc.
            retry_loop.discard()
        if turn is not None and staging.is_published:
            turn.manifest = entry.manifest
        return entry

    @staticmethod
    def _discard(spool: Path) -> None:
        from hubcli.net.spool import discard_spool

        if spool.exists():
            with suppress(CacheError):
                discard_spool(spool)

    def _attempt(
        self, staging: Staging, retry_loop: RetryLoop, cached: CachedModel | None, turn: TierTurn | None
    ) -> CachedModel:
        from hubcli.fetching.sources import open_source

        local, known = self.options.local, cached.manifest if cached is not None else None
        # What a tier says of the origin's ETag does not check the bytes that it gave.
        etag = known.etag if known is not None and known.tier is None else None
        transfer = replace(retry_loop.transfer(), known_etag=etag)
        with open_source(self.handle, self.settings, local, transfer) as source:
            retry_loop.opened(source)
            self.stop.check()
            same = self.aliases.entry_of(source, cached)
            if same is not None and not self.options.force:
                return same
            keep = None if turn is None else turn.copy_of(source)
            return self._unpacker().publish(source, staging, keep=keep)

    def _unpacker(self) -> ModelUnpacker:
        # Of a download alone: a fetch of a cached model, which is the usual one, starts 15 ms sooner.
        from hubcli.fetching.unpacking import ModelUnpacker

        return ModelUnpacker(self.handle, self.settings, self.options, self.listener, self.stop, self.aliases)

    def _received(self, size_bytes: int) -> None:
        self.stop.check()
        self.listener.received(size_bytes)

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
            seconds=time.monotonic() - self.started_at,
            was_cached=was_cached,
            tier=manifest.tier if manifest is not None else None,
        )
