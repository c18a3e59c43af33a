"""The minimum rate: which time counts, and that of several connections at once."""

from __future__ import annotations

import pytest

from hubcli.net import rate
from hubcli.net.rate import RateMeter, SlowTransfer


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    test_clock = Clock()
    monkeypatch.setattr(rate, "time", test_clock)
    return test_clock


def wait(meter: RateMeter, clock: Clock, seconds: float, size_bytes: int, longest_s: float = 30.0) -> None:
    meter.begin()
    clock.now_s += seconds
    meter.end(size_bytes, longest_s)


def wait_often(meter: RateMeter, clock: Clock, times: int, seconds: float, size_bytes: int) -> None:
    for _ in range(times):
        wait(meter, clock, seconds, size_bytes)


def test_the_rate_is_that_of_all_connections_together(clock: Clock) -> None:
    meter = RateMeter(100)
    for _ in range(500):
        meter.begin()
        meter.begin()
        clock.now_s += 0.25
        meter.end(15, 0.25)
        meter.end(15, 0.25)
    with pytest.raises(SlowTransfer):  # One of them alone is too slow.
        wait_often(meter, clock, 500, 0.25, 15)


def test_only_time_that_was_waited_counts(clock: Clock) -> None:
    meter = RateMeter(1000)
    for _ in range(100):
        wait(meter, clock, 0.5, 0)
        clock.now_s += 60
    with pytest.raises(SlowTransfer, match="0 bytes in 60 s"):
        wait_often(meter, clock, 21, 0.5, 0)


def test_a_pause_of_the_process_counts_as_one_wait(clock: Clock) -> None:
    meter = RateMeter(1000)
    wait(meter, clock, 3600, 0, longest_s=0.25)  # As after SIGSTOP.
    wait(meter, clock, 59, 0, longest_s=60)
    with pytest.raises(SlowTransfer):
        wait(meter, clock, 1, 0)


def test_bytes_before_the_window_do_not_count(clock: Clock) -> None:
    meter = RateMeter(1000)
    wait(meter, clock, 1, 10**9)
    with pytest.raises(SlowTransfer):
        wait_often(meter, clock, 62, 1, 0)


def test_exactly_the_minimum_rate_is_enough(clock: Clock) -> None:
    meter = RateMeter(1000)
    for _ in range(200):
        wait(meter, clock, 1, 1000)
