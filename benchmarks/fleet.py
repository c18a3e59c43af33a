"""Simulates machines that fetch the same models at once: from the origin, or by a tier, with a lease or not.

Events on a clock of its own: no network, no sleep. Links are shared equally among their transfers, requests
beyond a rate are refused, some fail, and holders of a lease may die. What comes out is a prediction from the
parameters, whose defaults are assumptions; `python -m benchmarks.fleet --help` names them all.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from benchmarks.measure import print_table

__all__ = ["Outcome", "Parameters", "simulate"]

_WAYS = ("origin", "tier", "lease")
_NAMES = {"origin": "origin alone", "tier": "tier without lease", "lease": "tier with lease"}
_MAX_RESTART_S = 300.0
_READS_AT_ONCE = 4


@dataclass(frozen=True)
class Parameters:
    """What the world is like; times in seconds, rates in megabytes a second."""

    models: int = field(default=1, metadata={"help": "models that each machine fetches, one after another"})
    archive_mb: float = field(default=400.0, metadata={"help": "size of each archive"})
    start_s: float = field(default=10.0, metadata={"help": "machines start at random times within this"})
    machine_mbps: float = field(default=170.0, metadata={"help": "what a machine downloads and unpacks"})
    origin_latency_s: float = field(default=0.15, metadata={"help": "time to an answer of the origin"})
    origin_mbps: float = field(default=1250.0, metadata={"help": "what the origin sends to all machines"})
    origin_requests_per_s: float = field(default=20.0, metadata={"help": "beyond, the origin answers 429"})
    origin_failures: float = field(default=0.005, metadata={"help": "share of its requests that fail"})
    bucket_latency_s: float = field(default=0.03, metadata={"help": "time to an answer of the bucket"})
    bucket_mbps: float = field(default=12500.0, metadata={"help": "what the bucket sends to all machines"})
    bucket_reads_per_s: float = field(default=5500.0, metadata={"help": "beyond, it answers 503 to reads"})
    bucket_writes_per_s: float = field(default=3500.0, metadata={"help": "beyond, it answers 503 to writes"})
    bucket_failures: float = field(default=0.0005, metadata={"help": "share of its requests that fail"})
    segment_mb: float = field(default=8.0, metadata={"help": "size of a read of a part of an archive"})
    part_mb: float = field(default=16.0, metadata={"help": "size of a part of an upload"})
    upload_mbps: float = field(default=300.0, metadata={"help": "what a machine uploads"})
    expiry_s: float = field(
        default=30.0, metadata={"help": "after this long without renewal a lease expires"}
    )
    renewal_s: float = field(default=10.0, metadata={"help": "time between renewals of a lease"})
    poll_s: float = field(default=1.0, metadata={"help": "time between looks of a waiting machine"})
    holder_deaths: float = field(default=0.01, metadata={"help": "share of holders killed while they fetch"})
    retries: int = field(default=8, metadata={"help": "retries of a request; then the machine fails"})
    restart_s: float = field(
        default=10.0, metadata={"help": "a failed machine starts again, then 2, 4, … times this"}
    )
    read_price: float = field(default=0.0004, metadata={"help": "dollars for 1,000 reads of the bucket"})
    write_price: float = field(default=0.005, metadata={"help": "dollars for 1,000 writes and listings"})


@dataclass
class Outcome:
    """What happened: counts, and when machines were done, in order."""

    origin_requests: int = 0
    origin_downloads: int = 0
    origin_mb: float = 0.0
    bucket_reads: int = 0
    bucket_writes: int = 0
    restarts: int = 0
    deaths: int = 0
    done_at_s: list[float] = field(default_factory=list)

    @property
    def last_s(self) -> float:
        """When the last machine had all its models."""
        return max(self.done_at_s)

    def cost(self, parameters: Parameters) -> float:
        """Dollars for the requests to the bucket."""
        reads, writes = self.bucket_reads * parameters.read_price, self.bucket_writes * parameters.write_price
        return (reads + writes) / 1000


# The clock, links and rates ---------------------------------------------------------------------------------

# A process gives how long it waits, or which link carries how many megabytes, and goes on after that.
_Process = Generator["float | tuple[_Link, float]", None, Any]


class _Simulation:
    """Runs processes in order of time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Any]] = []
        self._number = 0

    def at(self, time: float, action: Any) -> None:
        self._number += 1
        heapq.heappush(self._events, (time, self._number, action))

    def start(self, process: _Process, delay: float = 0.0) -> None:
        self.at(self.now + delay, lambda: self._go_on(process))

    def _go_on(self, process: _Process) -> None:
        try:
            wish = next(process)
        except StopIteration:
            return
        if isinstance(wish, tuple):
            link, size_mb = wish
            link.carry(size_mb, lambda: self._go_on(process))
        else:
            self.start(process, wish)

    def run(self) -> None:
        while self._events:
            self.now, _, action = heapq.heappop(self._events)
            action()


