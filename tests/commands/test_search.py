"""`search`: SavedModels of Kaggle and of hosts with an index."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hubcli.commands import search as module
from hubcli.commands.search import ORDERS, SearchQuery, framework_named, search
from hubcli.config.settings import Settings
from hubcli.errors import IntegrityError, NotFoundError, OfflineError, UsageError
from hubcli.exporting.hub_index import IndexEntry, index_bytes
from tests.cases import each_of
from tests.conftest import Run
from tests.fake_kaggle import FakeKaggle
from tests.publishing.conftest import kaggle as kaggle
from tests.server import HubServer, Reply

SIZES = {"large": 3000, "small": 10, "middle": 200}


@pytest.fixture
def filled(kaggle: FakeKaggle, settings: Settings) -> Settings:
    """Settings whose Kaggle has some models."""
    for votes, (name, size) in enumerate(SIZES.items()):
        facts = {"votes": votes, "title": f"A {name} embedding"}
        kaggle.add(f"google/{name}/tensorFlow2/base", {"saved_model.pb": b"x" * size}, model=facts)
    kaggle.add("google/large/tensorFlow1/old", {"saved_model.pb": b"x"})
    kaggle.add("google/large/keras/other", {"model.keras": b"x"})
    kaggle.add("me/mine/pyTorch/other", {"model.pt": b"x"}, model={"title": "An embedding"})
    return kaggle.settings(settings)


def names(query: SearchQuery, settings: Settings) -> list[str]:
    return [hit.name for hit in search(query, settings).hits]


def test_saved_models_alone_are_found_one_a_variation(filled: Settings) -> None:
    result = search(SearchQuery("embedding"), filled)
    assert [hit.name for hit in result.hits] == [
        "google/large/tensorFlow2/base/1",
        "google/large/tensorFlow1/old/1",
        "google/small/tensorFlow2/base/1",
        "google/middle/tensorFlow2/base/1",
    ]
    first = result.hits[0]
    assert first.handle == "https://www.kaggle.com/models/google/large/tensorFlow2/base/1"
    assert (first.size_bytes, first.license, first.votes, first.title) == (
        3000, "Apache 2.0", 0, "A large embedding",
    )  # fmt: skip
    assert result.is_complete
    assert result.cached_at_s is None


def test_conditions_narrow_it(filled: Settings) -> None:
    assert names(SearchQuery(framework="tensorFlow1"), filled) == ["google/large/tensorFlow1/old/1"]
    assert names(SearchQuery(max_size_bytes=10, framework="tensorFlow2"), filled) == [
        "google/small/tensorFlow2/base/1"
    ]
    assert names(SearchQuery(owner="me"), filled) == []
    assert len(names(SearchQuery(owner="google"), filled)) == 4


def test_orders_are_kaggles_or_made_of_all_that_was_found(filled: Settings, kaggle: FakeKaggle) -> None:
    assert names(SearchQuery(sort="votes", framework="tensorFlow2"), filled)[0].startswith("google/middle/")
    assert [name.split("/")[1] for name in names(SearchQuery(sort="size", limit=3), filled)] == [
        "large", "small", "middle",
    ]  # fmt: skip
    assert names(SearchQuery(sort="name"), filled)[0].startswith("google/large/")
    kaggle.requests.clear()
    for order in ORDERS:
        search(SearchQuery("w " + order, sort=order), filled)
    assert {request.query["sortBy"] for request in kaggle.requests} == {
        f"LIST_MODELS_ORDER_BY_{key}"
        for key in ("HOTNESS", "DOWNLOAD_COUNT", "VOTE_COUNT", "CREATE_TIME", "UPDATE_TIME")
    }


def test_a_limit_ends_the_search_and_says_that_there_is_more(
    filled: Settings, kaggle: FakeKaggle, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = search(SearchQuery(limit=2), filled)
    assert (len(result.hits), result.is_complete) == (2, False)
    assert search(SearchQuery(limit=4), filled).is_complete
    monkeypatch.setattr(module, "_MAX_EXAMINED", 2)
    result = search(SearchQuery(framework="tensorFlow1"), filled)
    assert (len(result.hits), result.is_complete) == (1, False)
    for number in range(120):
        kaggle.add(f"many/m{number}/tensorFlow2/base", {"a": b"1"})
    monkeypatch.setattr(module, "_MAX_EXAMINED", 1000)
    kaggle.requests.clear()
    assert len(search(SearchQuery(owner="many", limit=50), filled).hits) == 50
    assert len(kaggle.requests) == 2  # The second tells that there is more.


def test_an_answer_is_used_again_and_offline_it_is_all_there_is(filled: Settings, kaggle: FakeKaggle) -> None:
    offline = replace(filled, offline=True)
    with pytest.raises(OfflineError):
        search(SearchQuery("embedding"), offline)
    fresh = search(SearchQuery("embedding"), filled)
    again, out = search(SearchQuery("embedding"), filled), search(SearchQuery("embedding"), offline)
    assert fresh.hits == again.hits == out.hits
    assert out.cached_at_s is not None
    assert len(kaggle.requests) == 1
    search(SearchQuery("embedding"), filled, refresh=True)
    assert len(kaggle.requests) == 2


@each_of(
    "make",
    [
        lambda: SearchQuery(sort="sise"),
        lambda: SearchQuery(sort="votes", host="https://h.example"),
        lambda: framework_named("keras"),
    ],
)
def test_what_is_not_there_to_choose_is_a_usage_error(make: object) -> None:
    with pytest.raises(UsageError):
        make()  # type: ignore[operator]


def test_frameworks_may_be_short() -> None:
    assert [framework_named(text) for text in ("tf2", "TF1", "TensorFlow2")] == [
        "tensorFlow2", "tensorFlow1", "tensorFlow2",
    ]  # fmt: skip


# Hosts ------------------------------------------------------------------------------------------

ENTRIES = (
    IndexEntry("maker/text", "9", 50, 100, "a" * 64, 1e9, "TF2", "A text \x1b[31mmodel", "MIT"),
    IndexEntry("maker/text", "10", 60, 110, "b" * 64, 2e9, "TF2", "A text \x1b[31mmodel", "MIT"),
    IndexEntry("other/image", "1", 70, None, None, None, "TF1 Hub"),
)


def test_the_newest_version_of_each_model_of_a_host_is_found(settings: Settings, server: HubServer) -> None:
    server.serve("/models/index.json", index_bytes(ENTRIES))
    host = f"{server.url}/models/"
    result = search(SearchQuery(host=host), settings)
    assert [hit.handle for hit in result.hits] == [
        f"{server.url}/models/maker/text/10",
        f"{server.url}/models/other/image/1",
    ]
    assert result.hits[0].title == "A text [31mmodel"
    assert [hit.size_bytes for hit in result.hits] == [110, 70]
    assert names(SearchQuery("TEXT maker", host=host), settings) == ["maker/text/10"]
    assert names(SearchQuery(owner="other", host=host), settings) == ["other/image/1"]
    assert names(SearchQuery(framework="tensorFlow1", host=host), settings) == ["other/image/1"]
    assert names(SearchQuery(sort="size", host=host), settings) == ["other/image/1", "maker/text/10"]
    assert names(SearchQuery(sort="updated", host=host), settings)[0] == "maker/text/10"
    offline = search(SearchQuery(host=host), replace(settings, offline=True))
    assert offline.hits == result.hits
    assert len(server.requests) == 1


def test_a_directory_is_a_host_too(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "with % sign").mkdir()
    (tmp_path / "with % sign" / "index.json").write_bytes(index_bytes(ENTRIES))
    assert names(SearchQuery("image", host=str(tmp_path / "with % sign")), settings) == ["other/image/1"]


def test_an_index_that_is_invalid_for_a_moment_is_asked_for_again_and_replaces_no_valid_one(
    settings: Settings, server: HubServer
) -> None:
    query = SearchQuery(host=server.url)
    server.serve("/index.json", index_bytes(ENTRIES))
    before = search(query, settings)
    server.serve("/index.json", b"<html>Maintenance</html>")
    with pytest.raises(IntegrityError, match="is not an index of models"):
        search(query, settings, refresh=True)
    assert search(query, replace(settings, offline=True)).hits == before.hits
    with pytest.raises(IntegrityError, match="is not an index of models"):
        search(query, settings, refresh=True)
    server.serve("/index.json", index_bytes(ENTRIES[:1]))
    assert len(search(query, settings, refresh=True).hits) == 1


def test_an_invalid_index_is_not_remembered(settings: Settings, server: HubServer) -> None:
    server.serve("/index.json", b"<html>Maintenance</html>")
    with pytest.raises(IntegrityError, match="is not an index of models"):
        search(SearchQuery(host=server.url), settings)
    server.serve("/index.json", index_bytes(ENTRIES))
    assert len(search(SearchQuery(host=server.url), settings).hits) == 2


def test_a_host_without_an_index_or_with_another_file_is_told(
    settings: Settings, server: HubServer, tmp_path: Path
) -> None:
    for host in (server.url, str(tmp_path / "gone")):
        with pytest.raises(NotFoundError, match=r"index\.json does not exist"):
            search(SearchQuery(host=host), settings)
    server.serve("/index.json", Reply(b"<html>", headers={"Content-Type": "text/html"}))
    with pytest.raises(IntegrityError, match="is not an index of models"):
        search(SearchQuery(host=server.url), settings)


@each_of("root", ["?token=abc-s3cret", "/tree?v=1", "#x"])
def test_an_address_with_a_query_is_no_host(root: str, settings: Settings, server: HubServer) -> None:
    for host in (server.url + root, "https://", "http:///x"):
        with pytest.raises(UsageError, match="is not the address of a host") as caught:
            search(SearchQuery(host=host), settings)
        assert "s3cret" not in caught.value.message
    assert server.requests == []


def test_handles_of_a_host_with_a_password_go_on_without_it(settings: Settings, server: HubServer) -> None:
    server.serve("/index.json", index_bytes(ENTRIES))
    found = search(SearchQuery("image", host=server.url.replace("://", "://me:pa55word-s3cret@")), settings)
    assert [hit.handle for hit in found.hits] == [f"{server.url}/other/image/1"]


def test_a_password_in_the_address_of_a_host_is_shown_nowhere(
    settings: Settings, server: HubServer, hubcli: Run
) -> None:
    server.serve("/index.json", index_bytes(ENTRIES))
    host = server.url.replace("://", "://me:pa55word-s3cret@")
    for words in (["-q"], ["--json"], [], ["--offline", "-q"], ["--offline", "--json"]):
        result = hubcli("search", "--host", host, *words)
        assert result.returncode == 0
        assert "maker/text/10" in result.stdout
        assert "pa55word" not in result.stdout + result.stderr
    assert {request.headers["Authorization"][:6] for request in server.requests} == {"Basic "}
