"""Publishing into a tree that a web server shows: atomic, immutable, found by its index."""

from __future__ import annotations

import errno
import json
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from hubcli.archive.tree import Tree
from hubcli.commands.fetch import fetch
from hubcli.commands.publish import (
    KaggleRequest,
    PublishOptions,
    PublishPlan,
    PublishResult,
    PublishStatus,
    publish,
)
from hubcli.config.settings import Settings
from hubcli.errors import DiskFullError, HandleError, OutputError, TruncatedError, UsageError
from hubcli.net.byte_source import ByteSource
from hubcli.net.object_store import ObjectInfo, ObjectStore
from hubcli.progress import ProgressListener
from hubcli.publishing import hub_tree
from hubcli.publishing.hub_tree import HubPlace, parse_target
from hubcli.publishing.kaggle_creation import VersionExistsError
from hubcli.publishing.upload_files import read_files
from tests import models
from tests.cases import each_of
from tests.disks import mounted
from tests.publishing.publisher import Listener
from tests.server import HubServer

NAME = "pub/mul"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return models.write_tree(tmp_path / "model", models.example_files())


@pytest.fixture
def www(tmp_path: Path) -> Path:
    return tmp_path / "www"


def put(model: Path, target: object, settings: Settings, **more: Any) -> PublishResult:
    options = PublishOptions(KaggleRequest(license_name="MIT", title="Multiplies"), **more)
    return publish(str(model), str(target), settings, options)


def index_of(www: Path) -> list[tuple[str, str, str]]:
    document = json.loads((www / "index.json").read_bytes())
    return [(entry["name"], entry["version"], entry["license"]) for entry in document["models"]]


def test_a_version_is_an_archive_with_an_entry_in_the_index(
    model: Path, www: Path, settings: Settings, server: HubServer
) -> None:
    result = put(model, www / NAME / "1", settings)
    assert (result.status, result.version) == (PublishStatus.PUBLISHED, "1")
    assert index_of(www) == [(NAME, "1", "MIT")]
    assert (www / NAME / "index.html").resolve() == (www / NAME / "1").resolve()
    url = server.serve(f"/{NAME}/1", (www / NAME / "1").read_bytes())
    assert models.tree_files(fetch(url, settings).path) == models.tree_files(model)
    assert sorted(path.name for path in (www / NAME).iterdir()) == ["1", "index.html"]


@each_of("content", [b"", b"\x1f\x8bno archive", b"<html>"])
def test_what_is_no_archive_is_never_replaced_and_named(
    content: bytes, model: Path, www: Path, settings: Settings
) -> None:
    models.write_tree(www / NAME, {"1": content})
    with pytest.raises(VersionExistsError, match=rf"{NAME}/1 exists, and is not a valid archive"):
        put(model, www / NAME / "1", settings)
    assert (www / NAME / "1").read_bytes() == content


def test_without_hard_links_readers_see_no_empty_archive(
    model: Path, www: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*arguments: object) -> None:
        raise PermissionError(errno.EPERM, "no hard links")

    monkeypatch.setattr(os, "link", link)
    rename, place = Path.rename, www / NAME / "1"

    def rename_checked(self: Path, target: Path) -> Path:
        assert target != place or not place.exists()
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", rename_checked)
    put(model, place, settings)
    before = place.read_bytes()
    with pytest.raises(FileExistsError):
        hub_tree._take_name(models.write_tree(www, {"staged": b"other"}) / "staged", place)
    assert place.read_bytes() == before


def test_a_file_address_is_a_place_and_another_machine_is_none(www: Path) -> None:
    for host in ("", "localhost"):
        assert parse_target(f"file://{host}{www}/a%62c/mul/1", None) == HubPlace(str(www), "abc/mul", "1")
    with pytest.raises(HandleError, match="another host"):
        parse_target("file://other/www/abc/mul/1", None)


