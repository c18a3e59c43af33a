"""Work on several threads: the stages of a stream, or jobs that don't depend on each other.

Receiving, inflating, writing and summing up each spend their time outside the
interpreter lock, so that two cores share the work.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Generic, TypeVar

__all__ = ["Ahead", "share"]

T = TypeVar("T")
_POLL_S = 0.1
_JOIN_S = 1.0


class _End:
    """The last item of a stage: its stream ended, with `error` or without."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class Ahead(Generic[T]):
    """The same items, produced on a thread that works up to `depth` items ahead.

    An error of the producer is raised here, after the items before it. Close it
    (it is a context manager) where the consumer may stop early: the thread then
    ends with its current item.
    """

    def __init__(self, items: Iterable[T], depth: int) -> None:
        self._queue: queue.Queue[T | _End] = queue.Queue(depth)
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
            self._end = item  # Whoever asks again gets the same answer.
        if self._end.error is not None:
            raise self._end.error
        raise StopIteration

    def _taken(self) -> T | _End:
        """The next item. Looks up now and then: a signal that comes as the wait begins doesn't end it."""
        while True:
            with suppress(queue.Empty):
                return self._queue.get(timeout=_POLL_S)

    def __enter__(self) -> Ahead[T]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops the producer, wakes a consumer that waits, and gives the thread a second to end."""
        self._stopped.set()
        while True:  # What nobody took makes room for the end, lest a consumer wait for it.
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
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, whatever it is
            self._put(_End(error))
        else:
            self._put(_End())

    def _put(self, item: T | _End) -> bool:
        while not self._stopped.is_set():
            with suppress(queue.Full):
                self._queue.put(item, timeout=_POLL_S)
                return True
        return False


def share(jobs: Sequence[Callable[[], T]], threads: int) -> list[T]:
    """What the jobs return, in their order, done by so many threads, of which this is one.

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

    def help_out() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed to the caller, whatever it is
            errors.append(error)

    others = [
        threading.Thread(target=help_out, name="hubcli-share", daemon=True)
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
