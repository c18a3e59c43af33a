"""The store: staged, published in one step, completed after a crash."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hubcli.archive import FileRecord
from hubcli.cache.catalog import EntryState, read_catalog
from hubcli.cache.layout import EntryPaths
from hubcli.cache.lock import Lock
from hubcli.cache.records import LockOwner, Manifest
from hubcli.cache.store import Staging, Store
from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.config.settings import Settings
from hubcli.errors import CacheError, LockLostError
from hubcli.providers.handle import Handle
from tests import models

HANDLE = Handle.parse("https://tfhub.dev/maker/model/1")


def manifest_of(files: dict[str, bytes]) -> Manifest:
    records = tuple(FileRecord(path, len(content), None) for path, content in sorted(files.items()))
    return Manifest(str(HANDLE), HANDLE.aliases, "test", "TF2", records, 1.0, 1.0)


def nobody(_owner: LockOwner | None) -> None:
    pass


def publish(store: Store, files: dict[str, bytes]) -> Path:
    with store.locked(HANDLE, timeout_s=5, on_wait=nobody) as lock, store.staged(lock, HANDLE) as staging:
        models.write_tree(staging.path, files)
        return staging.publish(manifest_of(files)).path


def test_a_root_that_we_make_is_tagged_as_a_cache(cache: Path) -> None:
    publish(Store(cache), {"saved_model.pb": b"x"})
    assert (cache / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55")


def test_a_root_that_was_there_is_not_tagged(cache: Path) -> None:
    cache.mkdir()
    publish(Store(cache), {"saved_model.pb": b"x"})
    assert not (cache / "CACHEDIR.TAG").exists()


def test_while_it_is_staged_nothing_is_visible_but_the_descriptor_tells(cache: Path) -> None:
    store = Store(cache)
    with store.locked(HANDLE, timeout_s=5, on_wait=nobody) as lock, store.staged(lock, HANDLE) as staging:
        assert staging.path.is_dir()
        assert not lock.paths.model.exists()
        assert f"Module: {HANDLE}\n" in lock.paths.descriptor.read_text()
    assert set(os.listdir(cache)) == {"CACHEDIR.TAG"}


def test_the_descriptor_has_tensorflow_hubs_form(cache: Path) -> None:
    path = publish(Store(cache), {"saved_model.pb": b"x"})
    lines = path.with_name(path.name + ".descriptor.txt").read_text().split("\n")
    assert lines[0] == f"Module: {HANDLE}"
    assert lines[1].startswith("Download Time: ")
    assert lines[2].endswith(f"(PID:{os.getpid()})")


def test_a_file_that_stands_in_the_place_of_the_model_is_replaced(cache: Path) -> None:
    cache.mkdir()
    (cache / HANDLE.cache_key).write_text("not a directory")
    path = publish(Store(cache), {"saved_model.pb": b"x"})
    assert (path / "saved_model.pb").read_bytes() == b"x"
    assert [name for name in os.listdir(cache) if name.endswith(".tmp")] == []


def test_a_link_to_nowhere_in_the_place_of_the_model_is_replaced(cache: Path) -> None:
    cache.mkdir()
    (cache / HANDLE.cache_key).symlink_to("nowhere")
    path = publish(Store(cache), {"saved_model.pb": b"x"})
    assert not path.is_symlink()
    assert (path / "saved_model.pb").read_bytes() == b"x"


def test_links_are_on_the_disk_before_they_are_counted_on(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(cache)
    publish(store, {"saved_model.pb": b"x"})
    entry = store.find(HANDLE)
    assert entry is not None
    synced = list[Path]()
    monkeypatch.setattr("hubcli.durability.Durability.directory", lambda _, folder: synced.append(folder))
    assert store.link_aliases(HANDLE, entry)
    assert synced == [cache]
    assert store.link_aliases(HANDLE, entry)
    assert synced == [cache]  # They were there: nothing to sync.


def test_links_are_relative_so_that_the_cache_can_be_moved(cache: Path, settings: Settings) -> None:
    store = Store(cache)
    publish(store, {"saved_model.pb": b"x"})
    entry = store.find(HANDLE)
    assert entry is not None
    assert store.link_aliases(HANDLE, entry)
    moved = cache.rename(cache.with_name("moved"))
    for key in HANDLE.alias_keys:
        assert (moved / key / "saved_model.pb").read_bytes() == b"x"


def test_a_link_to_another_entry_is_pointed_anew(cache: Path) -> None:
    store = Store(cache)
    publish(store, {"saved_model.pb": b"x"})
    entry = store.find(HANDLE)
    assert entry is not None
    (cache / HANDLE.alias_keys[0]).symlink_to("f" * 40)
    assert store.link_aliases(HANDLE, entry)
    assert (cache / HANDLE.alias_keys[0]).readlink() == Path(HANDLE.cache_key)


def crash_before_the_rename(store: Store, files: dict[str, bytes]) -> None:
    """What a process leaves that is killed after writing the manifest."""
    store.root.mkdir(exist_ok=True)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    owner = LockOwner(LockOwner.of_this_process().host, child.pid, "a" * 32)
    paths = EntryPaths(store.root, HANDLE.cache_key)
    paths.lock.write_text(owner.text)
    staging = Staging(Lock(paths, owner))
    models.write_tree(staging.path, files)
    paths.manifest.write_text(manifest_of(files).to_text())


@pytest.mark.parametrize("offline", [False, True], ids=["online", "offline"])
@pytest.mark.parametrize("had_old", [False, True], ids=["nothing there", "an old one there"])
def test_a_publication_that_was_cut_off_is_completed(
    had_old: bool, offline: bool, cache: Path, settings: Settings
) -> None:
    store = Store(cache)
    if had_old:
        publish(store, {"saved_model.pb": b"old and longer"})
    crash_before_the_rename(store, models.example_files())
    result = fetch(HANDLE, replace(settings, offline=offline))
    assert result.was_cached
    assert models.tree_files(result.path) == models.example_files()
    assert [name for name in os.listdir(cache) if ".tmp" in name or name.endswith(".lock")] == []


def test_half_a_staging_directory_is_not_taken(cache: Path, settings: Settings, tmp_path: Path) -> None:
    store = Store(cache)
    crash_before_the_rename(store, models.example_files())
    (cache / f"{HANDLE.cache_key}.{'a' * 32}.tmp" / "saved_model.pb").write_bytes(b"half")
    with store.locked(HANDLE, timeout_s=5, on_wait=nobody) as lock:
        assert not lock.paths.model.exists()
    assert [name for name in os.listdir(cache) if name.endswith(".tmp")] == []


def test_a_holder_whose_directory_was_swept_does_not_publish_the_rest(cache: Path) -> None:
    store = Store(cache)
    files = {"saved_model.pb": b"x", "variables/variables.index": b"y"}
    with store.locked(HANDLE, timeout_s=5, on_wait=nobody) as lock, store.staged(lock, HANDLE) as staging:
        models.write_tree(staging.path, files)
        shutil.rmtree(staging.path)
        models.write_tree(staging.path, {"saved_model.pb": b"x"})
        with pytest.raises(LockLostError, match=r"variables\.index is missing"):
            staging.publish(manifest_of(files))
        assert not lock.paths.model.exists()


@pytest.mark.parametrize("had_old", [False, True])
@pytest.mark.parametrize("failing", ["write_whole", "_move_in"])
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_a_publication_that_fails_leaves_the_records_as_they_were(
    had_old: bool,
    failing: str,
    error: BaseException,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, old = Store(cache), {"saved_model.pb": b"old"}
    if had_old:
        publish(store, old)
    before = models.tree_files(cache)
    before.pop("CACHEDIR.TAG", None)

    def fail(*_arguments: object) -> None:
        raise error

    def publish_new() -> None:
        with store.locked(HANDLE, timeout_s=5, on_wait=nobody) as lock, store.staged(lock, HANDLE) as staging:
            models.write_tree(staging.path, {"saved_model.pb": b"new and longer"})
            monkeypatch.setattr(f"hubcli.cache.store.{failing}", fail)
            staging.publish(manifest_of({"saved_model.pb": b"new and longer"}))

    with pytest.raises((OSError, CacheError, KeyboardInterrupt)):
        publish_new()
    after = models.tree_files(cache)
    after.pop("CACHEDIR.TAG")
    assert after == before


def test_a_fetch_does_not_look_at_every_name_in_the_root(cache: Path, settings: Settings) -> None:
    """It would take a tenth of a second in a cache of ten thousand models."""
    fetch("example://mul/1", settings)
    listed: list[str] = []

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event in ("os.listdir", "os.scandir") and str(arguments[0]) == str(cache):
            listed.append(event)

    sys.addaudithook(watch)
    fetch("example://mul/1", settings, FetchOptions(force=True))
    assert listed == []


def test_adopting_does_not_write_over_a_manifest_that_came_meanwhile(cache: Path) -> None:
    store = Store(cache)
    publish(store, {"saved_model.pb": b"x"})
    entry = store.find(HANDLE)
    assert entry is not None
    adopted = store.adopt(entry, manifest_of({"saved_model.pb": b"of another time"}))
    assert adopted.manifest == entry.manifest


def test_a_model_that_was_moved_to_another_disk_is_listed_and_used(
    cache: Path, settings: Settings, tmp_path: Path
) -> None:
    path = fetch("example://mul/1", settings).path
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert fetch("example://mul/1", settings).was_cached
    (row,) = read_catalog(cache).models
    assert row.state is EntryState.OK


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to("nowhere")])
def test_a_root_that_is_no_directory_is_a_clear_error(make: Callable[[Path], None], cache: Path) -> None:
    make(cache)
    for use in (lambda: publish(Store(cache), {"saved_model.pb": b"x"}), lambda: read_catalog(cache)):
        with pytest.raises(CacheError, match="is not a directory"):
            use()


KILLED = """
import os, signal, sys
from collections.abc import Callable
from pathlib import Path
from hubcli.cache.records import LockOwner
from hubcli.cache.store import Store
from hubcli.errors import CacheError, LockLostError
from hubcli.providers.handle import Handle
handle = Handle.parse(sys.argv[2])
store = Store(Path(sys.argv[1]))
with store.locked(handle, timeout_s=5, on_wait=print) as lock, store.staged(lock, handle) as staging:
    (staging.path / "half").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_leaves_is_swept_by_the_next(cache: Path, settings: Settings) -> None:
    child = subprocess.run(
        [sys.executable, "-c", KILLED, str(cache), "example://mul/1"], check=False, capture_output=True
    )
    assert child.returncode == -signal.SIGKILL
    assert any(name.endswith(".tmp") for name in os.listdir(cache))
    fetch("example://mul/1", settings)
    assert [name for name in os.listdir(cache) if ".tmp" in name or name.endswith(".lock")] == []
