"""Small requests to hosts: whether one can be reached, how large a body is, where a model is unpacked."""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import httpx

from hubcli.config.environment import NetworkConfig
from hubcli.errors import NetworkError
from hubcli.net.client import Client, content_length, open_client, translate
from hubcli.net.connections import Proxies
from hubcli.net.retries import RetryPolicy
from hubcli.units import from_http_date
from hubcli.urls import address, redacted, stored_url, without_secrets

__all__ = ["ProbeResult", "ask_directory", "probe_host", "probe_size"]


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """How far the request came. Times are in seconds, None for a step that wasn't made.

    `proxy` is without secrets. `failed_step` is `name`, `connect`, `proxy`, `tls` or `http`, with the
    `error` in words, None if an answer came. `clock_ahead_s` is by how much the clock of the host is
    ahead of this one's.
    """

    url: str
    proxy: str | None = None
    addresses: tuple[str, ...] = ()
    name_s: float | None = None
    connect_s: float | None = None
    tls_s: float | None = None
    total_s: float = 0.0
    tls: str | None = None
    status: int | None = None
    clock_ahead_s: float | None = None
    failed_step: str | None = None
    error: str | None = None


def probe_host(url: str, timeout_s: float, access: NetworkConfig, proxies: Proxies) -> ProbeResult:
    """Requests the URL once, without credentials, not even its own, and reads only the answer's headers."""
    began, url = time.monotonic(), without_secrets(url)
    route = proxies.route(url)
    proxy = None if route.proxy is None else address(route.proxy)
    found = _look_up(ProbeResult(url, proxy), proxy or url)
    if found.error is None:
        found = _ask(found, timeout_s, access)
    return replace(found, total_s=time.monotonic() - began)


def _look_up(found: ProbeResult, peer_url: str) -> ProbeResult:
    """Adds the addresses of the host to connect to: that of the URL, or the proxy."""
    began = time.monotonic()
    try:
        host, port = urlsplit(peer_url).hostname, urlsplit(peer_url).port
        answers = socket.getaddrinfo(host, port or 443, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:  # UnicodeError is a ValueError.
        reason = error.strerror if isinstance(error, OSError) else "not a host name"
        return replace(found, failed_step="name", error=f"{peer_url} has no address: {reason}")
    addresses = tuple(dict.fromkeys(str(answer[4][0]) for answer in answers))
    return replace(found, addresses=addresses, name_s=time.monotonic() - began)


def _ask(found: ProbeResult, timeout_s: float, access: NetworkConfig) -> ProbeResult:
    steps = _Steps(is_by_proxy=found.proxy is not None)
    answer: dict[str, Any] = {}
    try:
        with open_client(found.url, timeout_s, access) as client:
            response = client.ask_once(found.url, steps.on_event)
            response.close()
        answer = {"status": response.status_code, "clock_ahead_s": _clock_ahead_s(response)}
    except NetworkError as error:
        answer = {"failed_step": steps.failed, "error": error.message}
    connect_s, tls_s = steps.seconds.get("connect_tcp"), steps.seconds.get("start_tls")
    return replace(found, connect_s=connect_s, tls_s=tls_s, tls=steps.tls, **answer)


class _Steps:
    """Records the times of what httpcore does."""

    def __init__(self, *, is_by_proxy: bool) -> None:
        self.seconds: dict[str, float] = {}
        self.tls: str | None = None
        self._is_by_proxy = is_by_proxy
        self._began: dict[str, float] = {}

    def on_event(self, event: str, facts: dict[str, Any]) -> None:
        """Takes an event such as `connection.connect_tcp.complete`."""
        step, _, phase = event.partition(".")[2].partition(".")
        if phase == "started":
            self._began[step] = time.monotonic()
        elif phase == "complete" and step in self._began:
            # To a proxy with TLS, and through it to a host: two handshakes.
            passed_s = time.monotonic() - self._began.pop(step)
            self.seconds[step] = self.seconds.get(step, 0.0) + passed_s
            if step == "start_tls":
                secured = facts["return_value"].get_extra_info("ssl_object")
                self.tls = None if secured is None else secured.version()

    @property
    def failed(self) -> str:
        """The step that failed, after an error."""
        if "start_tls" in self._began:
            return "tls"
        if "connect_tcp" not in self.seconds:
            return "connect"
        return "proxy" if self._is_by_proxy and "start_tls" not in self.seconds else "http"


def _clock_ahead_s(response: httpx.Response) -> float | None:
    date = from_http_date(response.headers.get("date"))
    return None if date is None else date.timestamp() - time.time()


_CONTENT_RANGE = re.compile(r"bytes 0-0/(\d{1,19})")


def probe_size(url: str, timeout_s: float, retries: RetryPolicy, access: NetworkConfig) -> int | None:
    """The size in bytes of what `GET url` would answer, None if the host doesn't say.

    By a HEAD request; if that gives no size, as with storage whose signed addresses are for GET alone, by a
    GET of the first byte. Transient errors are retried. Raises NotFoundError, AuthenticationError,
    NetworkError.
    """
    with open_client(url, timeout_s, access) as client:
        return retries.until_done(lambda: _asked_by_head(client, url) or _asked_for_a_byte(client, url))


def _asked_by_head(client: Client, url: str) -> int | None:
    try:
        response = client.follow(url, method="HEAD")
    except NetworkError:  # Some servers close the connection on HEAD: the next request tells.
        return None
    response.close()
    return content_length(response) if response.status_code == 200 else None


def _asked_for_a_byte(client: Client, url: str) -> int | None:
    response = client.follow(url, {"Range": "bytes=0-0"})
    response.close()  # A host without ranges sends all of it: it isn't read.
    if response.status_code == 206:
        content_range = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "").strip())
        return int(content_range[1]) if content_range is not None else None
    client.check_status(response)
    return content_length(response)


