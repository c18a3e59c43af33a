"""Collections that race with other uses of the cache, in real processes: a model is whole or absent."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.entries import hubcli_entry
from tests.forkserver import Process, open_python

pytestmark = pytest.mark.slow


Racer = Process | subprocess.Popen[str]


def start(names: list[str], cache: Path, rounds: int) -> list[Racer]:
    """The racers, each at the same line until all are there."""
    racers = [_ready(name, cache, rounds) for name in names]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdin is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("!")
        racer.stdin.flush()
    return racers


def _ready(name: str, cache: Path, rounds: int) -> Racer:
    command = ["-m", "tests.cache.racing_processes", name, str(cache), str(rounds)]
    return open_python(command, cwd=ROOT, stdin=subprocess.PIPE)


def finish(process: Racer) -> dict[str, Any]:
    """What the racer found; closing its standard input ends a collector."""
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stderr
    report: dict[str, Any] = json.loads(stdout)
    assert report["wrong"] == []
    return report


@pytest.mark.parametrize(
    "racers",
    [
        ["fetch"],
        ["force"],
        ["fetch", "force"],
        ["fetch", "fetch"],
        ["repair"],
        ["pin"],
        ["fetch-pin"],
        ["pin", "force"],
    ],
    ids=" and ".join,
)
@pytest.mark.parametrize("rounds", [8, pytest.param(300, marks=pytest.mark.soak)])
def test_two_collections_race(rounds: int, racers: list[str], cache: Path) -> None:
    first, second, *others = start(["gc", "gc", *racers], cache, rounds)
    reports = [finish(process) for process in others]
    collected = [finish(process) for process in (first, second)]
    assert all(report["rounds"] == rounds for report in reports)
    assert sum(action["seen"].get("removed", 0) for action in collected) > 0, "it was no race"
    left = set(os.listdir(cache)) - {"CACHEDIR.TAG"}
    assert not [name for name in left if name.endswith((".lock", ".trash", ".tmp")) or ".tmp" in name], left


def test_four_collections_of_one_cache_do_the_work_once(cache: Path) -> None:
    for number in range(300):
        hubcli_entry(cache, f"https://tfhub.dev/google/model-{number}/1")
    racers = start(["gc"] * 4, cache, 20)
    while any(cache.glob("*.hubcli.json")):
        assert all(process.poll() is None for process in racers)
    reports = [finish(process) for process in racers]
    assert sum(report["seen"].get("removed", 0) for report in reports) == 300
    assert set(os.listdir(cache)) == {"CACHEDIR.TAG"}
