"""`hubcli ls` of a cache of 10,000 models, against `du` and `ls -lR` of the same directory.

Run it from the top of the repository: `python -m benchmarks.ls`.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import sys
import tempfile
import time
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
from hubcli.archive import FileRecord
from hubcli.cache.records import Manifest
from hubcli.cache.store import Store
from hubcli.providers.handle import Handle

_BOUND_S = 1.0
_DAY_S = 86400
_SIZES_BYTES = {
    "fingerprint.pb": 56,
    "saved_model.pb": 250_000,
    "variables/variables.index": 4_000,
    # Sparse: takes no room on the disk.
    "variables/variables.data-00000-of-00001": 25_000_000,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints the table; 1 where the bound is not met."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(prefix="hubcli-ls-", dir=options.work_dir) as folder:
        work, root = Path(folder), Path(folder) / "cache"
        build_cache(root, options.entries)
        contenders = _contenders(options.python, root)
        costs = compare(contenders, options.rounds, work)
    print(f"{options.entries} models, {options.rounds} rounds")
    return _report(contenders, costs)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = options_parser("ls", __doc__, rounds=5)
    parser.add_argument("--entries", type=int, default=10_000, help="models in the cache")
    return parser.parse_args(arguments)


def build_cache(root: Path, entries: int) -> None:
    """Publishes this many models in the new cache, and says so."""
    print(f"building a cache of {entries} models …", file=sys.stderr)
    for number in range(entries):
        add_model(Store(root), number)


def add_model(store: Store, number: int) -> None:
    """Publishes a model as `hubcli fetch` does, with lock, manifest, descriptor and links."""
    handle = Handle.parse(f"https://tfhub.dev/publisher-{number % 97}/model-{number}/{number % 5 + 1}")
    fetched_at_s = time.time() - number % 400 * _DAY_S
    with (
        store.locked(handle, timeout_s=1, on_wait=lambda owner: None) as lock,
        store.staged(lock, handle) as staging,
    ):
        (staging.path / "variables").mkdir()
        for path, size in _SIZES_BYTES.items():
            with (staging.path / path).open("wb") as file:
                file.truncate(size + number)
        entry = staging.publish(_manifest(handle, number, fetched_at_s))
    store.link_aliases(handle, entry)


def _manifest(handle: Handle, number: int, fetched_at_s: float) -> Manifest:
    def sha256(text: str) -> str:
        return hashlib.sha256(f"{handle} {text}".encode()).hexdigest()

    return Manifest(
        handle=str(handle),
        aliases=handle.aliases,
        source=str(handle.archive_url),
        kind="TF2",
        files=tuple(FileRecord(path, size + number, sha256(path)) for path, size in _SIZES_BYTES.items()),
        fetched_at_s=fetched_at_s,
        last_used_at_s=fetched_at_s,
        etag=f'"{number:x}"',
        archive_sha256=sha256("archive"),
        archive_bytes=23_000_000 + number,
        format="tf2",
    )


def _contenders(python: Path, root: Path) -> list[Contender]:
    """The forms of hubcli's listing, then peers that know names, sizes and times, but no handles."""

    def hubcli(*options: str) -> Contender:
        return Contender(
            " ".join(("hubcli ls", *options)),
            lambda folder: [tool_beside(python, "hubcli"), "ls", "--cache-dir", str(root), *options],
        )

    return [
        hubcli(),
        hubcli("-q"),
        hubcli("--json"),
        Contender("du -d 1 --apparent-size", lambda folder: ["du", "-d", "1", "--apparent-size", str(root)]),
        Contender("ls -lR", lambda folder: ["ls", "-lR", str(root)]),
    ]


def _report(contenders: Sequence[Contender], costs: dict[str, list[Cost]]) -> int:
    own = median_seconds(costs[contenders[0].name])
    rows, all_met = [], True
    for contender in contenders:
        theirs = costs[contender.name]
        seconds, is_ours = median_seconds(theirs), contender.name.startswith("hubcli")
        all_met &= not is_ours or seconds <= _BOUND_S
        rows.append(
            (
                contender.name,
                f"{seconds:.2f}",
                f"{statistics.median(cost.cpu_seconds for cost in theirs):.2f}",
                f"{own / seconds:.2f}",
                f"{max(cost.peak_rss_bytes for cost in theirs) / 1e6:.0f}" if is_ours else "",
                f"{theirs[0].output_bytes / 1e6:.1f}",
                f"{_BOUND_S:.2f} s" if is_ours else "",
                ("met" if seconds <= _BOUND_S else "not met") if is_ours else "",
            )
        )
    titles = ("command", "median s", "CPU s", "hubcli ls / it", "peak MB", "output MB", "bound", "verdict")
    print_table(titles, rows)
    return 0 if all_met else 1


if __name__ == "__main__":
    sys.exit(main())
