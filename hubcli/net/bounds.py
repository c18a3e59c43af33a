"""Below httpx: bounds on what a server sends before, around and instead of a body, and large reads of a body.

httpcore and h11 bound a single event (100 KiB of headers) and a single read (the timeout). They bound
neither how many informational answers come before the real one, nor how long the bytes of one head may
trickle, nor how slow a body is as long as it is never silent. This backend, which every connection of a
client goes through, does. What httpx and httpcore don't document is used in this module alone.

Sources: RFC 9110, 15.2 (1xx); RFC 9112, 7.1 (chunks).
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterable, Iterator
from typing import Any

import httpcore
import httpx

from hubcli.net.rate import WINDOW_S, RateMeter, SlowTransfer

__all__ = ["GuardedStream", "UnboundedAnswer", "body_blocks", "guard"]

# h11 takes 100 KiB for one head; a redirect with a signed address has 4 KiB.
_MAX_HEAD_BYTES = 128 << 10
_MAX_INFORMATIONAL = 20
# One byte a chunk, as some programs send, is 6 bytes on the wire.
_MAX_FRAMING_FACTOR, _FREE_FRAMING_BYTES = 16, 1 << 20
_STATUS_LINE = re.compile(rb"HTTP/1\.\d ([1-9])\d\d")
_STATUS_LINE_BYTES = 12
# A block is handed on when it is full, or when its first bytes have waited this long.
_BLOCK_BYTES = 256 << 10
_BLOCK_S = 0.1
# After this time without data an empty block is handed on: the reader may have something else to do.
_SILENCE_S = 0.25


class _SlowStream(SlowTransfer, httpcore.ReadError):
    """A SlowTransfer that httpcore and httpx handle: they expect errors of a connection alone."""


class UnboundedAnswer(httpcore.RemoteProtocolError):
    """An answer whose headers or framing exceed a limit; the text is a predicate, without its subject."""


class _Head:
    """The bytes received since a request was sent, until the headers of its answer are parsed."""

    def __init__(self) -> None:
        self.began_s: float | None = None
        self._size_bytes = self._informational = 0
        self._end = b""
        self._is_final = False

    def check(self) -> None:
        """Raises UnboundedAnswer if the headers so far are too large; the last read may hold body, too."""
        if self._size_bytes > _MAX_HEAD_BYTES:
            raise UnboundedAnswer(f"sends more than {_MAX_HEAD_BYTES >> 10} KiB of headers")

    def take(self, data: bytes) -> None:
        """Counts the bytes, and the informational answers in them. Raises UnboundedAnswer."""
        if self.began_s is None:
            self.began_s = time.monotonic()
        self._size_bytes += len(data)
        window = self._end + data
        for found in _STATUS_LINE.finditer(window):
            self._is_final |= found[1] != b"1"
            self._informational += not self._is_final
        self._end = window[-(_STATUS_LINE_BYTES - 1) :]
        if self._informational > _MAX_INFORMATIONAL:
            raise UnboundedAnswer(f"sends more than {_MAX_INFORMATIONAL} informational answers")


class GuardedStream(httpcore.NetworkStream):
    """A connection that bounds the headers of each answer, and then the rate and framing of its body."""

    def __init__(self, inner: httpcore.NetworkStream, meter: RateMeter) -> None:
        self._inner = inner
        self._meter = meter
        self._head: _Head | None = None
        self._body_bytes = 0

    def head_received(self) -> None:
        """Its headers are parsed: the next bytes are its body."""
        self._head, self._body_bytes = None, 0

    def check_framing(self, content_bytes: int) -> None:
        """Raises UnboundedAnswer if the body so far is nearly all framing, such as chunk extensions."""
        if self._body_bytes > _FREE_FRAMING_BYTES + _MAX_FRAMING_FACTOR * content_bytes:
            raise UnboundedAnswer("sends nearly empty chunks")

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """The next bytes. Raises what httpcore does, SlowTransfer and UnboundedAnswer."""
        if self._head is not None:
            return self._read_head(self._head, max_bytes, timeout)
        if not self._meter.min_bytes_per_s:
            data = self._inner.read(max_bytes, timeout)
            self._body_bytes += len(data)
            return data
        data = b""
        self._meter.begin()
        try:
            data = self._inner.read(max_bytes, timeout)
            self._body_bytes += len(data)
        finally:
            try:
                self._meter.end(len(data), WINDOW_S if timeout is None else timeout)
            except SlowTransfer as slow:
                raise _SlowStream(*slow.args) from slow
        return data

    def _read_head(self, head: _Head, max_bytes: int, timeout: float | None) -> bytes:
        """The next bytes of the headers, which must come within one timeout from their first byte on."""
        head.check()
        if timeout is not None and head.began_s is not None:
            left_s = head.began_s + timeout - time.monotonic()
            if left_s <= 0:
                raise httpcore.ReadTimeout("The response headers take too long")
            timeout = left_s
        data = self._inner.read(max_bytes, timeout)
        head.take(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Sends the bytes of a request, whose answer comes next."""
        if buffer:
            self._head = _Head()
        self._inner.write(buffer, timeout)

    def close(self) -> None:
        """Closes the connection."""
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        """The same connection secured. The timeout is that of the whole handshake."""
        return GuardedStream(self._inner.start_tls(ssl_context, server_hostname, timeout), self._meter)

    def get_extra_info(self, info: str) -> Any:
        """What httpcore reads about a connection, such as its TLS object."""
        return self._inner.get_extra_info(info)


