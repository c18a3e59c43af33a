"""The catalog: which rows one look at the root gives, and in which state."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hubcli.cache.cached_model import CachedModel, LastUse, UseSource
from hubcli.cache.catalog import CachedModelInfo, EntryState, read_catalog
from hubcli.cache.layout import EntryPaths, RootNames
from hubcli.commands.inspect import inspect
from hubcli.commands.ls import ls
from hubcli.commands.verify import verify
from hubcli.config.settings import Settings
from hubcli.providers.handle import Handle
from tests import models
from tests.entries import (
    SHARD,
    alias_link,
    dead_pid,
    gut_entry,
    hubcli_entry,
    key_of,
    live_process,
    lock,
    model_bytes,
    set_access_time,
    tensorflow_hub_entry,
    write_model,
)

HANDLE = "https://tfhub.dev/google/nnlm/1"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def verify_all(root: Path) -> None:
    verify(HANDLE, Settings.read({}, cache_dir=root))


def _only_row(root: Path) -> CachedModelInfo:
    (row,) = read_catalog(root).models
    return row


def test_a_root_that_is_not_there_is_an_empty_cache(root: Path) -> None:
    assert read_catalog(root).models == ()
    assert not root.exists()


def test_an_entry_of_hubcli_is_one_row_whatever_its_aliases(root: Path) -> None:
    paths = hubcli_entry(root, HANDLE)
    assert sum(path.is_symlink() for path in root.iterdir()) == len(Handle.parse(HANDLE).aliases)

    row = _only_row(root)

    assert (row.name, row.state, row.problem, row.owner) == (paths.key, EntryState.OK, None, None)
    assert row.size_bytes == model_bytes(paths.model)
    assert row.handle == HANDLE
    assert read_catalog(root).leftovers == 0


def test_an_entry_of_tensorflow_hub_is_known_by_its_descriptor(root: Path) -> None:
    paths = tensorflow_hub_entry(root, f"{HANDLE}/")

    row = _only_row(root)

    assert (row.name, row.state) == (paths.key, EntryState.OK)
    assert row.handle == f"{HANDLE}/"


def test_an_entry_without_descriptor_is_unknown_and_not_hidden(root: Path) -> None:
    paths = tensorflow_hub_entry(root, HANDLE, descriptor=False)

    row = _only_row(root)

    assert (row.name, row.state) == (paths.key, EntryState.UNKNOWN)
    assert row.size_bytes == model_bytes(paths.model)


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"Module: x"])
def test_an_entry_with_a_broken_descriptor_is_unknown(root: Path, content: bytes) -> None:
    tensorflow_hub_entry(root, HANDLE, descriptor=False).descriptor.write_bytes(content)

    assert _only_row(root).state is EntryState.UNKNOWN


def test_an_entry_with_a_broken_manifest_is_known_by_its_descriptor(root: Path) -> None:
    hubcli_entry(root, HANDLE).manifest.write_bytes(b"{")

    row = _only_row(root)

    assert row.state is EntryState.OK
    assert row.handle == HANDLE


def test_a_gutted_entry_of_tensorflow_hub_is_told(root: Path) -> None:
    gut_entry(tensorflow_hub_entry(root, HANDLE))

    row = _only_row(root)

    assert (row.state, row.size_bytes) == (EntryState.GUTTED, 0)
    assert row.problem is not None
    assert "saved_model.pb" in row.problem


def test_a_gutted_entry_of_hubcli_is_told(root: Path) -> None:
    gut_entry(hubcli_entry(root, HANDLE))

    row = _only_row(root)

    assert row.state is EntryState.GUTTED
    assert row.problem is not None
    assert row.problem.endswith("is missing")


def test_an_entry_whose_directory_is_empty_is_gutted(root: Path) -> None:
    paths = tensorflow_hub_entry(root, HANDLE)
    gut_entry(paths)
    for folder in ("variables", "assets"):
        (paths.model / folder).rmdir()

    assert _only_row(root).state is EntryState.GUTTED


def test_a_file_that_was_added_does_no_harm(root: Path) -> None:
    (hubcli_entry(root, HANDLE).model / ".DS_Store").write_bytes(b"Finder was here")

    assert _only_row(root).state is EntryState.OK


@pytest.mark.parametrize(
    ("name", "size_bytes", "problem"),
    [
        (SHARD, None, f"{SHARD} is missing"),
        (SHARD, 99, f"{SHARD} has 99 bytes instead of 100"),
        (SHARD, 101, f"{SHARD} has 101 bytes instead of 100"),
    ],
)
def test_a_file_that_differs_from_the_manifest_is_named(
    root: Path, name: str, size_bytes: int | None, problem: str
) -> None:
    path = hubcli_entry(root, HANDLE).model / name
    if size_bytes is None:
        path.unlink()
    else:
        path.touch()
        os.truncate(path, size_bytes)

    row = _only_row(root)

    assert (row.state, row.problem) == (EntryState.GUTTED, problem)


def test_of_several_missing_files_the_first_of_the_manifest_is_named(root: Path) -> None:
    paths = hubcli_entry(root, HANDLE)
    manifest = CachedModel.read(paths).manifest
    assert manifest is not None
    names = [file.path for file in manifest.files]
    for name in names[1:]:
        (paths.model / name).unlink()

    assert len(names) > 2
    assert _only_row(root).problem == f"{names[1]} is missing"


def test_a_text_model_of_tensorflow_hub_is_whole(root: Path) -> None:
    paths = tensorflow_hub_entry(root, HANDLE)
    (paths.model / "saved_model.pb").rename(paths.model / "saved_model.pbtxt")

    assert _only_row(root).state is EntryState.OK


def test_what_others_put_there_is_foreign(root: Path) -> None:
    hubcli_entry(root, HANDLE)
    (root / "photos").mkdir()
    (root / "notes.txt").write_text("mine")
    (root / f"{key_of(HANDLE)}.zip").touch()
    (root / key_of("empty")).mkdir()
    (root / "dangling").symlink_to("nowhere")

    foreign = [row for row in read_catalog(root).models if row.state is EntryState.FOREIGN]

    names = {"photos", "notes.txt", f"{key_of(HANDLE)}.zip", key_of("empty"), "dangling"}
    assert {row.name for row in foreign} == names
    assert not any(row.is_pinned for row in foreign)


def test_links_are_no_rows(root: Path, tmp_path: Path) -> None:
    paths = tensorflow_hub_entry(root, HANDLE)
    alias_link(root, f"{HANDLE}/", paths.key)
    alias_link(root, "https://tfhub.dev/gone/1", key_of("gone"))

    assert _only_row(root).name == paths.key
    assert read_catalog(root).leftovers == 0


def test_links_that_are_looked_at_in_parts_are_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = hubcli_entry(root, HANDLE).model
    moved.rename(root.parent / "elsewhere")
    moved.symlink_to(root.parent / "elsewhere")
    for name in ("x" * 40, "\u00e9" * 40, "short", f"{key_of(HANDLE)}.lock", key_of("gone"), key_of("too")):
        (root / name).symlink_to("nowhere")
    at_once = RootNames.read(root, with_links=True)
    assert {key_of("gone"), key_of("too")} <= {*at_once.links}
    assert moved.name not in at_once.links

    for many in (1, 2, 3):
        monkeypatch.setattr("hubcli.cache.layout._MANY_LINKS", many)
        assert RootNames.read(root, with_links=True) == at_once
        assert replace(RootNames.read(root), links=at_once.links) == at_once
        assert RootNames.read(root).links == []
    assert (at_once.moved, at_once.foreign) == ({moved.name}, {"x" * 40, "\u00e9" * 40, "short"})
    assert [name.text for name in at_once.fragments[moved.name] if name.text.endswith(".lock")]


def test_a_download_by_a_live_process_is_a_row(root: Path) -> None:
    with live_process() as pid:
        paths = lock(root, HANDLE, pid, unpacked_bytes=70)

        row = _only_row(root)
        leftovers = read_catalog(root).leftovers

    assert (row.name, row.state, row.size_bytes) == (paths.key, EntryState.DOWNLOADING, 70)
    assert row.owner is not None
    assert row.owner.pid == pid
    assert leftovers == 0


def test_a_download_on_another_host_is_a_row(root: Path) -> None:
    lock(root, HANDLE, 4_000_000, host="other.corp")

    row = _only_row(root)

    assert row.state is EntryState.DOWNLOADING
    assert str(row.owner) == "other.corp:4000000"


def test_a_download_of_a_dead_process_is_a_leftover(root: Path) -> None:
    lock(root, HANDLE, dead_pid())

    catalog = read_catalog(root)

    assert (catalog.models, catalog.leftovers) == ((), 1)


def test_a_process_that_inherited_the_number_holds_no_lock(root: Path) -> None:
    with live_process() as pid:
        paths = lock(root, HANDLE, pid)
        long_ago = time.time() - 3600
        os.utime(paths.lock, (long_ago, long_ago))

        catalog = read_catalog(root)

    assert (catalog.models, catalog.leftovers) == ((), 1)


def test_a_whole_entry_that_is_fetched_anew_stays_ok(root: Path) -> None:
    hubcli_entry(root, HANDLE)
    with live_process() as pid:
        lock(root, HANDLE, pid)

        row = _only_row(root)

    assert row.state is EntryState.OK
    assert row.owner is not None


def test_a_gutted_entry_that_is_fetched_anew_is_downloading(root: Path) -> None:
    gut_entry(hubcli_entry(root, HANDLE))
    with live_process() as pid:
        lock(root, HANDLE, pid)

        assert _only_row(root).state is EntryState.DOWNLOADING


@pytest.mark.parametrize(
    "content",
    ["", "nobody", "host.x.00", "host.1.", f"host.{'9' * 5000}.00", f"host.{10**30}.00", "\0", "host.1.zz"],
    ids=range(8),
)
def test_a_lock_that_names_nobody_breaks_nothing(root: Path, content: str) -> None:
    paths = hubcli_entry(root, HANDLE)
    paths.lock.write_text(content)

    assert _only_row(root).state is EntryState.OK


def test_every_key_that_was_left_behind_counts_once(root: Path) -> None:
    hubcli_entry(root, HANDLE)
    dead, uid = dead_pid(), "0" * 32
    lock(root, "https://tfhub.dev/a/x/1", dead).descriptor.write_text("half")
    (root / f"{key_of('b')}.hubcli.json").write_text("{}")
    (root / f"{key_of('c')}.descriptor.txt.tmp{uid}").touch()
    (root / f"{key_of('d')}.{uid}.tmp").mkdir()

    assert read_catalog(root).leftovers == 4


def test_what_a_crash_left_beside_a_whole_entry_breaks_nothing(root: Path) -> None:
    paths = hubcli_entry(root, HANDLE)
    write_model(EntryPaths(root, paths.key).staging("0" * 32))

    assert _only_row(root).state is EntryState.OK


# --- Last use


def test_hubclis_record_tells_the_last_use_where_it_is_later(root: Path) -> None:
    paths = hubcli_entry(root, HANDLE, fetched_at_s=1000, last_used_at_s=3000)
    set_access_time(paths, 2000)
    assert _only_row(root).last_use == LastUse(3000, UseSource.RECORD)


@pytest.mark.parametrize("make", [hubcli_entry, tensorflow_hub_entry])
def test_what_hub_load_read_since_tells_the_last_use(
    make: Callable[[Path, str], EntryPaths], root: Path
) -> None:
    paths = make(root, HANDLE)
    set_access_time(paths, 1_750_000_000)
    assert _only_row(root).last_use == LastUse(1_750_000_000, UseSource.ACCESS_TIME)


def test_a_use_of_an_entry_without_a_record_is_remembered(root: Path) -> None:
    paths = tensorflow_hub_entry(root, HANDLE)
    before = (paths.model / "saved_model.pb").stat().st_mtime_ns
    CachedModel.read(paths).touch()
    use = _only_row(root).last_use
    assert use is not None
    assert abs(use.at_s - time.time()) < 60
    assert (paths.model / "saved_model.pb").stat().st_mtime_ns == before


@pytest.mark.parametrize("look", [lambda root: ls(Settings.read({}, cache_dir=root)), verify_all])
def test_looking_at_a_model_is_no_use_of_it(look: Callable[[Path], object], root: Path) -> None:
    """Where the mount keeps access times, reading the file would look like `hub.load`."""
    paths = tensorflow_hub_entry(root, HANDLE)
    set_access_time(paths, 1000)
    (paths.model / "saved_model.pb").read_bytes()
    if (paths.model / "saved_model.pb").stat().st_atime == 1000:
        pytest.skip("this mount keeps no access times")
    set_access_time(paths, 1000)
    look(root)
    assert (paths.model / "saved_model.pb").stat().st_atime == 1000


@pytest.mark.parametrize("make", [hubcli_entry, tensorflow_hub_entry])
@pytest.mark.parametrize("spelling", ["handle", "path"])
def test_an_inspection_is_a_use(spelling: str, make: Callable[[Path, str], EntryPaths], root: Path) -> None:
    paths = make(root, HANDLE)
    models.write_tree(paths.model, models.example_files())
    set_access_time(paths, 1000)
    inspect(HANDLE if spelling == "handle" else str(paths.model), Settings.read({}, cache_dir=root))
    use = _only_row(root).last_use
    assert use is not None
    assert abs(use.at_s - time.time()) < 60


# --- Pins


@pytest.mark.parametrize("make", [hubcli_entry, tensorflow_hub_entry])
def test_a_pin_is_told_with_or_without_a_manifest(
    make: Callable[[Path, str], EntryPaths], root: Path
) -> None:
    make(root, HANDLE).pin.touch()
    assert _only_row(root).is_pinned


def test_a_link_to_an_entry_is_no_row_even_with_records_of_its_own(root: Path) -> None:
    paths = hubcli_entry(root, HANDLE)
    link = alias_link(root, "https://models.corp/nnlm", paths.key)
    link.with_name(f"{link.name}.descriptor.txt").write_text("Module: x")
    assert _only_row(root).name == paths.key
