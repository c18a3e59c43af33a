"""`push`: cached models are verified and put into a tier, others are fetched on the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hubcli.cache.cached_model import CachedModel
from hubcli.cli.push import writable_address
from hubcli.commands.fetch import fetch
from hubcli.commands.push import push, push_locked
from hubcli.config.tiers import TierConfig
from hubcli.errors import BrokenModelError, TierConflictError, TierError, UnsupportedError, UsageError
from hubcli.fetching.lock_file import LockedModel
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle, key_of
from hubcli.tiers.tier import open_tier
from tests import models
from tests.tiers.fleet import HANDLE, Fleet


def test_a_cached_model_is_packed_and_put(fleet: Fleet) -> None:
    settings = replace(fleet.settings(), tiers=())
    fetch(HANDLE, settings)
    pushed = push(HANDLE, fleet.tier, settings)
    assert not pushed.was_there
    result = fleet.fetch()
    assert result.archive_sha256 == pushed.archive_sha256 != fleet.sha256
    assert fleet.downloads == 1
    again = push(HANDLE, fleet.tier, settings)
    assert again.was_there
    assert again.archive_sha256 == pushed.archive_sha256


def test_the_same_files_in_another_archive_are_there_already(fleet: Fleet) -> None:
    fleet.fetch()
    settings = replace(fleet.settings(), tiers=())
    fetch(HANDLE, settings)
    pushed = push(HANDLE, fleet.tier, settings)
    assert pushed.was_there
    assert pushed.archive_sha256 == fleet.sha256


def test_what_is_not_cached_is_fetched_and_its_archive_put_as_it_is(fleet: Fleet) -> None:
    pushed = push(HANDLE, fleet.tier, replace(fleet.settings(), tiers=()))
    assert not pushed.was_there
    assert pushed.archive_sha256 == fleet.sha256
    assert fleet.blob.read_bytes() == fleet.packed


def test_a_lock_file_is_pushed_to_the_byte(fleet: Fleet) -> None:
    settings = replace(fleet.settings(), tiers=())
    handle = Handle.parse(HANDLE)
    locked = LockedModel.of(handle, fetch(HANDLE, settings), settings, ProgressListener())
    push(HANDLE, fleet.tier, settings)
    assert not fleet.blob.exists()
    pushed = push_locked(locked, fleet.tier, settings)
    assert pushed.archive_sha256 == fleet.sha256
    assert fleet.blob.read_bytes() == fleet.packed
    downloads = fleet.downloads
    assert push_locked(locked, fleet.tier, settings).was_there
    assert fleet.downloads == downloads


def test_a_corrupt_copy_is_not_pushed(fleet: Fleet) -> None:
    settings = replace(fleet.settings(), tiers=())
    result = fetch(HANDLE, settings)
    (result.path / "saved_model.pb").write_bytes(b"x" * (result.path / "saved_model.pb").stat().st_size)
    with pytest.raises(BrokenModelError, match="is corrupt"):
        push(HANDLE, fleet.tier, settings)
    assert not fleet.folder.exists()


def test_another_archive_is_a_conflict_until_one_is_forced(fleet: Fleet) -> None:
    fleet.fetch()
    files = {**models.example_files(), "assets/new.txt": b"new"}
    fleet.server.serve("/maker/model/1", models.pack(files))
    settings = replace(fleet.settings(), tiers=())
    fetch(HANDLE, settings)
    with pytest.raises(TierConflictError, match="has several archives"):
        push(HANDLE, fleet.tier, settings)
    fleet.server.serve("/maker/model/1", fleet.packed)
    with pytest.raises(TierError, match="has several archives"):
        fleet.fetch(require_tier=True)
    forced = push(HANDLE, fleet.tier, settings, force=True)
    assert fleet.tier.current(key_of(HANDLE)).archives == (forced.archive_sha256,)  # type: ignore[union-attr]
    result = fetch(HANDLE, fleet.settings(require_tier=True))
    assert models.tree_files(result.path) == files


def test_a_forced_push_mends_a_corrupt_archive(fleet: Fleet) -> None:
    settings = replace(fleet.settings(), tiers=())
    fetch(HANDLE, settings)
    pushed = push(HANDLE, fleet.tier, settings)
    blob = next(path for path in (fleet.folder / "blobs").rglob(pushed.archive_sha256))
    content = blob.read_bytes()
    blob.write_bytes(b"x" * len(content))
    assert push(HANDLE, fleet.tier, settings).was_there
    push(HANDLE, fleet.tier, settings, force=True)
    assert blob.read_bytes() == content


def test_what_other_machines_could_not_fetch_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    settings = fleet.settings()
    fetch("example://mul/1", settings)
    models.write_tree(tmp_path / "model", models.example_files())
    for target in ("example://mul/1", str(tmp_path / "model")):
        with pytest.raises(UsageError, match="no handle that other machines can fetch"):
            push(target, fleet.tier, settings)


def test_a_private_model_needs_a_tier_that_may_hold_it(fleet: Fleet) -> None:
    address = fleet.server.url.replace("://", "://me:secret@") + "/model.tar.gz"
    settings = replace(fleet.settings(), tiers=())
    result = fetch(address, settings)
    entry = CachedModel.at(result.path, settings.cache_root)
    assert entry is not None
    assert entry.manifest is not None
    assert entry.manifest.is_private
    with pytest.raises(UsageError, match="fetched with credentials"):
        push(result.path.name, fleet.tier, settings)
    fleet.query = "?mode=read-write&private=yes"
    assert not push(result.path.name, fleet.tier, settings).was_there


def test_a_private_model_from_one_tier_stays_private_for_the_next(fleet: Fleet) -> None:
    address = fleet.server.url.replace("://", "://me:secret@") + "/model.tar.gz"
    fleet.query = "?mode=read-write&private=yes"
    fleet.fetch(address)
    fleet.query = ""
    settings = fleet.settings()
    result = fetch(address, settings)
    assert fleet.downloads == 1
    fleet.folder, fleet.query = fleet.folder.with_name("public"), "?mode=read-write"
    with pytest.raises(UsageError, match="fetched with credentials"):
        push(result.path.name, fleet.tier, settings)


def test_a_web_server_is_refused_by_what_it_is(fleet: Fleet) -> None:
    address = f"{fleet.server.url}/tier?mode=read-write"
    tier = open_tier(TierConfig.parse(address), fleet.settings())
    with pytest.raises(UnsupportedError, match="cannot be written") as raised:
        push(HANDLE, tier, fleet.settings())
    assert "mode" not in str(raised.value.hint)


def test_a_tier_that_is_named_to_be_written_needs_no_mode() -> None:
    assert writable_address("/data/mode=x/tier") == "/data/mode=x/tier?mode=read-write"
    assert writable_address("s3://b/t?private=yes") == "s3://b/t?private=yes&mode=read-write"
    assert writable_address("s3://b/t?mode=read") == "s3://b/t?mode=read"


def test_a_private_model_that_is_fetched_on_the_way_is_refused_by_what_it_is(fleet: Fleet) -> None:
    address = fleet.server.url.replace("://", "://me:secret@") + "/model.tar.gz"
    with pytest.raises(UsageError, match="fetched with credentials"):
        push(address, fleet.tier, fleet.settings())
