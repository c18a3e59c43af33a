"""What a tier holds is read in bounded memory."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

from hubcli.archive import FileRecord
from hubcli.config.tiers import TierConfig
from hubcli.errors import IntegrityError
from hubcli.net.directory_store import DirectoryStore
from hubcli.net.object_store import ObjectInfo
from hubcli.providers.handle import key_of
from hubcli.tiers.catalog import entries_of
from hubcli.tiers.layout import MARKER, manifest_key, marker_bytes
from hubcli.tiers.manifest import TierManifest
from hubcli.tiers.tier import SharedTier

_HANDLE = "https://tfhub.dev/maker/model/1"


class _Large(DirectoryStore):
    """A tier whose manifests are large and invalid."""

    size_bytes = 4 << 20

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reading = self.most_reading = 0
        self._counting = threading.Lock()

    def list_objects(self, prefix: str = "", start_after: str | None = None) -> Iterator[ObjectInfo]:
        for number in range(16):
            yield self._info(manifest_key(f"{number:040x}", f"{number:064x}"))

    def read(self, key: str, limit_bytes: int) -> tuple[bytes, ObjectInfo] | None:
        if key == MARKER:
            return marker_bytes(), self._info(key)
        if limit_bytes < self.size_bytes:
            raise IntegrityError("too large")
        with self._counting:
            self.reading += 1
            self.most_reading = max(self.most_reading, self.reading)
        content = b'{"schema": "' + b"x" * (self.size_bytes - 14) + b'"}'
        with self._counting:
            self.reading -= 1
        return content, self._info(key)

    def _info(self, key: str) -> ObjectInfo:
        return ObjectInfo(key, self.size_bytes, datetime.now(timezone.utc))


def test_large_manifests_are_in_memory_one_at_a_time(tmp_path: Path) -> None:
    store = _Large(tmp_path)
    tier = SharedTier(store, TierConfig.parse(str(tmp_path)))
    tracemalloc.start()
    try:
        problems = [entry.problem or "" for entry in entries_of(tier)]
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(problems) == 16
    assert all("Invalid manifest" in problem for problem in problems)
    assert store.most_reading == 1
    assert peak_bytes < 5 * store.size_bytes  # As bytes, as text, and as the value in it.


class _Crowded(_Large):
    """A tier with a thousand archives of one handle, each with other files."""

    def list_objects(self, prefix: str = "", start_after: str | None = None) -> Iterator[ObjectInfo]:
        for number in range(1000):
            yield self._info(manifest_key(key_of(_HANDLE), f"{number:064x}"))

    def read(self, key: str, limit_bytes: int) -> tuple[bytes, ObjectInfo] | None:
        if key == MARKER:
            return marker_bytes(), self._info(key)
        number = key.rpartition("/")[2].removesuffix(".json")
        files = (FileRecord("saved_model.pb", 1, number),)
        manifest = TierManifest.of(_HANDLE, (number, 1, "tar"), files, source="", etag=None, now_s=0.0)
        return manifest.to_bytes(), self._info(key)


def test_a_handle_with_a_thousand_archives_is_listed_without_waiting_for_the_last(tmp_path: Path) -> None:
    entries = entries_of(SharedTier(_Crowded(tmp_path), TierConfig.parse(str(tmp_path))))
    with closing(entries):
        assert next(entries).is_conflict
    entries = entries_of(SharedTier(_Crowded(tmp_path), TierConfig.parse(str(tmp_path))))
    assert [entry.is_conflict for entry in entries] == [True] * 1000