class _GuardedBackend(httpcore.NetworkBackend):
    """Opens guarded connections."""

    def __init__(self, inner: httpcore.NetworkBackend, meter: RateMeter) -> None:
        self._inner = inner
        self._meter = meter

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to the host, or to a proxy."""
        inner = self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        return GuardedStream(inner, self._meter)

    def sleep(self, seconds: float) -> None:
        """Waits, as httpcore's backends do."""
        self._inner.sleep(seconds)


def guard(client: httpx.Client, meter: RateMeter) -> None:
    """Makes all connections of the client, those to its proxies too, guarded streams."""
    # httpx passes no backend on to httpcore, whose pools take one: it is put into theirs.
    transports = [client._transport, *client._mounts.values()]
    for pool in (transport._pool for transport in transports if isinstance(transport, httpx.HTTPTransport)):
        pool._network_backend = _GuardedBackend(pool._network_backend, meter)


def body_blocks(
    response: httpx.Response, size_bytes: int | None, timeout_s: float, block_bytes: int = _BLOCK_BYTES
) -> Iterator[bytes]:
    """The body's bytes in blocks of at most that size; an empty one if none came for a while.

    Where the length is known, they come by large reads behind the first chunk:
    h11 copies every 64 KiB several times, with some hundred lines of Python
    around them. It hands out all that it holds with each chunk: what follows
    the first one is still on the connection, which is closed afterwards.
    """
    chunks = response.iter_raw()
    # They end with their answer, which is closed: ended by garbage collection, on a thread
    # that holds the lock of httpcore's pool, they would wait for that lock for ever.
    response.extensions["hubcli_chunks"] = chunks
    first = next(chunks, b"")
    if first:
        yield first
    stream = response.extensions.get("network_stream")
    if stream is None or size_bytes is None:
        yield from _unframed(chunks, stream, len(first))
    else:
        yield from _blocks(stream, size_bytes - len(first), timeout_s, block_bytes)


def _unframed(chunks: Iterator[bytes], stream: object, received: int) -> Iterator[bytes]:
    """The chunks of a body whose length isn't known. Raises UnboundedAnswer if they are nearly empty."""
    for chunk in chunks:
        received += len(chunk)
        if isinstance(stream, GuardedStream):
            stream.check_framing(received)
        yield chunk


def _blocks(
    stream: httpcore.NetworkStream, remaining: int, timeout_s: float, most_bytes: int
) -> Iterator[bytes]:
    """The next `remaining` bytes, fewer if the peer closes; an empty block if none came for a while."""
    is_open, silent_since_s = True, time.monotonic()
    while remaining > 0 and is_open:
        parts: list[bytes] = []
        block_bytes, deliver_at_s = min(most_bytes, remaining), time.monotonic() + _BLOCK_S
        while block_bytes > 0 and is_open and (not parts or time.monotonic() < deliver_at_s):
            try:
                part = stream.read(block_bytes, min(_SILENCE_S, timeout_s))
            except httpcore.ReadTimeout:
                if time.monotonic() - silent_since_s >= timeout_s:
                    raise
                break
            silent_since_s = time.monotonic()
            is_open = bool(part)
            block_bytes -= len(part)
            parts.append(part)
        block = b"".join(parts)
        remaining -= len(block)
        if block or is_open:
            yield block
