"""A directory as an object store: complete objects, one winner, comparison before a swap."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hubcli.durability import UNSYNCED
from hubcli.errors import AuthenticationError, IntegrityError, NetworkError, NotFoundError, UnsupportedError
from hubcli.net.directory_store import DirectoryStore
from tests.cases import each_of


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "tier", UNSYNCED)


def test_an_object_is_read_as_it_was_written(store: DirectoryStore) -> None:
    assert store.head("a/b") is None
    assert store.read("a/b", 10) is None
    assert store.create("a/b", b"one")
    assert not store.create("a/b", b"two")
    found = store.read("a/b", 10)
    assert found is not None
    assert found[0] == b"one"
    assert found[1] == store.head("a/b")
    assert abs(store.now().timestamp() - found[1].modified.timestamp()) < 60
    with pytest.raises(IntegrityError, match="larger than 2 bytes"):
        store.read("a/b", 2)


def test_one_of_many_creates_it(store: DirectoryStore) -> None:
    barrier = threading.Barrier(8)

    def create(number: int) -> bool:
        barrier.wait()
        return store.create("leases/x.json", b"%d" % number)

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(create, range(8)))
    assert won.count(True) == 1
    found = store.read("leases/x.json", 10)
    assert found is not None
    assert found[0] == b"%d" % won.index(True)


def test_one_of_many_swaps_what_all_have_seen(store: DirectoryStore) -> None:
    store.create("x", b"0")
    seen = store.head("x")
    assert seen is not None
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda number: store.replace("x", b"%d" % number, seen), range(1, 9)))
    assert won.count(True) == 1
    assert not store.replace("gone", b"", seen)


def test_a_swap_of_equal_bytes_counts_as_a_change(store: DirectoryStore) -> None:
    store.create("x", b"same")
    seen = store.head("x")
    assert seen is not None
    assert store.replace("x", b"same", seen)
    assert not store.replace("x", b"same", seen)


def test_objects_are_listed_in_the_order_of_their_keys_from_any_on(store: DirectoryStore) -> None:
    keys = sorted(["a/b", "a.b", "a/c/d", "b", "a-b/c", "models/x/1", "models/x-y/1", "models/x.json"])
    for key in keys:
        store.put(key, b"")
    assert [info.key for info in store.list_objects()] == keys
    for place, key in enumerate(keys):
        assert [info.key for info in store.list_objects(start_after=key)] == keys[place + 1 :]
    assert [info.key for info in store.list_objects("models/x")] == [key for key in keys if "models" in key]
    assert [info.key for info in store.list_objects("models/x/")] == ["models/x/1"]


def test_links_and_hidden_names_are_not_listed(store: DirectoryStore, tmp_path: Path) -> None:
    store.put("a/b", b"")
    (store.root / "a" / ".hidden").touch()
    (store.root / "loop").symlink_to(store.root)
    (store.root / "out").symlink_to(tmp_path)
    assert [info.key for info in store.list_objects()] == ["a/b"]


def test_what_is_too_deep_to_be_named_is_not_listed(store: DirectoryStore) -> None:
    store.put("a", b"")
    folder = store.root
    for _ in range(530):
        folder /= "b"
        folder.mkdir()
    (folder / "object").touch()
    assert [info.key for info in store.list_objects()] == ["a"]


def test_an_upload_is_read_in_parts(store: DirectoryStore, tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(bytes(range(256)) * 100)
    info = store.upload("blobs/x", tmp_path / "archive")
    assert info == store.head("blobs/x")
    with store.open("blobs/x") as source:
        assert source.size_bytes == 25600
        with source.range(256, 512) as blocks:
            assert b"".join(blocks) == bytes(range(256))
    with pytest.raises(NotFoundError), store.open("blobs/y"):
        pass


def test_a_name_that_the_file_system_refuses_is_an_error_of_ours(store: DirectoryStore) -> None:
    store.put("a", b"")
    key = "a" * 300
    for read in (store.head, lambda key: store.read(key, 10), lambda key: store.open(key).__enter__()):
        with pytest.raises(NetworkError, match="Cannot access .*: File name too long"):
            read(key)


def test_a_deletion_leaves_no_empty_folder(store: DirectoryStore) -> None:
    store.put("a/b/c", b"")
    store.put("a/d", b"")
    assert store.delete("a/b/c")
    assert store.delete("a/b/c") is False
    assert not (store.root / "a" / "b").exists()
    assert store.head("a/d")


def test_a_key_of_1024_bytes_is_written_and_listed(store: DirectoryStore) -> None:
    key = "/".join(["x" * 204] * 5)
    assert len(key) == 1024
    store.put(key, b"content")
    assert [(info.key, info.size_bytes) for info in store.list_objects()] == [(key, 7)]


@each_of("key", ["../x", "a//b", "/a", "a/", "", ".hidden", "a/.b", "a/../b", "a\0b", "x" * 1025])
def test_a_key_that_leads_elsewhere_is_refused(key: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="Invalid key"):
        DirectoryStore(tmp_path).put(key, b"")


def test_a_pipe_is_no_object(store: DirectoryStore) -> None:
    store.put("a", b"")
    os.mkfifo(store.root / "pipe")
    with pytest.raises(NetworkError, match="not a regular file"):
        store.read("pipe", 10)


@each_of("seconds", [300_000_000_000, -300_000_000_000])
def test_a_time_that_no_calendar_has_is_the_nearest_that_it_has(store: DirectoryStore, seconds: int) -> None:
    store.put("models/a", b"a")
    os.utime(store.root / "models/a", (seconds, seconds))
    found = store.head("models/a")
    assert found is not None
    assert list(store.list_objects("models/")) == [found]
    assert 1 <= found.modified.year < 9999
    assert (store.now() - found.modified).total_seconds() * seconds < 0
    os.utime(store.root / "models/a")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_denied_write_is_told(store: DirectoryStore) -> None:
    store.put("a", b"")
    store.root.chmod(0o500)
    try:
        with pytest.raises(AuthenticationError, match="denied"):
            store.put("b", b"")
    finally:
        store.root.chmod(0o700)


def test_what_killed_writers_left_is_swept_after_a_day(store: DirectoryStore) -> None:
    store.put("a/b", b"")
    old, new = (store.root / "a" / f".{digit * 32}.hubcli-tmp" for digit in "01")
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    store.sweep()
    assert not old.exists()
    assert new.exists()


_HOLDER = "import fcntl, sys; f = open(sys.argv[1], 'ab'); fcntl.lockf(f, 2); print(flush=True); input()"


def test_a_stopped_holder_of_the_lock_is_not_waited_for_without_end(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("a", b"1")
    info = store.head("a")
    assert info is not None
    command = [sys.executable, "-ISc", _HOLDER, str(store.root / ".hubcli-lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        monkeypatch.setattr("hubcli.net.directory_store._LOCK_S", 0.02)
        with pytest.raises(NetworkError, match="does not release it"):
            store.replace("a", b"2", info)
        holder.communicate(b"\n")
    assert store.replace("a", b"2", info)
