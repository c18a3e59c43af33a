"""`hubcli gc` and `hubcli rm`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, TypeAlias

import typer

from hubcli.cli.main import LazyImports, disable_garbage_collection
from hubcli.cli.options import DryRun, GlobalOptions, NoSync, Targets, Yes, argument, option, value_option
from hubcli.cli.output import Output, errors_document, printable
from hubcli.config.settings import Settings
from hubcli.errors import HubcliError, Interrupted, UsageError
from hubcli.units import format_size, parse_duration_s, parse_size_bytes, plural

with LazyImports():
    from hubcli.cache.gc.collect import ActionResult, CompletedAction
    from hubcli.cache.gc.plan import Plan, Policy
    from hubcli.cli.progress import listener_for
    from hubcli.cli.views.gc import collection_document, collection_total, show_plan, stay_note
    from hubcli.commands.gc import Collection, gc
    from hubcli.commands.rm import rm
    from hubcli.fetching.model_ref import Pattern

__all__ = ["GcRun", "duration_s", "gc_command", "rm_command", "size_bytes_of"]

_POLICY = "Retention policy"

Patterns: TypeAlias = Annotated[
    list[str] | None, argument("[PATTERN...]", "Only models that match these handles or globs.")
]
OlderThan: TypeAlias = Annotated[
    str | None, value_option("TIME", "Remove models not used for this long.", panel=_POLICY)
]
MaxSize: TypeAlias = Annotated[
    str | None,
    value_option(
        "SIZE", "Remove least recently used models until the cache is at most this large.", panel=_POLICY
    ),
]
MinFree: TypeAlias = Annotated[
    str | None,
    value_option(
        "SIZE", "Remove least recently used models until this much disk space is free.", panel=_POLICY
    ),
]
KeepVersions: TypeAlias = Annotated[
    int | None, value_option("N", "Keep the newest N versions of each model.", min=1, panel=_POLICY)
]
Broken: TypeAlias = Annotated[
    bool, option("Remove models that fail verification.", "--broken", panel=_POLICY)
]
Grace: TypeAlias = Annotated[str, option("Never remove anything used within this time.", metavar="TIME")]
KeepPartial: TypeAlias = Annotated[str, option("Keep partial downloads for this long.", metavar="TIME")]


def gc_command(
    shared: GlobalOptions,
    patterns: Patterns = None,
    older_than: OlderThan = None,
    max_size: MaxSize = None,
    min_free: MinFree = None,
    keep_versions: KeepVersions = None,
    broken: Broken = False,
    grace: Grace = "1h",
    keep_partial: KeepPartial = "7d",
    dry_run: DryRun = False,
    yes: Yes = False,
    no_sync: NoSync = False,
) -> None:
    """Remove leftovers, and models by age, size or free space.

    Without options, removes leftovers of interrupted downloads and incomplete models, without asking.
    Pinned, locked and recently used models are kept, and so are files that are not part of the cache.

    Examples:
    hubcli gc --dry-run
    hubcli gc --older-than 90d --max-size 20GB --dry-run
    hubcli gc --keep-versions 1 --yes '*bert*'
    """
    disable_garbage_collection()
    policy = Policy(
        older_than_s=None if older_than is None else duration_s("--older-than", older_than),
        max_size_bytes=None if max_size is None else size_bytes_of("--max-size", max_size),
        min_free_bytes=None if min_free is None else size_bytes_of("--min-free", min_free),
        keep_versions=keep_versions,
        is_broken_wanted=broken,
        grace_s=duration_s("--grace", grace),
        keep_partial_s=duration_s("--keep-partial", keep_partial),
    )
    settings = shared.settings(no_sync=no_sync)
    output = shared.output(settings)
    run = GcRun(settings, output, dry_run=dry_run, yes=yes)
    raise typer.Exit(run.collect(policy, patterns or ()))


def rm_command(
    shared: GlobalOptions,
    targets: Targets,
    force: Annotated[bool, option("Remove pinned models too.", "--force")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    no_sync: NoSync = False,
) -> None:
    """Remove models from the cache.

    Examples:
    hubcli rm example://mul/1
    hubcli rm '*bert*' --dry-run
    hubcli rm '*elmo*' --force --yes
    """
    disable_garbage_collection()
    settings = shared.settings(no_sync=no_sync)
    output = shared.output(settings)
    run = GcRun(settings, output, dry_run=dry_run, yes=yes)
    raise typer.Exit(run.remove(targets, force=force))


def duration_s(option: str, text: str) -> float:
    """The value of the option in seconds; UsageError names it."""
    with _named(option):
        return parse_duration_s(text, needs_unit=True)


def size_bytes_of(option: str, text: str) -> int:
    """The value of the option in bytes; UsageError names it."""
    with _named(option):
        return parse_size_bytes(text, needs_unit=True)


@contextmanager
def _named(option: str) -> Iterator[None]:
    """Within the context, an error tells the option whose value it is about."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{option}: {error.message}", hint=error.hint) from error


