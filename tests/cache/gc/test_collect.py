"""Acting on a plan: under locks, looked at once more, whole or not at all; with real files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hubcli.cache.catalog import EntryState, read_catalog
from hubcli.cache.gc.collect import ActionResult, CompletedAction, collect
from hubcli.cache.gc.plan import Plan, Policy
from hubcli.cache.gc.planner import make_plan, plan_removal
from hubcli.cache.gc.snapshot import take_snapshot
from hubcli.cache.layout import IN_LOWER_LAYER, EntryPaths
from hubcli.cache.lock import hold_lock
from hubcli.errors import CacheError
from hubcli.providers.handle import Handle
from tests.disks import mounted, overlaid
from tests.entries import (
    SHARD,
    alias_link,
    dead_pid,
    gut_entry,
    hubcli_entry,
    key_of,
    live_process,
    lock,
    set_access_time,
    snapshot,
    tensorflow_hub_entry,
)

OLD = "https://tfhub.dev/google/old/1"
NEW = "https://tfhub.dev/google/new/1"
EVERYTHING = Policy(max_size_bytes=0, grace_s=0)


def plan(root: Path, policy: Policy = EVERYTHING) -> Plan:
    return make_plan(take_snapshot(root), policy)


def results(actions: list[CompletedAction]) -> list[str]:
    return [action.result.value for action in actions]


def names(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()} - {"CACHEDIR.TAG"}


def age(path: Path, seconds: float = 99 * 86400) -> None:
    """Makes what is there that old."""
    then = time.time() - seconds
    for entry in (path, *path.rglob("*")) if path.is_dir() and not path.is_symlink() else (path,):
        os.utime(entry, (then, then), follow_symlinks=False)


# --- What goes


def test_a_model_goes_with_its_records_and_the_links_of_its_spellings(cache: Path) -> None:
    hubcli_entry(cache, OLD)
    tensorflow_hub_entry(cache, f"{NEW}/")
    assert results(collect(plan(cache))) == ["removed", "removed"]
    assert names(cache) == set()


def test_a_link_that_names_its_model_by_its_whole_path_goes_with_it(cache: Path) -> None:
    model = hubcli_entry(cache, OLD).model
    (cache / key_of(NEW)).symlink_to(model.absolute(), target_is_directory=True)
    (item,) = plan(cache).items
    assert item.model is not None
    assert key_of(NEW) in item.model.links
    assert results(collect(plan(cache))) == ["removed"]
    assert names(cache) == set()


def test_what_was_freed_is_what_the_files_took(cache: Path) -> None:
    paths = hubcli_entry(cache, OLD, shard_bytes=10**9)  # A hole.
    (paths.model / "assets" / "words.txt").write_bytes(b"." * 100_000)
    used_bytes = sum(path.lstat().st_blocks * 512 for path in paths.model.rglob("*") if path.is_file())
    (action,) = collect(plan(cache))
    assert action.freed_bytes == used_bytes
    assert 100_000 <= used_bytes < 200_000


def test_a_file_with_another_name_elsewhere_is_not_freed(cache: Path, tmp_path: Path) -> None:
    paths = hubcli_entry(cache, OLD)
    (paths.model / SHARD).write_bytes(b"." * 100)
    before = plan(cache).usage_bytes
    os.link(paths.model / SHARD, tmp_path / "shard")
    assert plan(cache).usage_bytes == before
    (action,) = collect(plan(cache))
    assert action.freed_bytes == before - (tmp_path / "shard").stat().st_blocks * 512
    assert (tmp_path / "shard").read_bytes() == b"." * 100


def test_hard_links_between_models_are_counted_once_and_freed_with_the_last(cache: Path) -> None:
    first, second = hubcli_entry(cache, OLD), hubcli_entry(cache, NEW, last_used_at_s=1_700_000_009)
    for paths in (first, second):
        (paths.model / SHARD).unlink()
    (first.model / SHARD).write_bytes(b"." * 100)
    os.link(first.model / SHARD, second.model / SHARD)
    planned = plan(cache)
    actions = collect(planned)
    assert sum(action.freed_bytes for action in actions) == planned.usage_bytes == 5 * 4096
    assert actions[0].freed_bytes < actions[1].freed_bytes


def test_what_a_dead_process_left_goes(cache: Path) -> None:
    lock(cache, OLD, dead_pid())
    assert set(results(collect(plan(cache, Policy())))) == {"removed"}
    assert names(cache) == set()


def test_what_another_host_left_goes_when_it_is_old(cache: Path) -> None:
    paths = lock(cache, OLD, 17, host="other.corp")
    assert plan(cache, Policy()).items == ()
    for path in cache.iterdir():
        age(path)
    assert set(results(collect(plan(cache, Policy())))) == {"removed"}
    assert not paths.lock.exists()
    assert names(cache) == set()


def test_what_another_host_still_fills_stays(cache: Path) -> None:
    paths = lock(cache, OLD, 17, host="other.corp")
    age(paths.lock)
    assert plan(cache, Policy()).items == ()


def test_records_and_links_without_a_model_go(cache: Path) -> None:
    paths = hubcli_entry(cache, OLD)
    shutil.rmtree(paths.model)
    (cache / key_of("a loop")).symlink_to(key_of("a loop"))
    assert set(results(collect(plan(cache, Policy())))) == {"removed"}
    assert names(cache) == set()


@pytest.mark.parametrize("name", ["lock.tmp", "descriptor.txt.tmp", "hubcli.json.tmp", "link.tmp"])
def test_temp_files_of_cut_off_writes_go(name: str, cache: Path) -> None:
    cache.mkdir()
    left = cache / f"{key_of(OLD)}.{name}{'a' * 32}"
    left.touch()
    assert plan(cache, Policy()).items == ()
    age(left)
    assert results(collect(plan(cache, Policy()))) == ["removed"]
    assert names(cache) == set()


def test_a_gutted_model_goes_and_a_pinned_one_stays(cache: Path) -> None:
    gut_entry(hubcli_entry(cache, OLD))
    gut_entry(tensorflow_hub_entry(cache, NEW))
    pinned = hubcli_entry(cache, "https://tfhub.dev/google/pinned/1", pinned=True)
    gut_entry(pinned)
    assert results(collect(plan(cache, Policy()))) == ["removed", "removed"]
    assert [row.name for row in read_catalog(cache).models] == [pinned.key]


def test_a_write_protected_model_goes_whole(cache: Path) -> None:
    paths = hubcli_entry(cache, OLD)
    (paths.model / "variables").chmod(0o500)
    paths.model.chmod(0o500)
    assert results(collect(plan(cache))) == ["removed"]
    assert names(cache) == set()


# --- What stays


def test_nothing_to_do_writes_nothing(cache: Path) -> None:
    hubcli_entry(cache, OLD)
    before = snapshot(cache)
    assert collect(plan(cache, Policy())) == []
    assert snapshot(cache) == before


def test_a_snapshot_and_a_plan_write_nothing(cache: Path) -> None:
    hubcli_entry(cache, OLD)
    lock(cache, NEW, dead_pid())
    before = snapshot(cache)
    assert len(plan(cache).items) == 3
    assert snapshot(cache) == before


def test_a_cut_off_publication_is_left_to_the_next_fetch(cache: Path) -> None:
    paths = hubcli_entry(cache, OLD)
    left = lock(cache, OLD, dead_pid())
    (staging,) = cache.glob("*.tmp")
    shutil.rmtree(staging)
    paths.model.rename(staging)
    for key in Handle.parse(OLD).alias_keys:  # There are none before a model is in place.
        (cache / key).unlink()
    assert plan(cache, Policy(grace_s=0)).items == ()
    with hold_lock(left, timeout_s=1):
        pass
    assert plan(cache, Policy(keep_partial_s=0)).items != ()


def test_an_entry_that_another_process_is_at_is_skipped(cache: Path) -> None:
    paths = hubcli_entry(cache, OLD)
    planned = plan(cache)
    with live_process() as pid:
        lock(cache, OLD, pid)
        started = time.monotonic()
        (action,) = collect(planned)
        assert time.monotonic() - started < 60
    assert (action.result, action.detail) == (ActionResult.BUSY, "another process holds its lock")
    assert paths.model.is_dir()


@pytest.mark.parametrize(
    ("change", "because"),
    [
        (lambda paths: paths.pin.touch(), "it was pinned meanwhile"),
        (lambda paths: os.utime(paths.manifest), "it was used meanwhile"),
        (lambda paths: set_access_time(paths, time.time()), "it was used meanwhile"),
        (lambda paths: hubcli_entry(paths.root, OLD), "it was fetched again meanwhile"),
    ],
)
def test_what_is_no_longer_as_planned_stays(
    change: Callable[[EntryPaths], object], because: str, cache: Path
) -> None:
    paths = hubcli_entry(cache, OLD)
    planned = plan(cache)
    change(paths)
    before = names(cache)
    (action,) = collect(planned)
    assert (action.result, action.detail) == (ActionResult.CHANGED, because)
    assert names(cache) == before


@pytest.mark.parametrize(("seconds", "result"), [(0, "changed"), (150, "removed")])
def test_a_model_that_was_listed_a_moment_ago_may_be_read_now(
    seconds: float, result: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """hub.load lists the directory and then reads; du does the first alone."""
    # Longer than any machine stands still.
    monkeypatch.setattr(sys.modules["hubcli.cache.gc.collect"], "_LOOK_TO_READ_S", 60.0)
    paths = hubcli_entry(cache, OLD)
    planned = plan(cache)
    os.utime(paths.model, (time.time() - seconds, 0))
    assert results(collect(planned)) == [result]
    assert paths.model.is_dir() == (result == "changed")


class InTheLastInstant:
    """Does something as soon as a model has been renamed aside: when every look before has passed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
        rename = Path.rename

        def rename_and_act(path: Path, target: Path) -> Path:
            renamed = rename(path, target)
            if str(target).endswith(".trash"):
                act()
            return renamed

        monkeypatch.setattr(Path, "rename", rename_and_act)


