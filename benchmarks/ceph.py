"""A Ceph cluster of one machine with its S3 gateway on loopback, for benchmarks and tests.

`python -m benchmarks.ceph` starts it, prints the variables that lead the clouds' tools there, and serves
until it is interrupted; `python -m benchmarks.ceph COMMAND…` runs a command with these variables and ends.
Needed are radosgw, ceph-mon and ceph-osd (on Debian: packages of these names). Objects are in memory.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.measure import free_port, wait_for_port

__all__ = ["running_ceph"]

_START_S = 90.0
_KEY_ID = "benchmark"
_SECRET = "benchmark-secret"
# Without the four modes the gateway never connects, and without tcp_nodelay each answer takes 40 ms more.
_CONFIGURATION = """
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{mon_port}
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
ms client mode = crc
ms service mode = crc
ms cluster mode = crc
ms bind msgr1 = false
public network = 127.0.0.0/8
osd objectstore = memstore
memstore device bytes = {memory_bytes}
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail crit = 1
mon osd min in ratio = 0
run dir = {folder}
admin socket = {folder}/$cluster-$name.asok
log file = {folder}/$name.log
pid file = {folder}/$name.pid
crash dir = {folder}

[mon.a]
mon data = {folder}/mon
mon addr = v2:127.0.0.1:{mon_port}

[osd.0]
osd data = {folder}/osd

[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw data = {folder}/rgw
"""


@contextmanager
def running_ceph() -> Iterator[dict[str, str]]:
    """The variables that lead S3 clients to a new cluster, which ends with the context.

    Raises:
        SystemExit: a program of Ceph's is missing, or doesn't start.
    """
    missing = [name for name in ("radosgw", "ceph-mon", "ceph-osd") if shutil.which(name) is None]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}")
    port, mon_port = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="ceph-") as name, ExitStack() as programs:
        folder = Path(name)
        for part in ("mon", "osd", "rgw"):
            (folder / part).mkdir()
        fsid = str(uuid.uuid4())
        configuration = _CONFIGURATION.format(
            fsid=fsid, mon_port=mon_port, port=port, folder=folder, memory_bytes=8 << 30
        )
        (folder / "ceph.conf").write_text(configuration)
        cluster = _Cluster(folder, programs)
        address = f"[v2:127.0.0.1:{mon_port}]"
        cluster.run("monmaptool", "--create", "--addv", "a", address, "--fsid", fsid, str(folder / "monmap"))
        cluster.run("ceph-mon", "-i", "a", "--mkfs", "--monmap", str(folder / "monmap"))
        cluster.start("ceph-mon", "-i", "a")
        cluster.run("ceph", "--connect-timeout", "30", "osd", "create")
        cluster.run("ceph-osd", "-i", "0", "--mkfs")
        cluster.start("ceph-osd", "-i", "0")
        user = ["user", "create", "--uid=benchmark", "--display-name=benchmark"]
        cluster.run("radosgw-admin", *user, f"--access-key={_KEY_ID}", f"--secret-key={_SECRET}")
        wait_for_port("radosgw", port, cluster.start("radosgw", "-n", "client.rgw"), _START_S)
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": _KEY_ID,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }


class _Cluster:
    """Runs Ceph's programs on one configuration, and ends those that serve."""

    def __init__(self, folder: Path, programs: ExitStack) -> None:
        self._folder, self._programs = folder, programs

    def run(self, program: str, *arguments: str) -> None:
        """Runs a program to its end."""
        if program != "monmaptool":
            arguments = ("-c", str(self._folder / "ceph.conf"), *arguments)
        result = subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=_START_S, check=False
        )
        if result.returncode:
            sys.exit(f"{program} failed with {result.returncode}:\n{result.stderr}")

    def start(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts a program that serves in the foreground."""
        log = self._programs.enter_context((self._folder / f"{program}.out").open("wb"))
        command = [program, "-c", str(self._folder / "ceph.conf"), *arguments, "-f"]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        self._programs.callback(process.wait)
        self._programs.callback(process.kill)  # Called before `wait`: its data are worth nothing.
        return process


def main(command: Sequence[str]) -> int:
    """Runs the command beside the cluster, or serves until it is interrupted; the command's exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with running_ceph() as variables:
        if command:
            return subprocess.run(command, env={**os.environ, **variables}, check=False).returncode
        for name, value in variables.items():
            print(f"export {name}={value}", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