class _Link:
    """A link whose transfers share it equally, none faster than `each_mbps`.

    All have the same rate at any time, so that one sum of it, `_served_mb`, tells for each when it ends.
    """

    def __init__(self, simulation: _Simulation, total_mbps: float, each_mbps: float) -> None:
        self._simulation = simulation
        self._total, self._each = total_mbps, each_mbps
        self._served_mb = self._updated_at = 0.0
        self._transfers: list[tuple[float, int, Any]] = []
        self._version = 0
        self._number = 0

    def carry(self, size_mb: float, then: Any) -> None:
        self._update()
        self._number += 1
        heapq.heappush(self._transfers, (self._served_mb + size_mb, self._number, then))
        self._plan()

    def _rate(self) -> float:
        return min(self._each, self._total / len(self._transfers))

    def _update(self) -> None:
        if self._transfers:
            self._served_mb += self._rate() * (self._simulation.now - self._updated_at)
        self._updated_at = self._simulation.now

    def _plan(self) -> None:
        """The next end, unless the number of transfers changes before it."""
        self._version += 1
        if self._transfers:
            wait = max(0.0, self._transfers[0][0] - self._served_mb) / self._rate()
            version = self._version
            self._simulation.at(self._simulation.now + wait, lambda: self._end(version))

    def _end(self, version: int) -> None:
        if version != self._version:
            return
        self._update()
        ended = []
        while self._transfers and self._transfers[0][0] <= self._served_mb + 1e-6:
            ended.append(heapq.heappop(self._transfers)[2])
        self._plan()
        for then in ended:
            then()


class _Rate:
    """A token bucket that holds what one second allows."""

    def __init__(self, simulation: _Simulation, per_s: float) -> None:
        self._simulation, self._per_s = simulation, per_s
        self._tokens, self._updated_at = per_s, 0.0

    def takes(self) -> bool:
        """Whether one more request is within the rate."""
        now = self._simulation.now
        self._tokens = min(self._per_s, self._tokens + (now - self._updated_at) * self._per_s)
        self._updated_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


# The machines -----------------------------------------------------------------------------------------------


class _GaveUp(Exception):
    """A request failed more often than it's retried."""


@dataclass
class _Lease:
    holder: int
    renewed_at: float


