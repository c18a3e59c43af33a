"""Collection in a tier: models by age of use, count and size, then archives that no manifest names.

Safe beside readers and writers. A manifest is removed only if nobody used it since it was listed, after the
`current.json` that leads to it. An archive that no manifest names is marked; a later run deletes it once
the mark and the archive are both older than the grace period. Writers upload an archive anew that has no
manifest and is older than ten minutes, so that what a run is about to delete is never relied on. A reader
that loses a race finds a model missing, and fetches it from its origin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import NamedTuple, TypeVar

from hubcli.concurrency import map_in_order
from hubcli.errors import BudgetError, IntegrityError, UnsupportedError
from hubcli.fetching.lock_file import LockFile
from hubcli.providers.handle import key_of
from hubcli.tiers.inventory import Inventory, OrphanedBlob
from hubcli.tiers.layout import ManifestKey, blob_key, current_key, manifest_key, orphan_key
from hubcli.tiers.manifest import Current
from hubcli.tiers.tier import SharedTier
from hubcli.units import format_size

__all__ = ["CollectedModel", "TierCollection", "TierPolicy", "collect", "plan_models", "planned", "title_of"]

T = TypeVar("T")
_LEASE_AGE_S = 86400.0
_THREADS = 16
# A batch is checked and removed before the next. That of models is small: between both, a push reports
# that a model is there.
_BATCH, _MODELS_OF_A_BATCH = 256, 64
_ATTEMPTS = 20
_TO_GO = "reason IS NULL AND is_kept = 0 AND used_s <= ?"


@dataclass(frozen=True, slots=True)
class TierPolicy:
    """What a collection removes: models not used for a time, the least recently used beyond a count or size.

    What the `keep` lock files name stays, and so does what was used within the grace period.
    """

    older_than_s: float | None = None
    max_count: int | None = None
    max_size_bytes: int | None = None
    grace_s: float = 86400.0
    keep: Sequence[LockFile] = ()


class CollectedModel(NamedTuple):
    """A manifest to remove: its key, when it was last used, and why: age, count, size, missing."""

    key: ManifestKey
    used_s: float
    archive_bytes: int
    reason: str


@dataclass(slots=True)
class TierCollection:
    """What a collection did: models and archives removed, archives marked; what others used meanwhile."""

    models: int = 0
    blobs: int = 0
    freed_bytes: int = 0
    marked: int = 0
    marked_bytes: int = 0
    skipped: int = 0
    budget_error: BudgetError | None = field(default=None)


def plan_models(inventory: Inventory, policy: TierPolicy) -> BudgetError | None:
    """Notes in the inventory which manifests go and why; the error where a limit can't be met."""
    _keep(inventory, policy.keep)
    database, now_s = inventory.database, inventory.now_s
    within = now_s - policy.grace_s
    database.execute(
        "UPDATE manifests SET reason = 'missing' WHERE used_s <= ? "
        "AND sha256 NOT IN (SELECT sha256 FROM blobs)",
        (within,),
    )
    if policy.older_than_s is not None:
        before = min(within, now_s - policy.older_than_s)
        database.execute(f"UPDATE manifests SET reason = 'age' WHERE {_TO_GO}", (before,))  # noqa: S608
    shortfall = None
    if policy.max_count is not None:
        shortfall = _limit_count(inventory, policy.max_count, within)
    if policy.max_size_bytes is not None:
        shortfall = _limit_size(inventory, policy.max_size_bytes, within) or shortfall
    return shortfall


def _keep(inventory: Inventory, lock_files: Sequence[LockFile]) -> None:
    for lock_file in lock_files:
        for model in lock_file.models.values():
            sha256 = model.expected.archive_sha256
            if sha256 is not None:
                inventory.database.execute("UPDATE manifests SET is_kept = 1 WHERE sha256 = ?", (sha256,))
            else:  # What was locked without its archive's hash may be any of them.
                for text in {model.handle, str(model.to_fetch)}:
                    inventory.database.execute(
                        "UPDATE manifests SET is_kept = 1 WHERE model = ?", (key_of(text),)
                    )


