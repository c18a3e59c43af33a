"""One download: a byte source to its last byte, on one connection or several, resumed where another ended.

Several connections fill the spool by segments; one that has filled its segment takes the next in order.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from hubcli.concurrency import STAGE_BYTES
from hubcli.config.environment import NetworkConfig
from hubcli.config.settings import DEFAULT_MIN_RATE
from hubcli.durability import SYNCED, Durability
from hubcli.errors import HubcliError
from hubcli.net.byte_source import BodyVerifier, ByteSource
from hubcli.net.retries import AttemptProgress, RetryPolicy
from hubcli.net.spool import Segment, Spool, resumable_bytes

__all__ = ["MIN_SEGMENTED_BYTES", "Download", "DownloadOptions", "segment_size"]

_LOOK_S = 0.05  # After this time, the rate of a download predicts how long the rest takes.
QUICK_S = 3.0


@dataclass(frozen=True, slots=True)
class DownloadOptions:
    """How a body is fetched.

    With a `spool`, a path that only this download uses, a large body comes in windows over `connections`,
    and is resumed where a killed process ended, or with `durability` a machine that lost its power. With a
    `known_etag`, a body that still has that ETag isn't fetched. The spool is used once `spool_after_bytes`
    have come, since a reader may stop before. Until then the last `kept_bytes` stay in memory, and are
    spooled first: those that wait for the reader are among them.
    """

    timeout_s: float
    retries: RetryPolicy = field(default_factory=lambda: RetryPolicy(0))
    connections: int = 1
    spool: Path | None = None
    access: NetworkConfig = field(default_factory=NetworkConfig)
    known_etag: str | None = None
    min_rate_bytes_s: int = DEFAULT_MIN_RATE
    durability: Durability = SYNCED
    spool_after_bytes: int = 0
    kept_bytes: int = STAGE_BYTES


class Download(ByteSource):
    """A byte source that is read to its end despite transient errors, and checked by its checksums.

    `resumed_bytes` are those of an earlier download; `is_spooled` says whether some of the bytes came
    through the spool.
    """

    def __init__(self, source: ByteSource, options: DownloadOptions) -> None:
        self.name = source.name
        self.redirects, self.is_known = source.redirects, source.is_known
        self.size_bytes, self.etag, self.validator = source.size_bytes, source.etag, source.validator
        self.digests, self.files = source.digests, source.files
        self.is_private = source.is_private
        self._source = source
        self._options = options
        self._stop = threading.Event()
        self._waited_s = 0.0  # For bytes, by the reader.
        self._filled: tuple[Spool, int] | None = None  # With the position from which on it is filled.
        self.resumed_bytes = self._bytes_spooled_before()
        self.is_spooled = self.resumed_bytes > 0

    def arrived_bytes(self) -> int:
        """How much of the body is on this machine, ahead of the reader too; 0 while it comes in order."""
        if self._filled is None:
            return 0
        spool, start = self._filled
        return start + sum(
            segment.position - segment.start for segment in spool.segments if segment.start >= start
        )

    def close(self) -> None:
        """Lets every thread that still receives end without an error: its connection is closed next."""
        self._stop.set()

    def read(self) -> Generator[bytes, None, None]:
        """The body as it comes; after the last chunk its length and checksums are verified.

        Raises TruncatedError for a body shorter than announced, ChecksumError,
        BodyChangedError, and NetworkError where the connection fails or stalls,
        once no attempt is left.
        """
        verifier = BodyVerifier(self.digests)
        for chunk in self._body():
            verifier.update(chunk)
            yield chunk
        verifier.verify()

    def range(self, start: int, end: int) -> AbstractContextManager[Iterator[bytes]]:
        """A part from the source, without the spool and without retries."""
        return self._source.range(start, end)

    def _body(self) -> Iterator[bytes]:
        first = self._source.read()
        # A body that can't be requested in parts is never spooled.
        rest = _RestOfBody(self._options.kept_bytes if self._may_be_spooled else 0)
        began_s = time.monotonic()
        try:
            for chunk in self._while_quick(first):
                rest.add(chunk)
                yield chunk
        except HubcliError as error:
            if not self.has_ranges:
                raise
            self._options.retries.wait(error, rest.end, self._stop, time.monotonic() - began_s)
            first = iter(())
        if not self.has_ranges or rest.end == self.size_bytes or self._stop.is_set():
            return
        if not self._may_be_spooled:
            yield from self._rest(rest.end)
            return
        self._keep(rest)
        rest.clear()
        with self._spool(rest.end) as spool:
            self._filled = spool, rest.end
            fetcher = _SegmentFetcher(self._source, spool, first, self._options, self._stop, rest.end)
            yield from fetcher.chunks(self._waited_s)

    def _while_quick(self, first: Iterator[bytes]) -> Iterator[bytes]:
        """The body straight from the connection: all of it, or until it turns out to take long.

        A body that takes a few seconds is fetched again in less time than it is written to the disk and read.
        """
        may_spool = self._may_be_spooled
        if may_spool and (self.is_spooled or (QUICK_S <= 0 and not self._options.spool_after_bytes)):
            return
        began_s, received = time.monotonic(), 0
        requested_s = began_s
        for chunk in first:
            self._waited_s += time.monotonic() - requested_s
            received += len(chunk)
            if chunk:
                yield chunk
            requested_s = time.monotonic()
            elapsed_s = requested_s - began_s
            may_begin = received >= self._options.spool_after_bytes and elapsed_s > _LOOK_S
            if may_spool and self.size_bytes is not None and may_begin:
                is_slow = (self.size_bytes - received) * elapsed_s > QUICK_S * received
                if (is_slow or not chunk) and self._may_spool:
                    return

    def _keep(self, rest: _RestOfBody) -> None:
        """Puts the bytes that are still in memory into the spool, to resume from there."""
        self.is_spooled = True
        if rest.size_bytes:
            with self._spool(rest.start) as spool:
                spool.put(rest.start, rest.chunks)

    def _rest(self, received: int) -> Iterator[bytes]:
        """The rest of a body that isn't spooled, requested again from its next byte when it is cut."""
        size_bytes = self.size_bytes
        assert size_bytes is not None
        while received < size_bytes and not self._stop.is_set():
            with (
                self._options.retries.attempt(self._stop) as progress,
                self._source.range(received, size_bytes) as blocks,
            ):
                for block in blocks:
                    received += len(block)
                    progress.add(len(block))
                    if block:
                        yield block

    @property
    def _may_be_spooled(self) -> bool:
        return self.is_spooled or self._may_spool

    @property
    def _may_spool(self) -> bool:
        """Whether the rest could be spooled: it is large, and the disk has space for it twice."""
        path, size_bytes = self._options.spool, self.size_bytes
        if path is None or not self.has_ranges or size_bytes is None:
            return False
        return size_bytes >= MIN_SEGMENTED_BYTES and shutil.disk_usage(path.parent).free > 2 * size_bytes

    def _bytes_spooled_before(self) -> int:
        path, size_bytes, validator = self._options.spool, self.size_bytes, self.validator
        if path is None or not self.has_ranges or size_bytes is None or validator is None:
            return 0
        return resumable_bytes(path, size_bytes, validator)

    def _spool(self, position: int = 0) -> Spool:
        path, size_bytes, validator = self._options.spool, self.size_bytes, self.validator
        assert path is not None
        assert size_bytes is not None
        assert validator is not None

        def window(start: int) -> int:
            origin = position if start >= position else 0
            return segment_size(start - origin, size_bytes - origin, self._options.connections)

        return Spool(
            path, size_bytes, validator, window, position=position, durability=self._options.durability
        )


