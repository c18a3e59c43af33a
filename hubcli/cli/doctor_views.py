"""How a diagnosis is shown: a screen in sections, the problems as lines, and JSON with stable keys."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from itertools import groupby, zip_longest
from typing import Any

from hubcli.cli.output import printable
from hubcli.cli.render import Style
from hubcli.commands.checkup.check import Check, Section, Status
from hubcli.commands.checkup.packages import SHOWN
from hubcli.commands.doctor import Diagnosis
from hubcli.quantity import plural

__all__ = ["diagnosis_document", "diagnosis_text", "problem_lines"]

_LABEL_WIDTH = 14
_MARKS = {Status.OK: "✓", Status.INFO: "·", Status.WARNING: "!", Status.PROBLEM: "✗"}
_ASCII_MARKS = {Status.OK: "+", Status.INFO: "-", Status.WARNING: "!", Status.PROBLEM: "x"}
_STYLES = {Status.OK: "green", Status.INFO: "dim", Status.WARNING: "yellow", Status.PROBLEM: "red"}
_LABELS = {"hub-load": "hub.load", "kaggle": "Kaggle", "tls": "TLS"}
_ABSENT = "not installed"


def diagnosis_text(diagnosis: Diagnosis, style: Style) -> str:
    """The screen: a line for each check, remedies below what they mend, and a line that sums up."""
    lines = list[str]()
    for section, group in groupby(_gathered(diagnosis.checks), key=lambda check: check.section):
        lines.append(style.paint(section.value.capitalize(), "bold"))
        for check in group:
            lines += _lines(check, style)
    return "\n".join((*lines, "", _sum(diagnosis, style)))


def problem_lines(diagnosis: Diagnosis) -> list[str]:
    """Each problem as a line."""
    return [
        printable(f"{check.section.value}, {_label(check)}: {check.message}") for check in diagnosis.problems
    ]


def diagnosis_document(diagnosis: Diagnosis) -> dict[str, Any]:
    """`hubcli doctor --json`."""
    return {
        "checks": [_check_document(check) for check in diagnosis.checks],
        "problems": len(diagnosis.problems),
        "warnings": len(diagnosis.warnings),
    }


def _check_document(check: Check) -> dict[str, Any]:
    return {
        "section": check.section.value,
        "name": check.name,
        "status": check.status.value,
        "value": check.value,
        "message": check.message,
        "hint": check.hint,
    }


def _gathered(checks: Sequence[Check]) -> Iterable[Check]:
    """The checks with what isn't installed in one line, behind the packages that are."""
    absent = [check.name for check in checks if _is_absent(check)]
    for check, following in zip_longest(checks, checks[1:]):
        if not _is_absent(check):
            yield check
        is_last = check.name in SHOWN and (following is None or following.name not in SHOWN)
        if is_last and absent:
            yield Check(Section.PACKAGES, _ABSENT, Status.INFO, ", ".join(absent))


def _is_absent(check: Check) -> bool:
    return check.section is Section.PACKAGES and check.message == _ABSENT


def _lines(check: Check, style: Style) -> list[str]:
    mark = (_MARKS if style.has_unicode else _ASCII_MARKS)[check.status]
    label = _label(check).ljust(_LABEL_WIDTH)
    first, *more = _folded(f"  {mark} {label} ", printable(check.message), style)
    painted = f"  {style.paint(mark, _STYLES[check.status])}{first[len(mark) + 2 :]}"
    arrow = style.arrow
    hints = _folded(f"    {arrow} ", printable(check.hint), style) if check.hint else []
    hints = [
        line.replace(arrow, style.paint(arrow, "cyan"), 1) if not at else line
        for at, line in enumerate(hints)
    ]
    return [painted, *more, *hints]


def _folded(begin: str, text: str, style: Style) -> list[str]:
    """The text behind its beginning, in lines that fit; what must be typed or copied isn't cut."""
    if style.width is None:
        return [begin + text]
    return textwrap.wrap(
        text,
        max(style.width, len(begin) + 20),
        initial_indent=begin,
        subsequent_indent=" " * min(len(begin), _LABEL_WIDTH + 5),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [begin]


def _label(check: Check) -> str:
    if check.name.isupper() or "_" in check.name or "." in check.name:  # A variable, a package, a host.
        return check.name
    return _LABELS.get(check.name, check.name.replace("-", " "))


def _sum(diagnosis: Diagnosis, style: Style) -> str:
    problems, warnings = len(diagnosis.problems), len(diagnosis.warnings)
    status = Status.PROBLEM if problems else Status.WARNING if warnings else Status.OK
    mark = (_MARKS if style.has_unicode else _ASCII_MARKS)[status]
    told = plural(problems, "problem") if problems else "No problem"
    more = f", {plural(warnings, 'warning')}" if warnings else ""
    return f"{style.paint(mark, _STYLES[status])} {told}{more}"
