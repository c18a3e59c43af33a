"""A fleet: machines as processes, each with a cache of its own, one tier, and an origin that counts."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests import models
from tests.forkserver import Process, start_python
from tests.server import HubServer, Reply

__all__ = ["Fleet", "Run", "make_models", "running_fleet"]


@dataclass
class Run:
    """A command on one machine: its process, what it printed, and when it began and ended."""

    machine: int
    process: Process | subprocess.Popen[bytes]
    output: IO[bytes] = field(repr=False)
    started_at: float
    seconds: float = 0.0

    def wait(self, timeout: float = 250) -> int:
        """The exit status; negative where a signal ended it."""
        status = self.process.wait(timeout)
        self.seconds = self.seconds or time.monotonic() - self.started_at
        return status

    @property
    def text(self) -> str:
        """What it printed so far, errors too."""
        self.output.seek(0)
        return self.output.read().decode()


@dataclass
class Fleet:
    """Machines that have nothing in common but the tier and the origin.

    `tier` is its address with its mode; `files` has the files of each model by its handle.
    """

    folder: Path
    tier: str
    variables: Mapping[str, str]
    origin: HubServer
    files: dict[str, dict[str, bytes]]

    @property
    def handles(self) -> list[str]:
        """The models of the origin, all with a version."""
        return list(self.files)

    def cache(self, machine: int) -> Path:
        """Where the machine keeps its models."""
        return self.folder / f"machine-{machine}"

    def start(self, machine: int, *arguments: str, tier: str | None = None) -> Run:
        """Begins `hubcli ARGUMENTS…` on the machine."""
        environment = {
            **os.environ,
            **self.variables,
            "HUBCLI_CACHE_DIR": str(self.cache(machine)),
            "HUBCLI_TIERS": self.tier if tier is None else tier,
        }
        output = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115 - the run's owner reads it later
        with Path(os.devnull).open("rb") as nothing:
            streams = (nothing.fileno(), output.fileno(), output.fileno())
            process = start_python(["-m", "hubcli", *arguments], streams, env=environment)
        return Run(machine, process, output, time.monotonic())

    def run(self, machine: int, *arguments: str, tier: str | None = None) -> tuple[int, str]:
        """One command to its end: exit status and output."""
        run = self.start(machine, *arguments, tier=tier)
        return run.wait(), run.text

    def start_fetches(self, machines: Sequence[int]) -> list[Run]:
        """Each machine fetches all models, in an order of its own."""
        return [
            self.start(
                machine, "fetch", "--no-sync", *random.Random(machine).sample(self.handles, len(self.files))
            )
            for machine in machines
        ]

    def assert_nothing_wrong(self, machine: int) -> None:
        """Every model that the machine has is right to the byte; some may be missing."""
        for handle, files in self.files.items():
            model = self.cache(machine) / hashlib.sha1(handle.encode()).hexdigest()
            if model.exists():
                assert models.tree_files(model) == files, (machine, handle)

    def assert_all_right(self, machine: int) -> None:
        """The machine has every model, right to the byte."""
        self.assert_nothing_wrong(machine)
        for handle in self.files:
            assert (self.cache(machine) / hashlib.sha1(handle.encode()).hexdigest()).is_dir(), (
                machine,
                handle,
            )

    def downloads(self, handle: str) -> int:
        """How often the origin was asked for the model's archive."""
        path = handle.removeprefix(self.origin.url)
        requests = [request for request in list(self.origin.requests) if request.path == path]
        return sum(request.method == "GET" for request in requests)


def make_models(origin: HubServer, count: int, *, size_bytes: int = 60_000) -> dict[str, dict[str, bytes]]:
    """Models on the origin, each with random bytes of its own; their files by their handles."""
    files: dict[str, dict[str, bytes]] = {}
    for number in range(count):
        content = {**models.example_files(), "assets/weights.bin": os.urandom(size_bytes)}
        reply = Reply(models.pack(content, level=1), etag=f'"model-{number}"')
        files[origin.serve(f"/publisher/model-{number}/1", reply)] = content
    return files


@contextmanager
def running_fleet(
    folder: Path, tier: str, variables: Mapping[str, str], *, model_count: int
) -> Iterator[Fleet]:
    """A fleet with a new origin."""
    folder.mkdir(parents=True, exist_ok=True)
    with HubServer().running() as origin:
        yield Fleet(folder, tier, variables, origin, make_models(origin, model_count))
