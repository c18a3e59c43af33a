"""The archives of a tier, and whether they match their manifests. Listed page by page."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import groupby, islice
from typing import NamedTuple

from hubcli.concurrency import map_in_order
from hubcli.errors import HandleError, IntegrityError, NotFoundError
from hubcli.issues import Issue, Location, Severity
from hubcli.net.object_store import ObjectInfo
from hubcli.providers.handle import Handle
from hubcli.tiers.inventory import Inventory
from hubcli.tiers.layout import MODELS, ManifestKey, blob_key, manifest_key
from hubcli.tiers.manifest import TierManifest
from hubcli.tiers.tier import SharedTier

__all__ = ["TierEntry", "entries_of", "verify_tier"]

_THREADS = 8
_AHEAD = 32
_MAX_GROUP = 256


class TierEntry(NamedTuple):
    """An archive of a handle: its manifest, or why it can't be read; its last use, seconds since 1970.

    The manifest is without its files, which may be a hundred thousand: their number and size stand beside it.
    `is_conflict` says that the handle never changes and the tier has other files for it too.
    """

    key: ManifestKey
    used_s: float
    manifest: TierManifest | None
    problem: str | None = None
    file_count: int = 0
    size_bytes: int = 0
    is_conflict: bool = False

    @property
    def title(self) -> str:
        """What a person calls it: the handle, or the key where it is unknown."""
        return self.manifest.handle if self.manifest is not None else self.key.model


def entries_of(tier: SharedTier) -> Generator[TierEntry, None, None]:
    """The archives in the order of their keys. Raises UnsupportedError where the store can't be listed."""

    def read(info: ObjectInfo) -> TierEntry | None:
        key = ManifestKey.parse(info.key)
        return None if key is None else _entry(tier, key, info.modified.timestamp())

    tier.require_exists()
    found = (
        entry
        for entry in map_in_order(tier.store.list_objects(MODELS), read, _THREADS, _AHEAD)
        if entry is not None
    )
    for _, group in groupby(found, key=lambda entry: entry.key.model):
        trees: set[str] = set()
        # A handle has few archives, unless somebody fills the tier with them.
        while entries := list(islice(group, _MAX_GROUP)):
            is_conflict = _is_conflict(entries, trees)
            yield from (entry._replace(is_conflict=is_conflict) for entry in entries)


def _entry(tier: SharedTier, key: ManifestKey, used_s: float) -> TierEntry | None:
    try:
        manifest = tier.manifest(key)
    except IntegrityError as error:
        return TierEntry(key, used_s, None, error.message)
    if manifest is None:  # It was deleted meanwhile.
        return None
    return TierEntry(
        key, used_s, manifest.without_files(), file_count=len(manifest.files), size_bytes=manifest.size_bytes
    )


def _is_conflict(entries: list[TierEntry], trees: set[str]) -> bool:
    """Whether the entries of a handle conflict; adds their digests to `trees`, those of earlier ones."""
    manifests = [entry.manifest for entry in entries if entry.manifest is not None]
    if len(trees) < 2:
        trees.update(manifest.tree_sha256 for manifest in manifests)
    return len(trees) > 1 and bool(manifests) and _is_immutable(manifests[0].handle)


def _is_immutable(text: str) -> bool:
    try:
        handle = Handle.parse(text)
    except HandleError:
        return False
    return handle.is_remote and handle.is_immutable


def verify_tier(
    tier: SharedTier,
    inventory: Inventory,
    on_archive: Callable[[TierEntry], None] = lambda entry: None,
    on_bytes: Callable[[int], None] = lambda size_bytes: None,
) -> Iterator[Issue]:
    """Each fault of the tier: every archive is read once, and compared with its manifests.

    Raises NetworkError where the store fails, and not just one object.
    """
    database = inventory.database
    # Manifests of one archive may claim different sizes: one that is right has no fault.
    database.execute(
        "CREATE TABLE verified (sha256 TEXT, bytes INTEGER, problem TEXT, PRIMARY KEY (sha256, bytes)) "
        "WITHOUT ROWID"
    )
    with closing(entries_of(tier)) as entries:
        for entry in entries:
            on_archive(entry)
            if entry.manifest is None:
                yield _issue("tier-manifest", entry, entry.problem or "")
                continue
            archive = (entry.key.sha256, entry.manifest.archive_bytes)
            known = database.execute(
                "SELECT problem FROM verified WHERE sha256 = ? AND bytes = ?", archive
            ).fetchone()
            problem = known[0] if known else _problem_of_archive(tier, entry.manifest, on_bytes)
            if not known:
                database.execute("INSERT INTO verified VALUES (?, ?, ?)", (*archive, problem))
            if problem is not None:
                yield _issue("tier-archive", entry, problem)
            if entry.is_conflict:
                yield _issue("tier-conflict", entry, "the tier also has other files for this handle")
    yield from _issues_of_currents(tier, inventory)


def _problem_of_archive(
    tier: SharedTier, manifest: TierManifest, on_bytes: Callable[[int], None]
) -> str | None:
    digest, size_bytes = hashlib.sha256(), 0
    try:
        with tier.store.open(blob_key(manifest.archive_sha256)) as source:
            for chunk in source.read():
                digest.update(chunk)
                size_bytes += len(chunk)
                on_bytes(len(chunk))
                if size_bytes > manifest.archive_bytes:
                    return f"its archive is larger than {manifest.archive_bytes} bytes"
    except NotFoundError:
        return "its archive is missing"
    except IntegrityError as error:
        return error.message
    if size_bytes != manifest.archive_bytes:
        return f"its archive has {size_bytes} bytes instead of {manifest.archive_bytes}"
    if digest.hexdigest() != manifest.archive_sha256:
        return (
            f"SHA-256 mismatch of its archive: expected {manifest.archive_sha256}, got {digest.hexdigest()}"
        )
    return None


def _issues_of_currents(tier: SharedTier, inventory: Inventory) -> Iterator[Issue]:
    """What handles mean: each current.json must be one, and name archives that are there."""

    def read(model: str) -> Issue | None:
        name = f"{MODELS}{model}/current.json"
        try:
            current = tier.current(model)
        except IntegrityError as error:
            return Issue(Severity.ERROR, "tier-current", error.message, Location(file=name))
        for sha256 in () if current is None else current.archives:
            if tier.store.head(manifest_key(model, sha256)) is None:
                text = f"{name} names the archive {sha256[:12]}, which has no manifest"
                return Issue(Severity.ERROR, "tier-current", text, Location(file=name))
        return None

    models = (model for (model,) in inventory.rows("SELECT model FROM currents"))
    yield from (issue for issue in map_in_order(models, read, _THREADS, _AHEAD) if issue is not None)


def _issue(code: str, entry: TierEntry, what: str) -> Issue:
    return Issue(
        Severity.ERROR,
        code,
        f"{entry.title}: {what}",
        Location(file=manifest_key(*entry.key)),
        hint=f"Run: hubcli push --force {entry.title}" if entry.manifest is not None else "",
    )
