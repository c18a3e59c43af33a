"""One download: the redirects that lead to it, its headers, its body to the last byte."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpcore
import httpx

from hubcli import __version__
from hubcli.errors import (
    AuthenticationError,
    HubcliError,
    NetworkError,
    NotFoundError,
    TruncatedError,
)
from hubcli.net.digests import BodyVerifier, Digest, read_digests
from hubcli.url import origin, without_secrets

__all__ = ["Download", "open_download"]

_MAX_REDIRECTS = 10
# A block is handed on when it is full, or when its first bytes have waited so long.
_BLOCK_BYTES = 256 << 10
_BLOCK_S = 0.1
_REDIRECTS = (301, 302, 303, 307, 308)
_HEADERS = {
    "User-Agent": f"hubcli/{__version__}",
    # The archive is what is wanted, not a compressed form of it.
    "Accept-Encoding": "identity",
    "Accept": "*/*",
}


@dataclass(frozen=True, slots=True)
class Download:
    """An answer with a body that is still to be read. Length in bytes, None where not sent."""

    url: str
    size_bytes: int | None
    etag: str | None
    digests: tuple[Digest, ...]
    _response: httpx.Response
    _timeout_s: float

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes; after the last chunk its length and checksums are verified.

        Raises TruncatedError for a body shorter than announced, ChecksumError,
        and NetworkError where the connection fails or stalls.
        """
        verifier, received = BodyVerifier(self.digests), 0
        try:
            for chunk in self._raw():
                received += len(chunk)
                verifier.update(chunk)
                yield chunk
        except (httpx.HTTPError, httpcore.TimeoutException, httpcore.NetworkError) as error:
            raise self._broken(error, received) from error
        if self.size_bytes is not None and received != self.size_bytes:
            raise self._truncated(received)
        verifier.verify()

    def _raw(self) -> Iterator[bytes]:
        """The body's bytes; where the length is known, by large reads behind the first chunk.

        h11 copies every 64 KiB several times, with some hundred lines of Python
        around them. It hands out all that it holds with each chunk: what follows
        the first one is still on the connection, which is closed afterwards.
        """
        chunks = self._response.iter_raw()
        first = next(chunks, b"")
        if first:
            yield first
        stream = self._response.extensions.get("network_stream")
        if stream is None or self.size_bytes is None:
            yield from chunks
        else:
            yield from _blocks(stream, self.size_bytes - len(first), self._timeout_s)

    def _broken(self, error: Exception, received: int) -> HubcliError:
        if isinstance(error, httpx.RemoteProtocolError) and "peer closed" in str(error):
            return self._truncated(received)
        return _translate(error, self.url, f" after {received} bytes")

    def _truncated(self, received: int) -> TruncatedError:
        expected = "more" if self.size_bytes is None else f"{self.size_bytes}"
        return TruncatedError(
            f"{self.url} sent {received} bytes and announced {expected}",
            hint="The connection was cut, or the server is wrong about the length. Try again.",
        )


def _blocks(stream: httpcore.NetworkStream, remaining: int, timeout_s: float) -> Iterator[bytes]:
    """The next `remaining` bytes, fewer where the peer closes."""
    is_open = True
    while remaining > 0 and is_open:
        parts: list[bytes] = []
        wanted, give_on_at = min(_BLOCK_BYTES, remaining), time.monotonic() + _BLOCK_S
        while wanted > 0 and is_open and (not parts or time.monotonic() < give_on_at):
            part = stream.read(wanted, timeout_s)
            is_open = bool(part)
            wanted -= len(part)
            parts.append(part)
        block = b"".join(parts)
        remaining -= len(block)
        if block:
            yield block


@contextmanager
def open_download(url: str, *, timeout_s: float) -> Iterator[Download]:
    """The answer to `GET url`, redirects followed, as long as the context lasts.

    A redirect to another scheme than https (or from http to http) is refused,
    as is the eleventh. Credentials and cookies stay with the origin that they
    were meant for. `timeout_s` bounds the connecting and each wait for bytes.
    Raises NotFoundError (404, 410), AuthenticationError (401, 403), NetworkError.
    """
    with _client(timeout_s) as client:
        response = _follow(client, url)
        try:
            _check_status(response)
            yield Download(
                url=without_secrets(str(response.url)),
                size_bytes=_content_length(response),
                etag=response.headers.get("etag"),
                digests=read_digests(response.headers.multi_items()),
                _response=response,
                _timeout_s=timeout_s,
            )
        finally:
            response.close()