_SEE_OTHER = 303
_MAX_DIRECTORY_BYTES = 4096
_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")


def ask_directory(url: str, timeout_s: float, retries: RetryPolicy, access: NetworkConfig) -> str:
    """The directory of the unpacked model that the host names at the URL, redirects of other kinds followed.

    `GET <handle>?tf-hub-format=uncompressed` is answered by 303 with the directory in the body, such as
    `gs://bucket/folder`. Source: https://www.tensorflow.org/hub/hosting and tensorflow_hub 0.16.1,
    `uncompressed_module_resolver.py`.

    Every host may name a directory in a bucket, only this machine one on its
    disk. Raises NotFoundError, AuthenticationError, and NetworkError,
    also for an answer that is not a 303 or names no directory.
    """
    with open_client(url, timeout_s, access) as client:

        def request_directory() -> tuple[str, httpx.Response]:
            response = client.follow(url, redirects=(301, 302, 307, 308))
            try:
                client.check_status(response, _SEE_OTHER)
                return _directory_text(response), response
            finally:
                response.close()

        directory, response = retries.until_done(request_directory)
    is_here = directory.startswith("/") and response.url.host in _THIS_MACHINE
    if not directory.startswith("gs://") and not is_here:
        printed = redacted(directory)[:80]  # Cut before, a credential in it might not be known for one.
        raise NetworkError(
            f"{stored_url(str(response.url))} names no directory in a bucket, but {printed!r}",
            hint="Fetch it instead: unset TFHUB_MODEL_LOAD_FORMAT.",
        )
    return directory


def _directory_text(response: httpx.Response) -> str:
    """The text of the body, as far as it could be an address."""
    content = b""
    try:
        for chunk in response.iter_raw():
            content += chunk
            if len(content) > _MAX_DIRECTORY_BYTES:
                break
    except (httpx.HTTPError, OSError) as error:
        raise translate(error, stored_url(str(response.url))) from error
    return content[:_MAX_DIRECTORY_BYTES].decode("utf-8", "replace").strip()
