"""A row of the benchmarks: a command of hubcli with its bound; and groups of rows, measured in turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Contender, compare
from benchmarks.results import Measurement

__all__ = ["Group", "Row"]


@dataclass(frozen=True, slots=True)
class Row:
    """A command of hubcli with its bound, compared with a peer of its group if one is named.

    `skipped` says why it isn't measured, such as a peer that isn't installed.
    """

    name: str
    own: Contender
    peer: str = ""
    bound: float | None = None
    bound_kind: str = "share"
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that take turns with their peers. `skipped` says why none is measured.

    Several rows may have one command: it runs once a round.
    """

    rounds: int
    rows: Sequence[Row]
    peers: Sequence[Contender] = ()
    skipped: str = ""
    warms_up: bool = True

    def measure(self, name: str, work: Path, *, by_cpu: bool = False) -> list[Measurement]:
        """The rows of the group of that name, then those of its peers."""
        skipped = [
            Measurement(
                name, row.name, peer=row.peer, bound=row.bound, bound_kind=row.bound_kind,
                skipped=self.skipped or row.skipped,
            )
            for row in self.rows if self.skipped or row.skipped
        ]  # fmt: skip
        if self.skipped:
            return skipped
        rows = [row for row in self.rows if not row.skipped]
        contenders = {each.name: each for each in (*(row.own for row in rows), *self.peers)}
        costs = compare([*contenders.values()], self.rounds, work, tells_rounds=False, warms_up=self.warms_up)
        measured = [
            Measurement.of(
                name,
                row.name,
                costs[row.own.name],
                row.peer,
                costs[row.peer] if row.peer else (),
                bound=row.bound,
                bound_kind=row.bound_kind,
                by_cpu=by_cpu,
            )
            for row in rows
        ]
        return measured + skipped + [Measurement.of(name, peer.name, costs[peer.name]) for peer in self.peers]