def _client(timeout_s: float) -> httpx.Client:
    try:
        return httpx.Client(headers=_HEADERS, timeout=timeout_s, follow_redirects=False)
    except (OSError, ValueError, ImportError) as error:
        # What the environment says of proxies and certificates is read here.
        raise NetworkError(
            f"The settings of the network can't be used: {error}",
            hint="Check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and SSL_CERT_FILE.",
        ) from error


def _follow(client: httpx.Client, url: str) -> httpx.Response:
    for _ in range(_MAX_REDIRECTS + 1):
        response = _get(client, url)
        if response.status_code not in _REDIRECTS:
            return response
        response.close()
        target = _redirect_target(response)
        if origin(target) != origin(url):
            client.cookies.clear()
        url = target
    raise NetworkError(
        f"{without_secrets(url)} is redirected more than {_MAX_REDIRECTS} times",
        hint="The server sends clients in a circle. Tell its operator, or try later.",
    )


def _get(client: httpx.Client, url: str) -> httpx.Response:
    try:
        return client.send(client.build_request("GET", url), stream=True)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
        raise _translate(error, without_secrets(url)) from error


def _redirect_target(response: httpx.Response) -> str:
    shown = without_secrets(str(response.url))
    location = response.headers.get("location", "")
    try:
        target = response.url.join(location)
        origin(str(target))
    except (httpx.InvalidURL, ValueError) as error:
        raise NetworkError(f"{shown} redirects to an address that can't be parsed") from error
    if not location:
        raise NetworkError(f"{shown} redirects without saying where")
    if target.scheme not in ("http", "https") or (response.url.scheme, target.scheme) == ("https", "http"):
        raise NetworkError(
            f"{shown} redirects to {without_secrets(str(target))}, which is not followed: "
            f"from {response.url.scheme} to {target.scheme}",
            hint="If you trust that address, fetch it by its own name.",
        )
    if not target.host:
        raise NetworkError(f"{shown} redirects without saying where")
    return str(target)


def _check_status(response: httpx.Response) -> None:
    status, shown = response.status_code, without_secrets(str(response.url))
    if status == 200:
        return
    said = f"{shown} answers {status} {response.reason_phrase}".rstrip()
    if status in (404, 410):
        raise NotFoundError(said, hint=_hint_for_missing(response.url.host))
    if status in (401, 403):
        raise AuthenticationError(
            said, hint="The model may be private, or its licence must be accepted on its page first."
        )
    if status in (408, 429) or status >= 500:
        raise NetworkError(said, hint="The server has a problem of its own. Try again later.")
    raise NetworkError(said, hint="That is no answer to a download. Check the address.")


def _hint_for_missing(host: str) -> str:
    if host == "tfhub.dev":
        return (
            "Models that had not moved to Kaggle were removed from tfhub.dev in March 2024. "
            "Search for it on https://www.kaggle.com/models."
        )
    return "Check the spelling and the version of the handle."


def _content_length(response: httpx.Response) -> int | None:
    # RFC 9112, 6.3: where the body is chunked, a length beside it means nothing.
    chunked = "transfer-encoding" in response.headers
    text = "" if chunked else response.headers.get("content-length", "")
    return int(text) if text.isdecimal() else None


def _translate(error: Exception, shown_url: str, when: str = "") -> NetworkError:
    if isinstance(error, (httpx.TimeoutException, httpcore.TimeoutException)):
        return NetworkError(
            f"{shown_url} sent nothing for too long{when}",
            hint="Try again, or wait longer with --timeout SECONDS.",
        )
    if isinstance(error, httpx.ConnectError):
        return NetworkError(
            f"{shown_url} can't be reached: {error}",
            hint="Check the network, the proxy (HTTPS_PROXY) and the address.",
        )
    return NetworkError(f"{shown_url} failed{when}: {error}", hint="Try again.")
