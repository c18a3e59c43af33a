"""`hubcli export` of a model of 400 MB in the page cache, against `cp -r`, `tar` and `pigz`.

Run it from the top of the repository: `python -m benchmarks.export`.
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
_COPY, _TAR = "cp -r", "tar cz"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints the table."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(prefix="hubcli-export-", dir=options.work_dir) as folder:
        work = Path(folder)
        print(f"writing a model of {options.size_mib} MiB …", file=sys.stderr)
        write_model(work / "model", options.size_mib << 20)
        contenders = _contenders(options.python, work)
        costs = compare(contenders, options.rounds, work)
    print(f"model {options.size_mib} MiB, {options.rounds} rounds")
    _report(contenders, costs)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = options_parser("export", __doc__, rounds=3)
    parser.add_argument("--size-mib", type=int, default=384, help="MiB of the model's tensors")
    return parser.parse_args(arguments)


def _contenders(python: Path, work: Path) -> list[Contender]:
    """The forms of an export of a cached model, each beside the tools that people take for it."""
    cache, hubcli = work / "cache", tool_beside(python, "hubcli")
    fetch = [hubcli, "fetch", _HANDLE, "--from", str(work / "model"), "--cache-dir", str(cache)]
    cached = subprocess.run(fetch, check=True, capture_output=True, text=True).stdout.strip()

    def export(name: str) -> Contender:
        def command(folder: Path) -> list[str]:
            return [hubcli, "export", _HANDLE, str(folder / name), "--cache-dir", str(cache)]

        return Contender(f"hubcli export {name}", command)

    def shell(name: str, script: str) -> Contender:
        return Contender(name, lambda folder: ["sh", "-c", script, "sh", cached, str(folder)])

    contenders = [
        export("DIR"),
        shell(_COPY, 'cp -r "$1" "$2/DIR"'),
        export("FILE.tar"),
        shell("tar c", 'tar -C "$1" -cf "$2/FILE.tar" .'),
        export("FILE.tar.gz"),
        shell(_TAR, 'tar -C "$1" -czf "$2/FILE.tar.gz" .'),
    ]
    if shutil.which("pigz"):
        contenders.append(shell("tar c | pigz", 'tar -C "$1" -c . | pigz > "$2/FILE.tar.gz"'))
    return contenders


def _report(contenders: Sequence[Contender], costs: dict[str, list[Cost]]) -> None:
    copy, packed = median_seconds(costs[_COPY]), median_seconds(costs[_TAR])
    rows = [
        (
            contender.name,
            f"{median_seconds(ours):.2f}",
            f"{statistics.median(cost.cpu_seconds for cost in ours):.2f}",
            f"{max(cost.peak_rss_bytes for cost in ours) / 1e6:.0f}",
            f"{median_seconds(ours) / copy:.2f}",
            f"{median_seconds(ours) / packed:.2f}",
        )
        for contender, ours in ((contender, costs[contender.name]) for contender in contenders)
    ]
    print_table(("command", "median s", "CPU s", "peak MB", f"it / {_COPY}", f"it / {_TAR}"), rows)


if __name__ == "__main__":
    sys.exit(main())
