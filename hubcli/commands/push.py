"""`push`: cached models into a shared tier, verified and packed before."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from hubcli.archive import FileRecord, Limits
from hubcli.archive.pack import pack
from hubcli.archive.tree import Tree, hashed_files, tree_digest
from hubcli.cache.cached_model import CachedModel
from hubcli.commands.fetch import fetch
from hubcli.commands.verify import verify
from hubcli.config.settings import Settings
from hubcli.errors import BrokenModelError, HandleError, IntegrityError, TierError, UsageError
from hubcli.fetching.lock_file import LockedModel
from hubcli.fetching.model_ref import ModelRef, naming_target
from hubcli.fetching.options import ExpectedDigests, FetchOptions
from hubcli.fetching.sources import temporary_disk_error
from hubcli.fetching.tiers import TierModel
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle
from hubcli.tiers.layout import ManifestKey
from hubcli.tiers.manifest import TierManifest
from hubcli.tiers.tier import SharedTier

__all__ = ["PushedModel", "push", "push_locked", "push_model", "require_allowed"]

_FORMAT = "tar"


def push(
    target: ModelRef | str,
    tier: SharedTier,
    settings: Settings,
    listener: ProgressListener | None = None,
    *,
    force: bool = False,
) -> PushedModel:
    """Puts a model into the tier; one that isn't cached is fetched first, and the origin's archive is put.

    With `force` the cached model takes the place of what the tier has of the handle. Raises UsageError for
    what no host has, BrokenModelError for a corrupt copy, TierConflictError, NetworkError.
    """
    listener = listener or ProgressListener()
    ref = ModelRef.resolve(target, settings) if isinstance(target, str) else target
    with naming_target(ref, settings):
        if ref.entry is None:
            handle = _pushable(ref.handle, ref.name)
            return _fetched(handle, tier, settings, FetchOptions(), listener)
        handle = _pushable(_handle_of(ref.entry, ref.handle), ref.name)
        verification = verify(ref, settings, listener=listener)
        if not verification.is_whole:
            raise BrokenModelError(
                f"The cached copy of {handle} is corrupt: {verification.faults[0]}",
                hint="Run: hubcli verify --repair",
            )
        entry = CachedModel.read(ref.entry.paths)
        listener.started(str(handle), str(entry.path), verification.size_bytes)
        return push_model(tier, handle, entry, force=force, on_bytes=listener.received)


def push_locked(
    model: LockedModel, tier: SharedTier, settings: Settings, listener: ProgressListener | None = None
) -> PushedModel:
    """Puts exactly the archive that the lock file records, from its origin where the tier hasn't got it.

    One that was locked without its archive is pushed as it is cached, if its files are those.
    """
    listener = listener or ProgressListener()
    handle, expected = _pushable(model.to_fetch, model.handle), model.expected
    options = FetchOptions(sha256=expected.archive_sha256, tree_sha256=expected.tree_sha256)
    if expected.archive_sha256 is None:
        fetch(handle, settings, options, listener)
        return push(str(handle), tier, settings, listener)
    return _fetched(handle, tier, settings, replace(options, force=True), listener)


def _fetched(
    handle: Handle, tier: SharedTier, settings: Settings, options: FetchOptions, listener: ProgressListener
) -> PushedModel:
    """The model by a fetch that puts it into the tier, where every fault is an error."""
    tier.require_writable()
    there = tier.find(handle, options.expected)
    if there is not None and options.force and tier.has(there):
        return _pushed(handle, there, tier, was_there=True)
    through = replace(settings, tiers=(tier.config,), require_tier=True)
    result = fetch(handle, through, options, listener)
    fetched = Handle.parse(result.handle)
    found = tier.find(fetched, ExpectedDigests(result.archive_sha256))
    if found is None:
        entry = CachedModel.at(result.path, settings.cache_root)
        if entry is not None:
            require_allowed(tier, fetched, entry)
        raise TierError(f"{tier.name} does not have {fetched} after it was fetched")
    return _pushed(fetched, found, tier, was_there=there is not None, seconds=result.seconds)


def _handle_of(entry: CachedModel, named: Handle | None) -> Handle | None:
    """The handle under which the entry is recorded, which other machines ask for, else as it was named."""
    if entry.handle is None:
        return named
    try:
        return Handle.parse(entry.handle)
    except HandleError:
        return named


def _pushable(handle: Handle | None, name: str) -> Handle:
    if handle is None or not handle.is_remote:
        raise UsageError(
            f"Cannot push {name}: it has no handle that other machines can fetch",
            hint="Import it under a handle first: hubcli fetch HANDLE --from FILE",
        )
    return handle


class PushedModel(NamedTuple):
    """A model that the tier has now: SHA-256 and bytes of its archive; whether it had it before."""

    handle: str
    tier: str
    archive_sha256: str
    archive_bytes: int
    was_there: bool
    seconds: float = 0.0


def push_model(
    tier: SharedTier,
    handle: Handle,
    entry: CachedModel,
    *,
    force: bool = False,
    on_bytes: Callable[[int], None] = lambda size_bytes: None,
) -> PushedModel:
    """Puts the cached model, which has been verified, into the tier under the handle.

    A model whose files the tier has in any archive is there. With `force` it takes the place of others,
    and is uploaded anew. Raises UsageError for a private model in a tier that mustn't hold it,
    TierConflictError, NetworkError, DiskFullError.
    """
    began_s = time.monotonic()
    require_allowed(tier, handle, entry)
    tier.require_writable()
    files = _files_of(entry, on_bytes)
    there = None if force else _found(tier, handle, tree_digest(files))
    if there is not None:
        return _pushed(handle, there, tier, was_there=True, seconds=time.monotonic() - began_s)
    try:
        with tempfile.TemporaryDirectory(prefix="hubcli-", ignore_cleanup_errors=True) as folder:
            archive = Path(folder, "archive.tar")
            packed = pack(Tree.read(entry.path, Limits()), archive, compress=False, on_bytes=on_bytes)
            manifest = TierManifest.of(
                str(handle),
                (packed.sha256, packed.size_bytes, _FORMAT),
                files,
                source=entry.manifest.source if entry.manifest is not None else "",
                etag=entry.manifest.etag if entry.manifest is not None else None,
                now_s=time.time(),
                is_private=entry.manifest is not None and entry.manifest.is_private,
            )
            is_new = tier.put_archive(handle, manifest, archive, replace=force)
    except OSError as error:
        message = f"Cannot pack {handle} in a temporary directory"
        raise temporary_disk_error(message, error, "push ") from error
    return _pushed(handle, manifest, tier, was_there=not is_new, seconds=time.monotonic() - began_s)


def _pushed(
    handle: Handle,
    model: TierManifest | TierModel,
    tier: SharedTier,
    *,
    was_there: bool,
    seconds: float = 0.0,
) -> PushedModel:
    return PushedModel(str(handle), tier.name, model.archive_sha256, model.archive_bytes, was_there, seconds)


def require_allowed(tier: SharedTier, handle: Handle, entry: CachedModel) -> None:
    """Raises UsageError for a private model where the tier mustn't hold it."""
    if entry.manifest is not None and entry.manifest.is_private and not tier.takes_private:
        raise UsageError(
            f"{handle} was fetched with credentials, and {tier.name} may not hold private models",
            hint="Add private=yes to the address of the tier if only those who may read the model read it.",
        )


def _files_of(entry: CachedModel, on_bytes: Callable[[int], None]) -> Sequence[FileRecord]:
    """The files with their hashes, by the record where it has them: `verify` compared them."""
    files = entry.manifest.files if entry.manifest is not None else ()
    if files and all(file.sha256 is not None for file in files):
        return files
    return hashed_files(entry.path, on_bytes)


def _found(tier: SharedTier, handle: Handle, tree_sha256: str) -> TierManifest | None:
    """What the tier has of the handle with these files, in whichever archive; None where it must be put."""
    with suppress(IntegrityError):  # An invalid one is replaced.
        current = tier.current(handle.cache_key)
        for sha256 in () if current is None else current.archives:
            manifest = tier.manifest(ManifestKey(handle.cache_key, sha256))
            if manifest is not None and manifest.tree_sha256 == tree_sha256 and tier.has_archive(manifest):
                tier.use(manifest)
                return manifest
    return None
