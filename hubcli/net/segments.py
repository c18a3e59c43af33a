"""A body over several connections: windows of it into a spool, ahead of whoever reads from its start."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from hubcli.net.byte_source import ByteSource
from hubcli.net.retries import AttemptProgress, RetryPolicy
from hubcli.net.spool import Segment, Spool

__all__ = ["MIN_SEGMENTED_BYTES", "segment_size", "segmented"]

# Smaller bodies come faster by the connection that is open already.
MIN_SEGMENTED_BYTES = 8 << 20
_MIN_WINDOW_BYTES, _LAST_WINDOW_BYTES, _MAX_WINDOW_BYTES = 4 << 20, 5 << 20, 64 << 20
_JOIN_S = 1.0
_HUNGER_S = 0.1


def segment_size(position: int, size_bytes: int, connections: int) -> int:
    """How large the window that begins at the position is, of a body of so many bytes that is begun at 0.

    The windows that are under way fill side by side, while the reader waits for the
    first of them: they begin small, so that it has something to do, and end small, so
    that little is left for it to do once the last byte is there. Each costs a connection:
    one that fetches alone has a single window.
    """
    if connections == 1 or size_bytes - position < _LAST_WINDOW_BYTES:
        return size_bytes - position
    since_start, until_end = position // connections, (size_bytes - position) // (2 * connections)
    return max(_MIN_WINDOW_BYTES, min(since_start, until_end, _MAX_WINDOW_BYTES))


def segmented(
    source: ByteSource,
    spool: Spool,
    first: Iterator[bytes],
    connections: int,
    retries: RetryPolicy,
    stop: threading.Event,
    position: int = 0,
    waited_s: float = 0.0,
) -> Iterator[bytes]:
    """The body from the position on, while up to so many connections fill the spool.

    The first is enough as long as it brings more than the reader takes: on a
    network that is faster than the unpacking, others cost without a gain. The
    reader waited `waited_s` for what came before the position.
    `first` is the rest of the answer that came already, from the position on: it
    serves the first window where that isn't there from before. Raises what `ByteSource.range` does once no
    attempt is left, DiskFullError, CacheError.
    """
    filling = _Filling(source, spool, first, retries, connections, stop, position)
    filling.begin(1)
    filling.hurry(waited_s)
    try:
        yield from spool.chunks(position, filling.hurry)
    finally:
        filling.end()


class _Filling:
    """The work of all connections."""

    def __init__(
        self,
        source: ByteSource,
        spool: Spool,
        first: Iterator[bytes],
        retries: RetryPolicy,
        connections: int,
        stop: threading.Event,
        position: int,
    ) -> None:
        self._position = position
        self._stop = stop
        # What was read before the position is not in the spool, and is left to whoever resumes it.
        ahead = (segment for segment in spool.segments if segment.start >= position)
        self._waiting = [segment for segment in ahead if not segment.is_done]
        self._connections = min(connections, len(self._waiting))
        self._threads: list[threading.Thread] = []
        self._hungry_s = 0.0
        self._source = source
        self._spool = spool
        self._first = first
        self._retries = retries
        self._lock = threading.Lock()

    def begin(self, connections: int) -> None:
        """Has so many connections work, as far as there is something to do for them."""
        while len(self._threads) < min(connections, self._connections):
            thread = threading.Thread(target=self._work, name="hubcli-segment", daemon=True)
            self._threads.append(thread)
            thread.start()

    def hurry(self, waited_s: float) -> None:
        """Hears that the reader waited: once it did so for long enough, all connections begin."""
        self._hungry_s += waited_s
        if self._hungry_s >= _HUNGER_S:
            self.begin(self._connections)

    def end(self) -> None:
        """Stops every connection, and gives their threads a second to end, all together."""
        self._stop.set()
        self._spool.close()
        until_s = time.monotonic() + _JOIN_S
        for thread in self._threads:
            thread.join(max(0.0, until_s - time.monotonic()))

    def _work(self) -> None:
        """Fills one window after the other, the nearest to the start first."""
        try:
            while (segment := self._next()) is not None:
                self._fill(segment)
        except BaseException as error:  # noqa: BLE001 - handed to the reader, whatever it is
            self._stop.set()
            self._spool.fail(error)

    def _next(self) -> Segment | None:
        with self._lock:
            return self._waiting.pop(0) if self._waiting and not self._stop.is_set() else None

    def _fill(self, segment: Segment) -> None:
        if segment.start == self._position:
            with self._retries.attempt(self._stop) as progress:
                self._write(segment, self._first, progress)
        while not segment.is_done and not self._stop.is_set():
            with (
                self._retries.attempt(self._stop) as progress,
                self._source.range(segment.position, segment.end) as blocks,
            ):
                self._write(segment, blocks, progress)

    def _write(self, segment: Segment, blocks: Iterator[bytes], progress: AttemptProgress) -> None:
        for block in blocks:
            progress.add(len(block))
            if self._stop.is_set() or not self._spool.write(segment, block) or segment.is_done:
                return