def _limit_count(inventory: Inventory, count: int, within: float) -> BudgetError | None:
    surplus = inventory.number("SELECT count(*) FROM manifests WHERE reason IS NULL") - count
    if surplus <= 0:
        return None
    going = f"SELECT model, sha256 FROM manifests WHERE {_TO_GO} ORDER BY used_s, model LIMIT ?"  # noqa: S608
    inventory.database.execute(
        f"UPDATE manifests SET reason = 'count' WHERE (model, sha256) IN ({going})",  # noqa: S608
        (within, surplus),
    )
    left = inventory.number("SELECT count(*) FROM manifests WHERE reason IS NULL")
    return _short(f"{left} models", f"{count}") if left > count else None


def _limit_size(inventory: Inventory, size_bytes: int, within: float) -> BudgetError | None:
    left_bytes = inventory.named_bytes
    query = f"SELECT model, sha256 FROM manifests WHERE {_TO_GO} ORDER BY used_s, model"  # noqa: S608
    for model, sha256 in inventory.copied(query, within) if left_bytes > size_bytes else ():
        if left_bytes <= size_bytes:
            break
        inventory.database.execute(
            "UPDATE manifests SET reason = 'size' WHERE model = ? AND sha256 = ?", (model, sha256)
        )
        if not inventory.number("SELECT count(*) FROM manifests WHERE sha256 = ? AND reason IS NULL", sha256):
            left_bytes -= inventory.number("SELECT bytes FROM blobs WHERE sha256 = ?", sha256)
    return _short(format_size(left_bytes), format_size(size_bytes)) if left_bytes > size_bytes else None


def _short(left: str, limit: str) -> BudgetError:
    return BudgetError(
        f"The tier still has {left} after all allowed removals, more than {limit}",
        hint="Shorten --grace, keep fewer lock files, or raise the limit.",
    )


def planned(inventory: Inventory) -> Iterator[CollectedModel]:
    """The manifests that go, the least recently used first; others may be noted meanwhile."""
    query = (
        "SELECT m.model, m.sha256, m.used_s, coalesce(b.bytes, 0), m.reason FROM manifests m "
        "LEFT JOIN blobs b ON b.sha256 = m.sha256 WHERE m.reason IS NOT NULL ORDER BY m.used_s, m.model"
    )
    for model, sha256, used_s, size_bytes, reason in inventory.copied(query):
        yield CollectedModel(ManifestKey(model, sha256), used_s, size_bytes, reason)


def collect(
    tier: SharedTier,
    inventory: Inventory,
    policy: TierPolicy,
    on_model: Callable[[CollectedModel, str], None] | None = None,
) -> TierCollection:
    """Removes what was planned, and archives orphaned for the grace period, with several requests at a time.

    `on_model` is called for each removed model with its title; the titles are read for it alone.
    Raises NetworkError, AuthenticationError; what was removed until then stays removed.
    """
    tier.require_writable()
    collection = TierCollection()
    for models in _batches(planned(inventory), _MODELS_OF_A_BATCH):
        _collect_models(tier, inventory, models, collection, on_model)
    for orphans in _batches(inventory.orphaned()):
        _collect_blobs(tier, inventory.now_s, policy.grace_s, orphans, collection)
    _forget_marks(tier, inventory)
    oldest_s = inventory.now_s - max(policy.grace_s, _LEASE_AGE_S)
    for leases in _batches(inventory.rows("SELECT key FROM leases WHERE modified_s < ?", oldest_s)):
        tier.store.delete_all([key for (key,) in leases])
    tier.store.sweep()
    return collection


def _batches(items: Iterator[T], count: int = _BATCH) -> Iterator[list[T]]:
    while batch := list(islice(items, count)):
        yield batch


