"""A fetch asks shared tiers before the origin, trusts none, and puts there what came from the origin."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import hubcli
from hubcli.archive import FileRecord
from hubcli.cache.records import Manifest
from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.concurrency import CancellationToken
from hubcli.config.environment import NetworkConfig
from hubcli.errors import ChecksumError, Interrupted, NetworkError, NotFoundError, OfflineError, TierError
from hubcli.fetching.peek import dry_run
from hubcli.net.directory_store import DirectoryStore
from hubcli.net.object_store import ObjectInfo
from hubcli.providers.handle import Handle, key_of
from hubcli.tiers.layout import current_key, manifest_key
from hubcli.tiers.manifest import TierManifest
from hubcli.tiers.tier import open_tiers
from tests import models
from tests.cases import each_of
from tests.server import HubServer, Reply
from tests.tiers.fleet import HANDLE, UNVERSIONED, Fleet, Notes


def test_what_one_machine_downloaded_the_others_have_from_the_tier(fleet: Fleet) -> None:
    fleet.fetch()
    assert fleet.notes == [f"Pushed {HANDLE} to {fleet.folder}"]
    assert fleet.blob.read_bytes() == fleet.packed
    for _ in range(3):
        result = fleet.fetch()
        assert result.archive_sha256 == fleet.sha256
        assert fleet.notes == []
    assert fleet.downloads == 1


def test_the_record_tells_the_tier(fleet: Fleet) -> None:
    fleet.fetch()
    result = fleet.fetch()
    manifest = Manifest.read(result.path.with_name(result.path.name + ".hubcli.json"))
    assert manifest is not None
    assert manifest.tier == str(fleet.folder)
    assert manifest.source == fleet.blob.as_uri()


def test_a_cached_model_asks_no_tier(fleet: Fleet) -> None:
    settings = fleet.settings()
    fetch(HANDLE, settings)
    for path in sorted(fleet.folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert fetch(HANDLE, settings).was_cached


def test_machines_that_start_at_once_cause_one_download(fleet: Fleet) -> None:
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(fetch, HANDLE, fleet.settings()) for _ in range(8)]
        assert {models.tree_files(job.result().path) == models.example_files() for job in jobs} == {True}
    assert fleet.downloads == 1


def _tampered(fleet: Fleet) -> None:
    fleet.blob.write_bytes(fleet.packed[:-1] + b"!")


def _truncated(fleet: Fleet) -> None:
    fleet.blob.write_bytes(fleet.packed[:-1])


def _missing(fleet: Fleet) -> None:
    fleet.blob.unlink()


def _another_model(fleet: Fleet) -> None:
    fleet.blob.write_bytes(models.archive(extra=b"x"))


@each_of("spoil", [_tampered, _truncated, _missing, _another_model])
def test_a_corrupt_archive_is_told_passed_over_and_put_anew(
    spoil: Callable[[Fleet], None], tmp_path: Path, fleet: Fleet
) -> None:
    fleet.folder = tmp_path / "tier"
    before = fleet.downloads
    fleet.fetch()
    spoil(fleet)
    fleet.fetch()
    assert fleet.notes[0].startswith(f"Shared tier {fleet.folder} failed: ")
    assert fleet.blob.read_bytes() == fleet.packed
    assert fleet.downloads == before + 2
    fleet.fetch()
    assert fleet.notes == []
    assert fleet.downloads == before + 2


def _changed_manifest(fleet: Fleet, **changes: object) -> None:
    path = fleet.folder / manifest_key(key_of(HANDLE), fleet.sha256)
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, **changes}))


def test_a_manifest_that_lies_is_found_out_and_put_anew(fleet: Fleet) -> None:
    fleet.fetch()
    lies: list[dict[str, object]] = [
        {"tree": {"sha256": "0" * 64, "bytes": 1, "files": 1}},
        {"archive": {"sha256": fleet.sha256, "bytes": 1, "format": "tar.gz"}},
        {"archive": {"sha256": "0" * 64, "bytes": 1, "format": "tar.gz"}},
        {"handle": "https://tfhub.dev/maker/other/1"},
        {"files": []},
        {"files": [[[[]]]]},
        {"handle": "x\x1b[31m"},
        {"schema": 2},
    ]
    for lie in lies:
        _changed_manifest(fleet, **lie)
        fleet.fetch()
        if lie != {"files": []}:  # Nothing that is unpacked depends on the list.
            assert fleet.notes[0].startswith("Shared tier"), lie
    fleet.fetch()
    assert fleet.notes == []


def test_an_expected_archive_is_taken_exactly(fleet: Fleet) -> None:
    fleet.fetch()
    fleet.server.serve("/maker/model/1", models.archive(other=b"x"))
    (fleet.folder / current_key(key_of(HANDLE))).unlink()
    assert fleet.fetch(options=FetchOptions(sha256=fleet.sha256)).archive_sha256 == fleet.sha256
    assert fleet.downloads == 1
    with pytest.raises(ChecksumError):
        fleet.fetch(options=FetchOptions(sha256="0" * 64))


def test_an_unversioned_handle_means_what_the_tier_has_until_it_is_refreshed(fleet: Fleet) -> None:
    fleet.fetch(UNVERSIONED)
    fleet.packed = models.pack({**models.example_files(), "assets/new.txt": b"new"})
    fleet.server.serve("/model.tar.gz", fleet.packed)
    assert fleet.fetch(UNVERSIONED).archive_sha256 != fleet.sha256
    settings = fleet.settings()
    refreshed = fetch(UNVERSIONED, settings, FetchOptions(refresh=True))
    assert refreshed.archive_sha256 == fleet.sha256
    assert fetch(UNVERSIONED, fleet.settings()).archive_sha256 == fleet.sha256
    assert fleet.downloads == 2


def test_a_tier_that_fails_is_passed_over_or_an_error_where_it_is_required(fleet: Fleet) -> None:
    fleet.folder.mkdir()
    (fleet.folder / "hubcli-tier.json").write_text('{"hubcli_tier": 2}')
    fleet.fetch()
    assert fleet.notes[0] == (
        f"Shared tier {fleet.folder} failed: "
        f"{fleet.folder} is a shared tier of version 2; this hubcli knows 1"
    )
    assert not (fleet.folder / "models").exists()
    with pytest.raises(TierError) as raised:
        fleet.fetch(require_tier=True)
    assert int(raised.value.exit_status) == 12
    assert raised.value.hint == "Upgrade hubcli."


def test_the_next_tier_is_asked_and_the_first_writable_one_gets_the_model(
    fleet: Fleet, other_server: HubServer, tmp_path: Path
) -> None:
    second = tmp_path / "second"
    fleet.query, fleet.more = "", (f"{other_server.url}/tier", f"{second}?mode=read-write")
    other_server.serve("/tier/hubcli-tier.json", Reply(status=403))
    fleet.fetch()
    assert fleet.notes[1].startswith(f"Shared tier {other_server.url}/tier failed: ")
    assert fleet.notes[-1] == f"Pushed {HANDLE} to {second}"
    assert not fleet.folder.exists()
    fleet.fetch()
    assert fleet.downloads == 1


def test_a_web_server_that_shows_the_files_is_a_tier(fleet: Fleet, other_server: HubServer) -> None:
    fleet.fetch()
    for path in fleet.folder.rglob("*"):
        if path.is_file():
            name = path.relative_to(fleet.folder).as_posix()
            other_server.serve(f"/tier/{name}", Reply(path.read_bytes(), etag=f'"{len(name)}"'))
    fleet.more = (f"{other_server.url}/tier?mode=read-write",)
    fleet.folder = fleet.folder.with_name("empty")
    fleet.query = ""
    result = fleet.fetch()
    manifest = Manifest.read(result.path.with_name(result.path.name + ".hubcli.json"))
    assert manifest is not None
    assert manifest.tier == f"{other_server.url}/tier"
    assert fleet.downloads == 1


def test_offline_a_directory_is_asked_and_nothing_else(fleet: Fleet, other_server: HubServer) -> None:
    fleet.more = (f"{other_server.url}/tier",)
    with pytest.raises(OfflineError):
        fleet.fetch(offline=True)
    fleet.fetch()
    requests = len(other_server.requests)
    fleet.fetch(offline=True)
    assert len(other_server.requests) == requests
    assert fleet.downloads == 1


def test_a_model_of_credentials_is_put_only_where_private_models_may_be(fleet: Fleet, tmp_path: Path) -> None:
    address = fleet.server.url.replace("://", "://me:secret@") + "/model.tar.gz"
    fleet.fetch(address)
    assert not fleet.blob.exists()
    assert "fetched with credentials" in fleet.notes[-1]
    assert "secret" not in str(fleet.notes)
    fleet.query = "?mode=read-write&private=yes"
    fleet.fetch(address)
    assert fleet.blob.exists()
    written = b"".join(path.read_bytes() for path in fleet.folder.rglob("*") if path.is_file())
    assert b"secret" not in written


def test_a_use_is_recorded_once_a_day(fleet: Fleet) -> None:
    fleet.fetch()
    manifest = fleet.folder / manifest_key(key_of(HANDLE), fleet.sha256)
    content, hour_ago, week_ago = manifest.read_bytes(), time.time() - 3600, time.time() - 7 * 86400
    os.utime(manifest, (hour_ago, hour_ago))
    fleet.fetch()
    assert manifest.stat().st_mtime == pytest.approx(hour_ago)
    os.utime(manifest, (week_ago, week_ago))
    fleet.query = ""
    fleet.fetch()
    assert manifest.stat().st_mtime == pytest.approx(week_ago)
    fleet.query = "?mode=read-write"
    fleet.fetch()
    assert manifest.stat().st_mtime > hour_ago
    assert manifest.read_bytes() == content


def test_an_origin_that_fails_is_the_error(fleet: Fleet) -> None:
    fleet.server.serve("/maker/model/1", Reply(status=500))
    with pytest.raises(NetworkError):
        fleet.fetch(retries=0)
    fleet.server.serve("/maker/model/1", fleet.packed)
    fleet.fetch()
    assert fleet.blob.exists()


def test_hub_resolve_asks_the_tiers_of_the_environment(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"{fleet.server.url}/model.tar.gz"
    fleet.fetch(address)
    monkeypatch.setenv("HUBCLI_TIERS", str(fleet.folder))
    monkeypatch.setenv("HUBCLI_CACHE_DIR", str(tmp_path / "resolved"))
    assert models.tree_files(Path(hubcli.resolve(address))) == models.example_files()
    assert fleet.downloads == 1


def test_a_dry_run_asks_the_tier_before_the_origin(fleet: Fleet) -> None:
    fleet.fetch()
    settings = fleet.settings()
    planned = dry_run(Handle.parse(HANDLE), settings, FetchOptions(), None, open_tiers(settings))
    assert planned.size_bytes == len(fleet.packed)
    assert len(fleet.server.requests) == 1
    assert not settings.cache_root.exists()


def test_a_version_that_the_host_cannot_tell_is_that_of_the_tier(fleet: Fleet) -> None:
    unversioned = "https://www.kaggle.com/models/maker/model/tensorFlow2/small"
    version = Handle.parse(f"{unversioned}/3")
    fleet.tier.point(Handle.parse(unversioned), version)
    fleet.server.serve("/maker/model/tensorFlow2/small/3", fleet.packed)
    settings = replace(fleet.settings(), mirrors=(), access=_closed(fleet.base.access), retries=0)
    with pytest.raises(NetworkError):
        fetch(unversioned, settings)
    manifest = TierManifest.of(
        str(version),
        (fleet.sha256, len(fleet.packed), "tar.gz"),
        _files(fleet),
        source="",
        etag=None,
        now_s=0.0,
    )
    archive = fleet.folder.with_name("archive")
    archive.write_bytes(fleet.packed)
    fleet.tier.put_archive(version, manifest, archive)
    notes = Notes()
    result = fetch(unversioned, settings, None, notes)
    assert result.handle == str(version)
    assert any(f"using {version}, the latest version in a shared tier" in note for note in notes.notes)


def _closed(access: NetworkConfig) -> NetworkConfig:
    """Kaggle's API where nobody listens."""
    return replace(access, kaggle=access.kaggle._replace(endpoint="http://127.0.0.1:9"))


