"""Models on Kaggle: from its API, with credentials that nobody else sees."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.commands.inspect import inspect
from hubcli.commands.ls import ls
from hubcli.commands.pin import pin
from hubcli.commands.rm import rm
from hubcli.commands.verify import VerifyOptions, verify
from hubcli.config.settings import Mirror, Settings
from hubcli.errors import AuthenticationError, NetworkError, OfflineError
from hubcli.progress import ProgressListener
from hubcli.providers.handle import key_of
from tests import models
from tests.conftest import Run
from tests.entries import ends_beyond
from tests.kaggle import API, NAME, PAGE, TOKEN, everything_below, kaggle_at, serve_latest, serve_version
from tests.server import HubServer, Reply

VERSION_1 = f"{PAGE}/1"


class RecordingListener(ProgressListener):
    """What was said."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def paths(server: HubServer) -> list[str]:
    return [request.path for request in server.requests]


# One version -------------------------------------------------------------------------------------


def test_a_version_comes_from_the_api(settings: Settings, server: HubServer) -> None:
    serve_version(server, 1, models.archive())
    result = fetch(VERSION_1, kaggle_at(server, settings))
    assert models.tree_files(result.path) == models.example_files()
    assert result.handle == VERSION_1
    assert [(request.path, request.query) for request in server.requests] == [(f"{API}/1/download", "")]


def test_an_endpoint_may_have_a_path(settings: Settings, server: HubServer) -> None:
    server.serve(f"/kaggle{API}/1/download", models.archive())
    at_path = kaggle_at(server, settings)
    kaggle = at_path.access.kaggle._replace(endpoint=f"{server.url}/kaggle")
    fetch(VERSION_1, replace(at_path, access=replace(at_path.access, kaggle=kaggle)))
    assert paths(server) == [f"/kaggle{API}/1/download"]


def test_a_mirror_of_kaggle_is_asked_as_any_host_of_the_protocol(
    settings: Settings, server: HubServer, other_server: HubServer
) -> None:
    server.serve(f"/models/{NAME}/1", models.archive())
    mirrored = replace(settings, mirrors=(Mirror("https://www.kaggle.com", server.url),))
    fetch(VERSION_1, kaggle_at(other_server, mirrored, token=TOKEN))
    assert [(request.path, request.query) for request in server.requests] == [
        (f"/models/{NAME}/1", "tf-hub-format=compressed")
    ]
    assert "Authorization" not in server.requests[0].headers


def test_a_private_model_comes_with_a_token_and_not_without(settings: Settings, server: HubServer) -> None:
    class Private(Reply):
        def for_request(self, headers: dict[str, str]) -> Reply:
            if headers.get("Authorization") == f"Bearer {TOKEN}":
                return self
            return Reply(b'{"code": 403, "message": "Permission denied"}', 403)

    serve_version(server, 1, Private(models.archive()))
    with pytest.raises(AuthenticationError, match="answers 403"):
        fetch(VERSION_1, kaggle_at(server, settings))
    assert not fetch(VERSION_1, kaggle_at(server, settings, token=TOKEN)).was_cached


def test_offline_nothing_is_sent_and_the_miss_is_named(settings: Settings, server: HubServer) -> None:
    offline = replace(kaggle_at(server, settings, token=TOKEN), offline=True)
    for handle in (VERSION_1, PAGE, f"{server.url}/m/1"):
        with pytest.raises(OfflineError) as caught:
            fetch(handle, offline)
        assert handle in caught.value.message
        assert caught.value.exit_status == 5
    assert server.requests == []


def test_offline_by_the_variable_names_every_miss(server: HubServer, hubcli: Run) -> None:
    result = hubcli("fetch", VERSION_1, PAGE, HUBCLI_OFFLINE="1", HUBCLI_KAGGLE_ENDPOINT=server.url)
    assert result.returncode == 5
    assert f"Not in the cache: {VERSION_1}" in result.stderr
    assert f"Not in the cache: {PAGE}" in result.stderr
    assert server.requests == []


def test_inspect_looks_into_the_latest_version(settings: Settings, server: HubServer) -> None:
    serve_latest(server, 7)
    serve_version(server, 7, models.archive())
    assert inspect(PAGE, kaggle_at(server, settings)).info.functions
    assert paths(server) == [f"{API}/get", f"{API}/7/download"]


@pytest.mark.parametrize("answer", [None, "7", True, 0, -1, 1.5, [7]])
def test_an_answer_without_a_version_is_a_network_error(
    answer: object, settings: Settings, server: HubServer
) -> None:
    serve_latest(server, answer)
    with pytest.raises(NetworkError, match="reports no latest version"):
        inspect(PAGE, kaggle_at(server, settings))


