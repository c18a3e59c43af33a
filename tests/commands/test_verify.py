"""`verify`: what is checked, that nothing is changed, and repairs."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from hubcli.archive import FileRecord
from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.commands.inspect import inspect
from hubcli.commands.verify import Verification, VerifyOptions, verify
from hubcli.config.settings import Settings
from hubcli.errors import BrokenModelError, HandleError, NotFoundError, OfflineError
from hubcli.fetching.model_ref import cached_model_refs
from hubcli.progress import ProgressListener
from hubcli.savedmodel.checks.integrity import Integrity, ModelCheck
from hubcli.savedmodel.checks.shard_chunks import OnBytes
from tests import models
from tests.entries import SHARD, live_process, lock, snapshot, tensorflow_hub_entry
from tests.formats.tables import delimited
from tests.server import HubServer

HANDLE = "https://tfhub.dev/maker/model/1"
OTHER = "https://tfhub.dev/maker/other/1"
REPAIR = VerifyOptions(repair=True)


class Notes(ProgressListener):
    """Keeps what is said, and how many bytes were checked."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.announced: int | None = None
        self.checked_bytes = 0

    def started(self, handle: str, source: str, size_bytes: int | None) -> None:
        self.announced, self.checked_bytes = size_bytes, 0

    def received(self, size_bytes: int) -> None:
        self.checked_bytes += size_bytes

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "model.tar.gz"
    path.write_bytes(models.archive())
    return path


@pytest.fixture
def cached(settings: Settings, archive: Path) -> Path:
    """The directory of a model that is cached whole."""
    return fetch(HANDLE, settings, FetchOptions(local=str(archive))).path


def damage(model: Path) -> None:
    content = bytearray((model / SHARD).read_bytes())
    content[0] ^= 1
    (model / SHARD).write_bytes(content)


def codes(found: Verification) -> list[str]:
    return [fault.code for fault in found.faults]


# Targets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", [HANDLE, "http://tfhub.dev/maker/model/1/", "the key"])
def test_a_cached_model_is_found_by_its_handle_or_key(
    spelling: str, cached: Path, settings: Settings
) -> None:
    spelling = cached.name if spelling == "the key" else spelling
    found = verify(spelling, settings)
    assert (found.name, found.handle, found.path) == (HANDLE, HANDLE, cached)
    assert found.is_whole
    assert (found.file_count, found.tensor_count) == (4, 3)
    assert found.size_bytes == sum(len(content) for content in models.example_files().values())


def test_the_path_that_fetch_prints_is_checked_against_the_record(cached: Path, settings: Settings) -> None:
    (cached / "fingerprint.pb").write_bytes(b"")
    found = verify(str(cached), settings)
    assert (found.name, found.handle, codes(found)) == (str(cached), HANDLE, ["size"])


def test_a_directory_answers_for_itself(tmp_path: Path, settings: Settings) -> None:
    model = models.write_tree(tmp_path / "model", models.example_files())
    assert verify(str(model), settings).is_whole
    damage(model)
    found = verify(str(model), settings)
    assert (found.handle, codes(found)) == (None, ["tensor"])


def test_an_archive_is_checked_and_leaves_nothing_behind(
    archive: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(room))
    found = verify(str(archive), settings)
    assert (found.is_whole, found.tensor_count, found.path) == (True, 3, archive)
    files = models.example_files()
    files[SHARD] = bytes(len(files[SHARD]))
    archive.write_bytes(models.pack(files, prefix="wrapped/"))
    assert set(codes(verify(str(archive), settings))) == {"tensor"}
    assert list(room.iterdir()) == []


def test_an_archive_that_is_cut_or_climbs_out_is_broken(archive: Path, settings: Settings) -> None:
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-5])
    assert codes(verify(str(archive), settings)) == ["truncated"]
    archive.write_bytes(models.pack({**models.example_files(), "../outside": b""}))
    assert codes(verify(str(archive), settings)) == ["unsafe-archive"]


def test_a_handle_that_is_not_cached_is_not_found_and_the_fetch_is_named(settings: Settings) -> None:
    with pytest.raises(NotFoundError) as caught:
        verify(HANDLE, settings)
    assert caught.value.hint == f"Run: hubcli fetch {HANDLE}"


