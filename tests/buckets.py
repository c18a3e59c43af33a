"""A bucket of Google Cloud Storage on loopback, as far as TensorFlow asks it.

Source of the questions: tensorflow/core/platform/cloud (xla/tsl/platform/cloud) `gcs_file_system.cc`.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

import trustme

from tests.server import serving

__all__ = ["Bucket", "running_bucket"]

_HOSTS = ("www.googleapis.com", "storage.googleapis.com")


@dataclass(frozen=True)
class Bucket:
    """The variables that lead a process there, and the paths that it asked for."""

    variables: dict[str, str]
    requested_paths: list[str]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


@contextmanager
def running_bucket(objects: Mapping[str, bytes], folder: Path) -> Iterator[Bucket]:
    """A bucket with these objects by their names, and a proxy that has it for Google's hosts."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*_HOSTS).configure_cert(context)
    requested_paths: list[str] = []
    handler = type(
        "Handler", (_Google,), {"objects": objects, "context": context, "requested_paths": requested_paths}
    )
    server = _Server(("127.0.0.1", 0), handler)
    variables = {
        "https_proxy": f"http://127.0.0.1:{server.server_address[1]}",
        "CURL_CA_BUNDLE": str(folder / "authority.pem"),
        "NO_GCE_CHECK": "true",  # No credentials, and nobody is asked for some.
    }
    with serving(server):
        yield Bucket(variables, requested_paths)


class _Google(BaseHTTPRequestHandler):
    """Google's hosts behind a proxy."""

    objects: ClassVar[Mapping[str, bytes]]
    context: ClassVar[ssl.SSLContext]
    requested_paths: ClassVar[list[str]]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # Head and body are two writes: the second would wait 40 ms.

    def do_CONNECT(self) -> None:
        """The tunnel ends here, at the host that was asked for."""
        self.send_response_only(200, "Connection established")
        self.end_headers()
        self.connection = self.context.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.requested_paths.append(parts.path)
        found = re.fullmatch(r"/storage/v1/b/[^/]+/o(?:/(.+))?", parts.path)
        if found is None:
            self._bytes(unquote(parts.path).split("/", 2)[2])
        elif found[1] is None:
            self._list(parse_qs(parts.query))
        elif unquote(found[1]) in self.objects:
            self._json(_about(unquote(found[1]), self.objects))
        else:
            self._answer(404, b"{}")

    def _list(self, query: Mapping[str, list[str]]) -> None:
        prefix = query.get("prefix", [""])[0]
        self._json(
            {"items": [_about(name, self.objects) for name in self.objects if name.startswith(prefix)]}
        )

    def _bytes(self, name: str) -> None:
        content = self.objects.get(name)
        byte_range = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if content is None:
            self._answer(404, b"")
        elif byte_range is None:
            self._answer(200, content)
        elif int(byte_range[1]) >= len(content):
            self._answer(416, b"")
        else:
            self._answer(206, content[int(byte_range[1]) : int(byte_range[2]) + 1])

    def _json(self, document: object) -> None:
        self._answer(200, json.dumps(document).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def _about(name: str, objects: Mapping[str, bytes]) -> dict[str, str]:
    return {
        "name": name,
        "size": str(len(objects[name])),
        "generation": "1",
        "updated": "2024-01-01T00:00:00.000Z",
    }
