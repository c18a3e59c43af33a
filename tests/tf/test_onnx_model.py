"""Signatures converted to ONNX in one process, against what TensorFlow computes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hubcli.running.model import RunnableModel, read_signatures_of
from hubcli.tf.litert import ORIGIN_KEY, ConverterError, UnsupportedOpsError
from hubcli.tf.onnx_model import OnnxRunner, reason_of
from tests.installed import require_installed


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("graph input 'a b' not exist", "no output uses the input 'a b', and tf2onnx removes it"),
        (
            "[ONNXRuntimeError] : 1 : FAIL : Load model from /tmp/x/new failed:No type for complex64\nmore",
            "No type for complex64",
        ),
        ("Field 'shape' of 'type' is required but missing.", "an output has an unknown number of dimensions"),
        ("first\nsecond", "first"),
        ("", "ValueError"),
    ],
)
def test_an_error_becomes_a_sentence(text: str, sentence: str) -> None:
    assert reason_of(ValueError(text)).startswith(sentence)


require_installed("tensorflow", "tf2onnx", "onnx", "onnxruntime")

from tests.tf.test_conversions import find, largest_error, order_for, zoo  # noqa: E402 - they need TensorFlow

__all__ = ["find", "zoo"]

ZOO = (
    "bare_functions",
    "custom_gradient",
    "given_input_signature",
    "keras2_functional",
    "keras2_adam",
    "keras3_export",
    "mirrored",
    "plain_module",
    "resaved_from_tf1",
    "reusable_with_tuples",
    "signature_only",
)
CORPUS = ("basic_pitch_nmp",)
REFUSED = {
    "control_flow": (UnsupportedOpsError, "_SwitchN"),
    "keras2_text": (UnsupportedOpsError, "StaticRegexReplace, StringSplitV2"),
    "many_options": (ConverterError, "with the tags serve, extra"),
    "signature_defaults": (ConverterError, "no output uses the input 'word'"),
}


@pytest.fixture(scope="module")
def onnx() -> OnnxRunner:
    return OnnxRunner()


@pytest.mark.tensorflow
@pytest.mark.slow
class TestOnnx:
    @pytest.mark.parametrize("name", [*ZOO, *CORPUS])
    def test_it_computes_what_tensorflow_computes(
        self, onnx: OnnxRunner, find: Callable[[str], RunnableModel], tmp_path: Path, name: str
    ) -> None:
        model, place = find(name), tmp_path / "model.onnx"
        for endpoint in model.endpoints:
            answer = onnx.convert(order_for(model, place, signatures=[endpoint.name]), [])
            assert (answer["converter"].partition(" ")[0], answer["opset"]) == ("tf2onnx", 18)
            onnx.load({"model": str(place)})
            assert largest_error(onnx, model, [endpoint.name]) <= 1e-5

    @pytest.mark.parametrize("name", REFUSED)
    def test_what_it_cannot_convert_has_a_reason(
        self, onnx: OnnxRunner, find: Callable[[str], RunnableModel], tmp_path: Path, name: str
    ) -> None:
        kind, message = REFUSED[name]
        with pytest.raises(kind) as caught:
            onnx.convert(order_for(find(name), tmp_path / "m.onnx", signatures=["serving_default"]), [])
        assert message in str(caught.value)

    def test_a_signature_named_like_an_option_is_none(self, onnx: OnnxRunner, tmp_path: Path) -> None:
        import tensorflow as tf

        name, place = "--load_op_libraries=evil.so", tmp_path / "model.onnx"
        root, spec = tf.Module(), tf.TensorSpec([None], name="x")
        root.f = tf.function(lambda x: {"y": 2 * x}, input_signature=[spec])
        tf.saved_model.save(root, str(tmp_path / "model"), signatures={name: root.f})
        model = read_signatures_of("model", tmp_path / "model")
        onnx.convert(order_for(model, place), [])
        onnx.load({"model": str(place)})
        assert largest_error(onnx, model, [name]) == 0.0

    @pytest.mark.parametrize("opset", [9, 18])
    def test_the_file_has_the_opset_and_its_origin(
        self, onnx: OnnxRunner, find: Callable[[str], RunnableModel], tmp_path: Path, opset: int
    ) -> None:
        import onnxruntime

        model, place = find("plain_module"), tmp_path / "model.onnx"
        answer = onnx.convert(order_for(model, place, opset=opset, origin="the origin"), [])
        assert answer["opset"] == opset
        session = onnxruntime.InferenceSession(str(place), providers=["CPUExecutionProvider"])
        assert session.get_modelmeta().custom_metadata_map == {ORIGIN_KEY: "the origin"}
        assert session.get_modelmeta().graph_name == "serving_default"
        assert str(model.path).encode() not in place.read_bytes()
