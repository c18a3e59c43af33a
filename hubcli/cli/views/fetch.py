"""What `hubcli fetch` shows: each model as a line and in JSON, and the table of a dry run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hubcli.cli.main import LazyImports
from hubcli.cli.output import Output, errors_document, printable
from hubcli.errors import HubcliError
from hubcli.units import format_elapsed, format_size, plural

if TYPE_CHECKING:
    from hubcli.commands.fetch import FetchResult
    from hubcli.fetching.peek import DryRun

with LazyImports():
    from hubcli.cli.tables import Column, Style, render_table

__all__ = ["fetch_document", "fetch_summary", "show_dry_run"]


def fetch_summary(result: FetchResult) -> str:
    """One line for a person."""
    size = f"{format_size(result.size_bytes)}, {plural(result.file_count, 'file')}"
    if result.was_cached:
        return f"Cached  {result.handle}  {size}"
    return f"Fetched {result.handle}  {size}, {format_elapsed(result.seconds)}"


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
        "tier": result.tier,
    }


def show_dry_run(plans: Sequence[DryRun], errors: Sequence[tuple[str, HubcliError]], output: Output) -> None:
    """Writes what a fetch would do with each model; errors stand in a JSON document alone."""
    to_fetch = [plan for plan in plans if plan.is_to_fetch]
    if output.as_json:
        output.document({**_document(plans, to_fetch), **errors_document(errors)})
    elif output.quiet:
        if to_fetch:
            output.payload("\n".join(printable(plan.handle) for plan in to_fetch))
    elif plans:
        columns = (
            Column("HANDLE", stretches=True),
            Column("SIZE", right=True),
            Column("WHAT", styles={"cached": "green", "would": "cyan"}),
        )
        output.payload(render_table(columns, [_dry_run_row(plan) for plan in plans], Style.of(output)))
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
