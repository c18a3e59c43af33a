"""`export`: every kind of source becomes every kind of destination, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hubcli.cache.records import Manifest
from hubcli.commands.export import ExportFormat, ExportOptions, ExportResult, Layout, export
from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.commands.inspect import inspect
from hubcli.config.settings import Settings
from hubcli.errors import (
    BrokenModelError,
    DiskFullError,
    HandleError,
    HubcliError,
    NotFoundError,
    OfflineError,
    OutputError,
    TruncatedError,
    UnsafeArchiveError,
    UsageError,
)
from hubcli.progress import ProgressListener
from tests import models
from tests.corpus import KINDS, corpus_model
from tests.disks import mounted
from tests.entries import SHARD, tensorflow_hub_entry
from tests.savedmodel.bundles import write_bundle_model
from tests.server import HubServer, Reply

HANDLE = "https://tfhub.dev/maker/model/1"
FILES = models.example_files()


class Notes(ProgressListener):
    """Keeps the notes, and counts the bytes."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.phases: list[list[int]] = []

    def started(self, handle: str, source: str, size_bytes: int | None) -> None:
        self.phases.append([size_bytes or 0, 0])

    def received(self, size_bytes: int) -> None:
        self.phases[-1][1] += size_bytes

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = models.write_tree(tmp_path / "model", FILES)
    (folder / "assets").mkdir(exist_ok=True)
    return folder


@pytest.fixture
def cached(settings: Settings, model: Path) -> Path:
    return fetch(HANDLE, settings, FetchOptions(local=str(model))).path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def broken(model: Path) -> None:
    content = bytearray((model / SHARD).read_bytes())
    content[0] ^= 1
    (model / SHARD).write_bytes(content)


def refusal(
    error: type[HubcliError],
    source: Path | str,
    out: Path,
    settings: Settings,
    options: ExportOptions | None = None,
) -> HubcliError:
    """The error of this very class with which it is refused, nothing written."""
    before = sorted(out.rglob("*"))
    for name in ("model", "model.tar.gz"):
        with pytest.raises(HubcliError) as caught:
            export(str(source), out / name, settings, options)
        assert type(caught.value) is error, caught.value
    assert sorted(out.rglob("*")) == before
    return caught.value


# Sources and destinations


@pytest.fixture(params=["handle", "key", "path in the cache", "directory", "tar.gz", "wrapped tar.xz"])
def source(request: pytest.FixtureRequest, cached: Path, model: Path, tmp_path: Path) -> str:
    if request.param == "tar.gz":
        (tmp_path / "a.tar.gz").write_bytes(models.pack(FILES, with_folders=True))
    packed = tmp_path / "wrapped.tar.xz"
    if request.param == "wrapped tar.xz":
        shutil.make_archive(str(tmp_path / "wrapped"), "xztar", model.parent, "model")
    return {
        "handle": HANDLE,
        "key": cached.name,
        "path in the cache": str(cached),
        "directory": str(model),
        "tar.gz": str(tmp_path / "a.tar.gz"),
        "wrapped tar.xz": str(packed),
    }[str(request.param)]


def test_a_directory_has_the_very_files(source: str, out: Path, settings: Settings) -> None:
    result = export(source, out / "model", settings)
    assert models.tree_files(out / "model") == FILES
    assert os.listdir(out) == ["model"]
    assert result == ExportResult(
        source=result.source,
        destination=out / "model",
        layout=Layout.PLAIN,
        format=ExportFormat.DIRECTORY,
        size_bytes=sum(map(len, FILES.values())),
        file_count=len(FILES),
        sha256=None,
        seconds=result.seconds,
    )


@pytest.mark.parametrize("name", ["model.tar.gz", "model.tar"])
def test_an_archive_comes_back_by_a_fetch(name: str, source: str, out: Path, settings: Settings) -> None:
    result = export(source, out / name, settings)
    content = (out / name).read_bytes()
    assert (result.sha256, result.size_bytes) == (hashlib.sha256(content).hexdigest(), len(content))
    assert result.file_count == len(FILES)
    back = fetch("https://tfhub.dev/maker/back/1", settings, FetchOptions(local=str(out / name)))
    assert models.tree_files(back.path) == FILES
    assert back.archive_sha256 == result.sha256


def test_every_source_gives_the_same_archive(
    cached: Path, model: Path, out: Path, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "a.tgz").write_bytes(models.pack({**FILES}, prefix="", with_folders=True))
    copy = tmp_path / "copy"
    shutil.copytree(cached, copy)
    for number, path in enumerate(copy.rglob("*")):
        os.utime(path, (number, number))
        path.chmod(0o700)
    sources = [HANDLE, str(cached), str(model), str(copy), str(tmp_path / "a.tgz")]
    hashes = [
        export(source, out / f"{number}.tar.gz", settings).sha256 for number, source in enumerate(sources)
    ]
    again = export(str(out / "0.tar.gz"), out / "again.tar.gz", settings).sha256
    unpacked = export(str(out / "0.tar.gz"), out / "unpacked", settings)
    hashes += [again, export(str(unpacked.destination), out / "last.tar.gz", settings).sha256]
    assert len(set(hashes)) == 1


