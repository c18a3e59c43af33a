"""The lock: held, waited for, broken; with real processes."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hubcli.cache.layout import EntryPaths
from hubcli.cache.lock import hold_lock, lock_at_once
from hubcli.cache.records import LockOwner
from hubcli.errors import LockTimeoutError


@pytest.fixture
def paths(cache: Path) -> EntryPaths:
    cache.mkdir()
    return EntryPaths(cache, "0" * 40)


def write_lock(paths: EntryPaths, owner: LockOwner) -> None:
    paths.lock.write_text(owner.text)


def dead_pid() -> int:
    """The number of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_the_file_holds_what_tensorflow_hub_writes(paths: EntryPaths) -> None:
    with hold_lock(paths, timeout_s=1) as lock:
        text = paths.lock.read_text()
    assert text == f"{socket.gethostname()}.{os.getpid()}.{lock.owner.uid}"
    assert lock.staging == paths.root / f"{paths.key}.{lock.owner.uid}.tmp"


def test_nothing_is_left_when_it_is_released(paths: EntryPaths) -> None:
    with hold_lock(paths, timeout_s=1):
        assert os.listdir(paths.root) == [paths.lock.name]
    assert os.listdir(paths.root) == []


def test_it_is_released_when_the_holder_fails(paths: EntryPaths) -> None:
    with pytest.raises(ZeroDivisionError), hold_lock(paths, timeout_s=1):
        _ = 1 / 0
    assert not paths.lock.exists()


def test_a_second_holder_waits_for_the_first(paths: EntryPaths) -> None:
    order: list[str] = []
    waits = threading.Event()

    def second() -> None:
        with hold_lock(paths, timeout_s=30, on_wait=lambda _owner: waits.set()):
            order.append("second")

    thread = threading.Thread(target=second)
    with hold_lock(paths, timeout_s=1):
        thread.start()
        assert waits.wait(60)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_whoever_waits_is_told_host_and_process(paths: EntryPaths) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = LockOwner(socket.gethostname(), child.pid, uuid.uuid4().hex)
    write_lock(paths, owner)
    holders: list[str] = []

    def end_the_holder(holder: LockOwner | None) -> None:
        holders.append(str(holder))
        child.communicate(b"\n")

    with hold_lock(paths, timeout_s=30, on_wait=end_the_holder):
        pass
    assert holders == [f"{socket.gethostname()}:{child.pid}"]


def test_the_lock_of_a_dead_process_is_broken_at_once(paths: EntryPaths) -> None:
    dead = LockOwner(socket.gethostname(), dead_pid(), uuid.uuid4().hex)
    write_lock(paths, dead)
    started = time.monotonic()
    with hold_lock(paths, timeout_s=600):
        assert time.monotonic() - started < 60


def test_a_process_that_is_younger_than_the_lock_is_not_its_holder(paths: EntryPaths) -> None:
    write_lock(paths, LockOwner(socket.gethostname(), os.getpid(), uuid.uuid4().hex))
    long_ago = time.time() - 10**6
    os.utime(paths.lock, (long_ago, long_ago))
    with hold_lock(paths, timeout_s=600):
        pass


def test_a_live_process_that_stands_still_is_given_up(paths: EntryPaths) -> None:
    write_lock(paths, LockOwner(socket.gethostname(), os.getpid(), uuid.uuid4().hex))
    with (
        pytest.raises(LockTimeoutError, match=f"Process {os.getpid()} on {socket.gethostname()}") as caught,
        hold_lock(paths, timeout_s=0.2),
    ):
        pass
    assert caught.value.exit_status == 8
    assert "--lock-timeout" in caught.value.hint


def test_another_host_that_stands_still_is_robbed(paths: EntryPaths) -> None:
    write_lock(paths, LockOwner("elsewhere.example", 1, uuid.uuid4().hex))
    with hold_lock(paths, timeout_s=0.2) as lock:
        assert LockOwner.read(paths.lock) == lock.owner


