"""What the cache holds: models, incomplete ones, leftovers and locks, as `gc` sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from hubcli.cache.catalog import CachedModelInfo, EntryState
from hubcli.cache.disk_usage import Footprint
from hubcli.cache.gc.plan import PlannedItem, Policy, count_leftovers
from hubcli.cache.gc.planner import make_plan
from hubcli.cache.gc.snapshot import Holder, LockFacts, Snapshot, take_snapshot
from hubcli.cache.layout import NameKind
from hubcli.diagnosing.cache import is_directory, listed
from hubcli.diagnosing.context import Check, DiagnosisContext, Section, Status
from hubcli.units import format_age, format_size, plural
from hubcli.urls import without_secrets

__all__ = ["check_entries"]

_check = partial(Check.of, Section.CACHE)


def check_entries(context: DiagnosisContext) -> Iterator[Check]:
    """What is in the cache, and which of it are leftovers."""
    root = context.settings.cache_root
    if not context.has_root or not is_directory(root):
        return
    snapshot = take_snapshot(root)
    plan = make_plan(snapshot, Policy())
    stale = [item for item in plan.items if item.kind is NameKind.LOCK]
    # What the holder of such a lock was doing is reported with the lock.
    held = {(item.key, kind) for item in stale for kind in (NameKind.LOCK, NameKind.STAGING)}
    rest = [item for item in plan.items if item.model is None and (item.key, item.kind) not in held]
    yield _models(snapshot)
    yield from _gutted([model for model in snapshot.models if model.state is EntryState.GUTTED])
    yield from _leftovers(rest)
    yield from _resumable(snapshot, rest)
    yield from _locks(snapshot, stale)


def _models(snapshot: Snapshot) -> Check:
    models = [
        model for model in snapshot.models if model.is_model and model.state is not EntryState.DOWNLOADING
    ]
    size_bytes = Footprint.sum(model.footprint for model in models).disk_bytes
    pinned = sum(model.is_pinned for model in models)
    value = {"models": len(models), "disk_bytes": size_bytes, "pinned": pinned}
    message = f"{plural(len(models), 'model')}, {format_size(size_bytes)}" if models else "no models"
    return _check("entries", Status.OK, f"{message}, {pinned} pinned" if pinned else message, value)


def _gutted(models: Sequence[CachedModelInfo]) -> Iterator[Check]:
    if not models:
        return
    named = [f"{without_secrets(model.title)}: {model.problem}" for model in models]
    known = [model.handle for model in models if model.handle is not None]
    again = (
        f"hubcli fetch {without_secrets(known[0])}"
        if len(models) == len(known) == 1
        else "hubcli verify --repair"
    )
    hint = f"Run: {again}. Or remove it: hubcli gc"
    message = f"{plural(len(models), 'model')} with missing files, which hub.load cannot load: "
    value = [model.handle or model.key for model in models]
    yield _check("gutted", Status.PROBLEM, message + listed(named), list(map(without_secrets, value)), hint)


def _leftovers(items: Sequence[PlannedItem]) -> Iterator[Check]:
    if items:
        count = count_leftovers(items)
        size_bytes = Footprint.sum(item.footprint for item in items).disk_bytes
        message = f"{plural(count, 'leftover')} of interrupted downloads, {format_size(size_bytes)}"
        value = {"count": count, "disk_bytes": size_bytes}
        yield _check("leftovers", Status.WARNING, message, value, "Remove them: hubcli gc")


def _resumable(snapshot: Snapshot, useless: Sequence[PlannedItem]) -> Iterator[Check]:
    removed = {item.name for item in useless}
    spools = [
        fragment
        for fragment in snapshot.fragments
        if fragment.kind is NameKind.SPOOL
        and fragment.name not in removed
        and fragment.name.endswith(".part")
    ]
    if spools:
        size_bytes = Footprint.sum(fragment.footprint for fragment in spools).disk_bytes
        message = f"{plural(len(spools), 'download')} that the next fetch resumes, {format_size(size_bytes)}"
        value = {"count": len(spools), "disk_bytes": size_bytes}
        yield _check("resumable", Status.INFO, message, value)


def _locks(snapshot: Snapshot, stale: Sequence[PlannedItem]) -> Iterator[Check]:
    stale_by_key = {item.key: item for item in stale}
    handles = {fragment.key: fragment.handle for fragment in snapshot.fragments}
    handles |= {model.key: model.handle for model in snapshot.models}
    locks = [
        (
            _lock_text(lock, handles.get(key) or key, snapshot.now_s),
            key in stale_by_key,
            _lock_value(lock, key, handles),
        )
        for key, lock in snapshot.locks.items()
    ]
    held = [(text, value) for text, is_stale, value in locks if not is_stale]
    left = [(text, value) for text, is_stale, value in locks if is_stale]
    if left:
        message = f"{plural(len(left), 'stale lock')}, on which hub.load waits: "
        yield _check(
            "locks",
            Status.PROBLEM,
            message + listed([text for text, _ in left]),
            [value for _, value in left],
            "Remove it: hubcli gc. hubcli fetch does so, too",
        )
    if held:
        message = f"{plural(len(held), 'lock')} in use: " + listed([text for text, _ in held])
        yield _check("locks-in-use", Status.INFO, message, [value for _, value in held])
    if not locks:
        yield _check("locks", Status.OK, "none", [])


def _lock_text(lock: LockFacts, name: str, now_s: float) -> str:
    words = {Holder.DEAD: ", which has ended", Holder.ALIVE: ", which runs", Holder.UNKNOWN: ""}
    owner, age = lock.owner or "an unknown process", format_age(now_s - lock.changed_at_s)
    return f"{owner}{words[lock.holder]}, last active {age}: {without_secrets(name)}"


def _lock_value(lock: LockFacts, key: str, handles: dict[str, str | None]) -> dict[str, object]:
    handle = handles.get(key)
    return {
        "handle": None if handle is None else without_secrets(handle),
        "key": key,
        "owner": None if lock.owner is None else str(lock.owner),
        "holder": lock.holder.value,
        "changed_at_s": round(lock.changed_at_s, 3),
    }
