"""Collection in a tier: what goes, what stays, and that it is safe beside those who write and read."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hubcli.archive import FileRecord
from hubcli.commands.tier import (
    TierGcPlan,
    TierGcResult,
    TierPolicy,
    tier_gc,
    tier_ls,
    tier_stat,
    tier_verify,
)
from hubcli.config.tiers import TierConfig
from hubcli.durability import UNSYNCED
from hubcli.errors import NetworkError, NotFoundError, UnsupportedError
from hubcli.fetching.lock_file import LockedModel, LockFile
from hubcli.fetching.options import ExpectedDigests
from hubcli.net.directory_store import DirectoryStore
from hubcli.providers.handle import Handle, key_of
from hubcli.tiers.collect import collect
from hubcli.tiers.inventory import Inventory
from hubcli.tiers.layout import blob_key, current_key, manifest_key, orphan_key
from hubcli.tiers.manifest import TierManifest
from hubcli.tiers.tier import SharedTier
from tests.cases import each_of

_DAY_S = 86400.0
_FILES = (FileRecord("saved_model.pb", 1, "a" * 64),)


class Tier:
    """A tier with small archives, each for a handle of its own, used as many days ago as its number."""

    def __init__(self, folder: Path, count: int = 5) -> None:
        self.folder = folder / "tier"
        self.scratch = folder / "archive"
        self.count = count
        for number in range(count):
            self.put(number)
            self.age(number, number)

    @property
    def tier(self) -> SharedTier:
        return SharedTier(
            DirectoryStore(self.folder, UNSYNCED), TierConfig.parse(f"{self.folder}?mode=read-write")
        )

    @staticmethod
    def handle(number: int) -> Handle:
        return Handle.parse(f"https://tfhub.dev/maker/model-{number}/1")

    @staticmethod
    def manifest(number: int) -> TierManifest:
        content, name = b"x" * (number + 1), str(Tier.handle(number))
        archive = (f"{number:064x}", len(content), "tar")
        return TierManifest.of(name, archive, _FILES, source="", etag=None, now_s=0.0)

    def put(self, number: int) -> None:
        self.scratch.write_bytes(b"x" * (number + 1))
        self.tier.put_archive(self.handle(number), self.manifest(number), self.scratch)

    def path(self, number: int) -> Path:
        return self.folder / manifest_key(*self.manifest(number).key)

    def blob(self, number: int) -> Path:
        return self.folder / blob_key(f"{number:064x}")

    def mark(self, number: int) -> Path:
        return self.folder / orphan_key(f"{number:064x}")

    def age(self, number: int, days: float) -> None:
        moment = time.time() - days * _DAY_S - 60
        for path in (self.path(number), self.blob(number), self.mark(number)):
            if path.exists():
                os.utime(path, (moment, moment))

    def there(self) -> list[int]:
        return [number for number in range(self.count) if self.path(number).exists()]

    def blobs(self) -> list[int]:
        return [number for number in range(self.count) if self.blob(number).exists()]

    def gc(self, *, dry_run: bool = False, **policy: object) -> TierGcResult:
        return tier_gc(self.tier, TierPolicy(**policy), dry_run=dry_run)  # type: ignore[arg-type]


@pytest.fixture
def tier(tmp_path: Path) -> Tier:
    return Tier(tmp_path)


def test_without_limits_no_model_goes(tier: Tier) -> None:
    result = tier.gc()
    assert result.plan.model_count == 0
    assert tier.there() == tier.blobs() == [0, 1, 2, 3, 4]


def test_models_go_by_age_of_use(tier: Tier) -> None:
    result = tier.gc(older_than_s=2.5 * _DAY_S)
    assert result.collection is not None
    assert (result.collection.models, result.collection.marked) == (2, 2)
    assert tier.there() == [0, 1, 2]
    assert not (tier.folder / current_key(key_of(str(tier.handle(4))))).exists()


def test_the_least_recently_used_go_beyond_a_count(tier: Tier) -> None:
    tier.gc(max_count=3)
    assert tier.there() == [0, 1, 2]


def test_the_least_recently_used_go_beyond_a_size(tier: Tier) -> None:
    assert tier.gc(max_size_bytes=1 + 2 + 3).plan.budget_error is None
    assert tier.there() == [0, 1, 2]


def test_what_was_used_within_the_grace_period_stays_and_the_limit_is_told(tier: Tier) -> None:
    result = tier.gc(max_count=0, grace_s=2.5 * _DAY_S)
    assert tier.there() == [0, 1, 2]
    assert result.plan.budget_error is not None
    assert "The tier still has 3 models after all allowed removals, more than 0" in str(
        result.plan.budget_error
    )


def test_what_a_lock_file_names_stays(tier: Tier) -> None:
    by_archive = LockedModel(str(tier.handle(4)), None, ExpectedDigests(f"{4:064x}", "a" * 64), 5, 1, 1)
    by_tree = LockedModel(str(tier.handle(3)), None, ExpectedDigests(None, "a" * 64), None, 1, 1)
    lock = LockFile("x", {model.handle: model for model in (by_archive, by_tree)})
    tier.gc(older_than_s=0.5 * _DAY_S, keep=[lock])
    assert tier.there() == [0, 3, 4]


def test_an_archive_goes_by_the_run_that_finds_its_mark_old(tier: Tier) -> None:
    tier.gc(older_than_s=3.5 * _DAY_S)
    assert tier.blobs() == [0, 1, 2, 3, 4]
    assert tier.mark(4).exists()
    tier.gc()
    assert tier.blobs() == [0, 1, 2, 3, 4]
    tier.age(4, 2)
    result = tier.gc()
    assert result.collection is not None
    assert (result.collection.blobs, result.collection.freed_bytes) == (1, 5)
    assert tier.blobs() == [0, 1, 2, 3]
    assert not tier.mark(4).exists()


def test_without_a_grace_period_all_goes_at_once(tier: Tier) -> None:
    tier.gc(older_than_s=3.5 * _DAY_S, grace_s=0.0)
    assert tier.blobs() == tier.there() == [0, 1, 2, 3]


def test_an_archive_that_is_named_again_loses_its_mark(tier: Tier) -> None:
    tier.gc(older_than_s=3.5 * _DAY_S)
    tier.put(4)
    tier.age(4, 2)
    tier.gc()
    assert not tier.mark(4).exists()
    assert tier.there() == tier.blobs() == [0, 1, 2, 3, 4]


def test_a_put_uploads_an_old_archive_anew_that_a_collection_may_be_deleting(tier: Tier) -> None:
    tier.gc(older_than_s=3.5 * _DAY_S)
    tier.age(4, 4)
    inventory = Inventory(tier.tier.store)  # A collection has seen no manifest of it, and goes on below.
    tier.put(4)
    with inventory:
        collect(tier.tier, inventory, TierPolicy())
    assert tier.blob(4).read_bytes() == b"xxxxx"
    assert tier.there() == [0, 1, 2, 3, 4]


def test_all_archives_of_a_handle_go_at_once_and_its_other_ones_stay_named(tmp_path: Path) -> None:
    tier = Tier(tmp_path, 0)
    handle = tier.handle(0)
    manifests = [
        TierManifest.of(str(handle), (f"{number:064x}", 1, "tar"), _FILES, source="", etag=None, now_s=0.0)
        for number in range(20)
    ]
    tier.scratch.write_bytes(b"x")
    for number, manifest in enumerate(manifests):
        tier.tier.put_archive(handle, manifest, tier.scratch)
        moment = time.time() - (20 - number) * _DAY_S
        os.utime(tier.folder / manifest_key(*manifest.key), (moment, moment))

    tier.gc(max_count=1)
    current = tier.tier.current(handle.cache_key)
    assert current is not None
    assert current.archives == (f"{19:064x}",)
    tier.gc(max_count=0, grace_s=0.0)
    assert tier.tier.current(handle.cache_key) is None
    assert not list((tier.folder / "models").rglob("*.json"))


def test_a_model_that_is_used_after_the_listing_stays(tier: Tier) -> None:
    def use(plan: TierGcPlan) -> bool:
        os.utime(tier.path(4))
        return True

    result = tier_gc(tier.tier, TierPolicy(older_than_s=2.5 * _DAY_S, grace_s=0.0), confirm=use)
    assert result.collection is not None
    assert (result.collection.models, result.collection.skipped) == (1, 1)
    assert tier.there() == tier.blobs() == [0, 1, 2, 4]


def test_a_model_is_told_once_its_manifest_is_removed(tier: Tier, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(store: DirectoryStore, keys: Sequence[str]) -> None:
        raise NetworkError("it does not answer")

    titles: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(DirectoryStore, "delete_all", fail)
        with pytest.raises(NetworkError):
            tier_gc(tier.tier, TierPolicy(max_count=3), on_done=lambda model, title: titles.append(title))
    assert titles == []
    assert tier.there() == [0, 1, 2, 3, 4]
    tier_gc(tier.tier, TierPolicy(max_count=3), on_done=lambda model, title: titles.append(title))
    assert titles == [str(tier.handle(4)), str(tier.handle(3))]


def test_a_manifest_without_its_archive_goes(tier: Tier) -> None:
    tier.blob(2).unlink()
    tier.gc()
    assert tier.there() == [0, 1, 3, 4]


def test_a_dry_run_and_a_refusal_change_nothing(tier: Tier) -> None:
    before = sorted(path for path in tier.folder.rglob("*"))
    titles: list[str] = []

    def confirm(plan: TierGcPlan) -> bool:
        titles.extend(title for _, title in plan.models())
        return True

    tier_gc(tier.tier, TierPolicy(older_than_s=2.5 * _DAY_S), dry_run=True, confirm=confirm)
    assert titles == [str(tier.handle(4)), str(tier.handle(3))]
    tier_gc(tier.tier, TierPolicy(older_than_s=2.5 * _DAY_S), confirm=lambda plan: False)
    assert sorted(path for path in tier.folder.rglob("*")) == before


def test_old_leases_and_leftovers_of_killed_writers_go(tier: Tier) -> None:
    lease, leftover = tier.folder / "leases" / f"{'0' * 40}.json", tier.folder / f".{'0' * 32}.hubcli-tmp"
    for path in (lease, leftover):
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.utime(path, (0, 0))
    tier.gc()
    assert not lease.exists()
    assert not leftover.exists()


def test_what_is_no_tier_or_only_read_is_refused(tmp_path: Path, tier: Tier) -> None:
    nothing = SharedTier(DirectoryStore(tmp_path / "no"), TierConfig.parse(f"{tmp_path / 'no'}"))
    with pytest.raises(NotFoundError, match="is not a shared tier"):
        tier_gc(nothing, TierPolicy())
    read_only = SharedTier(DirectoryStore(tier.folder), TierConfig.parse(str(tier.folder)))
    with pytest.raises(UnsupportedError, match="is read-only"):
        tier_gc(read_only, TierPolicy())


def test_a_tier_is_counted_by_its_listings(tier: Tier) -> None:
    tier.path(0).unlink()
    tier.blob(1).unlink()
    stat = tier_stat(tier.tier)
    assert (stat.models, stat.blobs, stat.blob_bytes) == (4, 4, 1 + 3 + 4 + 5)
    assert (stat.orphans, stat.orphan_bytes, stat.missing) == (1, 1, 1)


def test_a_sound_tier_has_no_issues_but_those_of_its_archives(tmp_path: Path) -> None:
    tier = Tier(tmp_path, 3)
    tier.blob(1).unlink()
    tier.path(2).write_text("{}")
    (tier.folder / current_key(key_of(str(tier.handle(0))))).write_text("[]")
    codes = [(issue.code, issue.location.file) for issue in tier_verify(tier.tier)]
    # Archives of made-up hashes are corrupt.
    assert ("tier-archive", manifest_key(*tier.manifest(0).key)) in codes
    assert ("tier-archive", manifest_key(*tier.manifest(1).key)) in codes
    assert ("tier-manifest", manifest_key(*tier.manifest(2).key)) in codes
    assert ("tier-current", current_key(key_of(str(tier.handle(0))))) in codes
    assert len(codes) == 4


def test_models_are_listed_with_what_is_wrong(tier: Tier) -> None:
    tier.path(1).write_text("no json")
    entries = {entry.key: entry for entry in tier_ls(tier.tier)}
    assert len(entries) == 5
    assert entries[tier.manifest(1).key].problem is not None
    assert entries[tier.manifest(0).key].title == str(tier.handle(0))


@each_of(
    "key", [b"orphans/\xff", b"leases/\xff.json", b"models/\xff/current.json", b"leases/a b", b"orphans/x"]
)
def test_what_others_put_there_is_passed_over_and_stays(key: bytes, tmp_path: Path) -> None:
    tier = Tier(tmp_path, 1)
    path = tier.folder / os.fsdecode(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    os.utime(path, (0, 0))
    tier.gc(grace_s=0.0)
    assert tier_stat(tier.tier).leases == 0
    assert [issue.code for issue in tier_verify(tier.tier)] == ["tier-archive"]
    assert path.exists()


def test_models_are_listed_without_their_files_and_few_manifests_are_kept(
    tier: Tier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubcli.tiers.reading._MAX_SEEN_BYTES", 2 * len(tier.path(0).read_bytes()))
    shared = tier.tier
    entries = list(tier_ls(shared))
    assert [(entry.file_count, entry.size_bytes) for entry in entries] == [(1, 1)] * 5
    assert all(entry.manifest is not None and not entry.manifest.files for entry in entries)
    assert len(shared._seen) == 2


def test_a_conflict_is_listed_beside_a_manifest_that_cannot_be_read(tier: Tier) -> None:
    first = tier.manifest(0)
    for number, digit in enumerate("bc", 7):
        other = TierManifest.of(
            first.handle,
            (f"{number:064x}", 1, "tar"),
            (FileRecord("saved_model.pb", 1, digit * 64),),
            source="",
            etag=None,
            now_s=0.0,
        )
        (tier.folder / manifest_key(*other.key)).write_bytes(other.to_bytes())
    tier.path(0).write_bytes(b"{}")
    conflicts = [entry.is_conflict for entry in tier_ls(tier.tier) if entry.key.model == first.key.model]
    assert conflicts == [True] * 3


def test_an_archive_is_judged_by_the_claims_of_each_of_its_manifests(tmp_path: Path) -> None:
    tier = Tier(tmp_path, 0)
    archive = (hashlib.sha256(b"x").hexdigest(), 1, "tar")
    tier.scratch.write_bytes(b"x")
    lies = []
    for number, size_bytes in enumerate((1, 2, 1)):
        handle = tier.handle(number)
        manifest = TierManifest.of(str(handle), archive, _FILES, source="", etag=None, now_s=0.0)
        tier.tier.put_archive(handle, manifest, tier.scratch)
        path = tier.folder / manifest_key(*manifest.key)
        path.write_bytes(replace(manifest, archive_bytes=size_bytes).to_bytes())
        lies += [str(handle)] * (size_bytes == 2)
    assert [issue.message.split(": its")[0] for issue in tier_verify(tier.tier)] == lies
