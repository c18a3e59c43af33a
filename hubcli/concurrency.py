"""Work on several threads: stages of a stream, independent jobs, and the token that cancels them.

Receiving, inflating, writing and summing up each spend their time outside the
interpreter lock, so that two cores share the work.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from hubcli.errors import Interrupted

__all__ = [
    "STAGE_BYTES",
    "CancellationToken",
    "ReadAhead",
    "collect_error",
    "map_in_order",
    "run_concurrently",
    "run_in_threads",
    "running_beside",
    "stage_bytes",
    "usable_cores",
]


def usable_cores() -> int:
    """How many cores this process may run on: less than the machine has under `taskset` or in a container."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # macOS and Windows have none.
        return os.cpu_count() or 1


class CancellationToken:
    """Cancels once, from any thread; work notices when it checks.

    A thread that waits for a host can't check. It registers what undoes its
    work, and the thread that cancels runs that in its place.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_asked = False
        self._undos: list[Callable[[], None]] = []

    def check(self) -> None:
        """Raises Interrupted where the end was asked for."""
        if self._is_asked:
            raise Interrupted("Interrupted")

    def ask(self) -> None:
        """From now on `check` raises."""
        with self._lock:
            self._is_asked = True

    @contextmanager
    def undoing(self, undo: Callable[[], None]) -> Iterator[None]:
        """Leaves `undo` here as long as the context lasts; it may run beside the owner's thread.

        Raises Interrupted where the end was asked for.
        """
        with self._lock:
            self.check()
            self._undos.append(undo)
        try:
            yield
        finally:
            with self._lock:
                if undo in self._undos:
                    self._undos.remove(undo)

    def undo(self) -> None:
        """Undoes what is still left here, the last first."""
        while True:
            with self._lock:
                if not self._undos:
                    return
                last = self._undos.pop()
            last()


S = TypeVar("S")
T = TypeVar("T")
_POLL_S = 0.1
_JOIN_S = 1.0  # Threads that notice the cancellation end within it; those that wait for a host are left.


class _End:
    """The last item of a stage: its stream ended, with `error` or without."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


# What may wait between two stages: enough to hide how unevenly hosts send and disks write.
STAGE_BYTES, _MIN_STAGE_BYTES = 8 << 20, 1 << 20


