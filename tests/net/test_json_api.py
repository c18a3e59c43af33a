"""JSON over HTTP: bounded answers, errors of ours for all others, and nothing sent twice that may not be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from hubcli.config.environment import KaggleAccount, NetworkConfig
from hubcli.errors import AuthenticationError, HubcliError, NetworkError, NotFoundError
from hubcli.net import json_api
from hubcli.net.json_api import JsonApi, JsonApiOptions, open_json_api, quoted_path
from hubcli.net.retries import RetryPolicy
from tests.cases import each_of
from tests.fake_kaggle import Answer, FakeKaggle, json_answer
from tests.kaggle import TOKEN
from tests.server import HubServer, Reply


@contextmanager
def api_at(url: str, retries: int = 2, **account: Any) -> Iterator[JsonApi]:
    access = NetworkConfig(kaggle=KaggleAccount(endpoint=url, **account))
    options = JsonApiOptions(5, access, RetryPolicy(retries, longest_wait_s=0.01))
    with open_json_api(url, options) as api:
        yield api


@pytest.fixture
def kaggle() -> Iterator[FakeKaggle]:
    with FakeKaggle().running() as server:
        yield server


def error_of(kaggle: FakeKaggle, *answers: Answer, post: bool = False) -> HubcliError:
    kaggle.script("/x", *answers)
    with api_at(kaggle.url) as api:
        get = partial(api.get, "/x", {"q": "words of a user"})
        with pytest.raises(HubcliError) as caught:
            (partial(api.post, "/x", {}, is_repeatable=False) if post else get)()
    return caught.value


# Answers that are no success --------------------------------------------------------------------


@each_of(
    "status, kind",
    [
        (400, NetworkError),
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, NotFoundError),
        (409, NetworkError),
        (418, NetworkError),
    ],
)
def test_an_error_has_the_status_and_the_message_of_the_server(status: int, kind: type[HubcliError]) -> None:
    with FakeKaggle().running() as kaggle:
        error = error_of(kaggle, json_answer({"code": status, "message": "You must consent"}, status))
        assert type(error) is kind
        assert error.http_status == status
        assert "'You must consent'" in error.message
        assert "words" not in error.message
        assert len(kaggle.requests) == 1


@each_of(
    "document, kind, status",
    [
        ({"error": "no such model", "errorCode": 404}, NotFoundError, 404),
        ({"error": "denied", "errorCode": 403}, AuthenticationError, 403),
        ({"error": "wrong"}, NetworkError, 200),
        ({"code": 400, "message": "wrong"}, NetworkError, 400),
        ({"hasError": True, "error": {"nested": 1}}, NetworkError, 200),
    ],
)
def test_an_error_within_a_success_is_an_error(
    document: dict[str, Any], kind: type[HubcliError], status: int
) -> None:
    with FakeKaggle().running() as kaggle:
        error = error_of(kaggle, json_answer(document))
        assert type(error) is kind
        assert error.http_status == status


def test_a_message_can_not_command_a_terminal_or_fill_it(kaggle: FakeKaggle) -> None:
    error = error_of(kaggle, json_answer({"message": "\x1b[2J\n\u202e" + "long " * 1000}, 400))
    assert "\x1b" not in error.message
    assert "\n" not in error.message
    assert "\u202e" not in error.message
    assert len(error.message) < 450


def test_a_message_that_echoes_the_token_is_masked(kaggle: FakeKaggle) -> None:
    kaggle.tokens[TOKEN] = "me"
    kaggle.script("/x", json_answer({"message": f"Bearer {TOKEN} is wrong"}, 400))
    with pytest.raises(NetworkError) as caught, api_at(kaggle.url, token=TOKEN) as api:
        api.get("/x")
    assert TOKEN not in caught.value.message


# Answers that are no answers --------------------------------------------------------------------


@each_of(
    "body",
    [b"", b"<html>", b"[]", b"null", b"7", b'{"a": NaN}', b'{"a": Infinity}', b"\xff\xfe", b"[" * 200_000,
     b'{"a":' * 100_000, b'{"a": ' + b"9" * 5000 + b"}", b'{"a": "\xed\xa0\x80"}'],
)  # fmt: skip
def test_what_is_no_json_object_is_an_error_of_ours(body: bytes) -> None:
    with FakeKaggle().running() as kaggle:
        error = error_of(kaggle, Answer(body))
        assert isinstance(error, NetworkError)
        assert "The answer from http://" in error.message


def test_an_answer_is_read_up_to_its_limit(kaggle: FakeKaggle) -> None:
    kaggle.script("/x", json_answer({"a": "x" * 5000}), json_answer({"a": "x" * 5000}))
    with api_at(kaggle.url) as api:
        assert api.get("/x", limit_bytes=6000)["a"] == "x" * 5000
        with pytest.raises(NetworkError, match="is longer than"):
            api.get("/x", limit_bytes=4000)


def test_an_answer_is_too_long_even_if_a_block_ends_at_its_limit(
    kaggle: FakeKaggle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_api, "body_blocks", lambda *_: iter([b"{}", b" "]))
    kaggle.script("/x", json_answer({}), json_answer({}))
    with api_at(kaggle.url) as api:
        assert api.get("/x", limit_bytes=3) == {}
        with pytest.raises(NetworkError, match="is longer than"):
            api.get("/x", limit_bytes=2)


def test_an_answer_that_takes_too_long_is_left(kaggle: FakeKaggle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_api, "_MAX_ANSWER_S", -1.0)
    kaggle.script("/x", *[json_answer({}) for _ in range(9)])
    with api_at(kaggle.url, retries=1) as api, pytest.raises(NetworkError, match="Timed out after"):
        api.get("/x")
    assert len(kaggle.requests) == 2


def test_the_body_of_an_error_may_be_cut_or_endless(server: HubServer) -> None:
    url = server.serve("/cut", Reply(b'{"message": "half', 404, announced_length=1000, cut_at=10))
    server.serve("/endless", Reply(b'{"message": "' + b"x" * 500_000, 404))
    with api_at(url.removesuffix("/cut"), retries=0) as api:
        for path in ("/cut", "/endless"):
            with pytest.raises(NotFoundError):
                api.get(path)


# Retries ----------------------------------------------------------------------------------------


def test_transient_errors_are_retried_and_others_are_not(kaggle: FakeKaggle) -> None:
    busy = json_answer({"message": "Too many requests"}, 429, **{"Retry-After": "0"})
    kaggle.script("/x", busy, json_answer({}, 503), json_answer({"ok": 1}))
    with api_at(kaggle.url) as api:
        assert api.get("/x") == {"ok": 1}
    inner = json_answer({"error": "busy", "errorCode": 503})
    kaggle.script("/y", inner, json_answer({"ok": 2}))
    with api_at(kaggle.url) as api:
        assert api.get("/y") == {"ok": 2}


def test_a_post_that_may_not_be_repeated_is_sent_again_after_429_alone(kaggle: FakeKaggle) -> None:
    kaggle.script("POST /x", json_answer({}, 429), json_answer({"ok": 1}))
    with api_at(kaggle.url) as api:
        assert api.post("/x", {"a": 1}, is_repeatable=False) == {"ok": 1}
    for status in (500, 503):
        before = len(kaggle.requests)
        error = error_of(kaggle, json_answer({}, status), post=True)
        assert error.http_status == status
        assert len(kaggle.requests) == before + 1


def test_a_post_whose_answer_is_lost_is_not_sent_again_unless_it_may_be(kaggle: FakeKaggle) -> None:
    lost = Answer(is_lost=True)
    error = error_of(kaggle, lost, post=True)
    assert error.http_status is None
    assert len(kaggle.requests) == 1
    kaggle.script("/y", lost, json_answer({"ok": 1}))
    with api_at(kaggle.url) as api:
        assert api.post("/y", {}, is_repeatable=True) == {"ok": 1}


def test_a_post_follows_no_redirect(kaggle: FakeKaggle) -> None:
    kaggle.script("/x", Answer(status=307, headers={"Location": "/y"}))
    with api_at(kaggle.url) as api, pytest.raises(NetworkError):
        api.post("/x", {}, is_repeatable=True)
    assert kaggle.request_names() == ["POST /x"]


def test_a_redirect_to_another_host_carries_no_credentials(kaggle: FakeKaggle, server: HubServer) -> None:
    kaggle.tokens[TOKEN] = "me"
    kaggle.script("/x", Answer(status=302, headers={"Location": server.serve("/z", b'{"ok": 1}')}))
    with api_at(kaggle.url, token=TOKEN) as api:
        assert api.get("/x") == {"ok": 1}
    assert kaggle.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert "Authorization" not in server.requests[0].headers


# Pages ------------------------------------------------------------------------------------------


def test_pages_follow_their_tokens(kaggle: FakeKaggle) -> None:
    kaggle.script(
        "/x", *(json_answer({"n": n, "nextPageToken": t}) for n, t in ((1, "b"), (2, "c"), (3, "")))
    )
    with api_at(kaggle.url) as api:
        pages = list(api.pages("/x", {"pageSize": "1"}))
    assert [(page.document["n"], page.number) for page in pages] == [(1, 1), (2, 2), (3, 3)]
    assert [request.query for request in kaggle.requests] == [
        {"pageSize": "1"},
        {"pageSize": "1", "pageToken": "b"},
        {"pageSize": "1", "pageToken": "c"},
    ]


@each_of("token", ["same", 7, ["a"], "x" * 5000, "\ud800", "a\nb"])
def test_a_token_that_would_never_end_is_an_error(token: object) -> None:
    with FakeKaggle().running() as kaggle:
        kaggle.script("/x", *[json_answer({"nextPageToken": token}) for _ in range(9)])
        with api_at(kaggle.url) as api, pytest.raises(NetworkError, match="invalid next-page token"):
            list(api.pages("/x", {}))
        assert len(kaggle.requests) <= 2


def test_pages_are_bounded(kaggle: FakeKaggle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_api, "_MAX_PAGES", 3)
    kaggle.script("/x", *[json_answer({"nextPageToken": str(number)}) for number in range(9)])
    with api_at(kaggle.url) as api, pytest.raises(NetworkError, match="more than 3 pages"):
        list(api.pages("/x", {}))
    assert len(kaggle.requests) == 3


def test_a_segment_stays_one() -> None:
    assert quoted_path("a/b", "..", "c?d", "é") == "/a%2Fb/../c%3Fd/%C3%A9"


def test_an_error_shows_no_words_of_the_query() -> None:
    with api_at("http://127.0.0.1:9", retries=0) as api, pytest.raises(NetworkError) as caught:
        api.get("/x", {"search": "s3cret words"})
    assert "http://127.0.0.1:9/x: " in caught.value.message
    assert "search" not in caught.value.message
