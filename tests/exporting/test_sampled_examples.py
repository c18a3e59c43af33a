"""Records for signatures that parse tf.Examples, from the features that the graph names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from hubcli.exporting.comparing import compare_with_source
from hubcli.exporting.editing import EditOptions, plan_edits, prove
from hubcli.exporting.sampled_examples import sampled_examples
from hubcli.formats import HalfType
from hubcli.formats.wire import encode_field
from hubcli.running.tables import example_features
from hubcli.savedmodel.edit.editable import tensor_of_strings
from tests.corpus import corpus_model

MANY = (1 << 64) - 1  # -1, for any size.


def node(name: str, op: str, inputs: Sequence[str] = (), **attributes: bytes) -> bytes:
    entries = b"".join(
        encode_field(5, encode_field(1, key) + encode_field(2, value)) for key, value in attributes.items()
    )
    sources = b"".join(encode_field(3, source) for source in inputs)
    return encode_field(1, encode_field(1, name) + encode_field(2, op) + sources + entries)


def texts(name: str, *values: bytes) -> bytes:
    return node(name, "Const", value=encode_field(8, tensor_of_strings(values)))


def parsing_model(
    folder: Path,
    sizes: Sequence[int],
    keys: bytes | None = None,
    sparse: Sequence[bytes] = (),
    dtype: int = 1,
) -> Path:
    """A model whose graph parses the dense feature `x` of that type and shape, and sparse ones of int64."""
    shape = b"".join(encode_field(2, encode_field(1, size)) for size in sizes)
    nodes = (
        texts("names")
        + texts("sparse", *sparse)
        + (texts("dense", b"x") if keys is None else keys)
        + node(
            "parser",
            "ParseExampleV2",
            ["serialized", "names", "sparse", "dense", "ragged"],
            sparse_types=encode_field(1, b"".join(encode_field(6, 9) for _ in sparse)),
            Tdense=encode_field(1, encode_field(6, dtype)),
            dense_shapes=encode_field(1, encode_field(7, shape)),
        )
    )
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(encode_field(1, 1) + encode_field(2, encode_field(2, nodes)))
    return folder


def test_each_feature_that_the_graph_parses_has_its_values(tmp_path: Path) -> None:
    records = sampled_examples(parsing_model(tmp_path / "m", [2, MANY], sparse=[b"age"]), ())
    first, second = (example_features(record) for record in records[:2])
    assert first is not None
    assert second is not None
    assert {name: len(values) for name, values in first.items()} == {"x": 2, "age": 1}
    assert first["age"] == [0]
    assert second["age"] == [1]
    assert first["x"] != second["x"]
    assert all(0 <= value < 1 for value in first["x"])


def test_texts_are_the_words_of_the_model(tmp_path: Path) -> None:
    model = parsing_model(tmp_path / "m", [2], dtype=7)
    found = example_features(sampled_examples(model, ["ä", "b", "c"])[1])
    assert found is not None
    assert list(found["x"]) == [b"b", b"c"]


def test_a_graph_of_tensorflow_2_names_its_features_in_one_constant() -> None:
    found = example_features(sampled_examples(corpus_model("tfx_keras_serving"), ())[0])
    assert found is not None
    assert set(found) == {"body_mass_g", "culmen_depth_mm", "culmen_length_mm", "flipper_length_mm"}


def test_a_graph_of_tensorflow_1_names_each_feature_in_a_constant_of_its_own() -> None:
    found = example_features(sampled_examples(corpus_model("serving_half_plus_two"), ())[0])
    assert found is not None
    assert {name: len(values) for name, values in found.items()} == {"x": 1, "x2": 1}


def test_features_that_are_too_large_or_computed_give_no_records(tmp_path: Path) -> None:
    huge = parsing_model(tmp_path / "huge", [1 << 40] * 100)
    computed = parsing_model(tmp_path / "computed", [1], keys=node("dense", "StringJoin"))
    long = parsing_model(tmp_path / "long", [1], keys=texts("dense", b"x" * (1 << 21)))
    wordy = parsing_model(tmp_path / "wordy", [1 << 16], dtype=7)
    assert sampled_examples(huge, ()) == ()
    assert sampled_examples(long, ()) == ()
    assert sampled_examples(wordy, ["a" * 100]) == ()
    assert sampled_examples(computed, ()) == ()
    assert sampled_examples(corpus_model("basic_pitch_nmp"), ()) == ()


@pytest.mark.tensorflow
@pytest.mark.slow
def test_a_signature_that_takes_records_is_compared_and_warmed_up(tmp_path: Path) -> None:
    source = corpus_model("tfx_keras_serving")
    options = EditOptions(serving=True, half=HalfType.BFLOAT16, warmup="3")
    plan = plan_edits(source, options)
    plan.write(tmp_path / "export")
    report = prove(plan, tmp_path / "export", options)
    assert report.compared == ("serving_default",)
    old = corpus_model("serving_half_plus_two")
    names = {name: name for name in ("regress_x_to_y", "classify_x_to_y")}
    assert compare_with_source(old, old, names).signatures == tuple(names)
