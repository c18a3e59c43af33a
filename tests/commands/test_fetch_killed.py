"""However a fetch is killed: its model is whole or absent, and the next fetch does what is left to do."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hubcli.cache.layout import CacheName, EntryPaths, NameKind
from hubcli.commands.verify import verify
from hubcli.config.settings import Settings
from hubcli.providers.handle import Handle
from tests import models
from tests.kill_server import CommandResult, KillServer
from tests.server import HubServer, Reply

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")

# Of the same sizes: what tells them apart is their bytes alone.
OLD = {**models.example_files(), "assets.extra/which": b"old"}
NEW = {**OLD, "assets.extra/which": b"new"}
LARGE = {**OLD, "assets.extra/large": models.large_content()}
LARGE_ARCHIVE = models.pack(LARGE, level=0)
KILLED = -9
EXAMPLE = "example://mul/1"


@pytest.fixture
def kill_server(cache: Path) -> Iterator[KillServer]:
    with KillServer.running(cache) as running:
        yield running


def paths_of(handle: str, cache: Path) -> EntryPaths:
    return EntryPaths(cache, Handle.parse(handle).cache_key)


def files_at(model: Path) -> dict[str, bytes] | None:
    """What `hub.load` would find there."""
    return models.tree_files(model) if model.is_dir() else None


def kinds(cache: Path) -> set[NameKind]:
    """Which kinds of names are in the cache; no name that isn't understood."""
    return {CacheName.parse(path.name).kind for path in cache.iterdir()} if cache.is_dir() else set()


def require_done(result: CommandResult) -> None:
    assert result.status == 0, result.output


class Moments:
    """Random ones over all the time that a command takes; half of them while a model is published, and after.

    That part is so short that few others would come there.
    """

    UNPACKING = "*.tmp/saved_model.pb"

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._spans_s: dict[str | None, float] = {None: 0.2, self.UNPACKING: 0.05}
        self._since: str | None = None

    def next(self) -> dict[str, Any]:
        """When the next process is to be killed."""
        self._since = self.UNPACKING if self._since is None else None
        return {
            "since": self._since,
            "kill_after_s": self._chance.uniform(0, 1.1 * self._spans_s[self._since]),
        }

    def was_killed(self, result: CommandResult) -> bool:
        """Whether the process was killed; one that was faster tells how long it takes."""
        if result.status != KILLED:
            require_done(result)
            self._spans_s[self._since] = 0.8 * self._spans_s[self._since] + 0.2 * result.seconds
        return result.status == KILLED


