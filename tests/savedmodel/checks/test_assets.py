"""The assets that a SavedModel declares, and those that climb out."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubcli.errors import BrokenModelError
from hubcli.savedmodel.layout import climbs_out, declared_assets
from tests.cases import each_of
from tests.corpus import corpus_file
from tests.formats.tables import delimited, number


def asset(name: bytes) -> bytes:
    """An AssetFileDef."""
    return delimited(1, delimited(1, b"Const:0")) + delimited(2, name)


def tf2_model(*names: bytes) -> bytes:
    return delimited(2, delimited(1, b"") + b"".join(delimited(6, asset(name)) for name in names))


def tf1_model(*names: bytes, collection: bytes = b"saved_model_assets") -> bytes:
    packed = b"".join(
        delimited(1, delimited(1, b"type.googleapis.com/tensorflow.AssetFileDef") + delimited(2, asset(name)))
        for name in names
    )
    entry = delimited(1, collection) + delimited(2, delimited(5, packed))
    return delimited(2, delimited(1, b"") + delimited(4, entry))


@each_of(
    "model, names",
    [
        ("serving_half_plus_two", ("foo.txt",)),
        ("serving_half_plus_two_tf2", ("foo.txt",)),
        (
            "tfx_tft_tf2",
            (
                "vocab_compute_and_apply_vocabulary_1_vocabulary",
                "vocab_compute_and_apply_vocabulary_vocabulary",
            ),
        ),
        ("basic_pitch_nmp", ()),
    ],
)
def test_real_models_declare_these(model: str, names: tuple[str, ...]) -> None:
    assert declared_assets(corpus_file(model, "saved_model.pb")) == names


def test_both_places_are_read_and_each_name_told_once() -> None:
    data = tf2_model(b"b", b"a") + tf1_model(b"a", b"c")
    assert declared_assets(data) == ("a", "b", "c")


def test_other_collections_are_left_alone() -> None:
    assert declared_assets(tf1_model(b"a", collection=b"variables")) == ()


def test_a_name_that_is_no_text_stays_the_bytes_it_is() -> None:
    assert declared_assets(tf2_model(b"caf\xe9")) == ("caf\udce9",)


@each_of(
    "data",
    [b"\x12\xff", delimited(2, delimited(6, b"\x12\x7f")), delimited(2, b"\x08"), number(1, 1) + b"\x0b"],
)
def test_a_message_that_is_cut_is_refused(data: bytes) -> None:
    with pytest.raises(BrokenModelError):
        declared_assets(data)


@each_of("name", ["../x", "a/../../x", "/etc/hostname", "a\\b", "..", "", ".", "a\0b"])
def test_names_that_climb_out_are_told(name: str) -> None:
    assert climbs_out(name)


@each_of("name", ["x", "a/b.txt", "..x", "a b", "ü", "x.."])
def test_names_within_are_not(name: str) -> None:
    assert not climbs_out(name)


@pytest.mark.tensorflow
def test_tensorflow_s_own_model_declares_its_asset(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    (tmp_path / "words.txt").write_text("a\nb\n")
    module = tf.Module()
    module.words = tf.saved_model.Asset(str(tmp_path / "words.txt"))
    tf.saved_model.save(module, str(tmp_path / "model"))
    assert declared_assets((tmp_path / "model" / "saved_model.pb").read_bytes()) == ("words.txt",)
