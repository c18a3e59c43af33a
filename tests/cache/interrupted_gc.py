"""Collections that are killed at one line after the other, each in a process of its own.

`python -m tests.cache.interrupted_gc CACHE` prints for each line what was found afterwards, as JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from hubcli.cache.gc.plan import Policy
from hubcli.commands.fetch import fetch
from hubcli.commands.gc import gc
from hubcli.config.settings import Settings
from tests import models
from tests.entries import dead_pid, gut_entry, hubcli_entry, lock, tensorflow_hub_entry

WATCHED = ("cache/gc/collect.py", "cache/lock.py", "/shutil.py")
PINNED = "https://tfhub.dev/google/kept/1"
EVERYTHING = Policy(max_size_bytes=0, grace_s=0)


class KillAtLine:
    """Kills this process once a number of lines of the watched files have run."""

    def __init__(self, lines: int) -> None:
        self.lines = lines

    def __call__(self, frame: FrameType, event: str, argument: Any) -> KillAtLine | None:
        if not frame.f_code.co_filename.endswith(WATCHED):
            return None
        if event == "line":
            self.lines -= 1
            if self.lines == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


def fill(cache: Path) -> None:
    """A model to be kept, a real one to go, and something of each kind of leftover."""
    settings = Settings.read({}, cache_dir=cache)
    hubcli_entry(cache, PINNED, pinned=True)
    fetch("example://mul/1", settings)
    hubcli_entry(cache, "https://tfhub.dev/google/old/1")
    tensorflow_hub_entry(cache, "https://tfhub.dev/google/theirs/1")
    gut_entry(hubcli_entry(cache, "https://tfhub.dev/google/gutted/1"))
    lock(cache, "https://tfhub.dev/google/crashed/1", dead_pid())
    (cache / "notes.txt").write_text("mine")


def killed(cache: Path, lines: int) -> bool:
    """Whether a collection in a child was killed; False where it has fewer lines."""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    sys.settrace(KillAtLine(lines))
    gc(Settings.read({}, cache_dir=cache), EVERYTHING)
    sys.settrace(None)
    os._exit(0)


def examine(cache: Path) -> list[str]:
    """What is wrong: a model that is there and not whole, and what the next collection leaves."""
    wrong = []
    model = next(cache.glob("0ed234e54d322935d542637169f159ee254449a0"), None)
    if model is not None and models.tree_files(model) != models.example_files():
        wrong.append("a model is there and not whole")
    settings = Settings.read({}, cache_dir=cache)
    long_ago = time.time() - 7200  # What was being written in the instant of the kill is left for a while.
    for path in cache.glob("*.tmp*"):
        os.utime(path, (long_ago, long_ago), follow_symlinks=False)
    gc(settings, EVERYTHING)
    keys = {path.name.split(".")[0] for path in cache.iterdir() if not path.is_symlink()}
    key = next(path for path in cache.glob("*.hubcli.pin")).name.split(".")[0]
    if keys != {key, "CACHEDIR", "notes"}:
        wrong.append(f"the next collection leaves {sorted(os.listdir(cache))}")
    if (
        sum(path.is_symlink() for path in cache.iterdir()) != 7
        or not (cache / key / "saved_model.pb").exists()
    ):
        wrong.append("the pinned model lost something")
    again = fetch("example://mul/1", settings)
    if models.tree_files(again.path) != models.example_files():
        wrong.append("what is fetched again is not whole")
    return wrong


def run(cache: Path, moments: int) -> list[dict[str, Any]]:
    """One collection for each moment, spread over all that it does."""
    pristine, total = cache.with_name("pristine"), 1 << 14
    fill(pristine)

    def attempt(lines: int) -> bool:
        shutil.rmtree(cache, ignore_errors=True)
        shutil.copytree(pristine, cache, symlinks=True)
        return killed(cache, lines)

    low, high = 1, total
    while low < high:  # How many lines a whole collection has.
        middle = (low + high) // 2
        low, high = (middle + 1, high) if attempt(middle) else (low, middle)
    found = []
    for number in range(moments):
        lines = 1 + number * (low - 2) // (moments - 1)
        was_killed = attempt(lines)
        found.append({"lines": lines, "killed": was_killed, "wrong": examine(cache)})
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(Path(sys.argv[1]), int(sys.argv[2]))))
