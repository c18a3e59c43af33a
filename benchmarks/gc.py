"""`hubcli gc --dry-run` of a cache of 10,000 models, against `du` and `ls` of hubcli on the same directory.

Run it from the top of the repository: `python -m benchmarks.gc`.
"""

from __future__ import annotations

import argparse
import gc as garbage
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.ls import build_cache
from benchmarks.measure import Contender, compare, median_seconds, options_parser, print_table, tool_beside
from hubcli.cache.gc.plan import Policy
from hubcli.cache.gc.planner import make_plan
from hubcli.cache.gc.snapshot import take_snapshot

_BOUND_S = 1.0
_POLICY = Policy(older_than_s=300 * 86400, keep_versions=2, max_size_bytes=10**7)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints the tables; 1 where the plan takes longer than its bound."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(prefix="hubcli-gc-", dir=options.work_dir) as folder:
        work, root = Path(folder), Path(folder) / "cache"
        build_cache(root, options.entries)
        contenders = _contenders(options.python, root)
        costs = compare(contenders, options.rounds, work)
        snapshot_s, plan_s = _inner_seconds(root, options.rounds)
    print(f"{options.entries} models, {options.rounds} rounds")
    own = median_seconds(costs[contenders[0].name])
    rows = [
        (
            contender.name,
            f"{median_seconds(costs[contender.name]):.2f}",
            f"{own / median_seconds(costs[contender.name]):.2f}",
        )
        for contender in contenders
    ]
    print_table(("command", "median s", "hubcli gc / it"), rows)
    inner = [("snapshot", f"{snapshot_s:.2f}", ""), ("plan", f"{plan_s:.2f}", f"{_BOUND_S:.2f} s")]
    print_table(("of it, in one process", "median s", "bound"), inner)
    return 0 if plan_s <= _BOUND_S else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = options_parser("gc", __doc__, rounds=5)
    parser.add_argument("--entries", type=int, default=10_000, help="models in the cache")
    return parser.parse_args(arguments)


def _contenders(python: Path, root: Path) -> list[Contender]:
    hubcli, where = tool_beside(python, "hubcli"), str(root)
    rules = ["--older-than", "300d", "--keep-versions", "2", "--max-size", "10MB", "-q"]
    return [
        Contender("hubcli gc --dry-run", lambda _: [hubcli, "gc", "--cache-dir", where, "--dry-run", *rules]),
        Contender("hubcli ls -q", lambda _: [hubcli, "ls", "--cache-dir", where, "-q"]),
        Contender("du -s", lambda _: ["du", "-s", where]),
    ]


def _inner_seconds(root: Path, rounds: int) -> tuple[float, float]:
    """Medians of taking a snapshot, and of planning from it."""
    garbage.disable()  # As the command does.
    snapshots, plans = list[float](), list[float]()
    for _ in range(rounds):
        started = time.perf_counter()
        snapshot = take_snapshot(root)
        taken = time.perf_counter()
        make_plan(snapshot, _POLICY)
        snapshots.append(taken - started)
        plans.append(time.perf_counter() - taken)
    garbage.enable()
    return statistics.median(snapshots), statistics.median(plans)


if __name__ == "__main__":
    sys.exit(main())
