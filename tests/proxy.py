"""A real HTTP proxy on loopback: absolute addresses are passed on, CONNECT makes a tunnel."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.server import serving

__all__ = ["Proxy", "running_proxy"]

_HOP_HEADERS = ("proxy-authorization", "proxy-connection", "connection", "host")


@dataclass
class Proxy:
    """What it was asked: `METHOD address` a line, with the headers meant for it."""

    url: str
    seen: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64  # Of five, others would be dropped, and come a second later.


@contextmanager
def running_proxy() -> Iterator[Proxy]:
    """A proxy, as long as the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        def _note(self) -> None:
            proxy.seen.append(f"{self.command} {self.path}")
            proxy.authorizations.append(self.headers.get("Proxy-Authorization"))

        def do_GET(self) -> None:
            self._note()
            parts = urlsplit(self.path)
            upstream = HTTPConnection(str(parts.hostname), parts.port, timeout=60)
            headers = {
                name: value for name, value in self.headers.items() if name.lower() not in _HOP_HEADERS
            }
            upstream.request("GET", f"{parts.path}?{parts.query}".rstrip("?"), headers=headers)
            answer = upstream.getresponse()
            self.send_response_only(answer.status, answer.reason)
            for name, value in answer.getheaders():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.read())
            upstream.close()

        def do_CONNECT(self) -> None:
            self._note()
            host, _, port = self.path.rpartition(":")
            with socket.create_connection((host, int(port)), timeout=60) as upstream:
                self.send_response_only(200, "Connection established")
                self.end_headers()
                _tunnel(self.connection, upstream)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    proxy = Proxy(f"http://127.0.0.1:{server.server_address[1]}")
    with serving(server):
        yield proxy


def _tunnel(client: socket.socket, upstream: socket.socket) -> None:
    """Carries bytes both ways until one side closes."""
    with suppress(OSError):
        while True:
            readable, _, _ = select.select([client, upstream], [], [], 60)
            for end in readable:
                data = end.recv(65536)
                if not data:
                    return
                (upstream if end is client else client).sendall(data)
            if not readable:
                return
