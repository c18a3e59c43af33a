"""How `hubcli fetch --dry-run` shows what a fetch would do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hubcli.cli.output import Output, errors_document, printable
from hubcli.cli.tables import Column, Style, render_table
from hubcli.errors import HubcliError
from hubcli.fetching.dry_run import DryRun, PlannedAction
from hubcli.units import format_size, plural

__all__ = ["show_dry_run"]

_COLUMNS = (
    Column("HANDLE", stretches=True),
    Column("SIZE", right=True),
    Column("WHAT", styles={"cached": "green", "would": "cyan"}),
)
_WORDS = {
    PlannedAction.CACHED: "cached",
    PlannedAction.WOULD_FETCH: "would fetch",
    PlannedAction.LOCAL: "local",
}


def show_dry_run(plans: Sequence[DryRun], errors: Sequence[tuple[str, HubcliError]], output: Output) -> None:
    """Writes what a fetch would do with each model; errors stand in a JSON document alone."""
    to_fetch = [plan for plan in plans if plan.action is PlannedAction.WOULD_FETCH]
    if output.as_json:
        output.document({**_document(plans, to_fetch), **errors_document(errors)})
    elif output.quiet:
        if to_fetch:
            output.payload("\n".join(printable(plan.handle) for plan in to_fetch))
    elif plans:
        output.payload(render_table(_COLUMNS, [_row(plan) for plan in plans], Style.of(output)))
        output.payload(_total(plans, to_fetch))


def _row(plan: DryRun) -> tuple[str, ...]:
    size = "-" if plan.size_bytes is None else format_size(plan.size_bytes)
    return printable(plan.handle), size, _WORDS[plan.action]


def _total(plans: Sequence[DryRun], to_fetch: Sequence[DryRun]) -> str:
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
