"""kagglehub's cache: what it holds is used, what hubcli fetches is shown to it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from hubcli.cache.gc.plan import Policy
from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.commands.gc import gc
from hubcli.commands.rm import rm
from hubcli.commands.verify import verify
from hubcli.config.settings import Settings
from hubcli.errors import NetworkError, OfflineError
from hubcli.progress import ProgressListener
from tests import models
from tests.cases import each_of
from tests.conftest import Run
from tests.kaggle import NAME, PAGE, kaggle_at, serve_latest, serve_version
from tests.server import HubServer

VERSION_1 = f"{PAGE}/1"
FOR_KAGGLEHUB = FetchOptions(kagglehub=True)


class RecordingListener(ProgressListener):
    """What was said."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """Kagglehub's cache."""
    return tmp_path / "kagglehub"


@pytest.fixture
def kaggle(hub: Path, settings: Settings, server: HubServer) -> Settings:
    serve_version(server, 1, models.archive())
    serve_latest(server, 1)
    return kaggle_at(server, replace(settings, kagglehub_root=hub))


def downloaded(hub: Path, name: str = f"{NAME}/1", files: Mapping[str, bytes] | None = None) -> Path:
    """A model as kagglehub leaves it, with these files in place of its own."""
    copy = models.write_tree(hub / "models" / name, {**models.example_files(), **(files or {})})
    copy.with_name(f"{copy.name}.complete").touch()
    return copy


def loaded(hub: Path, name: str = f"{NAME}/1") -> Path | None:
    """What kagglehub's `load_from_cache` returns."""
    copy = hub / "models" / name
    return copy if copy.with_name(f"{copy.name}.complete").exists() and copy.exists() else None


# What it holds ------------------------------------------------------------------------------------


@pytest.mark.parametrize("framework", ["tensorFlow2", "TensorFlow2", "tensorflow2"])
def test_a_model_of_kagglehub_is_taken_and_not_downloaded(
    framework: str, kaggle: Settings, hub: Path, server: HubServer
) -> None:
    copy = downloaded(hub, f"google/nnlm/{framework}/en-dim128/1")
    listener = RecordingListener()
    result = fetch(VERSION_1, kaggle, listener=listener)
    assert server.requests == []
    assert not result.path.is_symlink()
    assert models.tree_files(result.path) == models.tree_files(copy) == models.example_files()
    assert result.source == copy.as_uri()
    assert listener.notes == [f"Using {VERSION_1} from kagglehub's cache; tensor checksums verified"]
    assert not verify(VERSION_1, kaggle).faults


def test_offline_it_is_taken_too_and_the_newest_of_both_caches_counts(
    kaggle: Settings, hub: Path, server: HubServer
) -> None:
    fetch(VERSION_1, kaggle)
    downloaded(hub, f"{NAME}/3")
    downloaded(hub, f"{NAME}/12").with_name("12.complete").unlink()
    request_count = len(server.requests)
    assert fetch(PAGE, replace(kaggle, offline=True)).handle == f"{PAGE}/3"
    assert len(server.requests) == request_count


def test_without_its_marker_it_is_not_complete(kaggle: Settings, hub: Path) -> None:
    downloaded(hub).with_name("1.complete").unlink()
    with pytest.raises(OfflineError):
        fetch(VERSION_1, replace(kaggle, offline=True))


@pytest.mark.parametrize(
    "damage",
    [
        {"saved_model.pb": b"<html>"},
        {"variables/variables.index": b"cut"},
        {"variables/variables.data-00000-of-00001": bytes(100)},
    ],
    ids=["no model", "no index", "other values"],
)
def test_a_broken_one_is_said_and_downloaded(
    damage: dict[str, bytes], kaggle: Settings, hub: Path, server: HubServer
) -> None:
    downloaded(hub, files=damage)
    listener = RecordingListener()
    result = fetch(VERSION_1, kaggle, listener=listener)
    assert models.tree_files(result.path) == models.example_files()
    assert f"kagglehub's copy of {VERSION_1}, which is corrupt" in listener.notes[0]
    assert len(server.requests) == 1


def test_one_with_links_is_not_trusted(kaggle: Settings, hub: Path, server: HubServer) -> None:
    (downloaded(hub) / "assets").symlink_to("/etc", target_is_directory=True)
    fetch(VERSION_1, kaggle)
    assert len(server.requests) == 1


