"""Models of the zoo and the corpus converted in one process, against what TensorFlow computes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hubcli.errors import TensorFlowError
from hubcli.running.model import RunnableModel, read_signatures_of
from hubcli.running.model_process import sampled_inputs
from hubcli.tf.differences import difference
from hubcli.tf.litert import (
    ORIGIN_KEY,
    ConverterError,
    LiteRtRunner,
    NeedsSelectOpsError,
    UnsupportedOpsError,
    reason_of,
)
from hubcli.tf.run_protocol import Tensor
from tests.corpus import corpus_model
from tests.installed import require_installed
from tests.savedmodel.conftest import Zoo, zoo

__all__ = ["zoo"]

MLIR = """Could not translate MLIR to FlatBuffer.<unknown>:0: error: loc(callsite(fused["A:", "A@b"])): 'tf.A'
<unknown>:0: note: Error code: ERROR_NEEDS_FLEX_OPS
<unknown>:0: error: failed while converting: 'main':
Some ops are not supported by the native TFLite runtime, you can enable TF kernels fallback using TF Select.
TF Select ops: Erf, StringLower
Details:
\ttf.Erf(tensor<?xf32>) -> (tensor<?xf32>) : {device = ""}
"""


@pytest.mark.parametrize(
    ("text", "kind", "sentence"),
    [
        (MLIR, NeedsSelectOpsError, "LiteRT has no builtin op for Erf, StringLower"),
        (f"{MLIR}\nCustom ops: PyFunc\n", UnsupportedOpsError, "LiteRT has no op for PyFunc"),
        (
            'Failed to lift.<unknown>:0: error: loc(fused["V:", "f"]): \'tf.V\' op is odd\nmore',
            ConverterError,
            "'tf.V' op is odd",
        ),
        ("\n\nEndpoint fed more than once.\nmore", ConverterError, "Endpoint fed more than once."),
        ("", ConverterError, "unknown reason"),
        ("Custom ops: " + "A{0}, " * 9999, UnsupportedOpsError, "LiteRT has no op for A{0}, "),
    ],
)
def test_a_page_of_mlir_becomes_a_sentence(text: str, kind: type[ConverterError], sentence: str) -> None:
    error = reason_of(text)
    assert type(error) is kind
    assert str(error).startswith(sentence)
    assert len(str(error)) < 700
    assert "\n" not in str(error)


require_installed("tensorflow")
ZOO = (
    "bare_functions",
    "custom_gradient",
    "given_input_signature",
    "keras2_adam",
    "keras2_functional",
    "keras2_legacy_adam",
    "keras2_saved_by_tf",
    "keras3_export",
    "keras3_frozen",
    "many_options",
    "mirrored",
    "no_traces",
    "plain_module",
    "resaved_from_tf1",
    "reusable_with_tuples",
    "signature_defaults",
    "signature_only",
    "tf1_resources",
    "tf1_text",
    "without_variables",
)
CORPUS = (
    "basic_pitch_nmp",
    "serving_matrix_half_plus_two",
    "tfjs_int64_multiply",
    "tfjs_multiple_signatures",
)
# Of models that can't be converted the kind of error, or what loading says.
REFUSED = {
    "control_flow": UnsupportedOpsError,
    "keras2_text": NeedsSelectOpsError,
    "mutable_table": NeedsSelectOpsError,
    "several_signatures": NeedsSelectOpsError,
    "static_vocabulary": NeedsSelectOpsError,
    "tf1_assets": ConverterError,
}


@pytest.fixture(scope="module")
def litert() -> LiteRtRunner:
    return LiteRtRunner()


@pytest.fixture
def find(zoo: Zoo) -> Callable[[str], RunnableModel]:
    """The model of that name, of the zoo or the corpus."""

    def found(name: str) -> RunnableModel:
        path = corpus_model(name) if name in CORPUS else zoo(name)
        return read_signatures_of(name, path)

    return found


def order_for(model: RunnableModel, destination: Path, **more: Any) -> dict[str, Any]:
    return {
        "model": str(model.path),
        "tags": list(model.tags),
        "modules": [],
        "signatures": [endpoint.name for endpoint in model.endpoints],
        "destination": str(destination),
        "origin": json.dumps({"source": model.name}),
        "quantize": None,
        "representative": [],
        "frozen": [],
        "select_tf_ops": False,
        "opset": 18,
        **more,
    }


def expected_of(model: RunnableModel, name: str, inputs: dict[str, list[Tensor]]) -> dict[str, Tensor]:
    """What TensorFlow computes, by output."""
    from hubcli.tf.python_runner import PythonRunner

    runner = PythonRunner()
    order = {"number": 1, "model": str(model.path), "tags": list(model.tags), "modules": [], "repeat": 1}
    runner.load(order)
    endpoint = next(found for found in model.endpoints if found.name == name)
    names = [port.name for port in endpoint.outputs]
    kinds = [[port.kind, 1] for port in endpoint.inputs]
    runner.prepare({**order, "signature": name, "names": list(inputs), "kinds": kinds, "output_names": names})
    results, _ = runner.run(order, [tensors[0] for tensors in inputs.values()])
    return dict(zip(names, results, strict=True))


def largest_error(runner: Any, model: RunnableModel, signatures: list[str]) -> float:
    """Of all outputs of the signatures on sampled inputs, once names are the SavedModel's."""
    errors = [0.0]
    for endpoint in model.endpoints:
        if endpoint.name not in signatures:
            continue
        inputs = sampled_inputs(endpoint, size=3 if model.name != "basic_pitch_nmp" else 43844)
        expected = expected_of(model, endpoint.name, inputs)
        runner.prepare({"signature": endpoint.name, "names": list(inputs), "output_names": list(expected)})
        actual, _ = runner.run({"repeat": 1}, [tensors[0] for tensors in inputs.values()])
        errors += [difference(*pair)[0] for pair in zip(expected.values(), actual, strict=True)]
    return max(errors)


