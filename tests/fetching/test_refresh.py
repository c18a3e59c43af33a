"""`fetch --refresh`: whether a handle without a version is still the model that is cached."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from hubcli.cache.records import Manifest
from hubcli.commands.fetch import FetchOptions, FetchResult, fetch
from hubcli.config.settings import Mirror, Settings
from hubcli.errors import ChecksumError, HubcliError, NetworkError, UsageError
from hubcli.progress import ProgressListener
from tests import models
from tests.conftest import Run
from tests.server import HubServer, Reply

OLD, NEW = models.archive(assets__version=b"old"), models.archive(assets__version=b"new")
REFRESH = FetchOptions(refresh=True)


class RecordingListener(ProgressListener):
    """What was said."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def version(result: FetchResult) -> tuple[str, bool]:
    """Which one it is, and whether it was cached."""
    return (result.path / "assets" / "version").read_text(), result.was_cached


def conditions(server: HubServer) -> list[str | None]:
    return [request.headers.get("If-None-Match") for request in server.requests]


@pytest.fixture
def url(server: HubServer, settings: Settings) -> str:
    """A model that is cached, of a host that tells its ETag."""
    url = server.serve("/maker/model", Reply(OLD, etag='"old"'))
    fetch(url, settings)
    return url


def test_without_it_nobody_is_asked(url: str, server: HubServer, settings: Settings) -> None:
    server.serve("/maker/model", Reply(NEW, etag='"new"'))
    assert version(fetch(url, settings)) == ("old", True)
    assert len(server.requests) == 1


def test_what_has_not_changed_stays(url: str, server: HubServer, settings: Settings) -> None:
    assert version(fetch(url, settings, REFRESH)) == ("old", True)
    assert conditions(server) == [None, '"old"']


def test_what_has_changed_is_fetched_anew(url: str, server: HubServer, settings: Settings) -> None:
    server.serve("/maker/model", Reply(NEW, etag='"new"'))
    assert version(fetch(url, settings, REFRESH)) == ("new", False)
    assert version(fetch(url, settings, REFRESH)) == ("new", True)
    assert conditions(server) == [None, '"old"', '"new"']


@pytest.mark.parametrize("etag", ['"old"', 'W/"old"'])
def test_the_same_etag_is_no_change_where_a_host_knows_no_conditions(
    etag: str, server: HubServer, settings: Settings
) -> None:
    url = server.serve("/maker/model", Reply(OLD, headers={"ETag": etag}))
    fetch(url, settings)
    assert version(fetch(url, settings, REFRESH)) == ("old", True)
    assert conditions(server) == [None, etag]


def test_an_etag_that_can_not_be_sent_is_compared(server: HubServer, settings: Settings) -> None:
    url = server.serve("/maker/model", Reply(OLD, headers={"ETag": '"caf\xe9"'}))
    fetch(url, settings)
    assert version(fetch(url, settings, REFRESH)) == ("old", True)
    assert conditions(server) == [None, None]


def test_without_an_etag_it_is_fetched_anew(server: HubServer, settings: Settings) -> None:
    url = server.serve("/maker/model", OLD)
    fetch(url, settings)
    server.serve("/maker/model", NEW)
    assert version(fetch(url, settings, REFRESH)) == ("new", False)
    assert conditions(server) == [None, None]


def test_a_number_behind_the_path_of_any_host_is_no_promise(server: HubServer, settings: Settings) -> None:
    url = server.serve("/maker/model/1", Reply(OLD, etag='"old"'))
    fetch(url, settings)
    server.serve("/maker/model/1", Reply(NEW, etag='"new"'))
    assert version(fetch(url, settings, REFRESH)) == ("new", False)


def test_a_version_of_a_model_host_is_not_asked_for(server: HubServer, settings: Settings) -> None:
    mirrored = replace(settings, mirrors=(Mirror("https://tfhub.dev", server.url),))
    server.serve("/maker/model/1", Reply(OLD, etag='"old"'))
    fetch("https://tfhub.dev/maker/model/1", mirrored)
    assert fetch("https://tfhub.dev/maker/model/1", mirrored, REFRESH).was_cached
    assert len(server.requests) == 1