class _World:
    """The origin, the tier and the machines, which follow hubcli's protocol of shared tiers."""

    def __init__(self, parameters: Parameters, way: str, seed: int) -> None:
        self.parameters, self.way = parameters, way
        self.random = random.Random(seed)
        self.outcome = Outcome()
        self.simulation = _Simulation()
        self.tier: set[int] = set()
        self.leases: dict[int, _Lease] = {}
        p = parameters
        self.origin = _Link(self.simulation, p.origin_mbps, p.machine_mbps)
        self.bucket = _Link(self.simulation, p.bucket_mbps, p.machine_mbps)
        self.uploads = _Link(self.simulation, p.bucket_mbps, p.upload_mbps)
        self.rates = {
            "origin": _Rate(self.simulation, p.origin_requests_per_s),
            "reads": _Rate(self.simulation, p.bucket_reads_per_s),
            "writes": _Rate(self.simulation, p.bucket_writes_per_s),
        }

    def machine(self, number: int) -> _Process:
        """Fetches every model, from the start again after a failure or a kill."""
        restart_s = self.parameters.restart_s
        model = 0
        while model < self.parameters.models:
            try:
                has_it = yield from self._fetch(number, model)
            except _GaveUp:
                has_it = False
            if has_it:
                model += 1
            else:
                self.outcome.restarts += 1
                yield restart_s * self.random.uniform(0.5, 1.5)
                restart_s = min(2 * restart_s, _MAX_RESTART_S)
        self.outcome.done_at_s.append(self.simulation.now)

    def _fetch(self, machine: int, model: int) -> _Process:
        """Whether the machine has the model; not where it was killed."""
        if self.way == "origin":
            return (yield from self._download(model))
        while True:
            yield from self._request("reads")  # current.json
            if model in self.tier:
                yield from self._read(model)
                return True
            if self.way == "tier" or (yield from self._takes_lease(machine, model)):
                return (yield from self._fill(machine, model))
            yield self.parameters.poll_s

    def _takes_lease(self, machine: int, model: int) -> _Process:
        """Creates the lease, or takes over one that has expired; a race for it has one winner."""
        yield from self._request("reads")
        seen = self.leases.get(model)
        seen_renewal = seen and seen.renewed_at
        if seen is not None and self.simulation.now - seen.renewed_at < self.parameters.expiry_s:
            return False
        yield from self._request("writes")
        now_there = self.leases.get(model)
        if now_there is not seen or (now_there and now_there.renewed_at != seen_renewal):
            return False  # Another machine was first, or the holder renewed it.
        self.leases[model] = _Lease(machine, self.simulation.now)
        return True

    def _fill(self, machine: int, model: int) -> _Process:
        """Downloads from the origin and puts into the tier: manifest and current.json at the end."""
        lease = self.leases.get(model) if self.way == "lease" else None
        alive = [True]
        if lease is not None:
            self.simulation.start(self._renew(lease, alive), self.parameters.renewal_s)
        try:
            dies = self.random.random() < self.parameters.holder_deaths
            if not (yield from self._download(model, killed=dies)):
                return False
            yield from self._request("reads")  # Is the blob there already?
            if model not in self.tier:
                # The upload's begin and end are requests too.
                for _ in range(2 + math.ceil(self.parameters.archive_mb / self.parameters.part_mb)):
                    yield from self._request("writes", latency=False)
                yield self.uploads, self.parameters.archive_mb
            yield from self._request("writes")
            yield from self._request("writes")
            self.tier.add(model)
        finally:
            alive[0] = False
        if lease is not None:
            yield from self._request("writes")
            self.leases.pop(model, None)
        return True

    def _renew(self, lease: _Lease, alive: list[bool]) -> _Process:
        while alive[0]:
            lease.renewed_at = self.simulation.now
            self.outcome.bucket_writes += 1
            yield self.parameters.renewal_s

    def _download(self, model: int, *, killed: bool = False) -> _Process:
        """One request to the origin and the bytes; half of them where the machine is killed."""
        yield from self._request("origin")
        size_mb = self.parameters.archive_mb / (2 if killed else 1)
        self.outcome.origin_downloads += 1
        self.outcome.origin_mb += size_mb
        yield self.origin, size_mb
        self.outcome.deaths += killed
        return not killed

    def _read(self, model: int) -> _Process:
        """The archive from the tier by its segments, and the manifest before it."""
        yield from self._request("reads")
        left_mb = self.parameters.archive_mb
        while left_mb > 0:
            batch_mb = min(left_mb, _READS_AT_ONCE * self.parameters.segment_mb)
            for _ in range(math.ceil(batch_mb / self.parameters.segment_mb)):
                yield from self._request("reads", latency=False)
            yield self.bucket, batch_mb
            left_mb -= batch_mb

    def _request(self, kind: str, *, latency: bool = True) -> _Process:
        """One request with its retries. Those that run beside a transfer cost no time of their own."""
        p, outcome = self.parameters, self.outcome
        is_origin = kind == "origin"
        latency_s = p.origin_latency_s if is_origin else p.bucket_latency_s
        for attempt in range(p.retries + 1):
            if is_origin:
                outcome.origin_requests += 1
            elif kind == "reads":
                outcome.bucket_reads += 1
            else:
                outcome.bucket_writes += 1
            taken = self.rates[kind].takes()
            if latency:
                yield latency_s * self.random.uniform(0.5, 1.5)
            failures = p.origin_failures if is_origin else p.bucket_failures
            if taken and self.random.random() >= failures:
                return
            yield min(0.5 * 2**attempt, 30.0) * self.random.uniform(0.5, 1.0)
        raise _GaveUp


def simulate(parameters: Parameters, machines: int, way: str, seed: int = 1) -> Outcome:
    """What happens to the machines by a way: `origin`, `tier` or `lease`. The same seed gives the same."""
    world = _World(parameters, way, seed)
    for number in range(machines):
        world.simulation.start(world.machine(number), world.random.uniform(0, parameters.start_s))
    world.simulation.run()
    world.outcome.done_at_s.sort()
    return world.outcome


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a row for each number of machines and each way."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--machines", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row: the medians are shown")
    for item in fields(Parameters):
        name = f"--{item.name.replace('_', '-')}"
        kind = int if isinstance(item.default, int) else float
        parser.add_argument(
            name, type=kind, default=item.default, help=f"{item.metadata['help']} (default: %(default)s)"
        )
    options = vars(parser.parse_args(arguments))
    parameters = Parameters(**{item.name: options[item.name] for item in fields(Parameters)})
    rows = []
    for machines in options["machines"]:
        for way in _WAYS:
            runs = [simulate(parameters, machines, way, seed) for seed in range(1, options["seeds"] + 1)]
            runs.sort(key=lambda run: run.last_s)
            rows.append(_row(machines, way, runs[len(runs) // 2], parameters))
    titles = ("machines", "way", "origin requests", "downloads", "GB", "bucket reads", "writes", "$")
    print_table((*titles, "restarts", "median s", "last s"), rows)
    return 0


def _row(machines: int, way: str, outcome: Outcome, parameters: Parameters) -> tuple[str, ...]:
    counts = (
        f"{outcome.origin_requests:,}",
        f"{outcome.origin_downloads:,}",
        f"{outcome.origin_mb / 1000:,.1f}",
        f"{outcome.bucket_reads:,}",
        f"{outcome.bucket_writes:,}",
        f"{outcome.cost(parameters):.2f}",
        f"{outcome.restarts:,}",
    )
    done = outcome.done_at_s
    return (f"{machines:,}", _NAMES[way], *counts, f"{done[len(done) // 2]:,.0f}", f"{outcome.last_s:,.0f}")


if __name__ == "__main__":
    sys.exit(main())
