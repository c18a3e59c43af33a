"""`finetune-export` of weights, put in place of the old ones: without TensorFlow, whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import struct
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hubcli import durability
from hubcli.commands.export import export
from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.commands.finetune_export import FinetuneOptions, FinetuneResult, Method, finetune_export
from hubcli.commands.inspect import inspect
from hubcli.config.settings import Settings
from hubcli.durability import Durability
from hubcli.errors import (
    BrokenModelError,
    ChecksumError,
    DiskFullError,
    HubcliError,
    MappingError,
    NotFoundError,
    OfflineError,
    OutputError,
    UnchangedError,
    UsageError,
    ValuesError,
)
from hubcli.exporting import ExportFormat
from hubcli.finetuning.result import require_whole as read_back
from hubcli.formats.bundles import Bundle
from tests import models
from tests.cases import each_of
from tests.conftest import ROOT
from tests.corpus import KINDS, corpus_model
from tests.disks import mounted
from tests.entries import SHARD
from tests.forkserver import open_python
from tests.savedmodel.bundles import write_bundle_model
from tests.server import HubServer

HANDLE = "https://tfhub.dev/maker/model/1"
WITHOUT_VARIABLES = ("serving_matrix_half_plus_two", "tfx_tft_tf2")
KEY = "v/.ATTRIBUTES/VARIABLE_VALUE"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def tuned(tmp_path: Path) -> Path:
    return models.write_safetensors(tmp_path / "tuned.safetensors", v=[3.0])


def rewriting(weights: Path, **options: Any) -> FinetuneOptions:
    return FinetuneOptions(weights=weights, method=Method.REWRITE, **options)


def value_in(model: Path, key: str = KEY) -> bytes:
    return b"".join(Bundle.open(model / "variables", "variables").values()[key].pieces())


def refused(kind: type[HubcliError], model: Path, out: Path, options: FinetuneOptions) -> HubcliError:
    """The error, after which nothing is there."""
    with pytest.raises(kind) as caught:
        finetune_export(str(model), out / "tuned", options=options)
    assert list(out.iterdir()) == []
    assert caught.value.hint
    return caught.value


# What is written ---------------------------------------------------------------------------------


def test_the_values_are_new_and_every_other_byte_is_as_it_was(model: Path, tuned: Path, out: Path) -> None:
    result = finetune_export(str(model), out / "tuned", options=rewriting(tuned))
    assert value_in(out / "tuned") == struct.pack("<f", 3.0)
    before, after = models.tree_files(model), models.tree_files(out / "tuned")
    assert {name for name in before if before[name] != after[name]} == {
        "fingerprint.pb",
        "variables/variables.index",
        SHARD,
    }
    assert before.keys() == after.keys()
    assert result.written is not None
    assert result.staged_model is not None
    assert result.mapping is not None
    assert result.written.destination == out / "tuned"
    assert (result.written.format, result.written.sha256) == (ExportFormat.DIRECTORY, None)
    assert result.written.size_bytes == sum(map(len, after.values()))
    [change] = result.staged_model.values.changed
    assert (change.path, change.key, change.dtype, change.shape) == ("v", KEY, "float32", ())
    assert (change.trainable, change.largest) == (True, 1.0)
    assert result.staged_model.values.unchanged == ()
    assert list(out.iterdir()) == [out / "tuned"]


def test_the_sync_begins_before_the_export_is_read_back(
    model: Path, tuned: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, found = threading.Event(), list[bool]()
    sync = Durability.tree

    def tree(self: Durability, top: Path) -> None:
        started.set()
        sync(self, top)

    def require_whole(exported: Path) -> None:
        found.append(started.wait(60))
        read_back(exported)

    monkeypatch.setattr(Durability, "tree", tree)
    monkeypatch.setattr("hubcli.commands.finetune_export.require_whole", require_whole)

    finetune_export(str(model), out / "tuned", options=rewriting(tuned))

    assert found == [True]


def test_an_error_of_the_disk_while_it_is_synced_leaves_nothing(
    model: Path, tuned: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(durability, "_sync", fail)

    assert "Input/output error" in refused(OutputError, model, out, rewriting(tuned)).message


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BrokenModelError("corrupt", hint="")])
@pytest.mark.parametrize("disk_fails", [False, True])
def test_an_error_during_the_sync_waits_for_it_and_leaves_nothing(
    error: BaseException,
    disk_fails: bool,
    model: Path,
    tuned: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started, failed, synced = threading.Event(), threading.Event(), list[Path]()
    sync = Durability.tree

    def tree(self: Durability, top: Path) -> None:
        started.set()
        assert failed.wait(60)
        sync(self, top)  # Raises FileNotFoundError if the export was removed meanwhile.
        synced.append(top)
        if disk_fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def require_whole(_exported: Path) -> None:
        assert started.wait(60)
        failed.set()
        raise error

    monkeypatch.setattr(Durability, "tree", tree)
    monkeypatch.setattr("hubcli.commands.finetune_export.require_whole", require_whole)

    with pytest.raises(type(error)) as caught:
        finetune_export(str(model), out / "tuned", options=rewriting(tuned))
    assert caught.value is error
    assert len(synced) == 1
    assert list(out.iterdir()) == []
    assert not any(thread.name == "hubcli-beside" for thread in threading.enumerate())


def test_a_fetched_handle_is_a_source_and_its_use_is_recorded(
    settings: Settings, server: HubServer, tuned: Path, out: Path
) -> None:
    handle = server.serve("/maker/model/1", models.archive())
    result = finetune_export(handle, out / "tuned", settings, rewriting(tuned))
    assert result.source == handle
    assert inspect(handle, settings).path is not None
    assert value_in(out / "tuned") == struct.pack("<f", 3.0)
    requests = len(server.requests)
    finetune_export(handle, out / "again", settings, rewriting(tuned))
    assert len(server.requests) == requests


def test_an_archive_is_a_source(tmp_path: Path, tuned: Path, out: Path) -> None:
    packed = tmp_path / "model.tar.gz"
    packed.write_bytes(models.archive())
    finetune_export(str(packed), out / "tuned", options=rewriting(tuned))
    assert value_in(out / "tuned") == struct.pack("<f", 3.0)


def test_an_archive_is_a_destination_as_export_writes_it(model: Path, tuned: Path, out: Path) -> None:
    result = finetune_export(str(model), out / "tuned.tar.gz", options=rewriting(tuned))
    finetune_export(str(model), out / "tuned", options=rewriting(tuned))
    packed = export(str(out / "tuned"), out / "same.tar.gz")
    assert result.written is not None
    assert result.written.sha256 == packed.sha256
    assert result.written.sha256 == hashlib.sha256((out / "tuned.tar.gz").read_bytes()).hexdigest()
    assert sorted(path.name for path in out.iterdir()) == ["same.tar.gz", "tuned", "tuned.tar.gz"]


@pytest.mark.parametrize("name", KINDS)
def test_every_model_of_the_corpus_keeps_its_bytes_when_its_own_values_are_written(
    name: str, out: Path
) -> None:
    model = corpus_model(name)
    if name in WITHOUT_VARIABLES:
        refused(HubcliError, model, out, rewriting(model))
        return
    result = finetune_export(str(model), out / "tuned", options=rewriting(model, allow_unchanged=True))
    assert result.staged_model is not None
    assert result.staged_model.values.changed == ()
    before, after = models.tree_files(model), models.tree_files(out / "tuned")
    # The index of some was compressed, which hubcli's isn't; with it changes the hash of it.
    renewed = {"variables/variables.index", "fingerprint.pb"}
    assert {path: before[path] for path in before.keys() - renewed} == {
        path: after[path] for path in after.keys() - renewed
    }


def test_the_second_generation_begins_where_the_first_ended(model: Path, tmp_path: Path, out: Path) -> None:
    for number, (source, value) in enumerate([(model, 3.0), (out / "0", 5.0)]):
        weights = models.write_safetensors(tmp_path / f"{number}.safetensors", v=[value])
        result = finetune_export(str(source), out / str(number), options=rewriting(weights))
        assert result.staged_model is not None
        assert result.staged_model.values.changed[0].largest == value - (2.0 if number == 0 else 3.0)
    assert value_in(out / "1") == struct.pack("<f", 5.0)


# The plan ----------------------------------------------------------------------------------------


def test_a_dry_run_tells_the_mapping_and_writes_nothing(model: Path, tuned: Path, out: Path) -> None:
    options = rewriting(tuned, dry_run=True)
    for destination in (None, out / "tuned"):
        result: FinetuneResult = finetune_export(str(model), destination, options=options)
        assert result.written is None
        assert result.mapping is not None
        [pair] = result.mapping.pairs
        assert (pair.target_path, pair.source_key, pair.found_by) == ("v", "v", "key")
    assert list(out.iterdir()) == []


def test_the_quiet_plan_is_a_map(model: Path, tmp_path: Path, out: Path, hubcli: Run) -> None:
    tuned = models.write_safetensors(tmp_path / "tuned.safetensors", v=[3.0])
    plan = hubcli("finetune-export", str(model), "--weights", str(tuned), "--dry-run", "-q")
    assert (plan.returncode, plan.stdout) == (0, "v = v\n")
    (tmp_path / "map.txt").write_text(plan.stdout.replace("= v", "= w"))
    renamed = models.write_safetensors(tmp_path / "renamed.safetensors", w=[3.0])
    options = rewriting(renamed, map_file=tmp_path / "map.txt")
    finetune_export(str(model), out / "tuned", options=options)
    assert value_in(out / "tuned") == struct.pack("<f", 3.0)


# What is refused ---------------------------------------------------------------------------------


def test_equal_values_are_refused_until_they_are_allowed(model: Path, tmp_path: Path, out: Path) -> None:
    other = value_in(model)
    same = models.write_safetensors(tmp_path / "same.safetensors", v=list(struct.unpack("<f", other)))
    refused(UnchangedError, model, out, rewriting(same))
    finetune_export(str(model), out / "tuned", options=rewriting(same, allow_unchanged=True))
    assert value_in(out / "tuned") == other


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused_until_it_is_allowed(
    value: float, model: Path, tmp_path: Path, out: Path
) -> None:
    poisoned = models.write_safetensors(tmp_path / "poisoned.safetensors", v=[value])
    assert "--allow-nan" in refused(ValuesError, model, out, rewriting(poisoned)).hint
    finetune_export(str(model), out / "tuned", options=rewriting(poisoned, allow_nan=True))


def test_a_change_to_infinity_is_valid_json(model: Path, tmp_path: Path, out: Path, hubcli: Run) -> None:
    weights = str(models.write_safetensors(tmp_path / "endless.safetensors", v=[float("inf")]))
    options = ("--weights", weights, "--method", "rewrite", "--allow-nan", "--json")
    result = hubcli("finetune-export", str(model), str(out / "tuned"), *options)
    [change] = json.loads(result.stdout, parse_constant=pytest.fail)["values"]["changed"]
    assert change["largest_change"] is None


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"w": [3.0]}, MappingError),
        ({"v": [3.0], "w": [3.0]}, MappingError),
        ({"v": [3.0], KEY: [3.0]}, MappingError),
        ({"v": [3.0, 4.0]}, ValuesError),
    ],
    ids=["unrelated", "left over", "doubled", "of another shape"],
)
def test_weights_that_do_not_fit_are_refused(
    values: dict[str, list[float]], kind: type[HubcliError], model: Path, tmp_path: Path, out: Path
) -> None:
    weights = models.write_safetensors(tmp_path / "other.safetensors", **values)
    refused(kind, model, out, rewriting(weights))


def test_weights_of_another_type_are_refused(model: Path, tmp_path: Path, out: Path) -> None:
    weights = models.write_safetensors(tmp_path / "other.safetensors", v=[3.0])
    weights.write_bytes(weights.read_bytes().replace(b'"F32"', b'"I32"'))
    assert "int32" in str(refused(ValuesError, model, out, rewriting(weights)))


def test_weights_of_a_part_are_refused(tmp_path: Path, out: Path) -> None:
    model = corpus_model("tfjs_multiple_signatures")
    weights = models.write_safetensors(tmp_path / "half.safetensors", two=[3.0])
    error = refused(MappingError, model, out, rewriting(weights))
    assert "it lacks v" in error.message


def test_damaged_weights_are_refused(model: Path, tmp_path: Path, out: Path) -> None:
    other, whole = (
        models.write_tree(tmp_path / "other", models.example_files()),
        models.example_files()[SHARD],
    )
    for broken in range(0, len(whole), 7):
        (other / SHARD).write_bytes(whole[:broken] + bytes([whole[broken] ^ 1]) + whole[broken + 1 :])
        with pytest.raises(HubcliError) as caught:
            finetune_export(str(model), out / "tuned", options=rewriting(other))
        # The value's own bytes have a checksum; of the others none is read: nothing changed.
        assert isinstance(caught.value, ChecksumError | BrokenModelError | UnchangedError)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["w.npz", "w.safetensors", "w.weights.h5", "w.h5", "w.keras", "w.index", "saved/saved_model.pb"]
)
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"version https://git-lfs"])
def test_a_file_that_is_not_what_its_name_says_is_told_once_with_a_way_out(
    name: str, content: bytes, model: Path, tmp_path: Path, out: Path
) -> None:
    if name.endswith(("h5", "keras")) or content.startswith(b"\x89HDF"):
        pytest.importorskip("h5py", reason="h5py is not installed: pip install '.[dev]'")
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    weights = file.parent if name.startswith("saved") else file
    error = refused(HubcliError, model, out, rewriting(weights))
    assert error.exit_status in (2, 4, 6)
    assert error.message.count(weights.name) == 1


def test_a_broken_source_is_refused(model: Path, tuned: Path, out: Path) -> None:
    (model / SHARD).write_bytes(b"")
    refused(BrokenModelError, model, out, rewriting(tuned))


def test_what_is_no_model_or_no_weights_is_told(model: Path, tuned: Path, tmp_path: Path, out: Path) -> None:
    refused(NotFoundError, tmp_path / "absent", out, rewriting(tuned))
    refused(NotFoundError, model, out, rewriting(tmp_path / "absent"))
    (tmp_path / "model.keras").write_bytes(b"PK")
    error = refused(UsageError, tmp_path / "model.keras", out, rewriting(tuned))
    assert error.hint.startswith("Convert it first: hubcli export ")
    with pytest.raises(UsageError) as caught:
        finetune_export(str(model), out / "tuned.zip", options=rewriting(tuned))
    assert caught.value.hint == "Use a directory, or a file that ends in .tar.gz or .tar."


def test_offline_a_handle_that_is_not_cached_is_told(settings: Settings, tuned: Path, out: Path) -> None:
    with pytest.raises(OfflineError):
        finetune_export(HANDLE, out / "tuned", replace(settings, offline=True), rewriting(tuned))
    assert list(out.iterdir()) == []


def test_a_place_that_is_taken_is_left_until_it_is_forced(model: Path, tuned: Path, out: Path) -> None:
    models.write_tree(out / "tuned", {"mine": b"mine"})
    for dry_run in (True, False):
        with pytest.raises(OutputError, match="not empty"):
            finetune_export(str(model), out / "tuned", options=rewriting(tuned, dry_run=dry_run))
    assert models.tree_files(out / "tuned") == {"mine": b"mine"}
    finetune_export(str(model), out / "tuned", options=rewriting(tuned, force=True))
    assert value_in(out / "tuned") == struct.pack("<f", 3.0)
    assert list(out.iterdir()) == [out / "tuned"]


def test_the_source_and_the_cache_are_no_places(
    model: Path, tuned: Path, settings: Settings, tmp_path: Path
) -> None:
    fetch(HANDLE, settings, FetchOptions(local=str(model)))
    for place in (model, model / "inner", settings.cache_root / "mine"):
        with pytest.raises(OutputError):
            finetune_export(str(model), place, settings, rewriting(tuned, force=True))
    assert models.tree_files(model) == models.example_files()


@pytest.mark.parametrize("place", ["run", "run/ckpt", "run/ckpt/tuned.safetensors"])
def test_what_holds_the_weights_is_not_replaced_by_force(place: str, model: Path, tmp_path: Path) -> None:
    (tmp_path / "run/ckpt").mkdir(parents=True)
    weights = models.write_safetensors(tmp_path / "run/ckpt/tuned.safetensors", v=[3.0])
    with pytest.raises(OutputError, match="would be replaced"):
        finetune_export(str(model), tmp_path / place, options=rewriting(weights, force=True))
    assert weights.is_file()
    finetune_export(str(model), tmp_path / "run/ckpt/export", options=rewriting(weights))
    assert weights.is_file()


def test_a_full_disk_leaves_nothing(model: Path, tuned: Path, tmp_path: Path) -> None:
    (model / "assets.extra").mkdir()
    (model / "assets.extra" / "large").write_bytes(bytes(4 << 20))
    with mounted(tmp_path / "disk", "size=18m") as disk:
        with pytest.raises(DiskFullError):
            finetune_export(str(model), disk / "tuned", options=rewriting(tuned))
        assert list(disk.iterdir()) == []


@each_of(
    "options, named",
    [
        ({}, "Missing --weights or --train"),
        ({"weights": Path("a"), "train": "b:c"}, "cannot be used together"),
        ({"weights": Path("a"), "arguments": {"epochs": 1}}, "--arg"),
        ({"weights": Path("a"), "strategy": "mirrored"}, "--strategy"),
        ({"weights": Path("a"), "tag_set": frozenset({"serve"})}, "--tag-set"),
        ({"train": "b:c", "root": "x"}, "--root"),
        ({"train": "b:c", "map_file": Path("x")}, "--map"),
        ({"train": "b:c", "dry_run": True}, "--dry-run"),
        ({"weights": Path("a"), "root": "x", "map_file": Path("x")}, "--root and --map"),
    ],
)
def test_options_that_do_not_go_together_are_told(options: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named) as caught:
        FinetuneOptions(**options)
    assert caught.value.hint


# On the command line -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        (["--weights", "tuned.safetensors", "--method", "resave"], "tensorflow"),
        (["--train", "train.py:train"], "tensorflow"),
        (["--train", "train.py:train", "--method", "rewrite"], "tensorflow"),
        (["--weights", "tuned.h5", "--method", "rewrite"], "h5py"),
    ],
)
def test_what_is_missing_is_asked_for(
    values: list[str],
    missing: str,
    model: Path,
    tuned: Path,
    out: Path,
    hubcli: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tuned.parent)
    Path("tuned.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    Path("train.py").write_text("def train(obj): pass\n")
    hidden = Path("hidden", f"{missing}.py")
    hidden.parent.mkdir()
    hidden.write_text(f"raise ModuleNotFoundError(\"No module named '{missing}'\", name='{missing}')\n")
    path = os.pathsep.join([str(hidden.parent.absolute()), str(ROOT)])
    result = hubcli("finetune-export", str(model), str(out / "tuned"), *values, PYTHONPATH=path)
    assert result.returncode == 7, result.stderr
    assert f"{missing} is not installed" in result.stderr
    assert "pip install 'hubcli[tf]'" in result.stderr
    assert ("--method rewrite" in result.stderr) == (values[0] == "--weights" and missing == "tensorflow")
    assert list(out.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("written_bytes", [0, 1, 20 << 20, 60 << 20])
def test_a_process_that_is_killed_while_it_writes_shows_nothing(
    written_bytes: int, tmp_path: Path, out: Path, cache: Path
) -> None:
    model = write_bundle_model(tmp_path / "large", {KEY: bytes(64 << 20)})
    tuned = write_bundle_model(tmp_path / "tuned", {KEY: b"\1" * (64 << 20)})
    command = ["-m", "hubcli", "finetune-export", str(model), str(out / "tuned"), "--weights", str(tuned)]
    environment = {**os.environ, "HUBCLI_CACHE_DIR": str(cache)}
    with open_python([*command, "--method", "rewrite"], env=environment, cwd=ROOT) as running:
        shard: list[Path] = []
        while not shard or shard[0].stat().st_size < written_bytes:
            assert running.poll() is None
            shard = shard or list(out.glob(f".tuned.*/new/{SHARD}"))
        running.kill()
    assert [path.name.endswith(".hubcli-tmp") for path in out.iterdir()] == [True]


def test_candidates_of_a_refusal_are_told_to_scripts(
    model: Path, tmp_path: Path, out: Path, hubcli: Run
) -> None:
    other = write_bundle_model(tmp_path / "other", {"a": bytes(4)})
    result = hubcli("finetune-export", str(model), str(out / "x"), "--weights", str(other), "--json")
    assert result.returncode == 2
    error = json.loads(result.stdout)["error"]
    assert error["code"] == "mapping"
    assert error["candidates"] == []


@pytest.mark.parametrize("argument", ["epochs", "=3", "1x=3"])
def test_an_argument_that_is_no_pair_is_told(argument: str, model: Path, hubcli: Run) -> None:
    result = hubcli("finetune-export", str(model), "out", "--train", "a.py:b", "--arg", argument)
    assert result.returncode == 2
    assert "--arg key=value" in result.stderr
