"""The plan: what it takes, what it never takes, in which order; a pure function of a snapshot."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubcli.cache.cached_model import LastUse, UseSource
from hubcli.cache.catalog import CachedModelInfo, EntryState
from hubcli.cache.disk_usage import Footprint, SharedFile
from hubcli.cache.gc.plan import KeepReason, Plan, Policy, Reason
from hubcli.cache.gc.planner import family_of, make_plan, plan_removal
from hubcli.cache.gc.snapshot import Fragment, Holder, LockFacts, Snapshot
from hubcli.cache.layout import EntryPaths, NameKind
from hubcli.cache.record_index import ManifestSummary
from hubcli.cache.records import Descriptor, LockOwner, Manifest
from tests.cases import each_of

NOW = 1_700_000_000.0
HOUR, DAY = 3600.0, 86400.0


def key_of(number: int) -> str:
    return f"{number:040x}"


def model(
    number: int,
    *,
    used_s_ago: float | None = 10 * DAY,
    disk_bytes: int = 100,
    handle: str | None = None,
    state: EntryState = EntryState.OK,
    pinned: bool = False,
    shared: tuple[SharedFile, ...] = (),
    moved: bool = False,
) -> CachedModelInfo:
    return CachedModelInfo(
        EntryPaths(Path("/cache"), key_of(number)),
        None,
        Descriptor(handle or f"https://tfhub.dev/maker/model-{number}/1", None, "host", 1),
        state,
        footprint=Footprint(disk_bytes, disk_bytes, shared),
        inode=number,
        last_use=None if used_s_ago is None else LastUse(NOW - used_s_ago, UseSource.RECORD),
        is_pinned=pinned,
        is_moved=moved,
    )


def fragment(
    number: int, kind: NameKind, *, age_s: float = 10 * DAY, complete: bool = False, name: str | None = None
) -> Fragment:
    key = key_of(number)
    return Fragment(
        name or f"{key}.{kind.value}", key, kind, Footprint(50, 50), NOW - age_s, is_complete=complete
    )


def locked(holder: Holder, *, age_s: float = 0.0) -> LockFacts:
    return LockFacts(LockOwner("host", 1, "a" * 32), holder, NOW - age_s)


def snapshot(
    *models: CachedModelInfo,
    fragments: tuple[Fragment, ...] = (),
    locks: dict[int, LockFacts] | None = None,
    free_bytes: int = 1000,
) -> Snapshot:
    by_key = {key_of(number): facts for number, facts in (locks or {}).items()}
    return Snapshot(Path("/cache"), NOW, free_bytes, models, fragments, by_key)


def taken(plan: Plan) -> dict[int, Reason]:
    """The models that go, by number, in their order."""
    return {int(item.key, 16): item.reason for item in plan.items if item.model is not None}


def leftovers(plan: Plan) -> dict[str, Reason]:
    return {item.kind.value: item.reason for item in plan.items if item.model is None}


# --- Without a policy


def test_alone_it_takes_no_model_however_old() -> None:
    assert make_plan(snapshot(model(1, used_s_ago=10_000 * DAY)), Policy()).items == ()


def test_a_gutted_model_goes_and_is_a_leftover() -> None:
    plan = make_plan(snapshot(model(1, state=EntryState.GUTTED)), Policy())
    assert taken(plan) == {1: Reason.GUTTED}
    assert plan.models == ()


@each_of(
    "kind, reason",
    [
        (NameKind.DESCRIPTOR, Reason.NO_MODEL),
        (NameKind.MANIFEST, Reason.NO_MODEL),
        (NameKind.PIN, Reason.NO_MODEL),
        (NameKind.ALIAS, Reason.NO_MODEL),
        (NameKind.TRASH, Reason.INTERRUPTED),
        (NameKind.LEFTOVER, Reason.INTERRUPTED),
        (NameKind.STAGING, Reason.NO_SIGN_OF_LIFE),
        (NameKind.SPOOL, Reason.OLD_PARTIAL),
    ],
)
def test_what_has_no_model_and_no_lock_goes(kind: NameKind, reason: Reason) -> None:
    assert leftovers(make_plan(snapshot(fragments=(fragment(1, kind),)), Policy())) == {kind.value: reason}


def test_what_a_dead_process_held_goes_at_once() -> None:
    left = (fragment(1, NameKind.LOCK, age_s=1), fragment(1, NameKind.STAGING, age_s=1))
    plan = make_plan(snapshot(fragments=left, locks={1: locked(Holder.DEAD)}), Policy())
    assert leftovers(plan) == {"lock": Reason.OWNER_DEAD, "staging": Reason.OWNER_DEAD}


@pytest.mark.parametrize(("age_s", "is_removed"), [(HOUR + 1, True), (HOUR - 1, False)])
def test_what_another_host_holds_goes_after_it_stood_still(age_s: float, is_removed: bool) -> None:
    left = (fragment(1, NameKind.LOCK), fragment(1, NameKind.STAGING), fragment(1, NameKind.DESCRIPTOR))
    plan = make_plan(snapshot(fragments=left, locks={1: locked(Holder.UNKNOWN, age_s=age_s)}), Policy())
    assert set(leftovers(plan)) == ({"lock", "staging", "descriptor"} if is_removed else set())


def test_no_grace_robs_another_host_within_ten_minutes() -> None:
    left, locks = (fragment(1, NameKind.LOCK),), {1: locked(Holder.UNKNOWN, age_s=599)}
    assert make_plan(snapshot(fragments=left, locks=locks), Policy(grace_s=0)).items == ()


@each_of("kind", [kind for kind in NameKind if kind.name not in ("MODEL", "TAG", "FOREIGN")])
def test_nothing_goes_of_what_a_live_process_holds(kind: NameKind) -> None:
    plan = make_plan(
        snapshot(fragments=(fragment(1, kind),), locks={1: locked(Holder.ALIVE, age_s=99 * DAY)}),
        Policy(grace_s=0, keep_partial_s=0),
    )
    assert plan.items == ()


def test_a_temp_file_that_may_be_written_now_stays_whatever_the_grace() -> None:
    left = (fragment(1, NameKind.LEFTOVER, age_s=30),)
    assert make_plan(snapshot(fragments=left), Policy(grace_s=0)).items == ()


def test_a_temp_directory_without_a_lock_stays_within_the_grace() -> None:
    left = (fragment(1, NameKind.STAGING, age_s=1800),)
    assert make_plan(snapshot(fragments=left), Policy()).items == ()
    assert leftovers(make_plan(snapshot(fragments=left), Policy(grace_s=60))) == {
        "staging": Reason.NO_SIGN_OF_LIFE
    }


def test_a_spool_stays_as_long_as_partial_downloads_are_kept_and_so_does_what_names_it() -> None:
    left = (
        fragment(1, NameKind.SPOOL, age_s=6 * DAY, name="part"),
        fragment(1, NameKind.SPOOL, age_s=9 * DAY, name="part.journal"),
        fragment(1, NameKind.DESCRIPTOR),
    )
    assert make_plan(snapshot(fragments=left), Policy()).items == ()
    assert len(make_plan(snapshot(fragments=left), Policy(keep_partial_s=5 * DAY)).items) == 3


def test_a_publication_that_was_cut_off_stays_to_be_completed() -> None:
    """The next fetch puts it in place; it is kept as long as a download that can be resumed."""
    left = (
        fragment(1, NameKind.LOCK, age_s=1),
        fragment(1, NameKind.STAGING, age_s=1, complete=True),
        fragment(1, NameKind.MANIFEST, age_s=1),
    )
    gutted = model(1, state=EntryState.GUTTED)
    facts = {"fragments": left, "locks": {1: locked(Holder.DEAD)}}
    assert make_plan(snapshot(gutted, **facts), Policy()).items == ()  # type: ignore[arg-type]
    assert len(make_plan(snapshot(gutted, **facts), Policy(keep_partial_s=0)).items) == 4  # type: ignore[arg-type]


# --- Policies


def test_what_was_not_used_for_so_long_goes() -> None:
    facts = snapshot(model(1, used_s_ago=31 * DAY), model(2, used_s_ago=29 * DAY))
    assert taken(make_plan(facts, Policy(older_than_s=30 * DAY))) == {1: Reason.OLDER_THAN}


def test_the_least_recently_used_go_until_the_size_fits() -> None:
    facts = snapshot(*(model(number, used_s_ago=number * DAY) for number in range(1, 6)))
    plan = make_plan(facts, Policy(max_size_bytes=250))
    assert list(taken(plan)) == [5, 4, 3]
    assert (plan.usage_bytes, plan.usage_after_bytes, plan.shortfalls) == (500, 200, ())


def test_the_least_recently_used_go_until_the_disk_is_free() -> None:
    facts = snapshot(*(model(number, used_s_ago=number * DAY) for number in range(1, 6)))
    assert list(taken(make_plan(facts, Policy(min_free_bytes=1150)))) == [5, 4]


def test_leftovers_count_before_models_have_to_go() -> None:
    facts = snapshot(model(1), fragments=(fragment(2, NameKind.STAGING),))
    assert taken(make_plan(facts, Policy(max_size_bytes=100))) == {}
    assert taken(make_plan(facts, Policy(min_free_bytes=1050))) == {}


def test_the_newest_versions_of_each_model_stay() -> None:
    facts = snapshot(
        *(
            model(number, handle=f"https://tfhub.dev/maker/{name}/{version}")
            for number, (name, version) in enumerate([("a", 2), ("a", 10), ("a", 9), ("b", 1), ("c", 3)], 1)
        ),
        model(6, handle="https://models.example/unversioned"),
    )
    assert taken(make_plan(facts, Policy(keep_versions=1))) == {1: Reason.OLD_VERSION, 3: Reason.OLD_VERSION}
    assert taken(make_plan(facts, Policy(keep_versions=2))) == {1: Reason.OLD_VERSION}


def test_versions_are_counted_across_records_of_hubcli_and_of_tensorflow_hub_in_any_spelling() -> None:
    def recorded(number: int, handle: str) -> CachedModelInfo:
        manifest = Manifest(handle, (), handle, "TF2", (), NOW - 10 * DAY, NOW - 10 * DAY)
        return replace(model(number), record=ManifestSummary.of(manifest, {}), descriptor=None)

    facts = snapshot(
        recorded(1, "https://tfhub.dev/maker/mul/1"),
        recorded(2, "https://tfhub.dev/maker/mul/2"),
        recorded(3, "https://tfhub.dev/maker/add/1"),
        model(4, handle="http://tfhub.dev/maker/add/2"),
        recorded(5, "https://tfhub.dev/maker/single/1"),
        model(6, handle="http://tfhub.dev/maker/other/1"),
    )
    plan = make_plan(facts, Policy(keep_versions=1))
    assert taken(plan) == {1: Reason.OLD_VERSION, 3: Reason.OLD_VERSION}


def test_a_version_that_goes_anyway_does_not_count_as_kept() -> None:
    facts = snapshot(
        model(1, handle="https://tfhub.dev/maker/a/1"),
        model(2, handle="https://tfhub.dev/maker/a/2", state=EntryState.GUTTED),
    )
    assert taken(make_plan(facts, Policy(keep_versions=1))) == {2: Reason.GUTTED}


def test_what_a_check_finds_broken_is_removed_only_where_that_is_asked_for() -> None:
    facts, broken_models = snapshot(model(1), model(2)), {key_of(1): "tensor x: its bytes …"}
    assert taken(make_plan(facts, Policy(), broken_models=broken_models)) == {}
    plan = make_plan(facts, Policy(is_broken_wanted=True), broken_models=broken_models)
    assert taken(plan) == {1: Reason.BROKEN}
    assert plan.items[0].detail == "tensor x: its bytes …"


def test_rules_add_to_each_other() -> None:
    facts = snapshot(
        model(1, used_s_ago=99 * DAY),
        model(2, used_s_ago=9 * DAY, handle="https://tfhub.dev/maker/a/1"),
        model(3, used_s_ago=5 * DAY, handle="https://tfhub.dev/maker/a/2"),
        model(4, used_s_ago=4 * DAY),
    )
    plan = make_plan(facts, Policy(older_than_s=30 * DAY, keep_versions=1, max_size_bytes=100))
    assert taken(plan) == {1: Reason.OLDER_THAN, 2: Reason.OLD_VERSION, 3: Reason.MAX_SIZE}


def test_only_what_is_named_goes_but_all_of_the_cache_counts() -> None:
    facts = snapshot(model(1, used_s_ago=9 * DAY), model(2), fragments=(fragment(3, NameKind.TRASH),))
    plan = make_plan(facts, Policy(max_size_bytes=0), only=frozenset([key_of(2)]))
    assert taken(plan) == {2: Reason.MAX_SIZE}
    assert leftovers(plan) == {}
    assert plan.shortfalls[0].retained == ((KeepReason.NOT_MATCHED, 100), (KeepReason.DOWNLOAD, 50))


def test_a_budget_that_cannot_be_met_is_told_with_what_had_to_stay() -> None:
    facts = snapshot(
        model(1, pinned=True, disk_bytes=300),
        model(2, used_s_ago=60),
        model(3),
        model(4, disk_bytes=700),
        locks={3: locked(Holder.ALIVE)},
    )
    plan = make_plan(facts, Policy(max_size_bytes=10, min_free_bytes=9999))
    assert list(taken(plan)) == [4]
    size, free = plan.shortfalls
    assert (size.budget, size.wanted_bytes, size.reached_bytes) == (Reason.MAX_SIZE, 10, 500)
    assert (free.budget, free.wanted_bytes, free.reached_bytes) == (Reason.MIN_FREE, 9999, 1700)
    assert dict(size.retained) == {KeepReason.PINNED: 300, KeepReason.FRESH: 100, KeepReason.LOCKED: 100}


def test_what_was_just_fetched_stays_whatever_the_grace() -> None:
    facts = snapshot(model(1, used_s_ago=5), model(2, used_s_ago=9))
    plan = make_plan(facts, Policy(max_size_bytes=0, grace_s=0), spared=frozenset([key_of(2)]))
    assert list(taken(plan)) == [1]


@pytest.mark.parametrize("state", [EntryState.DOWNLOADING, EntryState.FOREIGN])
def test_downloads_and_foreign_directories_never_go(state: EntryState) -> None:
    assert taken(make_plan(snapshot(model(1, state=state)), Policy(max_size_bytes=0))) == {}


def test_a_model_whose_last_use_nothing_tells_stays() -> None:
    assert taken(make_plan(snapshot(model(1, used_s_ago=None)), Policy(max_size_bytes=0))) == {}


def test_a_model_on_another_disk_stays() -> None:
    assert taken(make_plan(snapshot(model(1, moved=True)), Policy(max_size_bytes=0, older_than_s=1))) == {}


# --- Hard links


def test_a_file_of_two_models_takes_room_once_and_frees_it_with_the_second() -> None:
    file = SharedFile(1, 7, 1000, names=2)
    facts = snapshot(
        model(1, used_s_ago=9 * DAY, shared=(file,)), model(2, used_s_ago=8 * DAY, shared=(file,))
    )
    assert make_plan(facts, Policy()).usage_bytes == 1200
    assert list(taken(make_plan(facts, Policy(max_size_bytes=1100)))) == [1]
    assert list(taken(make_plan(facts, Policy(max_size_bytes=1099)))) == [1, 2]
    assert list(taken(make_plan(facts, Policy(min_free_bytes=1101)))) == [1, 2]


def test_a_file_that_is_named_elsewhere_too_frees_nothing() -> None:
    facts = snapshot(model(1, shared=(SharedFile(1, 7, 1000, names=2),)))
    plan = make_plan(facts, Policy(min_free_bytes=1500))
    assert plan.shortfalls[0].reached_bytes == 1100
    assert plan.usage_after_bytes == 0


# --- Removal by name


def test_a_removal_takes_pinned_and_fresh_models_and_nothing_else() -> None:
    facts = snapshot(model(1, pinned=True, used_s_ago=0), model(2), fragments=(fragment(3, NameKind.TRASH),))
    plan = plan_removal(facts, [key_of(1)])
    assert taken(plan) == {1: Reason.ASKED_FOR}
    assert leftovers(plan) == {}


# --- Families


@each_of(
    "handle, family",
    [
        ("https://tfhub.dev/google/nnlm/2", ("https://tfhub.dev/google/nnlm/", 2)),
        ("http://tfhub.dev/google/nnlm/11/", None),
        (
            "https://www.kaggle.com/models/g/m/tensorFlow2/v/3",
            ("https://www.kaggle.com/models/g/m/tensorFlow2/v/", 3),
        ),
        ("https://tfhub.dev/google/nnlm", None),
        ("https://models.example/a.tar.gz", None),
        ("https://models.example/m/7?folder=/8", None),
        ("no handle/1", None),
        (None, None),
    ],
)
def test_versions_of_a_model_are_told_by_the_handle(
    handle: str | None, family: tuple[str, int] | None
) -> None:
    assert family_of(handle) == family


# --- Any cache

AGES = st.one_of(st.none(), st.floats(-DAY, 100 * DAY))
SHARED = st.builds(
    lambda inode, names: SharedFile(1, inode, 1000 + inode, names), st.integers(1, 3), st.just(3)
)
MODELS = st.builds(
    model,
    st.integers(1, 30),
    used_s_ago=AGES,
    disk_bytes=st.integers(0, 300),
    handle=st.none()
    | st.builds("https://tfhub.dev/maker/{}/{}".format, st.sampled_from("ab"), st.integers(1, 4)),
    state=st.sampled_from(EntryState),
    pinned=st.booleans(),
    shared=st.lists(SHARED, max_size=2).map(tuple),
    moved=st.sampled_from([False, False, False, True]),
)
FRAGMENTS = st.builds(
    fragment,
    st.integers(1, 30),
    st.sampled_from(sorted(set(NameKind) - {NameKind.MODEL, NameKind.TAG, NameKind.FOREIGN}, key=str)),
    age_s=st.floats(0, 20 * DAY),
    complete=st.booleans(),
)
LOCKS = st.dictionaries(
    st.integers(1, 30),
    st.builds(locked, st.sampled_from(Holder), age_s=st.floats(0, DAY)),
    max_size=8,
)
SNAPSHOTS = st.builds(
    lambda models, fragments, locks, free_bytes: snapshot(
        *{model.key: model for model in models}.values(),
        fragments=tuple({fragment.name: fragment for fragment in fragments}.values()),
        locks=locks,
        free_bytes=free_bytes,
    ),
    st.lists(MODELS, max_size=12),
    st.lists(FRAGMENTS, max_size=8),
    LOCKS,
    st.integers(0, 2000),
)
POLICIES = st.builds(
    Policy,
    older_than_s=st.none() | st.floats(0, 100 * DAY),
    max_size_bytes=st.none() | st.integers(0, 3000),
    min_free_bytes=st.none() | st.integers(0, 4000),
    keep_versions=st.none() | st.integers(1, 3),
    is_broken_wanted=st.booleans(),
    grace_s=st.sampled_from([0.0, HOUR, 5 * DAY]),
)
CONDEMNED = st.dictionaries(st.integers(1, 30).map(key_of), st.just("broken"))


def is_protected(model: CachedModelInfo, facts: Snapshot, policy: Policy) -> bool:
    """Written once more, from the words of the issue."""
    lock = facts.locks.get(model.key)
    if lock is not None and (
        lock.holder is Holder.ALIVE
        or (lock.holder is Holder.UNKNOWN and NOW - lock.changed_at_s <= max(600, policy.grace_s))
    ):
        return True
    is_fresh = model.last_used_at_s is None or model.last_used_at_s >= NOW - policy.grace_s
    is_cut_off = any(
        left.is_complete and left.key == model.key and NOW - left.changed_at_s <= policy.keep_partial_s
        for left in facts.fragments
    )
    is_model = model.state in (EntryState.OK, EntryState.UNKNOWN, EntryState.GUTTED)
    return model.is_pinned or is_fresh or model.is_moved or is_cut_off or not is_model


@given(SNAPSHOTS, POLICIES, CONDEMNED)
def test_no_pinned_locked_or_fresh_model_ever_goes(
    facts: Snapshot, policy: Policy, broken_models: dict[str, str]
) -> None:
    plan = make_plan(facts, policy, broken_models=broken_models)
    for item in plan.items:
        if item.model is not None:
            assert not is_protected(item.model, facts, policy)
        else:
            lock = facts.locks.get(item.key)
            assert lock is None or lock.holder is not Holder.ALIVE


def usage_without(facts: Snapshot, removed: set[str]) -> int:
    """What is left on the disk, counted file by file."""
    own, files = 0, set[SharedFile]()
    counted = (NameKind.STAGING, NameKind.TRASH, NameKind.SPOOL)
    footprints = [model.footprint for model in facts.models if model.key not in removed]
    footprints += [
        fragment.footprint
        for fragment in facts.fragments
        if fragment.kind in counted and fragment.name not in removed
    ]
    for footprint in footprints:
        own += footprint.own_bytes
        files.update(footprint.shared)
    return own + sum(file.disk_bytes for file in files)


def freed_by(facts: Snapshot, removed: set[str]) -> int:
    footprints = [model.footprint for model in facts.models if model.key in removed]
    counted = (NameKind.STAGING, NameKind.TRASH, NameKind.SPOOL)
    footprints += [
        fragment.footprint
        for fragment in facts.fragments
        if fragment.kind in counted and fragment.name in removed
    ]
    return Footprint.sum(footprints).freed_bytes


@given(SNAPSHOTS, POLICIES)
def test_a_budget_is_met_exactly_when_it_can_be(facts: Snapshot, policy: Policy) -> None:
    plan = make_plan(facts, policy)
    removed = {item.name for item in plan.items}
    most = removed | {model.key for model in facts.models if not is_protected(model, facts, policy)}
    missed = {shortfall.budget for shortfall in plan.shortfalls}
    if policy.max_size_bytes is not None:
        assert (Reason.MAX_SIZE in missed) == (usage_without(facts, most) > policy.max_size_bytes)
        assert (Reason.MAX_SIZE in missed) == (usage_without(facts, removed) > policy.max_size_bytes)
    if policy.min_free_bytes is not None:
        could = facts.free_bytes + freed_by(facts, most)
        assert (Reason.MIN_FREE in missed) == (could < policy.min_free_bytes)
    assert plan.usage_bytes == usage_without(facts, set())
    assert plan.usage_after_bytes == usage_without(facts, removed)


@given(SNAPSHOTS, POLICIES)
def test_budgets_take_the_least_recently_used_and_no_more_than_they_need(
    facts: Snapshot, policy: Policy
) -> None:
    plan = make_plan(facts, policy)
    budgets = (Reason.MAX_SIZE, Reason.MIN_FREE)
    for_budget = [item.model for item in plan.items if item.model and item.reason in budgets]
    stay = [
        model
        for model in facts.models
        if model.key not in {item.key for item in plan.items if item.model}
        and not is_protected(model, facts, policy)
    ]
    used = [model.last_used_at_s or 0 for model in for_budget]
    assert used == sorted(used)
    if for_budget:
        assert all((model.last_used_at_s or 0) >= used[-1] for model in stay)
        one_less = {item.name for item in plan.items} - {for_budget[-1].key}
        fits = policy.max_size_bytes is None or usage_without(facts, one_less) <= policy.max_size_bytes
        free = facts.free_bytes + freed_by(facts, one_less)
        assert not (fits and (policy.min_free_bytes is None or free >= policy.min_free_bytes))


@given(SNAPSHOTS, POLICIES, CONDEMNED, st.randoms(use_true_random=False))
def test_the_plan_is_the_same_however_the_names_came(
    facts: Snapshot, policy: Policy, broken_models: dict[str, str], chance: random.Random
) -> None:
    models, fragments = list(facts.models), list(facts.fragments)
    chance.shuffle(models)
    chance.shuffle(fragments)
    shuffled = facts._replace(models=tuple(models), fragments=tuple(fragments))
    first, second = (
        make_plan(snapshot, policy, broken_models=broken_models) for snapshot in (facts, shuffled)
    )
    assert first.items == second.items
    assert (first.shortfalls, first.usage_after_bytes) == (second.shortfalls, second.usage_after_bytes)


@pytest.mark.slow
def test_ten_thousand_entries_are_planned_within_a_second() -> None:
    facts = snapshot(
        *(
            model(
                number,
                used_s_ago=number % 400 * DAY,
                handle=f"https://tfhub.dev/maker/model-{number // 3}/{number % 3 + 1}",
                pinned=number % 50 == 0,
            )
            for number in range(10_000)
        ),
        fragments=tuple(fragment(number, NameKind.STAGING) for number in range(10_000, 11_000)),
    )
    policy = Policy(older_than_s=300 * DAY, keep_versions=1, max_size_bytes=100_000)
    seconds = []
    for _ in range(3):
        started = time.process_time()  # What others do on the machine meanwhile doesn't count.
        plan = make_plan(facts, policy)
        seconds.append(time.process_time() - started)
    assert min(seconds) < 1
    assert len(plan.items) > 5000
