"""Many models of a tier are listed, counted and collected page by page, in the memory that some take."""

from __future__ import annotations

import gc
import hashlib
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from hubcli.archive import FileRecord
from hubcli.commands.tier import TierPolicy, tier_gc, tier_ls, tier_stat
from hubcli.config.tiers import TierConfig
from hubcli.net.directory_store import DirectoryStore
from hubcli.net.object_store import ObjectInfo
from hubcli.tiers.layout import BLOBS, MARKER, MODELS, blob_key, current_key, manifest_key, marker_bytes
from hubcli.tiers.manifest import Current, TierManifest
from hubcli.tiers.tier import SharedTier
from tests.cases import each_of

_MODELS = 5_000
_NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
_LIMIT_BYTES = 6 << 20  # All rows of a listing would take more than twice that.


def _handle(number: int) -> str:
    return f"https://tfhub.dev/maker/model-{number}/1"


def _key(number: int) -> str:
    return hashlib.sha1(_handle(number).encode()).hexdigest()


class _Numbered(DirectoryStore):
    """A tier whose objects are made as they are asked for; the number of a model is in its archive's hash."""

    def __init__(self, root: Path, count: int) -> None:
        super().__init__(root)
        self.deleted = 0
        self.numbers = sorted(range(count), key=_key)

    def list_objects(self, prefix: str = "", start_after: str | None = None) -> Iterator[ObjectInfo]:
        if prefix == MODELS:
            for number in self.numbers:
                used = _NOW - timedelta(minutes=number)
                yield ObjectInfo(manifest_key(_key(number), f"{number:064x}"), 1000, used, f"{number}")
                yield ObjectInfo(current_key(_key(number)), 100, used)
        elif prefix == BLOBS:
            for number in range(len(self.numbers)):
                yield ObjectInfo(blob_key(f"{number:064x}"), 10, _NOW - timedelta(minutes=number))

    def head(self, key: str) -> ObjectInfo | None:
        number = int(key.rpartition("/")[2].removesuffix(".json"), 16)
        return ObjectInfo(key, 10, _NOW - timedelta(minutes=number), f"{number}")

    def read(self, key: str, limit_bytes: int) -> tuple[bytes, ObjectInfo] | None:
        if key == MARKER:
            return marker_bytes(), ObjectInfo(key, 1, _NOW)
        if key.endswith("current.json"):
            return Current("x", ("a" * 64,)).to_bytes(), ObjectInfo(key, 1, _NOW)
        number = int(key.rpartition("/")[2].removesuffix(".json"), 16)
        archive, files = (f"{number:064x}", 10, "tar"), (FileRecord("saved_model.pb", 1, "a" * 64),)
        manifest = TierManifest.of(_handle(number), archive, files, source="", etag=None, now_s=0.0)
        return manifest.to_bytes(), ObjectInfo(key, 1, _NOW)

    def delete(self, key: str) -> bool:
        self.deleted += 1
        return True

    def create(self, key: str, data: bytes) -> bool:
        return True

    def now(self) -> datetime:
        return _NOW

    def sweep(self) -> None:
        pass


def _peak_bytes(folder: Path, count: int, run: Callable[[SharedTier], object]) -> int:
    store = _Numbered(folder, count)
    tier = SharedTier(store, TierConfig.parse(f"{folder}?mode=read-write"))
    gc.set_threshold(700, 10, 10)  # Python's own: garbage of cycles isn't counted for long.
    tracemalloc.start()
    try:
        run(tier)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _collect(tier: SharedTier) -> None:
    store = tier.store
    assert isinstance(store, _Numbered)
    count, before = len(store.numbers), store.deleted
    result = tier_gc(tier, TierPolicy(max_count=count // 2, max_size_bytes=4 * count, grace_s=0.0))
    assert result.plan.model_count == count * 6 // 10
    assert store.deleted - before >= 2 * result.plan.model_count


def _list(tier: SharedTier) -> None:
    assert isinstance(tier.store, _Numbered)
    assert sum(1 for _ in tier_ls(tier)) == len(tier.store.numbers)


@pytest.mark.slow
@each_of("run", [tier_stat, _collect, _list])
def test_many_models_take_bounded_memory(run: Callable[[SharedTier], object], tmp_path: Path) -> None:
    assert _peak_bytes(tmp_path, _MODELS, run) < _LIMIT_BYTES
