"""Reading a shared tier: what it claims to have of a handle, and the bytes of that.

Readers need no listing, so that a plain web server is a tier too.
"""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hubcli.archive import FileRecord
from hubcli.archive.tree import tree_digest
from hubcli.concurrency import collect_error, run_in_threads
from hubcli.config.tiers import TierConfig
from hubcli.errors import (
    ChecksumError,
    HubcliError,
    IntegrityError,
    NotFoundError,
    TierConflictError,
    UnsupportedError,
)
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
    require_known_version,
)
from hubcli.tiers.manifest import MAX_MANIFEST_BYTES, Current, TierManifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hubcli.net.byte_source import ByteSource

__all__ = ["TierReader"]

T = TypeVar("T")

# A use writes an older manifest anew: its modification time is that of its last use.
_RENEWED_AFTER_S = 86400.0
# If it is younger by this machine's clock, the store's clock, which takes a request, is not needed where
# the service refuses requests from a clock that is off by an hour.
_SURELY_FRESH_S = _RENEWED_AFTER_S - 3600.0
_MAX_SEEN, _MAX_SEEN_BYTES = 64, 16 << 20
# What several threads may read at a time; a manifest that is larger is read by one of them.
_SHARED_BYTES = 256 << 10
_POLL_S = 0.1


def _on_new_thread(job: Callable[[], T]) -> T:
    """What the job returns or raises.

    glibc's malloc keeps up to 64 MB of what a thread has freed, and reuses it for a new thread only after
    the old one has ended. Each thread of a pool would keep that much.
    """
    results: list[T] = []
    errors: list[BaseException] = []
    work = (lambda: results.append(job()), errors)
    thread = threading.Thread(target=collect_error, args=work, name="hubcli-manifest", daemon=True)
    thread.start()
    while thread.is_alive():  # Wakes up now and then: a signal that comes as the wait begins doesn't end it.
        thread.join(_POLL_S)
    if errors:
        raise errors.pop()  # In the list, it would keep itself and what was read in memory.
    return results[0]


