"""A web server as an object store: read with every check of a download, never listed or written."""

from __future__ import annotations

import socket
from datetime import datetime, timezone

import pytest

from hubcli.config.settings import Settings
from hubcli.errors import AuthenticationError, IntegrityError, NetworkError, NotFoundError, UnsupportedError
from hubcli.fetching.byte_sources import Transfer, download_options
from hubcli.net.retries import RetryPolicy
from hubcli.net.web_store import WebStore
from tests.net.raw import raw_server
from tests.server import HubServer, Reply


@pytest.fixture
def store(server: HubServer, settings: Settings) -> WebStore:
    return WebStore(f"{server.url}/tier/", lambda: download_options(settings, Transfer(RetryPolicy(1))))


def test_a_file_is_an_object(store: WebStore, server: HubServer) -> None:
    modified = {"Last-Modified": "Sun, 01 Nov 2026 12:00:00 GMT"}
    server.serve("/tier/a/b.json", Reply(b"content", etag='"1"', headers=modified))
    found = store.read("a/b.json", 100)
    assert found is not None
    assert found[0] == b"content"
    assert found[1] == store.head("a/b.json")
    assert found[1].modified == datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
    assert found[1].etag == '"1"'
    with store.open("a/b.json") as source:
        assert b"".join(source.read()) == b"content"


def test_what_is_not_there_is_a_miss(store: WebStore) -> None:
    assert store.head("a") is None
    assert store.read("a", 10) is None
    with pytest.raises(NotFoundError), store.open("a"):
        pass


def test_a_transient_error_is_retried_and_a_refusal_is_told(store: WebStore, server: HubServer) -> None:
    server.serve("/tier/a", Reply(b"x", first=[Reply(status=503)]))
    assert store.read("a", 10) is not None
    server.serve("/tier/b", Reply(status=403))
    with pytest.raises(AuthenticationError):
        store.read("b", 10)
    server.serve("/tier/c", Reply(b"abc", announced_length=9, cut_at=3))
    with pytest.raises((NetworkError, IntegrityError)):
        store.read("c", 10)


def test_an_answer_beyond_the_limit_is_not_read(store: WebStore, server: HubServer) -> None:
    server.serve("/tier/a", bytes(1 << 20))
    with pytest.raises(IntegrityError, match="larger than 1000 bytes"):
        store.read("a", 1000)


def test_the_clock_of_the_server_is_told(store: WebStore, server: HubServer) -> None:
    server.serve("/tier/a", b"")
    store.head("a")
    assert abs((store.now() - datetime.now(timezone.utc)).total_seconds()) < 60


def test_a_date_beyond_all_times_is_the_latest_one(settings: Settings) -> None:
    def answer(connection: socket.socket, head: bytes) -> None:
        date = b"Fri, 31 Dec 9999 23:59:59 -2300"
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nDate: " + date + b"\r\n\r\n")

    with raw_server(answer) as server:
        store = WebStore(server.url, lambda: download_options(settings, Transfer(RetryPolicy(0))))
        found = store.head("a")
    assert found is not None
    assert (found.size_bytes, found.modified.year) == (1, 9998)
    assert store.now() >= found.modified


def test_nothing_is_listed_or_written(store: WebStore) -> None:
    with pytest.raises(UnsupportedError, match="is a web server, which cannot be listed"):
        store.list_objects()
    with pytest.raises(UnsupportedError, match="cannot be written"):
        store.create("a", b"")
    with pytest.raises(UnsupportedError, match="Invalid key"):
        store.head("../a")