class _RestOfBody:
    """The last bytes of a stream, up to a maximum: those from `start` up to, not with, `end`."""

    def __init__(self, limit_bytes: int) -> None:
        self.chunks: deque[bytes] = deque()
        self.size_bytes = 0
        self.end = 0
        self._limit_bytes = limit_bytes

    @property
    def start(self) -> int:
        """The position of the first of them in the stream."""
        return self.end - self.size_bytes

    def add(self, chunk: bytes) -> None:
        """Takes the next bytes of the stream; drops the oldest beyond the maximum."""
        self.chunks.append(chunk)
        self.end += len(chunk)
        self.size_bytes += len(chunk)
        while self.chunks and self.size_bytes > self._limit_bytes:
            self.size_bytes -= len(self.chunks.popleft())

    def clear(self) -> None:
        """Drops the bytes; `end` stays."""
        self.chunks.clear()
        self.size_bytes = 0


# Smaller bodies come faster by the connection that is open already.
MIN_SEGMENTED_BYTES = 8 << 20
_MIN_WINDOW_BYTES, _LAST_WINDOW_BYTES, _MAX_WINDOW_BYTES = 4 << 20, 5 << 20, 64 << 20
_JOIN_S = 1.0
# Once the reader has waited this long in all, one connection is too slow for it.
_MAX_READER_WAIT_S = 0.1


