"""When to try again: what may pass with time, after waits that double, for a bounded number of times."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from hubcli.errors import HubcliError
from hubcli.quantity import format_duration
from hubcli.settings import DEFAULT_RETRIES

__all__ = ["DEFAULT_RETRIES", "Progress", "Retries"]

FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
# A server that asks for more patience than this is left.
_LONGEST_RETRY_AFTER_S = 300.0
# So much between two failures is progress: the count begins anew.
_PROGRESS_BYTES = 16 << 10

OnRetry = Callable[[str], None]
T = TypeVar("T")


class Progress:
    """How many bytes an attempt brought."""

    def __init__(self) -> None:
        self.size_bytes = 0

    def add(self, size_bytes: int) -> None:
        """Counts so many more."""
        self.size_bytes += size_bytes


class Retries:
    """The attempts of one download, counted over all its connections.

    `limit` is how many failures in a row are borne; bytes that come between
    them start the count anew. `on_retry` hears a sentence about each. May be
    shared between threads.
    """

    def __init__(self, limit: int, on_retry: OnRetry = lambda text: None) -> None:
        self._limit = limit
        self._on_retry = on_retry
        self._failures = 0
        self._lock = threading.Lock()

    def wait(self, error: HubcliError, progress_bytes: int = 0, stop: threading.Event | None = None) -> None:
        """Waits before the next attempt; raises the error where none makes sense or is left.

        `progress_bytes` came since the last failure; `stop` ends the wait at once:
        once it is set, a failure is that of a connection that was closed on purpose.
        """
        if stop is not None and stop.is_set():
            return
        if not error.is_transient:
            raise error
        with self._lock:
            if progress_bytes >= _PROGRESS_BYTES:
                self._failures = 0
            self._failures += 1
            failures = self._failures
        delay_s = self._delay_s(failures, error.retry_after_s)
        if failures > self._limit or delay_s is None:
            raise error
        said = f"{error.message}: trying again in {format_duration(delay_s)} ({failures} of {self._limit})"
        self._on_retry(said)
        (stop or threading.Event()).wait(delay_s)

    @contextmanager
    def borne(self, stop: threading.Event | None = None) -> Iterator[Progress]:
        """One attempt: after a failure that is borne, ends quietly when the next may begin."""
        progress = Progress()
        try:
            yield progress
        except HubcliError as error:
            self.wait(error, progress.size_bytes, stop)

    def until_done(self, attempt: Callable[[], T]) -> T:
        """What the attempt returns, made as often as its failures are borne; raises the last one."""
        while True:
            with self.borne():
                return attempt()

    def _delay_s(self, failures: int, asked_s: float | None) -> float | None:
        """How long to wait, None where the server asks for too much."""
        if asked_s is not None and asked_s > _LONGEST_RETRY_AFTER_S:
            return None
        doubled = min(_LONGEST_WAIT_S, FIRST_WAIT_S * float(1 << min(failures - 1, 16)))
        # Jitter, so that many clients that failed together don't come back together.
        return max(asked_s or 0.0, doubled * random.uniform(0.5, 1.0))  # noqa: S311
