"""What the servers of a benchmark cost, and a core each for them and for the client: from /proc, on Linux."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.measure import Contender, Cost

__all__ = ["ServerTimes", "servers_on_core"]

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def _descendants(pid: int) -> set[int]:
    """The processes that this one started, and those that they started."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # It ended meanwhile.
                parents[int(folder.name)] = int(_fields(int(folder.name))[1])
    found: set[int] = set()
    while more := {child for child, parent in parents.items() if parent in {pid, *found}} - found:
        found |= more
    return found


def _fields(pid: int) -> list[str]:
    """The fields of proc(5), stat, from the third on: the second, a name, may have spaces."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _cpu_seconds() -> float:
    """Processor time of all processes that this one started and that still run: its servers, between runs."""
    ticks = 0
    for pid in _descendants(os.getpid()):
        with suppress(OSError):
            fields = _fields(pid)
            ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_A_SECOND


@contextmanager
def servers_on_core(core: int) -> Iterator[None]:
    """Keeps the servers that run now on one core, with the threads and processes that they start."""
    before: dict[int, set[int]] = {}
    for pid in _descendants(os.getpid()):
        for thread in (int(folder.name) for folder in Path(f"/proc/{pid}/task").iterdir()):
            with suppress(OSError):
                before[thread] = os.sched_getaffinity(thread)
                os.sched_setaffinity(thread, {core})
    try:
        yield
    finally:
        for thread, cores in before.items():
            with suppress(OSError):
                os.sched_setaffinity(thread, cores)


@dataclass
class ServerTimes:
    """The processor time of the servers during each run of each contender."""

    _seconds: dict[str, list[float]] = field(default_factory=dict)
    _before_s: float = 0.0

    def around(self, contender: Contender) -> Contender:
        """The same contender, whose runs are counted here."""

        def command(folder: Path) -> Sequence[str]:
            self._before_s = _cpu_seconds()
            return contender.command(folder)

        def check(folder: Path) -> None:
            self._seconds.setdefault(contender.name, []).append(_cpu_seconds() - self._before_s)
            contender.check(folder)

        return replace(contender, command=command, check=check)

    def rows(self, costs: Mapping[str, Sequence[Cost]]) -> list[tuple[str, str, str, str]]:
        """Of each contender the medians: its own processor time, its server's, half of both."""
        rows = []
        for name, own in costs.items():
            client_s = statistics.median(cost.cpu_seconds for cost in own)
            server_s = statistics.median(self._seconds[name][-len(own) :])  # Without the warm-up.
            rows.append((name, f"{client_s:.2f}", f"{server_s:.2f}", f"{(client_s + server_s) / 2:.2f}"))
        return rows
