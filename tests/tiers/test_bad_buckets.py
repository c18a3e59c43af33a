"""A tier in a bucket that fails or lies: all models are right, and what it lacks comes from the origin."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hubcli.tiers.layout import blob_key, current_key, manifest_key
from tests.bucket_proxy import BucketProxy, Fault, running_bucket_proxy
from tests.bucket_servers import BucketServer
from tests.installed import require_installed
from tests.tiers.machines import Fleet, running_fleet

require_installed("obstore")
pytestmark = pytest.mark.slow
WRITES = "^(PUT|POST|DELETE) "


class Bucket:
    """The tier's bucket as a test looks into it, past the proxy and past hubcli."""

    def __init__(self, server: BucketServer, address: str) -> None:
        import obstore

        self.obstore = obstore
        self.store = obstore.store.from_url(f"{address}/hub", **server.store_options())

    def keys(self) -> list[str]:
        return [item["path"] for page in self.obstore.list(self.store) for item in page]

    def read(self, key: str) -> bytes:
        return bytes(self.obstore.get(self.store, key).bytes())

    def write(self, key: str, data: bytes) -> None:
        self.obstore.put(self.store, key, data)

    def change(self, key: str, **values: Any) -> None:
        """Writes other values into a JSON document."""
        self.write(key, json.dumps({**json.loads(self.read(key)), **values}).encode())


@contextmanager
def fleet_behind_proxy(
    folder: Path, server: BucketServer, model_count: int = 2
) -> Iterator[tuple[Fleet, BucketProxy, Bucket]]:
    """Machines that reach their tier through a proxy that fails on demand."""
    address = server.new_bucket()
    with running_bucket_proxy(server.url) as proxy:
        variables = server.through(proxy.url).variables
        tier = f"{address}/hub?mode=read-write&lease=4s"
        with running_fleet(folder, tier, variables, model_count=model_count) as fleet:
            yield fleet, proxy, Bucket(server, address)


def fetch_all(fleet: Fleet, machine: int, *options: str) -> str:
    """What the machine prints while it fetches every model, all of them right."""
    status, text = fleet.run(machine, "fetch", "--no-sync", *options, *fleet.handles)
    assert status == 0, text
    assert "Traceback" not in text
    fleet.assert_all_right(machine)
    return text


def test_failures_that_pass_cost_time_alone(tmp_path: Path, s3_server: BucketServer) -> None:
    faults = (
        Fault("unavailable", every=5),
        Fault("slow", every=7, seconds=0.3),
        Fault("dropped", every=11),
        Fault("lost", "^PUT ", every=6),
        Fault("truncated", "^GET .*blobs", every=2),
    )
    with fleet_behind_proxy(tmp_path, s3_server) as (fleet, proxy, _):
        proxy.faults[:] = faults
        for machine in range(2):
            lines = fetch_all(fleet, machine).splitlines()
            # A request that is retried may have failed: that for the clock says so.
            assert not [line for line in lines if "failed" in line and ": retrying in " not in line]
        assert [fleet.downloads(handle) for handle in fleet.handles] == [1, 1]
        assert proxy.count("blobs") > 0


def test_a_bucket_that_never_answers_is_told_and_passed_over(tmp_path: Path, s3_server: BucketServer) -> None:
    for kind, reason in (("unavailable", "503"), ("denied", "403"), ("dropped", "")):
        with fleet_behind_proxy(tmp_path / kind, s3_server, 1) as (fleet, proxy, bucket):
            proxy.faults[:] = [Fault(kind)]  # type: ignore[arg-type]
            text = fetch_all(fleet, 0, "--retries", "1")
            assert "Shared tier s3://" in text, kind
            assert reason in text
            status, text = fleet.run(1, "fetch", "--retries", "1", "--require-tier", *fleet.handles)
            assert status == 12, text
            assert bucket.keys() == []
            assert fleet.downloads(fleet.handles[0]) == 1


def test_a_bucket_that_loses_conditional_writes_is_not_written_to(
    tmp_path: Path, s3_server: BucketServer
) -> None:
    if s3_server.checks_signatures:
        pytest.skip("a server that checks signatures takes no request without its signed conditions")
    with fleet_behind_proxy(tmp_path, s3_server) as (fleet, proxy, bucket):
        proxy.faults[:] = [Fault("unconditional", "^PUT ")]
        assert "does not support conditional writes" in fetch_all(fleet, 0)
        assert bucket.keys() == []
        for arguments in (("push", "--all"), ("tier", "gc", "-y", "--max-count", "0")):
            status, text = fleet.run(0, *arguments)
            assert status not in (0, 1), text
            assert bucket.keys() == []


def test_a_bucket_that_denies_writes_is_read(tmp_path: Path, s3_server: BucketServer) -> None:
    with fleet_behind_proxy(tmp_path, s3_server) as (fleet, proxy, _):
        fetch_all(fleet, 0)
        proxy.faults[:] = [Fault("denied", WRITES)]
        request_count = len(fleet.origin.requests)
        assert "failed" not in fetch_all(fleet, 1)  # A use that can't be recorded is no failure.
        assert len(fleet.origin.requests) == request_count
        status, text = fleet.run(1, "push", "--force", "--all")
        assert status == 3 or "403" in text, (status, text)