# Random moments ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [10, pytest.param(200, marks=pytest.mark.soak)])
@pytest.mark.parametrize("forced", [False, True], ids=["nothing there", "--force"])
def test_kills_at_random_moments_leave_a_model_whole_or_absent(
    forced: bool, count: int, kill_server: KillServer, server: HubServer, cache: Path, settings: Settings
) -> None:
    url, moments = server.serve("/maker/model/1", Reply(models.pack(OLD), etag='"old"')), Moments(6)
    pristine, options = cache.with_name("pristine"), ["--force"] if forced else []
    if forced:
        require_done(kill_server.run("fetch", url, "-q"))
        shutil.copytree(cache, pristine, symlinks=True)
        server.serve("/maker/model/1", Reply(models.pack(NEW), etag='"new"'))
    new = NEW if forced else OLD
    found: list[dict[str, bytes] | None] = []
    while len(found) < count:
        shutil.rmtree(cache, ignore_errors=True)
        if forced:
            shutil.copytree(pristine, cache, symlinks=True)
        if not moments.was_killed(kill_server.run("fetch", url, "-q", *options, **moments.next())):
            continue
        found.append(files_at(paths_of(url, cache).model))
        assert found[-1] in ([OLD, NEW] if forced else [None, OLD])
        require_done(kill_server.run("fetch", url, "-q"))
        # What was in its place stays, or what was ready to take it comes.
        assert files_at(paths_of(url, cache).model) in (new, found[-1] or new)
        assert not verify(url, settings).faults
    assert found.count(new) >= count // 40
    assert found.count(OLD if forced else None) >= count // 40


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [12, pytest.param(100, marks=pytest.mark.soak)])
def test_a_killed_download_in_windows_goes_on_where_it_was(
    count: int, kill_server: KillServer, server: HubServer, cache: Path
) -> None:
    url, moments = server.serve("/maker/model/1", Reply(LARGE_ARCHIVE, etag='"one"')), Moments(7)
    spool = paths_of(url, cache).spool
    resumed = kills = 0
    # On a busy machine most kills come before anything is noted in the journal: then there are more of them.
    while kills < count or (resumed < count // 10 and kills < 8 * count):
        kills += 1
        shutil.rmtree(cache, ignore_errors=True)
        killed = moments.was_killed(kill_server.run("fetch", url, "-q", **moments.next()))
        found = files_at(paths_of(url, cache).model)
        assert found in (None, LARGE)
        server.settle()
        there, before = journaled(spool), len(server.requests)
        again = kill_server.run("fetch", url)
        require_done(again)
        assert files_at(paths_of(url, cache).model) == LARGE
        # One that was killed between the move into place and the end of its journal has nothing to resume.
        if killed and there and found is None:
            resumed += 1
            assert "Resuming" in again.output
            assert not overlap(there, ranges(server, before))
        # Who finds the model whole asks for no lock, and leaves one of the killed to gc.
        assert not {NameKind.SPOOL, NameKind.LOCK, NameKind.STAGING} & kinds(cache) or found is not None
    assert resumed >= count // 10


def journaled(spool: Path) -> list[tuple[int, int]]:
    """The stretches that the journal tells, up to, not with, their ends."""
    journal = spool.with_name(f"{spool.name}.journal")
    lines = journal.read_text().splitlines()[1:] if journal.exists() else []
    return [(int(start), int(end)) for start, end in (line.split() for line in lines)]


def ranges(server: HubServer, begin: int) -> list[tuple[int, int]]:
    """The requests behind the first ones."""
    matches = (
        re.match(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        for request in server.requests[begin:]
    )
    return [(int(match[1]), int(match[2]) + 1) for match in matches if match is not None]


def overlap(some: list[tuple[int, int]], others: list[tuple[int, int]]) -> bool:
    return any(start < end and first < last for first, end in some for start, last in others)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [8, pytest.param(100, marks=pytest.mark.soak)])
def test_a_killed_list_leaves_each_model_whole_or_absent_and_the_lock_file_too(
    count: int, kill_server: KillServer, server: HubServer, cache: Path, tmp_path: Path
) -> None:
    packed, moments = models.pack(OLD), Moments(8)
    urls = [server.serve(f"/maker/model{number}/1", packed) for number in range(6)]
    models_file, lock = tmp_path / "models.txt", tmp_path / "models.lock"
    models_file.write_text("\n".join(urls))
    command = ("fetch", "-q", "-r", str(models_file), "--jobs", "3", "--lock", str(lock))
    for _ in range(count):
        shutil.rmtree(cache, ignore_errors=True)
        lock.unlink(missing_ok=True)
        moments.was_killed(kill_server.run(*command, **moments.next()))
        assert all(files_at(paths_of(url, cache).model) in (None, OLD) for url in urls)
        assert not lock.exists() or len(json.loads(lock.read_text())["models"]) == 6
        require_done(kill_server.run(*command))
        assert all(files_at(paths_of(url, cache).model) == OLD for url in urls)
        assert len(json.loads(lock.read_text())["models"]) == 6


# Each line ---------------------------------------------------------------------------------------


AS_ON_NFS = ("no exchange", "no hard links")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("forced", "fault_points"),
    [
        pytest.param(False, (), id="nothing there"),
        pytest.param(True, AS_ON_NFS, id="--force as on NFS"),
        pytest.param(True, (), id="--force", marks=pytest.mark.soak),
        pytest.param(False, AS_ON_NFS, id="nothing there as on NFS", marks=pytest.mark.soak),
    ],
)
def test_a_kill_at_each_line_of_publishing(
    forced: bool,
    fault_points: tuple[str, ...],
    kill_server: KillServer,
    cache: Path,
    settings: Settings,
    tmp_path: Path,
) -> None:
    pristine, packed = cache.with_name("pristine"), tmp_path / "model.tar.gz"
    command = ("fetch", EXAMPLE, "-q", "--from", str(packed))
    if forced:
        packed.write_bytes(models.pack(OLD))
        require_done(kill_server.run(*command))
        shutil.copytree(cache, pristine, symlinks=True)
    packed.write_bytes(models.pack(NEW))
    model, seen = paths_of(EXAMPLE, cache).model, []
    # The lock is made the same way in every case.
    watched = ("cache/store.py", "durability.py" if forced else "cache/lock.py")
    for line in range(1, 10_000):
        shutil.rmtree(cache, ignore_errors=True)
        if forced:
            shutil.copytree(pristine, cache, symlinks=True)
        options = ["--force"] if forced else []
        result = kill_server.run(
            *command, *options, kill_at_line=line, watched=watched, fault_points=fault_points
        )
        found = files_at(model)
        seen.append(found)
        # Where two directories can't change places at once, there is a moment with neither in its place.
        assert found in (NEW, *([OLD] if forced else []), *([None] if fault_points or not forced else [])), (
            line
        )
        if result.status != KILLED:
            require_done(result)
            break
        if forced and found is None:
            require_done(kill_server.run("fetch", EXAMPLE, "-q", "--offline", fault_points=fault_points))
            assert files_at(model) == NEW
        require_done(kill_server.run(*command, fault_points=fault_points))
        assert files_at(model) in (NEW, found or NEW), line
        assert not verify(EXAMPLE, settings).faults
        assert not {NameKind.STAGING, NameKind.LOCK} & kinds(cache) or found is not None, line
    assert line > 60
    assert NEW in seen
    assert (OLD if forced else None) in seen
