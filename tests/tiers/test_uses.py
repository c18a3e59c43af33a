"""A use of a model is recorded once a day by the clock of the store; a machine's own may be days off."""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta

import pytest

from hubcli.config.tiers import TierConfig
from hubcli.durability import UNSYNCED
from hubcli.net.directory_store import DirectoryStore
from hubcli.providers.handle import key_of
from hubcli.tiers.layout import ManifestKey, manifest_key
from hubcli.tiers.tier import SharedTier
from tests.tiers.fleet import HANDLE, Fleet


class _Store(DirectoryStore):
    """A directory on a server whose clock is three days ahead of this machine's."""

    is_strict = False

    @property
    def refuses_other_clocks(self) -> bool:
        return self.is_strict

    def now(self) -> datetime:
        return super().now() + timedelta(days=3)


def _used_at(fleet: Fleet, store: DirectoryStore) -> tuple[float, float]:
    """The last use by the store's clock, before and after a new one; an hour ago by this machine's."""
    key = ManifestKey(key_of(HANDLE), fleet.sha256)
    path, hour_ago = store.root / manifest_key(*key), time.time() - 3600
    os.utime(path, (hour_ago, hour_ago))
    tier = SharedTier(store, TierConfig.parse(f"{fleet.folder}?mode=read-write"))
    manifest = tier.manifest(key)
    assert manifest is not None
    tier.use(manifest)
    return hour_ago, path.stat().st_mtime


def test_a_machine_whose_clock_is_days_behind_records_its_use(fleet: Fleet) -> None:
    fleet.fetch()
    before, after = _used_at(fleet, _Store(fleet.folder, UNSYNCED))
    assert after > before + 1800


def test_a_service_that_refuses_such_machines_is_not_asked_for_its_clock(fleet: Fleet) -> None:
    fleet.fetch()
    store = _Store(fleet.folder, UNSYNCED)
    store.is_strict = True
    before, after = _used_at(fleet, store)
    assert after == pytest.approx(before)
