"""Requests as hubcli sends them: redirects followed one by one, failures as its own errors."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

import httpcore
import httpx

from hubcli import __version__
from hubcli.config.environment import NetworkConfig
from hubcli.config.settings import DEFAULT_MIN_RATE, environment
from hubcli.errors import AuthenticationError, HubcliError, NetworkError, NotFoundError
from hubcli.net.bounds import GuardedStream, UnboundedAnswer, guard
from hubcli.net.connections import Proxies, trusted_context
from hubcli.net.credentials import Credentials, answer_text, standard_phrase
from hubcli.net.rate import RateMeter, SlowTransfer, timed_out, too_slow
from hubcli.units import from_http_date
from hubcli.urls import origin, remember_secret, remember_url, stored_url, without_known_secrets

__all__ = ["Client", "content_length", "entity_tag", "open_client", "translate"]

_MAX_REDIRECTS = 10
# The most timeouts that a chain of redirects may take; each redirect could take two.
_CHAIN_TIMEOUTS = 2
_REDIRECTS = (301, 302, 303, 307, 308)
_BUSY = (408, 425, 429)
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"  # OpenSSL's own words.
_PROXY_LOGIN = 407
_PROXY_HINT = "Check user and password of the proxy: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT"
# An ETag is stored with the model and sent back; hosts send some forty characters.
_MAX_ETAG = 512
_MAX_LENGTH_DIGITS = 19
_INVALID_LOCATION = "Invalid URL in location header"  # httpx's own words.
# How httpcore and h11 begin where they quote nothing of the answer.
_OWN_WORDS = ("Server disconnected", "peer closed connection")
# Which cookies are masked in messages: only values that look like no word and no address.
_COOKIE = r"(?a)(?=[^\d]*\d)[\w+=%~-]{12,4096}"
# The most bytes of cookies that are kept within a chain of redirects.
_MAX_COOKIE_BYTES = 16 << 10
_HEADERS = {
    "User-Agent": f"hubcli/{__version__}",
    # The bytes of the archive itself, not a compressed form of them.
    "Accept-Encoding": "identity",
    "Accept": "*/*",
}


class Client:
    """The requests of one download, and the credentials that it holds. May be shared between threads."""

    def __init__(self, http: httpx.Client, credentials: Credentials) -> None:
        self._http = http
        self._credentials = credentials
        self.has_sent_credentials = False

    def follow(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        with_credentials: bool = True,
        method: str = "GET",
        redirects: Collection[int] = _REDIRECTS,
        content: bytes | Iterable[bytes] | None = None,
    ) -> httpx.Response:
        """The answer to `GET url`, its body still unread, redirects followed; its `history` has those.

        A request with a `content` follows none: pass empty `redirects` with it.

        A redirect to another scheme than https (or from http to http) is refused, as is the eleventh.
        Cookies stay with their origin. Credentials are sent until a redirect leads to a host that may not
        have them, and not again in that chain. Raises NetworkError, AuthenticationError.
        """
        history: list[httpx.Response] = []
        began_s = time.monotonic()
        while len(history) <= _MAX_REDIRECTS:
            with_credentials = with_credentials and self._credentials.may_go_to(url)
            response = self._send(
                method, url, headers or {}, with_credentials=with_credentials, content=content
            )
            response.history = history
            if response.status_code not in redirects:
                return response
            response.close()
            history = [*history, response]
            if time.monotonic() - began_s > _CHAIN_TIMEOUTS * (self._http.timeout.read or 0):
                raise NetworkError(
                    f"The redirects of {stored_url(url)} take too long",
                    hint="Try again, or wait longer with --timeout SECONDS.",
                ).transient()
            target = _redirect_target(response)
            if origin(target) != origin(url):
                self._http.cookies.clear()
            url = target
        raise NetworkError(
            f"Too many redirects from {stored_url(url)}: more than {_MAX_REDIRECTS}",
            hint="Try again later, or report the redirect loop to the host.",
        )

    def ask_once(self, url: str, trace: Callable[[str, dict[str, Any]], None]) -> httpx.Response:
        """The answer to one `GET url` without credentials, its body unread, redirects not followed.

        `trace` is called for each step on the way, as httpcore names it. Raises NetworkError.
        """
        return self._send("GET", url, {}, with_credentials=False, extensions={"trace": trace})

    def kept_credentials(self, response: httpx.Response) -> bool:
        """Whether every URL in the chain of redirects that led to the answer may have the credentials."""
        return all(self._credentials.may_go_to(str(answer.url)) for answer in (*response.history, response))

    def check_status(self, response: httpx.Response, expected_status: int = 200) -> None:
        """Raises NotFoundError (404, 410), AuthenticationError (401, 403), else NetworkError."""
        if response.status_code != expected_status:
            url, status = str(response.url), response.status_code
            error = _error_of_status(response, self._credentials.hint(url, status))
            error.http_status = status
            raise error

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        with_credentials: bool,
        extensions: dict[str, Any] | None = None,
        content: bytes | Iterable[bytes] | None = None,
    ) -> httpx.Response:
        authorization = self._credentials.header(url) if with_credentials else None
        self.has_sent_credentials |= authorization is not None
        sent = {**headers, **({"Authorization": authorization} if authorization else {})}
        try:
            request = self._http.build_request(
                method, url, headers=sent, extensions=extensions, content=content
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise translate(error, stored_url(url)) from error
        try:
            response = self._http.send(request, stream=True)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
            # httpx reads the address of a redirect that it doesn't follow.
            if isinstance(error, httpx.InvalidURL) or str(error).startswith(_INVALID_LOCATION):
                raise _invalid_redirect(stored_url(url)) from error
            raise translate(error, stored_url(url)) from error
        stream = response.extensions.get("network_stream")
        if isinstance(stream, GuardedStream):
            stream.head_received()
        self._bound_cookies()
        return response

    def _bound_cookies(self) -> None:
        """Drops all cookies once they are more than a chain of redirects needs."""
        values = [cookie.value or "" for cookie in self._http.cookies.jar]
        if sum(map(len, values)) > _MAX_COOKIE_BYTES:
            self._http.cookies.clear()
        for value in values:
            if re.fullmatch(_COOKIE, value):
                remember_secret(value)


@contextmanager
def open_client(
    url: str, timeout_s: float, access: NetworkConfig, min_rate_bytes_s: int = DEFAULT_MIN_RATE
) -> Iterator[Client]:
    """A client with hubcli's headers, for a download that begins at the URL.

    Bodies that come more slowly than the minimum rate, all connections together, end in
    TooSlowError. Raises NetworkError if the environment's settings can't be used.
    """
    remember_url(url)
    for route in Proxies.read(environment()).by_scheme.values():
        remember_url(route.proxy or "")
    with _http(timeout_s, access) as http:
        guard(http, RateMeter(min_rate_bytes_s))
        yield Client(http, Credentials(access, url))


def _http(timeout_s: float, access: NetworkConfig) -> httpx.Client:
    """What the environment says of proxies and certificates is read here."""
    hint = "Check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and --cacert."
    try:
        verify = trusted_context(access)
        return httpx.Client(headers=_HEADERS, timeout=timeout_s, follow_redirects=False, verify=verify)
    except ImportError as error:  # httpx leaves SOCKS to a package of its own.
        routes = Proxies.read(environment()).by_scheme.values()
        sources = (route.source for route in routes if (route.proxy or "").lower().startswith("socks"))
        raise NetworkError(
            f"{next(sources, 'The proxy')} is a SOCKS proxy, which needs the package socksio",
            hint="Run: pip install 'httpx[socks]'",
        ) from error
    except OSError as error:
        raise NetworkError(f"Invalid network settings: {error}", hint=hint) from error
    except (ValueError, httpx.InvalidURL):
        # The error quotes what it didn't expect, which may be a password.
        raise NetworkError("Invalid proxy URL", hint=hint) from None


def _redirect_target(response: httpx.Response) -> str:
    printed_url = stored_url(str(response.url))
    location = response.headers.get("location", "")
    try:
        target = response.url.join(location)
        origin(str(target))
    except (httpx.InvalidURL, ValueError) as error:
        raise _invalid_redirect(printed_url) from error
    if not location:
        raise NetworkError(f"{printed_url} redirects without a Location header")
    if target.scheme not in ("http", "https") or (response.url.scheme, target.scheme) == ("https", "http"):
        raise NetworkError(
            f"{printed_url} redirects to {stored_url(str(target))}, which is not followed: "
            f"from {response.url.scheme} to {target.scheme}",
            hint="If you trust that address, fetch it directly.",
        )
    if not target.host:
        raise NetworkError(f"{printed_url} redirects without a Location header")
    return str(target)


def _invalid_redirect(printed_url: str) -> NetworkError:
    return NetworkError(f"{printed_url} redirects to an invalid URL", hint="Report it to the host.")


def _error_of_status(response: httpx.Response, hint: str | None) -> HubcliError:
    status = response.status_code
    message = answer_text(str(response.url), status)
    if status in (404, 410):
        return NotFoundError(message, hint=hint or _hint_for_missing(response.url.path))
    if status in (401, 403):
        return AuthenticationError(message, hint=hint or _hint_for_refused(response))
    if status in _BUSY or status >= 500:
        error = NetworkError(message, hint="Server error: try again later.")
        return error.transient(_retry_after_s(response))
    if status == _PROXY_LOGIN:
        return NetworkError(message, hint=_PROXY_HINT)
    return NetworkError(message, hint="Check the URL: unexpected response to a download.")


def _retry_after_s(response: httpx.Response) -> float | None:
    """How long the server asks to wait, in seconds or until a date. Source: RFC 9110, 10.2.3."""
    text = response.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        return float(text)  # Infinite where it has more digits than a float: too long to wait.
    date = from_http_date(text)
    return None if date is None else max(0.0, (date - datetime.now(timezone.utc)).total_seconds())


def _hint_for_refused(response: httpx.Response) -> str:
    host, had_credentials = response.url.host, "authorization" in response.request.headers
    if had_credentials:
        return f"The host rejects the credentials for {host}: check ~/.netrc, or the URL."
    credentials = f"add an entry for {host} to ~/.netrc."
    if response.status_code == 401:
        return f"The host requires credentials: {credentials}"
    # Static hosts say so of a directory without an index file, which they redirect to its "/".
    if response.url.path.endswith("/"):
        return (
            "Add the version, such as HANDLE/1, or publish with: hubcli export "
            f"--layout hub. Otherwise {credentials}"
        )
    version = "" if _names_version(response.url.path) else ", and add the version, such as HANDLE/1"
    return f"Check the path{version}. If the model is private, {credentials}"


def _hint_for_missing(path: str) -> str:
    if not _names_version(path):
        return "Check the handle, and add its version, such as HANDLE/1."
    return "Check the handle and its version."


def _names_version(path: str) -> bool:
    """Whether the path ends in the number of a version, or in the name of a file."""
    last = path.rstrip("/").rpartition("/")[2]
    return (last.isascii() and last.isdecimal()) or "." in last


def content_length(response: httpx.Response) -> int | None:
    """The size of the body in bytes, None if the server doesn't say."""
    # RFC 9112, 6.3: where the body is chunked, a length beside it means nothing.
    chunked = "transfer-encoding" in response.headers
    text = "" if chunked else response.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MAX_LENGTH_DIGITS else None


