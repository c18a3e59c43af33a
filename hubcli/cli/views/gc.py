"""How a collection is shown: the plan as a table, the outcome as a line, both as JSON with stable keys."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from hubcli.cache.disk_usage import Footprint
from hubcli.cache.gc.collect import CompletedAction
from hubcli.cache.gc.plan import Plan, PlannedItem, Reason, count_leftovers, partial_downloads
from hubcli.cache.layout import NameKind
from hubcli.cli.output import Output, printable
from hubcli.cli.tables import Column, Style, render_table
from hubcli.commands.gc import Collection
from hubcli.units import format_age, format_size, plural, to_iso_utc

__all__ = ["collection_document", "collection_total", "show_plan", "stay_note", "upkeep_notes"]

_COLUMNS = (
    Column("ENTRY", stretches=True),
    Column("SIZE", right=True),
    Column("USED", right=True),
    Column("WHY", full_width=120),
)
_WORDS = {
    Reason.OWNER_DEAD: "its process has ended",
    Reason.NO_SIGN_OF_LIFE: "no longer active",
    Reason.INTERRUPTED: "was interrupted",
    Reason.NO_MODEL: "without a model",
    Reason.OLD_PARTIAL: "not resumed",
    Reason.GUTTED: "incomplete",
    Reason.BROKEN: "corrupt",
    Reason.OLDER_THAN: "not used recently",
    Reason.OLD_VERSION: "old version",
    Reason.MAX_SIZE: "over the size limit",
    Reason.MIN_FREE: "low disk space",
    Reason.ASKED_FOR: "requested",
}
_KINDS = {
    NameKind.ALIAS: "link",
    NameKind.DESCRIPTOR: "descriptor",
    NameKind.MANIFEST: "record",
    NameKind.LOCK: "lock",
    NameKind.PIN: "pin",
    NameKind.SPOOL: "partial download",
    NameKind.STAGING: "temp directory",
    NameKind.TRASH: "deletion",
    NameKind.LEFTOVER: "temp file",
}


def show_plan(plan: Plan, output: Output) -> None:
    """Writes the table of what goes, and its sum; leftovers of one entry stand in one row."""
    if not plan.items:
        output.note(f"Nothing to remove: {plan.snapshot.root}")
        return
    now_s = time.time()
    rows = [*_leftover_rows(plan), *(_model_row(item, now_s) for item in plan.items if item.model)]
    output.payload(render_table(_COLUMNS, rows, Style.of(output)))
    output.payload(f"{_counts(plan.items)}, {format_size(plan.footprint.disk_bytes)}")


def _leftover_rows(plan: Plan) -> list[tuple[str, ...]]:
    groups: dict[tuple[str, Reason], list[PlannedItem]] = {}
    for item in plan.items:
        if item.model is None:
            # Links have a key each, which tells a person nothing.
            group = "" if item.kind is NameKind.ALIAS else item.handle or item.key
            groups.setdefault((group, item.reason), []).append(item)
    return [_leftover_row(group, reason, items) for (group, reason), items in groups.items()]


def _leftover_row(group: str, reason: Reason, items: Sequence[PlannedItem]) -> tuple[str, ...]:
    is_partial = any(item.kind is NameKind.SPOOL for item in items)
    rows = [item for item in items if not is_partial or item.kind is not NameKind.DESCRIPTOR]
    words = list(dict.fromkeys(_KINDS[item.kind] for item in rows))
    title = group or plural(len(items), "link")
    # A narrow terminal shows what stands before the colon.
    why = _WORDS[reason] if not group else f"{_WORDS[reason]}: {' and '.join(words)}"
    size = Footprint.sum(item.footprint for item in items).disk_bytes
    return printable(title), format_size(size), "-", why


def _model_row(item: PlannedItem, now_s: float) -> tuple[str, ...]:
    assert item.model is not None
    used_at_s = item.model.last_used_at_s
    used = "-" if used_at_s is None else format_age(now_s - used_at_s)
    why = _WORDS[item.reason] if item.detail is None else f"{_WORDS[item.reason]}: {item.detail}"
    return printable(item.title), format_size(item.footprint.disk_bytes), used, printable(why)


def collection_total(collection: Collection) -> str:
    """One line about what went."""
    freed, free = format_size(collection.freed_bytes), format_size(collection.free_bytes)
    return f"Removed {_counts(collection.removed)}: {freed} freed, {free} free now"


def upkeep_notes(collection: Collection, source: str) -> list[str]:
    """What an upkeep did, and what it could not."""
    notes = [f"Automatic gc by {source} failed: {error.message}" for error in collection.errors]
    if collection.removed:
        freed = format_size(collection.freed_bytes)
        notes.insert(0, (f"Automatic gc by {source} removed {_counts(collection.removed)}: {freed} freed"))
    return notes


def stay_note(action: CompletedAction) -> str:
    """Why a planned item stays."""
    return f"Kept {action.item.title}: {action.detail}"


def _counts(items: Sequence[PlannedItem]) -> str:
    """How many models, partial downloads and other leftovers they are, in words."""
    partial = len(partial_downloads(items))
    counts = {
        "model": sum(not item.is_leftover for item in items),
        "partial download": partial,
        "leftover": count_leftovers(items) - partial,
    }
    parts = [plural(count, word) for word, count in counts.items() if count]
    return " and ".join([", ".join(parts[:-1])] * (len(parts) > 1) + parts[-1:]) or "nothing"


def collection_document(collection: Collection, *, dry_run: bool) -> dict[str, Any]:
    """`hubcli gc --json` and `hubcli rm --json`."""
    plan = collection.plan
    actions = {completed.item.name: completed for completed in collection.actions or ()}
    return {
        "cache_dir": str(plan.snapshot.root),
        "dry_run": dry_run,
        "items": [_item_document(item, actions.get(item.name)) for item in plan.items],
        "planned": _sums(plan.items),
        "removed": _sums(collection.removed),
        "freed_bytes": collection.freed_bytes,
        "usage_bytes": {"before": plan.usage_bytes, "after": collection.usage_bytes},
        "free_bytes": {"before": plan.snapshot.free_bytes, "after": collection.free_bytes},
        "unmatched": list(collection.unmatched),
    }


def _item_document(item: PlannedItem, action: CompletedAction | None) -> dict[str, Any]:
    used_at_s = item.model.last_used_at_s if item.model is not None else None
    return {
        "name": item.name,
        "handle": item.handle,
        "kind": item.kind.value,
        "reason": item.reason.value,
        "detail": item.detail,
        "bytes": item.footprint.size_bytes,
        "disk_bytes": item.footprint.disk_bytes,
        "last_used_at": None if used_at_s is None else to_iso_utc(used_at_s),
        "result": None if action is None else action.result.value,
        "stays_because": None if action is None else action.detail,
        "freed_bytes": 0 if action is None else action.freed_bytes,
    }


def _sums(items: Iterable[PlannedItem]) -> dict[str, int]:
    listed = tuple(items)
    footprint = Footprint.sum(item.footprint for item in listed)
    models = sum(not item.is_leftover for item in listed)
    return {
        "models": models,
        "leftovers": count_leftovers(listed),
        "bytes": footprint.size_bytes,
        "disk_bytes": footprint.disk_bytes,
    }