@pytest.mark.parametrize("name", KINDS)
def test_real_models_come_back_whole(name: str, out: Path, settings: Settings) -> None:
    original = corpus_model(name)
    export(str(original), out / "a.tar.gz", settings)
    export(str(out / "a.tar.gz"), out / "model", settings)
    assert models.tree_files(out / "model") == models.tree_files(original)


def test_a_handle_that_is_not_cached_is_fetched(settings: Settings, server: HubServer, out: Path) -> None:
    url = server.serve("/maker/model/1", models.archive())
    assert export(url, out / "model", settings).source == url
    assert models.tree_files(out / "model") == FILES
    export(url, out / "again.tar", settings)
    assert len(server.requests) == 1


def test_the_built_in_example_is_exported(settings: Settings, out: Path) -> None:
    assert export("example://mul/1", str(out / "mul"), settings).file_count == 4


def test_an_entry_of_tensorflow_hub_is_exported(settings: Settings, cache: Path, out: Path) -> None:
    paths = tensorflow_hub_entry(cache, HANDLE)
    write_bundle_model(paths.model, {"a": bytes(8)})
    export(HANDLE, out / "model", settings)
    assert models.tree_files(out / "model") == models.tree_files(paths.model)


@pytest.mark.parametrize("spelling", ["handle", "key", "path"])
def test_the_last_use_of_a_cached_model_is_remembered(
    spelling: str, cached: Path, out: Path, settings: Settings
) -> None:
    record = cached.with_name(f"{cached.name}.hubcli.json")
    os.utime(record, (1, 1))
    export({"handle": HANDLE, "key": cached.name, "path": str(cached)}[spelling], out / "model", settings)
    manifest = Manifest.read(record)
    assert manifest is not None
    assert manifest.touched_at_s > 1_700_000_000


def test_progress_is_told_of_the_check_and_of_the_writing(
    cached: Path, out: Path, settings: Settings
) -> None:
    for name in ("model", "model.tar.gz"):
        notes = Notes()
        export(HANDLE, out / name, settings, listener=notes)
        assert all(total == reported for total, reported in notes.phases)
        assert notes.phases[-1][0] == sum(map(len, FILES.values()))


def test_progress_is_told_of_the_unpacking_of_an_archive(model: Path, out: Path, settings: Settings) -> None:
    archive = out / "model.tar.gz"
    archive.write_bytes(models.pack(FILES))
    notes = Notes()
    export(str(archive), out / "model", settings, listener=notes)
    assert notes.phases[0] == [archive.stat().st_size] * 2


# Layouts


def test_serving_has_a_directory_for_each_version(cached: Path, out: Path, settings: Settings) -> None:
    options = ExportOptions(layout=Layout.SERVING)
    result = export(HANDLE, out, settings, options)
    assert result.destination == out / "model" / "1"
    assert models.tree_files(out / "model" / "1") == FILES
    export(HANDLE, out, settings, ExportOptions(layout=Layout.SERVING, version="2"))
    assert sorted(os.listdir(out / "model")) == ["1", "2"]
    with pytest.raises(OutputError, match="not empty"):
        export(HANDLE, out, settings, options)


def test_hub_has_an_archive_for_each_version(cached: Path, out: Path, settings: Settings) -> None:
    result = export(HANDLE, out, settings, ExportOptions(layout=Layout.HUB))
    assert result.destination == out / "maker" / "model" / "1"
    assert result.destination.is_file()
    assert result.sha256 == export(HANDLE, out / "a.tar.gz", settings).sha256
    with pytest.raises(OutputError, match="already exists"):
        export(HANDLE, out, settings, ExportOptions(layout=Layout.HUB))
    forced = export(HANDLE, out, settings, ExportOptions(layout=Layout.HUB, force=True))
    assert forced.sha256 == result.sha256


def test_a_path_in_the_cache_has_the_name_of_its_handle(cached: Path, out: Path, settings: Settings) -> None:
    for source in (str(cached), cached.name):
        options = ExportOptions(layout=Layout.SERVING, force=True)
        assert export(source, out, settings, options).destination == out / "model" / "1"


def test_a_directory_gets_the_name_that_is_given(model: Path, out: Path, settings: Settings) -> None:
    options = ExportOptions(layout=Layout.HUB, name="maker/mine", version="3")
    assert export(str(model), out, settings, options).destination == out / "maker" / "mine" / "3"