def test_another_host_that_makes_progress_is_waited_for(
    paths: EntryPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = LockOwner("elsewhere.example", 1, uuid.uuid4().hex)
    write_lock(paths, elsewhere)
    staging = paths.staging(elsewhere.uid)
    staging.mkdir()
    passed_s = 0.0

    def download(seconds: float) -> None:
        """Grows while the other waits, for ten timeouts, then ends like a download that succeeded."""
        nonlocal passed_s
        passed_s += seconds
        if passed_s < 100:
            (staging / "file").write_bytes(bytes(int(passed_s * 100)))
        else:
            paths.lock.unlink()

    clock = SimpleNamespace(monotonic=lambda: passed_s, sleep=download, time=time.time)
    monkeypatch.setattr("hubcli.cache.lock.time", clock)
    with hold_lock(paths, timeout_s=10):
        assert passed_s >= 100


def test_what_never_ends_or_never_answers_is_no_lock_of_anybody(paths: EntryPaths) -> None:
    os.mkfifo(paths.lock)
    assert LockOwner.read(paths.lock) is None
    with hold_lock(paths, timeout_s=0.1):
        pass
    paths.lock.symlink_to("/dev/zero")
    assert LockOwner.read(paths.lock) is None
    with hold_lock(paths, timeout_s=0.1):
        pass
    assert os.listdir(paths.root) == []


def test_a_link_to_nowhere_is_robbed_after_the_timeout(paths: EntryPaths) -> None:
    paths.lock.symlink_to("nowhere")
    with hold_lock(paths, timeout_s=0.1):
        pass
    assert os.listdir(paths.root) == []


def test_a_directory_in_place_of_the_lock_is_robbed_after_the_timeout(paths: EntryPaths) -> None:
    paths.lock.mkdir()
    with hold_lock(paths, timeout_s=0.1):
        pass
    assert os.listdir(paths.root) == []


@pytest.mark.parametrize("pid", [0, 99999999999999999999])
def test_a_number_that_no_process_has_is_a_dead_one(pid: int, paths: EntryPaths) -> None:
    write_lock(paths, LockOwner(socket.gethostname(), pid, uuid.uuid4().hex))
    with hold_lock(paths, timeout_s=600):
        pass


@pytest.mark.parametrize("text", ["", "garbage", "host.notanumber.abc", "\x00\xff"])
def test_a_lock_file_that_names_nobody_is_robbed_after_the_timeout(text: str, paths: EntryPaths) -> None:
    paths.lock.write_text(text)
    with hold_lock(paths, timeout_s=0.1):
        pass


def test_a_lock_that_names_nobody_does_not_hold_up_for_long(
    paths: EntryPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a kill leaves it, between the file's creation and its content, where there are no hard links."""
    monkeypatch.setattr("hubcli.cache.lock._NAMELESS_S", 0.1)
    paths.lock.touch()
    with hold_lock(paths, timeout_s=600) as lock:
        assert LockOwner.read(paths.lock) == lock.owner


def test_a_robbed_holder_does_not_remove_the_robbers_lock(paths: EntryPaths) -> None:
    robber = LockOwner("elsewhere.example", 1, uuid.uuid4().hex)
    with hold_lock(paths, timeout_s=1):
        write_lock(paths, robber)
    assert LockOwner.read(paths.lock) == robber


def test_a_host_name_with_dots_is_read_whole(paths: EntryPaths) -> None:
    owner = LockOwner("node.cluster.example", 17, uuid.uuid4().hex)
    write_lock(paths, owner)
    assert LockOwner.read(paths.lock) == owner
    assert str(owner) == "node.cluster.example:17"


def refuse_link(*_: object) -> None:
    """As a file system without hard links."""
    raise PermissionError(errno.EPERM, "no hard links")


def test_a_second_holder_waits_where_there_are_no_hard_links(
    paths: EntryPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", refuse_link)
    with hold_lock(paths, timeout_s=1) as lock:
        assert LockOwner.read(paths.lock) == lock.owner
        with lock_at_once(paths, silence_s=60) as second:
            assert second is None
    assert os.listdir(paths.root) == []


@pytest.mark.parametrize("is_robbed", [False, True])
def test_a_disk_that_is_full_leaves_no_empty_lock_where_there_are_no_hard_links(
    is_robbed: bool, paths: EntryPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def open_full(path: Path, mode: str = "r", **more: Any) -> Any:
        file: Any = opened(path, mode, **more)
        if mode == "x":
            file.write = write
        return file

    def write(_: str) -> int:
        if is_robbed:
            paths.lock.unlink()
        raise OSError(errno.EIO, "no space")

    monkeypatch.setattr(os, "link", refuse_link)
    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(OSError, match="no space"), hold_lock(paths, timeout_s=1):
        pass
    assert os.listdir(paths.root) == []


COUNTER = """
import sys
from pathlib import Path
from types import SimpleNamespace
from hubcli.cache.layout import EntryPaths
from hubcli.cache.lock import hold_lock
root = Path(sys.argv[1])
for _ in range(20):
    with hold_lock(EntryPaths(root, "0" * 40), timeout_s=60):
        counter = root / "counter"
        counter.write_text(str(int(counter.read_text()) + 1))
"""


@pytest.mark.slow
def test_many_processes_hold_it_one_at_a_time(paths: EntryPaths) -> None:
    (paths.root / "counter").write_text("0")
    children = [subprocess.Popen([sys.executable, "-c", COUNTER, str(paths.root)]) for _ in range(4)]
    assert [child.wait(250) for child in children] == [0, 0, 0, 0]
    assert (paths.root / "counter").read_text() == "80"


RACER = """
import os, random, socket, sys
from pathlib import Path
from types import SimpleNamespace
from hubcli.cache.layout import EntryPaths
from hubcli.cache.lock import hold_lock, lock_at_once
paths, dead_pid = EntryPaths(Path(sys.argv[1]), "0" * 40), sys.argv[2]
held = 0
for number in range(400):
    with lock_at_once(paths, silence_s=0) if number % 20 else hold_lock(paths, timeout_s=60) as lock:
        if lock is None:
            continue
        held += 1
        (paths.root / "alone").touch(exist_ok=False)
        (paths.root / "alone").unlink()
        if random.random() < 0.3:  # The file of a process that is gone: whoever comes next breaks it.
            with paths.lock.open("r+") as file:
                file.write(f"{socket.gethostname()}.{dead_pid}.{lock.owner.uid}")
                file.truncate()
print(held)
"""


@pytest.mark.slow
def test_of_many_who_find_a_dead_holder_one_takes_the_lock_and_leaves_none(paths: EntryPaths) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(paths.root), str(dead_pid())], stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    held = [int(racer.communicate(timeout=120)[0]) for racer in racers]
    assert all(held), "it was no race"
    with lock_at_once(paths, silence_s=0) as lock:
        assert lock is not None
    assert os.listdir(paths.root) == []
