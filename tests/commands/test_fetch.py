"""`fetch`, from handles to whole models, against a real server."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import google_crc32c
import pytest

from hubcli.archive import Limits
from hubcli.cache.records import Manifest
from hubcli.commands.fetch import FetchOptions, FetchResult, fetch
from hubcli.commands.inspect import inspect
from hubcli.config.settings import Mirror, Settings
from hubcli.errors import (
    BrokenModelError,
    CacheError,
    ChecksumError,
    DiskFullError,
    HubcliError,
    NetworkError,
    NotFoundError,
    OfflineError,
    TruncatedError,
    UnsafeArchiveError,
    UsageError,
)
from hubcli.formats.wire import encode_field, scan
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle
from tests import models
from tests.disks import overlaid
from tests.server import HubServer, Reply

HANDLE = "https://tfhub.dev/maker/model/1"


class Notes(ProgressListener):
    """Records what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.bytes_received = 0
        self.bytes_unpacked = 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    def received(self, size_bytes: int) -> None:
        self.bytes_received += size_bytes

    def unpacked(self, size_bytes: int) -> None:
        self.bytes_unpacked += size_bytes


def mirrored(settings: Settings, server: HubServer, *, offline: bool = False) -> Settings:
    return Settings(
        settings.cache_root,
        "--cache-dir",
        offline=offline,
        mirrors=(Mirror("https://tfhub.dev", server.url),),
        timeout_s=settings.timeout_s,
        lock_timeout_s=settings.lock_timeout_s,
    )


def leftovers(cache: Path) -> list[str]:
    """Names that no finished or failed fetch may leave behind."""
    if not cache.exists():
        return []
    return [name for name in os.listdir(cache) if ".tmp" in name or name.endswith(".lock")]


def assert_nothing_is_cached(cache: Path) -> None:
    assert not cache.exists() or set(os.listdir(cache)) <= {"CACHEDIR.TAG"}


# What a fetch gives


def test_the_built_in_example_needs_no_network(settings: Settings) -> None:
    result = fetch("example://mul/1", settings)
    assert models.tree_files(result.path) == models.example_files()
    assert not result.was_cached
    assert result.file_count == 4


def test_a_model_comes_from_a_host_that_speaks_the_protocol(settings: Settings, server: HubServer) -> None:
    packed = models.archive()
    url = server.serve("/maker/model/1", packed)
    result = fetch(url, settings)
    assert models.tree_files(result.path) == models.example_files()
    assert result.archive_sha256 == hashlib.sha256(packed).hexdigest()
    assert server.requests[0].query == "tf-hub-format=compressed"


def test_a_mirror_is_asked_and_the_key_stays_that_of_the_handle(
    settings: Settings, server: HubServer
) -> None:
    server.serve("/maker/model/1", models.archive())
    result = fetch(HANDLE, mirrored(settings, server))
    assert result.path.name == hashlib.sha1(HANDLE.encode()).hexdigest()
    assert result.handle == HANDLE


def test_a_second_fetch_is_a_hit_that_asks_nobody(settings: Settings, server: HubServer) -> None:
    server.serve("/maker/model/1", models.archive())
    first = fetch(HANDLE, mirrored(settings, server))
    second = fetch(HANDLE, mirrored(settings, server))
    assert (second.path, second.was_cached) == (first.path, True)
    assert len(server.requests) == 1


@pytest.mark.parametrize("spelling", Handle.parse(HANDLE).aliases)
def test_every_other_spelling_is_a_hit_on_the_one_copy(
    spelling: str, settings: Settings, server: HubServer
) -> None:
    server.serve("/maker/model/1", models.archive())
    first = fetch(HANDLE, mirrored(settings, server))
    link = settings.cache_root / hashlib.sha1(spelling.encode()).hexdigest()
    assert link.is_symlink()
    assert link.readlink() == Path(first.path.name)
    assert fetch(spelling, mirrored(settings, server)).was_cached


def test_the_typed_spelling_is_linked_too(settings: Settings, server: HubServer) -> None:
    server.serve("/maker/model/1", models.archive())
    typed = "http://tfhub.dev/maker/model/1/?tf-hub-format=compressed&tfhub-redirect=true"
    fetch(typed, mirrored(settings, server))
    assert (settings.cache_root / hashlib.sha1(typed.encode()).hexdigest() / "saved_model.pb").is_file()


