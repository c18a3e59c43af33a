"""`hubcli export` of a model of 400 MB in the page cache, against `cp -r`, `tar` and `pigz`.

Directories are compared twice: both synced to the disk, as hubcli does by default, and both not. The exit
status is 1 where an export, or one with a signature renamed, takes longer than its share of a synced `cp -r`.
The file system decides what a copy takes: `--work-dir` chooses it. Run it from the top of the repository:
`python -m benchmarks.export`.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import (
    Contender,
    Cost,
    compare,
    median_seconds,
    options_parser,
    print_table,
    tool_beside,
)
from benchmarks.verify import write_model

_HANDLE = "https://tfhub.dev/maker/large/1"
_COPY, _SYNCED_COPY, _TAR = "cp -r", "cp -r, synced", "tar cz"
_RENAME = ("--rename-signature", "serving_default=predict", "--no-compare")
_BOUNDS = {"hubcli export DIR": 1.3, "hubcli export DIR, renamed": 1.2}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints the table."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(prefix="hubcli-export-", dir=options.work_dir) as folder:
        work = Path(folder)
        print(f"writing a model of {options.size_mib} MiB …", file=sys.stderr)
        write_model(work / "model", options.size_mib << 20)
        contenders = _contenders(options.python, work, archives=not options.no_archives)
        costs = compare(contenders, options.rounds, work)
    print(f"model {options.size_mib} MiB, {options.rounds} rounds")
    _report(contenders, costs)
    copy = median_seconds(costs[_SYNCED_COPY])
    return int(any(median_seconds(costs[name]) > bound * copy for name, bound in _BOUNDS.items()))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = options_parser("export", __doc__, rounds=3)
    parser.add_argument("--size-mib", type=int, default=384, help="MiB of the model's tensors")
    parser.add_argument("--no-archives", action="store_true", help="measure directories alone")
    return parser.parse_args(arguments)


def _contenders(python: Path, work: Path, *, archives: bool) -> list[Contender]:
    """The forms of an export of a cached model, each beside the tools that people take for it."""
    cache, hubcli = work / "cache", tool_beside(python, "hubcli")
    fetch = [hubcli, "fetch", _HANDLE, "--from", str(work / "model"), "--cache-dir", str(cache)]
    cached = subprocess.run(fetch, check=True, capture_output=True, text=True).stdout.strip()

    def export(name: str, title: str = "", *options: str) -> Contender:
        def command(folder: Path) -> list[str]:
            return [hubcli, "export", _HANDLE, str(folder / name), "--cache-dir", str(cache), *options]

        return Contender(f"hubcli export {name}{title}", command)

    def shell(name: str, script: str) -> Contender:
        return Contender(name, lambda folder: ["sh", "-c", script, "sh", cached, str(folder)])

    directories = [
        export("DIR"),
        export("DIR", ", renamed", *_RENAME),
        shell(_SYNCED_COPY, 'cp -r "$1" "$2/DIR" && find "$2" -exec sync {} +'),
        export("DIR", ", not synced", "--no-sync"),
        export("DIR", ", renamed, not synced", "--no-sync", *_RENAME),
        shell(_COPY, 'cp -r "$1" "$2/DIR"'),
    ]
    if not archives:
        return directories
    contenders = [
        *directories,
        export("FILE.tar"),
        shell("tar c", 'tar -C "$1" -cf "$2/FILE.tar" .'),
        export("FILE.tar.gz"),
        shell(_TAR, 'tar -C "$1" -czf "$2/FILE.tar.gz" .'),
    ]
    if shutil.which("pigz"):
        contenders.append(shell("tar c | pigz", 'tar -C "$1" -c . | pigz > "$2/FILE.tar.gz"'))
    return contenders


def _report(contenders: Sequence[Contender], costs: dict[str, list[Cost]]) -> None:
    peers = [peer for peer in (_COPY, _SYNCED_COPY, _TAR) if peer in costs]
    rows = [
        (
            contender.name,
            f"{median_seconds(ours):.2f}",
            f"{statistics.median(cost.cpu_seconds for cost in ours):.2f}",
            f"{max(cost.peak_rss_bytes for cost in ours) / 1e6:.0f}",
            *(f"{median_seconds(ours) / median_seconds(costs[peer]):.2f}" for peer in peers),
        )
        for contender, ours in ((contender, costs[contender.name]) for contender in contenders)
    ]
    folds = (f"it / {peer}" for peer in peers)
    print_table(("command", "median s", "CPU s", "peak MB", *folds), rows)


if __name__ == "__main__":
    sys.exit(main())
