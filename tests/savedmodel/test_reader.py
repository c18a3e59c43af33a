"""The whole reader: kinds of models, findings about files, what is summed up."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubcli.errors import BrokenModelError
from hubcli.issues import Severity
from hubcli.savedmodel.layout import ModelFormat
from hubcli.savedmodel.model import ModelFiles
from hubcli.savedmodel.reader import read_model
from hubcli.savedmodel.types import decode
from tests.cases import each_of
from tests.corpus import KINDS, corpus_model
from tests.formats.tables import bundle_entry, delimited, index_of, number
from tests.savedmodel.protos import (
    FLOAT,
    Objects,
    Spec,
    asset_file,
    call_signature,
    graph,
    index,
    init_signature,
    message,
    meta_graph,
    node,
    read,
    value,
)


@each_of(
    "name",
    [pytest.param(name) for name in KINDS],
)
def test_a_real_model_is_read_with_all_its_submodules(name: str) -> None:
    info = read_model(ModelFiles.of_directory(corpus_model(name)), submodules=True)
    assert info.meta_graphs
    assert info.sizes.total is not None
    assert (info.format is ModelFormat.KERAS_2) == (KINDS[name] == "Keras")
    assert (info.format is ModelFormat.TF1) == (KINDS[name] == "TF1")


@each_of("name", KINDS)
def test_every_variable_of_a_real_model_has_its_value(name: str) -> None:
    info = read_model(ModelFiles.of_directory(corpus_model(name)))
    assert [
        finding for finding in info.findings if finding.code in ("value-missing", "variables-missing")
    ] == []
    assert all(variable.checkpoint_key is not None for variable in info.variables if variable.is_listed)


def test_a_function_without_a_structured_signature_is_read(tmp_path: Path) -> None:
    """As `prune` of TensorFlow 1's wrapped graphs leaves it."""
    objects = Objects()
    objects.bare("pruned", objects.concrete("f"))
    objects.message.concrete_functions["f"].canonicalized_input_signature.CopyFrom(value(None))
    assert read(tmp_path, meta_graph(None, objects)).functions[0].variants[0].args == ()
    assert decode(value(None)) is not None


# Formats -----------------------------------------------------------------------------------------


@each_of(
    "files, objects, expected",
    [
        ({}, None, ModelFormat.TF1),
        ({"tfhub_module.pb": b"\x08\x03"}, None, ModelFormat.TF1_HUB),
        ({}, Objects(), ModelFormat.TF2),
        ({}, Objects("_tf_keras_network"), ModelFormat.KERAS_2),
        ({"keras_metadata.pb": b""}, Objects(), ModelFormat.KERAS_2),
    ],
)
def test_the_format_is_told(
    tmp_path: Path, files: dict[str, bytes], objects: Objects | None, expected: ModelFormat
) -> None:
    assert read(tmp_path, meta_graph(None, objects), files=files).format is expected


def test_an_export_of_keras_3_is_told_by_what_hangs_on_its_root(tmp_path: Path) -> None:
    objects = Objects()
    objects.list_of("_misc_assets", [])
    objects.traced("serve", Spec())
    assert read(tmp_path / "a", meta_graph(None, objects)).format is ModelFormat.KERAS_3_EXPORT
    objects.traced("__call__", Spec())
    assert read(tmp_path / "b", meta_graph(None, objects)).format is ModelFormat.TF2


# Findings about files ----------------------------------------------------------------------------


@each_of("name", ["../../../../etc/hostname", "/etc/hostname", "a/../../b", "..\\..\\x", "a\0b", "", "."])
def test_an_asset_that_climbs_out_is_a_grave_finding(tmp_path: Path, name: str) -> None:
    found = read(tmp_path, meta_graph(asset_file_def=[asset_file("a:0", name)])).findings
    assert [(finding.code, finding.severity) for finding in found] == [("asset-path", Severity.HIGH)]


@each_of("name", ["vocab.txt", "a/b.txt", "..a", "a..b"])
def test_an_asset_that_is_not_there_is_a_finding(tmp_path: Path, name: str) -> None:
    found = read(tmp_path, meta_graph(asset_file_def=[asset_file("a:0", name)])).findings
    assert [finding.code for finding in found] == ["asset-missing"]


def test_an_asset_that_is_there_is_none(tmp_path: Path) -> None:
    encoded = meta_graph(asset_file_def=[asset_file("a:0", "v"), asset_file("b:0", "v")])
    info = read(tmp_path, encoded, files={"assets/v": b"abc"})
    assert info.findings == ()
    assert [(asset.path, asset.size_bytes, asset.is_present) for asset in info.assets] == [
        ("assets/v", 3, True)
    ]


def test_an_asset_that_is_a_link_out_of_the_model_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "m" / "assets").mkdir(parents=True)
    (tmp_path / "m" / "assets" / "v").symlink_to("/etc/hostname")
    assert read(tmp_path / "m", meta_graph(asset_file_def=[asset_file("a:0", "v")])).findings != ()