def _files(fleet: Fleet) -> tuple[FileRecord, ...]:
    return tuple(
        FileRecord(path, len(content), hashlib.sha256(content).hexdigest())
        for path, content in models.example_files().items()
    )


def _lease_state(fleet: Fleet) -> str:
    (path,) = (fleet.folder / "leases").iterdir()
    return str(json.loads(path.read_text())["state"])


def test_those_that_wait_take_turns_only_where_the_next_holder_helps_them(
    fleet: Fleet, tmp_path: Path
) -> None:
    class Interrupting(Notes):
        def received(self, size_bytes: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(HANDLE, fleet.settings(), listener=Interrupting())
    assert _lease_state(fleet) == "released"  # One of the others downloads it for all.
    fleet.fetch()
    assert _lease_state(fleet) == "released"
    fleet.folder = tmp_path / "private"
    fleet.fetch(fleet.server.url.replace("://", "://me:secret@") + "/model.tar.gz")
    assert _lease_state(fleet) == "failed"  # The tier will never have it: each downloads it at once.
    fleet.folder = tmp_path / "full"
    fleet.folder.mkdir()
    (fleet.folder / "blobs").write_bytes(b"")
    fleet.fetch()
    assert _lease_state(fleet) == "failed"
    fleet.folder = tmp_path / "missing"
    with pytest.raises(NotFoundError):
        fleet.fetch("https://tfhub.dev/maker/missing/1")
    assert _lease_state(fleet) == "failed"


def test_machines_that_expect_an_archive_wait_for_that_one(fleet: Fleet) -> None:
    fleet.fetch()
    other = models.archive(extra=b"x")
    fleet.server.serve("/maker/model/1", other)
    options = FetchOptions(sha256=hashlib.sha256(other).hexdigest())
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(fetch, HANDLE, fleet.settings(), options) for _ in range(4)]
        assert {job.result().archive_sha256 for job in jobs} == {options.sha256}
    assert fleet.downloads == 2


