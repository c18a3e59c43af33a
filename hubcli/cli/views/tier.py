"""How a shared tier is shown: lines of its models and numbers, and JSON with stable keys."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from hubcli.cli.output import JSON_SCHEMA, Output, printable
from hubcli.commands.tier import TierGcPlan, TierGcResult
from hubcli.issues import Issue
from hubcli.tiers.catalog import TierEntry
from hubcli.tiers.collect import CollectedModel, TierCollection
from hubcli.tiers.inventory import TierStat
from hubcli.units import format_age, format_size, plural, to_iso_utc

__all__ = [
    "entry_document",
    "entry_line",
    "gc_document",
    "issue_document",
    "plan_row",
    "show_gc_plan",
    "stat_document",
    "stat_lines",
    "stream_rows",
]

_PAGE = 500
_REASONS = {
    "age": "not used recently",
    "count": "over the count limit",
    "size": "over the size limit",
    "missing": "archive missing",
}


def entry_line(entry: TierEntry | None) -> str:
    """The line of a model, or for None that of the titles: what has no fixed width stands last."""
    if entry is None:
        return f"{'SIZE':>9}  {'USED':>8}  {'ARCHIVE':<12}  HANDLE"
    size = format_size(entry.manifest.archive_bytes) if entry.manifest is not None else "?"
    used = format_age(time.time() - entry.used_s)
    note = f"  ({entry.problem})" if entry.problem is not None else "  (conflict)" * entry.is_conflict
    return f"{size:>9}  {used:>8}  {entry.key.sha256[:12]}  {printable(entry.title + note)}"


def entry_document(entry: TierEntry) -> dict[str, Any]:
    """A model of `tier ls --json`."""
    manifest = entry.manifest
    return {
        "key": entry.key.model,
        "handle": None if manifest is None else manifest.handle,
        "archive_sha256": entry.key.sha256,
        "archive_bytes": None if manifest is None else manifest.archive_bytes,
        "format": None if manifest is None else manifest.archive_format,
        "size_bytes": None if manifest is None else entry.size_bytes,
        "file_count": None if manifest is None else entry.file_count,
        "used_at": to_iso_utc(entry.used_s),
        "conflict": entry.is_conflict,
        "problem": entry.problem,
    }


def stat_document(stat: TierStat) -> dict[str, Any]:
    """The numbers of `tier stat --json`."""
    return {
        "models": stat.models,
        "manifests": stat.manifests,
        "archives": stat.blobs,
        "archive_bytes": stat.blob_bytes,
        "orphaned_archives": stat.orphans,
        "orphaned_bytes": stat.orphan_bytes,
        "missing_archives": stat.missing,
        "leases": stat.leases,
        "oldest_use": None if stat.oldest_use_s is None else to_iso_utc(stat.oldest_use_s),
        "newest_use": None if stat.newest_use_s is None else to_iso_utc(stat.newest_use_s),
    }


def stat_lines(tier: str, stat: TierStat) -> Iterator[str]:
    """The numbers of `tier stat` for a person."""
    yield f"Tier      {tier}"
    yield f"Models    {stat.models}" + (
        f", {plural(stat.manifests, 'manifest')}" if stat.manifests != stat.models else ""
    )
    yield f"Archives  {stat.blobs}, {format_size(stat.blob_bytes)}"
    if stat.orphans:
        yield f"Orphaned  {plural(stat.orphans, 'archive')}, {format_size(stat.orphan_bytes)}: hubcli tier gc"
    if stat.missing:
        yield f"Missing   {plural(stat.missing, 'archive')}: hubcli tier verify"
    if stat.oldest_use_s is not None and stat.newest_use_s is not None:
        now_s = time.time()
        oldest, newest = format_age(now_s - stat.oldest_use_s), format_age(now_s - stat.newest_use_s)
        yield f"Last use  {newest}; least recently used model: {oldest}"


def issue_document(issue: Issue) -> dict[str, Any]:
    """A fault of `tier verify --json`."""
    return {
        "code": issue.code,
        "severity": issue.severity.value,
        "message": issue.message,
        "object": issue.location.file,
        "hint": issue.hint,
    }


def plan_row(model: CollectedModel, title: str) -> dict[str, Any]:
    """A model of `tier gc --json`, that was or would be removed."""
    return {
        "key": model.key.model,
        "handle": None if title == model.key.model else title,
        "archive_sha256": model.key.sha256,
        "archive_bytes": model.archive_bytes,
        "used_at": to_iso_utc(model.used_s),
        "reason": model.reason,
    }


def gc_document(result: TierGcResult, tier: str, *, dry_run: bool) -> dict[str, Any]:
    """`tier gc --json`, without models and errors: what was removed, or for a dry run would be."""
    plan, collection = result.plan, result.collection
    if collection is None:
        collection = TierCollection(marked=plan.orphans, marked_bytes=plan.orphan_bytes)
    return {
        "tier": tier,
        "dry_run": dry_run,
        "removed_models": collection.models,
        "removed_archives": collection.blobs,
        "freed_bytes": collection.freed_bytes,
        "orphaned_archives": collection.marked,
        "orphaned_bytes": collection.marked_bytes,
        "skipped": collection.skipped,
    }


def show_gc_plan(plan: TierGcPlan, tier: str, output: Output) -> None:
    """Writes the models to remove, one a line, and the sum."""
    if not plan.model_count and not plan.orphans:
        output.note(f"Nothing to remove: {tier}")
        return
    now_s = time.time()
    for model, title in plan.models():
        size, used = format_size(model.archive_bytes), format_age(now_s - model.used_s)
        output.payload(f"{size:>9}  {used:>8}  {printable(title)}  ({_REASONS[model.reason]})")
    models = f"{plural(plan.model_count, 'model')} ({format_size(plan.model_bytes)})"
    orphans = f"{plural(plan.orphans, 'archive')} without a model ({format_size(plan.orphan_bytes)})"
    output.payload(f"To remove: {models}; {orphans}")


def stream_rows(output: Output, head: dict[str, Any], key: str, rows: Iterable[dict[str, Any]]) -> None:
    """Writes one JSON document with a list of any length: a long one is written a page at a time."""
    arriving = iter(rows)
    first = list(islice(arriving, _PAGE))
    following = list(islice(arriving, 1))
    if not following:
        output.document({**head, key: first})
        return
    start = json.dumps({"schema": JSON_SCHEMA, **head})
    output.text(f"{start[:-1]}, {json.dumps(key)}: [")
    separator = ""
    more = chain(first, following, arriving)
    while page := list(islice(more, _PAGE)):
        output.text(separator + ",\n".join(map(json.dumps, page)))
        separator = ","
    output.text("]}")
