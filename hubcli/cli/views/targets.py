"""`hubcli inspect --for`: a table of targets with their verdicts, and below it what is in the way of each."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from hubcli.cli.output import printable
from hubcli.cli.tables import Column, Style, render_table
from hubcli.savedmodel.targets.obstacle import ConversionTrial, Obstacle, TargetReport
from hubcli.units import format_size

__all__ = ["target_lines", "targets_document"]

_WORDS = {
    "cannot-load": "cannot load it",
    "cannot-run": "cannot run it",
    "no-obstacle-found": "no obstacle found",
}
_COLUMNS = (
    Column("TARGET", stretches=True),
    Column("TENSORFLOW"),
    Column("VERDICT", styles={"cannot": "red", "no": "green"}),
)
_STYLES = {"error": "red", "warning": "yellow"}


def targets_document(reports: tuple[TargetReport, ...]) -> list[dict[str, Any]]:
    """The reports as `inspect --json` has them."""
    return [
        {
            "target": report.target.text,
            "kind": report.target.kind.value,
            "verdict": report.verdict,
            "releases": [
                {"release": release, "verdict": report.verdict_of(release)}
                for release in report.target.releases
            ]
            if report.target.kind.has_releases
            else [],
            "obstacles": [_obstacle(found) for found in report.obstacles],
            "conversion": None if report.conversion is None else _conversion(report.conversion),
        }
        for report in reports
    ]


def _obstacle(found: Obstacle) -> dict[str, Any]:
    issue = found.issue
    return {
        "severity": issue.severity.value,
        "code": issue.code,
        "message": issue.message,
        "when": found.when,
        "where": issue.where,
        "node": issue.location.node,
        "nodes": found.nodes,
        "releases": list(found.releases),
        "remedy": issue.hint,
    }


def _conversion(conversion: ConversionTrial) -> dict[str, Any]:
    return {
        "converted": conversion.is_done,
        "select_ops": conversion.needs_select_ops,
        "reason": conversion.reason,
        "size_bytes": conversion.size_bytes,
        "tensorflow_version": conversion.tensorflow_version or None,
    }


def target_lines(reports: tuple[TargetReport, ...], style: Style) -> Iterator[str]:
    """The table, and the obstacles of each target that has some."""
    yield render_table(_COLUMNS, [row for report in reports for row in _rows(report)], style)
    for report in reports:
        if report.obstacles or report.conversion is not None:
            yield ""
            yield style.paint(printable(report.target.text), "bold")
        if report.conversion is not None:
            yield from style.fold(printable(_conversion_text(report.conversion)), 2)
        for found in report.obstacles:
            yield from _obstacle_lines(found, style)


def _rows(report: TargetReport) -> Iterator[tuple[str, ...]]:
    """A row for each run of releases with one verdict, the newest first."""
    name, releases = printable(report.target.text), report.target.releases
    if not report.target.kind.has_releases:
        yield name, "-", _WORDS[report.verdict]
        return
    for verdict, group in groupby(reversed(releases), key=report.verdict_of):
        run = list(group)
        yield name, run[0] if len(run) == 1 else f"{run[-1]} to {run[0]}", _WORDS[verdict]


def _conversion_text(conversion: ConversionTrial) -> str:
    by = (
        f"The converter of TensorFlow {conversion.tensorflow_version}"
        if conversion.tensorflow_version
        else ""
    )
    if not conversion.is_done:
        return f"{by or 'The conversion'} failed: {conversion.reason}"
    size = format_size(conversion.size_bytes or 0)
    if conversion.needs_select_ops:
        return f"{by} made {size} with Select TensorFlow ops: {conversion.reason}"
    return f"{by} made {size} with builtin ops only"


def _obstacle_lines(found: Obstacle, style: Style) -> Iterator[str]:
    issue = found.issue
    times = f" ({found.nodes} nodes)" if found.nodes > 1 and issue.location.node else ""
    place = f", {issue.location}" if str(issue.location) else ""
    text = f"{issue.severity.value:<8}  {issue.message} [{issue.code}]{place}{times}"
    lines = style.fold(printable(text), 2, 10)
    word = issue.severity.value
    yield lines[0].replace(word, style.paint(word, _STYLES.get(word, "dim")), 1)
    yield from lines[1:]
    if issue.hint:
        yield from style.hang_hint(" " * 12, printable(issue.hint))
