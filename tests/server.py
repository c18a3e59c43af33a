"""A real HTTP server on loopback, with faults on demand."""

from __future__ import annotations

import random
import re
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseServer
from typing import Any
from urllib.parse import urlsplit

_SENT_AT_ONCE = 1 << 18


def free_port() -> int:
    """A port of 127.0.0.1 for a program that takes none of the system's choice.

    It is below those that the system gives out: no other test's server gets it before the program listens.
    """
    chance = random.SystemRandom()  # The tests' own is seeded: each worker would try the same ports.
    while True:
        port = chance.randrange(20_000, 32_000)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


@contextmanager
def serving(server: BaseServer) -> Iterator[None]:
    """Answers requests on a thread, as long as the context lasts."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Reply:
    """What the server answers at a path, and where it misbehaves (in bytes of the body).

    With an `etag` it answers ranges, and 304 to whoever knows it, as RFC 9110 has it. A number of
    `first` answers may come before it, one a request.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    announced_length: int | None = None
    sends_length: bool = True
    cut_at: int | None = None
    reset_at: int | None = None
    stall_at: int | None = None
    etag: str | None = None
    first: list[Reply] = field(default_factory=list)

    def for_request(self, headers: dict[str, str]) -> Reply:
        """What is answered to these headers: the body, or the range of it that they ask for."""
        if self.etag is None:
            return self
        more_headers = {**self.headers, "ETag": self.etag, "Accept-Ranges": "bytes"}
        if self.status == 200 and headers.get("If-None-Match") == self.etag:
            return replace(self, body=b"", status=304, headers=more_headers)
        byte_range = re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("Range", ""))
        if byte_range is None or self.status != 200 or headers.get("If-Range", self.etag) != self.etag:
            return replace(self, headers=more_headers)
        start, end = int(byte_range[1]), min(int(byte_range[2]), len(self.body) - 1)
        more_headers = {"Content-Range": f"bytes {start}-{end}/{len(self.body)}", **more_headers}
        return replace(self, body=self.body[start : end + 1], status=206, headers=more_headers)


@dataclass(frozen=True)
class Request:
    """What a client asked."""

    path: str
    query: str
    headers: dict[str, str]
    method: str = "GET"


class _QuietServer(ThreadingHTTPServer):
    """Says nothing of clients that hang up: tests make them do so. Counts the connections that are open."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.open_connections = 0
        self.changed = threading.Condition()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self.changed:
            self.open_connections += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self.changed:
            self.open_connections -= 1
            self.changed.notify_all()

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class HubServer:
    """The server: `replies` by path, `requests` as they came."""

    def __init__(self, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self.replies: dict[str, Reply] = {}
        self.requests: list[Request] = []
        self.sent_bytes = 0  # Of bodies, as far as the system took them.
        # Set when a stalled answer has sent its part; cleared answers go on when `release` is set.
        self.stalled = threading.Event()
        self.release = threading.Event()
        self.scheme = "http"
        self.answers_head = True
        self._lock = threading.Lock()
        self._http = _QuietServer(address, self._handler())

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def use_tls(self, context: ssl.SSLContext) -> None:
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.scheme = "https"

    def serve(self, path: str, reply: Reply | bytes) -> str:
        """Answers at the path; the whole URL."""
        self.replies[path] = Reply(reply) if isinstance(reply, bytes) else reply
        return self.url + path

    def redirect(self, path: str, target: str, status: int = 302) -> str:
        return self.serve(path, Reply(status=status, headers={"Location": target}))

    def settle(self) -> None:
        """Returns when all that was asked before has been answered, or its client is gone.

        A client that was killed may have left a request that nobody has read yet.
        """
        with socket.create_connection(("127.0.0.1", self.port)) as last:
            last.sendall(b"GET /settled HTTP/1.0\r\n\r\n")
            while last.recv(4096):
                pass
        with self._http.changed:
            assert self._http.changed.wait_for(lambda: self._http.open_connections == 0, 60)

    @contextmanager
    def running(self) -> Iterator[HubServer]:
        with serving(self._http):
            try:
                yield self
            finally:
                self.release.set()
                with suppress(OSError):  # Wakes the server at once, which ends a thousand tests.
                    self._http.socket.shutdown(socket.SHUT_RDWR)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # Head and body are two writes: the second would wait 40 ms.

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                request = Request(parts.path, parts.query, dict(self.headers.items()), self.command)
                server._answer(self, server._reply(request).for_request(request.headers))

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.do_GET()

            def do_HEAD(self) -> None:
                if server.answers_head:
                    self.do_GET()
                else:
                    self.send_error(405)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        return Handler

    def _reply(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
            reply = self.replies.get(request.path, Reply(b"not here", 404))
            return reply.first.pop(0) if reply.first else reply

    def _answer(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        handler.send_response(reply.status)
        for name, value in reply.headers.items():
            for line in value.split("\n"):
                handler.send_header(name, line)
        if reply.sends_length:
            length = len(reply.body) if reply.announced_length is None else reply.announced_length
            handler.send_header("Content-Length", str(length))
        else:
            handler.send_header("Connection", "close")
            handler.close_connection = True
        handler.end_headers()
        if handler.command == "HEAD":
            return
        try:
            self._send_body(handler, reply)
        except OSError:
            handler.close_connection = True

    def _send_body(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        stop = next((at for at in (reply.cut_at, reply.reset_at, reply.stall_at) if at is not None), None)
        sent = memoryview(reply.body)[:stop]
        for start in range(0, len(sent), _SENT_AT_ONCE):
            piece = sent[start : start + _SENT_AT_ONCE]
            handler.wfile.write(piece)
            with self._lock:
                self.sent_bytes += len(piece)
        handler.wfile.flush()
        if stop is None:
            if reply.announced_length is not None:
                handler.close_connection = True
            return
        handler.close_connection = True
        if reply.reset_at is not None:
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            handler.connection.close()
        elif reply.stall_at is not None:
            self.stalled.set()
            self.release.wait()
            handler.wfile.write(reply.body[stop:])