def entity_tag(response: httpx.Response) -> str | None:
    """The answer's ETag; None without one, for a very long one, and for one that echoes a credential."""
    etag: str | None = response.headers.get("etag")
    if etag is None or len(etag) > _MAX_ETAG or not etag.isprintable():
        return None
    return etag if without_known_secrets(etag) == etag else None


def translate(error: Exception, shown_url: str, when: str = "") -> NetworkError:
    """The hubcli error for an error of httpx; transient if a retry may succeed."""
    cause = error.__cause__ if isinstance(error, httpx.HTTPError) and error.__cause__ else error
    if isinstance(cause, SlowTransfer):
        return too_slow(shown_url, cause, when)
    if isinstance(cause, UnboundedAnswer):
        return NetworkError(
            f"{shown_url} {cause}{when}", hint="Check the URL: unexpected response to a download."
        )
    if isinstance(error, (httpx.TimeoutException, httpcore.TimeoutException)):
        late = timed_out(shown_url, when).transient()
        late.was_sent = not isinstance(error, (httpx.ConnectTimeout, httpx.PoolTimeout))
        return late
    if isinstance(error, httpx.ConnectError):
        unreachable = NetworkError(
            f"Cannot reach {shown_url}: {_reason(error)}",
            hint=_hint_for_certificate(str(error))
            or "Check the network, the proxy (HTTPS_PROXY) and the URL: hubcli doctor --network",
        )
        unreachable.was_sent = False
        # A certificate that isn't trusted stays so: no retry.
        return unreachable if _UNTRUSTED in str(error) else unreachable.transient()
    failed = NetworkError(f"{shown_url} failed{when}: {_reason(error)}", hint="Try again.")
    failed.was_sent = not isinstance(error, httpx.ProxyError)  # The tunnel was not opened.
    status = _proxy_status(error)
    if status is not None and 400 <= status < 500 and status not in _BUSY:
        # To send a wrong password again and again locks accounts.
        failed.hint = _PROXY_HINT if status == _PROXY_LOGIN else "Check the URL, and what the proxy allows."
        return failed
    # An invalid address, or an answer in an unknown protocol, stays so: no retry.
    is_lasting = isinstance(error, (httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError))
    if is_lasting:
        failed.hint = "Check the URL."
        return failed
    return failed.transient()