def test_a_model_where_another_has_its_versions_is_told(cached: Path, out: Path, settings: Settings) -> None:
    (out / "maker").write_bytes(b"a file")
    error = refusal_of_layout(HANDLE, out, settings)
    assert isinstance(error, OutputError)


def refusal_of_layout(source: str, out: Path, settings: Settings) -> HubcliError:
    with pytest.raises(HubcliError) as caught:
        export(source, out, settings, ExportOptions(layout=Layout.HUB))
    return caught.value


# Refusals


def test_a_broken_model_is_refused(model: Path, out: Path, settings: Settings) -> None:
    broken(model)
    error = refusal(BrokenModelError, model, out, settings)
    assert str(model) in error.message
    assert SHARD in error.message
    archive = out.parent / "broken.tar.gz"
    archive.write_bytes(models.pack(models.tree_files(model)))
    refusal(BrokenModelError, archive, out, settings)


@pytest.mark.parametrize("file", ["saved_model.pb", SHARD, "fingerprint.pb"])
def test_a_cached_model_that_is_not_what_was_fetched_is_refused(
    file: str, cached: Path, out: Path, settings: Settings
) -> None:
    """Sizes are as they were: a fetch takes it for a hit."""
    content = (cached / file).read_bytes()
    (cached / file).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "verify --repair" in refusal(BrokenModelError, HANDLE, out, settings).hint


def test_a_gutted_entry_is_fetched_again_or_refused(
    settings: Settings, server: HubServer, out: Path, cache: Path
) -> None:
    url = server.serve("/maker/model/1", models.archive())
    cached = fetch(url, settings).path
    (cached / "saved_model.pb").unlink()
    refusal(BrokenModelError, cached, out, settings)
    refusal(OfflineError, url, out, Settings(cache, "--cache-dir", offline=True))
    export(url, out / "model", settings)
    assert models.tree_files(out / "model") == FILES


def test_a_declared_asset_that_never_came_is_said(out: Path, settings: Settings, tmp_path: Path) -> None:
    original = corpus_model("serving_half_plus_two")
    copy = tmp_path / "copy"
    shutil.copytree(original, copy)
    next(path for path in (copy / "assets").iterdir()).unlink()
    notes = Notes()
    export(str(copy), out / "model", settings, listener=notes)
    assert len(notes.notes) == 1
    assert "is incomplete" in notes.notes[0]


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("https://tfhub.dev/maker/absent/1", OfflineError),
        ("./absent", NotFoundError),
        ("./absent.tar.gz", NotFoundError),
        ("0" * 40, NotFoundError),
        ("no handle", HandleError),
        ("", HandleError),
        ("gs://bucket/model.tar.gz", OfflineError),
    ],
)
def test_a_source_that_is_not_there_is_refused(
    source: str, error: type[HubcliError], out: Path, cache: Path
) -> None:
    refusal(error, source, out, Settings(cache, "--cache-dir", offline=True))