class TierReader:
    """What is read of a tier in a store, and its uses recorded. May be used from several threads."""

    def __init__(self, store: ObjectStore, config: TierConfig) -> None:
        self.store = store
        self.config = config
        self.name = store.address
        self.is_writable = config.is_writable and store.is_writable
        self.is_local = config.is_local
        self.takes_private = config.takes_private
        self._lock = threading.Lock()
        self._is_there: bool | None = None
        # The latest manifests, so that their use can be recorded, and how many bytes they have.
        self._seen: dict[ManifestKey, tuple[bytes, ObjectInfo]] = {}
        self._seen_bytes = 0
        self._reading_large = threading.Lock()  # A large manifest takes a hundred megabytes once parsed.
        self._corrupt: dict[str, str | None] = {}  # The ETags of archives that failed a check.

    @property
    def is_down(self) -> bool:
        """Whether it failed within the last minute, in any fetch of this process with the same settings."""
        return self.config.outage.lasts

    def note_outage(self) -> None:
        """Notes that it did not answer, after all retries."""
        self.config.outage.begin()

    def exists(self) -> bool:
        """Whether there is a tier. Raises UnsupportedError for one of a newer layout."""
        with self._lock:
            if not self._is_there:
                found = self.store.read(MARKER, MAX_SMALL_BYTES)
                if found is not None:
                    require_known_version(found[0], self.name)
                self._is_there = found is not None
            return self._is_there

    def require_exists(self) -> None:
        """Raises NotFoundError if there is no tier, UnsupportedError for one of a newer layout."""
        if not self.exists():
            raise NotFoundError(
                f"{self.name} is not a shared tier",
                hint="Check the address. To create a tier there: hubcli push HANDLE --tier "
                + shlex.quote(self.name),
            )

    def find(self, handle: Handle, expected: ExpectedDigests) -> TierModel | None:
        """What the tier has of the handle, or exactly what is expected; None where it hasn't got it.

        Raises TierConflictError where there are several archives of what never changes, NotFoundError where
        there is no tier, and this process may not make it.
        """
        key, sha256 = handle.cache_key, expected.archive_sha256
        if sha256 is not None:
            return self._sound(self._beside_marker(lambda: self.manifest(ManifestKey(key, sha256))))
        current = self._beside_marker(lambda: self.current(key))
        if current is None:
            return None
        found = (self.manifest(ManifestKey(key, sha256)) for sha256 in current.archives)
        manifests = [manifest.without_files() for manifest in found if manifest is not None]
        if expected.tree_sha256 is not None:
            manifests = [manifest for manifest in manifests if manifest.tree_sha256 == expected.tree_sha256]
        elif len({manifest.tree_sha256 for manifest in manifests}) > 1 and handle.is_immutable:
            raise self._conflict(handle, current.archives)
        return self._sound(manifests[-1]) if manifests else None

    def _beside_marker(self, read: Callable[[], T]) -> T | None:
        """Reads beside the marker, in one round trip; None if the tier is absent and may be created.

        Raises NotFoundError if there is no tier. An error of the marker is raised before one of `read`.
        """
        if self._is_there or self.is_local:
            return read() if self._is_tier() else None
        found: list[T] = []
        errors: list[HubcliError] = []

        def attempt() -> None:
            try:
                found.append(read())
            except HubcliError as error:
                errors.append(error)

        run_in_threads([self._is_tier, attempt], 2)
        if not self._is_there:
            return None
        if errors:
            raise errors[0]
        return found[0]

    def _is_tier(self) -> bool:
        """Whether there is a tier. Raises NotFoundError for a missing one that may not be created."""
        if not self.exists() and not self.is_writable:
            raise NotFoundError(f"{self.name} is not a shared tier", hint="Check its address.")
        return bool(self._is_there)

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
        """What the handle means now, with the object, to be swapped. Raises IntegrityError if invalid."""
        key = current_key(model)
        found = self.store.read(key, MAX_SMALL_BYTES)
        return None if found is None else (Current.parse(found[0], f"{self.name}/{key}"), found[1])

    def manifest(self, key: ManifestKey) -> TierManifest | None:
        """The manifest under the key; None if it is absent. Raises IntegrityError if it is invalid."""
        object_key = manifest_key(*key)

        def parsed(found: tuple[bytes, ObjectInfo] | None) -> TierManifest | None:
            if found is None:
                return None
            manifest = TierManifest.parse(found[0], f"{self.name}/{object_key}")
            if manifest.key != key:
                raise IntegrityError(f"{self.name}/{object_key} is the manifest of another model")
            self._remember(key, found)
            return manifest

        is_small = False
        with suppress(IntegrityError):  # It is larger.
            found = self.store.read(object_key, _SHARED_BYTES)
            is_small = True
        if is_small:
            return parsed(found)
        with self._reading_large:
            return _on_new_thread(lambda: parsed(self.store.read(object_key, MAX_MANIFEST_BYTES)))

    def _remember(self, key: ManifestKey, found: tuple[bytes, ObjectInfo]) -> None:
        """Stores the manifest with its object, so that its use can be recorded."""
        with self._lock:
            self._forget(key)
            self._seen[key] = found
            self._seen_bytes += len(found[0])
            while len(self._seen) > 1 and (len(self._seen) > _MAX_SEEN or self._seen_bytes > _MAX_SEEN_BYTES):
                self._forget(next(iter(self._seen)))

    def _forget(self, key: ManifestKey) -> None:
        content, _ = self._seen.pop(key, (b"", None))
        self._seen_bytes -= len(content)

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
            is_private=manifest.is_private,
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
                f"Digest mismatch for {model.name}: expected {model.tree_sha256}, got {digest}"
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
        """Records the use of a manifest that was just read, as `used` does."""
        self._renew(manifest.key)

    def _renew(self, key: ManifestKey) -> None:
        content, info = self._seen.get(key, (b"", None))
        if info is None:
            return
        if self.store.refuses_other_clocks and time.time() - info.modified.timestamp() < _SURELY_FRESH_S:
            return
        if self._age_s(info) > _RENEWED_AFTER_S:
            with suppress(UnsupportedError):
                self.store.replace(manifest_key(*key), content, info)

    def _age_s(self, info: ObjectInfo) -> float:
        return (self.store.now() - info.modified).total_seconds()

    def has(self, model: TierModel) -> bool:
        """Whether the manifest and the archive of the model are there; the archive isn't read."""
        manifest = self.manifest(ManifestKey(key_of(model.handle), model.archive_sha256))
        return manifest is not None and self.has_archive(manifest)

    def has_archive(self, manifest: TierManifest) -> bool:
        """Whether the archive of the manifest is there, with its size; it isn't read."""
        sha256 = manifest.archive_sha256
        blob = None if self._is_corrupt(sha256) else self.store.head(blob_key(sha256))
        return blob is not None and blob.size_bytes == manifest.archive_bytes

    def _conflict(self, handle: Handle, archives: Sequence[str]) -> TierConflictError:
        hashes = " and ".join(sha256[:12] for sha256 in archives[:3])
        return TierConflictError(
            f"{self.name} has several archives of {handle}, whose bytes never change: {hashes}",
            hint=f"Compare them with the origin, then run: hubcli push --force {handle}",
        )
