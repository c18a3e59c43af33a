"""A fleet that starts cold at once: about one download at the origin for each model, whoever is killed."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from tests.bucket_proxy import running_bucket_proxy
from tests.bucket_servers import BucketServer
from tests.installed import require_installed
from tests.tiers.machines import Fleet, Run, running_fleet

require_installed("obstore")

EXPIRY_S = 4.0
POLL_S = 1.0


def address(server: BucketServer, *, lease_s: float = 30) -> str:
    return f"{server.new_bucket()}/hub?mode=read-write&lease={lease_s:g}s"


def fetch_cold(folder: Path, server: BucketServer, machines: int, model_count: int) -> None:
    with running_fleet(folder, address(server), server.variables, model_count=model_count) as fleet:
        runs = fleet.start_fetches(range(machines))
        for run in runs:
            assert run.wait() == 0, run.text
        for machine in range(machines):
            fleet.assert_all_right(machine)
        downloads = [fleet.downloads(handle) for handle in fleet.handles]
        sent = fleet.origin.sent_bytes / sum(len(reply.body) for reply in fleet.origin.replies.values())
        assert sum(downloads) <= 1.2 * model_count, downloads
        assert sent <= 1.2
        status, text = fleet.run(machines, "tier", "verify")
        assert status == 0, text


@pytest.mark.slow
def test_32_machines_cause_one_download_of_each_of_10_models(tmp_path: Path, s3_server: BucketServer) -> None:
    fetch_cold(tmp_path, s3_server, 32, 10)


@pytest.mark.slow
def test_machines_share_one_download_in_buckets_of_google_and_azure(
    tmp_path: Path, gcs_server: BucketServer, request: pytest.FixtureRequest
) -> None:
    fetch_cold(tmp_path / "gs", gcs_server, 8, 3)
    fetch_cold(tmp_path / "az", request.getfixturevalue("azure_server"), 8, 3)


@pytest.mark.slow
def test_machines_share_one_download_in_a_directory(tmp_path: Path) -> None:
    tier = f"{tmp_path}/tier?mode=read-write"
    with running_fleet(tmp_path / "fleet", tier, {}, model_count=3) as fleet:
        for run in fleet.start_fetches(range(8)):
            assert run.wait() == 0, run.text
        for machine in range(8):
            fleet.assert_all_right(machine)
        assert sum(fleet.downloads(handle) for handle in fleet.handles) == 3


@pytest.mark.soak
@pytest.mark.slow
def test_100_machines_cause_one_download_of_each_of_30_models(
    tmp_path: Path, s3_server: BucketServer
) -> None:
    fetch_cold(tmp_path, s3_server, 100, 30)


@pytest.mark.slow
def test_the_simulation_counts_the_requests_that_are_made(tmp_path: Path, s3_server: BucketServer) -> None:
    fleet_simulation = pytest.importorskip("benchmarks.fleet", reason="the benchmarks are not here")
    if s3_server.checks_signatures:
        pytest.skip("moto's requests are counted: Ceph's ETags take some more")
    world = fleet_simulation.Parameters(
        archive_mb=0.06, origin_failures=0, bucket_failures=0, holder_deaths=0, start_s=0, renewal_s=1e6
    )
    alone = fleet_simulation.simulate(world, 1, "lease")
    with (
        running_bucket_proxy(s3_server.url) as proxy,
        running_fleet(
            # Within this lease nothing is renewed.
            tmp_path,
            address(s3_server, lease_s=600),
            s3_server.through(proxy.url).variables,
            model_count=2,
        ) as fleet,
    ):
        first, second = fleet.handles
        assert fleet.run(0, "fetch", first)[0] == 0  # It makes the tier.
        proxy.requests.clear()
        assert fleet.run(1, "fetch", second)[0] == 0
        reads, writes = proxy.count("^(GET|HEAD)"), proxy.count("^(PUT|POST|DELETE)")
        assert abs(reads - alone.bucket_reads) <= 2, proxy.requests
        assert abs(writes - alone.bucket_writes) <= 1, proxy.requests
        proxy.requests.clear()
        assert fleet.run(2, "fetch", second)[0] == 0
        # The marker, current.json, the manifest, the archive's size and its bytes.
        assert abs(proxy.count("^(GET|HEAD)") - 5) <= 1, proxy.requests
        assert proxy.count("^(PUT|POST|DELETE)") == 0


# Kills ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_nobody_waits_longer_than_an_expiry_and_a_poll_for_a_dead_holder(
    tmp_path: Path, s3_server: BucketServer
) -> None:
    # Long enough that a busy machine, which takes seconds for all else, still tells one expiry from two.
    expiry_s, all_else_s = 14.0, 11.0
    tier = address(s3_server, lease_s=expiry_s)
    with running_fleet(tmp_path, tier, s3_server.variables, model_count=1) as fleet:
        (handle,) = fleet.handles
        path = handle.removeprefix(fleet.origin.url)
        whole = fleet.origin.replies[path]
        # The holder's download stalls; whoever comes after it gets the model at once.
        stalled = type(whole)(whole.body, etag=whole.etag, stall_at=1000)
        whole.first.append(stalled)
        holder = fleet.start(0, "fetch", "--no-sync", handle)
        assert fleet.origin.stalled.wait(120), holder.text
        waiting = [fleet.start(machine, "fetch", "--no-sync", handle) for machine in (1, 2, 3)]
        time.sleep(expiry_s + 2 * POLL_S)  # The living holder's lease is renewed: nobody takes it.
        assert fleet.downloads(handle) == 1
        assert all(run.process.poll() is None for run in waiting)
        holder.process.send_signal(signal.SIGKILL)
        killed_at = time.monotonic()
        for run in waiting:
            assert run.wait() == 0, run.text
        waited_s = time.monotonic() - killed_at
        assert waited_s <= expiry_s + POLL_S + all_else_s < 2 * expiry_s
        assert fleet.downloads(handle) == 2
        for machine in (1, 2, 3):
            fleet.assert_all_right(machine)
        fleet.origin.release.set()


class Chaos:
    """Machines that fetch, push and collect at random, and are killed at random moments."""

    def __init__(self, fleet: Fleet, machines: int, seed: int) -> None:
        self.fleet, self.machines = fleet, machines
        self.random = random.Random(seed)
        self.kills = 0
        self.longest_s = 0.0
        self.commands: dict[str, int] = {}

    def command(self) -> list[str]:
        some = self.random.sample(self.fleet.handles, self.random.randint(1, 3))
        kind = self.random.choice(("fetch", "fetch", "push", "gc", "rm"))
        self.commands[kind] = self.commands.get(kind, 0) + 1
        return {
            "fetch": ["fetch", "--no-sync", *some],
            "push": ["push", "--all"],
            "gc": ["tier", "gc", "-y", "--max-count", "3", "--grace", "0s"],
            "rm": ["rm", "-y", *some],
        }[kind]

    def round(self) -> None:
        """Each machine runs a command; half of them are killed at a moment of its time."""
        runs = [self.fleet.start(machine, *self.command()) for machine in range(self.machines)]
        doomed = self.random.sample(runs, self.machines // 2)
        moments = sorted((self.random.uniform(0, 0.8), number) for number in range(len(doomed)))
        begun_at = time.monotonic()
        for moment, number in moments:
            time.sleep(max(0.0, begun_at + moment - time.monotonic()))
            if doomed[number].process.poll() is None:
                doomed[number].process.send_signal(signal.SIGKILL)
        for run in runs:
            status = run.wait()
            self.kills += status == -signal.SIGKILL
            self.longest_s = max(self.longest_s, run.seconds)
            self.check(run, status)

    def check(self, run: Run, status: int) -> None:
        """Who wasn't killed did what it was asked, but for models that were never fetched or are gone."""
        text = run.text
        assert status in (0, -signal.SIGKILL) or "Not in the cache" in text, (status, text)
        assert "Traceback" not in text
        self.fleet.assert_nothing_wrong(run.machine)


