"""`hubcli.KerasLayer`: what it takes and gives, which weights it has, and what it refuses."""

from __future__ import annotations

import doctest
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import hubcli
from hubcli.errors import ArgumentError, MissingPathError, NoModelError, TensorFlowError
from tests.tf.conftest import Saved

pytestmark = pytest.mark.tensorflow

SIGNED = "signature, one output"
# The patterns by which tensorflow_hub's own tests know these errors.
EITHER = "When using a signature, either output_key or signature_outputs_as_dict=True should be set."
ONLY_WITH = "signature_outputs_as_dict is only valid if specifying a signature *"


class TestCalls:
    def test_the_guide_to_reusable_models_works_as_written(self, saved: Saved) -> None:
        import numpy

        layer = hubcli.KerasLayer(saved("multiplier"))
        assert layer([10.0, 20.0]).numpy().tolist() == [20.0, 40.0]
        assert layer([10.0, numpy.float32(20.0)]).numpy().tolist() == [20.0, 40.0]
        assert layer.trainable_weights == []
        layer.trainable = True
        assert [float(weight) for weight in layer.trainable_weights] == [2.0]
        # Two losses on one weight: Keras counts one a weight, and so their sum.
        assert [float(loss) for loss in layer.losses] == [pytest.approx(1.004)]

    def test_text_comes_as_a_list_an_array_or_a_tensor(self, saved: Saved) -> None:
        import numpy
        import tensorflow as tf

        layer, words = hubcli.KerasLayer(saved("text")), ["the cat", "sat"]
        given = [
            layer(form).numpy() for form in (words, tuple(words), numpy.array(words), tf.constant(words))
        ]
        assert given[0].shape == (2, 4)
        assert all((array == given[0]).all() for array in given)

    def test_an_object_is_taken_as_its_handle_is(self, saved: Saved) -> None:
        obj = hubcli.load(saved("regularizers"))
        layer = hubcli.KerasLayer(obj)
        assert layer.resolved_object is obj
        assert (layer([[1.0, 2, 3, 4]]).numpy() == obj([[1.0, 2, 3, 4]]).numpy()).all()

    def test_nests_are_kept_as_they_are(self, saved: Saved) -> None:
        import keras

        layer = hubcli.KerasLayer(saved("deep"))
        given = layer({"b": [{"c": [[1.0, 2.0]]}], "d": ["x"]})
        assert given["a"][0].numpy().tolist() == [[2.0, 4.0]]
        assert given["a"][1][0].numpy().tolist() == [b"x"]
        symbols = {"b": [{"c": keras.Input([2])}], "d": keras.Input([], dtype="string", name="d")}
        outputs = layer(symbols)
        assert outputs["a"][0].shape == (None, 2)
        assert (outputs["a"][1][0].shape, outputs["a"][1][0].dtype) == ((None,), "string")

    def test_ragged_and_sparse_tensors_go_in_and_out(self, saved: Saved) -> None:
        import keras
        import tensorflow as tf

        ragged = tf.ragged.constant([[1.0, 2.0], [3.0]])
        layer = hubcli.KerasLayer(saved("ragged"))
        assert layer(ragged)["scaled"].to_list() == [[2.0, 4.0], [6.0]]
        assert layer(keras.Input([None], ragged=True))["scaled"].ragged
        sparse = tf.sparse.from_dense([[1.0, 0, 0, 2]])
        assert hubcli.KerasLayer(saved("sparse"))(sparse).shape == (1, 2)

    def test_numbers_are_cast_to_what_the_model_takes(self, saved: Saved) -> None:
        import keras
        import numpy

        rows, layer = numpy.ones([2, 4]), hubcli.KerasLayer(saved("regularizers"))
        assert all(layer(rows.astype(kind)).dtype == "float32" for kind in ("float16", "float32", "float64"))
        assert hubcli.KerasLayer(saved("double"))(rows.astype("float32")).dtype == "float64"
        assert hubcli.KerasLayer(saved("text")).compute_dtype == "string"
        keras.mixed_precision.set_global_policy("mixed_float16")
        try:
            mixed = hubcli.KerasLayer(saved("regularizers"))
            assert mixed(rows.astype("float16")).dtype == "float32"
            assert {weight.dtype for weight in mixed.weights} == {"float32"}
        finally:
            keras.mixed_precision.set_global_policy("float32")

    def test_other_numbers_are_refused_by_the_model_itself(self, saved: Saved) -> None:
        import numpy

        with pytest.raises((TypeError, ValueError), match="int32"):
            hubcli.KerasLayer(saved("regularizers"))(numpy.ones([2, 4], "int32"))

    def test_a_function_and_a_model_of_keras_are_layers_too(self) -> None:
        import keras

        assert hubcli.KerasLayer(lambda x: x * 2.0)([1.0]).numpy().tolist() == [2.0]
        inner = keras.Sequential([keras.Input([3]), keras.layers.Dense(2, kernel_regularizer="l2")])
        layer = hubcli.KerasLayer(inner, trainable=True)
        assert layer.trainable_weights == inner.trainable_weights
        assert len(layer.losses) == 1

    def test_shapes_are_told_before_anything_is_called(self, saved: Saved) -> None:
        assert hubcli.KerasLayer(saved("text")).compute_output_shape((None,)) == (None, 4)
        assert hubcli.KerasLayer(saved("regularizers")).compute_output_shape((7, 4)) == (7, 2)

    def test_a_tensor_may_say_whether_it_is_training(self, saved: Saved) -> None:
        import tensorflow as tf

        layer = hubcli.KerasLayer(saved("seeded dropout"), trainable=True)
        call = tf.function(lambda training: layer(tf.ones([1, 4]), training=training))
        mean = layer.non_trainable_weights[0]
        call(tf.constant(False))
        assert not mean.numpy().any()
        call(tf.constant(True))
        assert mean.numpy().any()

    def test_xla_is_for_models_without_text_tables_ragged_or_sparse_tensors(self, saved: Saved) -> None:
        names = ("regularizers", "image", "text", "ragged", "sparse", "deep")
        fit = [hubcli.KerasLayer(saved(name)).supports_jit for name in names]
        assert fit == [True, True, False, False, False, False]

    def test_what_its_docstring_shows_is_so(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HUBCLI_CACHE_DIR", str(cache))
        names = {"KerasLayer": hubcli.KerasLayer}
        (example, *_) = doctest.DocTestFinder(recurse=False).find(hubcli.KerasLayer, globs=names)
        assert doctest.DocTestRunner().run(example) == (0, 3)


class TestWeights:
    def test_they_are_the_variables_of_the_object_and_no_copies(self, saved: Saved) -> None:
        layer = hubcli.KerasLayer(saved("regularizers"), trainable=True)
        obj = layer.resolved_object
        assert all(
            variable.value is own
            for variable, own in zip(layer.weights, obj.trainable_variables, strict=False)
        )
        obj.bias.assign([5.0, 6.0])
        assert layer.non_trainable_weights[0].numpy().tolist() == [5.0, 6.0]

    def test_a_plain_module_gets_its_lists_from_its_graph(self, saved: Saved) -> None:
        """Such an object has none, and a layer that believed it would train nothing, without a word."""
        obj = hubcli.load(saved("tf.Module"))
        assert not hasattr(obj, "trainable_variables")
        for handle in (saved("tf.Module"), obj):
            layer = hubcli.KerasLayer(handle, trainable=True)
            own = layer.resolved_object
            assert [weight.value for weight in layer.trainable_weights] == [own.bias, own.inner.kernel]
            assert [weight.value for weight in layer.non_trainable_weights] == [own.count]
            assert not hasattr(own, "trainable_variables")  # It is saved as it was.

    def test_an_object_that_was_never_saved_gives_all_that_hangs_on_it(self) -> None:
        import tensorflow as tf

        class Plain(tf.train.Checkpoint):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.kernel, self.count = tf.Variable(1.0), tf.Variable(0.0, trainable=False)

            def __call__(self, x: Any) -> Any:
                return x * self.kernel

        layer = hubcli.KerasLayer(Plain(), trainable=True)
        assert (len(layer.trainable_weights), len(layer.non_trainable_weights)) == (1, 1)

    def test_two_layers_around_one_object_share_its_weights(self, saved: Saved) -> None:
        """Or an optimizer would make each step twice."""
        import keras

        obj, inputs = hubcli.load(saved("text")), keras.Input([], dtype="string")
        first, other = (hubcli.KerasLayer(obj, trainable=True) for _ in range(2))
        model = keras.Model(inputs, keras.layers.Add()([first(inputs), other(inputs)]))
        assert len(model.trainable_weights) == 1
        first.trainable = False
        assert [len(each.trainable_weights) for each in (model, first, other)] == [1, 0, 1]
        other.trainable = False
        assert model.trainable_weights == []
        first.trainable = True
        assert len(model.trainable_weights) == 1

    def test_a_signature_beside_it_freezes_nothing(self, tmp_path: Path) -> None:
        import tensorflow as tf

        from tests.interop.layer_models import Module

        module = Module()
        tf.saved_model.save(module, str(tmp_path), signatures=module.__call__)
        obj = hubcli.load(str(tmp_path))
        layer = hubcli.KerasLayer(obj, trainable=True)
        served = hubcli.KerasLayer(obj, signature="serving_default", output_key="output_0")
        assert (served([[1.0, 2, 3, 4]]).numpy() == layer([[1.0, 2, 3, 4]]).numpy()).all()
        served.trainable = True
        served.trainable = False
        assert len(layer.trainable_weights) == 2

    def test_what_keras_cannot_know_stays_with_the_object(self, saved: Saved) -> None:
        layer = hubcli.KerasLayer(saved("unfit"), trainable=True)
        assert layer([1.0]).numpy().tolist() == [3.0]
        assert len(layer.weights) == 1
        obj = layer.resolved_object
        obj.trainable_variables = [obj.factor, obj.vector]
        frozen = hubcli.KerasLayer(obj)
        assert frozen([1.0]).numpy().tolist() == [3.0]
        frozen.trainable = True
        with pytest.raises(ArgumentError, match=r"cannot train .*, of shape \(None,\) and type float32"):
            frozen([1.0])

    def test_nothing_to_train_is_said_once(self, caplog: pytest.LogCaptureFixture) -> None:
        layer = hubcli.KerasLayer(lambda x: x, trainable=True)
        with caplog.at_level(logging.ERROR, "hubcli"):
            layer([1.0])
            layer([1.0])
        assert caplog.messages == ["hub.KerasLayer is trainable but has zero trainable weights."]

    def test_losses_without_a_weight_are_added_by_each_call(self) -> None:
        import tensorflow as tf

        class Constant(tf.train.Checkpoint):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.regularization_losses = [lambda: tf.constant(2.0)]

            def __call__(self, x: Any) -> Any:
                return x

        layer = hubcli.KerasLayer(Constant(), trainable=True)
        for _ in range(2):
            layer([1.0])
            assert [float(loss) for loss in layer.losses] == [2.0]


class TestRefusals:
    """Of the class that tensorflow_hub raises, where it has one, with a hint."""

    @pytest.mark.parametrize(
        ("model", "options", "message", "hint"),
        [
            (
                SIGNED,
                {"signature": "nope", "output_key": "x"},
                r"Unknown signature nope in .+ \(available signatures: ",
                "one of",
            ),
            (SIGNED, {"signature": "serving_default"}, EITHER, "first, twice"),
            ("multiplier", {"signature_outputs_as_dict": True}, ONLY_WITH, "one of"),
            ("multiplier", {"output_shape": "abc"}, "not a shape", "output_shape="),
        ],
    )
    def test_arguments_that_do_not_fit(
        self, model: str, options: dict[str, Any], message: str, hint: str, saved: Saved
    ) -> None:
        with pytest.raises(ArgumentError, match=message) as raised:
            hubcli.KerasLayer(saved(model), **options)
        assert isinstance(raised.value, ValueError)
        assert hint in raised.value.hint

    def test_a_model_of_signatures_alone_needs_one(self, tmp_path: Path) -> None:
        import tensorflow as tf

        class Server(tf.Module):  # type: ignore[misc]
            @tf.function(input_signature=[tf.TensorSpec([None], name="x")])  # type: ignore[untyped-decorator]
            def serve(self, x: Any) -> Any:
                return {"y": x * 2.0}

        server = Server()
        tf.saved_model.save(server, str(tmp_path), signatures=server.serve)
        for handle in (str(tmp_path), hubcli.load(str(tmp_path))):
            with pytest.raises(
                ArgumentError, match="^Signature name has to be specified for non-callable saved models"
            ) as raised:
                hubcli.KerasLayer(handle)
            assert raised.value.hint == "Set signature to one of: serving_default"
            layer = hubcli.KerasLayer(handle, signature="serving_default", output_key="y")
            assert layer([1.0]).numpy().tolist() == [2.0]

    @pytest.mark.parametrize("shape", [[20], {"a": [4]}, [[4], [4]]])
    def test_an_output_shape_that_does_not_fit(self, shape: Any, saved: Saved) -> None:
        with pytest.raises(ArgumentError, match="does not match the output of the model") as raised:
            hubcli.KerasLayer(saved("text"), output_shape=shape)(["the cat"])
        assert "Remove the batch dimension" in raised.value.hint

    def test_what_cannot_be_trained(self, saved: Saved) -> None:
        signature: dict[str, Any] = {"signature": "serving_default", "output_key": "first"}
        layer = hubcli.KerasLayer(saved("signature, one output"), trainable=True, **signature)
        with pytest.raises(ArgumentError, match="trainable.*=.*True.*unsupported"):
            layer({"x": [[1.0, 2, 3, 4]], "ids": [1]})
        layer = hubcli.KerasLayer(saved("TF1 Hub format"), output_key="outputs")
        assert layer([[1.0]]).numpy().tolist() == [[2.5]]
        layer.trainable = True
        with pytest.raises(ArgumentError, match="trainable.*=.*True.*unsupported"):
            layer([[1.0]])

    def test_handles_that_are_none(self, saved: Saved, tmp_path: Path) -> None:
        import tensorflow as tf

        with pytest.raises(MissingPathError, match="does not exist"):
            hubcli.KerasLayer(str(tmp_path / "nothing"))
        with pytest.raises(NoModelError, match="contains neither"):
            hubcli.KerasLayer(str(tmp_path))
        with pytest.raises(ArgumentError, match="Expected a string, got 3"):
            hubcli.KerasLayer(3)
        options = tf.saved_model.LoadOptions(experimental_io_device="/job:nowhere")
        with pytest.raises(TensorFlowError, match="nowhere"):
            hubcli.KerasLayer(saved("multiplier"), load_options=options)
        obj = hubcli.load(saved("multiplier"))
        with pytest.raises(
            ArgumentError, match="^Passing a callable handle is mutually exclusive with setting tags"
        ):
            hubcli.KerasLayer(obj, tags=["serve"])
        with pytest.raises(ArgumentError, match="exclusive with setting load_options"):
            hubcli.KerasLayer(obj, load_options=object())

    def test_losses_that_cannot_be_called(self) -> None:
        import tensorflow as tf

        class Odd(tf.train.Checkpoint):  # type: ignore[misc]
            def __call__(self, x: Any) -> Any:
                return x

        odd = Odd()
        odd.regularization_losses = [tf.Variable(1.0)]
        with pytest.raises(ArgumentError, match="regularization_losses to be an iterable of callables"):
            hubcli.KerasLayer(odd)


@pytest.mark.slow
def test_another_keras_is_refused_and_models_are_loaded_all_the_same(cache: Path, tmp_path: Path) -> None:
    """The backend needn't even be installed; in Keras's own settings it is found when Keras is imported."""
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    program = """
import os, hubcli

def refused(**variables):
    os.environ.update(variables)
    try: hubcli.KerasLayer
    except hubcli.HubcliError as error: print(error.code, error.message, error.hint)
    for name in variables: del os.environ[name]

refused(KERAS_BACKEND="torch")
refused(TF_USE_LEGACY_KERAS="1")
assert float(hubcli.load("example://mul/1")([[2.0]])[0, 0]) == 4.0
refused()
"""
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "KERAS_HOME": str(tmp_path), "HUBCLI_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    torch, legacy, jax = result.stdout.splitlines()
    for line, backend in ((torch, "torch"), (jax, "jax")):
        assert line.startswith(
            f"tensorflow Keras uses the backend {backend}, but SavedModels run only in TensorFlow"
        )
        assert "KERAS_BACKEND=tensorflow" in line
    assert "tensorflow_hub.KerasLayer" in legacy
    assert "pip install tf_keras tensorflow_hub" in legacy
