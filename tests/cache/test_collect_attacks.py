"""What hostile roots, full disks and files that can't be moved do to a collection: nothing."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hubcli.cache.catalog import EntryState, read_catalog
from hubcli.cache.disk_usage import Footprint
from hubcli.cache.gc.collect import ActionResult, CompletedAction, collect
from hubcli.cache.gc.plan import Policy
from hubcli.cache.gc.planner import make_plan, plan_removal
from hubcli.cache.gc.snapshot import take_snapshot
from hubcli.cache.layout import EntryPaths
from tests.disks import mounted
from tests.entries import alias_link, hubcli_entry, key_of, tensorflow_hub_entry

OLD = "https://tfhub.dev/google/old/1"
EVERYTHING = Policy(max_size_bytes=0, grace_s=0)
LONG_AGO = time.time() - 99 * 86400


def collected(root: Path, policy: Policy = EVERYTHING) -> list[CompletedAction]:
    return collect(make_plan(take_snapshot(root), policy))


def names(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()} - {"CACHEDIR.TAG"}


# --- Names


@pytest.mark.parametrize("is_link", [False, True])
def test_pipes_and_devices_in_place_of_records_are_not_waited_for(is_link: bool, cache: Path) -> None:
    """Nobody writes to the pipes, and the device never ends: whoever read them would stand still."""
    cache.mkdir()
    with_model, without = (EntryPaths(cache, character * 40) for character in "ab")
    with_model.model.mkdir()
    (with_model.model / "saved_model.pb").write_bytes(b".")
    for paths in (with_model, without):
        for record in (paths.descriptor, paths.manifest, paths.lock, paths.spool):
            if is_link:
                record.symlink_to("/dev/zero")
            else:
                os.mkfifo(record)
            os.utime(record, (LONG_AGO, LONG_AGO), follow_symlinks=False)
    assert [row.state for row in read_catalog(cache).models] == [EntryState.UNKNOWN]
    assert {action.result for action in collected(cache, Policy())} == {ActionResult.REMOVED}
    assert names(cache) == {with_model.key, with_model.descriptor.name, with_model.manifest.name}


def test_a_directory_in_place_of_a_record_goes_with_the_model(cache: Path) -> None:
    paths = tensorflow_hub_entry(cache, OLD, descriptor=False)
    paths.descriptor.mkdir()
    (paths.descriptor / "file").touch()
    assert [action.result for action in collected(cache)] == [ActionResult.REMOVED]
    assert names(cache) == set()


def test_a_link_to_everything_is_not_walked_through(cache: Path, tmp_path: Path) -> None:
    """With a descriptor it looks like a model that was moved to another disk."""
    (tmp_path / "everything" / "file").mkdir(parents=True)
    cache.mkdir()
    for letter, text in (
        ("a", "no descriptor"),
        ("b", "Module: x\nDownload Time: y\nDownloader Hostname: z (PID:1)"),
    ):
        (cache / (letter * 40)).symlink_to(tmp_path / "everything")
        (cache / f"{letter * 40}.descriptor.txt").write_text(text)
    rows = sorted(read_catalog(cache).models, key=lambda row: row.name)
    assert [(row.state, row.size_bytes) for row in rows] == [
        (EntryState.FOREIGN, None),
        (EntryState.GUTTED, None),
    ]
    assert collected(cache) == []


@pytest.mark.parametrize("target", ["/models-of-a-disk-that-is-away", "/", "..", ".", "../elsewhere"])
def test_a_link_out_of_the_root_stays_wherever_it_leads(target: str, cache: Path) -> None:
    cache.mkdir()
    (cache / key_of("a")).symlink_to(target)
    assert collected(cache) == []


@pytest.mark.parametrize("target", ["{key}", "./{key}", "{root}/{key}"])
def test_a_link_to_a_name_of_the_root_goes_when_that_is_gone(target: str, cache: Path) -> None:
    cache.mkdir()
    alias_link(cache, "a", target.format(root=cache, key=key_of("b")))
    assert [action.result for action in collected(cache)] == [ActionResult.REMOVED]


# --- Disks


@pytest.mark.parametrize("what", ["bytes", "names"])
def test_a_full_disk_is_made_room_on(what: str, tmp_path: Path) -> None:
    """There is no room for a lock either, and nobody else can make one."""
    with mounted(tmp_path / "disk", "size=1m" if what == "bytes" else "size=9m,nr_inodes=40") as disk:
        hubcli_entry(disk / "cache", OLD, pinned=True)
        other = hubcli_entry(disk / "cache", "https://tfhub.dev/google/other/1")
        with suppress(OSError):
            for number in range(1000):
                (disk / f"{number}").write_bytes(bytes(4096 if what == "bytes" else 0))
        with pytest.raises(OSError, match="No space left"):
            (disk / "more").write_bytes(b".")
        assert [action.result for action in collected(disk / "cache")] == [ActionResult.REMOVED]
        assert not other.model.exists()
        assert not any(name.endswith((".lock", ".trash")) or ".tmp" in name for name in names(disk / "cache"))


def test_on_a_full_disk_an_entry_that_is_locked_stays(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=1m") as disk:
        paths = hubcli_entry(disk / "cache", OLD)
        planned = make_plan(take_snapshot(disk / "cache"), EVERYTHING)
        paths.lock.write_text(f"elsewhere.1.{'a' * 32}")
        with suppress(OSError):
            (disk / "fill").write_bytes(bytes(2 << 20))
        assert [action.result for action in collect(planned)] == [ActionResult.BUSY]
        assert paths.model.is_dir()


@contextmanager
def unmovable(path: Path) -> Iterator[None]:
    """A mount point can't be renamed."""
    if os.geteuid() != 0 or subprocess.run(["mount", "--bind", path, path], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


def test_a_model_that_cannot_be_moved_keeps_its_pin_and_its_links(cache: Path) -> None:
    paths = hubcli_entry(cache, OLD, pinned=True)
    before = names(cache)
    with unmovable(paths.model):
        (action,) = collect(plan_removal(take_snapshot(cache), [paths.key]))
    assert (action.result, action.detail) == (
        ActionResult.FAILED,
        "it cannot be removed: Device or resource busy",
    )
    assert names(cache) == before
    assert paths.model.is_dir()


def test_a_directory_that_cannot_be_removed_is_reported_with_its_item(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hubcli_entry(cache, OLD)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EBUSY, "busy")

    monkeypatch.setattr(os, "rmdir", refuse)
    action = collected(cache)[0]
    assert action.result is ActionResult.FAILED
    assert "could not be emptied: check its permissions" in (action.detail or "")


def test_a_model_on_another_disk_takes_no_room_in_the_cache(cache: Path, tmp_path: Path) -> None:
    here, moved = hubcli_entry(cache, OLD), tensorflow_hub_entry(cache, "https://tfhub.dev/google/moved/1")
    moved.model.rename(tmp_path / "moved")
    moved.model.symlink_to(tmp_path / "moved")
    footprints = {model.name: model.footprint for model in take_snapshot(cache).models}
    assert footprints[moved.key] == Footprint()
    assert footprints[here.key].freed_bytes > 0
