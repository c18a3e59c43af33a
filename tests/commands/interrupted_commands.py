"""Commands that are interrupted at one line after the other, each in a process of its own.

`python -m tests.commands.interrupted_commands SIGNAL STEP DEST COMMAND…`, where the command line
writes DEST, prints for each line where the signal came what was found afterwards, as JSON.
The signal comes at every line where STEP is 1, and at every third one, from a random one on, where it is 3.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

# Loaded once, for all the processes that are forked off.
import hubcli.cli.app
import hubcli.cli.finetune_export
import hubcli.cli.progress
import hubcli.cli.views.fetch
import hubcli.commands.export
import hubcli.commands.finetune_export
import hubcli.savedmodel.compare.preservation  # noqa: F401
from hubcli.cli.main import main
from hubcli.finetuning.weights import best_measure
from tests.interrupt_injection import InterruptInjection

best_measure()  # It imports NumPy, where that is.

WATCHED = (
    "exporting/destination.py",
    "exporting/staging.py",
    "commands/export.py",
    "commands/finetune_export.py",
    "finetuning/result.py",
    "finetuning/weights.py",
    "savedmodel/weights/rewrite.py",
    "archive/pack.py",
    "archive/tree.py",
    "durability.py",
)


def run_in_child(arguments: list[str], injection: InterruptInjection) -> int:
    """Wait status of a child that runs the command; 0 once there are fewer lines than the trap waits for."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    # A signal loses nothing that was written, synced or not: tests/commands/test_power_loss.py proves syncs.
    vars(os)["fsync"] = lambda descriptor: None
    sys.settrace(injection)
    try:
        status = main(arguments)
    finally:
        sys.settrace(None)
    os._exit(status)


def digest(place: Path) -> list[Any] | None:
    """What is there, None for nothing."""
    if place.is_file():
        return ["file", place.stat().st_size, hash(place.read_bytes())]
    if not place.exists():
        return None
    return [
        [str(path.relative_to(place)), digest(path)] for path in sorted(place.rglob("*")) if path.is_file()
    ]


def run(number: signal.Signals, step: int, place: Path, arguments: list[str]) -> list[dict[str, Any]]:
    """One run after the other, until one isn't interrupted. Each begins with the same surroundings."""
    room, pristine = place.parent, place.parent.with_name("pristine")
    shutil.copytree(room, pristine)
    found: list[dict[str, Any]] = []
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    stdout = os.dup(1)
    os.dup2(2, 1)
    for line in range(random.randint(1, step), 100_000, step):
        shutil.rmtree(room)
        shutil.copytree(pristine, room)
        before = digest(place)
        status = run_in_child(arguments, InterruptInjection(number, line, WATCHED))
        names = sorted(set(os.listdir(room)) - {place.name})
        after = digest(place)
        state = "absent" if after is None else "as before" if after == before else "new"
        found.append({"line": line, "status": status, "state": state, "content": after, "beside": names})
        if status == 0:
            break
    os.dup2(stdout, 1)
    return found


if __name__ == "__main__":
    _, name, every, target, *words = sys.argv
    sys.stdout.write(json.dumps(run(signal.Signals[name], int(every), Path(target), words)))
