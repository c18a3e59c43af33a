"""JSON over HTTP: requests to the API of one host, whose answers are bounded in bytes, time and pages.

Credentials go to the API's own origin, as those of downloads do. A request with a body follows no redirect.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import httpcore
import httpx

from hubcli.config.environment import NetworkConfig
from hubcli.config.settings import DEFAULT_MIN_RATE
from hubcli.errors import AuthenticationError, HubcliError, NetworkError, NotFoundError
from hubcli.net.bounds import body_blocks
from hubcli.net.client import Client, open_client, translate
from hubcli.net.retries import DEFAULT_RETRIES, RetryPolicy
from hubcli.urls import redacted, stored_url

__all__ = ["JsonApi", "JsonApiOptions", "Page", "open_json_api", "parse_json", "quoted_path"]

MAX_ANSWER_BYTES = 4 << 20
_MAX_ERROR_BYTES = 64 << 10
_MAX_QUOTED = 300  # Characters of a server's own message.
# An answer of some kilobytes that takes longer than this is treated as a failure.
_MAX_ANSWER_S = 120.0
_MAX_PAGES = 200
_MAX_TOKEN = 4096


@dataclass(frozen=True, slots=True)
class JsonApiOptions:
    """How requests are sent: times in seconds, and the retries that all of them share."""

    timeout_s: float = 30.0
    access: NetworkConfig = field(default_factory=NetworkConfig)
    retries: RetryPolicy = field(default_factory=lambda: RetryPolicy(DEFAULT_RETRIES))
    min_rate_bytes_s: int = DEFAULT_MIN_RATE


class Page(NamedTuple):
    """One page of a list: the document, and its number from 1."""

    document: dict[str, Any]
    number: int


@contextmanager
def open_json_api(root: str, options: JsonApiOptions) -> Iterator[JsonApi]:
    """The API below the URL `root`, as long as the context lasts. Raises NetworkError."""
    with open_client(root, options.timeout_s, options.access, options.min_rate_bytes_s) as client:
        yield JsonApi(root, client, options)


class JsonApi:
    """Requests to one API. May be used from several threads.

    Every method raises NotFoundError (404), AuthenticationError (401, 403), else NetworkError, with the
    status in `http_status` if the API answered; an error without one may have happened after the API
    carried out the request.
    """

    def __init__(self, root: str, client: Client, options: JsonApiOptions) -> None:
        self.root = root.rstrip("/")
        self.client = client
        self.options = options

    def get(
        self, path: str, query: Mapping[str, str] | None = None, limit_bytes: int = MAX_ANSWER_BYTES
    ) -> dict[str, Any]:
        """The object that the API answers, retried after transient errors."""
        url = self._url(path, query)
        return self.options.retries.until_done(lambda: self._ask("GET", url, None, limit_bytes))

    def post(self, path: str, body: Mapping[str, Any], *, is_repeatable: bool) -> dict[str, Any]:
        """The object that the API answers to a JSON body.

        A request that isn't repeatable is sent again only after 429, which means that nothing was done.
        """
        url, data = self._url(path, None), json.dumps(body).encode()

        def attempt() -> dict[str, Any]:
            try:
                return self._ask("POST", url, data, MAX_ANSWER_BYTES)
            except HubcliError as error:
                error.is_transient &= is_repeatable or error.http_status == 429
                raise

        return self.options.retries.until_done(attempt)

    def pages(self, path: str, query: Mapping[str, str]) -> Iterator[Page]:
        """The pages of a list, each requested when it is needed, by the token of the one before.

        Raises NetworkError for a token that comes twice, which would never end, and after 200 pages.
        """
        seen: set[str] = set()
        token = ""
        for number in range(1, _MAX_PAGES + 1):
            document = self.get(path, {**query, "pageToken": token} if token else query)
            yield Page(document, number)
            following = document.get("nextPageToken") or ""
            if not following:
                return
            is_token = isinstance(following, str) and len(following) <= _MAX_TOKEN and following.isprintable()
            if not is_token or following in seen:
                raise self._invalid(self._url(path, None), "has an invalid next-page token")
            seen.add(following)
            token = following
        raise self._invalid(self._url(path, None), f"has more than {_MAX_PAGES} pages")

    def _url(self, path: str, query: Mapping[str, str] | None) -> str:
        return f"{self.root}{path}" + (f"?{urlencode(query)}" if query else "")

    def _ask(self, method: str, url: str, data: bytes | None, limit_bytes: int) -> dict[str, Any]:
        headers = {"Accept": "application/json"}
        try:
            if data is None:
                response = self.client.follow(url, headers)
            else:
                headers["Content-Type"] = "application/json"
                response = self.client.follow(url, headers, method=method, content=data, redirects=())
        except HubcliError as error:
            # The query has the user's words: masked as in the message, it would be useless.
            error.message = error.message.replace(
                redacted(stored_url(url)), stored_url(url.partition("?")[0])
            )
            raise
        try:
            return self._document(response, limit_bytes)
        finally:
            response.close()

    def _document(self, response: httpx.Response, limit_bytes: int) -> dict[str, Any]:
        printed = _printed(response)
        if response.status_code != 200:
            reason = _message_in(self._body(response, _MAX_ERROR_BYTES, is_cut=True))
            self._raise_status(response, reason)
        document = parse_json(self._body(response, limit_bytes), printed)
        if not isinstance(document, dict):
            raise self._invalid(printed, "is not a JSON object")
        self._require_success(document, printed)
        return document

    def _raise_status(self, response: httpx.Response, reason: str) -> None:
        try:
            self.client.check_status(response)
        except HubcliError as error:
            if reason:
                error.message = redacted(f"{error.message}: {reason}")
            raise

    def _require_success(self, document: dict[str, Any], printed: str) -> None:
        """Raises the error that an answer of status 200 holds, as Kaggle's may."""
        status = document.get("errorCode", document.get("code"))
        if not isinstance(status, int) or isinstance(status, bool) or status < 400:
            status = None
        if status is None and not document.get("error"):
            return
        reason = _quoted(document.get("error")) or _quoted(document.get("message")) or "without a reason"
        message = f"{printed} reports error {status}: {reason}" if status else f"{printed} reports: {reason}"
        kind = {401: AuthenticationError, 403: AuthenticationError, 404: NotFoundError}.get(
            status or 0, NetworkError
        )
        error = kind(message, hint="Check the handle and the credentials.")
        error.http_status = status or 200
        if status == 429 or (status or 0) >= 500:
            error.hint = "Server error: try again later."
            error.transient()
        raise error

    def _body(self, response: httpx.Response, limit_bytes: int, *, is_cut: bool = False) -> bytes:
        """The body; what is longer raises NetworkError, or is cut."""
        printed, content, began_s = _printed(response), b"", time.monotonic()
        try:
            for block in body_blocks(response, None, self.options.timeout_s):
                content += block
                if len(content) > limit_bytes:
                    break
                if time.monotonic() - began_s > _MAX_ANSWER_S:
                    raise NetworkError(
                        f"Timed out after {_MAX_ANSWER_S:.0f} s waiting for {printed}",
                        hint="Try again later.",
                    ).transient()
        except (httpx.HTTPError, httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            if is_cut:
                return b""  # The status says enough.
            raise translate(error, printed) from error
        if len(content) > limit_bytes and not is_cut:
            raise self._invalid(printed, f"is longer than {limit_bytes >> 10} KiB")
        return content[:limit_bytes]

    @staticmethod
    def _invalid(printed: str, what: str) -> NetworkError:
        return NetworkError(
            f"The answer from {printed} {what}", hint="Try again later, or report it to the host."
        )


def parse_json(content: bytes, name: str) -> Any:
    """The JSON document of what a server sent; nothing but standard JSON. Raises NetworkError."""
    try:
        return json.loads(content.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise NetworkError(f"The answer from {name} is not valid JSON", hint="Check the URL.") from None


def _no_constant(name: str) -> Any:
    raise ValueError(name)  # NaN and infinities are not JSON.


def quoted_path(*segments: str) -> str:
    """A path of these segments, each escaped, so that none of them can become two."""
    return "".join(f"/{quote(segment, safe='')}" for segment in segments)


def _printed(response: httpx.Response) -> str:
    """The address without its query, which has the user's words."""
    return stored_url(str(response.url.copy_with(query=None)))


def _message_in(content: bytes) -> str:
    """What the body of an error says, where it is an object with a message."""
    try:
        document = parse_json(content, "")
    except NetworkError:
        return ""
    if not isinstance(document, dict):
        return ""
    return _quoted(document.get("message")) or _quoted(document.get("error"))


def _quoted(text: object) -> str:
    """The server's own words, in one line of printable characters, cut where they are long."""
    if not isinstance(text, str):
        return ""
    words = " ".join("".join(char if char.isprintable() else " " for char in text[: 4 * _MAX_QUOTED]).split())
    cut = f"{words[: _MAX_QUOTED - 1]}…" if len(words) > _MAX_QUOTED else words
    return f"'{cut}'" if cut else ""