def test_a_tier_that_is_down_costs_its_retries_once_for_all_models(
    fleet: Fleet, other_server: HubServer
) -> None:
    fleet.more = (f"{other_server.url}/tier",)
    other_server.serve("/tier/hubcli-tier.json", Reply(status=503))
    fleet.server.serve("/maker/other/1", fleet.packed)
    notes, settings = Notes(), replace(fleet.settings(), retries=0)
    for handle in (HANDLE, "https://tfhub.dev/maker/other/1"):
        fetch(handle, settings, listener=notes)
    # The marker, and beside it what the first handle means: nothing of the second one.
    request_count = len(other_server.requests)
    assert request_count <= 2
    faults = [note for note in notes.notes if other_server.url in note]
    assert len(faults) == 2
    assert (
        faults[1] == f"Shared tier {other_server.url}/tier failed: it did not answer less than a minute ago"
    )
    with pytest.raises(TierError):
        fetch("https://tfhub.dev/maker/third/1", replace(settings, require_tier=True))
    assert len(other_server.requests) == request_count


def test_after_a_tier_that_is_down_the_next_one_is_asked(
    fleet: Fleet, other_server: HubServer, tmp_path: Path
) -> None:
    fleet.query, fleet.more = "", (f"{other_server.url}/tier", f"{tmp_path / 'second'}?mode=read-write")
    other_server.serve("/tier/hubcli-tier.json", Reply(status=503))
    other = "https://tfhub.dev/maker/other/1"
    fleet.server.serve("/maker/other/1", fleet.packed)
    fleet.fetch(other, retries=0)  # Another machine, which puts it into the second tier.
    settings, notes = fleet.settings(retries=0), Notes()
    for handle in (HANDLE, other):
        fetch(handle, settings, listener=notes)
    assert any(note.endswith("failed: it did not answer less than a minute ago") for note in notes.notes)
    assert fleet.downloads == 2