def test_the_same_files_are_there_already_and_others_are_refused(
    model: Path, www: Path, settings: Settings
) -> None:
    put(model, www / NAME / "1", settings)
    before = (www / NAME / "1").stat()
    assert put(model, www / NAME / "1", settings).status is PublishStatus.ALREADY_PUBLISHED
    models.write_tree(model, {"assets/words.txt": b"one\n"})
    with pytest.raises(VersionExistsError, match="added|missing: assets/words.txt") as caught:
        put(model, www / NAME / "1", settings)
    assert caught.value.exit_status == 11
    assert (www / NAME / "1").stat() == before
    put(model, www / NAME / "2", settings)
    assert [version for _, version, _ in index_of(www)] == ["1", "2"]


def test_a_dry_run_and_a_refused_model_write_nothing(model: Path, www: Path, settings: Settings) -> None:
    assert put(model, www / NAME / "1", settings, dry_run=True).status is PublishStatus.PLANNED
    models.write_tree(model, {".env": b"x"})
    assert put(model, www / NAME / "1", settings).status is PublishStatus.REFUSED
    assert not www.exists()


def test_what_is_not_an_archive_stays(model: Path, www: Path, settings: Settings) -> None:
    (www / NAME / "1").mkdir(parents=True)
    with pytest.raises(OutputError, match="is not an archive"):
        put(model, www / NAME / "1", settings)


@each_of("place", ["publisher", "model"])
def test_a_directory_behind_a_link_is_listed_in_the_index_of_its_own_tree(
    place: str, model: Path, www: Path, tmp_path: Path, settings: Settings
) -> None:
    other, root = tmp_path / "other" / "disk" / place, www / place
    other.mkdir(parents=True)
    link = root / NAME if place == "model" else (root / NAME).parent
    link.parent.mkdir(parents=True)
    link.symlink_to(other)
    put(model, root / NAME / "1", settings)
    assert index_of(root) == [(NAME, "1", "MIT")]
    assert not list((tmp_path / "other").rglob("index.json"))
    assert put(model, root / NAME / "1", settings).status is PublishStatus.ALREADY_PUBLISHED


def test_a_version_that_is_a_link_to_nothing_is_not_written_through(
    model: Path, www: Path, tmp_path: Path, settings: Settings
) -> None:
    (www / NAME).mkdir(parents=True)
    (www / NAME / "1").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="is not an archive"):
        put(model, www / NAME / "1", settings)
    assert not (tmp_path / "elsewhere").exists()
    assert [path.name for path in www.iterdir()] == [NAME.partition("/")[0]]


CHANGES = {
    "other bytes of the same size": {"variables/variables.index": b"x" * 245},
    "a secret": {".env": b"TOKEN=1"},
}


@each_of("name", list(CHANGES))
def test_what_changed_since_it_was_checked_is_not_published(
    name: str, model: Path, www: Path, settings: Settings
) -> None:
    def change(plan: PublishPlan) -> bool:
        models.write_tree(model, CHANGES[name])
        return True

    models.write_tree(model, models.example_files())
    with pytest.raises(TruncatedError, match="changed during the upload"):
        publish(str(model), str(www / NAME / "1"), settings, confirm=change)
    assert [path for path in www.rglob("*") if path.is_file()] == []


@each_of("option", ["license_name", "title", "notes"])
def test_bytes_that_are_not_text_are_refused_before_anything_is_written(option: str) -> None:
    changes: dict[str, Any] = {option: "caf\udce9"}
    with pytest.raises(UsageError, match="not text in UTF-8"):
        replace(KaggleRequest(), **changes)


