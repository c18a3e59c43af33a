"""Real HTTPS on loopback, with certificates of an authority that nobody knows."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trustme

from tests.server import HubServer

__all__ = ["https_server"]


@contextmanager
def https_server(authority: trustme.CA, name: str = "127.0.0.1", **certificate: Any) -> Iterator[HubServer]:
    """A server with a certificate for the name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **certificate).configure_cert(context)
    server = HubServer()
    server.use_tls(context)
    with server.running() as running:
        yield running
