"""The structure of SavedModels: kinds, look-alikes, and files that are missing or cut."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from hubcli.commands.fetch import fetch
from hubcli.errors import BrokenModelError, HubcliError
from hubcli.savedmodel import layout
from hubcli.savedmodel.layout import ModelFormat, check_structure, declared_assets, detect_format
from hubcli.savedmodel.model import ModelFiles
from hubcli.savedmodel.reader import read_model
from tests.archives import read_tree
from tests.cases import each_of
from tests.corpus import KINDS, corpus_file, corpus_model
from tests.formats.tables import bundle_entry, delimited, index_of, number

SHARD = "variables/variables.data-00000-of-00001"
INDEX = "variables/variables.index"
KERAS_ROOT, PLAIN_ROOT = (delimited(4, delimited(1, name)) for name in (b"_tf_keras_model", b"_generic_user"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of a real TF2 model to be damaged."""
    copy = tmp_path / "model"
    copy.mkdir()
    for path, content in read_tree(corpus_model("serving_half_plus_two_tf2")).items():
        (copy / path).parent.mkdir(exist_ok=True)
        (copy / path).write_bytes(content)
    return copy


def _fault(model: Path) -> BrokenModelError:
    with pytest.raises(BrokenModelError) as caught:
        check_structure(model)
    return caught.value


# Kinds -------------------------------------------------------------------------------------------


@each_of("name, kind", KINDS.items())
def test_each_real_model_is_whole_and_of_its_kind(name: str, kind: str) -> None:
    assert check_structure(corpus_model(name)).kind == kind


def test_the_real_model_without_its_main_file_is_broken() -> None:
    error = _fault(corpus_model("incomplete_tf_text_regression"))
    assert "neither saved_model.pb nor saved_model.pbtxt was found" in error.message


def test_the_module_file_of_tf1_hub_tells_its_kind(model: Path) -> None:
    (model / "tfhub_module.pb").write_bytes(b"\x08\x03")
    assert check_structure(model) is ModelFormat.TF1_HUB


def test_the_metadata_file_of_keras_tells_its_kind(model: Path) -> None:
    (model / "keras_metadata.pb").write_bytes(b"")
    assert check_structure(model) is ModelFormat.KERAS_2


def test_the_chunked_form_is_tf2(tmp_path: Path) -> None:
    (tmp_path / "saved_model.cpb").write_bytes(b"anything")
    assert check_structure(tmp_path) is ModelFormat.TF2


def test_the_binary_form_stands_above_the_text_form(model: Path) -> None:
    (model / "saved_model.pbtxt").write_text("item { id: 1 }")
    assert check_structure(model) is ModelFormat.TF2


def test_a_model_without_variables_is_whole(model: Path) -> None:
    shutil.rmtree(model / "variables")
    assert check_structure(model) is ModelFormat.TF2


@each_of(
    "objects, kind",
    [
        ([delimited(2, b"") + delimited(1, KERAS_ROOT)], ModelFormat.KERAS_2),
        ([delimited(1, KERAS_ROOT), delimited(1, PLAIN_ROOT)], ModelFormat.KERAS_2),
        ([delimited(2, b""), delimited(1, KERAS_ROOT)], ModelFormat.KERAS_2),
        ([delimited(1, PLAIN_ROOT + KERAS_ROOT)], ModelFormat.KERAS_2),
        ([delimited(1, KERAS_ROOT + PLAIN_ROOT)], ModelFormat.TF2),
        ([delimited(1, KERAS_ROOT + delimited(6, b""))], ModelFormat.TF2),
        ([delimited(1, delimited(6, b"") + KERAS_ROOT)], ModelFormat.KERAS_2),
    ],
)
def test_an_object_graph_in_pieces_is_of_the_kind_that_inspect_reads(
    tmp_path: Path, objects: list[bytes], kind: ModelFormat
) -> None:
    pieces = b"".join(delimited(7, piece) for piece in objects)
    (tmp_path / "saved_model.pb").write_bytes(delimited(2, delimited(1, b"") + pieces))
    assert detect_format(tmp_path) is kind
    assert read_model(ModelFiles.of_directory(tmp_path)).format is kind