def segment_size(position: int, size_bytes: int, connections: int) -> int:
    """How large the window that begins at the position is, of a body of this size that is begun at 0.

    The windows that are under way fill side by side, while the reader waits for the
    first of them: they begin small, so that it has something to do, and end small, so
    that little is left for it to do once the last byte is there. Each costs a connection:
    one that fetches alone has a single window.
    """
    if connections == 1 or size_bytes - position < _LAST_WINDOW_BYTES:
        return size_bytes - position
    since_start, until_end = position // connections, (size_bytes - position) // (2 * connections)
    return max(_MIN_WINDOW_BYTES, min(since_start, until_end, _MAX_WINDOW_BYTES))


class _SegmentFetcher:
    """Reads a body from `position` on, while up to `connections` connections fill the spool.

    `first` is the rest of the answer that has come already, from the position on: it serves the first
    window, unless an earlier download has filled that.
    """

    def __init__(
        self,
        source: ByteSource,
        spool: Spool,
        first: Iterator[bytes],
        options: DownloadOptions,
        stop: threading.Event,
        position: int,
    ) -> None:
        self._position = position
        self._stop = stop
        # What was read before the position is not in the spool, and is left to the download that resumes it.
        ahead = (segment for segment in spool.segments if segment.start >= position)
        self._waiting = [segment for segment in ahead if not segment.is_done]
        self._connections = min(options.connections, len(self._waiting))
        self._threads: list[threading.Thread] = []
        self._waited_s = 0.0
        self._source = source
        self._spool = spool
        self._first = first
        self._retries = options.retries
        self._lock = threading.Lock()

    def chunks(self, waited_s: float) -> Iterator[bytes]:
        """The bytes in order; the reader waited `waited_s` for those before the position.

        One connection is enough as long as it brings more than the reader takes: on a network that is
        faster than the unpacking, others cost without a gain. Raises what `ByteSource.range` does once no
        attempt is left, DiskFullError, CacheError.
        """
        self._begin(1)
        self._count_wait(waited_s)
        try:
            yield from self._spool.chunks(self._position, self._count_wait)
        finally:
            self._end()

    def _begin(self, connections: int) -> None:
        """Opens connections up to this number, as far as there are segments left for them."""
        while len(self._threads) < min(connections, self._connections):
            thread = threading.Thread(target=self._work, name="hubcli-segment", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _count_wait(self, seconds: float) -> None:
        """Adds to the time that the reader has waited; opens all connections once it is too long."""
        self._waited_s += seconds
        if self._waited_s >= _MAX_READER_WAIT_S:
            self._begin(self._connections)

    def _end(self) -> None:
        """Stops every connection, and gives their threads a second to end, all together."""
        self._stop.set()
        self._spool.close()
        until_s = time.monotonic() + _JOIN_S
        for thread in self._threads:
            thread.join(max(0.0, until_s - time.monotonic()))

    def _work(self) -> None:
        """Fills one window after the other, the first in the body first."""
        try:
            while (segment := self._next()) is not None:
                self._fill(segment)
        except BaseException as error:  # noqa: BLE001 - any error is handed to the reader
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