def test_what_names_nothing_is_an_error(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(HandleError):
        verify("tfhub.dev/x", settings)
    with pytest.raises(NotFoundError):
        verify(str(tmp_path / "absent"), settings)


# Entries -----------------------------------------------------------------------------------------


def test_a_look_changes_nothing(cached: Path, settings: Settings) -> None:
    damage(cached)
    os.utime(cached.with_name(f"{cached.name}.hubcli.json"), (1_700_000_000, 1_700_000_000))
    before = snapshot(settings.cache_root)
    for target in (HANDLE, str(cached)):
        assert not verify(target, settings).is_whole
    assert snapshot(settings.cache_root) == before


def test_quick_leaves_out_the_hash_of_shards_alone(cached: Path, settings: Settings) -> None:
    damage(cached)
    (cached / "fingerprint.pb").write_bytes(bytes(len(models.example_files()["fingerprint.pb"])))
    assert codes(verify(HANDLE, settings)) == ["sha256", "sha256", "tensor"]
    assert codes(verify(HANDLE, settings, VerifyOptions(quick=True))) == ["sha256", "tensor"]


def test_an_entry_of_tensorflow_hub_answers_for_itself(settings: Settings) -> None:
    paths = tensorflow_hub_entry(settings.cache_root, HANDLE)
    shutil.rmtree(paths.model)
    models.write_tree(paths.model, models.example_files())
    assert verify(HANDLE, settings).is_whole
    damage(paths.model)
    assert codes(verify(HANDLE, settings)) == ["tensor"]


def test_what_is_announced_is_heard_of(cached: Path, settings: Settings) -> None:
    notes = Notes()
    found = verify(HANDLE, settings, listener=notes)
    assert notes.announced == notes.checked_bytes == found.size_bytes


def test_an_entry_that_is_replaced_meanwhile_is_checked_once_more(
    cached: Path, archive: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(cached)
    runs: list[int] = []

    class Replacing(ModelCheck):
        def run(self, on_bytes: OnBytes = lambda size: None) -> Integrity:
            if not runs:
                fetch(HANDLE, settings, FetchOptions(local=str(archive), force=True))
            runs.append(1)
            return super().run(on_bytes)

    monkeypatch.setattr("hubcli.commands.verify.ModelCheck", Replacing)
    assert verify(HANDLE, settings).is_whole
    assert len(runs) == 2


def test_an_entry_that_is_removed_meanwhile_is_not_found(
    cached: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Removing(ModelCheck):
        def __init__(self, model: Path, records: tuple[FileRecord, ...], **options: bool) -> None:
            shutil.rmtree(model, ignore_errors=True)
            super().__init__(model, records, **options)

    monkeypatch.setattr("hubcli.commands.verify.ModelCheck", Removing)
    with pytest.raises(NotFoundError, match="removed"):
        verify(HANDLE, settings)


# The whole cache ---------------------------------------------------------------------------------


def test_the_whole_cache_is_every_model_but_what_is_foreign(
    cached: Path, archive: Path, settings: Settings
) -> None:
    root = settings.cache_root
    fetch(OTHER, settings, FetchOptions(local=str(archive)))
    models.write_tree(root / ("1" * 40), models.example_files())
    (root / "notes.txt").write_text("mine")
    (cached / "saved_model.pb").unlink()
    found = [verify(target, settings) for target in cached_model_refs(settings).targets]
    assert [(verification.name, verification.handle, verification.is_whole) for verification in found] == [
        ("1" * 40, None, True),
        (HANDLE, HANDLE, False),
        (OTHER, OTHER, True),
    ]


def test_what_is_being_downloaded_is_left_out_and_told(cached: Path, settings: Settings) -> None:
    (cached / "saved_model.pb").unlink()
    with live_process() as pid:
        lock(settings.cache_root, HANDLE, pid)
        found = cached_model_refs(settings)
    assert (found.targets, found.downloading) == ((), (HANDLE,))


def test_no_cache_is_an_empty_one(settings: Settings) -> None:
    assert cached_model_refs(settings).targets == ()
    assert not settings.cache_root.exists()


# Repairs -----------------------------------------------------------------------------------------


def test_a_repair_fetches_what_is_broken_and_tells_what_it_was(server: HubServer, settings: Settings) -> None:
    url = server.serve("/m/1", models.archive())
    model = fetch(url, settings).path
    damage(model)
    found = verify(url, settings, REPAIR)
    assert (found.is_whole, found.was_repaired, codes(found)) == (True, True, ["sha256", "tensor"])
    assert models.tree_files(model) == models.example_files()
    assert verify(url, settings).is_whole


def test_a_repair_leaves_alone_what_is_whole(server: HubServer, settings: Settings) -> None:
    url = server.serve("/m/1", models.archive())
    fetch(url, settings)
    assert not verify(url, settings, REPAIR).was_repaired
    assert len(server.requests) == 1


def test_a_repair_that_fails_tells_why_and_keeps_what_is_there(server: HubServer, settings: Settings) -> None:
    url = server.serve("/m/1", models.archive())
    model = fetch(url, settings).path
    damage(model)
    before = models.tree_files(model)
    del server.replies["/m/1"]
    found = verify(url, settings, REPAIR)
    assert isinstance(found.error, NotFoundError)
    assert (found.is_whole, codes(found)) == (False, ["sha256", "tensor"])
    assert models.tree_files(model) == before


def test_a_repair_that_would_bring_a_broken_model_is_none(server: HubServer, settings: Settings) -> None:
    files = models.example_files()
    url = server.serve("/m/1", models.pack(files))
    damage(fetch(url, settings).path)
    server.serve("/m/1", models.pack({**files, SHARD: bytes(len(files[SHARD]))}))
    found = verify(url, settings, REPAIR)
    assert (found.is_whole, found.was_repaired) == (False, False)
    assert isinstance(found.error, BrokenModelError)


def test_offline_forbids_a_repair_from_the_network(cached: Path, cache: Path) -> None:
    damage(cached)
    found = verify(HANDLE, Settings.read({}, cache_dir=cache, offline=True), REPAIR)
    assert isinstance(found.error, OfflineError)
    assert "corrupt" in found.error.message


def test_offline_allows_a_repair_from_this_package(cache: Path) -> None:
    offline = Settings.read({}, cache_dir=cache, offline=True)
    damage(fetch("example://mul/1", offline).path)
    assert verify("example://mul/1", offline, REPAIR).was_repaired


def test_what_came_from_nowhere_known_is_said_to_be_beyond_repair(tmp_path: Path, settings: Settings) -> None:
    model = models.write_tree(tmp_path / "model", models.example_files())
    damage(model)
    notes = Notes()
    found = verify(str(model), settings, REPAIR, notes)
    assert (found.is_whole, found.error) == (False, None)
    assert "cannot be repaired" in notes.notes[0]


def test_the_record_of_a_fetch_holds_what_a_check_compares(cached: Path, settings: Settings) -> None:
    (cached / "fingerprint.pb").write_bytes(b"other")
    fault = verify(HANDLE, settings).faults[0]
    expected = models.example_files()["fingerprint.pb"]
    assert fault.message == f"has 5 bytes instead of {len(expected)}"
    assert hashlib.sha256(expected).hexdigest() in cached.with_name(f"{cached.name}.hubcli.json").read_text()


def test_a_graph_that_inspect_refuses_is_corrupt_unless_the_check_is_quick(
    tmp_path: Path, settings: Settings
) -> None:
    model = models.write_tree(tmp_path / "model", models.example_files())
    with (model / "saved_model.pb").open("ab") as file:
        file.write(delimited(2, delimited(2, delimited(1, b"\xff"))))
    with pytest.raises(BrokenModelError, match="cannot be read as a SavedModel"):
        inspect(str(model), settings)
    (fault,) = verify(str(model), settings).faults
    assert (fault.code, fault.file) == ("model", "saved_model.pb")
    assert verify(str(model), settings, VerifyOptions(quick=True)).is_whole