def _hint_for_certificate(reason: str) -> str:
    """What to do about a certificate that isn't trusted; "" for another error."""
    if _UNTRUSTED not in reason:
        return ""
    if "expired" in reason or "not yet valid" in reason:
        return "Check this machine's clock (date). If it is right, report it to the host."
    if "not valid for" in reason:
        return "Check the URL: the certificate is that of another host."
    return "If your network has its own certificate authority, trust it: --cacert FILE or SSL_CERT_FILE=FILE"


def _proxy_status(error: Exception) -> int | None:
    """The status with which a proxy refused a tunnel."""
    status = str(error).partition(" ")[0] if isinstance(error, httpx.ProxyError) else ""
    return int(status) if status.isascii() and status.isdecimal() and len(status) < 4 else None


def _reason(error: Exception) -> str:
    """Why it failed, without the words of the server: those may echo what was sent."""
    text, status = str(error), _proxy_status(error)
    if status is not None:
        return f"the proxy returns {status} {standard_phrase(status)}".rstrip()
    is_protocol = isinstance(error, (httpx.RemoteProtocolError, httpcore.RemoteProtocolError))
    if is_protocol and not text.startswith(_OWN_WORDS):
        return "the response is not valid HTTP"
    return re.sub(r"^\[Errno -?\d+\] ", "", text)
