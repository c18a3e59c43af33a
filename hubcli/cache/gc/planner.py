"""The planner: what goes of the cache, a pure function of a snapshot. No file is touched here."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from hubcli.cache.catalog import CachedModelInfo, EntryState
from hubcli.cache.disk_usage import DiskUsage, Footprint
from hubcli.cache.gc.plan import BudgetShortfall, KeepReason, Plan, PlannedItem, Policy, Reason
from hubcli.cache.gc.snapshot import Fragment, Holder, LockFacts, Snapshot
from hubcli.cache.layout import NameKind
from hubcli.cache.lock import MIN_SILENCE_S
from hubcli.errors import HandleError
from hubcli.providers.handle import Handle

__all__ = ["candidates", "family_of", "is_held", "make_plan", "plan_removal"]

# A file written beside its place is there for milliseconds; its writer must not lose it.
_WRITTEN_WITHIN_S = 60.0
# To read a member of an Enum takes 0.1 µs in Python 3.11, and a plan looks at the state of each model.
_OK, _NOT_THERE = EntryState.OK, (EntryState.DOWNLOADING, EntryState.FOREIGN)


def make_plan(
    snapshot: Snapshot,
    policy: Policy,
    *,
    only: frozenset[str] | None = None,
    spared: frozenset[str] = frozenset(),
    broken_models: Mapping[str, str] | None = None,
) -> Plan:
    """What the policy takes of the cache.

    `only` are the keys of entries that may go, None for all; `spared` those that
    stay under any policy; `broken_models` says by key what a check found
    broken. The order of the snapshot's models makes no difference.
    """
    planner = _Planner(snapshot, policy, only, spared)
    planner.take_leftovers()
    planner.take_broken_models(broken_models or {})
    planner.take_unused()
    planner.take_old_versions()
    planner.meet_budgets()
    return planner.plan()


def candidates(
    snapshot: Snapshot, policy: Policy, *, only: frozenset[str] | None = None
) -> tuple[CachedModelInfo, ...]:
    """The models that the policy may take: not pinned, not locked, not used within its grace."""
    return tuple(_Planner(snapshot, policy, only, frozenset()).candidates())


def plan_removal(snapshot: Snapshot, keys: Iterable[str]) -> Plan:
    """The plan that removes these entries, pinned or not, with what is left of downloads of them."""
    chosen = set(keys)
    planner = _Planner(snapshot, Policy(grace_s=0, keep_partial_s=0), frozenset(chosen), frozenset())
    for model in planner.models:
        if model.key in chosen:
            planner.take(model, Reason.ASKED_FOR)
    planner.take_leftovers(asked_for=True)
    return planner.plan()


class _Planner:
    """A plan in the making."""

    def __init__(
        self, snapshot: Snapshot, policy: Policy, only: frozenset[str] | None, spared: frozenset[str]
    ) -> None:
        self.snapshot = snapshot
        self.policy = policy
        self.only = only
        self.spared = spared
        self.now_s = snapshot.now_s
        self.models = sorted(snapshot.models, key=_by_use)
        self.leftovers: list[PlannedItem] = []
        self.taken: dict[str, PlannedItem] = {}
        self.unprotected: list[CachedModelInfo] | None = None
        self.ledger = DiskUsage(_counted(snapshot))
        self.usage_bytes = self.ledger.usage_bytes
        self.cut_off = {
            fragment.key
            for fragment in snapshot.fragments
            if fragment.is_complete and self._age_s(fragment.changed_at_s) <= policy.keep_partial_s
        }

    def plan(self) -> Plan:
        items = (*self.leftovers, *self.taken.values())
        return Plan(
            self.snapshot, self.policy, items, self._shortfalls(), self.usage_bytes, self.ledger.usage_bytes
        )

    def take(self, model: CachedModelInfo, reason: Reason, detail: str | None = None) -> None:
        self.taken[model.key] = PlannedItem(reason, model=model, detail=detail)
        self.ledger.remove(model.footprint)

    # --- Leftovers

    def take_leftovers(self, *, asked_for: bool = False) -> None:
        """Plans to remove leftovers; a partial download that was `asked_for` isn't called an old one."""
        fragments = sorted(self.snapshot.fragments, key=lambda fragment: fragment.name)
        kept_spools = self._kept_spools(fragments)
        partial = {fragment.key for fragment in fragments if fragment.kind is NameKind.SPOOL}
        for fragment in fragments:
            reason = None if self._is_untouchable(fragment.key) else self._useless(fragment, kept_spools)
            if fragment.kind is NameKind.DESCRIPTOR and reason is not None and fragment.key in partial:
                reason = Reason.OLD_PARTIAL
            if reason is Reason.OLD_PARTIAL and asked_for:
                reason = Reason.ASKED_FOR
            if reason is not None:
                self.leftovers.append(PlannedItem(reason, fragment=fragment))
                if _is_counted(fragment):
                    self.ledger.remove(fragment.footprint)
        for model in self.candidates():
            if model.state is EntryState.GUTTED:
                self.take(model, Reason.GUTTED, model.problem)

    def _is_untouchable(self, key: str) -> bool:
        """Whether somebody is at the entry, or will be: a publication that was cut off is completed."""
        is_out = key in self.spared or (self.only is not None and key not in self.only)
        return is_out or self._is_held(key) or key in self.cut_off

    def _useless(self, fragment: Fragment, kept_spools: set[str]) -> Reason | None:
        """Why the fragment is a leftover, None if it is in use."""
        age_s, lock = self._age_s(fragment.changed_at_s), self.snapshot.locks.get(fragment.key)
        if fragment.kind is NameKind.TRASH:
            return Reason.INTERRUPTED
        if fragment.kind is NameKind.LEFTOVER:
            return Reason.INTERRUPTED if age_s > _WRITTEN_WITHIN_S else None
        if fragment.kind is NameKind.LOCK:
            return _why_abandoned(lock)
        if fragment.kind is NameKind.STAGING:
            if lock is not None:
                return _why_abandoned(lock)
            return Reason.NO_SIGN_OF_LIFE if age_s > self.policy.grace_s else None
        if fragment.kind is NameKind.SPOOL:
            return None if fragment.key in kept_spools else Reason.OLD_PARTIAL
        if fragment.kind is NameKind.DESCRIPTOR and fragment.key in kept_spools:
            return None  # It tells which model the spool is of.
        return Reason.NO_MODEL

    def _kept_spools(self, fragments: Iterable[Fragment]) -> set[str]:
        """The keys whose spool, or its journal, was written to within the time that it is kept."""
        return {
            fragment.key
            for fragment in fragments
            if fragment.kind is NameKind.SPOOL
            and self._age_s(fragment.changed_at_s) <= self.policy.keep_partial_s
        }

    # --- Policies

    def take_broken_models(self, broken_models: Mapping[str, str]) -> None:
        for model in self.candidates():
            if model.key in broken_models and self.policy.is_broken_wanted:
                self.take(model, Reason.BROKEN, broken_models[model.key])

    def take_unused(self) -> None:
        limit_s = self.policy.older_than_s
        for model in self.candidates():
            if limit_s is not None and self._unused_s(model) > limit_s:
                self.take(model, Reason.OLDER_THAN)

    def take_old_versions(self) -> None:
        """Versions are counted among models that stay, pinned ones and all others."""
        if self.policy.keep_versions is None:
            return
        versions: dict[str, list[tuple[int, CachedModelInfo]]] = defaultdict(list)
        for family, version, model in self._families():
            versions[family].append((version, model))
        old = {
            model.key
            for models in versions.values()
            for number, model in models
            if len({other for other, _ in models if other > number}) >= self.policy.keep_versions
        }
        for model in self.candidates():
            if model.key in old:
                self.take(model, Reason.OLD_VERSION)

    def _families(self) -> Iterator[tuple[str, int, CachedModelInfo]]:
        """Family and version of the models that stay, but for those that are the only one of their family.

        To parse all handles takes a fifth of a plan. hubcli records handles in their canonical form: those of
        one family differ in the version alone. The descriptors of tensorflow_hub have any spelling.
        """
        staying = [
            model
            for model in self.models
            if model.state is _OK and model.paths.key not in self.taken and model.handle
        ]
        parsed = {model.key: family_of(model.handle) for model in staying if model.record is None}
        stems = [None if model.record is None else _without_version(model.record.handle) for model in staying]
        names = Counter(stems)
        names.update(family[0] for family in parsed.values() if family is not None)
        for model, stem in zip(staying, stems, strict=True):
            if stem is not None and names[stem] == 1:
                continue
            family = parsed[model.key] if stem is None else family_of(model.handle)
            if family is not None:
                yield *family, model

    def meet_budgets(self) -> None:
        for model in self.candidates():
            missed = self._missed()
            if missed is None:
                return
            self.take(model, missed)

    def _missed(self) -> Reason | None:
        policy = self.policy
        if policy.max_size_bytes is not None and self.ledger.usage_bytes > policy.max_size_bytes:
            return Reason.MAX_SIZE
        if policy.min_free_bytes is not None and self._free_bytes() < policy.min_free_bytes:
            return Reason.MIN_FREE
        return None

    def _free_bytes(self) -> int:
        return self.snapshot.free_bytes + self.ledger.freed_bytes

    def _shortfalls(self) -> tuple[BudgetShortfall, ...]:
        policy, found = self.policy, []
        usage, free = self.ledger.usage_bytes, self._free_bytes()
        if policy.max_size_bytes is not None and usage > policy.max_size_bytes:
            found.append((Reason.MAX_SIZE, policy.max_size_bytes, usage))
        if policy.min_free_bytes is not None and free < policy.min_free_bytes:
            found.append((Reason.MIN_FREE, policy.min_free_bytes, free))
        protected = self._retained_bytes() if found else ()
        return tuple(
            BudgetShortfall(budget, wanted_bytes, reached, protected)
            for budget, wanted_bytes, reached in found
        )

    # --- What is protected

    def candidates(self) -> list[CachedModelInfo]:
        """The models that may go, the least recently used first."""
        if self.unprotected is None:  # What is planned protects nothing, and takes protection from nothing.
            self.unprotected = [model for model in self.models if self.protection(model) is None]
        return [model for model in self.unprotected if model.paths.key not in self.taken]

    def protection(self, model: CachedModelInfo) -> KeepReason | None:
        """Why the model must stay, None if nothing protects it."""
        key = model.paths.key
        if self.only is not None and key not in self.only:
            return KeepReason.NOT_MATCHED
        if model.is_pinned:
            return KeepReason.PINNED
        is_locked = key in self.snapshot.locks and self._is_held(key)
        if is_locked or model.state in _NOT_THERE:
            return KeepReason.LOCKED
        if key in self.spared or self._unused_s(model) <= self.policy.grace_s:
            return KeepReason.FRESH
        if key in self.cut_off:
            return KeepReason.DOWNLOAD
        return KeepReason.MOVED if model.is_moved else None

    def _retained_bytes(self) -> tuple[tuple[KeepReason, int], ...]:
        """How many bytes stay, by why."""
        sizes: Counter[KeepReason] = Counter()
        for model in self.models:
            why = self.protection(model)
            if model.key not in self.taken and why is not None:
                sizes[why] += model.footprint.disk_bytes
        leftover_names = {item.name for item in self.leftovers}
        for fragment in self.snapshot.fragments:
            if _is_counted(fragment) and fragment.name not in leftover_names:
                sizes[KeepReason.DOWNLOAD] += fragment.footprint.disk_bytes
        return tuple((why, size) for why, size in sizes.most_common() if size)

    def _unused_s(self, model: CachedModelInfo) -> float:
        """How long ago it was used; no time at all if unknown."""
        return 0.0 if model.last_use is None else self._age_s(model.last_use.at_s)

    def _age_s(self, moment_s: float) -> float:
        return self.now_s - moment_s

    def _is_held(self, key: str) -> bool:
        return is_held(self.snapshot.locks.get(key), self.now_s, self.policy.grace_s)