def _collect_models(
    tier: SharedTier,
    inventory: Inventory,
    models: Sequence[CollectedModel],
    collection: TierCollection,
    on_model: Callable[[CollectedModel, str], None] | None,
) -> None:
    """Withdraws each model that was not used since the listing, then removes their manifests."""

    def withdraw(archives: list[CollectedModel]) -> list[tuple[CollectedModel, str | None]]:
        """Withdraws those of one handle, which share a current.json; their titles, None for what stays."""
        titles: list[tuple[CollectedModel, str | None]] = []
        for model in archives:
            title: str | None = None
            if not _is_used_again(tier, model):
                title = "" if on_model is None else title_of(tier, model)
                _withdraw(tier, model.key)
            titles.append((model, title))
        return titles

    by_handle: dict[str, list[CollectedModel]] = {}
    for model in models:
        by_handle.setdefault(model.key.model, []).append(model)
    withdrawn: list[tuple[CollectedModel, str]] = []
    for model, title in chain.from_iterable(map_in_order(by_handle.values(), withdraw, _THREADS, _BATCH)):
        if title is None:
            collection.skipped += 1
            inventory.database.execute(
                "UPDATE manifests SET reason = NULL WHERE model = ? AND sha256 = ?", tuple(model.key)
            )
            continue
        withdrawn.append((model, title))
    tier.store.delete_all([manifest_key(*model.key) for model, _ in withdrawn])
    collection.models += len(withdrawn)
    if on_model is not None:
        for model, title in withdrawn:
            on_model(model, title)


def _is_used_again(tier: SharedTier, model: CollectedModel) -> bool:
    """Whether the manifest was written since it was listed, or is gone: then it is not removed."""
    info = tier.store.head(manifest_key(*model.key))
    return info is None or info.modified.timestamp() > model.used_s


def title_of(tier: SharedTier, model: CollectedModel) -> str:
    """The handle of the manifest, or its key where that can't be read."""
    try:
        manifest = tier.manifest(model.key)
    except IntegrityError:
        manifest = None
    return model.key.model if manifest is None else manifest.handle


def _withdraw(tier: SharedTier, key: ManifestKey) -> None:
    """Takes the archive out of what the handle means, so that no reader is led to it."""
    object_key = current_key(key.model)
    with suppress(IntegrityError):  # An invalid current.json names no version.
        for _ in range(_ATTEMPTS):
            found = tier.read_current(key.model)
            if found is None or key.sha256 not in found[0].archives:
                return
            current, info = found
            left = tuple(sha256 for sha256 in current.archives if sha256 != key.sha256)
            if not left and current.resolved is None:
                tier.store.delete(object_key)
                return
            content = Current(current.handle, left, current.resolved, current.written_at).to_bytes()
            try:
                if tier.store.replace(object_key, content, info):
                    return  # Else a writer changed it meanwhile.
            except UnsupportedError:
                tier.store.put(object_key, content)
                return


def _collect_blobs(
    tier: SharedTier,
    now_s: float,
    grace_s: float,
    orphans: Sequence[OrphanedBlob],
    collection: TierCollection,
) -> None:
    """Deletes the archives that were orphaned for the grace period, and marks the others."""
    before_s = now_s - grace_s

    def delete(orphan: OrphanedBlob) -> bool | None:
        """Whether it was deleted; None if it must stay for now. It is deleted right after the check."""
        marked_s = now_s if orphan.since_s is None else orphan.since_s
        if marked_s > before_s or orphan.modified_s > before_s:
            if orphan.since_s is None:
                tier.store.create(orphan_key(orphan.sha256), b"{}\n")
            return None
        info = tier.store.head(blob_key(orphan.sha256))
        if info is None or info.modified.timestamp() > orphan.modified_s:
            return False
        tier.store.delete(blob_key(orphan.sha256))
        return True

    marks: list[str] = []
    for orphan, is_deleted in zip(orphans, map_in_order(orphans, delete, _THREADS, _BATCH), strict=True):
        if is_deleted is None:
            collection.marked += 1
            collection.marked_bytes += orphan.size_bytes
        elif is_deleted:
            collection.blobs += 1
            collection.freed_bytes += orphan.size_bytes
        if is_deleted is not None and orphan.since_s is not None:
            marks.append(orphan_key(orphan.sha256))
    tier.store.delete_all(marks)


def _forget_marks(tier: SharedTier, inventory: Inventory) -> None:
    """Removes the marks of archives that a manifest names again, or that are gone."""
    query = (
        "SELECT sha256 FROM orphans WHERE sha256 NOT IN (SELECT sha256 FROM blobs) "
        "OR sha256 IN (SELECT sha256 FROM manifests WHERE reason IS NULL)"
    )
    for marks in _batches(inventory.rows(query)):
        tier.store.delete_all([orphan_key(sha256) for (sha256,) in marks])
