"""`tier`: what a shared tier holds, whether it is sound, and what is collected from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from hubcli.concurrency import map_in_order
from hubcli.config.settings import Settings
from hubcli.config.tiers import TierConfig
from hubcli.errors import BudgetError, UsageError
from hubcli.issues import Issue
from hubcli.progress import ProgressListener
from hubcli.tiers.catalog import TierEntry, entries_of, verify_tier
from hubcli.tiers.collect import (
    CollectedModel,
    TierCollection,
    TierPolicy,
    collect,
    plan_models,
    planned,
    title_of,
)
from hubcli.tiers.inventory import Inventory, TierStat
from hubcli.tiers.tier import open_tier

if TYPE_CHECKING:
    from hubcli.tiers.tier import SharedTier

_THREADS, _AHEAD = 8, 32

__all__ = [
    "TierGcPlan",
    "TierGcResult",
    "TierPolicy",
    "named_tier",
    "tier_gc",
    "tier_ls",
    "tier_stat",
    "tier_verify",
]


def named_tier(settings: Settings, *, for_writing: bool) -> SharedTier:
    """The first tier of the settings, or the first that may be written. Raises UsageError without one."""
    found = [config for config in settings.tiers if config.is_writable or not for_writing]
    if not found:
        what = "No writable shared tier" if for_writing and settings.tiers else "No shared tier"
        raise UsageError(what, hint="Specify one with --tier ADDRESS, or set HUBCLI_TIERS.")
    config: TierConfig = found[0]
    if settings.offline and not config.is_local:
        raise UsageError(
            "--offline and a shared tier on the network cannot be used together",
            hint="Run it without --offline.",
        )
    return open_tier(config, settings)


def tier_ls(tier: SharedTier) -> Iterator[TierEntry]:
    """The archives in the tier, read page by page. Raises NotFoundError, UnsupportedError, NetworkError."""
    return entries_of(tier)


def tier_stat(tier: SharedTier) -> TierStat:
    """The tier in numbers, by its listings alone."""
    tier.require_exists()
    with Inventory(tier.store) as inventory:
        return inventory.stat()


def tier_verify(tier: SharedTier, listener: ProgressListener | None = None) -> Iterator[Issue]:
    """The faults of the tier, as they are found: every archive is read and compared with its manifest."""
    tier.require_exists()
    listener = listener or ProgressListener()

    def on_archive(entry: TierEntry) -> None:
        size_bytes = entry.manifest.archive_bytes if entry.manifest is not None else None
        listener.started(entry.title, tier.name, size_bytes)

    with Inventory(tier.store) as inventory:
        yield from verify_tier(tier, inventory, on_archive, listener.received)


class TierGcPlan(NamedTuple):
    """What a collection would do: models to remove, with their sum; orphaned archives to delete or mark."""

    model_count: int
    model_bytes: int
    orphans: int
    orphan_bytes: int
    budget_error: BudgetError | None
    models: Callable[[], Iterator[tuple[CollectedModel, str]]]


@dataclass(frozen=True, slots=True)
class TierGcResult:
    """The plan, and what was done; None for a dry run, or where it wasn't confirmed."""

    plan: TierGcPlan
    collection: TierCollection | None


def tier_gc(
    tier: SharedTier,
    policy: TierPolicy,
    *,
    dry_run: bool = False,
    confirm: Callable[[TierGcPlan], bool] = lambda plan: True,
    on_done: Callable[[CollectedModel, str], None] | None = None,
) -> TierGcResult:
    """Collects by the policy; without limits only what no handle needs. `confirm` sees the plan before.

    The titles of models are read for the plan's `models` and for `on_done` alone.
    Raises NotFoundError if there is no tier, UnsupportedError for a read-only one, NetworkError.
    """
    tier.require_exists()
    if not dry_run:
        tier.require_writable()
    with Inventory.to_collect(tier.store, dry_run=dry_run) as inventory:
        shortfall = plan_models(inventory, policy)

        def models() -> Iterator[tuple[CollectedModel, str]]:
            return map_in_order(
                planned(inventory), lambda model: (model, title_of(tier, model)), _THREADS, _AHEAD
            )

        plan = TierGcPlan(*inventory.sum_of_planned(), *inventory.sum_of_orphans(), shortfall, models)
        if not confirm(plan) or dry_run:
            return TierGcResult(plan, None)
        collection = collect(tier, inventory, policy, on_done)
        collection.budget_error = shortfall
        return TierGcResult(plan, collection)
