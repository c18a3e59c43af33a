"""Pushes a cached model into a tier: packed as by `export`, unless the tier has its files."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from hubcli.archive import FileRecord, Limits
from hubcli.archive.pack import pack
from hubcli.archive.tree import Tree, hashed_files, tree_digest
from hubcli.cache.cached_model import CachedModel
from hubcli.errors import IntegrityError, UsageError
from hubcli.fetching.sources import temporary_disk_error
from hubcli.providers.handle import Handle
from hubcli.tiers.layout import ManifestKey
from hubcli.tiers.manifest import TierManifest
from hubcli.tiers.tier import SharedTier

__all__ = ["PushedModel", "push_model", "require_allowed"]

_FORMAT = "tar"


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
        return PushedModel(
            str(handle),
            tier.name,
            there.archive_sha256,
            there.archive_bytes,
            True,
            time.monotonic() - began_s,
        )
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
    seconds = time.monotonic() - began_s
    return PushedModel(str(handle), tier.name, packed.sha256, packed.size_bytes, not is_new, seconds)


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
