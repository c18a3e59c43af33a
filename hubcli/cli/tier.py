"""`hubcli tier ls|verify|gc|stat`: options and runs; what they show is in views/tier.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Annotated, Any, TypeAlias

import typer

from hubcli.cli.gc import duration_s, size_bytes_of
from hubcli.cli.main import LazyImports, reduce_garbage_collection
from hubcli.cli.options import (
    CaFile,
    CompletionHint,
    DryRun,
    GlobalOptions,
    Timeout,
    Yes,
    argument,
    value_option,
)
from hubcli.cli.output import Output, errors_document, printable
from hubcli.cli.push import TierToWrite, writable_address
from hubcli.config.settings import Settings
from hubcli.errors import ExitStatus, HubcliError, Interrupted, UsageError, did_you_mean
from hubcli.units import format_size, plural

with LazyImports():
    from hubcli.cli.progress import listener_for
    from hubcli.cli.views.tier import (
        entry_document,
        entry_line,
        gc_document,
        issue_document,
        plan_row,
        show_gc_plan,
        stat_document,
        stat_lines,
        stream_rows,
    )
    from hubcli.commands.tier import (
        TierGcPlan,
        TierGcResult,
        TierPolicy,
        named_tier,
        tier_gc,
        tier_ls,
        tier_stat,
        tier_verify,
    )
    from hubcli.fetching.lock_file import LockFile
    from hubcli.tiers.collect import CollectedModel

__all__ = ["tier_command"]

_ACTIONS = ("ls", "verify", "gc", "stat")
_OF_GC = "Options of gc"
_ROWS_IN_MEMORY_BYTES = 1 << 20


_gc_option = partial(value_option, panel=_OF_GC)

OlderThan: TypeAlias = Annotated[str | None, _gc_option("TIME", "Remove models not used for this long.")]
MaxCount: TypeAlias = Annotated[
    int | None, _gc_option("N", "Remove least recently used models beyond N.", min=0)
]
MaxSize: TypeAlias = Annotated[
    str | None,
    _gc_option("SIZE", "Remove least recently used models until the archives are at most this large."),
]
Keep: TypeAlias = Annotated[
    list[str] | None, _gc_option("FILE", "Keep what the lock file names. Repeatable.", "--keep")
]
Grace: TypeAlias = Annotated[
    str | None, _gc_option("TIME", "Never remove anything used or written within this time. \\[default: 1d]")
]


def tier_command(
    shared: GlobalOptions,
    action: Annotated[
        str,
        argument("ls|verify|gc|stat", "What to do with the tier."),
        CompletionHint(words=_ACTIONS),
    ],
    tier: TierToWrite = None,
    older_than: OlderThan = None,
    max_count: MaxCount = None,
    max_size: MaxSize = None,
    keep: Keep = None,
    grace: Grace = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    cacert: CaFile = None,
    timeout: Timeout = None,
) -> None:
    """List, verify, clean up or measure a shared tier.

    ls lists the models, stat counts them. verify reads every archive and compares it with its manifest; it
    exits with 9 if something is corrupt or missing. gc removes models by age, count or size, and archives
    that no model has needed for the grace period. Run it regularly.

    Examples:
    hubcli tier ls --tier s3://models/hub
    hubcli tier stat
    hubcli tier verify --json
    hubcli tier gc --older-than 90d --keep models.lock --dry-run
    """
    reduce_garbage_collection()
    if action not in _ACTIONS:
        raise UsageError(
            f"No such action '{action}'{did_you_mean(action, _ACTIONS)}",
            hint="Use one of: hubcli tier ls, verify, gc, stat",
        )
    of_gc = {
        "--older-than": older_than,
        "--max-count": max_count,
        "--max-size": max_size,
        "--keep": keep,
        "--grace": grace,
        "--dry-run": dry_run or None,
        "--yes": yes or None,
    }
    given = next((name for name, value in of_gc.items() if value is not None), None)
    if given is not None and action != "gc":
        raise UsageError(
            f"{given} is not an option of hubcli tier {action}", hint="Use it with: hubcli tier gc"
        )
    settings = shared.settings(
        tiers=[] if tier is None else [writable_address(tier)],
        ca_file=cacert,
        timeout=timeout,
    )
    run = TierRun(settings, shared.output(settings))
    if action != "gc":
        raise typer.Exit({"ls": run.ls, "verify": run.verify, "stat": run.stat}[action]())
    policy = TierPolicy(
        older_than_s=None if older_than is None else duration_s("--older-than", older_than),
        max_count=max_count,
        max_size_bytes=None if max_size is None else size_bytes_of("--max-size", max_size),
        grace_s=86400.0 if grace is None else duration_s("--grace", grace),
        keep=[LockFile.read(Path(name)) for name in keep or ()],
    )
    raise typer.Exit(run.gc(policy, dry_run=dry_run, yes=yes))


class TierRun:
    """One action on the first tier of the settings; each method returns the exit status."""

    def __init__(self, settings: Settings, output: Output) -> None:
        self.settings = settings
        self.output = output
        self.is_refused = False

    def ls(self) -> int:
        """Lists the models, page by page."""
        tier = named_tier(self.settings, for_writing=False)
        entries = tier_ls(tier)
        if self.output.as_json:
            stream_rows(self.output, {"tier": tier.name}, "models", map(entry_document, entries))
            return int(ExitStatus.DONE)
        is_empty = True
        for entry in entries:
            if is_empty and not self.output.quiet:
                self.output.payload(entry_line(None))
            is_empty = False
            self.output.payload(printable(entry.title) if self.output.quiet else entry_line(entry))
        if is_empty:
            self.output.note(f"The tier has no models: {tier.name}")
        return int(ExitStatus.DONE)

    def stat(self) -> int:
        """Counts what is in the tier."""
        tier = named_tier(self.settings, for_writing=False)
        with listener_for(self.output, patience_s=0.5) as listener:
            listener.step(f"Listing {tier.name}")
            stat = tier_stat(tier)
        if self.output.as_json:
            self.output.document({"tier": tier.name, **stat_document(stat)})
        elif not self.output.quiet:
            self.output.payload("\n".join(stat_lines(tier.name, stat)))
        return int(ExitStatus.DONE)

    def verify(self) -> int:
        """Tells each fault as it is found; 9 where there is one."""
        tier = named_tier(self.settings, for_writing=False)
        found: list[dict[str, Any]] = []
        with listener_for(self.output, patience_s=0.5) as listener:
            for issue in tier_verify(tier, listener):
                found.append(issue_document(issue))
                if not self.output.as_json:
                    name = issue.location.file or ""
                    self.output.payload(name if self.output.quiet else printable(issue.message))
        if self.output.as_json:
            self.output.document({"tier": tier.name, "issues": found})
        elif not self.output.quiet:
            what = plural(len(found), "fault") if found else "No faults"
            self.output.payload(f"{what} in {tier.name}")
        return int(ExitStatus.FOUND if found else ExitStatus.DONE)

    def gc(self, policy: TierPolicy, *, dry_run: bool, yes: bool) -> int:
        """Shows the plan, asks, collects; 9 where a limit cannot be met."""
        tier = named_tier(self.settings, for_writing=not dry_run)
        has_rows = self.output.as_json or self.output.quiet  # Otherwise the plan has listed the models.
        with _Rows() as rows:

            def confirm(plan: TierGcPlan) -> bool:
                if dry_run and has_rows:
                    for row in plan.models():
                        rows.add(plan_row(*row))
                return self._confirm(plan, tier.name, dry_run=dry_run, yes=yes)

            def on_done(model: CollectedModel, title: str) -> None:
                rows.add(plan_row(model, title))

            try:
                result = tier_gc(
                    tier, policy, dry_run=dry_run, confirm=confirm, on_done=on_done if has_rows else None
                )
            except KeyboardInterrupt as interrupt:
                partial = {"tier": tier.name, "removed": list(rows)}
                raise Interrupted("Interrupted", partial=partial) from interrupt
            return self._report(result, rows, tier.name, dry_run=dry_run)

    def _confirm(self, plan: TierGcPlan, name: str, *, dry_run: bool, yes: bool) -> bool:
        if not self.output.as_json and not self.output.quiet:
            show_gc_plan(plan, name, self.output)
        if dry_run or yes or not plan.model_count:
            return True
        what = f"{plural(plan.model_count, 'model')} ({format_size(plan.model_bytes)})"
        self.output.require_terminal(
            f"removing {what}", hint="Add --yes to remove them, or --dry-run to list them."
        )
        self.is_refused = not self.output.ask(f"Remove {what} from {name}?")
        return not self.is_refused

    def _report(self, result: TierGcResult, rows: _Rows, name: str, *, dry_run: bool) -> int:
        errors: list[tuple[str | None, HubcliError]] = []
        if result.plan.budget_error is not None and not self.is_refused:
            errors.append((None, result.plan.budget_error))
            self.output.error(result.plan.budget_error)
        collection = result.collection
        if self.output.as_json:
            document = gc_document(result, name, dry_run=dry_run)
            stream_rows(self.output, {**document, **errors_document(errors)}, "models", rows)
        elif self.output.quiet:
            for row in rows:
                self.output.payload(printable(row["handle"] or row["key"]))
        elif self.is_refused:
            self.output.say("Nothing was removed")
        elif collection is not None:
            freed = f"{plural(collection.blobs, 'archive')} ({format_size(collection.freed_bytes)} freed)"
            self.output.payload(f"Removed {plural(collection.models, 'model')} and {freed}")
            if collection.marked:
                waiting = f"{plural(collection.marked, 'archive')} ({format_size(collection.marked_bytes)})"
                self.output.say(f"{waiting} without a model: run hubcli tier gc again after the grace period")
        return int(errors[0][1].exit_status) if errors else int(ExitStatus.DONE)


class _Rows:
    """The rows of a collection, printed when it is done; in a temporary file if there are many."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(_ROWS_IN_MEMORY_BYTES, "w+", encoding="utf-8")  # noqa: SIM115

    def __enter__(self) -> _Rows:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._file.close()

    def add(self, row: dict[str, Any]) -> None:
        """Adds a row."""
        self._file.write(json.dumps(row) + "\n")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._file.seek(0)
        return map(json.loads, self._file)