def test_writes_that_are_denied_are_a_note(tmp_path: Path, s3_server: BucketServer) -> None:
    with fleet_behind_proxy(tmp_path, s3_server) as (fleet, proxy, bucket):
        proxy.faults[:] = [Fault("denied", WRITES)]
        assert "access is denied" in fetch_all(fleet, 0)
        assert bucket.keys() == []


def spoil_blob(bucket: Bucket, key: str, sha256: str) -> None:
    content = bytearray(bucket.read(blob_key(sha256)))
    content[len(content) // 2] ^= 1
    bucket.write(blob_key(sha256), bytes(content))


def shorten_blob(bucket: Bucket, key: str, sha256: str) -> None:
    bucket.write(blob_key(sha256), bucket.read(blob_key(sha256))[:-1000])


def replace_blob(bucket: Bucket, key: str, sha256: str) -> None:
    bucket.write(blob_key(sha256), b"\x1f\x8b" + bytes(1 << 20))


def remove_blob(bucket: Bucket, key: str, sha256: str) -> None:
    bucket.obstore.delete(bucket.store, blob_key(sha256))


def lie_about_files(bucket: Bucket, key: str, sha256: str) -> None:
    path = manifest_key(key, sha256)
    document = json.loads(bucket.read(path))
    document["files"][0]["sha256"] = "0" * 64
    bucket.write(path, json.dumps(document).encode())


def lie_about_tree(bucket: Bucket, key: str, sha256: str) -> None:
    bucket.change(manifest_key(key, sha256), tree={"sha256": "0" * 64})


def lie_about_handle(bucket: Bucket, key: str, sha256: str) -> None:
    bucket.change(manifest_key(key, sha256), handle="https://tfhub.dev/other/model/1")


def nest_manifest(bucket: Bucket, key: str, sha256: str) -> None:
    bucket.write(manifest_key(key, sha256), b"[" * 1_000_000)


def name_another_archive(bucket: Bucket, key: str, sha256: str) -> None:
    other = hashlib.sha256(b"other").hexdigest()
    bucket.write(
        manifest_key(key, other),
        bucket.read(manifest_key(key, sha256)).replace(sha256.encode(), other.encode()),
    )
    bucket.write(blob_key(other), bucket.read(blob_key(sha256)))
    bucket.change(current_key(key), archives=[other])


def fill_current(bucket: Bucket, key: str, sha256: str) -> None:
    bucket.write(current_key(key), b"\xff" * 70_000)


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_blob,
        shorten_blob,
        replace_blob,
        remove_blob,
        lie_about_files,
        lie_about_tree,
        lie_about_handle,
        nest_manifest,
        name_another_archive,
        fill_current,
    ],
    ids=lambda spoil: spoil.__name__.replace("_", " "),
)
def test_what_is_wrong_in_the_bucket_is_never_read_and_put_anew(
    spoil: Any, tmp_path: Path, s3_server: BucketServer
) -> None:
    with fleet_behind_proxy(tmp_path, s3_server, 1) as (fleet, _, bucket):
        fetch_all(fleet, 0)
        (handle,) = fleet.handles
        archive = fleet.origin.replies[handle.removeprefix(fleet.origin.url)].body
        spoil(bucket, hashlib.sha1(handle.encode()).hexdigest(), hashlib.sha256(archive).hexdigest())
        fetch_all(fleet, 1)
        assert fleet.downloads(handle) == 2
        # The one that asked the origin has mended the tier: the next has it from there.
        text = fetch_all(fleet, 2)
        assert fleet.downloads(handle) == 2, text
        status, text = fleet.run(2, "tier", "verify")
        assert status in (0, 9), text


def test_a_tier_of_a_newer_version_is_neither_read_nor_written(
    tmp_path: Path, s3_server: BucketServer
) -> None:
    with fleet_behind_proxy(tmp_path, s3_server, 1) as (fleet, _, bucket):
        bucket.write("hubcli-tier.json", b'{"hubcli_tier": 2}\n')
        assert "is a shared tier of version 2; this hubcli knows 1" in fetch_all(fleet, 0)
        for arguments in (("push", "--all"), ("tier", "gc", "-y"), ("tier", "ls"), ("tier", "verify")):
            status, text = fleet.run(0, *arguments)
            assert status not in (0, 1), text
            assert "version 2" in text
        assert bucket.keys() == ["hubcli-tier.json"]


def test_a_server_with_another_clock_costs_downloads_at_most(tmp_path: Path, s3_server: BucketServer) -> None:
    for offset_s in (-7200.0, 7200.0):
        with fleet_behind_proxy(tmp_path / str(offset_s), s3_server, 1) as (fleet, proxy, _):
            proxy.clock_offset_s = offset_s
            runs = fleet.start_fetches(range(4))
            for run in runs:
                assert run.wait() == 0, run.text
                assert run.seconds < 150  # Nobody waits for --lock-timeout.
            for machine in range(4):
                fleet.assert_all_right(machine)
            assert fleet.downloads(fleet.handles[0]) <= 4