def test_the_old_one_is_there_until_the_new_one_is_whole(
    url: str, server: HubServer, settings: Settings
) -> None:
    path = fetch(url, settings).path
    server.serve("/maker/model", Reply(NEW, stall_at=len(NEW) // 2))
    refreshing = threading.Thread(target=fetch, args=(url, settings, REFRESH))
    refreshing.start()
    assert server.stalled.wait(60)
    assert (path / "assets" / "version").read_text() == "old"
    server.release.set()
    refreshing.join()
    assert (path / "assets" / "version").read_text() == "new"


@pytest.mark.parametrize(
    "fault",
    [
        Reply(status=500),
        Reply(status=404),
        Reply(status=403),
        Reply(NEW, cut_at=300),
        Reply(b"<html>"),
        Reply(models.pack({"x": b"y"})),
    ],
    ids=["fails", "is gone", "refuses", "is cut", "is a page", "is no model"],
)
def test_a_refresh_that_fails_leaves_the_old_one(
    fault: Reply, url: str, server: HubServer, settings: Settings
) -> None:
    server.serve("/maker/model", fault)
    with pytest.raises(HubcliError):
        fetch(url, settings, FetchOptions(refresh=True, retries=0))
    assert version(fetch(url, settings)) == ("old", True)


def test_an_answer_that_nothing_changed_to_a_question_not_asked_is_an_error(
    server: HubServer, settings: Settings
) -> None:
    with pytest.raises(NetworkError, match="304"):
        fetch(server.serve("/maker/model", Reply(status=304)), settings)


def test_a_broken_copy_is_fetched_whatever_its_etag(url: str, server: HubServer, settings: Settings) -> None:
    (fetch(url, settings).path / "saved_model.pb").unlink()
    assert version(fetch(url, settings, REFRESH)) == ("old", False)
    assert conditions(server) == [None, None]


def test_offline_it_is_not_asked_and_said(url: str, server: HubServer, settings: Settings) -> None:
    listener = RecordingListener()
    assert version(fetch(url, replace(settings, offline=True), REFRESH, listener)) == ("old", True)
    assert listener.notes == [f"Offline: not checking whether {url} changed"]
    assert len(server.requests) == 1


def test_the_final_address_and_the_etag_are_remembered_without_secrets(
    server: HubServer, other_server: HubServer, settings: Settings
) -> None:
    real = other_server.serve("/bucket/object", Reply(OLD, etag='"old"'))
    url = server.redirect("/maker/model", f"{real}?X-Goog-Signature=s3cret&generation=5")
    result = fetch(f"{url}?token=s3cret", settings)
    text = result.path.with_name(f"{result.path.name}.hubcli.json").read_text()
    manifest = Manifest.read(result.path.with_name(f"{result.path.name}.hubcli.json"))
    assert manifest is not None
    assert (manifest.source, manifest.etag) == (f"{real}?generation=5", '"old"')
    assert "s3cret" not in text
    assert fetch(f"{url}?token=s3cret", settings, REFRESH).was_cached
    assert conditions(other_server) == [None, '"old"']


def test_a_promised_hash_is_that_of_what_is_there_now(
    url: str, server: HubServer, settings: Settings
) -> None:
    new = hashlib.sha256(NEW).hexdigest()
    with pytest.raises(ChecksumError, match="another SHA-256"):
        fetch(url, settings, FetchOptions(refresh=True, sha256=new))
    server.serve("/maker/model", Reply(NEW, etag='"new"'))
    assert version(fetch(url, settings, FetchOptions(refresh=True, sha256=new))) == ("new", False)


def test_what_changes_is_the_same_under_every_spelling(
    url: str, server: HubServer, settings: Settings
) -> None:
    server.serve("/maker/model", Reply(NEW, etag='"new"'))
    fetch(f"{url}?tf-hub-format=compressed", settings, REFRESH)
    assert version(fetch(url, settings)) == ("new", True)


def test_refresh_and_a_local_source_contradict_each_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--refresh"):
        FetchOptions(local=str(tmp_path), refresh=True)


def test_the_command_line_has_it(url: str, server: HubServer, hubcli: Run) -> None:
    server.serve("/maker/model", Reply(NEW, etag='"new"'))
    result = hubcli("fetch", url, "--refresh", "-q")
    assert (Path(result.stdout.strip()) / "assets" / "version").read_text() == "new"
