"""Where a host has an unpacked model, asked of hosts of every habit."""

from __future__ import annotations

import pytest

from hubcli.config.environment import NetworkConfig
from hubcli.errors import AuthenticationError, NetworkError, NotFoundError
from hubcli.net.probes import ask_directory
from hubcli.net.retries import RetryPolicy
from tests.server import HubServer, Reply

BUCKET = "gs://models/maker/model/1/uncompressed"


def ask(url: str, retries: int = 0) -> str:
    return ask_directory(url, 5, RetryPolicy(retries), NetworkConfig())


def test_the_body_of_a_303_names_it(server: HubServer) -> None:
    assert ask(server.serve("/m", Reply(f"{BUCKET}\n".encode(), 303))) == BUCKET


def test_a_location_beside_it_is_not_gone_to(server: HubServer) -> None:
    reply = Reply(BUCKET.encode(), 303, {"Location": f"{server.url}/elsewhere"})
    assert ask(server.serve("/m", reply)) == BUCKET
    assert [request.path for request in server.requests] == ["/m"]


def test_other_redirects_lead_to_the_host_that_knows(server: HubServer, other_server: HubServer) -> None:
    target = other_server.serve("/m", Reply(BUCKET.encode(), 303))
    assert ask(server.redirect("/h", target)) == BUCKET


@pytest.mark.parametrize(
    ("status", "error"),
    [(200, NetworkError), (404, NotFoundError), (403, AuthenticationError), (500, NetworkError)],
)
def test_any_other_answer_is_an_error(status: int, error: type[Exception], server: HubServer) -> None:
    with pytest.raises(error, match=f"answers {status}"):
        ask(server.serve("/m", Reply(BUCKET.encode(), status)))


@pytest.mark.parametrize("location", ["", "https://elsewhere/m", "gopher://m", "m", "<html>" + "x" * 10_000])
def test_what_names_no_directory_is_said(location: str, server: HubServer) -> None:
    with pytest.raises(NetworkError, match="names no directory in a bucket") as raised:
        ask(server.serve("/m", Reply(location.encode(), 303)))
    assert len(raised.value.message) < 200
    assert "TFHUB_MODEL_LOAD_FORMAT" in raised.value.hint


def test_what_may_pass_is_asked_again(server: HubServer) -> None:
    reply = Reply(BUCKET.encode(), 303, first=[Reply(status=503)])
    assert ask(server.serve("/m", reply), retries=1) == BUCKET