# The latest version -------------------------------------------------------------------------------


@pytest.fixture
def kaggle(settings: Settings, server: HubServer) -> Settings:
    """Settings for a Kaggle with versions 1 and 2, of which 1 is the latest as yet."""
    for number in (1, 2):
        serve_version(server, number, archive_of(number))
    serve_latest(server, 1)
    return kaggle_at(server, settings)


def archive_of(number: int) -> bytes:
    return models.archive(assets__version=str(number).encode())


def version_at(path: Path) -> str:
    """Which one the files at the path are."""
    return (path / "assets" / "version").read_text()


def loaded(handle: str, settings: Settings) -> str:
    """The version that `hub.load` finds in the cache."""
    return version_at(settings.cache_root / key_of(handle))


@pytest.mark.parametrize("handle", [PAGE, NAME, f"{PAGE}/", f"http://kaggle.com/models/{NAME}"])
def test_without_a_version_the_latest_is_fetched_and_stored_under_it(
    handle: str, kaggle: Settings, server: HubServer
) -> None:
    result = fetch(handle, kaggle)
    assert (result.handle, version_at(result.path)) == (VERSION_1, "1")
    assert result.path.name == key_of(VERSION_1)
    assert loaded(PAGE, kaggle) == "1"
    assert paths(server) == [f"{API}/get", f"{API}/1/download"]


def test_the_unversioned_handle_is_a_hit_then_that_asks_nobody(kaggle: Settings, server: HubServer) -> None:
    fetch(PAGE, kaggle)
    serve_latest(server, 2)
    for handle in (PAGE, VERSION_1, NAME):
        assert fetch(handle, kaggle).was_cached
    assert len(server.requests) == 2


def test_refresh_asks_again_and_keeps_the_older_version(kaggle: Settings, server: HubServer) -> None:
    fetch(PAGE, kaggle)
    assert fetch(PAGE, kaggle, FetchOptions(refresh=True)).was_cached
    assert paths(server) == [f"{API}/get", f"{API}/1/download", f"{API}/get"]
    serve_latest(server, 2)
    result = fetch(PAGE, kaggle, FetchOptions(refresh=True))
    assert (result.was_cached, version_at(result.path)) == (False, "2")
    assert [loaded(handle, kaggle) for handle in (PAGE, VERSION_1, f"{PAGE}/2")] == ["2", "1", "2"]


def test_a_refresh_that_fails_leaves_what_is_cached(kaggle: Settings, server: HubServer) -> None:
    fetch(PAGE, kaggle)
    server.serve(f"{API}/get", Reply(status=500))
    with pytest.raises(NetworkError):
        fetch(PAGE, kaggle, FetchOptions(refresh=True, retries=0))
    assert loaded(PAGE, kaggle) == "1"


def test_refresh_of_a_version_asks_nobody(kaggle: Settings, server: HubServer) -> None:
    fetch(VERSION_1, kaggle)
    assert fetch(VERSION_1, kaggle, FetchOptions(refresh=True)).was_cached
    assert paths(server) == [f"{API}/1/download"]


def test_offline_the_newest_cached_version_answers_with_a_note(kaggle: Settings, server: HubServer) -> None:
    for number in (1, 2):
        fetch(f"{PAGE}/{number}", kaggle)
    listener = RecordingListener()
    before = len(server.requests)
    for refresh in (False, True):
        result = fetch(PAGE, replace(kaggle, offline=True), FetchOptions(refresh=refresh), listener)
        assert (result.handle, version_at(result.path)) == (f"{PAGE}/2", "2")
    assert f"{PAGE}/2, the newest cached version" in listener.notes[0]
    assert len(server.requests) == before
    # It wasn't asked for: the next time it is.
    assert fetch(PAGE, kaggle).handle == VERSION_1


def test_offline_a_broken_version_does_not_answer(kaggle: Settings) -> None:
    fetch(VERSION_1, kaggle)
    (fetch(f"{PAGE}/2", kaggle).path / "saved_model.pb").unlink()
    assert fetch(PAGE, replace(kaggle, offline=True)).handle == VERSION_1


def test_a_broken_copy_of_the_latest_is_fetched_anew(kaggle: Settings, server: HubServer) -> None:
    (fetch(PAGE, kaggle).path / "saved_model.pb").unlink()
    serve_latest(server, 2)
    assert fetch(PAGE, kaggle).handle == f"{PAGE}/2"