def test_the_manifest_lists_every_file_with_its_hash(settings: Settings) -> None:
    result = fetch("example://mul/1", settings)
    manifest = Manifest.read(result.path.with_name(result.path.name + ".hubcli.json"))
    assert manifest is not None
    assert {file.path: file.sha256 for file in manifest.files} == {
        path: hashlib.sha256(content).hexdigest() for path, content in models.example_files().items()
    }


def test_a_hit_is_remembered_as_a_use(settings: Settings) -> None:
    result = fetch("example://mul/1", settings)
    manifest = result.path.with_name(result.path.name + ".hubcli.json")
    os.utime(manifest, (1, 1))
    fetch("example://mul/1", settings)
    assert manifest.stat().st_mtime > 1


def test_one_wrapping_folder_is_taken_off_with_a_note(settings: Settings, server: HubServer) -> None:
    url = server.serve("/wrapped.tar.gz", models.pack(models.example_files(), prefix="model-v1/"))
    listener = Notes()
    result = fetch(url, settings, listener=listener)
    assert models.tree_files(result.path) == models.example_files()
    assert listener.notes == ["Removed the top folder 'model-v1' of the archive"]


def test_progress_counts_what_came_and_what_was_written(settings: Settings, server: HubServer) -> None:
    packed = models.archive()
    listener = Notes()
    fetch(server.serve("/m/1", packed), settings, listener=listener)
    assert listener.bytes_received == len(packed)
    assert listener.bytes_unpacked == sum(map(len, models.example_files().values()))


def test_a_tarball_behind_a_signed_url_is_asked_for_as_it_is(settings: Settings, server: HubServer) -> None:
    url = server.serve("/m.tar.gz", models.archive()) + "?X-Goog-Signature=s3cret&v=1"
    result = fetch(url, settings)
    assert server.requests[0].query == "X-Goog-Signature=s3cret&v=1"
    stored = "".join(
        path.read_text() for path in settings.cache_root.iterdir() if path.suffix in (".json", ".txt")
    )
    assert "s3cret" not in stored
    assert "s3cret" not in f"{result}"


# Local sources


