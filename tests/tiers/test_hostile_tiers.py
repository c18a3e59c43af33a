"""Tiers that an attacker prepared: no model is wrong, nothing hangs, and the origin is asked instead."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hubcli.commands.tier import TierPolicy, tier_gc
from hubcli.durability import UNSYNCED
from hubcli.errors import DiskFullError, NetworkError, UnsupportedError
from hubcli.net.directory_store import DirectoryStore
from hubcli.providers.handle import Handle, key_of
from hubcli.tiers.layout import MARKER, blob_key, current_key, manifest_key
from tests.cases import each_of
from tests.server import HubServer, Reply
from tests.tiers.fleet import HANDLE, UNVERSIONED, Fleet

_UNVERSIONED_ON_HUB = "https://tfhub.dev/maker/model"
_HUGE_BYTES = 1 << 42  # More than any disk of a test has, and a sparse file takes none of it.


def _manifest(fleet: Fleet) -> Path:
    return fleet.folder / manifest_key(key_of(HANDLE), fleet.sha256)


def _claim_huge(fleet: Fleet) -> None:
    """A sparse file as the archive, and a manifest that tells its size."""
    document = json.loads(_manifest(fleet).read_bytes())
    document["archive"]["bytes"] = _HUGE_BYTES
    _manifest(fleet).write_text(json.dumps(document))
    os.truncate(fleet.blob, _HUGE_BYTES)


def _make_fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _link(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def _name_parent(fleet: Fleet) -> None:
    document = {"schema": 1, "handle": HANDLE, "archives": ["../" * 21 + "x"], "resolved": None}
    (fleet.folder / current_key(key_of(HANDLE))).write_text(json.dumps({**document, "written_at": ""}))


@each_of(
    "attack",
    [
        _claim_huge,
        lambda fleet: _make_fifo(fleet.blob),
        lambda fleet: _make_fifo(_manifest(fleet)),
        lambda fleet: _make_fifo(fleet.folder / MARKER),
        lambda fleet: _make_fifo(fleet.folder / current_key(key_of(HANDLE))),
        lambda fleet: _link(fleet.blob, "/dev/zero"),
        lambda fleet: _link(_manifest(fleet), "/dev/zero"),
        lambda fleet: _link(_manifest(fleet), "/etc/passwd"),
        lambda fleet: _link(fleet.folder / MARKER, MARKER),
        _name_parent,
    ],
)
def test_a_prepared_directory_is_reported_and_the_origin_is_asked(
    attack: Callable[[Fleet], None], fleet: Fleet
) -> None:
    fleet.folder, fleet.query = fleet.folder.with_name(f"tier-{fleet.machines}"), "?mode=read-write"
    before = fleet.downloads
    fleet.fetch()
    attack(fleet)
    fleet.query = ""
    fleet.fetch()
    assert fleet.downloads == before + 2
    assert "root:" not in str(fleet.notes)
    assert f"Shared tier {fleet.folder} failed: " in str(fleet.notes)


def test_an_archive_larger_than_the_disk_is_an_error_where_the_tier_is_required(fleet: Fleet) -> None:
    fleet.fetch()
    _claim_huge(fleet)
    with pytest.raises(DiskFullError):
        fleet.fetch(require_tier=True)


def test_a_claim_that_fills_the_disk_is_the_error_where_no_origin_can_be_asked(fleet: Fleet) -> None:
    fleet.fetch()
    _claim_huge(fleet)
    with pytest.raises(DiskFullError):
        fleet.fetch(offline=True)


def test_a_pipe_in_the_place_of_the_lock_holds_nobody_up(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "tier", UNSYNCED)
    assert store.create("a", b"1")
    info = store.head("a")
    assert info is not None
    os.mkfifo(store.root / ".hubcli-lock")
    with pytest.raises(NetworkError):
        store.replace("a", b"2", info)


def test_a_collection_passes_over_what_is_no_file_and_follows_no_link(fleet: Fleet, tmp_path: Path) -> None:
    fleet.fetch()
    _make_fifo(fleet.folder / "models" / key_of(HANDLE) / f"{'a' * 64}.json")
    everything = TierPolicy(max_count=0, grace_s=0.0)
    outside = tmp_path / "outside"
    (fleet.folder / "blobs").rename(outside)
    (fleet.folder / "blobs").symlink_to(outside)
    with pytest.raises(UnsupportedError, match="is a symbolic link"):
        tier_gc(fleet.tier, everything)
    assert (outside / blob_key(fleet.sha256).removeprefix("blobs/")).exists()
    (fleet.folder / "blobs").unlink()
    outside.rename(fleet.folder / "blobs")
    assert tier_gc(fleet.tier, everything).plan.model_count == 1


# Web servers -----------------------------------------------------------------------------------------------

_PAGE = Reply(b"<!doctype html><title>Welcome</title>", headers={"Content-Type": "text/html"})
_HUB = "/hub/"


def _keys(server: HubServer) -> list[str]:
    return [path for path in server.replies if path.startswith(_HUB)]


def _answer_pages(server: HubServer, other: HubServer) -> None:
    """Each path has the same page, as many sites answer for files that are missing."""
    for path in _keys(server):
        server.serve(path, _PAGE)


def _answer_pages_for_archives(server: HubServer, other: HubServer) -> None:
    for path in _keys(server):
        if "/blobs/" in path:
            server.serve(path, _PAGE)


def _lead_to_pages(server: HubServer, other: HubServer) -> None:
    other.serve("/login", _PAGE)
    for path in _keys(server):
        server.redirect(path, f"{other.url}/login")


def _lead_round(server: HubServer, other: HubServer) -> None:
    for path in _keys(server):
        server.redirect(path, path)


def _lead_to_a_file(server: HubServer, other: HubServer) -> None:
    for path in _keys(server):
        server.redirect(path, "file:///etc/passwd")


def _grow(server: HubServer, other: HubServer) -> None:
    """A marker, and manifests, that are larger than any."""
    for path in _keys(server):
        if "/blobs/" not in path:
            server.serve(path, Reply(b" " * (17 << 20)))


def _change_archive(server: HubServer, other: HubServer) -> None:
    """Another body of the same size."""
    for path in _keys(server):
        if "/blobs/" in path:
            body = bytearray(server.replies[path].body)
            body[len(body) // 2] ^= 1
            server.serve(path, bytes(body))


@each_of(
    "attack",
    [
        _answer_pages,
        _answer_pages_for_archives,
        _lead_to_pages,
        _lead_round,
        _lead_to_a_file,
        _grow,
        _change_archive,
    ],
)
def test_a_web_server_that_lies_is_reported_and_the_origin_is_asked(
    attack: Callable[[HubServer, HubServer], None], fleet: Fleet
) -> None:
    server, machines = fleet.server, fleet.machines
    top, fleet.more, fleet.query = fleet.folder.with_name(f"tier-{machines}"), (), "?mode=read-write"
    fleet.folder = top
    fleet.fetch()
    for path in top.rglob("*"):
        if path.is_file():
            server.serve(f"{_HUB}{path.relative_to(top).as_posix()}", path.read_bytes())
    fleet.folder, fleet.query, fleet.more = top.with_name("none"), "", (f"{server.url}/hub",)
    fleet.fetch(retries=0)
    with HubServer().running() as other:
        attack(server, other)
        server.requests.clear()
        fleet.fetch(retries=0)
    assert [request.path for request in server.requests].count("/maker/model/1") == 1
    assert f"Shared tier {server.url}/hub failed: " in str(fleet.notes)
    assert "root:" not in str(fleet.notes)


def test_a_web_server_that_leads_to_another_host_is_read_there(fleet: Fleet) -> None:
    """As a mirror or a CDN is; the credentials of the first host are not sent there."""
    fleet.fetch()
    with HubServer().running() as other:
        for path in fleet.folder.rglob("*"):
            if path.is_file():
                key = path.relative_to(fleet.folder).as_posix()
                fleet.server.redirect(f"{_HUB}{key}", other.serve(f"/{key}", path.read_bytes()))
        fleet.folder = fleet.folder.with_name("none")
        fleet.query, fleet.more = "", (f"{fleet.server.url}/hub",)
        fleet.server.requests.clear()
        fleet.fetch()
        assert "/maker/model/1" not in [request.path for request in fleet.server.requests]
        assert not [request for request in other.requests if "authorization" in str(request.headers).lower()]


def test_what_a_tier_says_of_versions_leads_to_no_other_model(fleet: Fleet) -> None:
    fleet.fetch()
    for resolved in ("https://tfhub.dev/other/model/1", "file:///etc/passwd", "../../x", "/etc/passwd"):
        document = {"schema": 1, "handle": UNVERSIONED, "archives": [], "resolved": resolved}
        path = fleet.folder / current_key(key_of(_UNVERSIONED_ON_HUB))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**document, "written_at": ""}))
        latest = fleet.tier.latest(Handle.parse(_UNVERSIONED_ON_HUB))
        assert latest is None or str(latest).startswith(f"{_UNVERSIONED_ON_HUB}/")
