"""The page of what hubcli costs: tables and a picture, made of the JSON of `benchmarks.rows`.

`python -m benchmarks.plots RUN.json` copies the run to benchmarks/costs.json, and writes the picture,
docs/pictures/costs.svg, and the block of docs/how-it-works/speed.md. Without a file it takes
benchmarks/costs.json. With `--check` it writes nothing, and exits with 1 where one differs.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from benchmarks.results import Measurement, Run

_ROOT = Path(__file__).parent.parent
_COSTS = _ROOT / "benchmarks" / "costs.json"
_PAGE = _ROOT / "docs" / "how-it-works" / "speed.md"
_PICTURE = _ROOT / "docs" / "pictures" / "costs.svg"
_BLOCK = re.compile(r"(<!-- costs -->\n).*?(<!-- end -->)", re.DOTALL)
# Colours that can be read on white and on black.
_MET, _MISSED, _TEXT, _LINE = "#2a9d63", "#d1603d", "#7d8590", "#7d8590"
_ROW, _LEFT, _WIDTH, _RIGHT = 22, 330, 300, 130
# A bar that is longer than this many times its bound is cut.
_LONGEST = 1.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the page and the picture, or compares them; 1 where one differs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plots", description=__doc__)
    parser.add_argument("run", type=Path, nargs="?", default=_COSTS, metavar="RUN.json")
    parser.add_argument("--check", action="store_true", help="write nothing, fail where a file differs")
    options = parser.parse_args(arguments)
    run = Run.read(options.run)
    page = _PAGE.read_text(encoding="utf-8")
    files = {
        _PAGE: _BLOCK.sub(lambda block: f"{block[1]}{tables(run)}{block[2]}", page),
        _PICTURE: picture(run.rows),
    }
    if options.check:
        stale = [
            path for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text
        ]
        for path in stale:
            print(f"{path} differs from {options.run}: run python -m benchmarks.plots", file=sys.stderr)
        return 1 if stale else 0
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    if options.run.resolve() != _COSTS:
        run.write(_COSTS)
    return 0


def tables(run: Run) -> str:
    """A table for each group, as Markdown, behind a line about the machine."""
    lines = [f"{run.machine}, {run.cores} cores, with a load of {run.load:g}.", ""]
    if any(row.by_cpu for row in run.rows):
        what = (
            "The machine did other work: processor time is held against the bounds, and its share is shown."
        )
        lines[:1] = [f"{lines[0]} {what}"]
    for group in dict.fromkeys(row.group for row in run.rows):
        lines += [
            f"| {group} | time, s | processor, s | memory, MB | of the peer | bound | |",
            "|---|---|---|---|---|---|---|",
        ]
        rows = [row for row in run.rows if row.group == group]
        lines += [f"| {' | '.join(_code(row.cells()))} |" for row in rows]
        lines.append("")
    return "\n".join(lines) + "\n"


def _code(cells: Sequence[str]) -> tuple[str, ...]:
    """The cells with `|` as Markdown has it in a table, and the verdict in small letters."""
    *others, verdict = (cell.replace("|", "\\|") for cell in cells)
    return (*others, verdict.lower())


def picture(rows: Sequence[Measurement]) -> str:
    """A bar for each row with a bound: how much of it was taken. SVG, for a light and a dark page."""
    bounded = [row for row in rows if row.is_met is not None]
    groups = list(dict.fromkeys(row.group for row in bounded))
    height = _ROW * (len(bounded) + len(groups) + 2)
    width = _LEFT + _WIDTH + _RIGHT
    at_bound = _LEFT + _WIDTH / _LONGEST
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12" fill="{_TEXT}">',
        "<title>How much of its bound each command takes</title>",
        *_bars(bounded, groups),
        f'<line x1="{at_bound:.0f}" y1="{_ROW}" x2="{at_bound:.0f}" y2="{height - _ROW}" stroke="{_LINE}"/>',
        f'<text x="{at_bound:.0f}" y="{_ROW - 6}" text-anchor="middle">bound</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _bars(rows: Sequence[Measurement], groups: Sequence[str]) -> Iterator[str]:
    y = _ROW
    for group in groups:
        y += _ROW
        yield f'<text x="4" y="{y - 6}" font-weight="bold">{escape(group)}</text>'
        for row in (row for row in rows if row.group == group):
            y += _ROW
            taken = taken_of_bound(row)
            length = min(taken, _LONGEST) / _LONGEST * _WIDTH
            colour = _MET if row.is_met else _MISSED
            yield f'<text x="{_LEFT - 8}" y="{y - 6}" text-anchor="end">{escape(row.name)}</text>'
            yield f'<rect x="{_LEFT}" y="{y - 17}" width="{length:.1f}" height="14" fill="{colour}"/>'
            yield f'<text x="{_LEFT + _WIDTH + 8}" y="{y - 6}">{taken:.0%} of the bound</text>'


def taken_of_bound(row: Measurement) -> float:
    """1.0 at the bound, less where it is met."""
    assert row.bound is not None
    return row.bound / row.value if row.bound_kind == "speed" else row.value / row.bound


if __name__ == "__main__":
    sys.exit(main())
