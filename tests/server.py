"""A real HTTP server on loopback, with faults on demand."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class Reply:
    """What the server answers at a path, and where it misbehaves (in bytes of the body)."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    announced_length: int | None = None
    sends_length: bool = True
    cut_at: int | None = None
    reset_at: int | None = None
    stall_at: int | None = None


@dataclass(frozen=True)
class Request:
    """What a client asked."""

    path: str
    query: str
    headers: dict[str, str]


class HubServer:
    """The server: `replies` by path, `requests` as they came."""

    def __init__(self, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self.replies: dict[str, Reply] = {}
        self.requests: list[Request] = []
        # Set when a stalled answer has sent its part; cleared answers go on when `release` is set.
        self.stalled = threading.Event()
        self.release = threading.Event()
        self.scheme = "http"
        self._http = ThreadingHTTPServer(address, self._handler())
        self._http.daemon_threads = True

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

    @contextmanager
    def running(self) -> Iterator[HubServer]:
        thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        thread.start()
        try:
            yield self
        finally:
            self.release.set()
            self._http.shutdown()
            self._http.server_close()
            thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                server.requests.append(Request(parts.path, parts.query, dict(self.headers.items())))
                server._answer(self, server.replies.get(parts.path, Reply(b"not here", 404)))

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        return Handler

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
        try:
            self._send_body(handler, reply)
        except OSError:
            handler.close_connection = True

    def _send_body(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        stop = next((at for at in (reply.cut_at, reply.reset_at, reply.stall_at) if at is not None), None)
        handler.wfile.write(reply.body[:stop])
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