@pytest.mark.parametrize("how", ["pin", "use"])
def test_a_pin_and_a_use_in_the_last_instant_put_the_model_back(
    how: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = hubcli_entry(cache, OLD)
    before = names(cache)
    planned = plan(cache)
    act = paths.pin.touch if how == "pin" else lambda: os.utime(paths.manifest)
    InTheLastInstant(monkeypatch, act)
    (action,) = collect(planned)
    assert action.result is ActionResult.CHANGED
    assert names(cache) == before | ({paths.pin.name} if how == "pin" else set())
    for key in Handle.parse(OLD).alias_keys:
        assert (cache / key / "saved_model.pb").is_file()


def test_a_model_that_came_in_the_last_instant_keeps_its_records(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its publisher took the lock over: this process stood still for long."""
    paths = hubcli_entry(cache, OLD)
    planned = plan(cache)
    InTheLastInstant(monkeypatch, lambda: tensorflow_hub_entry(cache, OLD))
    (action,) = collect(planned)
    assert action.result is ActionResult.REMOVED
    assert paths.model.is_dir()
    assert paths.descriptor.exists()


def test_what_somebody_else_removed_is_no_failure(cache: Path) -> None:
    hubcli_entry(cache, OLD)
    lock(cache, NEW, dead_pid())
    first, second = plan(cache), plan(cache)
    collect(first)
    assert set(results(collect(second))) == {"gone"}


def test_records_whose_model_came_meanwhile_stay(cache: Path) -> None:
    paths = tensorflow_hub_entry(cache, OLD)
    shutil.move(paths.model, cache.parent / "aside")
    planned = plan(cache, Policy())
    shutil.move(cache.parent / "aside", paths.model)
    assert results(collect(planned)) == ["changed"]
    assert paths.descriptor.exists()


# --- Hostile roots


def foreign(root: Path, outside: Path) -> None:
    """Names that a person may have in the root, many of them close to those of the cache."""
    key, uid = "0" * 40, "a" * 32
    for name in (
        *(
            "notes.txt",
            ".hidden",
            "models",
            f"{key}.zip",
            f"{key}.bak",
            f"{key}x",
            key.upper().replace("0", "A"),
        ),
        *(f"{key}.{uid}.tmp~", f"{key}.lock.old", f"{key}.{uid[:-1]}.tmp", f"{uid}.tmp", f"{key}.trash"),
        *("caf\udce9", "new\nline", "-rf", "*", f"{key[:-1]}.lock", "hubcli.json", "hubcli.pin"),
    ):
        (root / name).write_text("mine")
    (root / "folder").mkdir()
    (root / "folder" / key).mkdir()
    (root / "folder" / f"{key}.lock").write_text("mine")
    (root / "link").symlink_to(outside)
    (root / "nowhere").symlink_to("nothing")
    (root / ("e" * 40)).mkdir()  # Spelled like a model, but no record says so, and no model is in it.
    (root / ("e" * 40) / "thesis.tex").write_text("mine")
    (root / ("d" * 40)).write_text("a file, where a model would be a directory")
    (root / ("c" * 40)).symlink_to(outside)
    (root / ("b" * 40)).symlink_to("/mnt/not/mounted/now")


def test_a_root_full_of_foreign_files_stays_untouched(cache: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    cache.mkdir()
    foreign(cache, outside)
    for path in cache.iterdir():
        age(path)
    before = {**snapshot(cache), **snapshot(outside)}
    for policy in (Policy(), Policy(max_size_bytes=0, grace_s=0, older_than_s=0, keep_versions=1)):
        assert collect(plan(cache, policy)) == []
    assert {**snapshot(cache), **snapshot(outside)} == before


def test_foreign_files_stay_beside_what_goes(cache: Path, tmp_path: Path) -> None:
    cache.mkdir()
    foreign(cache, tmp_path)
    before = names(cache)
    hubcli_entry(cache, OLD)
    lock(cache, NEW, dead_pid())
    assert set(results(collect(plan(cache)))) == {"removed"}
    assert names(cache) == before


def test_links_are_removed_as_links(cache: Path, tmp_path: Path) -> None:
    """What a link that is named like the cache's own leads to stays as it is."""
    outside = tmp_path / "outside"
    hubcli_entry(outside, OLD)
    before = snapshot(outside)
    cache.mkdir()
    dead, key = dead_pid(), key_of(NEW)
    paths = lock(cache, NEW, dead)
    (staging,) = cache.glob("*.tmp")
    shutil.rmtree(staging)
    staging.symlink_to(outside)
    (cache / f"{key}.{'b' * 32}.tmp").symlink_to(outside)
    (cache / f"{key}.{'c' * 32}.trash").symlink_to(outside)
    paths.descriptor.symlink_to(outside / "CACHEDIR.TAG")
    (cache / f"{key_of('x')}.lock").symlink_to(outside / "CACHEDIR.TAG")
    model = hubcli_entry(cache, OLD).model
    (model / "out").symlink_to(outside, target_is_directory=True)
    (model / "assets" / "loop").symlink_to(model)
    for path in cache.iterdir():
        age(path)
    os.utime(EntryPaths(cache, model.name).manifest, (1, 1))
    assert set(results(collect(plan(cache)))) == {"removed"}
    assert names(cache) == set()
    assert snapshot(outside) == before


def test_links_in_loops_are_no_obstacle(cache: Path) -> None:
    cache.mkdir()
    for name, other in (("a", "b"), ("b", "a"), ("c", "c"), ("d", "e"), ("e", "f")):
        alias_link(cache, name, key_of(other))
    model = tensorflow_hub_entry(cache, "f")
    assert [item.key for item in plan(cache, Policy()).items] == sorted(map(key_of, "abc"))
    collect(plan(cache))
    assert names(cache) == set()
    assert not model.model.exists()


def test_a_chain_of_many_links_is_followed_once(cache: Path) -> None:
    model = tensorflow_hub_entry(cache, OLD)
    chain = [model.key]
    for number in range(20_000):
        chain.append(f"{number:040x}")
        (cache / chain[-1]).symlink_to(chain[-2])

    started = time.process_time()
    found = take_snapshot(cache)
    # It takes 0.08 s, and 19 s where each is followed to the end: 200 million steps.
    assert time.process_time() - started < 4

    assert found.fragments == ()
    assert [len(model.links) for model in found.models] == [20_000]


def test_the_records_of_a_link_stay_while_it_leads_to_a_model(cache: Path) -> None:
    model, dangling = tensorflow_hub_entry(cache, OLD), key_of("gone")
    for handle, target in ((NEW, model.key), ("gone", key_of("nothing"))):
        link = alias_link(cache, handle, target)
        link.with_name(f"{link.name}.descriptor.txt").write_text("Module: x")

    for with_links in (True, False):
        found = take_snapshot(cache, with_links=with_links)
        assert {fragment.name for fragment in found.fragments} == {dangling, f"{dangling}.descriptor.txt"}
        assert [model.links for model in found.models] == [(key_of(NEW),) if with_links else ()]


def test_a_model_that_was_moved_to_another_disk_stays_and_is_never_followed(
    cache: Path, tmp_path: Path
) -> None:
    paths = hubcli_entry(cache, OLD)
    paths.model.rename(tmp_path / "elsewhere")
    paths.model.symlink_to(tmp_path / "elsewhere")
    assert plan(cache).items == ()
    collect(plan_removal(take_snapshot(cache), [paths.key]))
    assert names(cache) == set()
    assert (tmp_path / "elsewhere" / "saved_model.pb").is_file()


def test_a_moved_model_whose_disk_is_away_keeps_its_records(cache: Path, tmp_path: Path) -> None:
    paths = hubcli_entry(cache, OLD)
    shutil.rmtree(paths.model)
    paths.model.symlink_to(tmp_path / "not mounted" / "model")
    before = names(cache)
    assert collect(plan(cache)) == []
    assert names(cache) == before


def test_a_directory_and_a_link_in_place_of_a_lock_go_when_they_are_old(cache: Path) -> None:
    cache.mkdir()
    (cache / f"{key_of('a')}.lock").mkdir()
    (cache / f"{key_of('b')}.lock").symlink_to("nowhere")
    assert plan(cache, Policy()).items == ()
    for path in cache.iterdir():
        age(path)
    assert results(collect(plan(cache, Policy()))) == ["removed", "removed"]
    assert names(cache) == set()


def test_a_read_only_disk_is_planned_and_told(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=4m") as disk:
        hubcli_entry(disk, OLD)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        planned = plan(disk)
        assert len(planned.items) == 1
        with pytest.raises(CacheError, match="Read-only"):
            collect(planned)
        assert collect(plan(disk, Policy())) == []


AS_NOBODY = """
import os, sys, socket, uuid  # All that will be needed: another user may not read the interpreter's files.
from pathlib import Path
from hubcli.cache.gc.collect import collect
from hubcli.cache.gc.planner import make_plan
from hubcli.cache.gc.plan import Policy
from hubcli.cache.gc.snapshot import take_snapshot
from hubcli.errors import CacheError
import hubcli.urls
os.setgid(65534); os.setuid(65534)
try:
    collect(make_plan(take_snapshot(Path(sys.argv[1])), Policy(max_size_bytes=0, grace_s=0)))
except CacheError as error:
    print(error.message, error.hint)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another")
def test_a_root_of_another_owner_is_told_and_untouched() -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        root = Path(folder) / "cache"
        hubcli_entry(root, OLD)
        before = snapshot(root)
        result = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, str(root)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "HOME": folder},
        )
        assert "Cannot access the cache" in result.stdout, result.stderr
        assert snapshot(root) == before


# --- Crowds


def test_two_collections_at_once_do_the_work_once(cache: Path) -> None:
    for number in range(60):
        hubcli_entry(cache, f"https://tfhub.dev/google/model-{number}/1")
    planned = plan(cache)
    outcomes: list[list[CompletedAction]] = []
    threads = [threading.Thread(target=lambda: outcomes.append(collect(planned))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(cache) == set()
    removed = [action for actions in outcomes for action in actions if action.result is ActionResult.REMOVED]
    assert len(removed) == 60
    assert {action.result for actions in outcomes for action in actions} <= {
        ActionResult.REMOVED,
        ActionResult.GONE,
        ActionResult.BUSY,
    }


def test_names_that_vanish_while_they_are_looked_at_are_no_obstacle(cache: Path) -> None:
    """Another process makes and removes entries all the time that snapshots are taken."""
    stop = threading.Event()

    def churn() -> None:
        number = 0
        while not stop.is_set():
            paths = tensorflow_hub_entry(cache, f"https://tfhub.dev/google/model-{number % 3}/1")
            shutil.rmtree(paths.model)
            paths.descriptor.unlink()
            number += 1

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(200):
            take_snapshot(cache)
            read_catalog(cache)
    finally:
        stop.set()
        thread.join()


def test_the_state_of_an_entry_survives_a_collection_that_takes_another(cache: Path) -> None:
    hubcli_entry(cache, OLD)
    recent = hubcli_entry(cache, NEW, last_used_at_s=time.time())
    before = {name: value for name, value in snapshot(cache).items() if recent.key in name}
    collect(plan(cache, Policy(older_than_s=86400)))
    after = {name: value for name, value in snapshot(cache).items() if recent.key in name}
    assert after == before
    (row,) = read_catalog(cache).models
    assert row.state is EntryState.OK


def test_a_model_in_a_layer_of_an_image_stays_whole_and_is_to_be_removed_by_hand(cache: Path) -> None:
    """Overlayfs moves no directory of a lower layer."""
    hubcli_entry(cache, OLD)
    with overlaid(cache) as merged:
        paths = EntryPaths(merged, key_of(OLD))
        before = names(merged)
        (action,) = collect(plan(merged))
        assert (action.result, action.detail) == (ActionResult.FAILED, IN_LOWER_LAYER)
        assert action.hint.endswith(f": rm -r {paths.model}")
        assert names(merged) == before
        shutil.rmtree(paths.model)
        hubcli_entry(merged, OLD)
        assert results(collect(plan(merged))) == ["removed"]
