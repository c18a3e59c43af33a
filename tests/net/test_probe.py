"""The size of a body that isn't fetched, from hosts of every habit."""

from __future__ import annotations

import pytest

from hubcli.config.environment import NetworkConfig
from hubcli.errors import AuthenticationError, NetworkError, NotFoundError
from hubcli.net.probes import probe_size
from hubcli.net.retries import RetryPolicy
from tests.server import HubServer, Reply

BODY = bytes(300_000)


def size(url: str, retries: int = 0) -> int | None:
    return probe_size(url, 5, RetryPolicy(retries), NetworkConfig())


def test_head_tells_it_and_nothing_is_sent(server: HubServer) -> None:
    assert size(server.serve("/m", BODY)) == len(BODY)
    assert [request.method for request in server.requests] == ["HEAD"]


def test_redirects_are_followed_with_the_same_question(server: HubServer, other_server: HubServer) -> None:
    target = other_server.serve("/m", BODY)
    assert size(server.redirect("/h", target)) == len(BODY)
    assert [request.method for request in other_server.requests] == ["HEAD"]


def test_where_head_is_not_answered_one_byte_is_asked_for(server: HubServer) -> None:
    server.answers_head = False
    assert size(server.serve("/m", Reply(BODY, etag='"one"'))) == len(BODY)
    assert [request.headers["Range"] for request in server.requests] == ["bytes=0-0"]


def test_a_host_without_ranges_tells_it_by_the_length(server: HubServer) -> None:
    server.answers_head = False
    assert size(server.serve("/m", BODY)) == len(BODY)


def test_a_host_that_never_tells_a_length_leaves_it_unknown(server: HubServer) -> None:
    assert size(server.serve("/m", Reply(BODY, sends_length=False))) is None


@pytest.mark.parametrize(
    ("status", "error"), [(404, NotFoundError), (403, AuthenticationError), (500, NetworkError)]
)
def test_an_answer_that_is_none_is_its_error(status: int, error: type[Exception], server: HubServer) -> None:
    with pytest.raises(error):
        size(server.serve("/m", Reply(status=status)))


def test_what_may_pass_is_tried_again(server: HubServer) -> None:
    busy = Reply(status=503)
    assert size(server.serve("/m", Reply(BODY, first=[busy, busy])), retries=1) == len(BODY)