def family_of(handle: str | None) -> tuple[str, int] | None:
    """The model that a handle names a version of, and the version; None if it names none."""
    if handle is None or not handle.rpartition("/")[2].isdecimal():
        return None  # Spares most handles without a version the parsing.
    try:
        parsed = Handle.parse(handle)
    except HandleError:
        return None
    if parsed.version is None or not parsed.canonical.endswith(f"/{parsed.version}"):
        return None
    return parsed.canonical[: -len(parsed.version)], int(parsed.version)


def _without_version(handle: str) -> str:
    return handle[: handle.rfind("/") + 1]


def is_held(lock: LockFacts | None, now_s: float, grace_s: float) -> bool:
    """Whether a process is at the entry.

    One of another host is, where it was active within the grace, or within MIN_SILENCE_S.
    """
    if lock is None or lock.holder is Holder.DEAD:
        return False
    return lock.holder is Holder.ALIVE or now_s - lock.changed_at_s <= max(grace_s, MIN_SILENCE_S)


def _by_use(model: CachedModelInfo) -> tuple[float, str]:
    return (float("-inf") if model.last_use is None else model.last_use.at_s), model.paths.key


def _is_counted(fragment: Fragment) -> bool:
    return fragment.kind in (NameKind.STAGING, NameKind.TRASH, NameKind.SPOOL)


def _counted(snapshot: Snapshot) -> list[Footprint]:
    """What budgets speak of: models, and what is left of them or on its way."""
    models = [model.footprint for model in snapshot.models]
    return models + [fragment.footprint for fragment in snapshot.fragments if _is_counted(fragment)]


def _why_abandoned(lock: LockFacts | None) -> Reason:
    return Reason.OWNER_DEAD if lock is not None and lock.holder is Holder.DEAD else Reason.NO_SIGN_OF_LIFE
