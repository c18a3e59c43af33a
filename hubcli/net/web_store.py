"""A plain web server as an object store: files below one URL, which are read, never listed or written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NoReturn, TypeVar
from urllib.parse import quote

import httpx

from hubcli.errors import IntegrityError, UnsupportedError
from hubcli.net.byte_source import ByteSource
from hubcli.net.client import content_length, entity_tag, open_client
from hubcli.net.directory_store import require_key
from hubcli.net.download import DownloadOptions
from hubcli.net.http_source import HttpSource, open_download
from hubcli.net.object_store import ObjectInfo, ObjectStore
from hubcli.units import from_http_date
from hubcli.urls import stored_url

__all__ = ["WebStore"]

_MISSING = (404, 410)
T = TypeVar("T")


class WebStore(ObjectStore):
    """The files below an http or https URL, read with every check of a download.

    `options` returns the options of a request, with retries of its own. Credentials are those of the host,
    as for a fetch.
    """

    is_writable = False

    def __init__(self, url: str, options: Callable[[], DownloadOptions]) -> None:
        self._url = url.rstrip("/")
        self.address = stored_url(self._url)
        self._options = options
        self._ahead = timedelta()  # By how much the server's clock is ahead of this one.

    def head(self, key: str) -> ObjectInfo | None:
        """What is under the key now; None if nothing is."""
        return self._request(key, "HEAD", lambda source, info: info)

    def read(self, key: str, limit_bytes: int) -> tuple[bytes, ObjectInfo] | None:
        """A small object as a whole; None if nothing is. Raises IntegrityError beyond the limit."""

        def content_of(source: HttpSource, info: ObjectInfo) -> tuple[bytes, ObjectInfo]:
            content = bytearray()
            for piece in source.read():
                content += piece
                if len(content) > limit_bytes:
                    raise IntegrityError(f"{self.address}/{key} is larger than {limit_bytes} bytes")
            return bytes(content), info._replace(size_bytes=len(content))

        return self._request(key, "GET", content_of)

    @contextmanager
    def open(self, key: str, spool: Path | None = None) -> Iterator[ByteSource]:
        """The bytes of an object, in parts, with retries; resumed in `spool`. Raises NotFoundError."""
        with open_download(self._url_of(key), replace(self._options(), spool=spool)) as download:
            yield download

    def _request(self, key: str, method: str, take: Callable[[HttpSource, ObjectInfo], T]) -> T | None:
        """The result of `take` on the answer; None if the server has nothing there."""
        url, options = self._url_of(key), self._options()

        def ask() -> T | None:
            response = client.follow(url, method=method)
            try:
                if response.status_code in _MISSING:
                    return None
                client.check_status(response)
                source = HttpSource(client, url, response, options.timeout_s)
                return take(source, self._info(key, response))
            finally:
                response.close()

        with open_client(url, options.timeout_s, options.access, options.min_rate_bytes_s) as client:
            return options.retries.until_done(ask)

    def _info(self, key: str, response: httpx.Response) -> ObjectInfo:
        now = datetime.now(timezone.utc)
        date = from_http_date(response.headers.get("date"))
        self._ahead = date - now if date is not None else timedelta()
        modified = from_http_date(response.headers.get("last-modified")) or now + self._ahead
        return ObjectInfo(key, content_length(response) or 0, modified, entity_tag(response))

    def list_objects(self, prefix: str = "", start_after: str | None = None) -> Iterator[ObjectInfo]:
        """Raises UnsupportedError: a web server lists nothing."""
        self._refuse("cannot be listed")

    def create(self, key: str, data: bytes) -> bool:
        """Raises UnsupportedError: a web server is only read. So do all that write."""
        self._refuse("cannot be written")

    def replace(self, key: str, data: bytes, expected: ObjectInfo) -> bool:
        """Raises UnsupportedError."""
        self._refuse("cannot be written")

    def put(self, key: str, data: bytes) -> None:
        """Raises UnsupportedError."""
        self._refuse("cannot be written")

    def upload(
        self, key: str, path: Path, on_sent: Callable[[int], None] = lambda size_bytes: None
    ) -> ObjectInfo:
        """Raises UnsupportedError."""
        self._refuse("cannot be written")

    def delete(self, key: str) -> bool:
        """Raises UnsupportedError."""
        self._refuse("cannot be written")

    def now(self) -> datetime:
        """The server's clock by the Date of its latest answer."""
        return datetime.now(timezone.utc) + self._ahead

    def _url_of(self, key: str) -> str:
        return f"{self._url}/{quote(require_key(key))}"

    def _refuse(self, what: str) -> NoReturn:
        raise UnsupportedError(
            f"{self.address} is a web server, which {what}",
            hint="Use the address of its bucket or directory.",
        )
