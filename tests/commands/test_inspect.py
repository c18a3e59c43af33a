"""`inspect`, from targets to what a model is made of, against a real server."""

from __future__ import annotations

import json
import os
import random
import tempfile
from pathlib import Path

import pytest

from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.commands.inspect import Inspection, InspectOptions, inspect
from hubcli.commands.ls import ls
from hubcli.config.settings import Mirror, Settings
from hubcli.errors import BrokenModelError, HandleError, HubcliError, NotFoundError, OfflineError, UsageError
from hubcli.fetching.model_ref import ModelRef
from hubcli.savedmodel.layout import ModelFormat
from tests import models
from tests.corpus import KINDS, corpus_model
from tests.models import example_files, pack, write_tree
from tests.savedmodel.protos import graph, meta_graph, node, saved_model
from tests.server import HubServer, Reply

HANDLE = "https://tfhub.dev/maker/model/1"
PATH = "/maker/model/1"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go, so that a test sees what is left of them."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def mirrored(settings: Settings, server: HubServer) -> Settings:
    return with_mirror(settings, server)


def with_mirror(settings: Settings, server: HubServer, *, offline: bool = False) -> Settings:
    return Settings(
        settings.cache_root,
        "--cache-dir",
        offline=offline,
        mirrors=(Mirror("https://tfhub.dev", server.url),),
        timeout_s=settings.timeout_s,
        lock_timeout_s=settings.lock_timeout_s,
    )


def assert_nothing_is_left(settings: Settings) -> None:
    assert not settings.cache_root.exists() or set(os.listdir(settings.cache_root)) <= {"CACHEDIR.TAG"}
    assert os.listdir(tempfile.gettempdir()) == []


def cached(settings: Settings, folder: Path, handle: str = HANDLE) -> Path:
    """The example in the cache, under the handle."""
    archive = folder / "example.tar.gz"
    archive.write_bytes(models.archive())
    return fetch(handle, settings, FetchOptions(local=str(archive))).path


# Targets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelling",
    [
        HANDLE,
        "http://tfhub.dev/maker/model/1",
        "https://tfhub.dev/maker/model/1?tf-hub-format=compressed",
        HANDLE + "/",
    ],
)
def test_a_cached_model_is_found_in_any_spelling(settings: Settings, tmp_path: Path, spelling: str) -> None:
    path = cached(settings, tmp_path)
    inspection = inspect(spelling, settings)
    assert inspection.path == path
    assert inspection.target == HANDLE
    assert inspection.received_bytes is None


def test_a_cached_model_is_found_by_its_key(settings: Settings, tmp_path: Path) -> None:
    path = cached(settings, tmp_path)
    inspection = inspect(path.name, settings)
    assert (inspection.target, inspection.path) == (HANDLE, path)


def test_a_key_that_is_not_cached_is_told(settings: Settings) -> None:
    with pytest.raises(NotFoundError, match="No cached model has the key"):
        inspect("0" * 40, settings)