def test_a_link_to_itself_beside_the_model_is_borne(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert read(tmp_path, meta_graph()).assets == ()


def test_an_asset_of_a_collection_is_declared_too(tmp_path: Path) -> None:
    encoded = meta_graph()
    wrapped = encoded.collection_def["saved_model_assets"].any_list.value.add()
    wrapped.value = asset_file("path:0", "v.txt").SerializeToString()
    assert [asset.path for asset in read(tmp_path, encoded).assets] == ["assets/v.txt"]


def test_variables_without_an_index_are_a_finding(tmp_path: Path) -> None:
    objects = Objects()
    objects.variable("v")
    found = read(tmp_path, meta_graph(None, objects)).findings
    assert [(finding.code, finding.severity) for finding in found] == [("variables-missing", Severity.MEDIUM)]


def test_a_listed_variable_without_a_value_is_a_finding(tmp_path: Path) -> None:
    objects = Objects()
    valued, lost, unlisted = (objects.variable(name) for name in ("kept", "lost", "unlisted"))
    objects.list_of("variables", [valued, lost])
    found = read(tmp_path, meta_graph(None, objects), index_bytes=index(kept=(FLOAT, (2,), 1))).findings
    assert ("value-missing", "variable lost") in [(finding.code, finding.where) for finding in found]
    assert unlisted


def test_a_missing_shard_is_a_finding(tmp_path: Path) -> None:
    """The issue: a broken model gets the right sentence: missing shard."""
    objects = Objects()
    objects.variable("v")
    info = read(tmp_path, meta_graph(None, objects), index_bytes=index(v=(FLOAT, (2,), 1)))
    assert [finding.code for finding in info.findings] == ["shard-missing"]


# Parts -------------------------------------------------------------------------------------------


def test_sizes_are_told_by_part(tmp_path: Path) -> None:
    files = {
        "assets/a": b"12345",
        "notes.txt": b"12",
        "fingerprint.pb": b"",
        "variables/x": b"1",
        "assets.extra/b": b"1",
    }
    info = read(tmp_path, meta_graph(), files=files)
    assert (info.sizes.assets, info.sizes.variables, info.sizes.other) == (5, 1, 3)
    assert info.sizes.total == info.sizes.graph + 9


def test_a_fingerprint_is_read(tmp_path: Path) -> None:
    encoded = message(
        "FingerprintDef", saved_model_checksum=2**64 - 1, uuid="abc", version={"producer": 3}
    ).SerializeToString()
    info = read(tmp_path, meta_graph(), files={"fingerprint.pb": encoded})
    assert info.fingerprint is not None
    assert (info.fingerprint.saved_model_checksum, info.fingerprint.uuid, info.fingerprint.version) == (
        2**64 - 1, "abc", 3
    )  # fmt: skip


def test_a_huge_fingerprint_is_passed_over(tmp_path: Path) -> None:
    largest = message("FingerprintDef", uuid="a" * (65_536 - 4)).SerializeToString()
    for content, is_read in ((largest, True), (largest + b"\x08\x01", False)):
        info = read(tmp_path, meta_graph(), files={"fingerprint.pb": content})
        assert (info.fingerprint is not None) is is_read


def test_ops_to_run_are_told(tmp_path: Path) -> None:
    definitions = {"__saved_model_init_op": init_signature("init"), "serve": call_signature("o:0")}
    (graph_read,) = read(
        tmp_path, meta_graph(graph(node("init", "NoOp")), signature_def=definitions)
    ).meta_graphs
    assert (
        graph_read.init_op,
        graph_read.train_op,
        [signature.name for signature in graph_read.signatures],
    ) == (
        "init",
        None,
        ["serve"],
    )


def test_the_checkpoint_is_summed_up(tmp_path: Path) -> None:
    entries = [(b"a", bundle_entry(0, 0, 4)), (b"b", bundle_entry(1, 0, 8))]
    checkpoint = read(tmp_path, meta_graph(), index_bytes=index_of(entries, shards=2)).checkpoint
    assert checkpoint is not None
    assert (checkpoint.shards, checkpoint.size_bytes, len(checkpoint.tensors)) == (2, 12, 2)


def test_slices_that_are_not_there_are_refused(tmp_path: Path) -> None:
    entry = number(1, 1) + delimited(7, delimited(1, number(1, 0) + number(2, 1)))
    with pytest.raises(BrokenModelError, match="lacks 1 of 1 slices of a"):
        read(tmp_path, meta_graph(), index_bytes=index_of([(b"a", entry)]))


def test_the_release_is_the_first_that_is_told(tmp_path: Path) -> None:
    info = read(tmp_path, meta_graph(version=""), meta_graph(version="1.15"))
    assert info.tensorflow_version == "1.15"


def test_a_file_that_can_not_be_read_is_told(tmp_path: Path) -> None:
    if not Path("/proc/self/mem").exists():
        pytest.skip("needs a file that even root can't read")
    (tmp_path / "saved_model.pb").symlink_to("/proc/self/mem")
    with pytest.raises(BrokenModelError, match="Cannot read"):
        read_model(ModelFiles.of_directory(tmp_path))
