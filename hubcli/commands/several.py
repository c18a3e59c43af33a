"""Several jobs at a time, each with an outcome of its own; an interrupt ends them all."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from hubcli.commands.stop import Stop

__all__ = ["Outcome", "outcomes"]

T = TypeVar("T")
# Who hears the request to stop ends within it; who waits for a host is not waited for.
_PATIENCE_S = 1.0
_LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What the job of that number gave: one result, or what it raised."""

    number: int
    results: tuple[T, ...] = ()
    error: BaseException | None = None

    @classmethod
    def of(cls, number: int, job: Callable[[], T]) -> Outcome[T]:
        """Runs the job."""
        try:
            return cls(number, (job(),))
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, whatever it is
            return cls(number, (), error)

    def result(self) -> T:
        """The result; raises what the job raised."""
        if self.error is not None:
            raise self.error
        return self.results[0]


def outcomes(
    jobs: Sequence[Callable[[], T]], threads: int, stop: Stop
) -> Generator[tuple[int, T], None, None]:
    """The number of each job with what it returned, as they come; they are begun in their order.

    On one thread, that is the caller's. Whatever a job raises is raised here.
    Close it (`contextlib.closing`): no further job is begun then, those that
    run are asked to stop, and what they hold is undone.
    """
    if min(threads, len(jobs)) <= 1:
        for number, job in enumerate(jobs):
            yield number, job()
        return
    crew = _Crew(jobs)
    try:
        crew.begin(min(threads, len(jobs)))
        for _ in jobs:
            done = crew.next_done()
            yield done.number, done.result()
    finally:
        stop.ask()
        crew.leave()
        stop.undo()


class _Crew(Generic[T]):
    """Threads that take one job after the other."""

    def __init__(self, jobs: Sequence[Callable[[], T]]) -> None:
        self._done: queue.SimpleQueue[Outcome[T]] = queue.SimpleQueue()
        self._waiting = list(enumerate(jobs))
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def begin(self, threads: int) -> None:
        """Puts so many to work."""
        for _ in range(threads):
            thread = threading.Thread(target=self._work, name="hubcli-job", daemon=True)
            self._threads.append(thread)
            thread.start()

    def next_done(self) -> Outcome[T]:
        """What the next job gave that ends."""
        while True:
            # A signal that comes in the moment before the wait doesn't end it: look again now and then.
            with suppress(queue.Empty):
                return self._done.get(timeout=_LOOK_S)

    def leave(self) -> None:
        """Begins no further job, and gives those that run a moment."""
        with self._lock:
            self._waiting.clear()
        until_s = time.monotonic() + _PATIENCE_S
        for thread in self._threads:
            thread.join(max(0.0, until_s - time.monotonic()))

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    return
                number, job = self._waiting.pop(0)
            self._done.put(Outcome.of(number, job))
