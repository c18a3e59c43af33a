"""However a publication is killed: never two versions, never a version with a file missing or changed."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hubcli
from tests import models
from tests.fake_kaggle_uploads import OWNER, TOKEN, FakeKaggleUploads
from tests.kill_server import CommandResult, KillServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork"),
]

_ROOM = Path(hubcli.__file__).parent / "publishing"
_STEPS = [str(_ROOM / name) for name in ("journal.py", "blobs.py", "kaggle_creation.py", "kaggle_upload.py")]
_SUCCESS, _KILLED, _UNKNOWN = 0, -9, 13
_MAX_RUNS = 6
# The least that the storage takes: pieces of 8 MiB would cost more time than all else of a run.
_PIECE_BYTES = 1 << 18


class Killed:
    """Publications of one model, each under a name of its own, and the process that runs and kills them."""

    def __init__(self, server: KillServer, kaggle: FakeKaggleUploads, model: Path) -> None:
        self.server = server
        self.kaggle = kaggle
        self.model = model
        self.files = models.tree_files(model)
        self.numbers = itertools.count()
        self.kills = self.unknown = 0

    def run(self, name: str, *options: str, **when: Any) -> CommandResult:
        arguments = ("publish", str(self.model), name, "--license", "MIT", "-y", "-q", "--wait", "1s")
        return self.server.run(*arguments, *options, piece_bytes=_PIECE_BYTES, **when)

    def begin(self, *, of_version: bool) -> tuple[str, int]:
        """A new name, with a version of other files where a version is to be added; how many there are."""
        name = f"{OWNER}/mul-{next(self.numbers)}/tensorFlow2/small"
        if of_version:
            self.kaggle.add(name, {"saved_model.pb": b"the one before"}, model={"is_private": True})
        return name, int(of_version)

    def require_no_more_than_one(self, name: str, before: int) -> None:
        versions = self.kaggle.published(name)
        assert len(versions) <= before + 1
        assert all(version.files == self.files for version in versions[before:])
        assert self.kaggle.violations == []

    def complete(self, name: str, before: int) -> None:
        """Runs it again to its end; where the outcome is unknown, as a person who has looked."""
        for _ in range(_MAX_RUNS):
            result = self.run(name)
            self.require_no_more_than_one(name, before)
            if result.status == _SUCCESS:
                break
            assert result.status == _UNKNOWN, result.output
            assert "Check https://www.kaggle.com/models/" in result.output
            # What was created is always found: unknown is only what never arrived.
            assert len(self.kaggle.published(name)) == before
            self.unknown += 1
            assert self.run(name, "--restart").status == _SUCCESS
        assert len(self.kaggle.published(name)) == before + 1
        self.require_no_more_than_one(name, before)
        assert self.run(name).status == _SUCCESS  # Another run publishes nothing.
        assert len(self.kaggle.published(name)) == before + 1

    def kill(self, *, of_version: bool, **when: Any) -> bool:
        """Kills a run then, and completes it; whether it lived long enough to be killed."""
        name, before = self.begin(of_version=of_version)
        result = self.run(name, **when)
        assert result.status in (_SUCCESS, _KILLED), result.output
        self.require_no_more_than_one(name, before)
        self.complete(name, before)
        self.kills += result.status == _KILLED
        return result.status == _KILLED


@pytest.fixture
def killed(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Killed]:
    large = random.Random(5).randbytes(_PIECE_BYTES + 9000)  # Of two pieces.
    files = {**models.example_files(), "assets/large.bin": large}
    model = models.write_tree(tmp_path / "model", files)
    with FakeKaggleUploads().running() as kaggle:
        assert isinstance(kaggle, FakeKaggleUploads)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        monkeypatch.setenv("HUBCLI_KAGGLE_ENDPOINT", kaggle.url)
        monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
        monkeypatch.setenv("HUBCLI_NO_SYNC", "1")
        with KillServer.running(cache) as server:
            yield Killed(server, kaggle, model)


def kill_at_lines(killed: Killed, first: int, step: int) -> None:
    """Kills at every `step`-th line of the room until a run lives to its end."""
    for of_version in (False, True):
        line = first
        while killed.kill(of_version=of_version, kill_at_line=line, watched=_STEPS):
            line += step


def test_a_publication_that_is_killed_at_a_step_is_completed(killed: Killed) -> None:
    kill_at_lines(killed, 60, 120)
    assert killed.kills >= 4


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_publication_that_is_killed_at_any_step_is_completed(killed: Killed) -> None:
    kill_at_lines(killed, 1, 7)
    assert killed.kills > 100


def kill_at_random(killed: Killed, count: int) -> None:
    """That many kills; runs that ended before theirs are completed, too, and not counted."""
    chance = random.Random(int.from_bytes(os.urandom(4), "big"))
    for _ in range(2):  # The first one loads what the system hadn't read yet.
        name, _ = killed.begin(of_version=False)
        seconds = killed.run(name).seconds
    for number in range(10 * count):
        killed.kaggle.processing_reads = chance.choice((0, 0, 3))
        if not killed.kill(of_version=bool(number % 2), kill_after_s=chance.uniform(0.1, 0.9) * seconds):
            seconds *= 0.7  # The machine is less busy than when the time was taken.
        if killed.kills == count:
            return
    raise AssertionError(f"only {killed.kills} of {10 * count} runs lived long enough")


def test_a_publication_that_is_killed_at_random_is_completed(killed: Killed) -> None:
    kill_at_random(killed, 6)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_publication_that_is_killed_at_100_random_moments_is_completed(killed: Killed) -> None:
    kill_at_random(killed, 100)


@pytest.mark.parametrize("step", ["blob", "put", "model", "variation", "version"])
def test_a_run_that_is_killed_after_a_lost_answer_is_completed(step: str, killed: Killed) -> None:
    """Of the two faults at once neither makes a second version."""
    killed.kaggle.faults[step] = ["lose-answer"]
    killed.kill(of_version=step == "version", kill_at_line=700, watched=_STEPS)
