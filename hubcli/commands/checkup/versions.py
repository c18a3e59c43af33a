"""Versions of packages, compared by their release numbers: `2.16.0rc1` counts as 2.16.0."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import zip_longest

__all__ = ["Requirement", "is_below", "release"]

_RELEASE = re.compile(r"v?(?:\d+!)?(\d+(?:\.\d+)*)")
# PEP 508, without URLs; the rest of the line is a marker.
_REQUIREMENT = re.compile(
    r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*\(?([^;()]*)\)?\s*(?:;(.*))?", re.DOTALL
)
_CLAUSE = re.compile(r"\s*(===|==|!=|<=|>=|~=|<|>)\s*([\w.*+!-]+)\s*")


def release(text: str) -> tuple[int, ...]:
    """The release numbers of a version; empty where there are none.

    >>> release("2.16.0rc1")
    (2, 16, 0)
    """
    match = _RELEASE.match(text.strip())
    return () if match is None else tuple(int(number) for number in match[1].split(".")[:6])


def is_below(version: str, bound: str) -> bool:
    """Whether the version is older than that one."""
    return _compare(release(version), release(bound)) < 0


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a package wants of another: its name, the clauses, and the marker that says when."""

    name: str
    clauses: str
    marker: str = ""

    @classmethod
    def parse(cls, text: str) -> Requirement | None:
        """From a line of `Requires-Dist`; None for what is written in another form.

        >>> Requirement.parse("keras (>=3.12.0)").clauses
        '>=3.12.0'
        """
        match = _REQUIREMENT.fullmatch(text)
        return None if match is None else cls(match[1], match[2].strip(), (match[3] or "").strip())

    def is_met_by(self, version: str) -> bool:
        """Whether that version will do; clauses that can't be understood are taken as met."""
        return all(_holds(clause, release(version)) for clause in self.clauses.split(",") if clause.strip())


def _holds(clause: str, numbers: tuple[int, ...]) -> bool:
    match = _CLAUSE.fullmatch(clause)
    if match is None or not numbers:
        return True
    operator, text = match[1], match[2]
    bound = release(text)
    if text.endswith(".*"):
        is_same = numbers[: len(bound)] == bound
        return is_same if operator == "==" else not is_same
    order = _compare(numbers, bound)
    if operator == "~=":
        return order >= 0 and numbers[: len(bound) - 1] == bound[:-1]
    verdicts = {"==": order == 0, "!=": order != 0, "<": order < 0, "<=": order <= 0, ">": order > 0}
    return verdicts.get(operator, order >= 0 if operator == ">=" else True)


def _compare(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """-1, 0 or 1; numbers that are left out are 0."""
    for left, right in zip_longest(one, other, fillvalue=0):
        if left != right:
            return -1 if left < right else 1
    return 0