@pytest.mark.tensorflow
@pytest.mark.slow
class TestLiteRt:
    @pytest.mark.parametrize("name", [*ZOO, *CORPUS])
    def test_it_computes_what_tensorflow_computes(
        self, litert: LiteRtRunner, find: Callable[[str], RunnableModel], tmp_path: Path, name: str
    ) -> None:
        model, place = find(name), tmp_path / "model.tflite"
        litert.convert(order_for(model, place), [])
        litert.load({"model": str(place)})
        assert largest_error(litert, model, [endpoint.name for endpoint in model.endpoints]) <= 1e-5

    @pytest.mark.parametrize(("name", "kind"), REFUSED.items())
    def test_what_it_cannot_convert_has_a_reason(
        self,
        litert: LiteRtRunner,
        find: Callable[[str], RunnableModel],
        tmp_path: Path,
        name: str,
        kind: type[ConverterError],
    ) -> None:
        with pytest.raises(kind) as caught:
            litert.convert(order_for(find(name), tmp_path / "model.tflite"), [])
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "model.tflite").exists()

    def test_a_wrong_conversion_is_found(
        self, litert: LiteRtRunner, find: Callable[[str], RunnableModel], tmp_path: Path
    ) -> None:
        """TensorFlow 2.21's converter leaves variables of this model without a value."""
        model, place = find("keras3_saved_by_tf"), tmp_path / "model.tflite"
        litert.convert(order_for(model, place), [])
        litert.load({"model": str(place)})
        assert largest_error(litert, model, ["serving_default"]) > 1e-4

    @pytest.mark.parametrize("quantize", ["dynamic", "float16", "int8"])
    def test_weights_are_quantized_and_the_file_is_smaller(
        self, litert: LiteRtRunner, tmp_path: Path, quantize: str
    ) -> None:
        import tensorflow as tf

        root, place = tf.Module(), tmp_path / "model.tflite"
        root.w = tf.Variable(tf.random.stateless_normal([256, 64], [1, 2]))
        spec = tf.TensorSpec([None, 256], name="x")
        root.f = tf.function(lambda x: {"y": tf.nn.relu(x @ root.w)}, input_signature=[spec])
        tf.saved_model.save(root, str(tmp_path / "model"), signatures=root.f)
        model = read_signatures_of("model", tmp_path / "model")
        rows = [tensors[0] for tensors in sampled_inputs(model.endpoints[0]).values()]
        group = {"signature": "serving_default", "names": ["x"], "batches": 1}
        litert.convert(order_for(model, tmp_path / "plain.tflite"), [])
        order = order_for(model, place, quantize=quantize, representative=[group])
        litert.convert(order, rows)
        litert.load({"model": str(place)})
        assert 0 < largest_error(litert, model, ["serving_default"]) <= 0.05
        assert place.stat().st_size < 0.6 * (tmp_path / "plain.tflite").stat().st_size

    def test_the_origin_is_a_metadata_buffer(
        self, litert: LiteRtRunner, find: Callable[[str], RunnableModel], tmp_path: Path
    ) -> None:
        from tensorflow.lite.tools import flatbuffer_utils

        model, place = find("plain_module"), tmp_path / "model.tflite"
        litert.convert(order_for(model, place), [])
        read = flatbuffer_utils.read_model(str(place))
        buffers = {entry.name.decode(): bytes(read.buffers[entry.buffer].data) for entry in read.metadata}
        assert json.loads(buffers[ORIGIN_KEY]) == {"source": "plain_module"}
        assert "min_runtime_version" in buffers

    def test_a_name_that_was_lost_is_found(
        self, litert: LiteRtRunner, find: Callable[[str], RunnableModel], tmp_path: Path
    ) -> None:
        model, place = find("plain_module"), tmp_path / "model.tflite"
        litert.convert(order_for(model, place), [])
        litert.load({"model": str(place)})
        with pytest.raises(TensorFlowError, match="lacks the signature 'other'"):
            litert.prepare({"signature": "other", "names": [], "output_names": []})
        with pytest.raises(TensorFlowError, match="lacks the output 'z'"):
            litert.prepare({"signature": "serving_default", "names": ["x"], "output_names": ["z"]})

    def test_select_ops_are_written_and_named_where_the_interpreter_has_none(
        self, litert: LiteRtRunner, find: Callable[[str], RunnableModel], tmp_path: Path
    ) -> None:
        model, place = find("static_vocabulary"), tmp_path / "model.tflite"
        litert.convert(order_for(model, place, select_tf_ops=True), [])
        assert b"FlexStringToHashBucketFast" in place.read_bytes()
        litert.load({"model": str(place)})
        try:
            assert largest_error(litert, model, ["serving_default"]) == 0.0
        except ConverterError as error:
            assert "has no Select TF ops" in str(error)  # noqa: PT017 - of TensorFlow 2.20 and later
