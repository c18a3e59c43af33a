"""One file to a storage by the protocol of resumable uploads, piece by piece.

The address of a session is a capability: anyone who has it can write. It is never printed, and no credentials
go with it. What the storage claims to have is checked: never more than was sent.

Source: Google Cloud Storage's documentation, "Resumable uploads".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

import httpx

from hubcli.errors import NetworkError
from hubcli.net.client import Client
from hubcli.urls import origin, remember_secret

__all__ = ["PIECE_BYTES", "ResumableUpload", "SessionExpiredError", "UploadState", "require_session_url"]

PIECE_BYTES = 8 << 20  # The storage takes multiples of 256 KiB, and a piece is held in memory.
_RANGE = re.compile(r"bytes=0-(\d{1,19})")
# The statuses of a session that has ended, or whose signed address has expired: a new one is needed.
_EXPIRED = (400, 401, 403, 404, 410, 412)
_MAX_URL, _MAX_BODY_BYTES = 8192, 64 << 10
_MIN_SECRET, _MAX_SECRETS = 12, 4  # Shorter ones are words of messages.
_BLOCK_BYTES = 256 << 10


class SessionExpiredError(NetworkError):
    """The session has ended: the file must be sent from its start in a new one."""


class UploadState(NamedTuple):
    """How many bytes the storage has, from the start on; complete once the storage says so."""

    received_bytes: int
    is_complete: bool = False


class ResumableUpload:
    """A session for one file of `size_bytes`. Every method raises SessionExpiredError and NetworkError."""

    def __init__(self, client: Client, url: str, size_bytes: int) -> None:
        self._client = client
        self._url = url
        self._size_bytes = size_bytes
        host = urlsplit(url).hostname
        self._name = f"The upload session at {host}"

    def ask(self) -> UploadState:
        """What the storage has."""
        return self._put(f"bytes */{self._size_bytes}", b"", self._size_bytes)

    def send(self, start: int, data: bytes) -> UploadState:
        """Sends the bytes from `start` on: a piece, or all that is left."""
        end = start + len(data)
        content_range = f"bytes {start}-{end - 1}/{self._size_bytes}" if data else None
        return self._put(content_range, data, end)

    def _put(self, content_range: str | None, data: bytes, sent_end: int) -> UploadState:
        headers = {"Content-Length": str(len(data))}
        if content_range is not None:
            headers["Content-Range"] = content_range
        try:
            response = self._client.follow(
                self._url,
                headers,
                method="PUT",
                content=_blocks(data) if data else b"",
                redirects=(),
                with_credentials=False,
            )
        except NetworkError as error:
            raise self._without_address(error) from None  # Its cause quotes the address.
        status, received = response.status_code, response.headers.get("range", "").strip()
        try:
            if status in (200, 201, 308):
                _drain(response)
        finally:
            response.close()
        if status == 308:
            return UploadState(self._received(received, sent_end))
        if status in (200, 201):
            if sent_end < self._size_bytes:
                raise NetworkError(f"{self._name} claims to be complete before the last piece was sent")
            return UploadState(self._size_bytes, is_complete=True)
        if status in _EXPIRED:
            raise SessionExpiredError(
                f"{self._name} has ended ({status})", hint="Run the command again."
            ).transient()
        raise self._of_status(status)

    def _received(self, text: str, sent_end: int) -> int:
        if not text:
            return 0
        found = _RANGE.fullmatch(text)
        received = int(found[1]) + 1 if found else None
        if received is None or received > sent_end:
            raise NetworkError(f"{self._name} claims to have bytes that were not sent")
        return received

    def _of_status(self, status: int) -> NetworkError:
        error = NetworkError(f"{self._name} answers {status}", hint="Run the command again to resume.")
        error.http_status = status
        return error.transient() if status in (408, 425, 429) or status >= 500 else error

    def _without_address(self, error: NetworkError) -> NetworkError:
        """The error without the address."""
        why = "cannot be reached" if not error.was_sent else "was interrupted"
        found = NetworkError(f"{self._name} {why}", hint="Check the network, then run the command again.")
        found.was_sent = error.was_sent
        return found.transient() if error.is_transient else found


def _blocks(data: bytes) -> Iterator[bytes]:
    """The piece in blocks: with each send, httpcore copies all of a block that is left."""
    for start in range(0, len(data), _BLOCK_BYTES):
        yield data[start : start + _BLOCK_BYTES]


def _drain(response: httpx.Response) -> None:
    """Reads the short body, so that the connection can be used for the next piece."""
    read = 0
    with suppress(httpx.HTTPError, OSError):  # The status is enough.
        for chunk in response.iter_raw():
            read += len(chunk)
            if read > _MAX_BODY_BYTES:
                return


def require_session_url(value: object, endpoint: str) -> str:
    """The address of a session that the API returned, remembered as a secret. Raises NetworkError.

    It must be https, unless it has the endpoint's own origin, as in tests; and without user info.
    """
    problem = NetworkError(f"{endpoint} answers with an invalid upload session URL")
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_URL:
        raise problem
    if not value.isascii() or not value.isprintable() or " " in value:
        raise problem
    try:
        parts = urlsplit(value)
        is_own = origin(value) == origin(endpoint)
    except ValueError:
        raise problem from None
    if (parts.scheme != "https" and not is_own) or not parts.hostname or "@" in parts.netloc:
        raise problem
    remember_secret(value)
    # Longest first: an address of a thousand values must not push the user's own secrets out of memory.
    texts = [text for _, text in parse_qsl(parts.query) if len(text) >= _MIN_SECRET]
    for text in sorted(texts, key=len, reverse=True)[:_MAX_SECRETS]:
        remember_secret(text)
    return value
