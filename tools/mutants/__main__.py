"""`python -m tools.mutants measure|run|report|compare`: see `--help` of each."""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from tools.mutants.choose import choose
from tools.mutants.reach import Reach
from tools.mutants.run import Limits, read_results, run_all
from tools.mutants.scratch import Scratch

_KILLED = ("killed", "timeout")
_STATUSES = ("killed", "survived", "equivalent", "not reached")
# A line for each mutant that no test can tell from the original: its name, its file, and why.
_EQUIVALENT = Path(__file__).with_name("equivalent.tsv")

_COVERAGE = Path(__file__).with_name("coverage.ini")


def main() -> int:
    """Runs one subcommand."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutants", description=__doc__)
    commands = parser.add_subparsers(required=True)
    measure = commands.add_parser("measure", help="run the tests with coverage, one context a test")
    measure.add_argument("paths", nargs="*", default=["tests"])
    measure.add_argument("--jobs", type=int, default=2)
    marks = "as of pytest -m; such as 'not slow and not soak' where there is little time"
    measure.add_argument("--marks", default="not soak", help=marks)
    measure.set_defaults(act=_measure)
    run = commands.add_parser("run", help="run the mutants; goes on where the results end")
    run.add_argument("--count", type=int, default=120)
    run.add_argument("--seed", type=int, default=15)
    begins = "only files whose path begins so, as hubcli/archive/; may be given several times"
    run.add_argument("--under", action="append", help=begins)
    run.add_argument("--minutes", type=float, default=60)
    run.add_argument("--jobs", type=int, default=2)
    run.add_argument("--results", type=Path, required=True)
    run.set_defaults(act=_run)
    for command in (measure, run):
        command.add_argument("--project", type=Path, default=Path.cwd())
        command.add_argument("--package", default="hubcli")
        command.add_argument("--tests", type=Path, help="another tests/ directory")
        command.add_argument("--measured", type=Path, required=True, help="folder of what measure writes")
    report = commands.add_parser("report", help="table by room, and the survivors")
    report.add_argument("results", type=Path)
    report.set_defaults(act=lambda options: _report(options.results))
    compare = commands.add_parser("compare", help="mutants that one run kills and the other doesn't")
    compare.add_argument("results", type=Path, nargs=2)
    compare.set_defaults(act=_compare)
    options = parser.parse_args()
    options.act(options)
    return 0


def _measure(options: argparse.Namespace) -> None:
    folder = options.measured.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "failures.txt").write_text("")
    with tempfile.TemporaryDirectory() as name:
        scratch = Scratch.make(Path(name), options.project.resolve(), options.tests)
        command = [str(scratch.python), "-m", "pytest", "-o", "addopts=", "-q", "-n", str(options.jobs)]
        command += ["-m", options.marks, "-p", "tools.mutants.plugin", "-p", "tools.test_times"]
        command += [
            f"--cov={options.package}",
            f"--cov-config={_COVERAGE}",
            "--cov-context=test",
            "--cov-report=",
        ]
        command += ["--times", str(folder / "times.tsv"), "--mutant-failures", str(folder / "failures.txt")]
        variables = scratch.environment(COVERAGE_FILE=str(folder / "coverage"))
        subprocess.run([*command, *options.paths], cwd=scratch.root, env=variables, check=False)
        # Fork servers end after the run, and so write after pytest-cov has combined.
        late = [str(path) for path in folder.glob("coverage.*")]
        if late:
            combine = [str(scratch.python), "-m", "coverage", "combine", "--append", *late]
            subprocess.run(combine, cwd=scratch.root, env=variables, check=False)


def _run(options: argparse.Namespace) -> None:
    project = options.project.resolve()
    mutants = choose(project, options.package, options.count, options.seed, tuple(options.under or ("",)))
    found = [options.measured / name for name in ("coverage", "times.tsv", "failures.txt")]
    data, times, failures = (path if path.exists() else None for path in found)
    reach = Reach.read(data, times, failures, options.package)
    with tempfile.TemporaryDirectory() as name:
        scratches = []
        for number in range(options.jobs):
            folder = Path(name, str(number))
            folder.mkdir()
            scratches.append(Scratch.make(folder, project, options.tests))
        run_all(mutants, scratches, reach, options.results, Limits(options.minutes * 60))
    _report(options.results)


def _report(results: Path, equivalents: Path = _EQUIVALENT) -> None:
    lines = [line.split("\t") for line in equivalents.read_text().splitlines()]
    reasons = {name: reason for name, _, reason in lines}
    rows = read_results(results)
    for row in rows:
        if row["status"] not in _KILLED and row["id"] in reasons:
            row["status"] = "equivalent"
    counts = Counter((row["room"], row["status"]) for row in rows)
    print(f"| room | mutants | {' | '.join(_STATUSES)} |\n|---|{'---|' * (len(_STATUSES) + 1)}")
    for room in [*sorted({row["room"] for row in rows}), "all"]:
        by = Counter[str]()
        for (own, status), number in counts.items():
            if room in (own, "all"):
                by["killed" if status in _KILLED else status] += number
        print(f"| {room} | {by.total()} | {' | '.join(str(by[status]) for status in _STATUSES)} |")
    for row in rows:
        if row["status"] == "equivalent":
            print(f"\nequivalent: {row['name']}\n{row['diff']}\n{reasons[row['id']]}")
        elif row["status"] not in _KILLED:
            left_out = f", {row['tests_left_out']} more not run" if row["tests_left_out"] else ""
            print(f"\n{row['status']}: {row['name']} ({row['tests']} tests{left_out})\n{row['diff']}")


def _compare(options: argparse.Namespace) -> None:
    first, second = ({row["id"]: row for row in read_results(path)} for path in options.results)
    print(f"{len(first.keys() & second.keys())} mutants in both")
    for killer, other, name in ((first, second, options.results[0]), (second, first, options.results[1])):
        print(f"killed by {name} alone:")
        for key in sorted(first.keys() & second.keys()):
            if killer[key]["status"] in _KILLED and other[key]["status"] not in _KILLED:
                print(f"  {killer[key]['name']}")


if __name__ == "__main__":
    raise SystemExit(main())