def stage_bytes(jobs: int) -> int:
    """The most bytes that may wait between two stages of a job, if `jobs` run at a time."""
    return max(_MIN_STAGE_BYTES, STAGE_BYTES // jobs)


class _BoundedQueue(queue.Queue[Any]):
    """Room for `depth` items that hold up to `max_bytes` together, and for one item of any size."""

    def __init__(self, depth: int, max_bytes: int) -> None:
        super().__init__(depth)
        self._max_bytes, self._held_bytes = max_bytes, 0

    def _qsize(self) -> int:
        """What `queue.Queue` compares with the depth: another item has room where it is less."""
        # An interrupt within `_get` leaves bytes counted that are gone: an empty queue has room in any case.
        is_full = len(self.queue) > 0 and self._held_bytes >= self._max_bytes
        return self.maxsize if is_full else len(self.queue)

    def _put(self, item: object) -> None:
        super()._put(item)
        self._held_bytes += _size_of(item)

    def _get(self) -> object:
        item = super()._get()
        self._held_bytes -= _size_of(item)
        return item


def _size_of(item: object) -> int:
    return len(item) if isinstance(item, bytes) else 0


class ReadAhead(Generic[T]):
    """The same items, produced on a thread that works up to `depth` items ahead.

    If the items are bytes, it pauses once `max_bytes` of them wait; the last item may exceed that.
    An error of the producer is raised here, after the items before it. Close it
    (it is a context manager) where the consumer may stop early: the thread then
    ends with its current item.
    """

    def __init__(self, items: Iterable[T], depth: int, max_bytes: int = sys.maxsize) -> None:
        self._queue: queue.Queue[T | _End] = _BoundedQueue(depth, max_bytes)
        self._stopped = threading.Event()
        self._end: _End | None = None
        self._thread = threading.Thread(target=self._produce, args=(items,), name="hubcli-stage", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._end is None:
            item = self._taken()
            if not isinstance(item, _End):
                return item
            self._stopped.set()
            self._end = item  # Each later call gets the same answer.
        if self._end.error is not None:
            raise self._end.error
        raise StopIteration

    def _taken(self) -> T | _End:
        """The next item. Looks up now and then: a signal that comes as the wait begins doesn't end it."""
        while True:
            with suppress(queue.Empty):
                return self._queue.get(timeout=_POLL_S)

    def __enter__(self) -> ReadAhead[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops the producer, wakes a consumer that waits, and gives the thread a second to end."""
        self._stopped.set()
        while True:  # Items that were not consumed make room for the end: a consumer may wait for it.
            with suppress(queue.Full):
                self._queue.put_nowait(_End())
                break
            with suppress(queue.Empty):
                self._queue.get_nowait()
        self._thread.join(_JOIN_S)

    def _produce(self, items: Iterable[T]) -> None:
        try:
            for item in items:
                if not self._put(item):
                    return
        except BaseException as error:  # noqa: BLE001 - any error is handed to the consumer
            self._put(_End(error))
        else:
            self._put(_End())

    def _put(self, item: T | _End) -> bool:
        while not self._stopped.is_set():
            with suppress(queue.Full):
                self._queue.put(item, timeout=_POLL_S)
                return True
        return False


def run_in_threads(jobs: Sequence[Callable[[], T]], threads: int) -> list[T]:
    """What the jobs return, in their order, run on a number of threads, of which this is one.

    Jobs are begun in their order. The first error is raised here, an interrupt
    too; no further job is begun then, and the others' threads are given a
    second to end.
    """
    waiting, results, errors = iter(enumerate(jobs)), dict[int, T](), list[BaseException]()
    lock = threading.Lock()

    def work() -> None:
        while not errors:
            with lock:
                number, job = next(waiting, (-1, None))
            if job is None:
                return
            results[number] = job()

    others = [
        threading.Thread(target=collect_error, args=(work, errors), name="hubcli-share", daemon=True)
        for _ in range(min(threads, len(jobs)) - 1)
    ]
    for other in others:
        other.start()
    try:
        work()
    except BaseException as error:
        errors.append(error)
        for other in others:
            other.join(_JOIN_S)
        raise
    for other in others:
        other.join()
    if errors:
        raise errors[0]
    return [results[number] for number in range(len(jobs))]


def collect_error(job: Callable[[], None], errors: list[BaseException]) -> None:
    """Runs the job for a thread whose errors are raised on another one."""
    try:
        job()
    except BaseException as error:  # noqa: BLE001 - any error is handed to the caller
        errors.append(error)


@contextmanager
def running_beside(job: Callable[[], None], stop: CancellationToken) -> Iterator[None]:
    """Runs the job on another thread while the context runs, and waits for it at the end.

    What the job raises is raised there. Where the context raises, the job is asked to stop by the token,
    and is waited for, too: after the context it touches nothing.
    """
    errors: list[BaseException] = []
    thread = threading.Thread(target=collect_error, args=(job, errors), name="hubcli-beside", daemon=True)
    try:
        thread.start()  # A signal may come before it returns.
        yield
        _wait_for(thread)
    except BaseException:
        stop.ask()
        _wait_for(thread)
        raise
    if errors:
        raise errors[0]


def _wait_for(thread: threading.Thread) -> None:
    """Looks up now and then: a signal that comes as the wait begins doesn't end it."""
    while thread.is_alive():
        thread.join(_POLL_S)


@dataclass(frozen=True, slots=True)
class _JobResult(Generic[T]):
    """What the job of that number gave: one result, or what it raised."""

    number: int
    results: tuple[T, ...] = ()
    error: BaseException | None = None

    def result(self) -> T:
        """The result; raises what the job raised."""
        if self.error is not None:
            raise self.error
        return self.results[0]


def run_concurrently(
    jobs: Sequence[Callable[[], T]], threads: int, stop: CancellationToken
) -> Generator[tuple[int, T], None, None]:
    """The number of each job with what it returned, as they come; they are begun in their order.

    On one thread, that is the caller's. What a job raises is raised here.
    Close it (`contextlib.closing`): no further job is begun then, those that
    run are asked to stop, and what they hold is undone.
    """
    if min(threads, len(jobs)) <= 1:
        for number, job in enumerate(jobs):
            yield number, job()
        return
    pool = _WorkerPool[T](threads)
    try:
        for job in jobs:
            pool.add(job)
        for _ in jobs:
            job_result = pool.next_done()
            yield job_result.number, job_result.result()
    finally:
        stop.ask()
        pool.leave()
        stop.undo()


def map_in_order(
    items: Iterable[S], job: Callable[[S], T], threads: int, ahead: int
) -> Generator[T, None, None]:
    """The results of the job for the items, in order; it works at most `ahead` items ahead of the caller.

    Items are taken on the caller's thread. What a job raises is raised here, an interrupt too; no further
    one is begun then, and those that run are given a second to end.
    """
    pool, early, given = _WorkerPool[T](threads), dict[int, _JobResult[T]](), 0

    def result_of(number: int) -> T:
        while number not in early:
            job_result = pool.next_done()
            early[job_result.number] = job_result
        return early.pop(number).result()

    try:
        for item in items:
            pool.add(partial(job, item))
            if pool.added - given >= ahead:
                yield result_of(given)
                given += 1
        for number in range(given, pool.added):
            yield result_of(number)
    finally:
        pool.leave()


class _WorkerPool(Generic[T]):
    """Up to a number of threads that take one job after the other, in the order in which they are added.

    They are daemons: no process waits at its end for a host that does not answer.
    """

    def __init__(self, threads: int) -> None:
        self.added, self._most = 0, threads
        self._waiting: queue.SimpleQueue[tuple[int, Callable[[], T]] | None] = queue.SimpleQueue()
        self._finished: queue.SimpleQueue[_JobResult[T]] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def add(self, job: Callable[[], T]) -> None:
        """Has the job done once a worker is free; its number is how many were added before."""
        self._waiting.put((self.added, job))
        self.added += 1
        if len(self._threads) < self._most:
            thread = threading.Thread(target=self._work, name="hubcli-job", daemon=True)
            self._threads.append(thread)
            thread.start()

    def next_done(self) -> _JobResult[T]:
        """What the next job gave that ends."""
        while True:
            # A signal that comes in the moment before the wait doesn't end it: look again now and then.
            with suppress(queue.Empty):
                return self._finished.get(timeout=_POLL_S)

    def leave(self) -> None:
        """Begins no further job, and gives those that run a moment."""
        with suppress(queue.Empty):
            while True:
                self._waiting.get_nowait()
        for _ in self._threads:
            self._waiting.put(None)
        until_s = time.monotonic() + _JOIN_S
        for thread in self._threads:
            thread.join(max(0.0, until_s - time.monotonic()))

    def _work(self) -> None:
        while (taken := self._waiting.get()) is not None:
            number, job = taken
            try:
                job_result = _JobResult(number, (job(),))
            except BaseException as error:  # noqa: BLE001 - any error is handed to the caller's thread
                job_result = _JobResult(number, (), error)
            self._finished.put(job_result)
