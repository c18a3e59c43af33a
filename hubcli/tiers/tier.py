"""A shared tier over an object store: found by its small objects, put so that nothing incomplete is named.

A put writes the archive, then its manifest, then what the handle means now; a reader goes the other way.
Readers need no listing, so that a plain web server is a tier too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from hubcli.archive import FileRecord
from hubcli.archive.tree import tree_digest
from hubcli.cache.records import Manifest
from hubcli.config.tiers import TierConfig
from hubcli.durability import unique_number
from hubcli.errors import ChecksumError, IntegrityError, NetworkError, TierConflictError, UnsupportedError
from hubcli.fetching.options import ExpectedDigests
from hubcli.fetching.tiers import TierModel
from hubcli.net.object_store import ObjectInfo, ObjectStore
from hubcli.providers.handle import Handle, key_of
from hubcli.tiers.layout import (
    MARKER,
    MAX_SMALL_BYTES,
    ManifestKey,
    blob_key,
    current_key,
    manifest_key,
    marker_bytes,
    require_known_version,
)
from hubcli.tiers.lease import Lease
from hubcli.tiers.manifest import MAX_MANIFEST_BYTES, Current, TierManifest, archive_format
from hubcli.units import to_iso_utc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hubcli.net.byte_source import ByteSource

__all__ = ["RENEWED_AFTER_S", "SharedTier"]

# A manifest that is older is written anew by who uses it: its time is that of its last use.
RENEWED_AFTER_S = 86400.0
# An archive that is older is uploaded again by a put that finds no manifest of it: gc may be about to
# delete it, which it does only to what is older than its grace period.
_REUSED_FOR_S = 600.0
_ATTEMPTS, _MAX_SEEN = 20, 64
_STALE = '"00000000000000000000000000000000"'


class _Leased(NamedTuple):
    """A lease that was asked for."""

    lease: Lease | None
    is_held: bool

    def release(self, *, has_failed: bool) -> None:
        if self.lease is not None:
            self.lease.release(has_failed=has_failed)


class SharedTier:
    """The tier in the store, as the configuration allows its use. May be used from several threads."""

    def __init__(self, store: ObjectStore, config: TierConfig) -> None:
        self.store = store
        self.config = config
        self.name = store.address
        self.is_writable = config.is_writable and store.is_writable
        self.is_local = config.is_local
        self.takes_private = config.takes_private
        self._lock = Lock()
        self._is_there: bool | None = None
        self._is_ready = False
        self._has_swaps: bool | None = None
        self._seen: dict[ManifestKey, tuple[bytes, ObjectInfo, TierManifest]] = {}  # The latest manifests.
        self._corrupt: dict[str, str | None] = {}  # The ETags of archives that failed a check.

    # --- Reading

    def exists(self) -> bool:
        """Whether there is a tier. Raises UnsupportedError for one of a newer layout."""
        with self._lock:
            if not self._is_there:
                found = self.store.read(MARKER, MAX_SMALL_BYTES)
                if found is not None:
                    require_known_version(found[0], self.name)
                self._is_there = found is not None
            return self._is_there

    def find(self, handle: Handle, expected: ExpectedDigests) -> TierModel | None:
        """What the tier has of the handle, or exactly what is expected; None where it hasn't got it.

        Raises TierConflictError where there are several archives of what never changes.
        """
        if not self.exists():
            return None
        key = handle.cache_key
        if expected.archive_sha256 is not None:
            return self._sound(self.manifest(ManifestKey(key, expected.archive_sha256)))
        current = self.current(key)
        if current is None:
            return None
        found = [self.manifest(ManifestKey(key, sha256)) for sha256 in current.archives]
        manifests = [manifest for manifest in found if manifest is not None]
        if expected.tree_sha256 is not None:
            manifests = [one for one in manifests if one.tree_sha256 == expected.tree_sha256]
        elif len({manifest.tree_sha256 for manifest in manifests}) > 1 and handle.is_immutable:
            raise self._conflict(handle, current.archives)
        return self._sound(manifests[-1]) if manifests else None

    def _sound(self, manifest: TierManifest | None) -> TierModel | None:
        if manifest is None or self._is_corrupt(manifest.archive_sha256):
            return None
        return self._model(manifest)

    def latest(self, handle: Handle) -> Handle | None:
        """The version that the handle without one meant when it was last put there."""
        current = self.current(handle.cache_key) if self.exists() else None
        if current is None or current.resolved is None:
            return None
        return next(iter(handle.provider.versions(handle, (current.resolved,))), None)

    def current(self, model: str) -> Current | None:
        """What the handle with that cache key means now; None where the tier doesn't tell."""
        found = self.read_current(model)
        return None if found is None else found[0]

    def read_current(self, model: str) -> tuple[Current, ObjectInfo] | None:
        """The same with its object, to be swapped. Raises IntegrityError for what is no current.json."""
        key = current_key(model)
        found = self.store.read(key, MAX_SMALL_BYTES)
        return None if found is None else (Current.parse(found[0], f"{self.name}/{key}"), found[1])

    def manifest(self, key: ManifestKey) -> TierManifest | None:
        """The manifest under the key; None where there is none. Raises IntegrityError where it lies."""
        object_key = manifest_key(*key)
        found = self.store.read(object_key, MAX_MANIFEST_BYTES)
        if found is None:
            return None
        manifest = TierManifest.parse(found[0], f"{self.name}/{object_key}")
        if manifest.key != key:
            raise IntegrityError(f"{self.name}/{object_key} is the manifest of another model")
        with self._lock:
            self._seen[key] = (*found, manifest)
            while len(self._seen) > _MAX_SEEN:
                del self._seen[next(iter(self._seen))]
        return manifest

    def _model(self, manifest: TierManifest) -> TierModel:
        sha256 = manifest.archive_sha256
        return TierModel(
            tier=self.name,
            name=f"{self.name}/{blob_key(sha256)}",
            handle=manifest.handle,
            archive_sha256=sha256,
            archive_bytes=manifest.archive_bytes,
            tree_sha256=manifest.tree_sha256,
            etag=manifest.etag,
        )

    @contextmanager
    def open(self, model: TierModel, spool: Path | None) -> Iterator[ByteSource]:
        """The bytes of the archive, resumed in the spool. Raises IntegrityError for one of another size."""
        with self.store.open(blob_key(model.archive_sha256), spool) as source:
            if source.size_bytes not in (None, model.archive_bytes):
                raise IntegrityError(
                    f"{model.name} has {source.size_bytes} bytes instead of {model.archive_bytes}"
                )
            yield source

    def check(self, model: TierModel, files: Sequence[FileRecord]) -> None:
        """Raises ChecksumError where the unpacked files aren't those of the manifest."""
        digest = tree_digest(files)
        if digest != model.tree_sha256:
            raise ChecksumError(
                f"{model.name} differs from its manifest: expected digest {model.tree_sha256}, got {digest}"
            )

    def distrust(self, model: TierModel) -> None:
        """Notes that the archive is corrupt or missing: it isn't found again, and `put` writes it anew."""
        blob = self.store.head(blob_key(model.archive_sha256))
        self._corrupt[model.archive_sha256] = None if blob is None else blob.etag

    def _is_corrupt(self, sha256: str) -> bool:
        """Whether the archive is still the one that failed a check here."""
        if sha256 not in self._corrupt:
            return False
        blob = self.store.head(blob_key(sha256))
        return blob is None or blob.etag == self._corrupt[sha256]

    def used(self, model: TierModel) -> None:
        """Records that the model is used, once a day: the manifest is written anew, with the same bytes."""
        self._renew(ManifestKey(key_of(model.handle), model.archive_sha256))

    def use(self, manifest: TierManifest) -> None:
        """The same of a manifest that was just read."""
        self._renew(manifest.key)

    def _renew(self, key: ManifestKey) -> None:
        content, info, _ = self._seen.get(key, (b"", None, None))
        if info is not None and self._age_s(info) > RENEWED_AFTER_S:
            with suppress(UnsupportedError):
                self.store.replace(manifest_key(*key), content, info)

    def _age_s(self, info: ObjectInfo) -> float:
        return (self.store.now() - info.modified).total_seconds()

    # --- Writing

    def put(self, handle: Handle, manifest: Manifest, archive: Path) -> bool:
        """Puts the archive of the cached model there; False where it was there.

        Raises TierConflictError where the tier has another archive of what never changes: this one is put
        beside it, and neither is chosen.
        """
        with archive.open("rb") as file:
            form = archive_format(file.read(2))
        assert manifest.archive_sha256 is not None
        assert manifest.archive_bytes is not None
        made = TierManifest.of(
            str(handle),
            (manifest.archive_sha256, manifest.archive_bytes, form),
            manifest.files,
            source=manifest.source,
            etag=manifest.etag,
            now_s=time.time(),
        )
        return self.put_archive(handle, made, archive)

    def put_archive(
        self, handle: Handle, manifest: TierManifest, archive: Path, *, replace: bool = False
    ) -> bool:
        """The same by the manifest of the tier; with `replace` the handle means this archive alone."""
        self.require_writable()
        is_new = self._put_blob(manifest, archive, replace=replace)
        self._set_current(handle, manifest, replace=replace)
        # A collection that saw the archive before its manifest may have deleted it: no other sees it so.
        if self.store.head(blob_key(manifest.archive_sha256)) is None:
            self.store.upload(blob_key(manifest.archive_sha256), archive)
        return is_new

    def _put_blob(self, manifest: TierManifest, archive: Path, *, replace: bool) -> bool:
        """The archive, then its manifest; whether one of them wasn't there."""
        key, sha256 = manifest_key(*manifest.key), manifest.archive_sha256
        with suppress(IntegrityError):  # What lies is written anew.
            there = self.manifest(manifest.key)
            is_same = there is not None and not replace and there.files == manifest.files
            if there is not None and is_same and self.has_archive(manifest):
                self.use(there)
                return False
        blob = self.store.head(blob_key(sha256))
        is_reused = blob is not None and self.has_archive(manifest) and self._age_s(blob) < _REUSED_FOR_S
        if replace or not is_reused:
            uploaded = self.store.upload(blob_key(sha256), archive)
            if uploaded.size_bytes != manifest.archive_bytes:
                raise IntegrityError(
                    f"{self.name}/{blob_key(sha256)} has {uploaded.size_bytes} bytes after the upload "
                    f"instead of {manifest.archive_bytes}"
                )
            self._corrupt.pop(sha256, None)
        content = manifest.to_bytes()
        if not self.store.create(key, content):
            # The archive decides what is in it: a manifest that tells something else is wrong.
            self.store.put(key, content)
        return True

    def has(self, model: TierModel) -> bool:
        """The same of a model that was found."""
        manifest = self.manifest(ManifestKey(key_of(model.handle), model.archive_sha256))
        return manifest is not None and self.has_archive(manifest)

    def has_archive(self, manifest: TierManifest) -> bool:
        """Whether the archive of the manifest is there, with its size; it isn't read."""
        sha256 = manifest.archive_sha256
        blob = None if self._is_corrupt(sha256) else self.store.head(blob_key(sha256))
        return blob is not None and blob.size_bytes == manifest.archive_bytes

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
            except IntegrityError:  # It is no current.json: nothing of it is kept.
                found, info = None, self.store.head(key)
            else:
                info = None if found is None else found[1]
            wanted = change(None if found is None else found[0])
            if found is not None and wanted.means_the_same(found[0]):
                return wanted
            content = wanted.to_bytes()
            if info is None:
                if self.store.create(key, content):
                    return wanted
            elif not self.has_swaps():
                self.store.put(key, content)
                return wanted
            elif self.store.replace(key, content, info):
                return wanted
        raise NetworkError(f"{self.name}/{key} changes all the time", hint="Try again.").transient()

    def require_writable(self) -> None:
        """Makes the tier where there is none. Raises UnsupportedError for one that mustn't be written.

        That is one of a newer layout, or in a store that ignores conditions: there writers would write over
        each other.
        """
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
        timeout_s: float,
        on_wait: Callable[[str], None],
        check: Callable[[], None],
    ) -> _Leased:
        """Waits until this process may ask the origin, or until the tier has the model, or for the timeout.

        Raises UnsupportedError where the store can't compare and swap: then each machine asks.
        """
        self.require_writable()
        if not self.has_swaps():
            raise UnsupportedError(f"{self.name} cannot compare and swap: each machine downloads by itself")
        lease = Lease(self.store, handle.cache_key, self.config.lease_s)

        def look() -> bool:
            return self.find(handle, ExpectedDigests()) is not None

        acquired = lease.acquire(timeout_s, look, on_wait, check)
        return _Leased(lease if acquired.is_held else None, acquired.is_held)

    def _conflict(self, handle: Handle, archives: Sequence[str]) -> TierConflictError:
        shown = " and ".join(sha256[:12] for sha256 in archives[:3])
        return TierConflictError(
            f"{self.name} has several archives of {handle}, whose bytes never change: {shown}",
            hint=f"Compare them with the origin, then run: hubcli push --force {handle}",
        )
