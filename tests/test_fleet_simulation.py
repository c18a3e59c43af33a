"""The simulation of a fleet agrees with what can be calculated by hand, and with the protocol's promises."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("benchmarks.fleet", reason="the benchmarks are not here")

from benchmarks.fleet import Parameters, main, simulate

# Nothing fails or is refused, and answers come at once.
CALM = Parameters(
    start_s=0,
    origin_latency_s=0,
    origin_requests_per_s=1e9,
    origin_failures=0,
    bucket_latency_s=0,
    bucket_reads_per_s=1e9,
    bucket_writes_per_s=1e9,
    bucket_failures=0,
    holder_deaths=0,
)


def test_machines_share_the_origin_equally() -> None:
    world = replace(CALM, archive_mb=400, machine_mbps=100, origin_mbps=1000)
    assert simulate(world, 1, "origin").last_s == pytest.approx(4)
    assert simulate(world, 10, "origin").last_s == pytest.approx(4)
    assert simulate(world, 50, "origin").last_s == pytest.approx(50 * 400 / 1000)
    assert simulate(world, 50, "origin").origin_downloads == 50


def test_a_transfer_goes_faster_once_others_have_ended() -> None:
    # Two models each: the rates change in the middle of transfers, and the link is never idle.
    world = replace(CALM, models=2, archive_mb=100, machine_mbps=1000, origin_mbps=100, start_s=3)
    outcome = simulate(world, 5, "origin")
    assert outcome.done_at_s[-1] == pytest.approx(10, abs=3)
    assert outcome.origin_mb == pytest.approx(1000)


def test_with_a_lease_one_machine_asks_the_origin() -> None:
    world = replace(CALM, archive_mb=400, machine_mbps=100, upload_mbps=400, origin_mbps=1000)
    outcome = simulate(world, 100, "lease")
    assert (outcome.origin_requests, outcome.origin_downloads, outcome.restarts) == (1, 1, 0)
    # 4 s from the origin, 1 s into the bucket, less than one poll, 4 s from the bucket.
    assert 9 <= outcome.last_s <= 4 + 1 + world.poll_s + 4 + 0.01


def test_a_dead_holder_costs_one_expiry_and_one_poll_at_most() -> None:
    # The one that died starts again much later, so the other takes its lease over.
    world = replace(CALM, archive_mb=400, machine_mbps=100, upload_mbps=400, restart_s=1000)
    died_at_s, fills_s = 2, 4 + 1
    outcomes = [simulate(replace(world, holder_deaths=0.5), 2, "lease", seed) for seed in range(20)]
    once = [outcome for outcome in outcomes if outcome.deaths == 1 and outcome.done_at_s[0] < 500]
    assert len(once) > 2
    for outcome in once:
        latest_s = died_at_s + world.expiry_s + world.poll_s + fills_s
        assert world.expiry_s + fills_s <= outcome.done_at_s[0] <= latest_s
        assert outcome.origin_downloads == 2


def test_requests_beyond_the_rate_are_refused_and_retried() -> None:
    world = replace(CALM, archive_mb=1, origin_requests_per_s=2)
    outcome = simulate(world, 20, "origin")
    assert outcome.origin_downloads == 20
    assert outcome.origin_requests > 20
    assert outcome.last_s > (20 - 2) / 2 - 1


def test_requests_and_their_price_are_counted() -> None:
    world = replace(CALM, archive_mb=32, segment_mb=8, part_mb=16, renewal_s=1e6)
    outcome = simulate(world, 1, "lease")
    # The marker and current.json, the probe, the lease, the put, twice what is there, the lease.
    reads = 2 + 3 + 1 + 4 + 1 + 1 + 1
    # The probe, the lease, a begin, two parts and an end, two documents, the end of the lease.
    writes = 4 + 1 + 4 + 2 + 1
    assert (outcome.bucket_reads, outcome.bucket_writes) == (reads, writes)
    assert outcome.cost(world) == pytest.approx((reads * 0.0004 + writes * 0.005) / 1000)


def test_the_same_seed_gives_the_same_and_the_table_has_all_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(Parameters(), 50, "lease", 7) == simulate(Parameters(), 50, "lease", 7)
    assert main(["--machines", "5", "10", "--seeds", "1", "--archive-mb", "50"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 2 * 3
