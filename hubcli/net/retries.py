"""Retries of transient errors: after waits that double, a limited number of times."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from hubcli.config.settings import DEFAULT_MIN_RATE, DEFAULT_RETRIES, Settings
from hubcli.errors import HubcliError, TooSlowError
from hubcli.units import format_elapsed

__all__ = ["DEFAULT_RETRIES", "AttemptProgress", "RetryPolicy", "release_frames"]

FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
# A request with a longer Retry-After than this fails without a retry.
_LONGEST_RETRY_AFTER_S = 300.0
# After this many bytes between two failures, the count of failures starts from 0.
_PROGRESS_BYTES = 16 << 10

OnRetry = Callable[[str], None]
T = TypeVar("T")


class AttemptProgress:
    """How many bytes an attempt received, and when it began."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self.began_s = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long the attempt has lasted."""
        return time.monotonic() - self.began_s

    def add(self, size_bytes: int) -> None:
        """Counts more bytes."""
        self.size_bytes += size_bytes


class RetryPolicy:
    """The attempts of one download, counted over all its connections.

    `limit` is how many failures in a row are retried; the count starts from 0 after bytes that come at no
    less than the minimum rate. It is also how often a body is restarted from its first byte, with or
    without progress. `on_retry` is called with a sentence about each. May be shared between threads.
    """

    def __init__(
        self,
        limit: int,
        on_retry: OnRetry = lambda text: None,
        min_rate_bytes_s: int = DEFAULT_MIN_RATE,
        longest_wait_s: float = _LONGEST_WAIT_S,
    ) -> None:
        self._limit = limit
        self._longest_wait_s = min(longest_wait_s, _LONGEST_WAIT_S)
        self._on_retry = on_retry
        self._min_rate_bytes_s = min_rate_bytes_s
        self._failures = 0
        self._restarts = 0
        self._lock = threading.Lock()

    @classmethod
    def of(cls, settings: Settings, limit: int, on_retry: OnRetry = lambda text: None) -> RetryPolicy:
        """Attempts by the settings: no wait between two of them is longer than the timeout."""
        return cls(limit, on_retry, settings.min_rate_bytes_s, settings.timeout_s)

    def anew(self) -> RetryPolicy:
        """The same limits, with no failure counted yet: for the next of many independent requests."""
        return RetryPolicy(self._limit, self._on_retry, self._min_rate_bytes_s, self._longest_wait_s)

    def wait(
        self,
        error: HubcliError,
        progress_bytes: int = 0,
        stop: threading.Event | None = None,
        seconds: float = 0.0,
    ) -> None:
        """Waits before the next attempt; raises the error if it isn't transient or no attempt is left.

        `progress_bytes` came since the last failure, within `seconds`. `stop` ends the wait at once; once it
        is set, the failure is that of a connection that was closed on purpose, and is ignored.
        """
        if stop is not None and stop.is_set():
            return
        if not error.is_transient:
            raise error
        needed_bytes = max(_PROGRESS_BYTES, self._min_rate_bytes_s * seconds)
        with self._lock:
            if progress_bytes >= needed_bytes and not isinstance(error, TooSlowError):
                self._failures = 0
            self._failures += 1
            failures = self._failures
        self._pause(error, failures, stop)

    def restart(self, error: HubcliError, how: str = "retrying") -> None:
        """Waits before the body is restarted from its first byte; raises the error if no attempt is left.

        Progress doesn't reset this count: a body that differs at each resume would be requested for ever.
        """
        if not error.is_transient:
            raise error
        with self._lock:
            self._restarts += 1
            self._failures += 1
            count = max(self._failures, self._restarts)
        self._pause(error, count, None, how)

    def _pause(
        self, error: HubcliError, count: int, stop: threading.Event | None, how: str = "retrying"
    ) -> None:
        delay_s = self._delay_s(count, error.retry_after_s)
        if count > self._limit or delay_s is None:
            raise error
        self._on_retry(f"{error.message}: {how} in {format_elapsed(delay_s)} ({count} of {self._limit})")
        (stop or threading.Event()).wait(delay_s)

    @contextmanager
    def attempt(self, stop: threading.Event | None = None) -> Iterator[AttemptProgress]:
        """One attempt: after a failure that is retried, ends quietly when the next may begin."""
        progress = AttemptProgress()
        try:
            yield progress
        except HubcliError as error:
            self.wait(error, progress.size_bytes, stop, progress.seconds)
            release_frames(error)

    def until_done(self, attempt: Callable[[], T]) -> T:
        """What `attempt` returns, repeated after each failure that is retried; raises the last one."""
        while True:
            with self.attempt():
                return attempt()

    def _delay_s(self, failures: int, asked_s: float | None) -> float | None:
        """How long to wait, None if the server asks for too long a wait."""
        if asked_s is not None and asked_s > _LONGEST_RETRY_AFTER_S:
            return None
        import random  # 1 ms, which a fetch of a cached model would pay.

        doubled = min(self._longest_wait_s, FIRST_WAIT_S * float(1 << min(failures - 1, 16)))
        # Jitter, so that many clients that failed together don't come back together.
        return max(asked_s or 0.0, doubled * random.uniform(0.5, 1.0))  # noqa: S311


def release_frames(error: BaseException) -> None:
    """Breaks the reference cycle of a retried error and its frames, which hold clients and blocks."""
    waiting, seen = [error], set[int]()
    while waiting:
        retried = waiting.pop()
        if id(retried) not in seen:
            seen.add(id(retried))
            retried.__traceback__ = None
            waiting += [other for other in (retried.__cause__, retried.__context__) if other is not None]