def test_an_archive_can_be_put_under_a_handle(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "model.tar.gz"
    file.write_bytes(models.archive())
    result = fetch(HANDLE, settings, FetchOptions(local=str(file)))
    assert result.path.name == Handle.parse(HANDLE).cache_key
    assert models.tree_files(result.path) == models.example_files()


def test_a_directory_can_be_put_under_a_handle(settings: Settings, tmp_path: Path) -> None:
    folder = models.write_tree(tmp_path / "model", models.example_files())
    result = fetch(HANDLE, settings, FetchOptions(local=str(folder)))
    assert models.tree_files(result.path) == models.example_files()
    assert result.archive_sha256 is None


def test_a_local_archive_is_unpacked_under_its_own_address(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "model.tar.gz"
    file.write_bytes(models.archive())
    result = fetch(str(file), settings)
    assert result.handle == file.as_uri()
    assert models.tree_files(result.path) == models.example_files()


def test_a_local_archive_that_changed_is_unpacked_anew(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "model.tar.gz"
    file.write_bytes(models.archive())
    fetch(str(file), settings)
    file.write_bytes(models.archive(assets__new=b"new"))
    result = fetch(str(file), settings)
    assert not result.was_cached
    assert (result.path / "assets" / "new").read_bytes() == b"new"


def test_a_directory_is_its_own_place(settings: Settings, tmp_path: Path) -> None:
    folder = models.write_tree(tmp_path / "model", models.example_files())
    result = fetch(str(folder), settings)
    assert result.path == folder
    assert not settings.cache_root.exists()


def test_a_directory_without_a_model_is_refused(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(BrokenModelError, match="Not a SavedModel"):
        fetch(str(tmp_path), settings)


@pytest.mark.parametrize("handle", ["/nowhere/model", "/nowhere/model.tar.gz", "example://nope/1"])
def test_what_is_not_there_is_not_found(handle: str, settings: Settings) -> None:
    with pytest.raises(NotFoundError):
        fetch(handle, settings)
    assert_nothing_is_cached(settings.cache_root)


def test_an_archive_can_be_put_under_a_bucket_handle(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "model.tar.gz"
    file.write_bytes(models.archive())
    result = fetch("gs://bucket/model.tar.gz", settings, FetchOptions(local=str(file)))
    assert result.path.name == hashlib.sha1(b"gs://bucket/model.tar.gz").hexdigest()


def test_from_does_not_replace_what_is_cached_and_says_so(settings: Settings, tmp_path: Path) -> None:
    fetch("example://mul/1", settings)
    other = tmp_path / "other.tar.gz"
    other.write_bytes(models.archive(assets__new=b"new"))
    listener = Notes()
    assert fetch("example://mul/1", settings, FetchOptions(local=str(other)), listener).was_cached
    assert "--force" in listener.notes[0]
    for missing in ("/no/such.tar", "~no-such-user-at-all/x", "a\0b"):
        # Scripts remove what they imported, and import it again.
        assert fetch("example://mul/1", settings, FetchOptions(local=missing), listener).was_cached
        assert listener.notes[-1] == f"example://mul/1 is already cached; {missing} does not exist"
    replaced = fetch("example://mul/1", settings, FetchOptions(local=str(other), force=True))
    assert (replaced.path / "assets" / "new").read_bytes() == b"new"


def test_a_file_that_is_not_an_archive_is_named(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "page.tar.gz"
    file.write_bytes(b"<html>Sign in</html>")
    for read in (lambda: fetch(HANDLE, settings, FetchOptions(local=str(file))), lambda: inspect(str(file))):
        with pytest.raises(UnsafeArchiveError) as refused:
            read()
        assert refused.value.message.endswith(f"but a web page or XML: {file.as_uri()}")


def test_a_directory_that_holds_the_cache_is_refused(settings: Settings, tmp_path: Path) -> None:
    models.write_tree(tmp_path, models.example_files())
    with pytest.raises(UsageError, match="is inside"):
        fetch(HANDLE, settings, FetchOptions(local=str(tmp_path)))


def test_what_does_not_fit_on_the_disk_is_not_begun(settings: Settings, server: HubServer) -> None:
    url = server.serve("/m/1", Reply(models.archive(), announced_length=10**18))
    with pytest.raises(DiskFullError, match="Not enough disk space"):
        fetch(url, settings)
    assert_nothing_is_cached(settings.cache_root)


# Faults of the network


FAULTS: dict[str, tuple[Reply, type[HubcliError]]] = {
    "cut": (Reply(models.archive(), cut_at=1000), TruncatedError),
    "reset": (Reply(models.archive(), reset_at=1000), NetworkError),
    "shorter than announced": (Reply(models.archive(), announced_length=10**6), TruncatedError),
    "longer than announced": (Reply(models.archive(), announced_length=1000), TruncatedError),
    "cut without a length": (Reply(models.archive()[:-200], sends_length=False), TruncatedError),
    "empty": (Reply(b""), TruncatedError),
    "wrong crc32c": (Reply(models.archive(), headers={"x-goog-hash": "crc32c=AAAAAA=="}), ChecksumError),
    "wrong md5 beside a line of its own": (
        Reply(models.archive(), headers={"x-goog-hash": "md5=AAAAAAAAAAAAAAAAAAAAAA=="}),
        ChecksumError,
    ),
    "wrong Content-MD5": (
        Reply(models.archive(), headers={"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}),
        ChecksumError,
    ),
    "wrong Repr-Digest": (
        Reply(models.archive(), headers={"Repr-Digest": "sha-256=:" + "A" * 43 + "=:"}),
        ChecksumError,
    ),
    "a page": (Reply(b"<!doctype html><title>Sign in</title>" * 20), UnsafeArchiveError),
    "not found": (Reply(status=404), NotFoundError),
    "gone": (Reply(status=410), NotFoundError),
    "server error": (Reply(status=500), NetworkError),
    "unavailable": (Reply(status=503), NetworkError),
    "forbidden": (Reply(status=403), NetworkError),
    "no content": (Reply(status=204, sends_length=False), NetworkError),
    "redirect to nowhere": (Reply(status=302), NetworkError),
    "redirect to a file": (Reply(status=302, headers={"Location": "file:///etc/passwd"}), NetworkError),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_server_leaves_nothing_behind(
    fault: str, settings: Settings, server: HubServer
) -> None:
    reply, expected = FAULTS[fault]
    with pytest.raises(expected):
        fetch(server.serve("/m/1", reply), settings)
    assert_nothing_is_cached(settings.cache_root)


def test_a_body_with_every_right_checksum_is_taken(settings: Settings, server: HubServer) -> None:
    packed = models.archive()
    md5 = base64.b64encode(hashlib.md5(packed).digest()).decode()
    crc = base64.b64encode(google_crc32c.Checksum(packed).digest()).decode()
    sha = base64.b64encode(hashlib.sha256(packed).digest()).decode()
    headers = {
        "x-goog-hash": f"crc32c={crc}\nmd5={md5}",
        "Content-MD5": md5,
        "Repr-Digest": f"sha-256=:{sha}:",
    }
    assert not fetch(server.serve("/m/1", Reply(packed, headers=headers)), settings).was_cached


def test_a_server_that_falls_silent_is_given_up(settings: Settings, server: HubServer) -> None:
    url = server.serve("/m/1", Reply(models.archive(), stall_at=1000))
    impatient = Settings(settings.cache_root, "--cache-dir", timeout_s=0.2)
    with pytest.raises(NetworkError, match="Timed out waiting for data from"):
        fetch(url, impatient)
    assert_nothing_is_cached(settings.cache_root)


def test_a_port_where_nobody_listens_is_a_network_error(settings: Settings) -> None:
    with socket.socket() as bound:  # So that nobody else listens there either.
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(NetworkError, match="Cannot reach"):
            fetch(f"http://127.0.0.1:{bound.getsockname()[1]}/m/1", settings)


def test_offline_a_miss_sends_nothing(settings: Settings, server: HubServer) -> None:
    with pytest.raises(OfflineError) as caught:
        fetch(HANDLE, mirrored(settings, server, offline=True))
    assert HANDLE in caught.value.message
    assert caught.value.exit_status == 5
    assert server.requests == []


def test_offline_a_hit_works(settings: Settings, server: HubServer) -> None:
    server.serve("/maker/model/1", models.archive())
    fetch(HANDLE, mirrored(settings, server))
    assert fetch(HANDLE, mirrored(settings, server, offline=True)).was_cached


# Promises about the bytes


def test_an_archive_with_another_hash_than_promised_is_refused(settings: Settings, server: HubServer) -> None:
    url = server.serve("/m/1", models.archive())
    with pytest.raises(ChecksumError):
        fetch(url, settings, FetchOptions(sha256="0" * 64))
    assert_nothing_is_cached(settings.cache_root)


def test_a_hit_with_another_hash_than_promised_is_refused(settings: Settings, server: HubServer) -> None:
    packed = models.archive()
    url = server.serve("/m/1", packed)
    right = hashlib.sha256(packed).hexdigest()
    fetch(url, settings, FetchOptions(sha256=right))
    assert fetch(url, settings, FetchOptions(sha256=right)).was_cached
    with pytest.raises(ChecksumError, match="another SHA-256"):
        fetch(url, settings, FetchOptions(sha256="0" * 64))


def test_a_hash_that_is_none_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        FetchOptions(sha256="abc")


def test_a_limit_stops_a_large_archive(settings: Settings, server: HubServer) -> None:
    url = server.serve("/m/1", models.archive(assets__zeros=bytes(10**6)))
    with pytest.raises(UnsafeArchiveError, match="unpacks to more than 500.0 kB|unpacks to more than 500 kB"):
        fetch(url, settings, FetchOptions(limits=Limits(unpacked_bytes=500_000)))
    assert_nothing_is_cached(settings.cache_root)


def test_an_archive_without_a_model_is_refused_by_its_name(settings: Settings, server: HubServer) -> None:
    url = server.serve("/m.tar.gz", models.pack({"readme.txt": b"hello", "b/c": b"x"}))
    with pytest.raises(BrokenModelError, match=r"m\.tar\.gz: Not a SavedModel"):
        fetch(url, settings)
    assert_nothing_is_cached(settings.cache_root)


def test_a_shard_that_the_index_names_must_be_there(settings: Settings, server: HubServer) -> None:
    files = {path: content for path, content in models.example_files().items() if ".data-" not in path}
    with pytest.raises(BrokenModelError, match="variables.data-00000-of-00001 is missing"):
        fetch(server.serve("/m/1", models.pack(files)), settings)


# Entries that are broken, old, or of others


def gut_result(result: FetchResult) -> None:
    """What a cleaner of temporary files does: it takes the files and leaves the folders."""
    for path in result.path.rglob("*"):
        if path.is_file():
            path.unlink()


def test_a_gutted_entry_is_fetched_anew_with_a_note(settings: Settings) -> None:
    gut_result(fetch("example://mul/1", settings))
    listener = Notes()
    result = fetch("example://mul/1", settings, listener=listener)
    assert not result.was_cached
    assert models.tree_files(result.path) == models.example_files()
    assert "is corrupt" in listener.notes[0]
    assert leftovers(settings.cache_root) == []


def test_a_file_of_another_size_is_found_without_hashing(settings: Settings) -> None:
    result = fetch("example://mul/1", settings)
    (result.path / "fingerprint.pb").write_bytes(b"short")
    assert not fetch("example://mul/1", settings).was_cached


def test_offline_a_gutted_entry_is_a_miss(settings: Settings, server: HubServer) -> None:
    server.serve("/maker/model/1", models.archive())
    gut_result(fetch(HANDLE, mirrored(settings, server)))
    with pytest.raises(OfflineError):
        fetch(HANDLE, mirrored(settings, server, offline=True))


def test_force_replaces_what_is_cached(settings: Settings, server: HubServer) -> None:
    url = server.serve("/m/1", models.archive(assets__old=b"old"))
    fetch(url, settings)
    server.serve("/m/1", models.archive(assets__new=b"new"))
    result = fetch(url, settings, FetchOptions(force=True))
    assert sorted(os.listdir(result.path / "assets")) == ["new"]
    assert leftovers(settings.cache_root) == []


def test_force_that_fails_leaves_the_old_one(settings: Settings, server: HubServer) -> None:
    url = server.serve("/m/1", models.archive())
    result = fetch(url, settings)
    server.serve("/m/1", Reply(models.archive(), cut_at=500))
    with pytest.raises(TruncatedError):
        fetch(url, settings, FetchOptions(force=True))
    assert models.tree_files(result.path) == models.example_files()
    assert fetch(url, settings).was_cached


def test_a_model_in_a_layer_of_an_image_is_to_be_removed_before_it_is_replaced(
    settings: Settings, server: HubServer
) -> None:
    url = server.serve("/m/1", models.archive(assets__old=b"old"))
    fetch(url, settings)
    server.serve("/m/1", models.archive(assets__new=b"new"))
    with overlaid(settings.cache_root) as merged:
        above = replace(settings, cache_root=merged)
        path = fetch(url, above).path
        before = models.tree_files(merged)
        with pytest.raises(CacheError, match=f"Cannot move {path}: it is in a lower layer") as caught:
            fetch(url, above, FetchOptions(force=True))
        assert models.tree_files(merged) == before
        command = caught.value.hint.partition(": ")[2]
        subprocess.run(command, shell=True, check=True)
        assert sorted(os.listdir(fetch(url, above).path / "assets")) == ["new"]
        fetch(url, above, FetchOptions(force=True))


@pytest.mark.slow
def test_there_is_no_moment_without_a_model_under_force(settings: Settings, server: HubServer) -> None:
    url = server.serve("/m/1", models.archive())
    path = fetch(url, settings).path
    missing, finished = [], threading.Event()

    def watch() -> None:
        while not finished.is_set():
            if not (path / "saved_model.pb").exists():
                missing.append(1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(20):
        fetch(url, settings, FetchOptions(force=True))
    finished.set()
    watcher.join()
    assert missing == []


def cache_as_tensorflow_hub_does(cache: Path, handle: str, *, descriptor: bool = True) -> Path:
    """An entry as tensorflow_hub 0.16.1 leaves it."""
    key = hashlib.sha1(handle.encode()).hexdigest()
    folder = models.write_tree(cache / key, models.example_files())
    if descriptor:
        text = f"Module: {handle}\nDownload Time: 2024-01-02 03:04:05.678\nDownloader Hostname: old (PID:7)"
        (cache / f"{key}.descriptor.txt").write_text(text)
    return folder


def test_an_entry_of_tensorflow_hub_is_a_hit_and_adopted(settings: Settings, cache: Path) -> None:
    folder = cache_as_tensorflow_hub_does(cache, HANDLE)
    result = fetch(HANDLE, settings)
    assert (result.path, result.was_cached) == (folder, True)
    manifest = json.loads((cache / f"{folder.name}.hubcli.json").read_text())
    assert manifest["source"] == "tensorflow_hub"
    assert {file["sha256"] for file in manifest["files"]} == {None}


def test_an_entry_of_tensorflow_hub_under_another_spelling_is_a_hit(settings: Settings, cache: Path) -> None:
    folder = cache_as_tensorflow_hub_does(cache, HANDLE + "/")
    result = fetch(HANDLE, settings)
    assert (result.path, result.was_cached) == (folder, True)
    assert (cache / Handle.parse(HANDLE).cache_key).readlink() == Path(folder.name)


def test_an_entry_that_tensorflow_hub_cached_broken_is_fetched_anew(
    settings: Settings, server: HubServer, cache: Path
) -> None:
    folder = cache_as_tensorflow_hub_does(cache, HANDLE)
    (folder / "variables" / "variables.index").write_bytes(b"cut")
    server.serve("/maker/model/1", models.archive())
    result = fetch(HANDLE, mirrored(settings, server))
    assert not result.was_cached
    assert models.tree_files(result.path) == models.example_files()


# A cache that can't be written, or can't have links


def test_where_no_links_can_be_made_a_note_tells(settings: Settings, tmp_path: Path) -> None:
    """As on FAT: the system's own refusal stands in for a file system that CI can't mount."""
    file = tmp_path / "model.tar.gz"
    file.write_bytes(models.archive())
    listener = Notes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "symlink_to", refuse_links)
        result = fetch(HANDLE, settings, FetchOptions(local=str(file)), listener)
    assert listener.notes == [
        f"Cannot create links here: hub.load finds the model only as {HANDLE}, not by its aliases"
    ]
    assert models.tree_files(result.path) == models.example_files()
    assert fetch(HANDLE + "/", settings).was_cached


def refuse_links(*_arguments: object, **_options: object) -> None:
    raise PermissionError(1, "Operation not permitted")


@pytest.fixture
def frozen_cache(settings: Settings) -> Iterator[Settings]:
    """A cache with the example in it, on a file system that is mounted read-only."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a file system read-only")
    fetch("example://mul/1", settings)
    root = str(settings.cache_root)
    commands = (["mount", "--bind", root, root], ["mount", "-o", "remount,bind,ro", root])
    try:
        if any(subprocess.run(command, capture_output=True, check=False).returncode for command in commands):
            pytest.skip("mounting isn't allowed here")
        yield settings
    finally:
        subprocess.run(["umount", root], capture_output=True, check=False)


def test_a_cache_that_can_not_be_written_is_fine_for_a_hit(frozen_cache: Settings) -> None:
    assert fetch("example://mul/1", frozen_cache).was_cached


def test_a_cache_that_can_not_be_written_is_a_clear_error_for_a_miss(
    frozen_cache: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "model.tar.gz"
    file.write_bytes(models.archive())
    with pytest.raises(CacheError, match="Cannot access the cache") as caught:
        fetch(HANDLE, frozen_cache, FetchOptions(local=str(file)))
    assert caught.value.exit_status == 8


def test_what_stands_in_the_place_of_a_spool_is_no_fault_of_the_model(
    settings: Settings, server: HubServer, cache: Path
) -> None:
    url = server.serve("/m/1", models.archive())
    (cache / f"{Handle.parse(url).cache_key}.hubcli.part").mkdir(parents=True)
    assert models.tree_files(fetch(url, settings).path) == models.example_files()


# What a whole archive may hold, and a model may not


def _with_asset(name: str) -> dict[str, bytes]:
    """The example, declaring one more asset: a field of a message may be said again, at its end."""
    files = models.example_files()
    pb = files["saved_model.pb"]
    meta_graph = next(field for field in scan(pb) if field.number == 2)
    declared = pb[meta_graph.start : meta_graph.end] + encode_field(6, encode_field(2, name))
    return {**files, "saved_model.pb": encode_field(1, 1) + encode_field(2, declared)}


def test_a_flipped_bit_in_a_tensor_is_found_where_no_checksum_came_along(
    settings: Settings, server: HubServer, tmp_path: Path, cache: Path
) -> None:
    shard = "variables/variables.data-00000-of-00001"
    files = models.example_files()
    files[shard] = bytes([files[shard][0] ^ 1]) + files[shard][1:]
    url = server.serve("/m/1", models.pack(files))
    with pytest.raises(BrokenModelError, match="bytes 0 to 3: checksum mismatch"):
        fetch(url, settings)
    assert_nothing_is_cached(cache)


@pytest.mark.parametrize("name", ["../../../../etc/hostname", "/etc/hostname"])
def test_an_asset_outside_of_the_model_is_refused(
    name: str, settings: Settings, server: HubServer, cache: Path
) -> None:
    url = server.serve("/m/1", models.pack(_with_asset(name)))
    with pytest.raises(BrokenModelError, match="outside of assets/"):
        fetch(url, settings)
    assert_nothing_is_cached(cache)


def test_a_missing_asset_is_said_and_the_model_kept(settings: Settings, server: HubServer) -> None:
    url = server.serve("/m/1", models.pack(_with_asset("words.txt")))
    notes = Notes()
    assert (fetch(url, settings, listener=notes).path / "saved_model.pb").is_file()
    assert "assets/words.txt: is missing" in "\n".join(notes.notes)
