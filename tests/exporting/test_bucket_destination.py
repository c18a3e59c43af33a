"""Exports into buckets: what is seen there, and when; what is replaced, and what is left after an error."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hubcli.commands.export import ExportOptions, Layout, export
from hubcli.commands.fetch import fetch
from hubcli.commands.search import SearchQuery, search
from hubcli.commands.versions import versions
from hubcli.config.settings import Settings
from hubcli.errors import HandleError, HubcliError, NetworkError, NotFoundError, OutputError
from hubcli.progress import ProgressListener
from tests import models
from tests.bucket_proxy import BucketProxy, Fault
from tests.bucket_servers import BucketServer

pytest.importorskip("obstore", reason="buckets need obstore")

from hubcli.net.bucket_store import PART_BYTES, open_store

SLOW_SERVERS = [pytest.param(name, marks=pytest.mark.slow) for name in ("s3_server", "azure_server")]
SERVERS = ["gcs_server", *SLOW_SERVERS]  # Ours starts in 0.2 s.
EXAMPLE = "example://mul/1"


@pytest.fixture(params=SERVERS)
def bucket_server(request: pytest.FixtureRequest) -> BucketServer:
    found: BucketServer = request.getfixturevalue(request.param)
    return found


def settings_of(server: BucketServer, cache: Path) -> Settings:
    return replace(Settings.read({**server.variables, "HUBCLI_CACHE_DIR": str(cache)}), retries=0)


def keys_at(address: str, settings: Settings) -> list[str]:
    return [info.key for info in open_store(address, settings).list_objects()]


def test_an_archive_and_a_directory_come_back_as_they_went(
    bucket_server: BucketServer, tmp_path: Path
) -> None:
    address, settings = bucket_server.new_bucket(), settings_of(bucket_server, tmp_path / "cache")

    packed = export(EXAMPLE, f"{address}/out/mul.tar.gz", settings)
    unpacked = export(EXAMPLE, f"{address}/out/mul", settings)

    assert packed.destination == f"{address}/out/mul.tar.gz"
    assert unpacked.destination == f"{address}/out/mul"
    assert packed.sha256 == export(EXAMPLE, tmp_path / "mul.tar.gz", settings).sha256
    for handle in (packed.destination, unpacked.destination):
        assert models.tree_files(fetch(handle, settings).path) == models.example_files()


def test_what_is_there_is_replaced_with_force_alone(bucket_server: BucketServer, tmp_path: Path) -> None:
    address, settings = bucket_server.new_bucket(), settings_of(bucket_server, tmp_path / "cache")
    store = open_store(address, settings)
    for key in ("a.tar.gz", "dir/assets/old", "dir/saved_model.pb", "dirt"):
        store.put(key, b"old")

    for name, message in (("a.tar.gz", "already exists"), ("dir", "exists and is not empty")):
        with pytest.raises(OutputError, match=f"{address}/{name} {message}") as caught:
            export(EXAMPLE, f"{address}/{name}", settings)
        assert "--force" in caught.value.hint
        assert "/tmp" not in f"{caught.value}{caught.value.hint}"
        export(EXAMPLE, f"{address}/{name}", settings, ExportOptions(force=True))
    below = {key.removeprefix("dir/") for key in keys_at(address, settings) if key.startswith("dir/")}
    assert below == set(models.example_files())
    assert (store.read("dirt", 9) or (b"",))[0] == b"old"
    assert fetch(f"{address}/a.tar.gz", settings).file_count == len(models.example_files())


@pytest.mark.slow
def test_layouts_are_trees_of_the_bucket(s3_server: BucketServer, tmp_path: Path) -> None:
    address, settings = s3_server.new_bucket(), settings_of(s3_server, tmp_path / "cache")

    served = export(EXAMPLE, f"{address}/serving", settings, ExportOptions(layout=Layout.SERVING))
    hosted = [
        export(
            EXAMPLE, address, settings, ExportOptions(layout=Layout.HUB, name="maker/mul", version=version)
        )
        for version in ("2", "10", "9")
    ]

    assert served.destination == f"{address}/serving/mul/1"
    assert [result.destination for result in hosted] == [f"{address}/maker/mul/{n}" for n in (2, 10, 9)]
    found = {info.key: info for info in open_store(address, settings).list_objects()}
    assert {f"serving/mul/1/{name}" for name in models.example_files()} < set(found)
    store = open_store(address, settings)
    content, _ = store.read("index.json", 10_000) or (b"", None)
    assert [model["version"] for model in json.loads(content)["models"]] == ["2", "9", "10"]
    assert found["maker/mul/index.html"].size_bytes == found["maker/mul/10"].size_bytes
    hits = search(SearchQuery("mul", host=address), settings).hits
    assert [hit.handle for hit in hits] == [f"{address}/maker/mul/10"]
    listed = versions(f"{address}/maker/mul", settings).versions
    assert [(row.version, row.handle) for row in listed] == [
        (n, f"{address}/maker/mul/{n}") for n in ("10", "9", "2")
    ]
    listener = Notes()
    open_store(address, settings).put("maker/mul/index.html", b"<html>mine</html>")
    options = ExportOptions(layout=Layout.HUB, name="maker/mul", version="11")
    open_store(address, settings).put("index.json", b"<html>mine</html>")
    export(EXAMPLE, address, settings, options, listener)
    assert "was not created by hubcli and was kept" in listener.notes[-2]
    assert "index.json is not an index of models" in listener.notes[-1]
    assert (open_store(address, settings).read("maker/mul/index.html", 99) or (b"",))[
        0
    ] == b"<html>mine</html>"


class Notes(ProgressListener):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.slow
def test_the_main_file_comes_last_and_goes_first(
    force: bool, s3_server: BucketServer, s3_proxy: BucketProxy, tmp_path: Path
) -> None:
    address = f"{s3_server.new_bucket()}/m"
    if force:
        export(EXAMPLE, address, settings_of(s3_server, tmp_path / "cache"))
    settings = settings_of(s3_server.through(s3_proxy.url), tmp_path / "cache")

    export(EXAMPLE, address, settings, ExportOptions(force=force))

    writes = [found for found in s3_proxy.requests if found.startswith(("PUT", "POST", "DELETE"))]
    is_put = [found.startswith("PUT") for found in writes]
    assert is_put == [False] * force + [True] * 4
    assert writes[-1].endswith("m/saved_model.pb")


@pytest.mark.slow
def test_a_write_that_fails_leaves_nothing(
    s3_server: BucketServer, s3_proxy: BucketProxy, tmp_path: Path
) -> None:
    address = s3_server.new_bucket()
    settings = settings_of(s3_server.through(s3_proxy.url), tmp_path / "cache")
    for name, pattern in (("m", "PUT .*saved_model"), ("n", "PUT .*variables.index"), ("a.tar", "PUT")):
        s3_proxy.faults.append(Fault("denied", pattern))
        with pytest.raises(HubcliError, match="denied"):
            export(EXAMPLE, f"{address}/{name}", settings)
        s3_proxy.faults.clear()
        assert keys_at(address, settings) == []
    with pytest.raises(NotFoundError, match="s3://no-such-bucket does not exist"):
        export(EXAMPLE, "s3://no-such-bucket/m", settings)


@pytest.mark.slow
def test_of_two_exports_at_once_one_wins(
    s3_server: BucketServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hubcli.exporting import bucket_destination

    address, settings = s3_server.new_bucket(), settings_of(s3_server, tmp_path / "cache")
    fetch(EXAMPLE, settings)
    both = threading.Barrier(2)

    def together(self: Any, key: str) -> None:
        both.wait(60)

    monkeypatch.setattr(bucket_destination._Upload, "require_free", together)
    outcomes = list[str]()

    def run() -> None:
        try:
            export(EXAMPLE, f"{address}/m.tar", settings)
            outcomes.append("won")
        except OutputError as error:
            outcomes.append(error.message)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [f"{address}/m.tar was created by another process", "won"]


def test_who_loses_to_another_export_leaves_its_large_objects_alone(
    gcs_server: BucketServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hubcli.exporting import bucket_destination

    address, settings = gcs_server.new_bucket(), settings_of(gcs_server, tmp_path / "cache")
    index, shard = "m/variables/variables.index", "m/variables/variables.data-00000-of-00001"
    sizes = {f"m/{name}": len(content) for name, content in models.example_files().items()}
    monkeypatch.setattr(bucket_destination, "PART_BYTES", sizes[shard] - 1)
    monkeypatch.setattr(bucket_destination._Upload, "require_free", lambda self, key: None)
    store = open_store(address, settings)
    for key in (index, shard):  # The other one is about to write its saved_model.pb.
        store.put(key, b"theirs")
    assert sizes[index] < sizes[shard] - 1

    with pytest.raises(OutputError, match=r"variables\.index was created by another process"):
        export(EXAMPLE, f"{address}/m", settings)

    assert {key: (store.read(key, 99) or (b"",))[0] for key in keys_at(address, settings)} == {
        index: b"theirs",
        shard: b"theirs",
    }


@pytest.mark.slow
def test_an_index_follows_the_newest_version_where_each_write_has_an_etag_of_its_own(
    azure_server: BucketServer, tmp_path: Path
) -> None:
    address, settings = azure_server.new_bucket(), settings_of(azure_server, tmp_path / "cache")
    for version in ("1", "2", "1"):
        content = {**models.example_files(), "assets.extra/version": version.encode() * 1000}
        model = models.write_tree(tmp_path / f"model-{version}", content)
        options = ExportOptions(layout=Layout.HUB, name="maker/mul", version=version, force=True)
        export(str(model), address, settings, options)
    store = open_store(address, settings)

    contents = [store.read(f"maker/mul/{name}", 1 << 20) for name in ("index.html", "2")]
    assert contents[0] is not None
    assert contents[1] is not None
    assert contents[0][0] == contents[1][0]


@pytest.mark.slow
def test_a_dry_run_writes_nothing(s3_server: BucketServer, tmp_path: Path) -> None:
    address, settings = s3_server.new_bucket(), settings_of(s3_server, tmp_path / "cache")

    result = export(EXAMPLE, f"{address}/m", settings, ExportOptions(dry_run=True))

    assert (result.destination, result.is_dry_run) == (f"{address}/m", True)
    assert keys_at(address, settings) == []


@pytest.mark.parametrize("destination", ["s3://bucket", "s3://bucket/m.zip", "s3:///m"])
@pytest.mark.slow
def test_what_names_no_place_is_refused(destination: str, s3_server: BucketServer, tmp_path: Path) -> None:
    with pytest.raises(HubcliError) as caught:
        export(EXAMPLE, destination, settings_of(s3_server, tmp_path / "cache"))
    assert "/tmp" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize("key", ["m#1.tar", "m?v=1.tar", "m;1.tar", "m\t.tar", "m\n.tar"])
def test_no_other_object_than_the_named_one_is_written(key: str, tmp_path: Path) -> None:
    settings = Settings.read({"HUBCLI_CACHE_DIR": str(tmp_path)})
    with pytest.raises(HandleError, match="has a key with"):
        export(EXAMPLE, f"s3://bucket/{key}", settings)


@pytest.mark.slow
def test_a_large_archive_goes_in_parts_and_an_interrupt_leaves_nothing(
    s3_server: BucketServer, s3_proxy: BucketProxy, tmp_path: Path
) -> None:
    model = models.write_tree(
        tmp_path / "model", {**models.example_files(), "assets.extra/large": bytes(3 * PART_BYTES)}
    )
    address, settings = s3_server.new_bucket(), settings_of(s3_server.through(s3_proxy.url), tmp_path / "c")

    class Stopper(ProgressListener):
        sent = 0

        def started(self, handle: str, source: str, size_bytes: int | None) -> None:
            self.is_up = source.startswith("s3://")

        def received(self, size_bytes: int) -> None:
            if self.is_up:
                raise NetworkError("stopped")

    with pytest.raises(HubcliError):
        export(str(model), f"{address}/m.tar", settings, listener=Stopper())
    assert keys_at(address, settings) == []
    export(str(model), f"{address}/m.tar", settings)
    assert keys_at(address, settings) == ["m.tar"]
    assert sum("partNumber" in request for request in s3_proxy.requests) >= 3
