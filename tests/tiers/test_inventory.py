"""The inventory of a tier: sizes that no disk has, objects that come twice, a full disk, invalid listings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from hubcli.commands.tier import TierPolicy, tier_gc, tier_stat
from hubcli.config.settings import Settings
from hubcli.config.tiers import TierConfig
from hubcli.durability import UNSYNCED
from hubcli.errors import DiskFullError, NetworkError
from hubcli.net.directory_store import DirectoryStore
from hubcli.net.object_store import ObjectInfo
from hubcli.tiers import inventory as module
from hubcli.tiers.inventory import Inventory
from hubcli.tiers.layout import blob_key, manifest_key
from hubcli.tiers.tier import open_tier
from tests.bucket_proxy import BucketProxy, Fault
from tests.bucket_servers import BucketServer
from tests.cases import each_of

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


@each_of("folder", ["models", "blobs"])
def test_a_page_in_place_of_a_listing_collects_nothing(
    folder: str, s3_server: BucketServer, s3_proxy: BucketProxy
) -> None:
    address = f"{s3_server.new_bucket()}/hub"
    variables = {**s3_server.through(s3_proxy.url).variables, "HUBCLI_CACHE_DIR": "/nowhere"}
    tier = open_tier(TierConfig.parse(f"{address}?mode=read-write"), Settings.read(variables))
    tier.require_writable()
    for key in (blob_key("a" * 64), manifest_key("b" * 40, "a" * 64)):
        tier.store.put(key, b"1")
    everything = TierPolicy(older_than_s=0.0, grace_s=0.0)

    s3_proxy.faults[:] = [Fault("page", f"^GET .*prefix=hub(/|%2F){folder}")]
    with pytest.raises(NetworkError, match=f"^The listing of {address} lacks objects that are there"):
        tier_gc(tier, everything)
    with pytest.raises(NetworkError, match=f"^The listing of {address} lacks objects that are there"):
        tier_gc(tier, everything, dry_run=True)
    s3_proxy.faults.clear()
    assert tier_stat(tier).manifests == tier_stat(tier).blobs == 1
    assert tier_gc(tier, everything, dry_run=True).plan.model_count == 1
    assert tier_gc(tier, everything).plan.model_count == 1
    assert tier_stat(tier).manifests == tier_stat(tier).blobs == 0
