"""The start of hubcli, and completion of a handle in a cache of 1,000 models, against a bare Python.

Run it from the top of the repository: `python -m benchmarks.start`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.ls import build_cache
from benchmarks.measure import (
    Contender,
    Cost,
    compare,
    median_seconds,
    options_parser,
    print_table,
    tool_beside,
)
from tools.cached_handles import AWK_PROGRAM, SH_PROGRAM

_START_BOUND_S = 0.1
_COMPLETION_BOUND_S = 0.05
_COMPLETIONS = Path(__file__).parent.parent / "completions"
_TYPED = "https://tfhub.dev/publisher-1/"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints the table; 1 where a bound is not met."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(prefix="hubcli-start-", dir=options.work_dir) as folder:
        work, root = Path(folder), Path(folder) / "cache"
        build_cache(root, options.entries)
        bounds = {**_starts(options.python), **_completions(root)}
        costs = compare(list(bounds), options.rounds, work)
    print(f"{options.entries} models, {options.rounds} rounds")
    return _report(bounds, costs)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = options_parser("start", __doc__, rounds=25)
    parser.add_argument("--entries", type=int, default=1000, help="models in the cache")
    return parser.parse_args(arguments)


def _starts(python: Path) -> dict[Contender, float | None]:
    script = tool_beside(python, "hubcli")
    return {
        Contender("python -c pass", lambda folder: [str(python), "-c", "pass"]): None,
        Contender("hubcli --version", lambda folder: [script, "--version"]): _START_BOUND_S,
        Contender("hubcli --help", lambda folder: [script, "--help"]): None,
        Contender("hubcli inspect --help", lambda folder: [script, "inspect", "--help"]): None,
    }


def _completions(root: Path) -> dict[Contender, float | None]:
    """A new bash that completes one word; and the program by which zsh and fish read handles with sizes."""
    typed = f"hubcli inspect {_TYPED}"
    words = f"(hubcli inspect https : {_TYPED.removeprefix('https:')})"
    script = (
        f". {_COMPLETIONS}/hubcli.bash; COMP_LINE={typed!r} COMP_POINT={len(typed)} COMP_WORDS={words} "
        "COMP_CWORD=4; _hubcli; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    environment = {"HUBCLI_CACHE_DIR": str(root)}
    bash = ["bash", "--norc", "--noprofile", "-c", script]
    program = ["sh", "-c", SH_PROGRAM, "hubcli", "", AWK_PROGRAM, "1"]
    return {
        Contender("TAB in bash", lambda folder: bash, lambda folder: environment): _COMPLETION_BOUND_S,
        Contender(
            "handles and sizes", lambda folder: program, lambda folder: environment
        ): _COMPLETION_BOUND_S,
    }


def _report(bounds: dict[Contender, float | None], costs: dict[str, list[Cost]]) -> int:
    bare = median_seconds(next(iter(costs.values())))
    rows, all_met = [], True
    for contender, bound in bounds.items():
        theirs = costs[contender.name]
        seconds = median_seconds(theirs)
        all_met &= bound is None or seconds <= bound
        rows.append(
            (
                contender.name,
                f"{seconds * 1000:.1f}",
                f"{min(cost.seconds for cost in theirs) * 1000:.1f}",
                f"{statistics.median(cost.cpu_seconds for cost in theirs) * 1000:.1f}",
                f"{seconds / bare:.2f}",
                "" if bound is None else f"{bound * 1000:.0f}",
                "" if bound is None else "met" if seconds <= bound else "not met",
            )
        )
    print_table(("command", "median ms", "least ms", "CPU ms", "of bare Python", "bound ms", "verdict"), rows)
    return 0 if all_met else 1


if __name__ == "__main__":
    sys.exit(main())
