"""Two hubclis, row by row: an older and a newer one take turns at each command, on the same files.

Run it from the top of the repository: `python -m benchmarks.compare OLD NEW`. Each is a checkout, which runs
with this Python, or the Python of an environment that has hubcli. A row whose median is worse by more than
5 % is measured again with twice the rounds; where it stays so, it is marked, and the exit status is 1.
On a machine that does other work too, `--by cpu` judges by processor time, which that disturbs less.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from benchmarks.fetch import nginx
from benchmarks.measure import (
    Contender,
    Cost,
    compare,
    median_seconds,
    options_parser,
    print_table,
    tool_beside,
)
from benchmarks.models import MODELS, is_built

_WORSE = 1.05
_OLD, _NEW = "old", "new"
_LARGE = "https://tfhub.dev/maker/large/1"
_EXAMPLE = "example://mul/1"
_LISTED = "https://tfhub.dev/publisher-0/model-0/1"
_RULES = ("--older-than", "300d", "--keep-versions", "2", "--max-size", "10MB", "-q")
# In a process of its own: what this one takes of memory, the measured ones seem to take too.
_BUILD = """
import sys
from pathlib import Path
from benchmarks.fetch import pack_model
from benchmarks.ls import add_model
from benchmarks.verify import write_model
from hubcli.cache.store import Store
work, entries, size_bytes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) << 20
for number in range(entries):
    add_model(Store(work / "listed"), number)
