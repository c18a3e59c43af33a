"""A collection before it runs: the policy that is asked for, and the plan that `planner` makes of it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from hubcli._moved import warn_of_old_name
from hubcli.cache.catalog import CachedModelInfo
from hubcli.cache.disk_usage import Footprint
from hubcli.cache.gc.snapshot import Fragment, Snapshot
from hubcli.cache.layout import UPKEEP_NAME, NameKind
from hubcli.config.retention import parse_retention_rules
from hubcli.errors import UsageError

__all__ = [
    "BudgetShortfall",
    "KeepReason",
    "Plan",
    "PlannedItem",
    "Policy",
    "Reason",
    "claim_auto_gc",
    "count_leftovers",
    "partial_downloads",
]


class Reason(str, Enum):
    """Why something goes, in words that scripts may rely on."""

    OWNER_DEAD = "owner-dead"
    NO_SIGN_OF_LIFE = "no-sign-of-life"
    INTERRUPTED = "interrupted"
    NO_MODEL = "no-model"
    OLD_PARTIAL = "old-partial"
    GUTTED = "gutted"
    BROKEN = "broken"
    OLDER_THAN = "older-than"
    OLD_VERSION = "old-version"
    MAX_SIZE = "max-size"
    MIN_FREE = "min-free"
    ASKED_FOR = "asked-for"


class KeepReason(str, Enum):
    """Why something that a policy would take stays."""

    PINNED = "pinned"
    LOCKED = "locked"
    DOWNLOAD = "download"
    FRESH = "fresh"
    MOVED = "moved"
    NOT_MATCHED = "not-matched"


@dataclass(frozen=True, slots=True)
class PlannedItem:
    """Something that goes: a model with its records and links, or a fragment; `detail` adds to the reason."""

    reason: Reason
    model: CachedModelInfo | None = None
    fragment: Fragment | None = None
    detail: str | None = None

    @property
    def key(self) -> str:
        """The key of the entry that it belongs to."""
        return self.model.key if self.model is not None else self._fragment.key

    @property
    def name(self) -> str:
        """What it is called in the root."""
        return self.model.key if self.model is not None else self._fragment.name

    @property
    def handle(self) -> str | None:
        """The handle that its records name."""
        return self.model.handle if self.model is not None else self._fragment.handle

    @property
    def title(self) -> str:
        """What a person calls it: the handle, or the name where none is known."""
        return self.handle or self.name

    @property
    def kind(self) -> NameKind:
        """What its name stands for."""
        return NameKind.MODEL if self.model is not None else self._fragment.kind

    @property
    def footprint(self) -> Footprint:
        """Its files."""
        return self.model.footprint if self.model is not None else self._fragment.footprint

    @property
    def is_leftover(self) -> bool:
        """Whether it can be removed without loss: a leftover, or an incomplete model."""
        return self.model is None or self.reason is Reason.GUTTED

    @property
    def is_of_partial(self) -> bool:
        """Whether it is a file of a partial download, where there is one of its key."""
        return self.kind in (NameKind.SPOOL, NameKind.DESCRIPTOR)

    @property
    def _fragment(self) -> Fragment:
        assert self.fragment is not None
        return self.fragment


class BudgetShortfall(NamedTuple):
    """A budget that the plan doesn't meet: bytes wanted and bytes reached, and what had to stay, by why."""

    budget: Reason
    wanted_bytes: int
    reached_bytes: int
    retained: tuple[tuple[KeepReason, int], ...]

    @property
    def kept(self) -> tuple[tuple[KeepReason, int], ...]:
        """The old name of `retained`."""
        warn_of_old_name(self, "kept", "retained")
        return self.retained


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes, leftovers first, then models in the order in which they go.

    `usage_bytes` is what models and temp directories take on the disk now, each
    file once; `usage_after_bytes` when all has gone.
    """

    snapshot: Snapshot
    policy: Policy
    items: tuple[PlannedItem, ...]
    shortfalls: tuple[BudgetShortfall, ...] = ()
    usage_bytes: int = 0
    usage_after_bytes: int = 0

    @property
    def models(self) -> tuple[PlannedItem, ...]:
        """The items that are models which may still be of use."""
        return tuple(item for item in self.items if not item.is_leftover)

    @property
    def footprint(self) -> Footprint:
        """All that goes."""
        return Footprint.sum(item.footprint for item in self.items)


def partial_downloads(items: Iterable[PlannedItem]) -> frozenset[str]:
    """The keys of the downloads that were interrupted and not resumed, of which each has several files."""
    return frozenset(item.key for item in items if item.kind is NameKind.SPOOL)


def count_leftovers(items: Iterable[PlannedItem]) -> int:
    """How many leftovers the items are: a partial download, with its journal and descriptor, counts once."""
    listed = tuple(item for item in items if item.is_leftover)
    partial = partial_downloads(listed)
    others = [item for item in listed if not (item.is_of_partial and item.key in partial)]
    return len(others) + len(partial)


_AUTO_GC_EVERY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Policy:
    """The retention policy: each rule adds to what is removed; None for a rule that isn't set.

    Sizes are bytes on the disk, times are in seconds. `older_than_s` removes what
    wasn't used within that time, `keep_versions` all but that number of newest versions of each
    model, `is_broken_wanted` what fails verification. `max_size_bytes` and
    `min_free_bytes` are budgets: then the least recently used are removed until they are
    met. Nothing is removed that was used or changed within `grace_s`.
    """

    older_than_s: float | None = None
    max_size_bytes: int | None = None
    min_free_bytes: int | None = None
    keep_versions: int | None = None
    is_broken_wanted: bool = False
    grace_s: float = 3600.0
    keep_partial_s: float = 7 * 86400.0

    def __post_init__(self) -> None:
        if self.keep_versions is not None and self.keep_versions < 1:
            raise UsageError(
                f"Invalid number of versions to keep: {self.keep_versions}",
                hint="Use --keep-versions 1 or more.",
            )

    @classmethod
    def parse(cls, text: str, source: str) -> Policy:
        """A policy from `max-size=20GB,older-than=90d,broken`; `source` says where that text stands.

        The words are those of the options of `hubcli gc`. Raises UsageError for
        anything else.
        """
        return cls(**parse_retention_rules(text, source))


def claim_auto_gc(root: Path) -> bool:
    """Whether the cache wasn't collected by a fetch within a day; if so, this caller is to do it.

    From now on it isn't due, even where it fails. The time of the last is that of a file in the cache.
    """
    stamp = root / UPKEEP_NAME
    try:
        if 0 <= time.time() - stamp.lstat().st_mtime < _AUTO_GC_EVERY_S:
            return False
        os.utime(stamp, follow_symlinks=False)
    except FileNotFoundError:
        return _create(stamp)
    except OSError:  # A cache that can't be written can't be collected either.
        return False
    return True


def _create(stamp: Path) -> bool:
    try:
        stamp.touch(exist_ok=False)
    except OSError:  # Another fetch was faster, or the cache is not writable.
        return False
    return True