def test_a_directory_without_a_model_is_refused(out: Path, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    refusal(BrokenModelError, tmp_path / "nothing", out, settings)


@pytest.mark.parametrize("name", ["a\\b", "nul", "x:y", "\x1b[2J"])
def test_hostile_names_are_refused(name: str, model: Path, out: Path, settings: Settings) -> None:
    (model / name).write_bytes(b"")
    refusal(UnsafeArchiveError, model, out, settings)


@pytest.mark.parametrize("target", ["directory", "nowhere", "device"])
def test_links_that_lead_to_no_file_are_refused(
    target: str, model: Path, out: Path, settings: Settings
) -> None:
    (model / "link").symlink_to({"directory": str(model), "nowhere": "gone", "device": "/dev/zero"}[target])
    refusal(UnsafeArchiveError, model, out, settings)


@pytest.mark.parametrize("destination", ["", " "])
def test_an_empty_destination_is_refused(destination: str, settings: Settings, model: Path) -> None:
    with pytest.raises(UsageError, match="empty"):
        export(str(model), destination, settings)


def test_a_destination_that_is_taken_is_refused_before_anything_is_fetched(
    settings: Settings, server: HubServer, out: Path
) -> None:
    url = server.serve("/maker/model/1", models.archive())
    (out / "model").write_bytes(b"old")
    with pytest.raises(OutputError):
        export(url, out / "model", settings)
    assert server.requests == []


def test_the_source_is_never_written_to(model: Path, settings: Settings) -> None:
    before = models.tree_files(model)
    for place in (model, model / "below", model / "below.tar.gz", model.parent):
        with pytest.raises(OutputError):
            export(str(model), place, settings, ExportOptions(force=True))
    assert models.tree_files(model) == before


def test_the_source_is_found_by_a_link_to_it(model: Path, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(model, target_is_directory=True)
    with pytest.raises(OutputError, match="is inside the source"):
        export(str(tmp_path / "link"), model / "below", settings)
    export(str(tmp_path / "link"), tmp_path / "out", settings)
    assert models.tree_files(tmp_path / "out") == FILES


def test_a_model_that_changes_meanwhile_is_not_exported(model: Path, out: Path, settings: Settings) -> None:
    class Trainer(ProgressListener):
        """Writes the next epoch as soon as the copy begins."""

        def started(self, handle: str, source: str, size_bytes: int | None) -> None:
            if source.startswith(str(out)):
                (model / SHARD).write_bytes(bytes(len(FILES[SHARD])))

    for name in ("model", "model.tar.gz"):
        models.write_tree(model, FILES)
        with pytest.raises(TruncatedError, match="changed while it was exported"):
            export(str(model), out / name, settings, listener=Trainer())
    assert os.listdir(out) == []


def test_an_entry_that_is_replaced_meanwhile_is_not_exported(
    cached: Path, model: Path, out: Path, settings: Settings
) -> None:
    class Fetcher(ProgressListener):
        """Fetches the same model again."""

        def started(self, handle: str, source: str, size_bytes: int | None) -> None:
            if source.startswith(str(out)):
                fetch(HANDLE, settings, FetchOptions(local=str(model), force=True))

    for name in ("model", "model.tar.gz"):
        with pytest.raises((TruncatedError, NotFoundError)):
            export(HANDLE, out / name, settings, listener=Fetcher())
    assert os.listdir(out) == []


# The disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "size=24m") as small:
        yield small


@pytest.fixture
def large(tmp_path: Path) -> Path:
    return write_bundle_model(tmp_path / "large", {"a": bytes(10 << 20)})


@pytest.mark.parametrize("name", ["model", "model.tar.gz"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_disk_without_room_is_told_before_it_is_filled(
    packed: bool, name: str, disk: Path, large: Path, settings: Settings
) -> None:
    source = large
    if packed:
        source = large.parent / "large.tar.gz"
        export(str(large), source, settings)
    with pytest.raises(DiskFullError, match="Not enough disk space") as caught:
        export(str(source), disk / "below" / name, settings)
    assert "use another path" in caught.value.hint
    assert os.listdir(disk) == []


@pytest.mark.parametrize("name", ["model", "model.tar.gz"])
def test_a_disk_that_fills_up_meanwhile_is_told(
    name: str, disk: Path, tmp_path: Path, settings: Settings
) -> None:
    class Filler(ProgressListener):
        """Another program, which takes what is left."""

        def started(self, handle: str, source: str, size_bytes: int | None) -> None:
            if source.startswith(str(disk)):
                with (disk / "filler").open("wb", buffering=0) as file:
                    while file.write(bytes(1 << 16)) == 1 << 16:
                        pass

    source = write_bundle_model(tmp_path / "source", {"a": bytes(4 << 20)})
    with pytest.raises(DiskFullError):
        export(str(source), disk / name, settings, listener=Filler())
    assert os.listdir(disk) == ["filler"]


# Keras


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "MODEL.HDF5"])
def test_a_keras_file_is_for_keras(name: str, out: Path, settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(HubcliError):
        export(str(file), out / "model", settings)
    assert os.listdir(out) == []


@pytest.mark.tensorflow
def test_a_keras_model_and_a_piece_of_it_become_reusable(
    out: Path, settings: Settings, tmp_path: Path
) -> None:
    keras = pytest.importorskip("keras")
    layers = [keras.Input([4]), keras.layers.Dense(3, name="features"), keras.layers.Dense(2, name="head")]
    keras.Sequential(layers).save(tmp_path / "model.keras")
    whole = export(str(tmp_path / "model.keras"), out / "whole", settings)
    piece = export(
        str(tmp_path / "model.keras"), out / "piece", settings, ExportOptions(output_layers=("features",))
    )
    infos = [inspect(str(result.destination), settings).info for result in (whole, piece)]
    assert all(info.reusable.conforms for info in infos)
    assert [info.parameters.trainable for info in infos] == [4 * 3 + 3 + 3 * 2 + 2, 4 * 3 + 3]


def test_an_archive_is_not_cut_as_it_is(out: Path, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(models.archive())
    error = refusal(UsageError, tmp_path / "a.tar.gz", out, settings, ExportOptions(output_layers=("x",)))
    assert "Unpack it first" in error.hint


def test_a_stalled_fetch_that_fails_leaves_nothing(settings: Settings, server: HubServer, out: Path) -> None:
    packed = models.archive()
    url = server.serve("/maker/model/1", Reply(packed, cut_at=len(packed) // 2))
    with pytest.raises(HubcliError):
        export(url, out / "below" / "model", settings)
    assert os.listdir(out) == []
