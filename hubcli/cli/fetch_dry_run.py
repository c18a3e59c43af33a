"""A run of `hubcli fetch --dry-run`: looks at all models, and shows what a fetch would do."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import Any

from hubcli.cli.multi_progress import MultiProgress, multi_progress_for
from hubcli.cli.output import Output, errors_document, printable
from hubcli.cli.tables import Column, Style, render_table
from hubcli.commands.fetch import FetchOptions
from hubcli.concurrency import CancellationToken, run_concurrently
from hubcli.config.settings import Settings
from hubcli.errors import HubcliError
from hubcli.fetching.dry_run import DryRun, PlannedAction, dry_run
from hubcli.fetching.requirements import FetchRequest
from hubcli.providers.handle import Handle
from hubcli.units import format_size, plural

__all__ = ["FetchDryRun"]

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


class FetchDryRun:
    """Looks at so many models at a time, and shows all in the order given."""

    def __init__(
        self, settings: Settings, options: FetchOptions, output: Output, debug: bool, *, jobs: int
    ) -> None:
        self.settings = settings
        self.options = options
        self.output = output
        self.debug = debug
        self.jobs = jobs

    def run_all(self, models: Sequence[FetchRequest]) -> int:
        """Exit status of the first failure, or 0."""
        with multi_progress_for(self.output, len(models)) as board:
            jobs = [partial(self._foresee_one, model, board) for model in models]
            found: dict[int, DryRun | HubcliError] = {}
            with closing(run_concurrently(jobs, self.jobs, CancellationToken())) as arriving:
                for place, one in arriving:
                    found[place] = one
                    board.reported(failed=isinstance(one, HubcliError))
        ordered = sorted(found.items())
        seen = [one for _, one in ordered if isinstance(one, DryRun)]
        errors = [(models[place], one) for place, one in ordered if isinstance(one, HubcliError)]
        self._show(seen, errors)
        return int(errors[0][1].exit_status) if errors else 0

    def _foresee_one(self, model: FetchRequest, board: MultiProgress) -> DryRun | HubcliError:
        def look(handle: Handle, options: FetchOptions) -> DryRun:
            with board.listener(model.name) as listener:
                return dry_run(handle, self.settings, options, listener)

        return model.attempt(self.options, look)

    def _show(self, seen: list[DryRun], errors: list[tuple[FetchRequest, HubcliError]]) -> None:
        coming = [one for one in seen if one.fate is PlannedAction.WOULD_FETCH]
        for model, error in errors:
            if self.debug:
                self.output.trace(error)
            self.output.error(error, "" if len(seen) + len(errors) == 1 else model.name)
        if self.output.as_json:
            told = errors_document([(model.text, error) for model, error in errors])
            self.output.document({**_document(seen, coming), **told})
        elif self.output.quiet:
            if coming:
                self.output.payload("\n".join(printable(one.handle) for one in coming))
        elif seen:
            self.output.payload(render_table(_COLUMNS, [_row(one) for one in seen], Style.of(self.output)))
            self.output.payload(_total(seen, coming))


def _row(one: DryRun) -> tuple[str, ...]:
    size = "-" if one.size_bytes is None else format_size(one.size_bytes)
    return printable(one.handle), size, _WORDS[one.fate]


def _total(seen: Sequence[DryRun], coming: Sequence[DryRun]) -> str:
    sizes = [one.size_bytes for one in coming if one.size_bytes is not None]
    parts = [f"{plural(len(seen), 'model')}: {len(coming)} to fetch"]
    parts += [format_size(sum(sizes))] * bool(sizes)
    parts += [f"{len(coming) - len(sizes)} of unknown size"] * (len(sizes) < len(coming))
    return ", ".join(parts)


def _document(seen: Sequence[DryRun], coming: Sequence[DryRun]) -> dict[str, Any]:
    sizes = [one.size_bytes for one in coming if one.size_bytes is not None]
    return {
        "dry_run": True,
        "models": [{"handle": one.handle, "what": one.fate.value, "bytes": one.size_bytes} for one in seen],
        "to_fetch": {"models": len(coming), "bytes": sum(sizes), "unknown": len(coming) - len(sizes)},
    }