def test_a_promised_hash_of_an_archive_is_not_that_of_a_directory(
    kaggle: Settings, hub: Path, server: HubServer
) -> None:
    downloaded(hub)
    fetch(VERSION_1, kaggle, FetchOptions(sha256=hashlib.sha256(models.archive()).hexdigest()))
    assert len(server.requests) == 1


# What it is shown ---------------------------------------------------------------------------------


def test_a_fetched_model_is_shown_to_kagglehub(kaggle: Settings, hub: Path) -> None:
    result = fetch(VERSION_1, kaggle, FOR_KAGGLEHUB)
    found = loaded(hub)
    assert found is not None
    assert found.resolve() == result.path
    assert models.tree_files(found) == models.example_files()


def test_one_that_is_cached_already_is_shown_too(kaggle: Settings, hub: Path) -> None:
    fetch(PAGE, kaggle)
    assert loaded(hub) is None
    for _ in range(2):
        assert fetch(PAGE, kaggle, FOR_KAGGLEHUB).was_cached
        assert loaded(hub) is not None


def test_what_is_shown_is_not_taken_for_kagglehubs_own(kaggle: Settings, server: HubServer) -> None:
    (fetch(VERSION_1, kaggle, FOR_KAGGLEHUB).path / "saved_model.pb").unlink()
    assert not fetch(VERSION_1, kaggle).was_cached
    assert len(server.requests) == 2


def test_its_own_copy_stays_with_a_note(kaggle: Settings, hub: Path) -> None:
    copy = downloaded(hub)
    listener = RecordingListener()
    fetch(VERSION_1, kaggle, FOR_KAGGLEHUB, listener)
    assert not copy.is_symlink()
    assert listener.notes[0] == f"kagglehub cannot find {VERSION_1}: it has its own copy in {copy}"


@pytest.mark.parametrize("handle", [VERSION_1, PAGE, "*nnlm*"])
def test_a_model_that_is_removed_is_shown_no_more(handle: str, kaggle: Settings, hub: Path) -> None:
    fetch(PAGE, kaggle, FOR_KAGGLEHUB)
    assert not rm([handle], kaggle).errors
    assert list((hub / "models" / NAME).iterdir()) == []


def test_a_model_that_is_collected_is_shown_no_more(kaggle: Settings, hub: Path) -> None:
    own = downloaded(hub, f"{NAME}/2")
    fetch(VERSION_1, kaggle, FOR_KAGGLEHUB)
    gc(settings=kaggle, policy=Policy(max_size_bytes=0, grace_s=0))
    assert sorted((hub / "models" / NAME).iterdir()) == [own, own.with_name("2.complete")]


@each_of("target", ["another-model", "missing"])
def test_a_link_that_leads_elsewhere_stays_when_the_model_is_removed(
    target: str, kaggle: Settings, hub: Path, tmp_path: Path
) -> None:
    fetch(VERSION_1, kaggle)
    (tmp_path / "another-model").mkdir()
    link = hub / "models" / NAME / "1"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(tmp_path / target)
    assert not rm([VERSION_1], kaggle).errors
    assert link.readlink() == tmp_path / target
    link.unlink()


def test_what_is_not_on_kaggle_can_not_be_shown(kaggle: Settings, server: HubServer) -> None:
    url = server.serve("/maker/model/1", models.archive())
    listener = RecordingListener()
    fetch(url, kaggle, FOR_KAGGLEHUB, listener)
    assert listener.notes == [f"kagglehub cannot find {url}: it has no version on Kaggle"]


def test_a_cache_of_kagglehub_that_can_not_be_written_is_a_note(kaggle: Settings, hub: Path) -> None:
    hub.write_text("no directory")
    listener = RecordingListener()
    fetch(VERSION_1, kaggle, FOR_KAGGLEHUB, listener)
    assert "cannot be created" in listener.notes[0]


def test_the_variable_names_its_cache(hub: Path, server: HubServer, hubcli: Run) -> None:
    serve_version(server, 1, models.archive())
    where = {"KAGGLEHUB_CACHE": str(hub), "HUBCLI_KAGGLE_ENDPOINT": server.url}
    result = hubcli("fetch", VERSION_1, "--kagglehub", "-q", **where)
    assert (result.returncode, result.stderr) == (0, "")
    found = loaded(hub)
    assert found is not None
    assert str(found.resolve()) == result.stdout.strip()


def test_a_name_that_leads_elsewhere_is_no_version(kaggle: Settings, hub: Path) -> None:
    downloaded(hub, f"{NAME}/latest")
    with pytest.raises((OfflineError, NetworkError)):
        fetch(PAGE, replace(kaggle, offline=True))
