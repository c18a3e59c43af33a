"""Processes that race for one cache: `python -m tests.cache.racing_processes NAME CACHE ROUNDS`.

Each says `ready`, begins when it is sent a byte, and prints what it saw as JSON. A model is whole if each
of its files is there by its path; it may be absent, but then its directory is gone, or another.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hubcli.cache.gc.plan import Policy
from hubcli.cache.layout import EntryPaths
from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.commands.gc import gc
from hubcli.commands.pin import pin, unpin
from hubcli.commands.verify import VerifyOptions, verify
from hubcli.config.settings import Settings
from hubcli.errors import NotFoundError
from hubcli.providers.handle import Handle
from tests import models

HANDLE = "example://mul/1"
FILES = models.example_files()


class Racer:
    """What every racer knows. `seen` counts how its rounds ended, so that a race can be told from a walk."""

    def __init__(self, cache: Path) -> None:
        self.settings = Settings.read({}, cache_dir=cache, lock_timeout_s=60)
        self.wrong: list[str] = []
        self.seen: dict[str, int] = {}

    def count(self, what: str) -> None:
        self.seen[what] = self.seen.get(what, 0) + 1

    def look(self, path: Path) -> str:
        """`whole` or `absent`; what is neither is wrong."""
        try:
            inode = path.stat().st_ino
        except FileNotFoundError:
            return "absent"
        missing = [name for name, content in FILES.items() if not _has(path / name, content)]
        try:
            is_same = path.stat().st_ino == inode
        except FileNotFoundError:
            is_same = False
        if missing and is_same:
            self.wrong.append(f"{path} is there without {missing}")
        return "whole" if not missing else "absent"

    def linger(self, path: Path) -> None:
        """Leaves collections time to take it, so that the next round finds nothing."""
        for _ in range(2000):
            if not path.exists():
                return

    def wait_for_collections(self) -> None:
        """Until one takes the model: on a busy machine none may have run during the rounds."""
        path = EntryPaths(self.settings.cache_root, Handle.parse(HANDLE).cache_key).model
        until_s = time.monotonic() + 60
        while path.exists() and time.monotonic() < until_s:
            time.sleep(0.001)


def _has(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except (FileNotFoundError, NotADirectoryError):
        return False


def fetch_round(racer: Racer) -> None:
    path = fetch(HANDLE, racer.settings).path
    racer.count(racer.look(path))
    racer.linger(path)


def force_round(racer: Racer) -> None:
    racer.count(racer.look(fetch(HANDLE, racer.settings, FetchOptions(force=True)).path))


def repair_round(racer: Racer) -> None:
    path = fetch(HANDLE, racer.settings).path
    with suppress(FileNotFoundError):
        os.truncate(path / "saved_model.pb", 5)
    try:
        verify(HANDLE, racer.settings, VerifyOptions(repair=True))
    except NotFoundError:
        racer.count("absent")
    else:
        racer.count(racer.look(path))


def pin_round(racer: Racer) -> None:
    """Once it is pinned, it stays, and stays pinned, until it is unpinned."""
    path = fetch(HANDLE, racer.settings).path
    racer.linger(path)
    try:
        pin(HANDLE, racer.settings)
    except NotFoundError:
        racer.count("absent")
        return
    _unless_removed(racer, path)


def fetch_pin_round(racer: Racer) -> None:
    _unless_removed(racer, fetch(HANDLE, racer.settings, FetchOptions(pin=True)).path)


def _unless_removed(racer: Racer, path: Path) -> None:
    for _ in range(20):
        if not path.with_name(f"{path.name}.hubcli.pin").exists():
            racer.wrong.append("the pin was lost")
        try:
            path.stat()
        except FileNotFoundError:
            racer.count("put aside")  # For as long as a collection looks whether it is pinned.
    gc(racer.settings, Policy(max_size_bytes=0, grace_s=0))
    if racer.look(path) != "whole":
        racer.wrong.append("a pinned model is gone")
    racer.count("pinned")
    unpin(HANDLE, racer.settings)
    racer.linger(path)


def gc_round(racer: Racer) -> None:
    collection = gc(racer.settings, Policy(max_size_bytes=0, grace_s=0))
    for action in collection.actions or ():
        racer.count(action.result.value)
        if action.result.value == "failed":
            racer.wrong.append(str(action))


def old_gc_round(racer: Racer) -> None:
    """Takes what was not used for a month."""
    for action in gc(racer.settings, Policy(older_than_s=30 * 86400)).actions or ():
        racer.count(action.result.value)


ROUNDS: dict[str, Callable[[Racer], None]] = {
    "fetch": fetch_round,
    "force": force_round,
    "repair": repair_round,
    "pin": pin_round,
    "fetch-pin": fetch_pin_round,
    "gc": gc_round,
    "old-gc": old_gc_round,
}


def _is_told_to_stop() -> bool:
    """Whether standard input was closed."""
    try:
        return os.read(0, 1) == b""
    except BlockingIOError:
        return False


def main(name: str, cache: str, rounds: int) -> None:
    """Runs the rounds; a collector runs until its standard input is closed."""
    racer = Racer(Path(cache))
    is_collector = name.endswith("gc")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    os.read(0, 1)
    os.set_blocking(0, False)
    completed_rounds = 0
    while not _is_told_to_stop() if is_collector else completed_rounds < rounds:
        completed_rounds += 1
        try:
            ROUNDS[name](racer)
        except Exception:  # noqa: BLE001 - any error is what the test looks for
            racer.wrong.append(traceback.format_exc())
            if len(racer.wrong) > 5:
                break
    if not is_collector:
        racer.wait_for_collections()
    sys.stdout.write(
        json.dumps({"name": name, "rounds": completed_rounds, "seen": racer.seen, "wrong": racer.wrong})
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
