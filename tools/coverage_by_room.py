"""Shows how much of each room the tests reach, from coverage's data: `python -m tools.coverage_by_room`.

A share counts lines and branches together, as `coverage report` does. `--write` puts the table into
CONTRIBUTING.md, between `<!-- coverage -->` and `<!-- end -->`.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coverage import Coverage

ROOT = Path(__file__).parent.parent
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
_BLOCK = re.compile(r"(<!-- coverage -->\n).*?(<!-- end -->)", re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table, and writes it where that is asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the table into CONTRIBUTING.md")
    options = parser.parse_args(arguments)
    table = "\n".join(["| room | lines and branches reached |", "|---|---|", *_rows(_files())]) + "\n"
    print(table)
    if options.write:
        text = CONTRIBUTING.read_text(encoding="utf-8")
        CONTRIBUTING.write_text(_BLOCK.sub(lambda block: f"{block[1]}{table}{block[2]}", text), "utf-8")
    return 0


def _files() -> dict[str, dict[str, Any]]:
    """The counts of each file."""
    measured = Coverage()
    measured.load()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "coverage.json")
        measured.json_report(outfile=str(report))
        files = json.loads(report.read_text())["files"]
    return {name: file["summary"] for name, file in files.items()}


def _rows(files: dict[str, dict[str, Any]]) -> list[str]:
    reached: dict[str, int] = defaultdict(int)
    all_of_them: dict[str, int] = defaultdict(int)
    for name, counts in files.items():
        parts = Path(name).parts
        inner = parts[parts.index("hubcli") + 1 :]
        for room in (f"`hubcli/{inner[0]}/`" if len(inner) > 1 else "`hubcli/*.py`", "all of it"):
            reached[room] += counts["covered_lines"] + counts["covered_branches"]
            all_of_them[room] += counts["num_statements"] + counts["num_branches"]
    rooms = sorted(reached, key=lambda room: (room == "all of it", room))
    return [f"| {room} | {reached[room] / max(all_of_them[room], 1):.0%} |" for room in rooms]


if __name__ == "__main__":
    raise SystemExit(main())
