"""Writes tests/data/cache-of-0.1.0.tar.xz: a cache as hubcli 0.1.0 leaves it, for tests/old_cache.py.

It needs a checkout of the release, and an environment with its dependencies, TensorFlow and tensorflow_hub:

    git worktree add --detach /tmp/hubcli-0.1.0 2b3f13c
    python -m tools.make_old_cache /tmp/hubcli-0.1.0

Every state is made by the tool that leaves it there: hubcli 0.1.0 by its command line, tensorflow_hub by
`hub.resolve`, from a server of the tests. Only kagglehub's own copies are written by hand, as its 1.0.2 does.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from tests import models
from tests import old_cache as old
from tests.entries import key_of
from tests.server import HubServer, Reply

_AGE_S = 60 * 86400
_SITE = f"""
import socket
socket.gethostname = lambda: {old.HOST_NAME!r}
"""
_MODELS = """
import sys
import tensorflow as tf, tf_keras
network = tf_keras.Sequential([tf_keras.layers.Input([2]), tf_keras.layers.Dense(1, name="dense")])
tf.saved_model.save(network, sys.argv[1])
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    x = tf.compat.v1.placeholder(tf.float32, [None], name="x")
    y = x * tf.compat.v1.get_variable("half", initializer=0.5)
    session.run(tf.compat.v1.global_variables_initializer())
    tf.compat.v1.saved_model.simple_save(session, sys.argv[2], {"x": x}, {"y": y})
"""
_RESOLVE = "import sys, tensorflow_hub as hub\nfor handle in sys.argv[1:]: hub.resolve(handle)"
_WAIT_S = 60.0


class Maker:
    """The programs of the release, on a server of the tests."""

    def __init__(self, checkout: Path, server: HubServer) -> None:
        self.server = server
        self.root = old.ORIGINAL / "cache"
        site = old.ORIGINAL / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(_SITE)
        mirrors = [f"{prefix}={server.url}" for prefix in ("https://tfhub.dev", "https://models.example")]
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(old.ORIGINAL / "home"),
            "PYTHONPATH": f"{checkout}:{site}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "HUBCLI_CACHE_DIR": str(self.root),
            "TFHUB_CACHE_DIR": str(self.root),
            "HUBCLI_MIRRORS": " ".join(mirrors),
            "HUBCLI_KAGGLE_ENDPOINT": server.url,
            "KAGGLEHUB_CACHE": str(old.ORIGINAL / "kagglehub"),
            # Handles of http:// reach the server as their proxy.
            "http_proxy": server.url,
            "no_proxy": "127.0.0.1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }

    def python(self, *arguments: str, **variables: str) -> None:
        """Runs the interpreter, and ends this program where it fails."""
        environment = {**self.environment, **variables}
        subprocess.run([sys.executable, *arguments], cwd=old.ORIGINAL, env=environment, check=True)

    def hubcli(self, *arguments: str, **variables: str) -> None:
        """Runs a command of 0.1.0."""
        self.python("-m", "hubcli", *arguments, **variables)

    def stop(self, handle: str, reply: Reply, number: signal.Signals, awaited: str) -> None:
        """Starts to fetch the handle, and sends the signal once the answer stalls and that file is there."""
        self.server.stalled.clear()
        self.server.serve(handle.removeprefix("https://tfhub.dev"), reply)
        command = [sys.executable, "-m", "hubcli", "fetch", "--retries", "0", handle]
        with subprocess.Popen(command, cwd=old.ORIGINAL, env=self.environment) as process:
            deadline = time.monotonic() + _WAIT_S
            while not (self.server.stalled.is_set() and any(self.root.glob(awaited))):
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"{handle} did not stall with {awaited} in the cache")
                time.sleep(0.05)
            process.send_signal(number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes the fixture anew."""
    parser = argparse.ArgumentParser(prog="python -m tools.make_old_cache", description=__doc__)
    parser.add_argument("checkout", type=Path, help="directory with the sources of hubcli 0.1.0")
    options = parser.parse_args(arguments)
    shutil.rmtree(old.ORIGINAL, ignore_errors=True)
    old.ORIGINAL.mkdir()
    with HubServer().running() as server:
        maker = Maker(options.checkout.resolve(), server)
        version = [sys.executable, "-c", "import hubcli; print(hubcli.__version__)"]
        result = subprocess.run(
            version, cwd=old.ORIGINAL, env=maker.environment, check=True, capture_output=True
        )
        if result.stdout != b"0.1.0\n":
            sys.exit(f"that is hubcli {result.stdout.decode().strip()}")
        _serve(maker)
        _fill(maker)
        _stop_downloads(maker)
    _make_older(old.ORIGINAL, timedelta(seconds=_AGE_S))
    _pack(old.ORIGINAL, old.FIXTURE)
    shutil.rmtree(old.ORIGINAL)
    return 0


