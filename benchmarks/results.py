"""Results of a run of all rows: what each cost, as JSON; and two such runs held against each other.

`python -m benchmarks.results OLD.json NEW.json` prints each row's change, and exits with 1 where one takes
more than 10 % longer, or 10 % more memory. A row with a peer is compared by its share of the peer, measured
in the same run: a machine that is slower today is slower for both. `--by cpu` compares processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks.measure import Cost, print_table

__all__ = ["Measurement", "Run"]

_SCHEMA = 1
_WORSE = 1.1


@dataclass(frozen=True, slots=True)
class Measurement:
    """One row: medians of whole processes in seconds, memory as the largest peak in bytes.

    `share` is its median by that of the `peer`, 0.0 without one. `skipped` says why nothing was measured.
    The `bound` is by its kind: the largest `share`, the least `speed` (how many times as fast as the peer),
    `seconds` or `megabytes` at most; with `by_cpu` of processor time, which other work disturbs less.
    """

    group: str
    name: str
    seconds: float = 0.0
    least_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    peer: str = ""
    share: float = 0.0
    cpu_share: float = 0.0
    bound: float | None = None
    bound_kind: str = "share"
    skipped: str = ""
    by_cpu: bool = False

    @classmethod
    def of(cls, group: str, name: str, costs: Sequence[Cost], peer: str = "", peers: Sequence[Cost] = (),
           **bounds: Any) -> Measurement:  # fmt: skip
        """The row of these runs, and those of its peer in the same rounds."""
        seconds, cpu = _median(costs, "seconds"), _median(costs, "cpu_seconds")
        return cls(
            group,
            name,
            seconds=seconds,
            least_seconds=min(cost.seconds for cost in costs),
            cpu_seconds=cpu,
            peak_bytes=max(cost.peak_rss_bytes for cost in costs),
            peer=peer,
            share=seconds / _median(peers, "seconds") if peers else 0.0,
            cpu_share=cpu / max(_median(peers, "cpu_seconds"), 1e-6) if peers else 0.0,
            **bounds,
        )

    @property
    def value(self) -> float:
        """What the bound speaks of."""
        share = self.cpu_share if self.by_cpu else self.share
        if self.bound_kind == "speed":
            return 1 / share
        if self.bound_kind == "megabytes":
            return self.peak_bytes / 1e6
        if self.bound_kind == "seconds":
            return self.cpu_seconds if self.by_cpu else self.seconds
        return share

    @property
    def is_met(self) -> bool | None:
        """Whether the bound is met; None without one, or without a measurement."""
        if self.bound is None or self.skipped:
            return None
        return self.value >= self.bound if self.bound_kind == "speed" else self.value <= self.bound

    @property
    def bound_text(self) -> str:
        """The bound as a person reads it; "" without one."""
        if self.bound is None:
            return ""
        return {
            "share": f"≤ {self.bound:g} × {self.peer}",
            "speed": f"≥ {self.bound:g} times as fast as {self.peer}",
            "seconds": f"≤ {self.bound:g} s",
            "megabytes": f"≤ {self.bound:g} MB",
        }[self.bound_kind]

    def cells(self) -> tuple[str, ...]:
        """The row of a table."""
        if self.skipped:
            return (self.name, "", "", "", "", self.bound_text, f"skipped: {self.skipped}")
        verdict = {True: "met", False: "NOT MET", None: ""}[self.is_met]
        share = f"{self.cpu_share if self.by_cpu else self.share:.2f}" if self.peer else ""
        if self.bound_kind == "speed":
            share = f"1/{self.value:.1f}"
        numbers = f"{self.seconds:.3f}", f"{self.cpu_seconds:.3f}", f"{self.peak_bytes / 1e6:.0f}"
        return (self.name, *numbers, share, self.bound_text, verdict)


@dataclass(frozen=True, slots=True)
class Run:
    """All rows of one run, and the machine that it ran on, with its load of the last 15 minutes."""

    rows: tuple[Measurement, ...]
    made_at: str
    machine: str
    cores: int
    load: float

    @classmethod
    def of(cls, rows: Sequence[Measurement]) -> Run:
        """The rows, measured here and now."""
        machine = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
        made_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return cls(tuple(rows), made_at, machine, len(os.sched_getaffinity(0)), round(os.getloadavg()[2], 1))

    @classmethod
    def read(cls, path: Path) -> Run:
        """The run in the file; exits where it holds none."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document.pop("schema") != _SCHEMA:
                sys.exit(f"{path} has another schema than {_SCHEMA}")
            rows = tuple(Measurement(**row) for row in document.pop("rows"))
            return cls(rows, **document)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            sys.exit(f"{path} holds no run of benchmarks: {error}")

    def write(self, path: Path) -> None:
        """Writes the one JSON document of the run."""
        document = {"schema": _SCHEMA, **asdict(self)}
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")

    def print(self) -> None:
        """Prints a table for each group of rows."""
        for group in dict.fromkeys(row.group for row in self.rows):
            rows = [row.cells() for row in self.rows if row.group == group]
            titles = (group, "median s", "CPU s", "peak MB", "of the peer", "bound", "verdict")
            print_table(titles, rows)
            print()


def _median(costs: Sequence[Cost], what: str) -> float:
    values: list[float] = [getattr(cost, what) for cost in costs]
    return statistics.median(values)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints what changed; 1 where a row is worse."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results", description=__doc__)
    parser.add_argument("old", type=Path, metavar="OLD.json")
    parser.add_argument("new", type=Path, metavar="NEW.json")
    parser.add_argument("--by", choices=("time", "cpu"), default="time", help="what decides (default: time)")
    options = parser.parse_args(arguments)
    old, new = Run.read(options.old), Run.read(options.new)
    before = {(row.group, row.name): row for row in old.rows if not row.skipped}
    rows, worse = [], 0
    for row in new.rows:
        earlier = before.pop((row.group, row.name), None)
        if earlier is None:
            continue
        if row.skipped:
            print(f"skipped in {options.new}: {row.group}: {row.name}: {row.skipped}")
            continue
        time = _cost(row, options.by) / _cost(earlier, options.by)
        memory = row.peak_bytes / max(earlier.peak_bytes, 1)
        is_worse = time > _WORSE or memory > _WORSE
        worse += is_worse
        rows.append((f"{row.group}: {row.name}", f"{time:.3f}", f"{memory:.3f}", "WORSE" if is_worse else ""))
    print_table(("row", "time, new / old", "memory", ""), rows)
    for group, name in before:
        print(f"not in {options.new}: {group}: {name}")
    print(f"{len(rows)} rows, {worse} worse by more than {_WORSE - 1:.0%}")
    return 1 if worse else 0


def _cost(row: Measurement, by: str) -> float:
    """What is compared: the share of the peer where there is one."""
    if by == "cpu":
        return row.cpu_share if row.peer else row.cpu_seconds
    return row.share if row.peer else row.seconds


if __name__ == "__main__":
    sys.exit(main())
