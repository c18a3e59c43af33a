"""`versions`: what a host has, and what of it is cached."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hubcli.commands.export import ExportOptions, Layout, export
from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.commands.versions import VersionList, versions
from hubcli.config.settings import Settings
from hubcli.errors import AuthenticationError, NotFoundError, OfflineError, UsageError
from hubcli.exporting.hub_index import IndexEntry, index_bytes
from tests import models
from tests.cases import each_of
from tests.fake_kaggle import FakeKaggle, json_answer
from tests.publishing.conftest import kaggle as kaggle
from tests.server import HubServer

NAME = "google/nnlm/tensorFlow2/en-dim128"
PAGE = f"https://www.kaggle.com/models/{NAME}"
FILES = {"saved_model.pb": b"x" * 10}


def cached(handle: str, settings: Settings, tmp_path: Path) -> Path:
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(models.archive())
    return fetch(handle, settings, FetchOptions(local=str(archive))).path


def rows_of(found: VersionList) -> list[tuple[str, int | None, bool, bool]]:
    return [(row.version, row.size_bytes, row.path is not None, row.is_listed) for row in found.versions]


def test_versions_of_kaggle_come_with_size_and_date_and_those_of_the_cache_are_marked(
    kaggle: FakeKaggle, settings: Settings, tmp_path: Path
) -> None:
    kaggle.add(NAME, FILES, {**FILES, "assets/a": b"yy"})
    path = cached(f"{PAGE}/1", settings, tmp_path)
    at_fake = kaggle.settings(settings)
    found = versions(f"{NAME}/2", at_fake)
    assert rows_of(found) == [("2", 12, False, True), ("1", 10, True, True)]
    assert found.versions[1].path == path
    assert found.versions[0].handle == f"{PAGE}/2"
    assert found.versions[0].published_s == pytest.approx(1714979289)
    assert (found.handle, found.count, found.cached_at_s) == (PAGE, 2, None)
    count = len(kaggle.requests)
    assert versions(NAME, at_fake).versions == found.versions
    assert len(kaggle.requests) == count


def test_the_newest_alone_are_looked_at(kaggle: FakeKaggle, settings: Settings) -> None:
    kaggle.add(NAME, *[FILES] * 30)
    found = versions(NAME, kaggle.settings(settings), limit=3)
    assert [row.version for row in found.versions] == ["30", "29", "28"]
    assert found.count == 30
    assert len(kaggle.request_names("/files$")) == 3


def test_a_version_whose_files_are_not_to_be_seen_is_listed_without_its_size(
    kaggle: FakeKaggle, settings: Settings
) -> None:
    kaggle.add(NAME, FILES, FILES)
    kaggle.script("/2/files", json_answer({"message": "consent"}, 403))
    assert rows_of(versions(NAME, kaggle.settings(settings))) == [
        ("2", None, False, True), ("1", 10, False, True),
    ]  # fmt: skip


def test_a_cached_version_that_the_host_has_no_more_is_listed_too(
    kaggle: FakeKaggle, settings: Settings, tmp_path: Path
) -> None:
    kaggle.add(NAME, FILES)
    cached(f"{PAGE}/7", settings, tmp_path)
    cached(f"{PAGE}-other/8", settings, tmp_path)
    found = versions(NAME, kaggle.settings(settings))
    assert [(version, is_cached, is_listed) for version, _, is_cached, is_listed in rows_of(found)] == [
        ("7", True, False),
        ("1", False, True),
    ]


def test_offline_the_last_answer_counts_and_without_one_the_cache(
    kaggle: FakeKaggle, settings: Settings, tmp_path: Path
) -> None:
    kaggle.add(NAME, FILES)
    at_fake = kaggle.settings(settings)
    offline = replace(at_fake, offline=True)
    with pytest.raises(OfflineError):
        versions(NAME, offline)
    cached(f"{PAGE}/1", settings, tmp_path)
    alone = versions(NAME, offline)
    assert (rows_of(alone)[0][0], rows_of(alone)[0][2:], alone.count) == ("1", (True, False), None)
    online = versions(NAME, at_fake)
    again = versions(NAME, offline)
    assert (again.versions, again.count) == (online.versions, 1)
    assert again.cached_at_s is not None


def test_a_model_that_is_not_there_is_an_error(kaggle: FakeKaggle, settings: Settings) -> None:
    with pytest.raises(AuthenticationError) as caught:
        versions(NAME, kaggle.settings(settings))
    assert "does not exist" in caught.value.hint


# Hosts ------------------------------------------------------------------------------------------


@each_of("root, name", [("", "maker/model"), ("/tfhub", "maker/model"), ("/a/b", "maker/deep/model")])
def test_a_host_is_asked_for_its_index_wherever_that_is(root: str, name: str, settings: Settings) -> None:
    entries = [IndexEntry(name, version, 5, 9, None, 1e9) for version in ("1", "2", "10")]
    with HubServer().running() as server:
        server.serve(f"{root}/index.json", index_bytes([*entries, IndexEntry("maker/other", "3")]))
        for handle in (f"{server.url}{root}/{name}", f"{server.url}{root}/{name}/2"):
            found = versions(handle, settings)
            assert found.handle == f"{server.url}{root}/{name}"
            assert [row.version for row in found.versions] == ["10", "2", "1"]
            assert found.versions[0].handle == f"{server.url}{root}/{name}/10"
            assert found.versions[0].size_bytes == 9


def test_a_cached_version_of_a_host_is_marked(settings: Settings, server: HubServer) -> None:
    server.serve("/index.json", index_bytes([IndexEntry("maker/model", version) for version in "12"]))
    server.serve("/maker/model/1", models.archive())
    fetch(f"{server.url}/maker/model/1", settings)
    found = versions(f"{server.url}/maker/model", settings)
    assert [(row.version, row.path is not None) for row in found.versions] == [("2", False), ("1", True)]


def test_a_host_without_an_index_says_so(settings: Settings, server: HubServer) -> None:
    server.serve("/index.json", b"<html>")
    with pytest.raises(NotFoundError, match=r"No index\.json above .* lists its versions"):
        versions(f"{server.url}/maker/model/1", settings)


def test_a_model_that_an_index_lacks_leads_to_those_that_it_lists(
    settings: Settings, server: HubServer
) -> None:
    server.serve("/index.json", index_bytes([IndexEntry("maker/model", "1")]))
    with pytest.raises(NotFoundError, match=r"/maker/modle is not in the index of http") as caught:
        versions(f"{server.url}/maker/modle", settings)
    assert caught.value.hint == f"See: hubcli search --host {server.url}"


def test_a_tree_of_exports_lists_its_versions(settings: Settings, tmp_path: Path) -> None:
    for version in ("1", "2"):
        options = ExportOptions(layout=Layout.HUB, name="maker/model", version=version)
        export("example://mul/1", tmp_path / "www", settings, options)
    for target in ("www/maker/model", "www/maker/model/1"):
        found = versions(str(tmp_path / target), settings)
        assert [row.handle for row in found.versions] == [
            str(tmp_path / "www/maker/model/2"),
            str(tmp_path / "www/maker/model/1"),
        ]


def test_what_has_no_versions_is_a_usage_error(settings: Settings) -> None:
    for target in ("example://mul/1", "https://h.example/model.tar.gz?x=1"):
        with pytest.raises(UsageError):
            versions(target, settings)