def test_a_fault_of_a_tier_is_told_once(fleet: Fleet) -> None:
    fleet.folder.mkdir()
    (fleet.folder / "hubcli-tier.json").write_text('{"hubcli_tier": 2}')
    fleet.fetch()
    assert len(fleet.notes) == 1


def test_an_address_without_a_tier_is_told_and_an_error_where_tiers_are_required(fleet: Fleet) -> None:
    fleet.query = "?mode=read"
    fleet.fetch()
    assert fleet.notes == [f"Shared tier {fleet.folder} failed: {fleet.folder} is not a shared tier"]
    with pytest.raises(TierError, match="is not a shared tier"):
        fleet.fetch(require_tier=True)


def test_a_refresh_takes_no_tier_at_its_word_for_what_the_origin_has(fleet: Fleet) -> None:
    other = Reply(body=models.archive(extra=b"x"), etag='"v1"')
    fleet.server.serve("/model.tar.gz", other)
    settings, machine = fleet.settings(), fleet.settings()
    fetch(UNVERSIONED, settings)
    fleet.server.serve("/model.tar.gz", replace(other, body=fleet.packed))
    assert fetch(UNVERSIONED, machine).archive_sha256 != fleet.sha256
    assert fetch(UNVERSIONED, machine, FetchOptions(refresh=True)).archive_sha256 == fleet.sha256
    assert fetch(UNVERSIONED, machine, FetchOptions(refresh=True)).was_cached


def test_without_a_place_for_a_copy_the_model_is_fetched_and_not_put(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    fleet.fetch()
    assert fleet.blob.exists()
    fleet.folder = fleet.folder.with_name("other")
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    fleet.fetch()
    assert "not enough disk space for a copy of the archive" in fleet.notes[-1]
    assert not fleet.blob.exists()


def test_an_end_that_is_asked_for_aborts_the_upload(fleet: Fleet) -> None:
    stop, settings = CancellationToken(), fleet.settings()
    upload = DirectoryStore.upload

    def ending(*arguments: Any) -> ObjectInfo:
        stop.ask()
        return upload(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DirectoryStore, "upload", ending)
        with pytest.raises(Interrupted):
            fetch(HANDLE, settings, stop=stop)
    assert not fleet.blob.exists()
    assert fetch(HANDLE, settings).was_cached
    assert _lease_state(fleet) == "released"
