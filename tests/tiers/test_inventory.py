"""The inventory of a tier: sizes that no disk has, objects that come twice, and a disk that is full."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from hubcli.durability import UNSYNCED
from hubcli.errors import DiskFullError
from hubcli.net.directory_store import DirectoryStore
from hubcli.net.object_store import ObjectInfo
from hubcli.tiers import inventory as module
from hubcli.tiers.inventory import Inventory
from hubcli.tiers.layout import blob_key, manifest_key

_NOW = datetime(2026, 11, 30, tzinfo=timezone.utc)


class Listed(DirectoryStore):
    """A store that lists what a test gives it, in any order."""

    def __init__(self, folder: Path, found: list[tuple[str, int]]) -> None:
        super().__init__(folder, UNSYNCED)
        self.found = found

    def list_objects(self, prefix: str = "", start_after: str | None = None) -> Iterator[ObjectInfo]:
        return (ObjectInfo(key, size, _NOW) for key, size in self.found if key.startswith(prefix))


def test_sizes_beyond_any_disk_are_counted(tmp_path: Path) -> None:
    keys = [blob_key(f"{number:064x}") for number in range(3)]
    claimed = Listed(tmp_path, [(key, (1 << 64) - 1) for key in keys])
    with Inventory(claimed) as inventory:
        assert inventory.stat().blob_bytes > 1 << 64
        assert inventory.sum_of_orphans()[0] == inventory.stat().orphans == 3
        assert inventory.sum_of_planned() == (0, 0)


def test_sparse_archives_of_exabytes_are_counted(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path, UNSYNCED)
    for number in range(3):
        key = blob_key(f"{number:064x}")
        store.put(key, b"")
        try:
            os.truncate(tmp_path / key, 1 << 62)
        except OSError:
            pytest.skip("the file system has no files of this size")
    with Inventory(store) as inventory:
        assert inventory.stat().blob_bytes == 3 << 62


def test_an_object_that_is_listed_twice_counts_once(tmp_path: Path) -> None:
    sha256, model = "a" * 64, "b" * 40
    keys = [blob_key(sha256), manifest_key(model, sha256), f"models/{model}/current.json"]
    keys += [f"orphans/{sha256}", f"leases/{model}.json"]
    with Inventory(Listed(tmp_path, [(key, 1) for key in 2 * keys])) as inventory:
        stat = inventory.stat()
    assert (stat.models, stat.manifests, stat.blobs, stat.leases, stat.missing) == (1, 1, 1, 1, 0)


def test_a_full_disk_of_temporary_files_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SCHEMA", f"PRAGMA max_page_count = 16;{module._SCHEMA}")
    many = Listed(tmp_path, [(blob_key(f"{number:064x}"), 1) for number in range(5000)])
    with pytest.raises(DiskFullError, match="database or disk is full") as filled:
        Inventory(many)
    assert "SQLITE_TMPDIR" in filled.value.hint

    def copy_often(few: Listed) -> None:
        with Inventory(few) as inventory:
            for _ in range(100):
                list(inventory.copied("SELECT * FROM blobs"))

    with pytest.raises(DiskFullError, match="database or disk is full"):
        copy_often(Listed(tmp_path, many.found[:10]))
