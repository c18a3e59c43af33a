"""`gc`: removes leftovers, and models by age, size or free space."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from hubcli._moved import warn_of_old_name
from hubcli.cache.cached_model import CachedModel
from hubcli.cache.disk_usage import Footprint
from hubcli.cache.gc.collect import ActionResult, CompletedAction, collect
from hubcli.cache.gc.plan import BudgetShortfall, KeepReason, Plan, PlannedItem, Policy, Reason, claim_auto_gc
from hubcli.cache.gc.planner import candidates, make_plan
from hubcli.cache.gc.snapshot import Snapshot, require_collectable, take_snapshot
from hubcli.cache.layout import EntryPaths
from hubcli.cache.other_caches import forget_removed
from hubcli.config.settings import AutoGcRules, Settings
from hubcli.durability import SYNCED, Durability
from hubcli.errors import BudgetError, CacheError, HubcliError, NotFoundError
from hubcli.fetching.model_ref import ModelRef, Pattern
from hubcli.progress import ProgressListener
from hubcli.units import format_size

__all__ = ["AutoGc", "Collection", "act", "gc"]

_NOT_REMOVED = (ActionResult.BUSY, ActionResult.CHANGED, ActionResult.FAILED)
_KEPT_WORDS = {
    KeepReason.PINNED: "pinned",
    KeepReason.LOCKED: "locked",
    KeepReason.DOWNLOAD: "of downloads",
    KeepReason.FRESH: "used within the grace period",
    KeepReason.MOVED: "kept on another disk",
    KeepReason.NOT_MATCHED: "of models that match no pattern",
}


@dataclass(frozen=True, slots=True)
class Collection:
    """A plan, and its completed actions: None while nothing was done, as in a dry run.

    `free_bytes` is what the disk has left now, `unmatched` the patterns that fit nothing in the cache.
    """

    plan: Plan
    actions: tuple[CompletedAction, ...] | None
    free_bytes: int
    unmatched: tuple[str, ...] = ()

    @property
    def done(self) -> tuple[CompletedAction, ...] | None:
        """The old name of `actions`."""
        warn_of_old_name(self, "done", "actions")
        return self.actions

    @property
    def removed(self) -> tuple[PlannedItem, ...]:
        """What was removed."""
        return tuple(action.item for action in self.actions or () if action.result is ActionResult.REMOVED)

    @property
    def freed_bytes(self) -> int:
        """What the disk got back, counted file by file."""
        return sum(action.freed_bytes for action in self.actions or ())

    @property
    def usage_bytes(self) -> int:
        """What models and temp directories take on the disk now; in a dry run, what they would."""
        remaining = [
            action.item.footprint
            for action in self.actions or ()
            if action.item.model and action.result in _NOT_REMOVED
        ]
        return self.plan.usage_after_bytes + Footprint.sum(remaining).disk_bytes

    @property
    def errors(self) -> tuple[HubcliError, ...]:
        """What could not be removed, and budgets that are not met."""
        failed = [
            CacheError(f"Cannot remove {action.item.title}: {action.detail}", hint=action.hint)
            for action in self.actions or ()
            if action.result is ActionResult.FAILED
        ]
        return (*failed, *map(_budget_error, self._shortfalls()))

    def _shortfalls(self) -> tuple[BudgetShortfall, ...]:
        """The missed budgets of the plan, and those missed because something could not be removed."""
        policy, found = self.plan.policy, {shortfall.budget: shortfall for shortfall in self.plan.shortfalls}
        if self.actions is None:
            return self.plan.shortfalls
        if policy.max_size_bytes is not None and self.usage_bytes > policy.max_size_bytes:
            found.setdefault(
                Reason.MAX_SIZE, BudgetShortfall(Reason.MAX_SIZE, policy.max_size_bytes, self.usage_bytes, ())
            )
        planned_bytes = self.plan.snapshot.free_bytes + self.freed_bytes
        if policy.min_free_bytes is not None and max(self.free_bytes, planned_bytes) < policy.min_free_bytes:
            found.setdefault(
                Reason.MIN_FREE, BudgetShortfall(Reason.MIN_FREE, policy.min_free_bytes, self.free_bytes, ())
            )
        return tuple(found.values())


def gc(
    settings: Settings | None = None,
    policy: Policy | None = None,
    patterns: Sequence[str] = (),
    *,
    dry_run: bool = False,
    spared: frozenset[str] = frozenset(),
    confirm: Callable[[Plan], bool] = lambda plan: True,
    on_done: Callable[[CompletedAction], None] = lambda action: None,
    listener: ProgressListener | None = None,
) -> Collection:
    """Removes leftovers, and the models that the policy evicts.

    Without a policy only leftovers are removed: those of interrupted downloads, records without a model,
    incomplete models. With patterns, only what matches one is removed; entries whose keys are `spared` stay.
    `confirm` gets the plan before anything is touched; if it returns False, nothing is done. Raises
    CacheError if the root can't be read or written, UsageError for a root that holds more than a cache.
    """
    settings, policy = settings or Settings.read(), policy or Policy()
    root = settings.cache_root
    require_collectable(root)
    # A pattern may be the handle of a link.
    snapshot = take_snapshot(root, with_index=dry_run, with_links=bool(patterns) or not dry_run)
    matches = _matches(snapshot, patterns)
    only = frozenset[str]().union(*matches.values()) if matches else None
    broken_models = _broken_models(snapshot, policy, only, settings, listener or ProgressListener())
    plan = make_plan(snapshot, policy, only=only, spared=spared, broken_models=broken_models)
    collection = act(plan, dry_run=dry_run, confirm=confirm, on_done=on_done, durability=settings.durability)
    forget_removed(settings, collection.actions or ())
    unmatched = tuple(text for text, keys in matches.items() if not keys)
    return replace(collection, unmatched=unmatched)


class AutoGc(NamedTuple):
    """The gc that `fetch` runs once a day: its policy, and the setting that the rules come from."""

    policy: Policy
    source: str

    @classmethod
    def of(cls, rules: AutoGcRules) -> AutoGc:
        """The policy of these rules. Raises UsageError."""
        return cls(Policy.parse(rules.text, rules.source), rules.source)

    def collect(self, settings: Settings, spared: Set[str]) -> Collection | None:
        """The collection; None if one ran within the last day. Raises as `gc` does."""
        if not claim_auto_gc(settings.cache_root):
            return None
        return gc(settings, self.policy, spared=frozenset(spared))


def act(
    plan: Plan,
    *,
    dry_run: bool,
    confirm: Callable[[Plan], bool],
    on_done: Callable[[CompletedAction], None],
    durability: Durability = SYNCED,
) -> Collection:
    """Carries out the plan, unless it is a dry run or not confirmed."""
    is_confirmed = not dry_run and confirm(plan)
    actions = tuple(collect(plan, on_done, durability)) if is_confirmed else None
    return Collection(plan, actions, _free_bytes(plan.snapshot.root))


def _free_bytes(root: Path) -> int:
    try:
        return shutil.disk_usage(root).free
    except OSError:  # The cache does not exist.
        return 0


def _matches(snapshot: Snapshot, patterns: Sequence[str]) -> dict[str, set[str]]:
    """The keys of what fits, by pattern."""
    matches = {}
    for text in patterns:
        pattern = Pattern.parse(text, snapshot.root)
        models = {model.key for model in snapshot.models if pattern.means(model)}
        fragments = {
            fragment.key for fragment in snapshot.fragments if pattern.fits(fragment.key, fragment.handle)
        }
        matches[text] = models | fragments
    return matches


def _broken_models(
    snapshot: Snapshot,
    policy: Policy,
    only: frozenset[str] | None,
    settings: Settings,
    listener: ProgressListener,
) -> Mapping[str, str]:
    """What `verify` finds corrupt among the candidates, by key, if the policy includes corrupt models."""
    if not policy.is_broken_wanted:
        return {}
    from hubcli.commands.verify import verify  # It loads half of the package.

    broken_models = {}
    for model in candidates(snapshot, policy, only=only):
        entry = CachedModel.read(EntryPaths(snapshot.root, model.key))
        try:
            found = verify(
                ModelRef(model.title, None, directory=entry.path, entry=entry), settings, listener=listener
            )
        except NotFoundError:  # Removed meanwhile.
            continue
        if not found.is_whole:
            broken_models[model.key] = str(found.faults[0])
    listener.finished()
    return broken_models


def _budget_error(shortfall: BudgetShortfall) -> BudgetError:
    budget, reached = format_size(shortfall.wanted_bytes), format_size(shortfall.reached_bytes)
    retained = " and ".join(f"{format_size(size)} {_KEPT_WORDS[why]}" for why, size in shortfall.retained)
    if shortfall.budget is Reason.MAX_SIZE:
        what = f"The cache still takes {reached} after all allowed removals, more than {budget}"
        why = f": {retained}" if retained else ""
    else:
        what = f"The disk still has {reached} free after all allowed removals, less than {budget}"
        why = f": {retained} in the cache remain" if retained else ": the rest is not in the cache"
    return BudgetError(
        f"{what}{why}", hint="Unpin models, shorten --grace, or raise the limit. See: hubcli ls"
    )
