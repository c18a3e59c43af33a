"""Graphs of TensorFlow 1 whose signatures feed inner tensors: as copies that converters take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hubcli.commands.export import ExportOptions, export
from hubcli.config.settings import Settings
from hubcli.exporting import ExportFormat
from hubcli.exporting.conversion import ConversionOptions, plan_conversion
from hubcli.exporting.converter import frozen_signatures
from hubcli.tf.frozen_signatures import converted_source
from tests.corpus import corpus_model
from tests.installed import require_installed

require_installed("tensorflow")

Built = dict[str, tuple[dict[str, Any], dict[str, Any]]]


def saved(folder: Path, build: Callable[[], Built]) -> str:
    """The directory of a model with the signatures that are built, each from inputs to outputs."""
    import tensorflow as tf

    v1 = tf.compat.v1
    builder = v1.saved_model.Builder(str(folder))
    with tf.Graph().as_default(), v1.Session() as session:
        info, build_signature = v1.saved_model.build_tensor_info, v1.saved_model.build_signature_def
        signatures = {
            name: build_signature(*({key: info(tensor) for key, tensor in side.items()} for side in sides))
            for name, sides in build().items()
        }
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        builder.add_meta_graph_and_variables(session, ["serve"], signatures, main_op=v1.tables_initializer())
    builder.save()
    return str(folder)


def build_parsing() -> Built:
    """A text that is parsed to the number that another signature feeds; one output is an input, too."""
    import tensorflow as tf

    v1 = tf.compat.v1
    text = v1.placeholder(tf.string, [None], name="text")
    unused = v1.placeholder(tf.float32, [], name="unused")
    x = tf.strings.to_number(text, name="x")
    a = v1.get_variable("a", initializer=0.5, use_resource=False)
    y = tf.add(a * x, 3.0, name="y")
    return {
        "number": ({"x": x, "unused": unused}, {"y": y, "same": x}),
        "text": ({"text": text}, {"y": y}),
    }


def build_counter() -> Built:
    import tensorflow as tf

    v1 = tf.compat.v1
    x = tf.identity(v1.placeholder(tf.float32, [None]), name="x")
    count = v1.get_variable("count", initializer=1.0, use_resource=False)
    return {"count": ({"x": x}, {"y": v1.assign_add(count, 1.0) + x})}


def build_table() -> Built:
    import tensorflow as tf

    x = tf.identity(tf.compat.v1.placeholder(tf.string, [None]), name="x")
    content = tf.lookup.KeyValueTensorInitializer(["one"], [1])
    return {"look_up": ({"x": x}, {"y": tf.lookup.StaticHashTable(content, 0).lookup(x)})}


def order_for(model: str, folder: Path) -> dict[str, Any]:
    plan = plan_conversion("m", Path(model), ExportFormat.TFLITE, ConversionOptions(), unsafe=False)
    frozen = frozen_signatures(plan.model, plan.endpoints)
    assert frozen
    return {"model": model, "tags": ["serve"], "destination": str(folder / "file"), "frozen": frozen}


@pytest.mark.tensorflow
def test_each_signature_of_the_copy_is_fed_at_placeholders_of_its_own(tmp_path: Path) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    (tmp_path / "staging").mkdir()
    order = order_for(saved(tmp_path / "model", build_parsing), tmp_path / "staging")
    with converted_source(tf, order) as copy, v1.Session(graph=tf.Graph()) as session:
        assert Path(copy).is_relative_to(tmp_path / "staging")
        definitions = v1.saved_model.load(session, ["serve"], copy).signature_def
        number, text = definitions["number"], definitions["text"]
        fed = {number.inputs["x"].name: [1.0, 2.0], number.inputs["unused"].name: 7.0}
        fetched = [number.outputs["y"].name, number.outputs["same"].name]
        results = [result.tolist() for result in session.run(fetched, fed)]
        assert results == [[3.5, 4.0], [1.0, 2.0]]
        parsed = session.run(text.outputs["y"].name, {text.inputs["text"].name: ["4"]})
        assert parsed.tolist() == [5.0]
        operations = session.graph.get_operations()
        assert not [operation.name for operation in operations if "Variable" in operation.type]
        feeds = [port.name for signature in (number, text) for port in signature.inputs.values()]
        assert {session.graph.get_tensor_by_name(name).op.type for name in feeds} == {"Placeholder"}
        assert [operation.type for operation in operations].count("StringToNumber") == 1
        values = [operation.get_attr("value") for operation in operations if operation.type == "Const"]
        assert [list(value.float_val) for value in values].count([0.5]) == 1  # Both share it.
        assert number.inputs["x"].tensor_shape.dim[0].size == -1
    assert list((tmp_path / "staging").iterdir()) == []


@pytest.mark.tensorflow
@pytest.mark.parametrize("build", [build_counter, build_table])
def test_a_graph_that_keeps_a_state_is_converted_as_it_is(build: Callable[[], Built], tmp_path: Path) -> None:
    import tensorflow as tf

    model = saved(tmp_path / "model", build)
    with converted_source(tf, order_for(model, tmp_path)) as source:
        assert source == model
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.tensorflow
@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["onnx", "tflite"])
@pytest.mark.parametrize("name", ["serving_half_plus_two", "serving_half_plus_three"])
def test_real_models_that_feed_inner_tensors_are_converted_and_compared(
    name: str, suffix: str, tmp_path: Path, settings: Settings
) -> None:
    if suffix == "onnx":
        require_installed("tf2onnx", "onnx", "onnxruntime")
    options = ExportOptions(conversion=ConversionOptions(signatures=("serving_default",)))
    result = export(str(corpus_model(name)), tmp_path / f"m.{suffix}", settings, options)
    assert result.conversion is not None
    (comparison,) = result.conversion.comparisons
    assert (comparison.largest.name, comparison.largest.error) == ("y", 0.0)
    assert [path.name for path in tmp_path.iterdir() if path.suffix] == [f"m.{suffix}"]
