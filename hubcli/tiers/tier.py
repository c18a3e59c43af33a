"""A shared tier over an object store: put so that nothing incomplete is named, with the lease on a download.

A put writes the archive, then its manifest, then what the handle means now; a reader goes in reverse order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from hubcli.archive.compression import HEAD_BYTES, archive_format
from hubcli.atomic_files import unique_number
from hubcli.cache.records import Manifest
from hubcli.concurrency import run_in_threads
from hubcli.config.settings import Settings
from hubcli.config.tiers import TierConfig
from hubcli.errors import IntegrityError, NetworkError, UnsupportedError
from hubcli.fetching.options import ExpectedDigests
from hubcli.net.object_store import ObjectInfo, ObjectStore
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle
from hubcli.tiers.layout import MARKER, ManifestKey, blob_key, current_key, manifest_key, marker_bytes
from hubcli.tiers.lease import Lease
from hubcli.tiers.manifest import Current, TierManifest
from hubcli.tiers.reading import TierReader
from hubcli.units import to_iso_utc

__all__ = ["SharedTier", "open_tier", "open_tiers"]

# An archive that is older is uploaded again by a put that finds no manifest of it: gc may be about to
# delete it, which it does only to what is older than its grace period.
_REUSED_FOR_S = 600.0
_ATTEMPTS = 20
_STALE = '"00000000000000000000000000000000"'


class _Leased(NamedTuple):
    """The result of a request for a lease."""

    lease: Lease | None
    is_held: bool

    def release(self, *, has_failed: bool) -> None:
        if self.lease is not None:
            self.lease.release(has_failed=has_failed)


class SharedTier(TierReader):
    """The tier in the store, as the configuration allows its use. May be used from several threads."""

    def __init__(self, store: ObjectStore, config: TierConfig) -> None:
        super().__init__(store, config)
        self._is_ready = False
        self._has_swaps: bool | None = None

    def put(self, handle: Handle, manifest: Manifest, archive: Path, on_sent: Callable[[int], None]) -> bool:
        """Puts the archive of the cached model there; False where it was there. `on_sent` may abort it.

        Raises TierConflictError where the tier has another archive of what never changes: this one is put
        beside it, and neither is chosen.
        """
        with archive.open("rb") as file:
            form = archive_format(file.read(HEAD_BYTES))
        assert manifest.archive_sha256 is not None
        assert manifest.archive_bytes is not None
        record = TierManifest.of(
            str(handle),
            (manifest.archive_sha256, manifest.archive_bytes, form),
            manifest.files,
            source=manifest.source,
            etag=manifest.etag,
            now_s=time.time(),
            is_private=manifest.is_private,
        )
        return self.put_archive(handle, record, archive, on_sent=on_sent)

    def put_archive(
        self,
        handle: Handle,
        manifest: TierManifest,
        archive: Path,
        *,
        replace: bool = False,
        on_sent: Callable[[int], None] = lambda size_bytes: None,
    ) -> bool:
        """Puts the archive there by its manifest; with `replace` the handle means this archive alone."""
        self.require_writable()
        is_new = self._put_blob(manifest, archive, on_sent, replace=replace)
        replaced = self._archives_to_replace(handle, manifest) if replace else []
        self._set_current(handle, manifest, replace=replace)
        for sha256 in replaced:
            self.store.delete(manifest_key(handle.cache_key, sha256))
        # A collection that saw the archive before its manifest may have deleted it: no other sees it so.
        if self.store.head(blob_key(manifest.archive_sha256)) is None:
            self.store.upload(blob_key(manifest.archive_sha256), archive, on_sent)
        return is_new

    def _archives_to_replace(self, handle: Handle, manifest: TierManifest) -> list[str]:
        """The other archives that the handle means now, which no reader will be led to any more."""
        with suppress(IntegrityError):  # An invalid current.json names none.
            current = self.current(handle.cache_key)
            listed = () if current is None else current.archives
            return [sha256 for sha256 in listed if sha256 != manifest.archive_sha256]
        return []

    def _put_blob(
        self, manifest: TierManifest, archive: Path, on_sent: Callable[[int], None], *, replace: bool
    ) -> bool:
        """The archive, then its manifest; whether one of them wasn't there."""
        key, sha256, content = manifest_key(*manifest.key), manifest.archive_sha256, manifest.to_bytes()
        with suppress(IntegrityError):  # An invalid one is replaced.
            there = self.manifest(manifest.key)
            is_same = there is not None and not replace and there.files == manifest.files
            if there is not None and is_same and self.has_archive(manifest):
                self.use(there)
                return False
        blob = self.store.head(blob_key(sha256))
        is_reused = blob is not None and self.has_archive(manifest) and self._age_s(blob) < _REUSED_FOR_S
        if replace or not is_reused:
            uploaded = self.store.upload(blob_key(sha256), archive, on_sent)
            if uploaded.size_bytes != manifest.archive_bytes:
                raise IntegrityError(
                    f"{self.name}/{blob_key(sha256)} has {uploaded.size_bytes} bytes after the upload "
                    f"instead of {manifest.archive_bytes}"
                )
            self._corrupt.pop(sha256, None)
        if not self.store.create(key, content):
            # The archive decides what is in it: a manifest that tells something else is wrong.
            self.store.put(key, content)
        return True

    def _set_current(self, handle: Handle, manifest: TierManifest, *, replace: bool) -> None:
        sha256 = manifest.archive_sha256

        def changed(now: Current | None) -> Current:
            is_kept = now is not None and handle.is_immutable and not replace
            listed = now.archives if now is not None and is_kept else ()
            others = [other for other in listed if other != sha256 and self._tree_of(handle, other)]
            return Current(str(handle), (*others, sha256), None, to_iso_utc(time.time()))

        current = self._change_current(handle.cache_key, changed)
        if len(current.archives) > 1 and handle.is_immutable:
            trees = {self._tree_of(handle, other) for other in current.archives} - {None}
            if len(trees) > 1:
                raise self._conflict(handle, current.archives)

    def _tree_of(self, handle: Handle, sha256: str) -> str | None:
        """The digest of the files of an archive of the handle; None where the tier hasn't got it."""
        with suppress(IntegrityError):
            manifest = self.manifest(ManifestKey(handle.cache_key, sha256))
            if manifest is not None and self.has_archive(manifest):
                return manifest.tree_sha256
        return None

    def point(self, unversioned: Handle, version: Handle) -> None:
        """Records which version the handle without one means. A hint: the last one that writes it wins."""
        self.require_writable()

        def changed(now: Current | None) -> Current:
            del now
            return Current(str(unversioned), (), str(version), to_iso_utc(time.time()))

        self._change_current(unversioned.cache_key, changed)

    def _change_current(self, model: str, change: Callable[[Current | None], Current]) -> Current:
        """Swaps what the handle means for what `change` makes of it; without swaps the last one wins."""
        key = current_key(model)
        for _ in range(_ATTEMPTS):
            try:
                found = self.read_current(model)
            except IntegrityError:  # An invalid current.json: nothing of it is kept.
                found, info = None, self.store.head(key)
            else:
                info = None if found is None else found[1]
            changed = change(None if found is None else found[0])
            if found is not None and changed.means_the_same(found[0]):
                return changed
            content = changed.to_bytes()
            if info is None:
                if self.store.create(key, content):
                    return changed
            elif not self.has_swaps():
                self.store.put(key, content)
                return changed
            elif self.store.replace(key, content, info):
                return changed
        raise NetworkError(f"{self.name}/{key} keeps changing", hint="Try again.").transient()

    def require_writable(self) -> None:
        """Creates the tier if it is absent. Raises UnsupportedError for one that mustn't be written.

        That is one of a newer layout, or in a store that ignores conditions: there writers would write over
        each other.
        """
        if not self.store.is_writable:
            raise UnsupportedError(
                f"{self.name} cannot be written", hint="Use the address of its bucket or directory."
            )
        if not self.is_writable:
            raise UnsupportedError(f"{self.name} is read-only", hint="Add ?mode=read-write to its address.")
        with self._lock:
            if self._is_ready:
                return
        self.store.require_conditional_writes()
        if not self.exists():
            self.store.create(MARKER, marker_bytes())
            self._is_there = None
            if not self.exists():
                raise NetworkError(f"{self.name} does not have {MARKER}, which was written there")
        with self._lock:
            self._is_ready = True

    def has_swaps(self) -> bool:
        """Whether the store compares before it swaps: one that doesn't know the condition would write."""
        if self._has_swaps is None:
            # On a key of its own: clouds limit the writes to one object, even those that they refuse.
            absent = ObjectInfo(f"hubcli-probe-{unique_number()}", 0, self.store.now(), _STALE, "1")
            self._has_swaps = False
            with suppress(UnsupportedError):
                self._has_swaps = not self.store.replace(absent.key, b"1", absent)
                if not self._has_swaps:
                    self.store.delete(absent.key)
        return self._has_swaps

    def lease(
        self,
        handle: Handle,
        expected: ExpectedDigests,
        timeout_s: float,
        on_wait: Callable[[str], None],
        check: Callable[[], None],
    ) -> _Leased:
        """Waits until this process may ask the origin, the tier has what is expected, or the time is over.

        Raises UnsupportedError where the store can't compare and swap: then each machine asks.
        """
        # The probes use different keys: at the same time they take half of the round trips.
        run_in_threads([self.require_writable, self.has_swaps], 1 if self.is_local else 2)
        if not self.has_swaps():
            raise UnsupportedError(
                f"{self.name} does not support compare-and-swap: each machine downloads from the origin"
            )
        lease = Lease(self.store, handle.cache_key, self.config.lease_s)

        def look() -> bool:
            return self.find(handle, expected) is not None

        acquired = lease.acquire(timeout_s, look, on_wait, check)
        return _Leased(lease if acquired.is_held else None, acquired.is_held)


def open_tiers(settings: Settings, listener: ProgressListener | None = None) -> Sequence[SharedTier]:
    """The tiers of the settings, in their order; no request is sent yet. Raises UsageError, HandleError."""
    return tuple(open_tier(config, settings, listener) for config in settings.tiers)


def open_tier(config: TierConfig, settings: Settings, listener: ProgressListener | None = None) -> SharedTier:
    """The tier of that configuration."""
    from hubcli.net.bucket_store import open_store

    listener = listener or ProgressListener()
    return SharedTier(open_store(config.address, settings, listener.retrying), config)
