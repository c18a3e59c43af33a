"""Every row of what hubcli costs, in one run: whole processes, interleaved with their peers, as one JSON.

`python -m benchmarks.rows --keep DIR --out RUN.json` takes some eight minutes on an idle machine of two
cores, once DIR has its models and caches. `--rows 'start*' verify` measures some groups, `--rounds 3` fewer
rounds. `python -m benchmarks.results` compares two runs, `python -m benchmarks.plots` draws one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from benchmarks.fetch import nginx
from benchmarks.groups import QUIET_TENSORFLOW, ROUND_TRIP_MS, Groups
from benchmarks.measure import options_parser
from benchmarks.results import Run

# In a process of its own: what this one takes of memory, the measured ones seem to take too.
_BUILD = """
import sys
from pathlib import Path
from benchmarks.fetch import pack_model, pack_repeated
from benchmarks.ls import add_model
from benchmarks.verify import write_model
from hubcli.cache.store import Store
from hubcli.durability import UNSYNCED

inputs, entries, with_100000 = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "True"
for name, count in {"listed": entries, **({"listed-100000": 100_000} if with_100000 else {})}.items():
    if not (inputs / f"{name}.done").exists():
        for number in range(count):
            add_model(Store(inputs / name, UNSYNCED), number)
        (inputs / f"{name}.done").touch()

def make(path, write):
    if not path.exists():
        write(path.with_name(path.name + ".new"))
        path.with_name(path.name + ".new").rename(path)

for shards in (1, 2):
    make(inputs / f"large-{shards}", lambda path: write_model(path, 1 << 30, shards))
make(inputs / "medium", lambda path: write_model(path, 384 << 20))
make(inputs / "huge", lambda path: write_model(path, 2 << 30))
(inputs / "www").mkdir(exist_ok=True)
make(inputs / "www/model.tar.gz", lambda path: pack_model(path, 400 * 10**6))
make(inputs / "www/huge.tar.gz", lambda path: pack_repeated(path, 4 * 10**9))
for number in range(10):
    make(inputs / f"www/part-{number}.tar.gz", lambda path: pack_model(path, 40 * 10**6))
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints the tables and writes the JSON; 1 where a bound is not met."""
    options = _options(arguments)
    with ExitStack() as stack:
        prefix = tempfile.TemporaryDirectory(prefix="hubcli-rows-", dir=options.work_dir)
        work = Path(stack.enter_context(prefix))
        inputs = (options.keep or work / "inputs").resolve()
        _prepare(options, inputs)
        (work / "www").symlink_to(inputs / "www")
        port = stack.enter_context(nginx(work))
        far_port = _far_port(stack, options.python, port)
        rows, began_s = [], time.monotonic()
        for name, make in Groups(options.python, inputs, work).of_hosts(port, far_port).items():
            if any(fnmatchcase(name, pattern) for pattern in options.rows):
                print(f"{name} …", file=sys.stderr)
                group = make()
                group = replace(group, rounds=options.rounds or group.rounds)
                rows += group.measure(name, work, by_cpu=options.by == "cpu")
                if options.out is not None:  # A run that is ended early keeps what it has measured.
                    Run.of(rows).write(options.out)
    run = Run.of(rows)
    run.print()
    missed = sum(row.is_met is False for row in rows)
    print(f"{len(rows)} rows in {time.monotonic() - began_s:.0f} s, {missed} bounds not met")
    return 1 if missed else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = options_parser("rows", __doc__, rounds=0)
    parser.add_argument("--keep", type=Path, help="where models and caches are built once, and kept")
    parser.add_argument("--out", type=Path, help="file for the JSON of the run")
    parser.add_argument("--rows", nargs="+", default=["*"], metavar="PATTERN", help="only groups like these")
    parser.add_argument("--by", choices=("time", "cpu"), default="time", help="what is held against bounds")
    parser.add_argument("--entries", type=int, default=10_000, help="models in the large cache")
    parser.add_argument("--with-100000", action="store_true", help="build a cache of 100,000 models, too")
    return parser.parse_args(arguments)


def _prepare(options: argparse.Namespace, inputs: Path) -> None:
    """Builds what is missing; what is there from an earlier run is taken."""
    print(f"building what is missing in {inputs} …", file=sys.stderr)
    inputs.mkdir(parents=True, exist_ok=True)
    arguments = (str(inputs), str(options.entries), str(options.with_100000))
    subprocess.run([str(options.python), "-c", _BUILD, *arguments], check=True)
    models = [str(options.python), "-m", "benchmarks.models", str(inputs), "resnet50", "mobilenet_v2"]
    environment = {**os.environ, **QUIET_TENSORFLOW}
    subprocess.run(models, check=True, stdout=subprocess.DEVNULL, env=environment)


def _far_port(stack: ExitStack, python: Path, port: int) -> int:
    """The port of a proxy that delays what nginx serves."""
    command = [str(python), "-m", "benchmarks.latency", str(port), str(ROUND_TRIP_MS)]
    proxy = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    stack.callback(proxy.terminate)
    assert proxy.stdout is not None
    return int(proxy.stdout.readline())


if __name__ == "__main__":
    sys.exit(main())
