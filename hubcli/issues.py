"""Issues: what checks find, one type for all of them, and what each of their codes means.

`inspect --scan` and `--check`, `verify` and `doctor` give these. A code is stable, and so is the word of
its severity: scripts may rely on both, and docs/codes.md prints the table that `codes` reads.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from hubcli._moved import renamed, warn_of_old_name

__all__ = ["FINDING_SEVERITIES", "Issue", "Location", "Severity", "codes"]


class Severity(str, Enum):
    """How grave an issue is, in words that scripts may rely on; the later, the graver.

    Findings of the scan go from `info` to `critical`, by way of `low`, `medium` and `high`. Of the advice
    for publishers only an `error` keeps a model from conforming; `warning` and `hint` don't. The doctor
    says `ok`, `info`, `warning` or `problem`.
    """

    OK = "ok"
    INFO = "info"
    HINT = "hint"
    LOW = "low"
    WARNING = "warning"
    MEDIUM = "medium"
    ERROR = "error"
    PROBLEM = "problem"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def word(self) -> str:
        """The value, under its name of 0.1.0."""
        warn_of_old_name(self, "word", "value")
        return self.value

    @property
    def rank(self) -> int:
        """Its place in the order: the greater, the graver."""
        return _RANKS[self.value]

    # The order of the words themselves, which `str` has, would be the alphabet's.
    def __lt__(self, other: str) -> bool:
        return self.rank < Severity(other).rank

    def __le__(self, other: str) -> bool:
        return self.rank <= Severity(other).rank

    def __gt__(self, other: str) -> bool:
        return self.rank > Severity(other).rank

    def __ge__(self, other: str) -> bool:
        return self.rank >= Severity(other).rank


_RANKS = {severity.value: rank for rank, severity in enumerate(Severity)}
FINDING_SEVERITIES = (Severity.INFO, Severity.LOW, Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL)


class Location(NamedTuple):
    """Where an issue is: a `part` of the model in words, such as a function, or a file below its directory.

    `start` and `end` tell the bytes of that file that are concerned: from `start` up to, not with, `end`.
    `node` is a node of the function that `part` names, or of the graph.
    """

    part: str | None = None
    file: str | None = None
    tensor: str | None = None
    start: int | None = None
    end: int | None = None
    node: str | None = None

    def __str__(self) -> str:
        places = [place for place in (self.part, self.file) if place is not None]
        if self.node is not None:
            places.append(f"node {self.node}")
        if self.tensor is not None:
            places.append(f"tensor {self.tensor}")
        if self.start is not None and self.end is not None:
            places.append(f"bytes {self.start} to {self.end - 1}" if self.end > self.start else "no bytes")
        return ", ".join(places)


_WHOLE = Location()


class Issue(NamedTuple):
    """Something that a check found. The message tells it to a person, the hint says what to do about it.

    A named tuple: a dataclass takes longer to make than a whole check of a small model may.
    """

    severity: Severity
    code: str
    message: str
    location: Location = _WHOLE
    hint: str = ""

    @classmethod
    def of_file(
        cls,
        code: str,
        message: str,
        file: str | None = None,
        tensor: str | None = None,
        start: int | None = None,
        end: int | None = None,
    ) -> Issue:
        """Corruption in the files of a model; without a file it is about the whole model."""
        return cls(Severity.ERROR, code, message, Location(None, file, tensor, start, end))

    @classmethod
    def of_part(cls, severity: Severity, code: str, message: str, part: str) -> Issue:
        """Something that the user of a model should know about a part of it, such as a function."""
        return cls(severity, code, message, Location(part))

    @property
    def where(self) -> str:
        """The part of the model that it is about."""
        return self.location.part or ""

    @property
    def file(self) -> str | None:
        """The path of the file that it is about, None if it is about the whole model."""
        return self.location.file

    @property
    def tensor(self) -> str | None:
        """The tensor whose bytes it is about."""
        return self.location.tensor

    @property
    def start(self) -> int | None:
        """The offset of the first byte that is concerned."""
        return self.location.start

    @property
    def end(self) -> int | None:
        """The offset after the last byte that is concerned."""
        return self.location.end

    @property
    def remedy(self) -> str:
        """The hint, by the name that `inspect --check` has for it."""
        return self.hint

    def __str__(self) -> str:
        place = str(self.location)
        return f"{place}: {self.message}" if place else self.message


def codes() -> dict[str, dict[str, str]]:
    """The codes by the check that reports them, each with its cause and remedy, as issue_codes.tsv has them.

    Of a code such as `<host>` each value of that name is a code.
    """
    from pathlib import Path  # No check needs the table.

    table: dict[str, dict[str, str]] = {}
    text = Path(__file__).with_name("issue_codes.tsv").read_text(encoding="utf-8")
    for line in text.splitlines():
        if not line.startswith("#"):
            told_by, code, meaning = line.split("\t")
            table.setdefault(told_by, {})[code] = meaning
    return table


if not TYPE_CHECKING:  # The type checker reports the old name.

    def __getattr__(name: str) -> object:
        return renamed(__name__, name)
