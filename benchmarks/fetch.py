"""A 400 MB model from nginx on loopback: hubcli against curl with tar, with pigz, and hub.resolve.

Then with the model on the disk at the end, against `curl | tar xz && sync -f` and against `--no-sync`.
Then from a server that gives each connection 20 MB/s: against curl, and aria2c with eight connections.

Run it from the top of the repository: `python -m benchmarks.fetch`.
"""

from __future__ import annotations

import argparse
import gzip
import io
import itertools
import math
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from benchmarks.measure import (
    Contender,
    compare,
    free_port,
    options_parser,
    report_ratios,
    tool_beside,
    wait_for_port,
)

_ARCHIVE = "model.tar.gz"
_FILES = 4
_BLOCK_BYTES = 4 << 20
_MEMORY_BOUND_BYTES = 80_000_000
_RESOLVE = "import sys, tensorflow_hub as hub; hub.resolve(sys.argv[1])"
_START_S = 10.0

_NGINX = """
daemon off;
master_process off;
worker_processes 1;
pid nginx.pid;
error_log error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    sendfile on;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{ listen 127.0.0.1:{port}; root www; location /slow/ {{ alias {www}/; limit_rate 20m; }} }}
}}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints the table; 1 where a bound is not met."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(prefix="hubcli-fetch-", dir=options.work_dir) as folder:
        work = Path(folder)
        (work / "www").mkdir()
        archive, size_bytes = work / "www" / _ARCHIVE, options.size_mb * 10**6
        print(f"packing a model of {options.size_mb} MB …", file=sys.stderr)
        pack_model(archive, size_bytes)
        packed_mb = archive.stat().st_size / 1e6
        print(f"model {options.size_mb} MB, archive {packed_mb:.0f} MB, {options.rounds} rounds", flush=True)
        status = 0
        with nginx(work) as port:
            host = f"http://127.0.0.1:{port}"
            parts = {
                "peers": _contenders(options.python, f"{host}/{_ARCHIVE}", size_bytes),
                "sync": _synced(options.python, f"{host}/{_ARCHIVE}"),
                "limited": _limited(options.python, f"{host}/slow/{_ARCHIVE}"),
            }
            for contenders in (parts[name] for name in options.parts or parts):
                status |= report_ratios(
                    contenders, compare(contenders, options.rounds, work), _MEMORY_BOUND_BYTES
                )
    return status


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = options_parser("fetch", __doc__, rounds=5)
    parser.add_argument("--size-mb", type=int, default=400, help="megabytes of the model, unpacked")
    parser.add_argument(
        "--part", dest="parts", action="append", choices=("peers", "sync", "limited"), help="this part alone"
    )
    return parser.parse_args(arguments)


def pack_model(archive: Path, size_bytes: int) -> None:
    """A tar.gz (gzip -6) of the built-in example with `size_bytes` of weight-like data as its assets."""
    example = resources.files("hubcli.examples") / "mul-1.tar.gz"
    with (
        example.open("rb") as packed,
        tarfile.open(fileobj=packed, mode="r:gz") as original,
        tarfile.open(archive, "w:gz", compresslevel=6, format=tarfile.USTAR_FORMAT) as target,
    ):
        for member in original:
            target.addfile(member, original.extractfile(member) if member.isfile() else None)
        for number in range(_FILES):
            member = tarfile.TarInfo(f"./assets/weights-{number}.bin")
            member.size = size_bytes // _FILES
            target.addfile(member, io.BufferedReader(_Weights(), _BLOCK_BYTES))


def pack_repeated(archive: Path, size_bytes: int) -> None:
    """The same with one large asset, in as many gzip streams as it has blocks: one block, packed once."""
    example, head = resources.files("hubcli.examples") / "mul-1.tar.gz", io.BytesIO()
    with (
        example.open("rb") as packed,
        tarfile.open(fileobj=packed, mode="r:gz") as original,
        tarfile.open(fileobj=head, mode="w", format=tarfile.USTAR_FORMAT) as target,
    ):
        for member in original:
            target.addfile(member, original.extractfile(member) if member.isfile() else None)
        blocks, end = size_bytes // _BLOCK_BYTES, target.offset
    asset = tarfile.TarInfo("./assets/weights.bin")
    asset.size = blocks * _BLOCK_BYTES
    block = gzip.compress(io.BufferedReader(_Weights(), _BLOCK_BYTES).read(_BLOCK_BYTES), 6)
    with archive.open("wb") as file:
        file.write(gzip.compress(head.getvalue()[:end] + asset.tobuf(tarfile.USTAR_FORMAT)))
        file.writelines(itertools.repeat(block, blocks))
        file.write(gzip.compress(bytes(2 * tarfile.BLOCKSIZE)))


class _Weights(io.RawIOBase):
    """Endless float32 numbers as weights are spread: gzip takes about 7 % off them."""

    def __init__(self) -> None:
        super().__init__()
        self._exponents = _exponent_bytes()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        block = bytearray(os.urandom(len(buffer)))
        # Little-endian float32: mantissas are noise, the fourth byte is the sign and most of the exponent.
        block[3::4] = block[3::4].translate(self._exponents)
        buffer[:] = block
        return len(buffer)


def _exponent_bytes() -> bytes:
    """For each of 256 equally likely bytes the top byte of a normally distributed float."""
    sigma = 0.05

    def below(exponent: int) -> float:
        """The probability of a smaller magnitude than 2 ** (exponent - 127)."""
        return math.erf(2.0 ** (exponent - 127) / sigma / math.sqrt(2))

    positive = bytearray()
    for half in range(128):  # The lowest bit of the exponent is in the byte before.
        positive += bytes([half]) * (round(below(2 * half + 2) * 128) - len(positive))
    return bytes(positive) + bytes(byte | 0x80 for byte in positive)


@contextmanager
def nginx(work: Path) -> Iterator[int]:
    """Serves `work`/www on loopback; the port."""
    binary = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    if binary is None:
        sys.exit("nginx is not installed")
    port = free_port()
    (work / "nginx.conf").write_text(_NGINX.format(port=port, www=work / "www"))
    command = [binary, "-p", str(work), "-c", "nginx.conf", "-e", "error.log"]
    with subprocess.Popen(command) as server:
        try:
            wait_for_port("nginx", port, server, _START_S)
            yield port
        finally:
            server.terminate()


def _contenders(python: Path, url: str, size_bytes: int) -> list[Contender]:
    """First hubcli, then its peers; without pigz where that is missing."""

    def pipeline(unpacker: str) -> list[str]:
        return ["bash", "-c", f'set -o pipefail; curl -sf "$0" | {unpacker}', url]

    def check(folder: Path) -> None:
        found = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if found < size_bytes // _FILES * _FILES:
            sys.exit(f"only {found} bytes were unpacked")

    contenders = [
        Contender(
            "hubcli fetch",
            lambda folder: [tool_beside(python, "hubcli"), "fetch", url],
            lambda folder: {"HUBCLI_CACHE_DIR": str(folder)},
            check,
        ),
        Contender(
            "curl | tar xz", lambda folder: [*pipeline('tar xz -C "$1"'), str(folder)], check=check, bound=0.5
        ),
        Contender(
            "curl | pigz -dc | tar x",
            lambda folder: [*pipeline('pigz -dc | tar x -C "$1"'), str(folder)],
            check=check,
            bound=1.1,
        ),
        Contender(
            "hub.resolve",
            lambda folder: [str(python), "-c", _RESOLVE, url],
            lambda folder: {"TFHUB_CACHE_DIR": str(folder)},
            check,
            bound=0.25,
        ),
    ]
    if shutil.which("pigz") is None:
        print("pigz is not installed: left out", file=sys.stderr)
        contenders = [contender for contender in contenders if "pigz" not in contender.name]
    return contenders


def _synced(python: Path, url: str) -> list[Contender]:
    """What it costs that the model stays through a power loss: the target is a tenth of a fetch."""

    def fetch(*options: str) -> Callable[[Path], Sequence[str]]:
        return lambda folder: [tool_beside(python, "hubcli"), "fetch", url, *options]

    def cache(folder: Path) -> Mapping[str, str]:
        return {"HUBCLI_CACHE_DIR": str(folder)}

    def peer(end: str) -> Callable[[Path], Sequence[str]]:
        script = f'set -o pipefail; curl -sf "$0" | tar xz -C "$1"{end}'
        return lambda folder: ["bash", "-c", script, url, str(folder)]

    return [
        Contender("hubcli fetch", fetch(), cache),
        Contender("hubcli fetch --no-sync", fetch("--no-sync"), cache, bound=1.1),
        Contender("curl | tar xz && sync -f", peer(' && sync -f "$1"'), bound=0.5),
        Contender("curl | tar xz", peer("")),
    ]


def _limited(python: Path, url: str) -> list[Contender]:
    """From a server with a limit for each connection: hubcli unpacks, its peers download alone."""
    contenders = [
        Contender(
            "hubcli fetch",
            lambda folder: [tool_beside(python, "hubcli"), "fetch", url],
            lambda folder: {"HUBCLI_CACHE_DIR": str(folder)},
        ),
        Contender("curl", lambda folder: ["curl", "-sf", "-o", str(folder / _ARCHIVE), url], bound=0.2),
    ]
    if shutil.which("aria2c") is None:
        print("aria2c is not installed: left out", file=sys.stderr)
        return contenders
    download = ["aria2c", "-q", "-x8", "-s8", "-k1M", "--file-allocation=none"]
    aria2c = Contender(
        "aria2c -x8", lambda folder: [*download, "-d", str(folder), "-o", _ARCHIVE, url], bound=1.25
    )
    return [*contenders, aria2c]


if __name__ == "__main__":
    sys.exit(main())
