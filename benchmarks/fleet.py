"""Simulates machines that fetch the same models at once: from the origin, or by a tier, with a lease or not.

Events on a clock of its own: no network, no sleep. Links are shared equally among their transfers, requests
beyond a rate are refused, some fail, and holders of a lease may die. What comes out is a prediction from the
parameters, whose defaults are assumptions; `python -m benchmarks.fleet --help` names them all.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from benchmarks.events import Link, Process, Rate, Simulation
from benchmarks.measure import print_table

__all__ = ["Outcome", "Parameters", "simulate"]

_MODES = ("origin", "tier", "lease")
_NAMES = {"origin": "origin alone", "tier": "tier without lease", "lease": "tier with lease"}
_MAX_RESTART_S = 300.0
_READS_AT_ONCE = 4
# What a machine asks that finds the model missing, to learn whether the bucket keeps conditions of writes,
# and what a put reads: as tests/tiers/test_fleet.py counts them.
_PROBE_WRITES, _PROBE_READS, _PUT_READS = 4, 3, 4


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


# The machines -----------------------------------------------------------------------------------------------


class _GaveUp(Exception):
    """A request failed more often than it's retried."""


@dataclass
class _Lease:
    holder: int
    renewed_at: float
    has_failed: bool = False


class _World:
    """The origin, the tier and the machines, which follow hubcli's protocol of shared tiers."""

    def __init__(self, parameters: Parameters, mode: str, seed: int) -> None:
        self.parameters, self.mode = parameters, mode
        self.random = random.Random(seed)
        self.outcome = Outcome()
        self.simulation = Simulation()
        self.tier: set[int] = set()
        self.leases: dict[int, _Lease] = {}
        p = parameters
        self.origin = Link(self.simulation, p.origin_mbps, p.machine_mbps)
        self.bucket = Link(self.simulation, p.bucket_mbps, p.machine_mbps)
        self.uploads = Link(self.simulation, p.bucket_mbps, p.upload_mbps)
        self.rates = {
            "origin": Rate(self.simulation, p.origin_requests_per_s),
            "reads": Rate(self.simulation, p.bucket_reads_per_s),
            "writes": Rate(self.simulation, p.bucket_writes_per_s),
        }

    def machine(self, number: int) -> Process:
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

    def _fetch(self, machine: int, model: int) -> Process:
        """Whether the machine has the model; not where it was killed."""
        if self.mode == "origin":
            return (yield from self._download(model))
        yield from self._requests("reads", 2)  # The marker, and what the handle means.
        if model not in self.tier:
            yield from self._requests("writes", _PROBE_WRITES)
            yield from self._requests("reads", _PROBE_READS)
            seen: set[int] = set()
            while self.mode == "lease":
                taken = yield from self._takes_lease(machine, model, seen)
                if model in self.tier or taken:
                    break
                yield self.parameters.poll_s
            if model not in self.tier:
                return (yield from self._fill(model, self.leases.get(model), machine))
        yield from self._read(model)
        return True

    def _takes_lease(self, machine: int, model: int, seen: set[int]) -> Process:
        """Whether the machine is to ask the origin: it has the lease, or one that it waited for failed."""
        yield from self._requests("reads", 1)
        found = self.leases.get(model)
        renewed_at = found and found.renewed_at
        if found is not None:
            if found.has_failed and found.holder in seen:
                return True
            if seen:
                yield from self._requests("reads", 1)  # Is the model there?
            if self.simulation.now - found.renewed_at < self.parameters.expiry_s and not found.has_failed:
                seen.add(found.holder)
                return False
        yield from self._requests("writes", 1)
        there = self.leases.get(model)
        if there is not found or (there and there.renewed_at != renewed_at):
            return False  # Another machine was first, or the holder renewed it.
        self.leases[model] = _Lease(machine, self.simulation.now)
        return True

    def _fill(self, model: int, lease: _Lease | None, machine: int) -> Process:
        """Downloads from the origin and puts into the tier: the manifest and current.json at the end."""
        held = lease if lease is not None and lease.holder == machine and not lease.has_failed else None
        alive = [True]
        if held is not None:
            self.simulation.start(self._renew(held, alive), self.parameters.renewal_s)
        try:
            dies = self.random.random() < self.parameters.holder_deaths
            if not (yield from self._download(model, killed=dies)):
                return False
            yield from self._upload(model)
            self.tier.add(model)
        except _GaveUp:
            if held is not None:
                held.has_failed = True
            raise
        finally:
            alive[0] = False
        if held is not None:
            yield from self._requests("reads", 1)
            yield from self._requests("writes", 1)
            self.leases.pop(model, None)
        return True

    def _upload(self, model: int) -> Process:
        """The archive, unless another machine has put it there, then what names it."""
        yield from self._requests("reads", _PUT_READS)
        if model not in self.tier:
            parts = math.ceil(self.parameters.archive_mb / self.parameters.part_mb)
            # The begin and the end of an upload by parts are requests too.
            for _ in range(parts + 2 if parts > 1 else 1):
                yield from self._request("writes", latency=False)
            yield self.uploads, self.parameters.archive_mb
            yield from self._requests("reads", 1)
        yield from self._requests("writes", 2)
        yield from self._requests("reads", 1)

    def _renew(self, lease: _Lease, alive: list[bool]) -> Process:
        while alive[0]:
            lease.renewed_at = self.simulation.now
            self.outcome.bucket_writes += 1
            yield self.parameters.renewal_s

    def _download(self, model: int, *, killed: bool = False) -> Process:
        """One request to the origin and the bytes; half of them where the machine is killed."""
        yield from self._request("origin")
        size_mb = self.parameters.archive_mb / (2 if killed else 1)
        self.outcome.origin_downloads += 1
        self.outcome.origin_mb += size_mb
        yield self.origin, size_mb
        self.outcome.deaths += killed
        return not killed

    def _read(self, model: int) -> Process:
        """The archive from the tier by its segments; its manifest and its size before it."""
        yield from self._requests("reads", 2)
        left_mb = self.parameters.archive_mb
        while left_mb > 0:
            batch_mb = min(left_mb, _READS_AT_ONCE * self.parameters.segment_mb)
            for _ in range(math.ceil(batch_mb / self.parameters.segment_mb)):
                yield from self._request("reads", latency=False)
            yield self.bucket, batch_mb
            left_mb -= batch_mb

    def _requests(self, kind: str, count: int) -> Process:
        """Some requests, one after another."""
        for _ in range(count):
            yield from self._request(kind)

    def _request(self, kind: str, *, latency: bool = True) -> Process:
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


