"""The servers that stand in for clouds do what tests rely on: conditional writes, faults, their own end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.bucket_proxy import BucketProxy, Fault
from tests.bucket_servers import BucketServer

obstore = pytest.importorskip("obstore", reason="obstore is not installed: pip install 'hubcli[buckets]'")
ROOT = Path(__file__).parent.parent


def open_bucket(server: BucketServer, **options: Any) -> Any:
    return obstore.store.from_url(server.new_bucket(), **server.store_options(), **options)


def no_retries() -> dict[str, Any]:
    return {"retry_config": {"max_retries": 0}}


def writes_are_conditional(server: BucketServer) -> None:
    store = open_bucket(server)
    obstore.put(store, "key", b"first", mode="create")
    with pytest.raises(obstore.exceptions.AlreadyExistsError):
        obstore.put(store, "key", b"second", mode="create")
    seen = obstore.head(store, "key")
    version = {"version": seen["version"]} if server.scheme == "gs" else {"e_tag": seen["e_tag"]}
    obstore.put(store, "key", b"third", mode=version)
    with pytest.raises(obstore.exceptions.PreconditionError):
        obstore.put(store, "key", b"fourth", mode=version)
    with pytest.raises(obstore.exceptions.PreconditionError):
        obstore.get(store, "key", options={"if_match": seen["e_tag"]})
    assert bytes(obstore.get(store, "key").bytes()) == b"third"


@pytest.mark.slow
def test_moto_takes_conditional_writes(s3_server: BucketServer) -> None:
    writes_are_conditional(s3_server)


def test_our_server_of_googles_api_takes_conditional_writes(gcs_server: BucketServer) -> None:
    writes_are_conditional(gcs_server)


@pytest.mark.slow
def test_azurite_takes_conditional_writes(azure_server: BucketServer) -> None:
    writes_are_conditional(azure_server)


def test_our_server_of_googles_api_lists_pages_and_folders(gcs_server: BucketServer) -> None:
    store = open_bucket(gcs_server)
    for number in range(1005):
        obstore.put(store, f"k/{number % 3}/{number:04}", b"")
    keys = [item["path"] for page in obstore.list(store) for item in page]
    assert keys == sorted(f"k/{number % 3}/{number:04}" for number in range(1005))
    assert obstore.list_with_delimiter(store, "k")["common_prefixes"] == ["k/0", "k/1", "k/2"]


@pytest.mark.slow
def test_the_proxy_spoils_what_it_is_asked_to(s3_server: BucketServer, s3_proxy: BucketProxy) -> None:
    store = open_bucket(s3_server.through(s3_proxy.url), **no_retries())
    obstore.put(store, "key", b"0123456789")
    for kind, error in (
        ("unavailable", obstore.exceptions.GenericError),
        ("dropped", obstore.exceptions.GenericError),
        ("truncated", obstore.exceptions.GenericError),
        ("denied", obstore.exceptions.PermissionDeniedError),
    ):
        s3_proxy.faults[:] = [Fault(kind, "^GET .*key", times=1)]  # type: ignore[arg-type]
        with pytest.raises(error):
            obstore.get(store, "key").bytes()
        assert bytes(obstore.get(store, "key").bytes()) == b"0123456789", kind
    s3_proxy.faults[:] = [Fault("tampered", "^GET .*key", times=1)]
    assert bytes(obstore.get(store, "key").bytes()) == b"0123446789"
    s3_proxy.faults[:] = [Fault("lost", "^PUT .*other", times=1)]
    with pytest.raises(obstore.exceptions.GenericError):
        obstore.put(store, "other", b"written")
    assert bytes(obstore.get(store, "other").bytes()) == b"written"
    s3_proxy.faults[:] = [Fault("unconditional", "^PUT ")]
    obstore.put(store, "key", b"lost update", mode="create")
    assert s3_proxy.count("^PUT .*key") == 2


_SESSION = """
import sys, time
from tests.bucket_servers import guarded, serve_program
code = "import os, time; print('http://127.0.0.1:1', os.getpid(), flush=True); time.sleep(600)"
with serve_program(guarded([sys.executable, "-c", code])):
    print("running", flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_a_server_ends_with_tests_that_are_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _SESSION], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as session:
        assert session.stdout is not None
        assert session.stdout.readline() == "running\n"
        descendants = _descendants(session.pid)
        assert len(descendants) == 2  # The guard and its server.
        session.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while any(_is_running(pid) for pid in descendants):
        assert time.monotonic() < deadline, "the server outlived its tests"
        time.sleep(0.02)


def _descendants(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    parents = {int(line.split()[0]): int(line.split()[1]) for line in listed.stdout.splitlines()}
    found = [pid]
    for parent in found:
        found += [child for child, its_parent in parents.items() if its_parent == parent]
    return found[1:]


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return not state.stdout.strip().startswith("Z") and bool(state.stdout.strip())
