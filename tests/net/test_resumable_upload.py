"""A resumable upload: answers of the storage, and errors that do not contain its address."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest

from hubcli.config.environment import NetworkConfig
from hubcli.errors import NetworkError
from hubcli.net.client import Client, open_client
from hubcli.net.resumable_upload import ResumableUpload, SessionExpiredError, UploadState
from tests.cases import each_of
from tests.net.raw import Answer, raw_server

SECRET = "upload_id=0123456789abcdef"


@pytest.fixture
def client() -> Iterator[Client]:
    with open_client("http://127.0.0.1", 5, NetworkConfig()) as opened:
        yield opened


def failure(client: Client, url: str) -> NetworkError:
    with pytest.raises(NetworkError) as caught:
        ResumableUpload(client, f"{url}/?{SECRET}", 10).send(0, b"12345")
    assert SECRET not in str(caught.value)
    return caught.value


def answering(status: bytes) -> Answer:
    """The whole piece is read first: what is left unread at the end resets the connection."""

    def answer(connection: socket.socket, head: bytes) -> None:
        body = head.partition(b"\r\n\r\n")[2]
        size = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        while size is not None and len(body) < int(size[1]):
            body += connection.recv(65536)
        if status:
            connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    return answer


def test_a_storage_that_cannot_be_reached_got_nothing(client: Client) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        error = failure(client, f"http://127.0.0.1:{closed.getsockname()[1]}")
    assert error.message == "The upload session at 127.0.0.1 cannot be reached"
    assert (error.was_sent, error.is_transient) == (False, True)


def test_a_storage_that_hangs_up_may_have_got_the_piece(client: Client) -> None:
    with raw_server(answering(b"")) as server:
        error = failure(client, server.url)
    assert error.message == "The upload session at 127.0.0.1 was interrupted"
    assert (error.was_sent, error.is_transient) == (True, True)


ANSWERS = [
    (b"308 Resume\r\nRange: bytes=0-4", UploadState(5)),
    (b"308 Resume\r\nRange: bytes=0-0", UploadState(1)),
    (b"308 Resume", UploadState(0)),
    (b"308 Resume\r\nRange: bytes=0-5", "claims to have bytes that were not sent"),
    (b"308 Resume\r\nRange: bytes=1-4", "claims to have bytes that were not sent"),
    (b"200 OK", "claims to be complete before the last piece was sent"),
    (b"404 Not Found", "has ended (404)"),
    (b"418 Teapot", "answers 418"),
    (b"408 Timeout", "answers 408"),
    (b"500 Error", "answers 500"),
]


@each_of("answer, expected", ANSWERS)
def test_what_the_storage_claims_is_checked(
    client: Client, answer: bytes, expected: UploadState | str
) -> None:
    with raw_server(answering(answer)) as server:
        if isinstance(expected, UploadState):
            assert ResumableUpload(client, f"{server.url}/?{SECRET}", 10).send(0, b"12345") == expected
            return
        error = failure(client, server.url)
    assert expected in error.message
    assert error.is_transient is (answer[:3] in (b"404", b"408", b"500"))
    assert isinstance(error, SessionExpiredError) is (answer[:3] == b"404")


@each_of("start, data", [(0, b"1234567890"), (5, b"67890")])
def test_the_last_piece_completes_it(client: Client, start: int, data: bytes) -> None:
    with raw_server(answering(b"201 Created")) as server:
        upload = ResumableUpload(client, f"{server.url}/?{SECRET}", 10)
        assert upload.send(start, data) == UploadState(10, is_complete=True)
        assert b"content-range: bytes %d-9/10" % start in server.requests[0].lower()
