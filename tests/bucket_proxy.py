"""A proxy in front of a bucket's server that fails on demand: what a cloud does on a bad day.

It passes requests on unchanged, `Host` too, by which they are signed. Each `Fault` says which requests it
spoils, how, and how many of them.
"""

from __future__ import annotations

import http.client
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

from tests.server import serving

__all__ = ["BucketProxy", "Fault", "running_bucket_proxy"]

Kind = Literal[
    "unavailable",  # 503 SlowDown, and the server isn't asked.
    "denied",  # 403 AccessDenied, and the server isn't asked.
    "conflict",  # 409 ConditionalRequestConflict, as AWS answers racing writes.
    "slow",  # The answer waits for `seconds`.
    "dropped",  # The connection ends before the server is asked.
    "lost",  # The server does what it is asked, and the answer is lost.
    "truncated",  # Half of the body, then the end of the connection.
    "tampered",  # One bit of the body is another.
    "page",  # A page in place of the answer, as of a login.
    "unconditional",  # Conditions of writes don't reach the server, as s3rver and old gateways ignore them.
]

_CONDITIONS = ("if-match", "if-none-match", "x-goog-if-generation-match")
_ERRORS = {
    "unavailable": (503, "SlowDown"),
    "denied": (403, "AccessDenied"),
    "conflict": (409, "ConditionalRequestConflict"),
}
_LOGIN_PAGE = b"<!DOCTYPE html><html><head><title>Log in</title></head><body>Log in</body></html>"


@dataclass
class Fault:
    """Spoils the requests whose `METHOD /path?query` the pattern finds: `times` of them, None for all.

    `every` spoils every n-th of these alone.
    """

    kind: Kind
    pattern: str = ""
    times: int | None = None
    every: int = 1
    seconds: float = 0.2
    seen: int = 0

    def hits(self, request: str) -> bool:
        """Whether this request is spoiled, which is counted."""
        if re.search(self.pattern, request) is None or self.times == 0:
            return False
        self.seen += 1
        if self.seen % self.every:
            return False
        if self.times is not None:
            self.times -= 1
        return True


@dataclass
class BucketProxy:
    """Where it listens, what it spoils, and the requests so far, as `METHOD /path?query`.

    `clock_offset_s` is added to each answer's Date: the server's clock as a client sees it.
    """

    url: str
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    clock_offset_s: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, pattern: str) -> int:
        """How many requests the pattern finds."""
        return sum(re.search(pattern, request) is not None for request in list(self.requests))

    def take_fault(self, request: str) -> Fault | None:
        """Notes the request; the first fault that spoils it."""
        with self.lock:
            self.requests.append(request)
            return next((fault for fault in self.faults if fault.hits(request)), None)


class _Handler(BaseHTTPRequestHandler):
    proxy: BucketProxy
    upstream: tuple[str, int]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # Head and body are two writes: the second would wait 40 ms.
    timeout = 60

    def _pass_on(self) -> None:
        fault = self.proxy.take_fault(f"{self.command} {self.path}")
        kind = fault.kind if fault else None
        body = self._body()
        if kind == "dropped":
            self.close_connection = True
            return
        if kind in _ERRORS:
            self._refuse(*_ERRORS[str(kind)])
            return
        if fault and kind == "slow":
            time.sleep(fault.seconds)
        status, headers, answer = self._ask(body, is_unconditional=kind == "unconditional")
        if kind == "lost":
            self.close_connection = True
            return
        if kind == "page":
            status, headers, answer = 200, [("Content-Type", "text/html")], _LOGIN_PAGE
        if kind == "tampered" and answer:
            middle = len(answer) // 2
            answer = answer[:middle] + bytes([answer[middle] ^ 1]) + answer[middle + 1 :]
        self._answer(status, headers, answer, is_truncated=kind == "truncated")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _ask(self, body: bytes, *, is_unconditional: bool) -> tuple[int, list[tuple[str, str]], bytes]:
        left_out = {"connection", "transfer-encoding", "content-length"}
        if is_unconditional:
            left_out.update(_CONDITIONS)
        upstream = http.client.HTTPConnection(*self.upstream, timeout=60)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in left_out:
                upstream.putheader(name, value)
        upstream.putheader("Content-Length", str(len(body)))
        upstream.endheaders(body)
        answer = upstream.getresponse()
        with answer:
            content = answer.read()
        upstream.close()
        return answer.status, answer.getheaders(), content

    def _answer(
        self, status: int, headers: list[tuple[str, str]], body: bytes, *, is_truncated: bool = False
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in (
                "connection",
                "transfer-encoding",
                "date",
                "content-length",
                "keep-alive",
            ):
                self.send_header(name, value)
        self.send_header("Date", formatdate(time.time() + self.proxy.clock_offset_s, usegmt=True))
        lengths = [value for name, value in headers if name.lower() == "content-length"]
        if status not in (204, 304):
            length = lengths[0] if self.command == "HEAD" and lengths else str(len(body))
            self.send_header("Content-Length", length)
        self.end_headers()
        if self.command == "HEAD":
            return
        if is_truncated:
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        else:
            self.wfile.write(body)

    def _refuse(self, status: int, code: str) -> None:
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
        self._answer(status, [("Content-Type", "application/xml")], text.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed, or a server that has ended, is no news."""
        if not isinstance(sys.exc_info()[1], OSError | http.client.HTTPException):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@contextmanager
def running_bucket_proxy(upstream_url: str, faults: list[Fault] | None = None) -> Iterator[BucketProxy]:
    """A proxy in front of the server at the URL, as long as the context lasts."""
    parts = urlsplit(upstream_url)
    handler = type("Handler", (_Handler,), {"upstream": (parts.hostname, parts.port)})
    server = _Server(("127.0.0.1", 0), handler)
    proxy = BucketProxy(f"http://127.0.0.1:{server.server_address[1]}", faults or [])
    handler.proxy = proxy  # type: ignore[attr-defined]
    with serving(server):
        yield proxy