def survive(fleet: Fleet, kills: int, seed: int) -> None:
    chaos = Chaos(fleet, 8, seed)
    # The first model makes the tier.
    status, text = fleet.run(0, "fetch", fleet.handles[0])
    assert status == 0, text
    while chaos.kills < kills:
        chaos.round()
    # What was left is done by the next run of anybody.
    for run in fleet.start_fetches(range(chaos.machines)):
        assert run.wait() == 0, run.text
    for machine in range(chaos.machines):
        fleet.assert_all_right(machine)
    for arguments in (("push", "--all"), ("tier", "verify"), ("tier", "gc", "-y", "--grace", "0s")):
        status, text = fleet.run(0, *arguments)
        assert status == 0, text
    # The tier serves all of them, and its collection took none that is needed.
    request_count = len(fleet.origin.requests)
    status, text = fleet.run(99, "fetch", "--no-sync", *fleet.handles)
    assert status == 0, text
    fleet.assert_all_right(99)
    assert len(fleet.origin.requests) == request_count
    # Nobody waited for the dead until --lock-timeout, which is ten minutes.
    assert chaos.longest_s <= 3 * (EXPIRY_S + POLL_S) + 120, chaos.longest_s


@pytest.mark.slow
def test_kills_in_fetch_push_and_gc_leave_nothing_wrong(tmp_path: Path, s3_server: BucketServer) -> None:
    tier = address(s3_server, lease_s=EXPIRY_S)
    with running_fleet(tmp_path, tier, s3_server.variables, model_count=6) as fleet:
        survive(fleet, 20, seed=1)


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["s3_server", "gcs_server", "azure_server"])
def test_200_kills_leave_nothing_wrong(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    server: BucketServer = request.getfixturevalue(kind)
    tier = address(server, lease_s=EXPIRY_S)
    with running_fleet(tmp_path, tier, server.variables, model_count=6) as fleet:
        survive(fleet, 200, seed=2)