class GcRun:
    """A run of `hubcli gc` or `hubcli rm`: shows the plan, asks, acts, tells what became of it.

    Results are kept as they come, so that an interrupted one can tell them.
    """

    def __init__(self, settings: Settings, output: Output, *, dry_run: bool, yes: bool) -> None:
        self.settings = settings
        self.output = output
        self.dry_run = dry_run
        self.yes = yes
        self.plan: Plan | None = None
        self.is_refused = self.is_removal = False
        self.actions: list[CompletedAction] = []
        self.errors: list[tuple[str | None, HubcliError]] = []

    def collect(self, policy: Policy, patterns: Sequence[str]) -> int:
        """Runs `gc`; the exit status. Raises Interrupted with what was done before."""
        try:
            with listener_for(self.output, patience_s=0.5) as listener:
                collection = gc(
                    self.settings,
                    policy,
                    patterns,
                    dry_run=self.dry_run,
                    confirm=self.confirm,
                    on_done=self.on_done,
                    listener=listener,
                )
        except KeyboardInterrupt as interrupt:
            raise self.interrupted() from interrupt
        self.errors += [(None, error) for error in collection.errors if not self.is_refused]
        return self.finish(collection)

    def remove(self, targets: Sequence[str], *, force: bool) -> int:
        """Runs `rm`; the exit status. Raises Interrupted with what was done before."""
        self.is_removal = True
        try:
            removal = rm(
                targets,
                self.settings,
                force=force,
                dry_run=self.dry_run,
                confirm=self.confirm,
                on_done=self.actions.append,
            )
        except KeyboardInterrupt as interrupt:
            raise self.interrupted() from interrupt
        self.errors += removal.errors
        if removal.removed is None and not self.output.as_json:
            return self._report_errors()  # Nothing was chosen: the plan would be empty.
        return self.finish(removal.collection)

    def confirm(self, plan: Plan) -> bool:
        """Shows the plan, and asks if models would be removed. Raises UsageError without a terminal."""
        self.plan = plan
        self._show(plan)
        if self.yes or not plan.models:
            return True
        what = f"{plural(len(plan.models), 'model')} ({format_size(_disk_bytes(plan))})"
        self.output.require_terminal(
            f"removing {what}", hint="Add --yes to remove them, or --dry-run to list them."
        )
        for error in Collection(plan, None, plan.snapshot.free_bytes).errors:
            self.output.note(error.message)  # Before the question, not after it alone.
        self.is_refused = not self.output.ask(f"Remove {what}?")
        return not self.is_refused

    def on_done(self, action: CompletedAction) -> None:
        """Records an item that was removed or skipped."""
        self.actions.append(action)
        if action.result in (ActionResult.BUSY, ActionResult.CHANGED):
            self.output.note(stay_note(action))

    def finish(self, collection: Collection) -> int:
        """Tells what became of it; the exit status of the first failure, or 0."""
        if self.plan is None:
            self.plan = collection.plan
            self._show(collection.plan)
        for pattern in collection.unmatched:
            self.output.note(f"No cached model matches '{pattern}'{Pattern.suggestion(pattern)}")
        status = self._report_errors()
        if self.output.as_json:
            self.output.document(self._document(collection))
        elif self.output.quiet:
            self._show_names(collection)
        elif self.is_refused:
            self.output.say("Nothing was removed")
        elif collection.actions:
            self.output.payload(collection_total(collection))
        return status

    def _report_errors(self) -> int:
        """Writes them; the exit status of the first, or 0."""
        for _, error in self.errors:
            self.output.error(error)
        return int(self.errors[0][1].exit_status) if self.errors else 0

    def interrupted(self) -> Interrupted:
        """The error of a run that was interrupted, with what was removed before."""
        if self.plan is None:
            return Interrupted("Interrupted: nothing was removed")
        collection = Collection(self.plan, tuple(self.actions), self.plan.snapshot.free_bytes)
        return Interrupted("Interrupted", partial=self._document(collection))

    def _show(self, plan: Plan) -> None:
        is_empty_removal = self.is_removal and not plan.items
        if not self.output.as_json and not self.output.quiet and not is_empty_removal:
            show_plan(plan, self.output)

    def _show_names(self, collection: Collection) -> None:
        """The handles of models that went, or would."""
        items = collection.plan.items if self.dry_run else collection.removed
        names = [printable(item.title) for item in items if item.model is not None]
        if names:
            self.output.payload("\n".join(names))

    def _document(self, collection: Collection) -> dict[str, Any]:
        document = collection_document(collection, dry_run=self.dry_run)
        return {**document, **errors_document(self.errors)}


def _disk_bytes(plan: Plan) -> int:
    return sum(item.footprint.disk_bytes for item in plan.models)
