"""How each noun is shown: as JSON with stable keys, as a row, as a line for a person."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hubcli.cache.catalog import EntryState
from hubcli.cli.output import Output, errors_document, printable
from hubcli.cli.tables import Column, Style, render_table
from hubcli.errors import HubcliError
from hubcli.units import format_age, format_size, plural, to_iso_utc

if TYPE_CHECKING:
    from hubcli.cache.catalog import CachedModelInfo
    from hubcli.commands.export import ExportResult
    from hubcli.commands.fetch import FetchResult
    from hubcli.commands.ls import Listing
    from hubcli.exporting.editing import EditReport
    from hubcli.fetching.peek import DryRun

__all__ = [
    "edit_document",
    "export_document",
    "export_summary",
    "fetch_document",
    "fetch_summary",
    "listing_document",
    "losses_payload",
    "show_dry_run",
    "show_listing",
    "show_names",
    "show_size",
]

_COLUMNS = (
    Column("HANDLE", stretches=True),
    Column("SIZE", right=True),
    Column("KIND"),
    Column("FETCHED", right=True, min_width=100),
    Column("USED", right=True),
    Column("STATE", full_width=120, styles={"ok": "green", "gutted": "red", "downloading": "cyan"}),
)


def fetch_summary(result: FetchResult) -> str:
    """One line for a person."""
    size = f"{format_size(result.size_bytes)}, {result.file_count} files"
    if result.was_cached:
        return f"Cached  {result.handle}  {size}"
    return f"Fetched {result.handle}  {size}, {result.seconds:.1f} s"


def fetch_document(result: FetchResult) -> dict[str, Any]:
    """One model of `hubcli fetch --json`."""
    return {
        "handle": result.handle,
        "path": str(result.path),
        "source": result.source,
        "bytes": result.size_bytes,
        "files": result.file_count,
        "sha256": result.archive_sha256,
        "seconds": round(result.seconds, 3),
        "was_cached": result.was_cached,
    }


def export_summary(result: ExportResult) -> str:
    """One line for a person."""
    if result.is_dry_run and result.edited is not None:
        before, after = format_size(result.edited.size_before), format_size(result.size_bytes)
        return f"Would export {result.source}  {before} to {after}"
    files = "1 file" if result.file_count == 1 else f"{result.file_count} files"
    return f"Exported {result.source}  {format_size(result.size_bytes)}, {files}, {result.seconds:.1f} s"


def losses_payload(result: ExportResult) -> str:
    """What an edited export loses, a line each."""
    losses = () if result.edited is None else result.edited.losses
    return "\n".join(printable(loss.text) for loss in losses)


def export_document(result: ExportResult) -> dict[str, Any]:
    """`hubcli export --json`."""
    document: dict[str, Any] = {"dry_run": True} if result.is_dry_run else {}
    if result.edited is not None:
        document["edited"] = edit_document(result.edited)
    return {
        "source": result.source,
        "destination": str(result.destination),
        "layout": result.layout.value,
        "format": result.format.value,
        "bytes": result.size_bytes,
        "files": result.file_count,
        "sha256": result.sha256,
        "seconds": round(result.seconds, 3),
        **document,
    }


def edit_document(report: EditReport) -> dict[str, Any]:
    """The edits in `hubcli export --json` and `hubcli finetune-export --json`."""
    return {
        "signatures": dict(report.signatures),
        "lost": [
            {
                "kind": loss.kind,
                "text": loss.text,
                "count": loss.count,
                "names": list(loss.names),
                "bytes": loss.size_bytes,
            }
            for loss in report.losses
        ],
        "notes": list(report.notes),
        "bytes_before": report.size_before,
        "bytes_after": report.size_after,
        "variables_bytes_before": report.variables_before,
        "variables_bytes_after": report.variables_after,
        "warmup_requests": report.warmup_requests,
        "compared": list(report.compared),
        "loaders": list(report.loaders),
        "largest_error": report.largest_error,
    }


def show_listing(listing: Listing, output: Output, *, narrowed: bool, suggestion: str = "") -> None:
    """Writes the table and its total; `narrowed` says that patterns or filters left something out.

    The suggestion, where there is one, is behind the note that nothing fits.
    """
    if not listing.models:
        what = "Nothing in the cache fits" if narrowed and listing.matched == 0 else "The cache is empty"
        output.note(f"{what}: {listing.root}{suggestion if listing.matched == 0 else ''}")
    else:
        now_s = time.time()
        rows = [_row(model, now_s) for model in listing.models]
        output.payload(render_table(_COLUMNS, rows, Style.of(output)))
        output.payload(_total(listing))
    if listing.leftovers:
        output.note(f"Interrupted downloads left something of {listing.leftovers} more behind")


def show_names(listing: Listing, output: Output) -> None:
    """Writes handles, and the keys of entries whose handle is unknown; not what is foreign."""
    names = [
        printable(model.handle or model.name)
        for model in listing.models
        if model.state is not EntryState.FOREIGN
    ]
    if names:
        output.payload("\n".join(names))


def show_size(listing: Listing, output: Output) -> None:
    """Writes the size of all that fit, and nothing else: for a person, with `--quiet` in bytes."""
    if output.as_json:
        document = listing_document(listing)
        output.document({key: value for key, value in document.items() if key != "models"})
    else:
        output.payload(str(listing.size_bytes) if output.quiet else format_size(listing.size_bytes))


def _row(model: CachedModelInfo, now_s: float) -> tuple[str, ...]:
    return (
        printable(model.handle or model.name),
        "-" if model.size_bytes is None else format_size(model.size_bytes),
        printable(model.kind or "-"),
        _age(model.fetched_at_s, now_s),
        _age(model.last_used_at_s, now_s),
        _state(model),
    )


def _age(moment_s: float | None, now_s: float) -> str:
    return "-" if moment_s is None else format_age(now_s - moment_s)


def _state(model: CachedModelInfo) -> str:
    pinned = ", pinned" if model.pinned else ""
    if model.state is EntryState.DOWNLOADING:
        return printable(f"downloading{pinned} by {model.holder}")
    if model.state is EntryState.GUTTED:
        return printable(f"gutted{pinned}: {model.problem}")
    if model.state is EntryState.UNKNOWN:
        return f"unknown handle{pinned}"
    return f"{model.state.value}{pinned}"


def _total(listing: Listing) -> str:
    noun = "entry" if listing.matched == 1 else "entries"
    total_text = (
        f"{len(listing.models)} of {listing.matched}"
        if len(listing.models) < listing.matched
        else listing.matched
    )
    return f"{total_text} {noun}, {format_size(listing.size_bytes)}"


def listing_document(listing: Listing) -> dict[str, Any]:
    """`hubcli ls --json`."""
    return {
        "cache_dir": str(listing.root),
        "models": [_model_document(model) for model in listing.models],
        "matched": listing.matched,
        "bytes": listing.size_bytes,
        "leftovers": listing.leftovers,
    }


def _model_document(model: CachedModelInfo) -> dict[str, Any]:
    return {
        "handle": model.handle,
        "aliases": list(model.aliases),
        "path": str(model.path),
        "state": model.state.value,
        "problem": model.problem,
        "holder": model.holder,
        "kind": model.kind,
        "format": model.format,
        "bytes": model.size_bytes,
        "fetched_at": None if model.fetched_at_s is None else to_iso_utc(model.fetched_at_s),
        "last_used_at": None if model.last_used_at_s is None else to_iso_utc(model.last_used_at_s),
        "last_used_by": None if model.last_used_by is None else model.last_used_by.value,
        "pinned": model.pinned,
    }


_DRY_RUN_COLUMNS = (
    Column("HANDLE", stretches=True),
    Column("SIZE", right=True),
    Column("WHAT", styles={"cached": "green", "would": "cyan"}),
)


def show_dry_run(plans: Sequence[DryRun], errors: Sequence[tuple[str, HubcliError]], output: Output) -> None:
    """Writes what a fetch would do with each model; errors stand in a JSON document alone."""
    to_fetch = [plan for plan in plans if plan.is_to_fetch]
    if output.as_json:
        output.document({**_document(plans, to_fetch), **errors_document(errors)})
    elif output.quiet:
        if to_fetch:
            output.payload("\n".join(printable(plan.handle) for plan in to_fetch))
    elif plans:
        output.payload(
            render_table(_DRY_RUN_COLUMNS, [_dry_run_row(plan) for plan in plans], Style.of(output))
        )
        output.payload(_dry_run_total(plans, to_fetch))


def _dry_run_row(plan: DryRun) -> tuple[str, ...]:
    size = "-" if plan.size_bytes is None else format_size(plan.size_bytes)
    return printable(plan.handle), size, plan.action.value.replace("-", " ")


def _dry_run_total(plans: Sequence[DryRun], to_fetch: Sequence[DryRun]) -> str:
    sizes = [plan.size_bytes for plan in to_fetch if plan.size_bytes is not None]
    parts = [f"{plural(len(plans), 'model')}: {len(to_fetch)} to fetch"]
    parts += [format_size(sum(sizes))] * bool(sizes)
    parts += [f"{len(to_fetch) - len(sizes)} of unknown size"] * (len(sizes) < len(to_fetch))
    return ", ".join(parts)


def _document(plans: Sequence[DryRun], to_fetch: Sequence[DryRun]) -> dict[str, Any]:
    sizes = [plan.size_bytes for plan in to_fetch if plan.size_bytes is not None]
    unknown = len(to_fetch) - len(sizes)
    return {
        "dry_run": True,
        "models": [
            {"handle": plan.handle, "what": plan.action.value, "bytes": plan.size_bytes} for plan in plans
        ],
        "to_fetch": {"models": len(to_fetch), "bytes": sum(sizes), "unknown": unknown},
    }
