"""Work on threads: order, errors, and that none is left behind."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubcli import concurrency
from hubcli.concurrency import (
    STAGE_BYTES,
    CancellationToken,
    ReadAhead,
    map_in_order,
    run_in_threads,
    running_beside,
    stage_bytes,
)
from tests.cases import each_of

WAIT_S = 60.0


@pytest.fixture(autouse=True)
def no_stage_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [thread for thread in set(threading.enumerate()) - before if thread.name == "hubcli-stage"]
    for thread in left:
        thread.join(WAIT_S)
    assert not [thread for thread in left if thread.is_alive()]


class Watched:
    """Numbers from 0 on, that tell which were taken and when their generator ended."""

    def __init__(self, block_at: int | None = None) -> None:
        self.taken = 0
        self.reached = threading.Event()
        self.may_go_on = threading.Event()
        self.ended = threading.Event()
        self._block_at = block_at

    def __iter__(self) -> Iterator[int]:
        try:
            for number in count():
                if number == self._block_at:
                    self.reached.set()
                    self.may_go_on.wait(WAIT_S)
                self.taken += 1
                yield number
        finally:
            self.ended.set()


@given(st.lists(st.integers(), max_size=30), st.integers(1, 5))
def test_items_keep_their_order(items: list[int], depth: int) -> None:
    with ReadAhead(items, depth) as ahead:
        assert list(ahead) == items


def test_stages_behind_stages_keep_the_order() -> None:
    with ReadAhead(range(200), 2) as first, ReadAhead((number + 1 for number in first), 3) as second:
        assert list(second) == list(range(1, 201))


def test_an_ended_stage_stays_ended() -> None:
    with ReadAhead([1], 1) as ahead:
        assert list(ahead) == [1]
        assert list(ahead) == []
        assert next(ahead, None) is None


def test_an_error_comes_after_the_items_before_it() -> None:
    def failing() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("cut")

    with ReadAhead(failing(), 5) as ahead:
        assert [next(ahead), next(ahead)] == [1, 2]
        for _ in range(2):  # Whoever asks again gets the same answer.
            with pytest.raises(OSError, match="cut"):
                next(ahead)


def test_even_an_interrupt_reaches_the_consumer() -> None:
    def interrupted() -> Iterator[int]:
        raise KeyboardInterrupt
        yield 1

    with ReadAhead(interrupted(), 1) as ahead, pytest.raises(KeyboardInterrupt):
        next(ahead)


@pytest.mark.parametrize("depth", [1, 3])
def test_the_producer_works_ahead_as_far_as_told(depth: int) -> None:
    watched = Watched(block_at=depth)
    with ReadAhead(watched, depth):
        assert watched.reached.wait(WAIT_S)
        assert watched.taken == depth
        watched.may_go_on.set()


def test_the_producer_works_ahead_by_bytes_where_items_are_bytes() -> None:
    sizes, third = list[int](), threading.Event()

    def blocks() -> Iterator[bytes]:
        for size in (60, 60, 500, 60):  # The second is more than the bound, by less than itself.
            sizes.append(size)
            if len(sizes) == 3:
                third.set()
            yield bytes(size)

    with ReadAhead(blocks(), 10, max_bytes=100) as ahead:
        assert third.wait(WAIT_S)
        assert not comes_true(lambda: len(sizes) > 3)
        assert [len(block) for block in ahead] == [60, 60, 500, 60]


def comes_true(claim: Callable[[], bool], seconds: float = 0.05) -> bool:
    """Whether the claim becomes true within the time."""
    until_s = time.monotonic() + seconds
    while not claim() and time.monotonic() < until_s:
        time.sleep(0.01)
    return claim()


def test_an_item_of_more_bytes_than_fit_comes_alone() -> None:
    sizes = [500, 0, 500]
    with ReadAhead(map(bytes, sizes), 10, max_bytes=100) as ahead:
        assert [len(block) for block in ahead] == sizes


def test_an_interrupt_as_an_item_is_taken_leaves_room_in_an_empty_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(concurrency, "_size_of", Mock(side_effect=[500, KeyboardInterrupt, 500, 500]))
    waiting = concurrency._BoundedQueue(10, max_bytes=100)
    waiting.put_nowait(b"first")
    with pytest.raises(KeyboardInterrupt):
        waiting.get_nowait()

    with pytest.raises(queue.Empty):
        waiting.get_nowait()
    waiting.put_nowait(b"second")
    assert waiting.get_nowait() == b"second"


def test_jobs_share_what_may_wait_between_two_stages() -> None:
    assert stage_bytes(1) == STAGE_BYTES
    assert [stage_bytes(jobs) * jobs for jobs in (2, 4, 8)] == [STAGE_BYTES] * 3
    assert stage_bytes(32) == 1 << 20


def test_close_stops_a_producer_that_nobody_reads() -> None:
    watched = Watched(block_at=1)
    with ReadAhead(watched, 1):
        assert watched.reached.wait(WAIT_S)
        watched.may_go_on.set()  # It now has an item for which there is no room.

    assert watched.ended.wait(WAIT_S)
    assert watched.taken <= 3


def test_close_stops_a_producer_that_was_read_for_a_while() -> None:
    watched = Watched()
    with ReadAhead(watched, 2) as ahead:
        assert [next(ahead) for _ in range(10)] == list(range(10))

    assert watched.ended.wait(WAIT_S)


def test_an_error_of_the_consumer_stops_the_producer() -> None:
    watched = Watched()
    with pytest.raises(ZeroDivisionError), ReadAhead(watched, 2) as ahead:
        1 // next(ahead)

    assert watched.ended.wait(WAIT_S)


def test_close_may_be_called_twice() -> None:
    ahead = ReadAhead([1, 2, 3], 1)
    ahead.close()
    ahead.close()


def test_close_wakes_a_consumer_that_waits() -> None:
    watched = Watched(block_at=0)
    ahead = ReadAhead(watched, 1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: list(ahead))
        assert watched.reached.wait(WAIT_S)
        closing = threading.Thread(target=ahead.close)
        closing.start()
        try:
            assert waiting.result(WAIT_S) == []
        finally:
            watched.may_go_on.set()
            closing.join(WAIT_S)


def test_a_consumer_that_asks_after_close_of_a_full_stage_is_not_left_waiting() -> None:
    watched = Watched(block_at=1)
    ahead = ReadAhead(watched, 1)
    assert watched.reached.wait(WAIT_S)  # One item waits: the stage is full.
    closing = threading.Thread(target=ahead.close)
    closing.start()
    watched.may_go_on.set()
    closing.join(WAIT_S)
    ended = threading.Event()

    def consume() -> None:
        list(ahead)
        ended.set()

    threading.Thread(target=consume, daemon=True).start()

    assert ended.wait(WAIT_S)


def test_closing_the_last_stage_and_then_the_first_ends_both() -> None:
    watched = Watched()
    with ReadAhead(watched, 1) as first, ReadAhead((number for number in first), 1) as second:
        assert next(second) == 0

    assert watched.ended.wait(WAIT_S)


def test_closing_the_first_stage_and_then_the_last_ends_both() -> None:
    watched = Watched()
    first = ReadAhead(watched, 1)
    second = ReadAhead((number for number in first), 1)
    assert next(second) == 0
    first.close()
    second.close()

    assert watched.ended.wait(WAIT_S)


# share ---------------------------------------------------------------------------------------------


def test_jobs_are_shared_and_their_results_stand_in_order() -> None:
    names: set[str] = set()
    both = threading.Barrier(2, timeout=WAIT_S)

    def job(number: int) -> int:
        names.add(threading.current_thread().name)
        if number < 2:
            both.wait()  # Passes only where two threads are at it.
        return number * number

    assert run_in_threads([partial(job, number) for number in range(20)], 2) == [
        number * number for number in range(20)
    ]
    assert len(names) == 2


def test_no_jobs_have_no_results_and_need_no_thread() -> None:
    assert run_in_threads(list[Callable[[], int]](), 2) == []


@each_of("place", [0, 1, 7])
def test_the_first_error_is_raised_and_no_further_job_is_begun(place: int) -> None:
    started: list[int] = []

    def job(number: int) -> None:
        started.append(number)
        if number == place:
            raise ValueError(str(place))
        if number > place:
            time.sleep(0.1)  # A thread that has failed may have to wait for a processor before it says so.

    with pytest.raises(ValueError, match=str(place)):
        run_in_threads([partial(job, number) for number in range(100)], 2)
    assert len(started) < place + 50


def test_of_the_errors_of_several_threads_the_first_is_raised() -> None:
    here, others, barrier = threading.current_thread(), list[threading.Thread](), threading.Barrier(3)

    def job() -> None:
        own = threading.current_thread()
        if own is not here:
            others.append(own)
        barrier.wait(WAIT_S)
        for number, other in enumerate(others):
            if other is own:
                raise ValueError(f"error {number}")
            other.join(WAIT_S)  # Until its error is noted.

    with pytest.raises(ValueError, match="error 0"):
        run_in_threads([job] * 3, 3)


def test_a_job_beside_is_done_once_the_context_ends() -> None:
    results: list[str] = []
    with running_beside(partial(results.append, "beside"), CancellationToken()):
        pass
    assert results == ["beside"]


def test_an_error_of_a_job_beside_is_raised_at_the_end_of_the_context() -> None:
    reached = []

    def fail() -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"), running_beside(fail, CancellationToken()):
        reached.append("the end")
    assert reached == ["the end"]


def test_an_error_of_the_context_stops_the_job_beside_it_and_is_raised() -> None:
    stop, steps = CancellationToken(), list[int]()
    start = threading.Event()

    def work() -> None:
        for number in count():
            stop.check()
            steps.append(number)
            start.set()

    def check() -> None:
        start.wait(WAIT_S)
        raise ValueError("unsound")

    with pytest.raises(ValueError, match="unsound"), running_beside(work, stop):
        check()
    assert not [thread for thread in threading.enumerate() if thread.name == "hubcli-beside"]


def test_an_interrupt_as_the_thread_of_a_job_beside_starts_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = CancellationToken()
    start = threading.Thread.start

    def start_interrupted(thread: threading.Thread) -> None:
        start(thread)
        raise KeyboardInterrupt

    def work() -> None:
        while True:
            stop.check()

    monkeypatch.setattr(threading.Thread, "start", start_interrupted)
    with pytest.raises(KeyboardInterrupt), running_beside(work, stop):
        pytest.fail("the context was begun")
    assert not [thread for thread in threading.enumerate() if thread.name == "hubcli-beside"]


def test_items_are_mapped_in_order_and_taken_only_as_far_ahead_as_allowed() -> None:
    items_taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            items_taken.append(number)
            yield number

    results = map_in_order(items(), lambda number: number * number, 4, 8)
    assert next(results) == 0
    assert len(items_taken) == 8
    assert list(results) == [number * number for number in range(1, 100)]


def test_an_error_of_an_item_is_raised_in_its_turn_and_begins_no_further_one() -> None:
    started: list[int] = []

    def job(number: int) -> int:
        started.append(number)
        return 1 // (number - 3)

    results = map_in_order(range(100), job, 2, 4)
    assert [next(results) for _ in range(3)] == [-1, -1, -1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert len(started) <= 8


def test_jobs_that_still_run_are_left_when_the_results_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after an interrupt, where a job waits for a host that does not answer."""
    monkeypatch.setattr("hubcli.concurrency._JOIN_S", 0.01)
    is_waiting, has_answered, is_over = threading.Event(), threading.Event(), threading.Event()

    def job(number: int) -> int:
        if number:
            is_waiting.set()
            has_answered.wait(60)
            is_over.set()
        return number

    results = map_in_order(range(2), job, 2, 4)
    assert next(results) == 0
    assert is_waiting.wait(60)  # One that has not begun is cancelled.
    results.close()
    assert not is_over.is_set()
    has_answered.set()
    assert is_over.wait(60)