def test_of_two_publishers_at_once_one_wins(
    model: Path, www: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = models.write_tree(tmp_path / "other", {**models.example_files(), "assets/b.txt": b"b"})
    meeting = threading.Barrier(2)
    take = hub_tree._take_name

    def at_once(staged: Path, place: Path) -> None:
        meeting.wait(60)
        take(staged, place)

    monkeypatch.setattr(hub_tree, "_take_name", at_once)
    outcomes: list[object] = []

    def run(source: Path) -> None:
        try:
            outcomes.append(put(source, www / NAME / "1", settings).status)
        except VersionExistsError as error:
            outcomes.append(type(error))

    threads = [threading.Thread(target=run, args=(source,)) for source in (model, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes)) == sorted(map(str, [PublishStatus.PUBLISHED, VersionExistsError]))
    assert len(index_of(www)) == 1


def test_a_file_system_without_hard_links_is_written_too(
    model: Path, www: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*names: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    put(model, www / NAME / "1", settings)
    assert put(model, www / NAME / "1", settings).status is PublishStatus.ALREADY_PUBLISHED


def test_a_run_that_was_cut_before_the_index_is_completed(model: Path, www: Path, settings: Settings) -> None:
    put(model, www / NAME / "1", settings)
    index = (www / "index.json").read_bytes()
    (www / "index.json").unlink()
    (www / NAME / "index.html").unlink()
    assert put(model, www / NAME / "1", settings).status is PublishStatus.ALREADY_PUBLISHED
    assert index_of(www) == [(NAME, "1", "MIT")]
    assert (www / NAME / "index.html").exists()
    before = (www / "index.json").stat()
    put(model, www / NAME / "1", settings)
    assert (www / "index.json").stat() == before
    assert len((www / "index.json").read_bytes()) == len(index)


def test_neither_the_cache_nor_the_model_itself_is_written_to(model: Path, settings: Settings) -> None:
    for folder in (settings.cache_root, model):
        with pytest.raises(OutputError, match="is inside the"):
            put(model, folder / NAME / "1", settings)
    assert models.tree_files(model) == models.example_files()


# Buckets ------------------------------------------------------------------------------------------


@dataclass
class MemoryStore(ObjectStore):
    """Objects in memory, with faults: `fails_at` is the write, from 1, that fails before it is done."""

    objects: dict[str, bytes] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    fails_at: int = 0
    address: str = "s3://bucket"

    def _write(self, key: str, data: bytes) -> None:
        self.writes.append(key)
        if len(self.writes) == self.fails_at:
            raise ConnectionError
        self.objects[key] = data

    def _info(self, key: str) -> ObjectInfo:
        data = self.objects[key]
        return ObjectInfo(key, len(data), self.now(), etag=str(hash(data)))

    def head(self, key: str) -> ObjectInfo | None:
        return self._info(key) if key in self.objects else None

    def read(self, key: str, limit_bytes: int) -> tuple[bytes, ObjectInfo] | None:
        return (self.objects[key], self._info(key)) if key in self.objects else None

    def open(self, key: str, spool: Path | None = None) -> Any:
        data = self.objects[key]

        class Source(ByteSource):
            name, size_bytes = key, len(data)

            def read(self) -> Iterator[bytes]:
                yield data

        return nullcontext(Source())

    def list_objects(self, prefix: str = "", start_after: str | None = None) -> Iterator[ObjectInfo]:
        return (self._info(key) for key in sorted(self.objects) if key.startswith(prefix))

    def create(self, key: str, data: bytes) -> bool:
        if key in self.objects:
            return False
        self._write(key, data)
        return True

    def replace(self, key: str, data: bytes, expected: ObjectInfo) -> bool:
        if key not in self.objects or self._info(key).etag != expected.etag:
            return False
        self._write(key, data)
        return True

    def put(self, key: str, data: bytes) -> None:
        self._write(key, data)

    def upload(self, key: str, path: Path, on_sent: Any = lambda size: None) -> ObjectInfo:
        self._write(key, path.read_bytes())
        return self._info(key)

    def delete(self, key: str) -> bool:
        return self.objects.pop(key, None) is not None

    def now(self) -> datetime:
        return datetime.now(timezone.utc)


def upload(store: MemoryStore, model: Path, settings: Settings, version: str = "1") -> hub_tree.TreeUpload:
    tree: Tree = read_files(model)
    place = HubPlace("s3://bucket", NAME, version)
    return hub_tree._StoreUpload(place, tree, settings, ProgressListener(), store)


def test_a_bucket_gets_the_claim_then_the_archive_then_the_index(model: Path, settings: Settings) -> None:
    store = MemoryStore()
    packed = upload(store, model, settings).publish()
    assert store.writes == [f"{NAME}/.1.hubcli.json", f"{NAME}/1", "index.json"]
    entry = json.loads(store.objects["index.json"])["models"][0]
    assert (entry["name"], entry["sha256"]) == (NAME, packed.sha256)
    assert upload(store, model, settings).existing()


def test_a_publication_in_a_bucket_that_was_cut_anywhere_is_completed(
    model: Path, settings: Settings
) -> None:
    whole = MemoryStore()
    upload(whole, model, settings).publish()
    for cut in (1, 2, 3):
        store = MemoryStore(fails_at=cut)
        with pytest.raises(ConnectionError):
            upload(store, model, settings).publish()
        upload(store, model, settings).publish()
        assert store.objects.keys() == whole.objects.keys()
        assert store.objects[f"{NAME}/1"] == whole.objects[f"{NAME}/1"]


def test_other_bytes_do_not_come_under_a_version_that_is_claimed_or_there(
    model: Path, settings: Settings
) -> None:
    store = MemoryStore(fails_at=2)
    with pytest.raises(ConnectionError):
        upload(store, model, settings).publish()
    models.write_tree(model, {"assets/words.txt": b"one\n"})
    with pytest.raises(VersionExistsError, match="is reserved for other files"):
        upload(store, model, settings).publish()
    assert f"{NAME}/1" not in store.objects
    upload(store, model, settings, "2").publish()
    models.write_tree(model, {"assets/words.txt": b"two\n"})
    with pytest.raises(VersionExistsError, match="exists with other files"):
        upload(store, model, settings, "2").existing()


@each_of("content", [b"<html>", b'{"schema": 2, "models": []}', b"[" * 100_000])
def test_somebody_elses_index_in_a_bucket_is_kept_and_a_note_says_so(
    content: bytes, model: Path, settings: Settings
) -> None:
    store = MemoryStore({"index.json": content})
    publication = upload(store, model, settings)
    publication.listener = listener = Listener()
    publication.publish()
    assert (store.objects["index.json"], f"{NAME}/1" in store.objects) == (content, True)
    assert f"it was kept, and hubcli search --host will not find {NAME}/1" in listener.notes[0]


def test_no_version_in_a_bucket_is_claimed_for_files_that_changed_since_they_were_checked(
    model: Path, settings: Settings
) -> None:
    store = MemoryStore()
    pending = upload(store, model, settings)
    models.write_tree(model, {"assets/more.txt": b"more"})
    with pytest.raises(TruncatedError, match="changed during the upload"):
        pending.publish()
    assert store.objects == {}


def test_without_space_for_the_archive_nothing_is_claimed_and_the_disk_is_named(
    model: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.write_tree(model, {"assets/large.bin": bytes(2 << 20)})
    there, store = MemoryStore(), MemoryStore()
    upload(there, model, settings).publish()
    with mounted(tmp_path / "small", "size=1m") as small:
        monkeypatch.setattr(tempfile, "tempdir", str(small))
        with pytest.raises(DiskFullError, match=f"the archive of s3://bucket/{NAME}/1 ") as packing:
            upload(store, model, settings).publish()
        with pytest.raises(DiskFullError, match="Not enough disk space for s3://bucket"):
            upload(there, model, settings).existing()
        assert list(small.iterdir()) == []
        monkeypatch.setattr(tempfile, "tempdir", str(small / "missing"))
        with pytest.raises(OutputError, match="in a temporary directory: No such file"):
            upload(store, model, settings).publish()
    assert "TMPDIR=DIR" in packing.value.hint
    assert store.objects == {}
