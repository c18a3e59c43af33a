"""The minimum rate of a transfer, and the errors of slow ones; without httpx, which buckets don't load."""

from __future__ import annotations

import threading
import time
from collections import deque

from hubcli.errors import NetworkError, TooSlowError

__all__ = ["WINDOW_S", "RateMeter", "SlowTransfer", "timed_out", "too_slow"]

# The minimum rate is an average over this much time spent waiting for the network.
WINDOW_S = 60.0
_SLICES = 60


class SlowTransfer(Exception):
    """Bytes come too slowly. The text says how many in which time."""


def too_slow(name: str, slow: SlowTransfer, when: str = "") -> TooSlowError:
    """The transient error for a transfer below the minimum rate; `when` says how far it came."""
    return TooSlowError(
        f"{name} is too slow{when}: {slow}, less than --min-rate",
        hint="Try again, or accept a slow server with --min-rate 0.",
    ).transient()


def timed_out(name: str, when: str = "") -> NetworkError:
    """The error for an answer that doesn't come in time."""
    return NetworkError(
        f"Timed out waiting for data from {name}{when}",
        hint="Try again, or wait longer with --timeout SECONDS.",
    )


class RateMeter:
    """The average rate of all connections of one client, over the time that they waited for the network.

    Time that this process spends elsewhere (unpacking, writing, stopped by a signal) isn't counted, and
    time in which several connections wait is counted once. May be shared between threads.
    """

    def __init__(self, min_bytes_per_s: int) -> None:
        self.min_bytes_per_s = min_bytes_per_s
        self._lock = threading.Lock()
        self._waiting = 0
        self._since_s = 0.0
        self._clear()

    def _clear(self) -> None:
        self._slices: deque[list[float]] = deque()  # Seconds and bytes, the oldest first.
        self._seconds = self._bytes = 0.0

    def begin(self) -> None:
        """A connection begins to wait."""
        with self._lock:
            if not self._waiting:
                self._since_s = time.monotonic()
            self._waiting += 1

    def end(self, size_bytes: int, longest_s: float) -> None:
        """Counts a wait, of at most `longest_s`, and the bytes received. Raises SlowTransfer."""
        with self._lock:
            now_s = time.monotonic()
            # Longer waits include time in which the process was stopped.
            self._add(min(now_s - self._since_s, longest_s), size_bytes)
            self._since_s = now_s
            self._waiting -= 1
            if self._seconds < WINDOW_S or self._bytes >= self.min_bytes_per_s * self._seconds:
                return
            text = f"{self._bytes:.0f} bytes in {self._seconds:.0f} s"
            self._clear()
        raise SlowTransfer(text)

    def _add(self, seconds: float, size_bytes: int) -> None:
        if not self._slices or self._slices[-1][0] >= WINDOW_S / _SLICES:
            self._slices.append([0.0, 0.0])
        newest = self._slices[-1]
        newest[0] += seconds
        newest[1] += size_bytes
        self._seconds += seconds
        self._bytes += size_bytes
        while self._seconds - self._slices[0][0] >= WINDOW_S:
            oldest_s, oldest_bytes = self._slices.popleft()
            self._seconds -= oldest_s
            self._bytes -= oldest_bytes