def test_a_directory_whose_name_is_a_key_is_a_directory(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tree(tmp_path / ("a" * 40), example_files())
    monkeypatch.chdir(tmp_path)
    assert inspect("a" * 40, settings).path is not None


@pytest.mark.parametrize("name", KINDS)
def test_a_directory_is_read(settings: Settings, name: str) -> None:
    inspection = inspect(str(corpus_model(name)), settings)
    assert inspection.path == corpus_model(name)
    assert inspection.info.format is not None
    assert_nothing_is_left(settings)


@pytest.mark.parametrize("prefix", ["./", "", "wrapped/", "./wrapped/"])
def test_a_local_archive_is_looked_into(settings: Settings, tmp_path: Path, prefix: str) -> None:
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(pack(example_files(), prefix=prefix))
    inspection = inspect(str(archive), settings)
    assert inspection.path is None
    assert [function.path for function in inspection.info.functions] == ["__call__"]
    assert_nothing_is_left(settings)


@pytest.mark.parametrize("target", ["/does/not/exist", "./gone.tar.gz"])
def test_a_path_that_is_not_there_is_told(settings: Settings, target: str) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        inspect(target, settings)


@pytest.mark.parametrize("target", ["", "https://www.kaggle.com/datasets/a/b", "no handle"])
def test_what_is_no_handle_is_told(settings: Settings, target: str) -> None:
    with pytest.raises((HandleError, NotFoundError)):
        inspect(target, settings)


def test_an_empty_directory_is_no_model(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BrokenModelError, match="empty: Not a SavedModel"):
        inspect(str(tmp_path / "empty"), settings)


def test_the_example_needs_no_network(settings: Settings) -> None:
    offline = Settings.read({}, cache_dir=settings.cache_root, offline=True)
    assert inspect("example://mul/1", offline).info.format is ModelFormat.TF2


def test_tags_that_no_graph_has_are_a_fault_of_the_command_line(settings: Settings) -> None:
    with pytest.raises(UsageError):
        inspect("example://mul/1", settings, InspectOptions(tag_set=frozenset({"gpu"})))


def test_a_target_resolves_without_reading_anything(settings: Settings) -> None:
    target = ModelRef.resolve(HANDLE, settings)
    assert (target.name, target.directory, target.archive, target.entry) == (HANDLE, None, None, None)


def test_looking_at_a_cached_model_counts_as_use(settings: Settings, tmp_path: Path) -> None:
    model = cached(settings, tmp_path)
    manifest = model.with_name(f"{model.name}.hubcli.json")
    document = {**json.loads(manifest.read_text()), "last_used_at": "2020-01-01T00:00:00Z"}
    manifest.write_text(json.dumps(document))
    os.utime(manifest, (1, 1))
    before = next(iter(ls(settings).models)).last_used_at_s
    inspect(HANDLE, settings)
    after = next(iter(ls(settings).models)).last_used_at_s
    assert before is not None
    assert after is not None
    assert after > before


# Models elsewhere --------------------------------------------------------------------------------


def large_archive(*, folders: bool = False) -> bytes:
    """The example, and 20 MB of noise after its index."""
    files = example_files()
    shard = next(name for name in files if "data-00000" in name)
    ordered = {name: content for name, content in files.items() if name != shard}
    ordered[shard] = random.Random(1).randbytes(20_000_000)
    return pack(ordered, with_folders=folders, level=0)


def test_of_a_remote_model_only_the_beginning_is_read(mirrored: Settings, server: HubServer) -> None:
    server.serve(PATH, large_archive())
    inspection = inspect(HANDLE, mirrored)
    assert inspection.path is None
    assert inspection.received_bytes is not None
    assert 0 < inspection.received_bytes < 2_000_000
    assert inspection.info.sizes.total is None
    assert [function.path for function in inspection.info.functions] == ["__call__"]
    assert_nothing_is_left(mirrored)


def test_a_remote_model_without_variables_is_read_to_its_end(mirrored: Settings, server: HubServer) -> None:
    files = {"saved_model.pb": saved_model(meta_graph(graph(node("a", "Const"))))}
    server.serve(PATH, pack(files))
    inspection = inspect(HANDLE, mirrored)
    assert inspection.info.sizes.total == len(files["saved_model.pb"])
    assert_nothing_is_left(mirrored)


def test_offline_a_model_that_is_not_cached_is_not_asked_for(settings: Settings, server: HubServer) -> None:
    with pytest.raises(OfflineError):
        inspect(HANDLE, with_mirror(settings, server, offline=True))
    assert server.requests == []


def test_offline_a_cached_model_is_read(settings: Settings, server: HubServer, tmp_path: Path) -> None:
    cached(settings, tmp_path)
    assert inspect(HANDLE, with_mirror(settings, server, offline=True)).path is not None


def test_a_model_is_cached_on_demand(mirrored: Settings, server: HubServer) -> None:
    server.serve(PATH, models.archive())
    inspection = inspect(HANDLE, mirrored, InspectOptions(fetch=True))
    assert inspection.path is not None
    assert inspection.path.parent == mirrored.cache_root
    assert inspect(HANDLE, mirrored).path == inspection.path
    assert len(server.requests) == 1


def test_a_model_that_is_not_there_is_told(mirrored: Settings) -> None:
    with pytest.raises(NotFoundError):
        inspect(HANDLE, mirrored)
    assert_nothing_is_left(mirrored)


FAULTS = {
    "not an archive": Reply(b"<!DOCTYPE html><html>" + bytes(2000)),
    "empty": Reply(b""),
    "server error": Reply(b"no", 500),
    "cut": Reply(models.archive(), cut_at=300),
    "reset": Reply(models.archive(), reset_at=300),
    "no model in it": Reply(pack({"readme.txt": b"hello"})),
    "lfs": Reply(pack({"saved_model.pb": b"version https://git-lfs.github.com/spec/v1\n"})),
    "climbs out": Reply(pack({"../saved_model.pb": b""}, prefix="")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_goes_wrong_nothing_is_left(mirrored: Settings, server: HubServer, fault: str) -> None:
    server.serve(PATH, FAULTS[fault])
    with pytest.raises(HubcliError) as caught:
        inspect(HANDLE, mirrored)
    assert caught.value.code != "internal"
    assert_nothing_is_left(mirrored)


def _looked_into(settings: Settings, folder: Path, files: dict[str, bytes]) -> Inspection:
    archive = folder / "model.tar.gz"
    archive.write_bytes(pack(files, prefix=""))
    return inspect(str(archive), settings)


EVIL = saved_model(meta_graph(graph(node("w", "WriteFile"))))
HARMLESS = saved_model(meta_graph(graph(node("w", "NoOp"))))


def test_of_two_models_in_an_archive_the_one_at_the_root_counts(settings: Settings, tmp_path: Path) -> None:
    files = {"saved_model.pb": EVIL, "x/saved_model.pb": HARMLESS}
    assert _looked_into(settings, tmp_path, files).info.meta_graphs[0].ops == {"WriteFile": 1}


def test_a_model_at_the_root_counts_wherever_it_stands(settings: Settings, tmp_path: Path) -> None:
    files = {"a/saved_model.pb": HARMLESS, "saved_model.pb": EVIL}
    assert _looked_into(settings, tmp_path, files).info.meta_graphs[0].ops == {"WriteFile": 1}


def test_an_index_of_another_folder_is_not_the_models(settings: Settings, tmp_path: Path) -> None:
    index = example_files()["variables/variables.index"]
    files = {"saved_model.pb": HARMLESS, "x/variables/variables.index": index}
    assert _looked_into(settings, tmp_path, files).info.checkpoint is None


def test_a_second_main_file_in_an_archive_is_told(settings: Settings, tmp_path: Path) -> None:
    files = {"saved_model.pb": HARMLESS, "saved_model.pbtxt": b"meta_graphs { graph_def { } }"}
    assert _looked_into(settings, tmp_path, files).info.findings != ()