def test_all_meta_graphs_together_declare_a_bounded_number_of_assets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two million in 19 MB took verify a quarter of a minute of processor time."""
    monkeypatch.setattr(layout, "_MAX_ASSETS", 3)
    two = delimited(
        2, delimited(1, b"") + delimited(6, delimited(2, b"a")) + delimited(6, delimited(2, b"b"))
    )
    assert declared_assets(two) == ("a", "b")
    with pytest.raises(BrokenModelError, match="more than 3 assets"):
        declared_assets(two * 2)


def test_the_first_of_several_meta_graphs_decides(tmp_path: Path) -> None:
    graph = delimited(1, b"")
    old, new = delimited(2, graph), delimited(2, graph + delimited(7, delimited(1, b"")))
    (tmp_path / "saved_model.pb").write_bytes(number(1, 1) + old + new)
    assert detect_format(tmp_path) is ModelFormat.TF1
    (tmp_path / "saved_model.pb").write_bytes(number(1, 1) + new + old)
    assert detect_format(tmp_path) is ModelFormat.TF2


# Look-alikes -------------------------------------------------------------------------------------

LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 4\n"
LABEL_MAP = 'item {\n  id: 1\n  name: "person"\n}\nitem {\n  id: 2\n  name: "bicycle"\n}\n'


@pytest.mark.parametrize("name", ["saved_model.pb", "saved_model.pbtxt"])
@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (LFS_POINTER, "git-LFS pointer"),
        ("<!DOCTYPE html>\n<html></html>", "web page"),
        ("\ufeff\r\n <HTML><body>Sign in", "web page"),
        ("<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", "web page"),
        ("", "is empty"),
    ],
    ids=["LFS", "HTML", "HTML with a mark", "XML", "empty"],
)
def test_a_look_alike_is_named(model: Path, name: str, content: str, fault: str) -> None:
    (model / "saved_model.pb").unlink()
    (model / name).write_text(content, encoding="utf-8")
    error = _fault(model)
    assert fault in error.message
    assert name in error.message


def test_an_lfs_pointer_comes_with_a_hint(model: Path) -> None:
    (model / "saved_model.pb").write_text(LFS_POINTER)
    assert "git lfs pull" in _fault(model).hint


def test_a_label_map_is_named(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pbtxt").write_text(LABEL_MAP)
    assert "is a label map" in _fault(tmp_path).message


def test_a_frozen_graph_under_the_name_of_a_model_is_refused(tmp_path: Path) -> None:
    # GraphDef: field 1 holds nodes, which SavedModel has as its version.
    node = delimited(1, delimited(1, b"x") + delimited(2, b"Placeholder"))
    (tmp_path / "saved_model.pb").write_bytes(node * 20)
    assert "has no MetaGraph" in _fault(tmp_path).message


@pytest.mark.parametrize("content", [b"\0" * 600, b"\xff" * 600, b"PK\x03\x04" + b"z" * 600, b"{}", b" "])
def test_bytes_that_are_no_message_are_refused(model: Path, content: bytes) -> None:
    (model / "saved_model.pb").write_bytes(content)
    assert "saved_model.pb" in _fault(model).message


# Missing and cut files ---------------------------------------------------------------------------


def test_a_missing_main_file_is_told(model: Path) -> None:
    (model / "saved_model.pb").unlink()
    error = _fault(model)
    assert "Not a SavedModel" in error.message
    assert error.hint.startswith("Specify the directory of saved_model.pb.")


def test_a_directory_in_place_of_the_main_file_is_told(model: Path) -> None:
    (model / "saved_model.pb").unlink()
    (model / "saved_model.pb").mkdir()
    assert "Not a SavedModel" in _fault(model).message


@each_of("percent", range(0, 100, 3))
@each_of("name", ["serving_half_plus_two_tf2", "tfx_tft_tf2", "serving_counter"])
def test_a_main_file_that_is_cut_off_is_told(tmp_path: Path, name: str, percent: int) -> None:
    whole = corpus_file(name, "saved_model.pb")
    (tmp_path / "saved_model.pb").write_bytes(whole[: len(whole) * percent // 100])
    assert "saved_model.pb" in _fault(tmp_path).message


def test_a_missing_shard_is_told(model: Path) -> None:
    (model / SHARD).unlink()
    assert f"{SHARD} is missing; the index names it" in _fault(model).message


def test_a_missing_second_shard_is_told(model: Path) -> None:
    (model / INDEX).write_bytes(index_of([(b"a", bundle_entry(1, 0, 4))], shards=2))
    (model / SHARD).rename(model / "variables/variables.data-00000-of-00002")
    assert "variables.data-00001-of-00002 is missing" in _fault(model).message


@pytest.mark.parametrize("size", [0, 1, 630])
def test_a_short_shard_is_told(model: Path, size: int) -> None:
    whole = (model / SHARD).read_bytes()
    (model / SHARD).write_bytes(whole[:size])
    assert f"{SHARD} has {size} bytes; the index needs {len(whole)}" in _fault(model).message


def test_a_shard_with_more_bytes_than_needed_is_whole(model: Path) -> None:
    with (model / SHARD).open("ab") as shard:
        shard.write(b"more")
    check_structure(model)


def test_a_directory_in_place_of_a_shard_is_told(model: Path) -> None:
    (model / SHARD).unlink()
    (model / SHARD).mkdir()  # Its size, 4096 bytes, is more than the tensors need.
    assert SHARD in _fault(model).message


def test_a_missing_index_is_told(model: Path) -> None:
    (model / INDEX).unlink()
    assert "variables.index is missing, but its data shards exist" in _fault(model).message


def test_a_directory_in_place_of_the_index_is_told(model: Path) -> None:
    (model / INDEX).unlink()
    (model / INDEX).mkdir()
    assert "variables.index" in _fault(model).message


@pytest.mark.parametrize("percent", range(0, 100, 5))
def test_an_index_that_is_cut_off_is_told(model: Path, percent: int) -> None:
    whole = (model / INDEX).read_bytes()
    (model / INDEX).write_bytes(whole[: len(whole) * percent // 100])
    assert INDEX in _fault(model).message


def test_a_web_page_in_place_of_the_index_is_told(model: Path) -> None:
    (model / INDEX).write_text("<!DOCTYPE html>" * 10)
    assert "truncated, or not an index" in _fault(model).message


def test_an_offset_beyond_every_disk_is_told(model: Path) -> None:
    (model / INDEX).write_bytes(index_of([(b"a", bundle_entry(0, 2**64 - 1, 2**64 - 1))]))
    assert "the index needs" in _fault(model).message


# Files that can't be read ------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that even root can't read")
@pytest.mark.parametrize("name", ["saved_model.pb", INDEX])
def test_a_local_model_that_can_not_be_read_is_told(model: Path, name: str) -> None:
    (model / name).unlink()
    (model / name).symlink_to("/proc/self/mem")  # A regular file whose first byte is an EIO.
    with pytest.raises(HubcliError):
        fetch(str(model))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["saved_model.pb", INDEX])
def test_a_local_model_that_may_not_be_read_is_told(model: Path, name: str) -> None:
    (model / name).chmod(0)
    with pytest.raises(HubcliError):
        fetch(str(model))
