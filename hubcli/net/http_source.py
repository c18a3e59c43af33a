"""HTTP as a byte source: a body in one piece or in ranges, the same each time or an error that says so.

Source: RFC 9110, 13.1.2 (If-None-Match), 13.1.5 (If-Range), 14.2 (Range), 14.4 (Content-Range).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import httpcore
import httpx

from hubcli.errors import BodyChangedError, HubcliError, TruncatedError
from hubcli.net.bounds import body_blocks
from hubcli.net.byte_source import ByteSource, read_digests
from hubcli.net.client import Client, content_length, entity_tag, open_client, translate
from hubcli.net.download import Download, DownloadOptions
from hubcli.urls import stored_url

__all__ = ["HttpSource", "open_download"]

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")
# Of up to 32 connections each holds two: the parts of one as they came, and the whole.
_RANGE_BLOCK_BYTES = 128 << 10
_EXPIRED = (400, 401, 403, 404, 410)


class HttpSource(ByteSource):
    """The body of `response`; when its address expires, `handle_url` leads to a new one.

    `validator` is its strong ETag; None if it has none, or the server takes no ranges. `size_bytes` is None
    if the server doesn't say.
    """

    def __init__(
        self,
        client: Client,
        handle_url: str,
        response: httpx.Response,
        timeout_s: float,
        known_etag: str | None = None,
    ) -> None:
        self._client = client
        self._response = response
        self._handle_url = handle_url
        self._url = str(response.url)
        self._with_credentials = client.kept_credentials(response)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self.name = stored_url(self._url)
        self.redirects = tuple(stored_url(str(answer.url)) for answer in (*response.history, response))
        self.size_bytes = content_length(response)
        self.etag = entity_tag(response)
        self.is_private = client.has_sent_credentials or stored_url(handle_url) != handle_url
        self.digests = read_digests(response.headers.multi_items())
        self.is_known = _is_known(response, known_etag)
        etag = self.etag or ""
        self._encoding = response.headers.get("content-encoding")
        takes_ranges = "bytes" in response.headers.get("accept-ranges", "").lower()
        # One that isn't ASCII can't be sent back.
        is_strong = etag.startswith('"') and len(etag) > 2 and etag.isascii()
        self.validator = etag if takes_ranges and is_strong else None

    @contextmanager
    def range(self, start: int, end: int) -> Iterator[Iterator[bytes]]:
        """The bytes from `start` up to, not with, `end`, in blocks, as long as the context lasts.

        Raises BodyChangedError if the server has another body now, or
        doesn't answer with that range; TruncatedError, NetworkError.
        """
        response = self._answer(start, end)
        try:
            self._require_range(response, start, end)
            blocks = body_blocks(response, end - start, self._timeout_s, _RANGE_BLOCK_BYTES)
            yield self._received(blocks, end - start)
        finally:
            response.close()

    def _answer(self, start: int, end: int) -> httpx.Response:
        assert self.validator is not None
        headers = {"Range": f"bytes={start}-{end - 1}", "If-Range": self.validator}
        with self._lock:
            url, with_credentials = self._url, self._with_credentials
        response = self._client.follow(url, headers, with_credentials=with_credentials)
        if response.status_code in _EXPIRED and url != self._handle_url:
            # A signed address expires: the handle's own leads to a new one.
            response.close()
            response = self._client.follow(self._handle_url, headers)
            with self._lock:
                self._url = str(response.url)
                self._with_credentials = self._client.kept_credentials(response)
        return response

    def _require_range(self, response: httpx.Response, start: int, end: int) -> None:
        if response.status_code == 416:
            raise self._changed(f"no longer has bytes {start} to {end - 1}")
        if response.status_code == 200:
            etag = response.headers.get("etag")
            if etag == self.validator:
                raise self._changed("does not support ranges, although it claims to", has_ranges=False)
            raise self._changed("changed during the download")
        self._client.check_status(response, expected_status=206)
        content_range = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "").strip())
        expected_range = (start, end - 1, self.size_bytes)
        if content_range is None or tuple(map(int, content_range.groups())) != expected_range:
            raise self._changed(
                f"returns a different range than bytes {start} to {end - 1}", has_ranges=False
            )
        if response.headers.get("content-encoding") != self._encoding:
            raise self._changed("sends its parts in another encoding", has_ranges=False)
        etag = response.headers.get("etag")  # RFC 9110, 15.3.7: sent with a 206 where it is with a 200.
        if etag is None:
            raise self._changed("does not say whether a part belongs to the same body", has_ranges=False)
        if etag != self.validator:
            raise self._changed("changed during the download")

    def _changed(self, what: str, *, has_ranges: bool = True) -> BodyChangedError:
        # No attempt at this range helps: the body must be fetched from its start.
        return BodyChangedError(f"{self.name} {what}", hint="Try again.", has_ranges=has_ranges)

    def read(self) -> Iterator[bytes]:
        """The body of the first answer; raises TruncatedError, NetworkError where it ends too early."""
        blocks = body_blocks(self._response, self.size_bytes, self._timeout_s)
        return self._received(blocks, self.size_bytes)

    def _received(self, blocks: Iterator[bytes], expected_bytes: int | None) -> Iterator[bytes]:
        received = 0
        try:
            for block in blocks:
                received += len(block)
                yield block
        except (
            httpx.HTTPError,
            httpcore.TimeoutException,
            httpcore.NetworkError,
            httpcore.RemoteProtocolError,
        ) as error:
            raise self._broken(error, received, expected_bytes) from error
        if expected_bytes is not None and received != expected_bytes:
            raise self._truncated(received, expected_bytes)

    def _broken(self, error: Exception, received: int, expected_bytes: int | None) -> HubcliError:
        """The error of a body that ended early, with the number of bytes received."""
        if isinstance(error, httpx.RemoteProtocolError) and "peer closed" in str(error):
            return self._truncated(received, expected_bytes)
        return translate(error, self.name, f" after {received} bytes")

    def _truncated(self, received: int, expected_bytes: int | None) -> TruncatedError:
        """The error of a body that is shorter than announced."""
        announced = "more" if expected_bytes is None else expected_bytes
        return TruncatedError(
            f"{self.name} sent {received} of {announced} bytes",
            hint="Try again: the connection was cut, or the server reports a wrong length.",
        ).transient()


@contextmanager
def open_download(url: str, options: DownloadOptions) -> Iterator[Download]:
    """The answer to `GET url`, redirects followed, as long as the context lasts.

    Transient errors are retried. Raises NotFoundError (404, 410), AuthenticationError (401, 403),
    NetworkError; DiskFullError and CacheError of the spool.
    """
    with open_client(url, options.timeout_s, options.access, options.min_rate_bytes_s) as client:
        response = options.retries.until_done(partial(_answer, client, url, options.known_etag))
        download = None
        try:
            source = HttpSource(client, url, response, options.timeout_s, options.known_etag)
            download = Download(source, options)
            yield download
        finally:
            if download is not None:
                download.close()
            response.close()


def _answer(client: Client, url: str, known_etag: str | None) -> httpx.Response:
    """An answer with the body, or one that says that the known one is current."""
    headers = {"If-None-Match": known_etag} if known_etag is not None and known_etag.isascii() else {}
    response = client.follow(url, headers)
    if _is_known(response, known_etag):
        return response
    try:
        client.check_status(response)
    except HubcliError:
        response.close()
        raise
    return response


def _is_known(response: httpx.Response, known_etag: str | None) -> bool:
    """Whether the server answers 304, or with the known ETag. Source: RFC 9110, 13.1.2."""
    if known_etag is None:
        return False
    return response.status_code == 304 or (
        response.status_code == 200 and response.headers.get("etag") == known_etag
    )
