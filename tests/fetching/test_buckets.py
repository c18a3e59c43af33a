"""Models in buckets: archives and unpacked directories, fetched, looked at and resumed as any other."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hubcli.archive import Limits
from hubcli.archive.pack import pack
from hubcli.archive.tree import Tree
from hubcli.cache.layout import EntryPaths
from hubcli.commands.fetch import fetch
from hubcli.commands.inspect import inspect
from hubcli.config.settings import Settings
from hubcli.errors import (
    AuthenticationError,
    ChecksumError,
    IntegrityError,
    NetworkError,
    NotFoundError,
    OfflineError,
    UnsafeArchiveError,
    UsageError,
)
from hubcli.fetching.options import FetchOptions
from hubcli.fetching.sources import open_source
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle
from tests import models
from tests.bucket_proxy import BucketProxy, Fault
from tests.bucket_servers import BucketServer
from tests.cli.terminal import start
from tests.conftest import Run
from tests.server import HubServer, Reply

obstore = pytest.importorskip("obstore", reason="buckets need obstore")

from hubcli.net.bucket_store import open_store  # noqa: E402 - behind the skip

SLOW_SERVERS = [pytest.param(name, marks=pytest.mark.slow) for name in ("s3_server", "azure_server")]
SERVERS = ["gcs_server", *SLOW_SERVERS]  # Ours starts in 0.2 s.


@pytest.fixture(params=SERVERS)
def bucket_server(request: pytest.FixtureRequest) -> BucketServer:
    found: BucketServer = request.getfixturevalue(request.param)
    return found


def settings_of(server: BucketServer, cache: Path, **more: Any) -> Settings:
    return replace(
        Settings.read({**server.variables, "HUBCLI_CACHE_DIR": str(cache)}), **{"retries": 0, **more}
    )


def put(server: BucketServer, address: str, files: dict[str, bytes]) -> str:
    """The files below the address; gives it back."""
    store = open_store(address, settings_of(server, Path("/nowhere")))
    for path, content in files.items():
        store.put(path, content)
    return address


def model_at(server: BucketServer, **extra: bytes) -> str:
    files = {**models.example_files(), **{name.replace("__", "/"): value for name, value in extra.items()}}
    return put(server, f"{server.new_bucket()}/maker/model/1", files)


def archive_at(server: BucketServer, content: bytes) -> str:
    address = server.new_bucket()
    put(server, address, {"models/model.tar.gz": content})
    return f"{address}/models/model.tar.gz"


# --- What comes


def test_an_archive_is_fetched_as_from_any_host(bucket_server: BucketServer, tmp_path: Path) -> None:
    packed = models.archive()
    handle, settings = archive_at(bucket_server, packed), settings_of(bucket_server, tmp_path / "cache")

    result = fetch(handle, settings, FetchOptions(sha256=hashlib.sha256(packed).hexdigest()))

    assert models.tree_files(result.path) == models.example_files()
    assert result.path.name == hashlib.sha1(handle.encode()).hexdigest()  # As tensorflow_hub names it.
    assert fetch(handle, settings).was_cached


def test_an_unpacked_model_is_the_tar_that_export_writes_of_it(
    bucket_server: BucketServer, tmp_path: Path
) -> None:
    long = "assets/" + "/".join(["a-long-name-of-a-directory"] * 6) + "/größe.txt"
    handle = model_at(bucket_server, **{"assets__vocab.txt": b"a\nb", "assets__empty": b"", long: b"deep"})
    settings = settings_of(bucket_server, tmp_path / "cache")

    result = fetch(handle, settings)

    files = {**models.example_files(), "assets/vocab.txt": b"a\nb", "assets/empty": b"", long: b"deep"}
    assert models.tree_files(result.path) == files
    exported = pack(Tree.read(result.path, Limits()), tmp_path / "m.tar", compress=False)
    fetch(handle, settings, FetchOptions(force=True, sha256=exported.sha256))
    with pytest.raises(ChecksumError):
        fetch(handle, settings, FetchOptions(force=True, sha256="0" * 64))


def test_refresh_fetches_only_what_changed(bucket_server: BucketServer, tmp_path: Path) -> None:
    handle, settings = model_at(bucket_server), settings_of(bucket_server, tmp_path / "cache")
    fetch(handle, settings)

    assert fetch(handle, settings, FetchOptions(refresh=True)).was_cached
    put(bucket_server, handle, {"assets/more": b"more"})
    again = fetch(handle, settings, FetchOptions(refresh=True))
    assert not again.was_cached
    assert (again.path / "assets" / "more").read_bytes() == b"more"


@pytest.mark.slow
def test_an_inspection_reads_the_graph_and_the_index_alone(
    s3_server: BucketServer, s3_proxy: BucketProxy, tmp_path: Path
) -> None:
    handle = model_at(s3_server, assets__large=os.urandom(200_000))
    settings = settings_of(s3_server.through(s3_proxy.url), tmp_path / "cache")

    found = inspect(handle, settings)

    files = models.example_files()
    read = [name for name in files if "data" not in name]
    assert found.received_bytes == sum(len(files[name]) for name in read)
    gets = [
        request for request in s3_proxy.requests if request.startswith("GET") and "list-type" not in request
    ]
    assert len(gets) == len(read)
    assert not any("data-00000" in request or "large" in request for request in gets)
    assert len(s3_proxy.requests) <= len(read) + 3  # Is it an object, is there a graph, and the list.
    assert not (tmp_path / "cache").exists()
    assert found.info.functions == inspect(str(fetch(handle, settings).path), settings).info.functions


@pytest.mark.slow
def test_markers_of_folders_are_no_files(s3_server: BucketServer, tmp_path: Path) -> None:
    handle = model_at(s3_server, assets__a=b"a", assets__empty=b"")
    connection = http.client.HTTPConnection(s3_server.url.removeprefix("http://"))
    for folder in ("", "assets/", "empty-folder/"):
        connection.request("PUT", f"/{handle.removeprefix('s3://')}/{folder}".replace("//", "/"), body=b"")
        assert connection.getresponse().read() is not None

    result = fetch(handle, settings_of(s3_server, tmp_path / "cache"))

    files = {**models.example_files(), "assets/a": b"a", "assets/empty": b""}
    assert models.tree_files(result.path) == files


def test_hub_load_finds_a_model_of_a_bucket_in_the_cache(gcs_server: BucketServer, tmp_path: Path) -> None:
    from hubcli.drop_in.load import resolve

    handle = model_at(gcs_server).replace("gs://", "s3://")
    settings = settings_of(gcs_server, tmp_path / "cache")
    entry = fetch(
        handle, settings, FetchOptions(local=str(models.write_tree(tmp_path / "m", models.example_files())))
    )

    assert resolve(handle, settings=settings) == str(entry.path)


def test_a_mirror_stands_in_for_a_bucket(gcs_server: BucketServer, tmp_path: Path) -> None:
    handle = archive_at(gcs_server, models.archive())
    mirror = f"https://models.example={handle.removesuffix('/models/model.tar.gz')}"
    found = Settings.read(dict(gcs_server.variables), cache_dir=tmp_path / "cache", mirrors=[mirror])

    result = fetch("https://models.example/models/model.tar.gz", found)

    assert models.tree_files(result.path) == models.example_files()


# --- What is refused


@pytest.mark.slow
def test_what_is_no_model_says_what_is_there(s3_server: BucketServer, tmp_path: Path) -> None:
    handle, settings = model_at(s3_server), settings_of(s3_server, tmp_path / "cache")
    with pytest.raises(
        NotFoundError, match="is neither an object nor a directory with saved_model.pb"
    ) as caught:
        fetch(handle.removesuffix("/1"), settings)
    assert handle in caught.value.hint
    with pytest.raises(NotFoundError, match=r"model\.tar\.gz does not exist"):
        fetch(f"{handle}/model.tar.gz", settings)
    with pytest.raises(NotFoundError, match=r"^s3://no-such-bucket does not exist \("):
        fetch("s3://no-such-bucket/model", settings)
    with pytest.raises(OfflineError):
        fetch(handle, replace(settings, offline=True))
    assert not list((tmp_path / "cache").glob("*.descriptor.txt"))


@pytest.mark.slow
def test_a_model_among_too_many_objects_is_refused(
    s3_server: BucketServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubcli.fetching.buckets.Limits", lambda: Limits(members=3))
    with pytest.raises(UnsafeArchiveError, match="more than 3 objects"):
        fetch(model_at(s3_server), settings_of(s3_server, tmp_path / "cache"))


@pytest.mark.parametrize("name", ["assets/back\\slash", "assets/CON", "assets/a\u202eb", "saved_model.pb/x"])
@pytest.mark.slow
def test_a_key_that_is_no_path_everywhere_is_refused(
    name: str, s3_server: BucketServer, tmp_path: Path
) -> None:
    handle = model_at(s3_server, **{name: b"x"})
    try:
        result = fetch(handle, settings_of(s3_server, tmp_path / "cache"))
    except IntegrityError:
        assert not list((tmp_path / "cache").glob("*.descriptor.txt"))
    else:  # What an archive may hold, a bucket may.
        assert (result.path / name).read_bytes() == b"x"
        assert "\\" not in name
        assert "saved_model.pb/" not in name


@pytest.mark.slow
def test_a_shard_that_is_tampered_with_is_found_out(
    s3_server: BucketServer, s3_proxy: BucketProxy, tmp_path: Path
) -> None:
    handle = model_at(s3_server)
    s3_proxy.faults.append(Fault("tampered", "GET .*data-00000"))
    with pytest.raises(IntegrityError):
        fetch(handle, settings_of(s3_server.through(s3_proxy.url), tmp_path / "cache"))
    assert not list((tmp_path / "cache").glob("*.descriptor.txt"))


@pytest.mark.slow
def test_denied_reads_name_where_the_credentials_are(
    s3_server: BucketServer, s3_proxy: BucketProxy, tmp_path: Path
) -> None:
    s3_proxy.faults.append(Fault("denied"))
    with pytest.raises(AuthenticationError, match="denied to the credentials in AWS_ACCESS_KEY_ID") as caught:
        fetch("s3://bucket/model", settings_of(s3_server.through(s3_proxy.url), tmp_path / "cache"))
    assert "test-secret" not in f"{caught.value} {caught.value.hint}"


def test_what_is_no_model_is_said_by_one_page_of_a_listing(
    gcs_server: BucketServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, address = settings_of(gcs_server, tmp_path / "cache"), gcs_server.new_bucket()
    put(gcs_server, f"{address}/m", {"a/x": b"1", "10/x": b"1", "9/x": b"1", "file": b"1"})
    put(gcs_server, address, {"empty.tar.gz": b"", "half/variables/variables.index": b"1"})
    put(gcs_server, f"{address}/both", {"saved_model.pb": b"1", "assets": b"1", "assets/x": b"1"})

    with pytest.raises(NotFoundError, match=r"empty\.tar\.gz is empty"):
        fetch(f"{address}/empty.tar.gz", settings)
    with pytest.raises(NotFoundError) as caught:
        fetch(f"{address}/half", settings)
    assert "--force" in caught.value.hint  # Not: the directory of the variables.
    with pytest.raises(IntegrityError, match=f"{address}/both has 'assets' both as an object"):
        fetch(f"{address}/both", settings)
    for limit, names in ((1000, ["10", "9", "a"]), (1, ["10"])):  # A million of objects is not listed.
        monkeypatch.setattr("hubcli.fetching.buckets._MAX_LISTED", limit)
        with pytest.raises(NotFoundError, match="is neither an object nor a directory") as caught:
            fetch(f"{address}/m", settings)
        assert caught.value.hint.endswith(": " + ", ".join(f"{address}/m/{name}" for name in names))


# --- What goes wrong on the way


def test_a_bucket_that_cannot_be_reached_is_asked_as_often_as_retries_allow(tmp_path: Path) -> None:
    keys = {
        "AWS_ACCESS_KEY_ID": "AKIA",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    }
    settings = replace(Settings.read(keys, cache_dir=tmp_path), retries=2)
    notes = Notes()

    with pytest.raises(NetworkError, match="cannot be reached"):
        fetch("s3://bucket/model.tar.gz", settings, listener=notes)

    assert len(notes.retries) == 2  # Those of opening and of the whole fetch are one count.


@pytest.mark.slow
def test_transient_errors_of_every_kind_are_tried_again(
    s3_server: BucketServer, s3_proxy: BucketProxy, tmp_path: Path
) -> None:
    handle = model_at(s3_server, assets__large=os.urandom(300_000))
    s3_proxy.faults += [
        Fault("unavailable", "HEAD .*saved_model", times=1),
        Fault("truncated", "GET .*large", times=1),
        Fault("dropped", "GET .*data-00000", times=1),
        Fault("unavailable", "list-type", times=1),
    ]
    settings = settings_of(s3_server.through(s3_proxy.url), tmp_path / "cache", retries=5)

    result = fetch(handle, settings)

    assert {fault.times for fault in s3_proxy.faults} == {0}
    assert (result.path / "assets" / "large").stat().st_size == 300_000


@pytest.mark.slow
def test_an_object_that_changes_on_the_way_is_fetched_anew(
    s3_server: BucketServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = model_at(s3_server, assets__vocab=b"old")
    settings = settings_of(s3_server, tmp_path / "cache", retries=3)
    from hubcli.net import bucket_source

    blocks, changed = bucket_source._Stream.blocks, list[bool]()

    def change_once(self: Any) -> Iterator[bytes]:
        if not changed:  # The first object alone is requested yet, which is another one.
            assert self.part.name.endswith("/saved_model.pb")
            changed.append(True)
            put(s3_server, handle, {"assets/vocab": b"newer", "assets/more": b"more"})
        return blocks(self)

    monkeypatch.setattr(bucket_source._Stream, "blocks", change_once)
    monkeypatch.setattr(bucket_source, "_OBJECTS_AHEAD", 1)
    notes = Notes()
    result = fetch(handle, settings, listener=notes)

    assert changed
    assert (result.path / "assets" / "vocab").read_bytes() == b"newer"
    assert (result.path / "assets" / "more").read_bytes() == b"more"
    assert any("changed during the download" in text for text in notes.retries)


class Notes(ProgressListener):
    def __init__(self) -> None:
        self.retries: list[str] = []

    def retrying(self, text: str) -> None:
        self.retries.append(text)


@pytest.mark.slow
@pytest.mark.parametrize("is_archive", [True, False])
@pytest.mark.slow
def test_a_killed_fetch_is_resumed(
    is_archive: bool,
    s3_server: BucketServer,
    s3_proxy: BucketProxy,
    cache: Path,
    hubcli: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = os.urandom(24 << 20)
    if is_archive:
        packed = models.pack({**models.example_files(), "assets.extra/large": content}, level=0)
        handle = archive_at(s3_server, packed)
    else:
        handle = put(
            s3_server,
            f"{s3_server.new_bucket()}/m",
            {**models.example_files(), "assets.extra/large": content},
        )
    for name, value in s3_server.through(s3_proxy.url).variables.items():
        monkeypatch.setenv(name, value)
    part = "GET .*(large|model.tar)"
    s3_proxy.faults += [Fault("truncated", part, times=1), Fault("slow", part, seconds=60.0)]
    process = start(cache, "fetch", handle)
    spool = EntryPaths(cache, Handle.parse(handle).cache_key).spool
    while not spool.exists() or sum(bool(re.search(part, found)) for found in s3_proxy.requests) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    journal = spool.with_name(f"{spool.name}.journal")
    while journal.read_bytes().count(b"\n") < 2:  # Its second line tells of the first bytes.
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    s3_proxy.faults.clear()

    again = hubcli("fetch", handle)

    assert (again.returncode, "Resuming" in again.stderr) == (0, True), again.stderr
    assert (Path(again.stdout.strip()) / "assets.extra" / "large").read_bytes() == content
    assert not spool.exists()


# --- Credentials


def test_without_obstore_a_bucket_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(UsageError, match="obstore, which is not installed") as caught:
        fetch("s3://bucket/model", Settings.read({"HUBCLI_CACHE_DIR": str(tmp_path)}))
    assert caught.value.hint == "Run: pip install 'hubcli[buckets]'"


def test_what_has_no_bucket_imports_no_obstore(hubcli: Run, tmp_path: Path) -> None:
    import subprocess
    import sys

    program = (
        "import sys; from hubcli.commands.fetch import fetch; from hubcli.config.settings import Settings\n"
        f"fetch('example://mul/1', Settings.read({{}}, cache_dir={str(tmp_path / 'c')!r}))\n"
        "print('obstore' in sys.modules, 'hubcli.config.buckets' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "False"]


def test_what_reads_buckets_and_tiers_in_them_loads_no_httpx() -> None:
    """It takes longer to load than obstore, and a fetch from a bucket would wait for both."""
    import subprocess
    import sys

    program = (
        "import sys, hubcli.commands.fetch, hubcli.fetching.buckets, hubcli.tiers.tier, "
        "hubcli.net.bucket_store, hubcli.fetching.unpacking\n"
        "print('obstore' in sys.modules, 'httpx' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("status", ["denied", "missing"])
@pytest.mark.slow
def test_a_web_address_that_is_denied_is_asked_with_the_users_account(
    status: str, s3_server: BucketServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from hubcli.fetching import byte_sources

    addresses = list[str]()

    def refuse(address: str, settings: Settings, transfer: Any) -> Any:
        addresses.append(address)
        raise (AuthenticationError if status == "denied" else NotFoundError)("answers 403")

    monkeypatch.setitem(byte_sources._SCHEMES, "https", byte_sources._Scheme(refuse, None))
    monkeypatch.setattr("hubcli.config.buckets.BucketOptions.is_other_service", property(lambda self: False))
    archive = archive_at(s3_server, models.archive())
    bucket, _, key = archive.removeprefix("s3://").partition("/")
    url = f"https://{bucket}.s3.eu-west-1.amazonaws.com/{key}"
    settings = settings_of(s3_server, tmp_path / "cache")

    result = fetch(url, settings)

    assert addresses == [url]
    assert result.path.name == hashlib.sha1(url.encode()).hexdigest()
    for refused in (f"{url}?X-Amz-Signature=s", url.replace("s3.eu-west-1.amazonaws.com", "example.com")):
        with (
            pytest.raises((AuthenticationError, NotFoundError)),
            open_source(Handle.parse(refused), settings, None),
        ):
            pass
    anonymous = Settings.read(dict(s3_server.variables), cache_dir=tmp_path / "other", anonymous=True)
    with pytest.raises((AuthenticationError, NotFoundError)), open_source(Handle.parse(url), anonymous, None):
        pass


@pytest.mark.slow
def test_ctrl_c_ends_a_fetch_that_waits_for_a_bucket_at_once(
    s3_server: BucketServer, s3_proxy: BucketProxy, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = model_at(s3_server)
    for name, value in s3_server.through(s3_proxy.url).variables.items():
        monkeypatch.setenv(name, value)
    for pattern in ("HEAD", "list-type", "GET .*saved_model"):
        s3_proxy.faults[:] = [Fault("slow", pattern, seconds=100.0)]
        s3_proxy.requests.clear()
        process = start(cache, "fetch", handle)
        while not any(re.search(pattern, found) for found in s3_proxy.requests):
            assert process.poll() is None
            time.sleep(0.01)
        began_s = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 130, stderr
        assert time.monotonic() - began_s < 20
        assert not list(cache.glob("*.descriptor.txt"))


def test_the_options_of_buckets_reach_the_service(server: HubServer, hubcli: Run) -> None:
    dates = {"Last-Modified": "Sun, 29 Nov 2026 00:00:00 GMT"}
    server.serve("/models/m.tar.gz", Reply(models.archive(), etag='"1"', headers=dates))
    keys = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s3cr3t-of-options"}
    for command in ("inspect", "fetch"):
        for flag, header in (("--anonymous", None), ("--requester-pays", "x-amz-request-payer")):
            server.requests.clear()
            force = ["--force"] if command == "fetch" else []
            variables = {**keys, "AWS_ENDPOINT_URL": server.url}
            result = hubcli(command, "s3://models/m.tar.gz", flag, *force, **variables)
            assert result.returncode == 0, result.stderr
            headers = server.requests[-1].headers
            assert ("authorization" in headers) == (header is not None)
            assert header is None or headers[header] == "requester"