def _serve(maker: Maker) -> None:
    server, work = maker.server, old.ORIGINAL
    maker.python("-c", _MODELS, str(work / "keras"), str(work / "tensorflow-1"))
    for name in ("text/1", "text/2", "newest", "plain/1"):
        server.serve(f"/maker/{name}", Reply(_example(name), etag=f'"{name}"'))
    for name in ("keras", "tensorflow-1"):
        server.serve(f"/maker/{name}/1", models.pack(models.tree_files(work / name)))
    for name in ("of-tensorflow-hub", "adopted", "pinned", "undescribed"):
        packed = models.pack(_files(name), with_folders=True)
        server.serve(f"/maker/{name}/1", packed)
    api = f"/api/v1/models/{old.KAGGLE_NAME}"
    body = json.dumps({"id": 7, "versionNumber": 2, "licenseName": "Apache 2.0"}).encode()
    server.serve(f"{api}/get", Reply(body, headers={"Content-Type": "application/json"}))
    for number in (1, 2):
        server.serve(f"{api}/{number}/download", _example(f"kaggle {number}"))


def _files(name: str) -> dict[str, bytes]:
    """A model that no other one is equal to."""
    return {**models.example_files(), "assets.extra/name.txt": name.encode()}


def _example(name: str) -> bytes:
    return models.pack(_files(name))


def _fill(maker: Maker) -> None:
    """Every kind of entry that is complete."""
    work = old.ORIGINAL
    maker.hubcli("fetch", old.ALIASES[old.FETCHED], old.NEWEST, old.PLAIN, old.KERAS, old.TENSORFLOW_1)
    maker.hubcli("fetch", "--pin", old.ALIASES[old.PINNED])
    maker.hubcli("fetch", "--kagglehub", old.ALIASES[old.KAGGLE])
    maker.hubcli("fetch", old.KAGGLE_LATEST, old.EXAMPLE, HUBCLI_GC="older-than=1000d")
    copy = models.write_tree(work / "kagglehub" / "models" / old.KAGGLE_NAME / "3", _files("kaggle 3"))
    copy.with_name("3.complete").touch()
    other = models.write_tree(copy.parent / "4", _files("kaggle 4"))
    other.with_name("4.complete").touch()
    maker.hubcli("fetch", old.KAGGLE_TAKEN)
    (work / "model.tar.gz").write_bytes(_example("archived"))
    maker.hubcli("fetch", old.ARCHIVED, "--from", "model.tar.gz")
    models.write_tree(work / "model", _files("directory"))
    maker.hubcli("fetch", old.DIRECTORY, "--from", "model")
    maker.python("-c", _RESOLVE, *old.TENSORFLOW_HUB)
    (maker.root / f"{key_of(old.UNDESCRIBED)}.descriptor.txt").unlink()
    maker.hubcli("fetch", old.ADOPTED)
    maker.hubcli("pin", old.PINNED_OF_TENSORFLOW_HUB)
    locked = [old.FETCHED, old.KAGGLE_LATEST, old.ARCHIVED, old.EXAMPLE]
    maker.hubcli("fetch", "--lock", "models.lock", *locked)


def _stop_downloads(maker: Maker) -> None:
    """Downloads that end in the middle: the small one is unpacked as it comes, large ones have a journal."""
    large = old.large_reply(stall_at=1 << 20)
    for handle, number in ((old.INTERRUPTED, signal.SIGINT), (old.KILLED, signal.SIGKILL)):
        maker.stop(handle, large, number, f"{key_of(handle)}.hubcli.part.journal")
    small = models.pack({**_files("small"), "assets.extra/more": bytes(200_000)}, level=0)
    staged = f"{key_of(old.KILLED_SMALL)}.*.tmp/saved_model.pb"
    maker.stop(old.KILLED_SMALL, Reply(small, stall_at=100_000), signal.SIGKILL, staged)


def _make_older(folder: Path, age: timedelta) -> None:
    """Moves everything back in time: the times of files, and those in records."""
    for path in (folder / "cache").iterdir():
        if path.name.endswith((".hubcli.json", ".descriptor.txt", ".hubcli.part.json")):
            times = path.stat()
            path.write_text(re.sub(r"\d{4}-\d\d-\d\d", lambda day: _earlier(day[0], age), path.read_text()))
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    for path in sorted(folder.rglob("*"), reverse=True):
        status = path.lstat()
        then = status.st_mtime - age.total_seconds()
        os.utime(path, (then, then), follow_symlinks=False)


def _earlier(day: str, age: timedelta) -> str:
    return str((datetime.fromisoformat(day) - age).date())


def _pack(folder: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    with tarfile.open(target, "w:xz", format=tarfile.PAX_FORMAT, preset=9) as archive:
        for top in ("cache", "kagglehub", "models.lock"):
            archive.add(folder / top, top, filter=_nobody)


def _nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The member without its owner."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    sys.exit(main())
