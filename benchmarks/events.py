"""Discrete events: a clock without sleep, links that transfers share, and limits of requests.

What a simulation of many machines is made of, without what they do: benchmarks/fleet.py.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator
from typing import Any

__all__ = ["Link", "Process", "Rate", "Simulation"]

# A process gives how long it waits, or which link carries how many megabytes, and goes on after that.
Process = Generator["float | tuple[Link, float]", None, Any]


class Simulation:
    """Runs processes in order of time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Any]] = []
        self._number = 0

    def at(self, time: float, action: Any) -> None:
        """Calls the action at the time."""
        self._number += 1
        heapq.heappush(self._events, (time, self._number, action))

    def start(self, process: Process, delay: float = 0.0) -> None:
        """Begins a process, or goes on with it, after the delay."""
        self.at(self.now + delay, lambda: self._go_on(process))

    def _go_on(self, process: Process) -> None:
        try:
            step = next(process)
        except StopIteration:
            return
        if isinstance(step, tuple):
            link, size_mb = step
            link.carry(size_mb, lambda: self._go_on(process))
        else:
            self.start(process, step)

    def run(self) -> None:
        """Runs all that was started to its end."""
        while self._events:
            self.now, _, action = heapq.heappop(self._events)
            action()


class Link:
    """A link whose transfers share it equally, none faster than `each_mbps`.

    All have the same rate at any time, so that one sum of it, `_served_mb`, tells for each when it ends.
    """

    def __init__(self, simulation: Simulation, total_mbps: float, each_mbps: float) -> None:
        self._simulation = simulation
        self._total, self._each = total_mbps, each_mbps
        self._served_mb = self._updated_at = 0.0
        self._transfers: list[tuple[float, int, Any]] = []
        self._version = 0
        self._number = 0

    def carry(self, size_mb: float, then: Any) -> None:
        """Begins a transfer; `then` is called at its end."""
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


class Rate:
    """A token bucket that holds what one second allows."""

    def __init__(self, simulation: Simulation, per_s: float) -> None:
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
