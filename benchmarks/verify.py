"""`hubcli verify` of a model of 1 GiB in the page cache, against `cat` of the same files to /dev/null.

Run it from the top of the repository: `python -m benchmarks.verify`.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from benchmarks.measure import (
    Contender,
    compare,
    median_seconds,
    options_parser,
    print_ratios,
    tool_beside,
)
from hubcli.formats.checksums import extend_crc32c, mask_crc32c
from tests.formats.tables import delimited, index_of, number, varint

_HANDLE = "https://tfhub.dev/maker/large/1"
_TENSOR_BYTES = 64 << 20
_BLOCK_BYTES = 1 << 20
_FLOAT_BYTES = 4
_BOUND = 2.5
_PEER = "cat FILES > /dev/null"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints the table; 1 where a bound is not met."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(prefix="hubcli-verify-", dir=options.work_dir) as folder:
        work = Path(folder)
        print(f"writing a model of {options.size_mib} MiB …", file=sys.stderr)
        write_model(work / "model", options.size_mib << 20)
        contenders = _contenders(options.python, work)
        costs = compare(contenders, options.rounds, work)
    print(f"model {options.size_mib} MiB, {options.rounds} rounds")
    peer_s = median_seconds(costs[_PEER])
    return 0 if print_ratios(contenders, costs, "it / cat", lambda seconds: seconds / peer_s) else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = options_parser("verify", __doc__, rounds=5)
    parser.add_argument("--size-mib", type=int, default=1024, help="MiB of the model's tensors")
    return parser.parse_args(arguments)


def write_model(folder: Path, size_bytes: int, shards: int = 1) -> None:
    """The graph of the built-in example with shards of a given size together, in float tensors of 64 MiB."""
    example = (resources.files("hubcli.examples") / "mul-1.tar.gz").read_bytes()
    (folder / "variables").mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(example)) as archive:
        graph = next(member for member in archive if member.name.endswith("saved_model.pb"))
        content = archive.extractfile(graph)
        assert content is not None
        (folder / "saved_model.pb").write_bytes(content.read())
    # Small: what this process took, its children seem to have taken too.
    block, repeats = os.urandom(_BLOCK_BYTES), _TENSOR_BYTES // _BLOCK_BYTES
    crc = varint(6 << 3 | 5) + mask_crc32c(_crc_of(block, repeats)).to_bytes(4, "little")
    shape = delimited(2, delimited(2, number(1, _TENSOR_BYTES // _FLOAT_BYTES)))
    entries = []
    per_shard = size_bytes // _TENSOR_BYTES // shards
    for shard_number in range(shards):
        name = f"variables.data-{shard_number:05}-of-{shards:05}"
        with (folder / "variables" / name).open("wb") as shard:
            for place in range(per_shard):
                where = number(3, shard_number) + number(4, place * _TENSOR_BYTES) + number(5, _TENSOR_BYTES)
                key = b"tensor-%05d" % (shard_number * per_shard + place)
                entries.append((key, number(1, 1) + shape + where + crc))
                shard.writelines([block] * repeats)
    (folder / "variables" / "variables.index").write_bytes(index_of(entries, shards=shards))


def _crc_of(block: bytes, repeats: int) -> int:
    crc = 0
    for _ in range(repeats):
        crc = extend_crc32c(crc, block)
    return crc


def _contenders(python: Path, work: Path) -> list[Contender]:
    """The forms of hubcli's check, then the peer. The model is put into a cache, too."""
    model, cache, hubcli = work / "model", work / "cache", tool_beside(python, "hubcli")
    fetch = [hubcli, "fetch", _HANDLE, "--from", str(model), "--cache-dir", str(cache)]
    cached = subprocess.run(fetch, check=True, capture_output=True, text=True).stdout.strip()

    def verify(name: str, bound: float | None, *arguments: str) -> Contender:
        command = [hubcli, "verify", "--cache-dir", str(cache), *arguments]
        return Contender(f"hubcli verify {name}", lambda folder: command, bound=bound)

    files = [str(path) for path in sorted(Path(cached).rglob("*")) if path.is_file()]
    return [
        verify("DIR", _BOUND, str(model)),
        verify("--quick HANDLE", _BOUND, "--quick", _HANDLE),
        verify("HANDLE", None, _HANDLE),
        Contender("sha256sum FILES", lambda folder: ["sha256sum", *files]),
        Contender(_PEER, lambda folder: ["sh", "-c", 'exec cat "$@" > /dev/null', "cat", *files]),
    ]


if __name__ == "__main__":
    sys.exit(main())
