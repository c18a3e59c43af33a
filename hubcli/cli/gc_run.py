"""A run of `hubcli gc` or `hubcli rm`: shows the plan, asks, acts, tells what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hubcli.cache.gc.collect import ActionResult, CompletedAction
from hubcli.cache.gc.plan import Plan
from hubcli.cache.gc.policy import Policy
from hubcli.cli.output import Output, errors_document, printable
from hubcli.cli.progress import listener_for
from hubcli.cli.signals import disable_garbage_collection
from hubcli.cli.views.gc import (
    collection_document,
    collection_total,
    show_plan,
    stay_note,
)
from hubcli.commands.gc import Collection, gc
from hubcli.config.settings import Settings
from hubcli.errors import HubcliError, Interrupted, UsageError
from hubcli.fetching.model_ref import Pattern
from hubcli.units import format_size, plural

__all__ = ["GcRun"]


class GcRun:
    """One run. Results are kept as they come, so that an interrupted one can tell them."""

    def __init__(self, settings: Settings, output: Output, *, dry_run: bool, yes: bool, debug: bool) -> None:
        self.settings = settings
        self.output = output
        self.dry_run = dry_run
        self.yes = yes
        self.debug = debug
        self.plan: Plan | None = None
        self.is_refused = self.is_removal = False
        self.done: list[CompletedAction] = []
        self.errors: list[tuple[str | None, HubcliError]] = []

    def collect(self, policy: Policy, patterns: Sequence[str]) -> int:
        """Runs `gc`; the exit status. Raises Interrupted with what was done before."""
        disable_garbage_collection()
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
        from hubcli.commands.rm import rm

        self.is_removal = True
        disable_garbage_collection()
        try:
            removal = rm(
                targets,
                self.settings,
                force=force,
                dry_run=self.dry_run,
                confirm=self.confirm,
                on_done=self.done.append,
            )
        except KeyboardInterrupt as interrupt:
            raise self.interrupted() from interrupt
        self.errors += removal.errors
        return self.finish(removal.collection)

    def confirm(self, plan: Plan) -> bool:
        """Shows the plan, and asks where models would go. Raises UsageError where nobody can be asked."""
        self.plan = plan
        self._show(plan)
        if self.yes or not plan.models:
            return True
        what = f"{plural(len(plan.models), 'model')} ({format_size(_disk_bytes(plan))})"
        if not self.output.can_ask:
            raise UsageError(
                f"{what} would be removed, and there is no terminal to ask on",
                hint="Add --yes to remove them, or --dry-run to see them.",
            )
        for error in Collection(plan, None, plan.snapshot.free_bytes).errors:
            self.output.note(error.message)  # Before the question, not after it alone.
        self.is_refused = not self.output.ask(f"Remove {what}?")
        return not self.is_refused

    def on_done(self, done: CompletedAction) -> None:
        """Hears of each item."""
        self.done.append(done)
        if done.result in (ActionResult.BUSY, ActionResult.CHANGED):
            self.output.note(stay_note(done))

    def finish(self, collection: Collection) -> int:
        """Tells what became of it; the exit status of the first failure, or 0."""
        if self.plan is None:
            self.plan = collection.plan
            self._show(collection.plan)
        for pattern in collection.unmatched:
            self.output.note(f"Nothing in the cache fits '{pattern}'{Pattern.suggestion(pattern)}")
        for _, error in self.errors:
            if self.debug:
                self.output.trace(error)
            self.output.error(error)
        if self.output.as_json:
            self.output.document(self._document(collection))
        elif self.output.quiet:
            self._show_names(collection)
        elif self.is_refused:
            self.output.say("Nothing was removed")
        elif collection.done:
            self.output.payload(collection_total(collection))
        return int(self.errors[0][1].exit_status) if self.errors else 0

    def interrupted(self) -> Interrupted:
        """The error of a run that was interrupted, with what was removed before."""
        if self.plan is None:
            return Interrupted("Interrupted: nothing was removed")
        collection = Collection(self.plan, tuple(self.done), self.plan.snapshot.free_bytes)
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