def simulate(parameters: Parameters, machines: int, mode: str, seed: int = 1) -> Outcome:
    """What happens to the machines by a mode: `origin`, `tier` or `lease`. The same seed gives the same."""
    world = _World(parameters, mode, seed)
    for number in range(machines):
        world.simulation.start(world.machine(number), world.random.uniform(0, parameters.start_s))
    world.simulation.run()
    world.outcome.done_at_s.sort()
    return world.outcome


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a row for each number of machines and each mode."""
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
        for mode in _MODES:
            runs = [simulate(parameters, machines, mode, seed) for seed in range(1, options["seeds"] + 1)]
            runs.sort(key=lambda run: run.last_s)
            rows.append(_row(machines, mode, runs[len(runs) // 2], parameters))
    titles = ("machines", "mode", "origin requests", "downloads", "GB", "bucket reads", "writes", "$")
    print_table((*titles, "restarts", "median s", "last s"), rows)
    return 0


def _row(machines: int, mode: str, outcome: Outcome, parameters: Parameters) -> tuple[str, ...]:
    counts = (
        f"{outcome.origin_requests:,}",
        f"{outcome.origin_downloads:,}",
        f"{outcome.origin_mb / 1000:,.1f}",
        f"{outcome.bucket_reads:,}",
        f"{outcome.bucket_writes:,}",
        f"{outcome.cost(parameters):.2f}",
        f"{outcome.restarts:,}",
    )
    median_s = outcome.done_at_s[len(outcome.done_at_s) // 2]
    return (f"{machines:,}", _NAMES[mode], *counts, f"{median_s:,.0f}", f"{outcome.last_s:,.0f}")


if __name__ == "__main__":
    sys.exit(main())
