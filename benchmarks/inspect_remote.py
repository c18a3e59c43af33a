"""`hubcli inspect` of an archive on a host, against `hubcli fetch`: time, and bytes that the host sent.

The host is nginx with 20 MB/s for each connection. One archive is made by `hubcli export`, the other
has its shard before its index, as tar packs a directory. Run it from the top of the repository:
`python -m benchmarks.inspect_remote`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.fetch import nginx, pack_model
from benchmarks.measure import options_parser, print_table, tool_beside

_READ = re.compile(r"Read ([\d.]+ \w+) of the archive")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints the table."""
    parser = options_parser("inspect_remote", __doc__, rounds=3)
    parser.add_argument("--size-mb", type=int, default=400, help="size of the model (default: 400)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="hubcli-inspect-remote-", dir=options.work_dir) as folder:
        work = Path(folder)
        www = work / "www"
        www.mkdir()
        hubcli = [tool_beside(options.python, "hubcli")]
        pack_model(work / "model.tar.gz", options.size_mb * 10**6)
        with tarfile.open(work / "model.tar.gz") as archive:
            archive.extractall(work / "model", filter="data")
        _pack_shard_first(work / "model", www / "any.tar.gz")
        subprocess.run([*hubcli, "export", str(work / "model"), str(www / "ours.tar.gz"), "-q"], check=True)
        rows = []
        with nginx(work) as port:
            for name in ("ours", "any"):
                url = f"http://127.0.0.1:{port}/slow/{name}.tar.gz"
                fetch_s, _ = _median([*hubcli, "fetch", url], work, options.rounds)
                for parts in ((), ("--signatures",)):
                    seconds, read = _median([*hubcli, "inspect", url, *parts], work, options.rounds)
                    row = (name, " ".join(("inspect", *parts)), read, f"{seconds:.2f}")
                    rows.append((*row, f"{fetch_s:.2f}", f"{seconds / fetch_s:.2f}"))
    print_table(("archive", "command", "read", "s", "fetch, s", "ratio"), rows)
    return 0


def _pack_shard_first(model: Path, packed: Path) -> None:
    shards = sorted(model.glob("variables/variables.data-*"))
    others = sorted(path for path in model.rglob("*") if path not in shards)
    with tarfile.open(packed, "w:gz", compresslevel=1) as archive:
        for path in (*shards, *others):
            archive.add(path, f"./{path.relative_to(model)}", recursive=False)


def _median(command: Sequence[str], work: Path, rounds: int) -> tuple[float, str]:
    """Median seconds with an empty cache each, and what the command says that it read."""
    seconds, read = [], ""
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=work) as cache:
            environment = {**os.environ, "HUBCLI_CACHE_DIR": cache}
            began_s = time.monotonic()
            result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            seconds.append(time.monotonic() - began_s)
            match = _READ.search(result.stderr)
            read = match[1] if match is not None else ""
    return sorted(seconds)[len(seconds) // 2], read


if __name__ == "__main__":
    sys.exit(main())
