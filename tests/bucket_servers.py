"""Servers of buckets on loopback: moto for S3, Azurite for Azure, and one of our own for Google's.

Each is a process beside the tests that ends when they do, killed or not: as soon as its standard input is at
its end. `guarded` gives that to programs that don't read theirs. No cloud is ever asked, unless
HUBCLI_TEST_S3=1 has the S3 tests use the server of AWS_ENDPOINT_URL: `HUBCLI_TEST_S3=1 python -m
benchmarks.ceph pytest -m slow tests/tiers` has Ceph as the judge.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import importlib.util
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import pytest

__all__ = ["BucketServer", "guarded", "running_azurite", "running_gcs", "running_moto", "serve_program"]

ROOT = Path(__file__).parent.parent
_START_S = 60.0
# The account that every Azurite has, as its README tells.
_AZURITE_ACCOUNT = "devstoreaccount1"
_AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_MOTO = """
import logging
import sys
import threading
from moto.s3.responses import S3Response
from moto.server import ThreadedMotoServer
# moto looks at a condition, then writes: of two threads both may win, as in no real store.
lock, put_object = threading.Lock(), S3Response.put_object
def put_at_once(self):
    with lock:
        return put_object(self)
S3Response.put_object = put_at_once
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
logging.getLogger("werkzeug").disabled = True
server.start()
print("listening at http://127.0.0.1:%d" % server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
_numbers = itertools.count(1)
# Read before a test's fixtures clean the environment.
_CHOSEN = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
if os.environ.get("HUBCLI_TEST_S3") != "1":
    _CHOSEN = {}


@dataclass(frozen=True)
class BucketServer:
    """A server, its buckets' addresses, and the variables by which the clouds' own tools find it.

    `url` is where it listens; `through` gives the same server behind a proxy.
    """

    scheme: str
    url: str
    make_bucket: Callable[[str], None]
    key_id: str = "test"
    secret: str = "test-secret"

    @property
    def variables(self) -> dict[str, str]:
        """What a process needs in its environment: the endpoint, and credentials that the server takes."""
        if self.scheme == "s3":
            return {
                "AWS_ENDPOINT_URL": self.url,
                "AWS_ACCESS_KEY_ID": self.key_id,
                "AWS_SECRET_ACCESS_KEY": self.secret,
                "AWS_REGION": "us-east-1",
                "AWS_ALLOW_HTTP": "true",
            }
        if self.scheme == "gs":
            return {"STORAGE_EMULATOR_HOST": self.url}
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": _AZURITE_ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": _AZURITE_KEY,
            "AZURE_STORAGE_ENDPOINT": f"{self.url}/{_AZURITE_ACCOUNT}",
            "AZURE_STORAGE_ALLOW_HTTP": "true",
        }

    @property
    def checks_signatures(self) -> bool:
        """Whether it refuses requests that a proxy changed: moto and ours don't look."""
        return bool(_CHOSEN)

    def new_bucket(self) -> str:
        """The address of an empty bucket that nobody else uses, such as `s3://bucket-7`."""
        name = f"bucket-{os.getpid()}-{next(_numbers)}"
        self.make_bucket(name)
        return f"{self.scheme}://{name}"

    def through(self, url: str) -> BucketServer:
        """The same server, reached at another URL: that of a proxy in front of it."""
        return replace(self, url=url)

    def store_options(self) -> dict[str, Any]:
        """Options of `obstore.store.from_url` for tests that look into a bucket themselves."""
        if self.scheme == "s3":
            return {
                "endpoint": self.url,
                "access_key_id": self.key_id,
                "secret_access_key": self.secret,
                "region": "us-east-1",
                "client_options": {"allow_http": True},
            }
        if self.scheme == "gs":
            key = (
                f'{{"gcs_base_url": "{self.url}", "disable_oauth": true, "client_email": "", '
                '"private_key": "", "private_key_id": ""}'
            )
            return {"service_account_key": key, "client_options": {"allow_http": True}}
        return {
            "account_name": _AZURITE_ACCOUNT,
            "account_key": _AZURITE_KEY,
            "endpoint": f"{self.url}/{_AZURITE_ACCOUNT}",
            "client_options": {"allow_http": True},
        }