def test_what_hub_load_cached_without_a_version_is_renewed_in_its_place(
    kaggle: Settings, server: HubServer
) -> None:
    own = models.write_tree(kaggle.cache_root / key_of(PAGE), models.example_files())
    assert fetch(PAGE, kaggle).path == own
    assert server.requests == []
    assert fetch(PAGE, kaggle, FetchOptions(refresh=True)).path == own
    assert loaded(PAGE, kaggle) == "1"
    serve_latest(server, 2)
    (own / "saved_model.pb").unlink()
    assert verify(PAGE, kaggle, VerifyOptions(repair=True)).was_repaired
    assert loaded(PAGE, kaggle) == "2"


def test_a_copy_of_tfhubs_model_that_kaggles_handle_has_itself_is_told(both: Settings) -> None:
    (fetch(VERSION_1, both).path / "saved_model.pb").unlink()
    listener = RecordingListener()
    fetch(TFHUB, both, listener=listener)
    assert f"{VERSION_1} has a separate copy in the cache" in listener.notes[-1]


# The same model on tfhub.dev ----------------------------------------------------------------------

TFHUB = "https://tfhub.dev/google/nnlm-en-dim128/2"


def with_tfhub(settings: Settings, server: HubServer) -> Settings:
    """The settings with the server for tfhub.dev."""
    return replace(settings, mirrors=(Mirror("https://tfhub.dev", server.url),))


@pytest.fixture
def both(kaggle: Settings, server: HubServer, other_server: HubServer) -> Settings:
    """tfhub.dev redirects to Kaggle's page, that to the signed address of the archive."""
    page = f"{server.url}/models/google/nnlm/frameworks/TensorFlow2/variations/en-dim128"
    for number in (1, 2):
        signed = other_server.serve(f"/bucket/{number}", Reply(archive_of(number), etag=f'"{number}"'))
        server.redirect(urlsplit(f"{page}/versions/{number}").path, f"{signed}?X-Goog-Signature=s3cret")
    move_tfhub(other_server, server, 1)
    return with_tfhub(kaggle, other_server)


def move_tfhub(tfhub: HubServer, kaggle: HubServer, number: int) -> None:
    page = f"{kaggle.url}/models/google/nnlm/frameworks/TensorFlow2/variations/en-dim128/versions/{number}"
    for path in ("/google/nnlm-en-dim128/2", "/google/nnlm-en-dim128"):
        tfhub.redirect(path, f"{page}?tfhub-redirect=true")


def test_the_model_that_tfhub_redirects_to_is_a_hit_under_its_name_on_kaggle(
    both: Settings, server: HubServer
) -> None:
    first = fetch(TFHUB, both)
    request_count = len(server.requests)
    for handle in (VERSION_1, NAME + "/1", VERSION_1.replace("tensorFlow2", "TensorFlow2"), TFHUB):
        result = fetch(handle, both)
        assert (result.path, result.was_cached) == (first.path, True)
    assert len(server.requests) == request_count
    assert [loaded(handle, both) for handle in (TFHUB, VERSION_1)] == ["1", "1"]
    stored = everything_below(both.cache_root)
    assert b"s3cret" not in stored
    assert VERSION_1.encode() in stored


def test_a_model_of_kaggle_is_not_downloaded_again_for_tfhub(
    both: Settings, server: HubServer, other_server: HubServer
) -> None:
    first = fetch(VERSION_1, both)
    manifest = first.path.with_name(f"{first.path.name}.hubcli.json")
    os.utime(manifest, (1, 1))
    result = fetch(TFHUB, both)
    assert (result.path, result.was_cached, result.handle) == (first.path, True, TFHUB)
    assert manifest.stat().st_mtime > 1  # A collection sees that it is used.
    assert loaded(TFHUB, both) == "1"
    request_count = len(other_server.requests)
    assert fetch(TFHUB, both).was_cached
    assert len(other_server.requests) == request_count


def test_it_is_listed_pinned_and_removed_under_either_name(both: Settings) -> None:
    fetch(TFHUB, both)
    assert [model.handle for model in ls(both, [VERSION_1]).models] == [TFHUB]
    assert pin(VERSION_1, both)[0].handle == TFHUB
    assert not rm([NAME + "/1"], both, force=True).errors
    assert ls(settings=both).models == ()


def test_forced_under_either_name_it_keeps_both(both: Settings) -> None:
    first = fetch(TFHUB, both)
    again = fetch(VERSION_1, both, FetchOptions(force=True))
    assert (again.path, again.was_cached) == (first.path, False)
    for handle in (TFHUB, VERSION_1):
        assert fetch(handle, both).was_cached
    entries = ls(settings=both).models
    assert [(entry.handle, VERSION_1 in entry.aliases) for entry in entries] == [(TFHUB, True)]


