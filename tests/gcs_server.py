"""A server of Google Cloud Storage's XML API in memory, as far as obstore speaks it.

No emulator takes obstore's conditional writes, so this one stands in: what it says of generations, and of
412 where one isn't matched, follows Google's pages "XML API" and "Request preconditions". It proves that
hubcli keeps to these pages, not that Google does. `python -m tests.gcs_server` prints its URL and serves
until standard input ends.
"""

from __future__ import annotations

import hashlib
import re
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

__all__ = ["main"]

_MAX_KEYS = 1000


@dataclass
class _Object:
    data: bytes
    generation: int
    modified_at: float

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.data, usedforsecurity=False).hexdigest()}"'


@dataclass
class _Cloud:
    buckets: dict[str, dict[str, _Object]] = field(default_factory=dict)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    generation: int = 1_700_000_000_000_000


class _Handler(BaseHTTPRequestHandler):
    cloud: ClassVar[_Cloud]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # Head and body are two writes: the second would wait 40 ms.

    def do_PUT(self) -> None:
        bucket, key, query = self._request()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not key:
            self.cloud.buckets.setdefault(bucket, {})
            self._answer(200)
        elif "uploadId" in query:
            parts = self.cloud.uploads.get(query["uploadId"])
            if parts is None:
                self._error(404, "NoSuchUpload")
                return
            parts[int(query["partNumber"])] = body
            self._answer(200, etag=f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"')
        else:
            self._write(bucket, key, body)

    def do_POST(self) -> None:
        bucket, key, query = self._request()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        cloud = self.cloud
        if "uploads" in query:
            with cloud.lock:
                cloud.generation += 1
                number = f"upload-{cloud.generation}"
                cloud.uploads[number] = {}
            root = "InitiateMultipartUploadResult"
            self._answer(200, f"<{root}><UploadId>{number}</UploadId></{root}>".encode())
            return
        with cloud.lock:
            parts = cloud.uploads.pop(query.get("uploadId", ""), None)
        if parts is None:
            self._error(404, "NoSuchUpload")
            return
        named = [int(number) for number in re.findall(rb"<PartNumber>(\d+)</PartNumber>", body)]
        self._write(bucket, key, b"".join(parts[number] for number in named), is_multipart=True)

    def do_DELETE(self) -> None:
        bucket, key, query = self._request()
        with self.cloud.lock:
            if "uploadId" in query:
                found = self.cloud.uploads.pop(query["uploadId"], None) is not None
            else:
                found = self.cloud.buckets.get(bucket, {}).pop(key, None) is not None
        if found:
            self._answer(204)
        else:
            self._error(404, "NoSuchKey")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        bucket, key, query = self._request()
        objects = self.cloud.buckets.get(bucket)
        if objects is None:
            self._error(404, "NoSuchBucket")
        elif not key:
            self._list(objects, query)
        elif key not in objects:
            self._error(404, "NoSuchKey")
        else:
            self._read(objects[key])

    def _read(self, found: _Object) -> None:
        etag = self.headers.get("If-Match")
        if etag not in (None, "*", found.etag):
            self._error(412, "PreconditionFailed")
            return
        if self.headers.get("If-None-Match") in ("*", found.etag):
            self._answer(304, found=found)
            return
        header = self.headers.get("Range")
        if header is None:
            self._answer(200, found.data, found=found)
            return
        bounds = re.fullmatch(r"bytes=(\d*)-(\d*)", header)
        size = len(found.data)
        if bounds is None or not (bounds[1] or bounds[2]):
            self._error(400, "InvalidArgument")
            return
        start = int(bounds[1]) if bounds[1] else max(size - int(bounds[2]), 0)
        end = min(int(bounds[2]) + 1 if bounds[1] and bounds[2] else size, size)
        if start >= size:
            self._error(416, "InvalidRange")
            return
        self._answer(206, found.data[start:end], found=found, byte_range=f"bytes {start}-{end - 1}/{size}")

    def _write(self, bucket: str, key: str, data: bytes, *, is_multipart: bool = False) -> None:
        """Stores the object if its generation is the one that the request names; 0 stands for none."""
        cloud = self.cloud
        expected = self.headers.get("x-goog-if-generation-match")
        with cloud.lock:
            objects = cloud.buckets.get(bucket)
            if objects is None:
                self._error(404, "NoSuchBucket")
                return
            there = objects[key].generation if key in objects else 0
            if expected is not None and int(expected) != there:
                self._error(412, "PreconditionFailed")
                return
            cloud.generation += 1
            objects[key] = written = _Object(data, cloud.generation, time.time())
        text = b""
        if is_multipart:
            result = f"<Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><ETag>{escape(written.etag)}</ETag>"
            text = f"<CompleteMultipartUploadResult>{result}</CompleteMultipartUploadResult>".encode()
        self._answer(200, text, found=written)

    def _list(self, objects: dict[str, _Object], query: dict[str, str]) -> None:
        """A page of keys in order of their UTF-8 bytes; behind a delimiter one prefix stands for all."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token") or query.get("start-after", "")
        limit = min(int(query.get("max-keys") or _MAX_KEYS), _MAX_KEYS)
        with self.cloud.lock:
            keys = sorted((key for key in objects if key.startswith(prefix)), key=str.encode)
            found = {key: objects[key] for key in keys}
        rows: list[str] = []
        token = last = ""
        for key, item in found.items():
            head, cut, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            name = prefix + head + cut if cut else key
            if name.encode() <= after.encode() or name == last or (cut and after.startswith(name)):
                continue
            if len(rows) == limit:
                token = last
                break
            rows.append(_prefix_row(name) if cut else _object_row(name, item))
            last = name
        next_page = f"<NextContinuationToken>{escape(token)}</NextContinuationToken>" if token else ""
        truncated = f"<IsTruncated>{'true' if token else 'false'}</IsTruncated>"
        text = f"<ListBucketResult>{truncated}{next_page}{''.join(rows)}</ListBucketResult>"
        self._answer(200, text.encode())

    def _request(self) -> tuple[str, str, dict[str, str]]:
        parts = urlsplit(self.path)
        bucket, _, key = parts.path.removeprefix("/").partition("/")
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        return unquote(bucket), unquote(key), query

    def _error(self, status: int, code: str) -> None:
        self._answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

    def _answer(
        self,
        status: int,
        body: bytes = b"",
        *,
        found: _Object | None = None,
        etag: str | None = None,
        byte_range: str | None = None,
    ) -> None:
        self.send_response(status)
        if found is not None:
            self.send_header("ETag", found.etag)
            self.send_header("x-goog-generation", str(found.generation))
            self.send_header("Last-Modified", formatdate(found.modified_at, usegmt=True))
        elif etag is not None:
            self.send_header("ETag", etag)
        if byte_range is not None:
            self.send_header("Content-Range", byte_range)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def _object_row(key: str, item: _Object) -> str:
    modified = datetime.fromtimestamp(item.modified_at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
    facts = f"<ETag>{escape(item.etag)}</ETag><Generation>{item.generation}</Generation>"
    size = f"<Size>{len(item.data)}</Size><LastModified>{modified}Z</LastModified>"
    return f"<Contents><Key>{escape(key)}</Key>{facts}{size}</Contents>"


def _prefix_row(name: str) -> str:
    return f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is no news."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def main() -> int:
    """Serves until standard input ends."""
    _Handler.cloud = _Cloud()
    server = _Server(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"listening at http://127.0.0.1:{server.server_address[1]}\n")
    sys.stdout.flush()
    sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
