"""`hubcli tier gc` of a shared tier with 100,000 models that all go: seconds and peak memory.

The tier is a directory, or with `--tier` an empty place in a bucket, whose variables are set, such as
`python -m benchmarks.ceph python -m benchmarks.tier_gc --tier s3://BUCKET/tier --models 2000`.

Run it from the top of the repository: `python -m benchmarks.tier_gc`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from benchmarks.measure import Contender, compare, options_parser, print_table, tool_beside
from hubcli.archive import FileRecord
from hubcli.config.settings import Settings
from hubcli.net.bucket_store import open_store
from hubcli.net.object_store import ObjectStore
from hubcli.providers.handle import key_of
from hubcli.tiers.layout import MARKER, blob_key, current_key, manifest_key, marker_bytes
from hubcli.tiers.manifest import Current, TierManifest

_MEMORY_BOUND_BYTES = 150_000_000
_THREADS, _BATCH = 16, 10_000
_FILES = tuple(FileRecord(f"variables/{name}", 1, "a" * 64) for name in ("a", "b", "c"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints the table; 1 where the memory is beyond its bound."""
    parser = options_parser("tier_gc", __doc__, rounds=1)
    parser.add_argument("--models", type=int, default=100_000, help="models in the tier")
    parser.add_argument("--tier", help="an empty place in a bucket, instead of a directory")
    options: argparse.Namespace = parser.parse_args(arguments)
    rows, peak = [], 0
    with tempfile.TemporaryDirectory(prefix="hubcli-tier-", dir=options.work_dir) as folder:
        work = Path(folder)
        for number in range(options.rounds):
            address = f"{options.tier}-{number}" if options.tier else str(work / f"tier-{number}")
            print(f"filling {address} with {options.models} models …", file=sys.stderr)
            _fill(open_store(address, Settings.read(os.environ, no_sync=True)), options.models)
            costs = compare([_collection(options.python, address)], 1, work, warms_up=False)
            (cost,) = costs["hubcli tier gc"]
            peak = max(peak, cost.peak_rss_bytes)
            rate = options.models / cost.seconds
            rows.append(
                (f"{options.models} models", f"{cost.seconds:.1f}", f"{rate:.0f}", f"{peak / 1e6:.0f}")
            )
    print_table(("tier", "seconds", "models a second", "peak MB"), rows)
    return 0 if peak <= _MEMORY_BOUND_BYTES else 1


def _collection(python: Path, address: str) -> Contender:
    command = [tool_beside(python, "hubcli"), "tier", "gc", "--tier", f"{address}?mode=read-write", "--json"]
    command += ["--max-count", "0", "--grace", "0s", "--yes"]
    return Contender("hubcli tier gc", lambda folder: command)


def _fill(store: ObjectStore, models: int) -> None:
    store.put(MARKER, marker_bytes())
    numbers = iter(range(models))
    with ThreadPoolExecutor(_THREADS) as pool:
        while batch := list(islice(numbers, _BATCH)):
            list(pool.map(lambda number: _put(store, number), batch))


def _put(store: ObjectStore, number: int) -> None:
    handle = f"https://tfhub.dev/maker/model-{number}/1"
    sha256, model = hashlib.sha256(handle.encode()).hexdigest(), key_of(handle)
    manifest = TierManifest.of(handle, (sha256, 10, "tar"), _FILES, source="", etag=None, now_s=0.0)
    store.put(blob_key(sha256), b"0123456789")
    store.put(manifest_key(model, sha256), manifest.to_bytes())
    store.put(current_key(model), Current(handle, (sha256,)).to_bytes())


if __name__ == "__main__":
    sys.exit(main())