@contextmanager
def running_moto() -> Iterator[BucketServer]:
    """An S3 server by moto, or the one that the person chose; skips where moto isn't installed."""
    if _CHOSEN:
        yield _chosen_server()
        return
    if importlib.util.find_spec("moto") is None:
        pytest.skip("moto is not installed: pip install 'moto[s3,server]'")
    with serve_program([sys.executable, "-c", _MOTO]) as url:
        yield BucketServer("s3", url, lambda name: _ask("PUT", f"{url}/{name}"))


def _chosen_server() -> BucketServer:
    import boto3  # type: ignore[import-untyped]

    url, key_id, secret = (
        _CHOSEN[name] for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    )
    client = boto3.client("s3", endpoint_url=url, aws_access_key_id=key_id, aws_secret_access_key=secret)
    return BucketServer("s3", url, lambda name: client.create_bucket(Bucket=name), key_id, secret)


@contextmanager
def running_azurite() -> Iterator[BucketServer]:
    """An Azure server by Azurite, with its objects in memory; skips where npm hasn't installed it."""
    binary = shutil.which("azurite-blob") or shutil.which(
        "azurite-blob", path=str(ROOT / "node_modules" / ".bin")
    )
    if binary is None:
        pytest.skip("azurite-blob is not on PATH: npm install azurite")
    command = [binary, "--blobHost", "127.0.0.1", "--blobPort", "0"]
    command += ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--loose"]
    with serve_program(guarded(command)) as url:
        yield BucketServer("az", url, lambda name: _make_container(url, name))


@contextmanager
def running_gcs() -> Iterator[BucketServer]:
    """A server of Google's XML API, by tests/gcs_server.py: no emulator takes conditional writes."""
    with serve_program([sys.executable, "-m", "tests.gcs_server"]) as url:
        yield BucketServer("gs", url, lambda name: _ask("PUT", f"{url}/{name}"))


@contextmanager
def serve_program(command: Sequence[str]) -> Iterator[str]:
    """Runs a server that prints `http://127.0.0.1:PORT` once it listens, and ends with its input; the URL.

    Raises:
        RuntimeError: it ended, or didn't listen within a minute.
    """
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Timer(_START_S, process.terminate)
        late.start()
        try:
            found = None
            while found is None:
                line = process.stdout.readline()
                if not line:
                    raise RuntimeError(f"the server did not start: {command}")
                found = re.search(r"http://(?:127\.0\.0\.1|localhost):(\d+)", line)
            late.cancel()
            # Whatever it prints later is read, so that it never waits for us.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield f"http://127.0.0.1:{found[1]}"
        finally:
            late.cancel()
            process.stdin.close()
            process.wait(60)


def guarded(command: Sequence[str]) -> list[str]:
    """The command as one that ends when its standard input does."""
    return [sys.executable, "-m", "tests.bucket_servers", *command]


def _guard(command: Sequence[str]) -> int:
    """Runs the command until standard input ends, as it does when its writer is killed."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as server:

        def end_with_input() -> None:
            while os.read(0, 1024):  # Of sys.stdin a lock would be held at the end.
                pass
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)

        threading.Thread(target=end_with_input, daemon=True).start()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: os.killpg(server.pid, signal.SIGKILL))
        server.wait()
    return 0


def _ask(method: str, url: str, headers: Mapping[str, str] | None = None) -> None:
    request = Request(url, method=method, data=b"", headers=dict(headers or {}))
    build_opener(ProxyHandler({})).open(request, timeout=60).close()


def _make_container(url: str, name: str) -> None:
    """Signed by the shared key, as Azure's page "Authorize with Shared Key" has it."""
    date = formatdate(usegmt=True)
    path = f"/{_AZURITE_ACCOUNT}/{name}"
    signed = "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:2021-08-06\n"
    signed += f"/{_AZURITE_ACCOUNT}{path}\nrestype:container"
    # urllib sends this type with any body, and the signature has it in its sixth line.
    signed = signed.replace("PUT\n\n\n\n\n", "PUT\n\n\n\n\napplication/octet-stream", 1)
    digest = hmac.new(base64.b64decode(_AZURITE_KEY), signed.encode(), hashlib.sha256).digest()
    headers = {
        "x-ms-date": date,
        "x-ms-version": "2021-08-06",
        "Content-Type": "application/octet-stream",
        "Authorization": f"SharedKey {_AZURITE_ACCOUNT}:{base64.b64encode(digest).decode()}",
    }
    assert urlsplit(url).hostname == "127.0.0.1"
    _ask("PUT", f"{url}{path}?restype=container", headers)


if __name__ == "__main__":
    sys.exit(_guard(sys.argv[1:]))