def test_tfhub_without_a_version_follows_kaggles_and_lets_the_older_name_go(
    both: Settings, server: HubServer, other_server: HubServer
) -> None:
    latest = TFHUB.removesuffix("/2")
    fetch(latest, both)
    assert fetch(VERSION_1, both).was_cached
    assert fetch(latest, both, FetchOptions(refresh=True)).was_cached
    move_tfhub(other_server, server, 2)
    assert version_at(fetch(latest, both, FetchOptions(refresh=True)).path) == "2"
    assert fetch(f"{PAGE}/2", both).was_cached
    result = fetch(VERSION_1, both)
    assert (result.was_cached, version_at(result.path)) == (False, "1")
    assert [loaded(handle, both) for handle in (latest, VERSION_1, f"{PAGE}/2")] == ["2", "1", "2"]


def test_another_host_may_not_say_that_it_is_kaggles_model(both: Settings, other_server: HubServer) -> None:
    fetch(f"{other_server.url}/google/nnlm-en-dim128/2", both)
    assert not fetch(VERSION_1, both).was_cached


# Secrets, as a person or a log would see them ----------------------------------------------------

LARGE = models.large_archive()
SMALL = models.archive()
FAULTS = {
    "none": Reply(SMALL),
    "refused": Reply(status=403),
    "unknown": Reply(status=401),
    "missing": Reply(status=404),
    "busy": Reply(status=503),
    "cut": Reply(SMALL, cut_at=500),
    "no archive": Reply(b"<html>" * 100),
    "no model": Reply(models.pack({"x": b"y"})),
    "to a file": Reply(status=302, headers={"Location": "file:///etc/passwd"}),
    "to nowhere": Reply(status=302, headers={"Location": "http://127.0.0.1:1/x"}),
    "to no address": Reply(status=302, headers={"Location": "http://["}),
    "large, cut": Reply(LARGE, etag='"one"', first=[Reply(LARGE, etag='"one"'), Reply(status=500)], cut_at=9),
}
VARIABLES = [{"KAGGLE_API_TOKEN": TOKEN}, {"KAGGLE_USERNAME": "me", "KAGGLE_KEY": TOKEN}]


@pytest.mark.parametrize("fault", FAULTS)
def test_no_secret_is_shown_or_stored_whatever_fails(
    fault: str, server: HubServer, cache: Path, hubcli: Run
) -> None:
    secrets = (TOKEN, "bWU6S0dBVF9z")  # The latter is how its Basic form begins.
    for variables in VARIABLES:
        reply = replace(FAULTS[fault], first=list(FAULTS[fault].first))
        serve_version(server, 1, reply)
        result = hubcli(
            *("fetch", VERSION_1, "--force", "--retries", str(int("large" in fault)), "--debug", "--json"),
            HUBCLI_KAGGLE_ENDPOINT=server.url,
            **variables,
        )
        seen = result.stdout + result.stderr + everything_below(cache).decode("latin-1")
        assert not [secret for secret in secrets if secret in seen]


@pytest.mark.slow
def test_a_killed_download_leaves_no_secret(server: HubServer, cache: Path) -> None:
    tagged = Reply(LARGE, etag='"one"')
    serve_version(server, 1, replace(tagged, first=[replace(tagged, stall_at=5_000_000)]))
    process = subprocess.Popen(
        [sys.executable, "-m", "hubcli", "fetch", VERSION_1, "-q", "--connections", "1"],
        env={
            **os.environ,
            "HUBCLI_CACHE_DIR": str(cache),
            "HUBCLI_KAGGLE_ENDPOINT": server.url,
            "KAGGLE_API_TOKEN": TOKEN,
        },
    )
    patience_until = time.monotonic() + 120
    while not any(ends_beyond(4_000_000, journal) for journal in cache.glob("*.hubcli.part.journal")):
        assert time.monotonic() < patience_until
    process.kill()
    process.wait()
    assert TOKEN.encode() not in everything_below(cache)


@pytest.mark.parametrize("token", [f"{TOKEN} two words", f"{TOKEN}\nX: y", f"“{TOKEN}”"])
def test_a_token_that_can_not_be_sent_is_not_shown(
    token: str, server: HubServer, cache: Path, hubcli: Run
) -> None:
    serve_version(server, 1, SMALL)
    result = hubcli(
        *("fetch", VERSION_1, "--debug", "--json"), HUBCLI_KAGGLE_ENDPOINT=server.url, KAGGLE_API_TOKEN=token
    )
    assert result.returncode == 5
    assert TOKEN not in result.stdout + result.stderr
    assert "Cannot use the credentials in KAGGLE_API_TOKEN" in result.stderr
