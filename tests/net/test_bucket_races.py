"""Writers of one bucket at the same time, each a process: one creates, and no update is lost."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tests.bucket_proxy import Fault, running_bucket_proxy
from tests.bucket_servers import BucketServer
from tests.forkserver import start_python
from tests.installed import require_installed

require_installed("obstore")

# Processes, and how many keys or counts each writes. The retries grow with the square of both.
SIZES = pytest.mark.parametrize(("writers", "count"), [(6, 6), pytest.param(12, 10, marks=pytest.mark.soak)])
_OPEN = """
import os, sys
from hubcli.config.settings import Settings
from hubcli.net import retries
from hubcli.net.bucket_store import open_store
retries.FIRST_WAIT_S = 0.05
store = open_store(sys.argv[1], Settings.read(dict(os.environ), retries=12))
"""
# Prints the keys that this process created.
_CREATE = (
    _OPEN
    + """
for number in range(int(sys.argv[3])):
    if store.create(f"key-{number}", f"{sys.argv[2]} {number}".encode()):
        print(number)
"""
)
# Adds one to a counter by compare-and-swap, once for each count. The name keeps writers apart.
_COUNT = (
    _OPEN
    + """
done = 0
while done < int(sys.argv[3]):
    data, info = store.read("counter", 1000)
    total = int(data.split()[0])
    done += store.replace("counter", f"{total + 1} by {sys.argv[2]} for {done}".encode(), info)
print(done)
"""
)


def run_at_once(code: str, server: BucketServer, address: str, writers: int, count: int) -> list[list[str]]:
    """What each of the processes printed, all of which end well."""
    outputs = [tempfile.TemporaryFile() for _ in range(writers)]  # noqa: SIM115 - closed below
    with Path(os.devnull).open("rb") as nothing:
        processes = [
            start_python(
                ["-c", code, address, f"writer-{number}", str(count)],
                (nothing.fileno(), output.fileno(), output.fileno()),
                env={**os.environ, **server.variables},
            )
            for number, output in enumerate(outputs)
        ]
    printed = []
    for process, output in zip(processes, outputs, strict=True):
        status = process.wait(120)
        with output:
            output.seek(0)
            text = output.read().decode()
        assert status == 0, text
        printed.append(text.split())
    return printed


def assert_races_are_decided(
    server: BucketServer, writers: int, count: int, *, answers_are_lost: bool = False
) -> None:
    from hubcli.config.settings import Settings
    from hubcli.net.bucket_store import open_store

    address = server.new_bucket() + "/races"
    winners = run_at_once(_CREATE, server, address, writers, count)
    assert sorted(number for printed in winners for number in printed) == [str(n) for n in range(count)]
    store = open_store(address, Settings.read({**os.environ, **server.variables}))
    for number in range(count):
        found = store.read(f"key-{number}", 100)
        assert found is not None
        (winner,) = [place for place, printed in enumerate(winners) if str(number) in printed]
        assert found[0].decode() == f"writer-{winner} {number}"
    info = store.head("key-0")
    assert info is not None
    store.delete("key-0")
    assert not store.replace("key-0", b"back again", info)
    assert store.head("key-0") is None
    store.put("counter", b"0 by nobody")
    run_at_once(_COUNT, server, address, writers, count)
    found = store.read("counter", 100)
    assert found is not None
    total = int(found[0].split()[0])
    # An update whose answer is lost, and which another one overwrites at once, is made again.
    assert total >= count * writers if answers_are_lost else total == count * writers


@pytest.mark.slow
@SIZES
def test_one_of_many_creates_and_no_update_is_lost_in_s3(
    s3_server: BucketServer, writers: int, count: int
) -> None:
    assert_races_are_decided(s3_server, writers, count)


@pytest.mark.slow
@SIZES
def test_one_of_many_creates_and_no_update_is_lost_in_googles_buckets(
    gcs_server: BucketServer, writers: int, count: int
) -> None:
    assert_races_are_decided(gcs_server, writers, count)


@pytest.mark.slow
@SIZES
def test_one_of_many_creates_and_no_update_is_lost_in_azure(
    azure_server: BucketServer, writers: int, count: int
) -> None:
    assert_races_are_decided(azure_server, writers, count)


@pytest.mark.slow
@SIZES
def test_races_are_decided_through_failures_and_lost_answers(
    s3_server: BucketServer, writers: int, count: int
) -> None:
    faults = [
        Fault("lost", "^PUT ", every=9),
        Fault("unavailable", every=17),
        Fault("dropped", "^(GET|PUT|HEAD)", every=19),
        Fault("conflict", "^PUT .*key", every=13),
    ]
    with running_bucket_proxy(s3_server.url, faults) as proxy:
        assert_races_are_decided(s3_server.through(proxy.url), writers, count, answers_are_lost=True)