write_model(work / "large", size_bytes)
pack_model(work / "www" / "model.tar.gz", size_bytes)
"""
_SCRIPT = """\
#!{python}
import sys
sys.path[0] = {checkout!r}
from {module} import {function}
sys.exit({function}())
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A command of both; `arguments` gets the fresh directory that one run may fill."""

    name: str
    arguments: Callable[[Path], Sequence[str]]
    environment: Callable[[Path], Mapping[str, str]] = field(default=lambda folder: {})
    exit_status: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """What both cost in one row, judged by time, or by processor time."""

    name: str
    old: Sequence[Cost]
    new: Sequence[Cost]
    by_cpu: bool = False

    @property
    def time_ratio(self) -> float:
        """The newer's median time by the older's."""
        return median_seconds(self.new) / median_seconds(self.old)

    @property
    def cpu_ratio(self) -> float:
        """The same of processor time."""
        old, new = (statistics.median(cost.cpu_seconds for cost in costs) for costs in (self.old, self.new))
        return new / old

    @property
    def is_worse(self) -> bool:
        """Whether it takes longer by more than is allowed."""
        return (self.cpu_ratio if self.by_cpu else self.time_ratio) > _WORSE

    def joined(self, again: Comparison) -> Comparison:
        """With the rounds of another measurement of the same row."""
        return replace(self, old=[*self.old, *again.old], new=[*self.new, *again.new])

    def cells(self) -> tuple[str, ...]:
        """What the table shows."""
        least = min(cost.seconds for cost in self.new) / min(cost.seconds for cost in self.old)
        peak = max(cost.peak_rss_bytes for cost in self.new) / max(cost.peak_rss_bytes for cost in self.old)
        return (
            self.name,
            f"{median_seconds(self.old) * 1000:.1f}",
            f"{median_seconds(self.new) * 1000:.1f}",
            f"{self.time_ratio:.3f}",
            f"{least:.3f}",
            f"{self.cpu_ratio:.3f}",
            f"{peak:.3f}",
            "WORSE" if self.is_worse else "",
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints the table; 1 where a row is worse."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(prefix="hubcli-compare-", dir=options.work_dir) as folder:
        work = Path(folder).resolve()
        scripts = {
            _OLD: console_script(options.old, work / _OLD),
            _NEW: console_script(options.new, work / _NEW),
        }
        found = []
        with _rows(scripts[_NEW], work, options) as rows:
            chosen = [row for row in rows if any(fnmatchcase(row.name, like) for like in options.rows)]
            for row in chosen:
                comparison = _measured(row, scripts, options.rounds, work)
                comparison = replace(comparison, by_cpu=options.by == "cpu")
                if comparison.is_worse:
                    comparison = comparison.joined(_measured(row, scripts, 2 * options.rounds, work))
                found.append(comparison)
    titles = ("command", "old ms", "new ms", "new / old", "of least", "of CPU", "of memory", "")
    print_table(titles, [comparison.cells() for comparison in found])
    worse = sum(comparison.is_worse for comparison in found)
    print(f"{len(found)} rows, {worse} worse by more than {_WORSE - 1:.0%}; {options.rounds} rounds")
    return 1 if worse else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = options_parser("compare", __doc__, rounds=11)
    parser.add_argument("old", type=Path, help="a checkout, or the Python of an environment")
    parser.add_argument("new", type=Path, help="likewise")
    parser.add_argument("--rows", nargs="+", default=["*"], metavar="PATTERN", help="only rows like these")
    parser.add_argument("--by", choices=("time", "cpu"), default="time", help="what decides (default: time)")
    parser.add_argument("--quick", action="store_true", help="small models: 64 MiB, and 500 in the cache")
    parser.add_argument("--entries", type=int, help="models in the cache (default: 10,000)")
    parser.add_argument("--size-mib", type=int, help="MiB of the large model (default: 384)")
    parser.add_argument("--model-dir", type=Path, help="where benchmarks.models has built its models")
    options = parser.parse_args(arguments)
    options.entries = options.entries or (500 if options.quick else 10_000)
    options.size_mib = options.size_mib or (64 if options.quick else 384)
    return options


def console_script(hubcli: Path, folder: Path) -> str:
    """The path of a console script, as pip would write it for the checkout."""
    if not hubcli.is_dir():
        return tool_beside(hubcli, "hubcli")
    entry = re.search(r'^hubcli = "([\w.]+):(\w+)"$', (hubcli / "pyproject.toml").read_text(), re.MULTILINE)
    if entry is None:
        sys.exit(f"{hubcli} is no checkout of hubcli")
    folder.mkdir()
    script = folder / "hubcli"
    script.write_text(
        _SCRIPT.format(
            python=sys.executable, checkout=str(hubcli.resolve()), module=entry[1], function=entry[2]
        )
    )
    script.chmod(0o755)
    return str(script)


def _measured(row: Row, scripts: Mapping[str, str], rounds: int, work: Path) -> Comparison:
    print(f"{row.name} …", file=sys.stderr)

    def contender(name: str) -> Contender:
        return Contender(
            name,
            lambda folder: [scripts[name], *row.arguments(folder)],
            row.environment,
            exit_status=row.exit_status,
        )

    costs = compare([contender(_OLD), contender(_NEW)], rounds, work, tells_rounds=False)
    return Comparison(row.name, costs[_OLD], costs[_NEW])


# The rows -----------------------------------------------------------------------------------------


@contextmanager
def _rows(hubcli: str, work: Path, options: argparse.Namespace) -> Iterator[list[Row]]:
    """Every row, while the files and the server are there that they need."""
    entries, size_mib, large = options.entries, options.size_mib, work / "large"
    print(f"building a cache of {entries} models, and a model of {size_mib} MiB …", file=sys.stderr)
    (work / "www").mkdir()
    top = Path(__file__).parent.parent
    subprocess.run([sys.executable, "-c", _BUILD, work, str(entries), str(size_mib)], cwd=top, check=True)
    _run(hubcli, "fetch", "-q", "--cache-dir", str(work / "cache"), _EXAMPLE)
    _run(hubcli, "fetch", "-q", "--cache-dir", str(work / "cache"), _LARGE, "--from", str(large))
    _run(hubcli, "export", "-q", "--cache-dir", str(work / "cache"), _EXAMPLE, str(work / "example"))
    with nginx(work) as port:
        yield [
            *_starts(work),
            *_listings(work / "listed"),
            *_models(work, large),
            *_built(options.model_dir),
            *_downloads(f"http://127.0.0.1:{port}"),
        ]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _fixed(name: str, *arguments: str, cache: Path | None = None, exit_status: int = 0) -> Row:
    """A row whose command is the same in each run."""
    where = () if cache is None else ("--cache-dir", str(cache))
    return Row(name, lambda _: [*arguments, *where], exit_status=exit_status)


def _starts(work: Path) -> list[Row]:
    cache = work / "cache"
    return [
        _fixed("--version", "--version"),
        _fixed("--help", "--help"),
        _fixed("fetch --help", "fetch", "--help"),
        _fixed("usage error", "ls", "--sort", "colour", exit_status=2),
        _fixed("ls, small cache", "ls", cache=cache),
        _fixed("pin", "pin", _EXAMPLE, cache=cache),
        _fixed("fetch -q, cached", "fetch", "-q", _EXAMPLE, cache=cache),
        _fixed("fetch --dry-run, cached", "fetch", "--dry-run", _EXAMPLE, cache=cache),
        Row("fetch -q, built in", lambda folder: ["fetch", "-q", _EXAMPLE, "--cache-dir", str(folder)]),
        _fixed("gc, nothing to do", "gc", cache=cache),
    ]


def _listings(cache: Path) -> list[Row]:
    return [
        _fixed("ls", "ls", cache=cache),
        _fixed("ls -q", "ls", "-q", cache=cache),
        _fixed("ls --json", "ls", "--json", cache=cache),
        _fixed("ls PATTERN", "ls", "*publisher-1/*", "--filter", "size>1kB", cache=cache),
        _fixed("ls --path HANDLE", "ls", "--path", _LISTED, cache=cache),
        _fixed("gc --dry-run", "gc", "--dry-run", *_RULES, cache=cache),
    ]


def _models(work: Path, large: Path) -> list[Row]:
    cache, example = work / "cache", str(work / "example")
    values = ("--weights", example, "--method", "rewrite", "--allow-unchanged", "-q")

    def export(name: str) -> Row:
        command = ["export", "-q", _LARGE, "--cache-dir", str(cache)]
        return Row(f"export {name}", lambda folder: [*command, str(folder / name)])

    return [
        _fixed("inspect", "inspect", example),
        _fixed("inspect --json", "inspect", "--json", example),
        _fixed("inspect --check", "inspect", "--check", example),
        _fixed("inspect --scan", "inspect", "--scan", example),
        _fixed("inspect --diff", "inspect", "--diff", example, example),
        _fixed("verify, small", "verify", example),
        _fixed("verify DIR", "verify", str(large)),
        _fixed("verify --quick HANDLE", "verify", "--quick", _LARGE, cache=cache),
        _fixed("verify HANDLE", "verify", _LARGE, cache=cache),
        export("DIR"),
        export("FILE.tar"),
        export("FILE.tar.gz"),
        Row("finetune-export", lambda folder: ["finetune-export", example, str(folder / "out"), *values]),
        _fixed("finetune-export --dry-run", "finetune-export", example, "--dry-run", "--weights", example),
    ]


def _built(folder: Path | None) -> list[Row]:
    """Of the models of benchmarks.models those that are there."""
    if folder is None:
        return []
    there = [name for name in MODELS if is_built(folder, name)]
    return [_fixed(f"inspect {name}", "inspect", str(folder / name)) for name in there]


def _downloads(host: str) -> list[Row]:
    def cache(folder: Path) -> Mapping[str, str]:
        return {"HUBCLI_CACHE_DIR": str(folder)}

    fast, slow = f"{host}/model.tar.gz", f"{host}/slow/model.tar.gz"
    return [
        Row("fetch", lambda _: ["fetch", "-q", fast], cache),
        Row("fetch --no-sync", lambda _: ["fetch", "-q", "--no-sync", fast], cache),
        Row("fetch, 20 MB/s a connection", lambda _: ["fetch", "-q", slow], cache),
        Row("inspect, remote", lambda _: ["inspect", slow, "--signatures"], cache),
    ]


if __name__ == "__main__":
    sys.exit(main())
