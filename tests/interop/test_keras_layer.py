"""`hubcli.KerasLayer` in Keras 3 beside `tensorflow_hub.KerasLayer` in Keras 2, around the same models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path
from typing import Any

import pytest

import hubcli
from tests.installed import require_installed

require_installed("tensorflow_hub", "tf_keras")
pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

TRAINED = (
    "text",
    "regularizers",
    "seeded dropout",
    "batch norm",
    "nests",
    "list",
    "tf.Module",
    "ragged",
    "sparse",
    "double",
)
CALLED = ("signature, one output", "signature, all outputs", "TF1 Hub format")
STEPS = 10


@dataclass
class Side:
    """One of the two: its Keras, its layer, and the model around it."""

    keras: Any
    layer: Any
    model: Any
    inputs: Any

    def outputs(self) -> Any:
        return self.layer(self.inputs)

    def losses(self) -> list[float]:
        return [float(loss) for loss in self.layer.losses]

    def gradients(self) -> list[Any]:
        """Of a loss on the model's outputs and its regularization, by weight, in inference."""
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.cast(self.model(self.inputs), tf.float32) ** 2) + sum(self.model.losses)
        given = tape.gradient(loss, self.layer.trainable_weights)
        return [tf.convert_to_tensor(gradient).numpy() for gradient in given]

    def train(self, steps: int) -> list[float]:
        """As many steps of SGD on the same batch; the loss of each."""
        import tensorflow as tf

        self.model.compile(self.keras.optimizers.SGD(0.05), "mse")
        labels = tf.reshape(tf.cast(tf.range(6) % 2, self.model.output.dtype), [6, 1])
        inputs = tuple(self.inputs) if isinstance(self.inputs, list) else self.inputs
        data = tf.data.Dataset.from_tensors((inputs, labels)).repeat()
        fitted = self.model.fit(data, epochs=steps, steps_per_epoch=1, verbose=0)
        return [float(loss) for loss in fitted.history["loss"]]


Sides = Callable[..., "tuple[Side, Side]"]


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    import keras
    import tensorflow as tf
    import tensorflow_hub
    import tf_keras

    from tests.interop.layer_models import CASES

    folder = tmp_path_factory.mktemp("models")

    @once
    def saved(name: str) -> Path:
        path = folder / name.replace(" ", "-")
        CASES[name].save(path)
        return path

    def side(name: str, module: Any, make: Callable[..., Any], trainable: bool) -> Side:
        case = CASES[name]
        path = str(saved(name))
        if name == "tf.Module" and module is tf_keras:
            handle: Any = tf.saved_model.load(path)  # tensorflow_hub trains it once it has its lists.
            handle.variables = [handle.bias, handle.count, handle.inner.kernel]
            handle.trainable_variables = [handle.bias, handle.inner.kernel]
        else:
            handle = path
        layer = make(handle, trainable=trainable, **case.layer)
        inputs = _inputs(case.inputs, case.spec)
        symbols = _map(lambda spec: module.Input(**spec), case.spec)
        features = layer(symbols)
        if case.output is not None:
            features = case.output(features)
        if len(features.shape) < 2:
            features = module.layers.Reshape([1])(features)
        dtype = features.dtype if isinstance(features.dtype, str) else features.dtype.name
        head = module.layers.Dense(1, kernel_initializer="ones", dtype=dtype)
        return Side(module, layer, module.Model(symbols, head(features)), inputs)

    def both(name: str, *, trainable: bool = False) -> tuple[Side, Side]:
        tf.random.set_seed(1)
        ours = side(name, keras, hubcli.KerasLayer, trainable)
        theirs = side(name, tf_keras, tensorflow_hub.KerasLayer, trainable)
        return ours, theirs

    yield both
    tf.random.set_seed(None)  # For the tests of other files, which want other numbers each time.


def _map(function: Callable[[Any], Any], spec: Any) -> Any:
    if isinstance(spec, list):
        return [_map(function, part) for part in spec]
    if isinstance(spec, dict) and "shape" not in spec:
        return {key: _map(function, part) for key, part in spec.items()}
    return function(spec)


def _inputs(values: Any, spec: Any) -> Any:
    import tensorflow as tf

    if isinstance(spec, list):
        return [_inputs(value, part) for value, part in zip(values, spec, strict=True)]
    if "shape" not in spec:
        return {key: _inputs(values[key], spec[key]) for key in spec}
    if spec.get("ragged"):
        return tf.ragged.constant(values)
    if spec.get("sparse"):
        return tf.sparse.from_dense(values)
    return tf.constant(values)


def same(ours: Any, theirs: Any, tolerance: float = 1e-6) -> None:
    """Asserts that both nests hold the same numbers."""
    import numpy as np
    import tensorflow as tf

    tf.nest.assert_same_structure(ours, theirs, expand_composites=True)
    pairs = zip(
        tf.nest.flatten(ours, expand_composites=True),
        tf.nest.flatten(theirs, expand_composites=True),
        strict=True,
    )
    for left, other in pairs:
        np.testing.assert_allclose(np.asarray(left), np.asarray(other), rtol=tolerance, atol=tolerance)


def require_equal_and_frozen(ours: Side, theirs: Side) -> None:
    """Both give the same, hold the same, and train nothing but the head."""
    same(ours.model(ours.inputs), theirs.model(theirs.inputs))
    same(ours.layer.get_weights(), theirs.layer.get_weights())
    for side in (ours, theirs):
        assert side.layer.trainable_weights == []
        assert sum(side.losses()) == 0.0
        assert len(side.model.trainable_weights) == 2


@pytest.mark.parametrize("name", CALLED)
def test_by_a_signature_outputs_and_weights_are_equal(name: str, sides: Sides) -> None:
    ours, theirs = sides(name)
    same(ours.outputs(), theirs.outputs())
    require_equal_and_frozen(ours, theirs)


# A kind each of layer, loss and structure; the other models repeat them.
QUICK = ("text", "regularizers", "nests")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in TRAINED]
)
def test_losses_and_gradients_are_equal_and_so_are_the_weights_after_ten_steps(
    name: str, sides: Sides
) -> None:
    ours, theirs = sides(name)
    require_equal_and_frozen(ours, theirs)
    ours.layer.trainable = theirs.layer.trainable = True
    assert len(ours.layer.trainable_weights) == len(theirs.layer.trainable_weights) > 0
    same(ours.outputs(), theirs.outputs())
    same(ours.losses(), theirs.losses())
    same(ours.gradients(), theirs.gradients())
    before = ours.layer.get_weights()
    same(ours.train(STEPS), theirs.train(STEPS), 1e-5)
    same(ours.layer.get_weights(), theirs.layer.get_weights(), 1e-5)
    assert any((array != other).any() for array, other in zip(before, ours.layer.get_weights(), strict=True))
    same(ours.outputs(), theirs.outputs(), 1e-5)
    same(ours.losses(), theirs.losses(), 1e-5)


@pytest.mark.parametrize("name", ["regularizers", "seeded dropout"])
def test_freezing_and_unfreezing_is_the_same(name: str, sides: Sides) -> None:
    pair = sides(name, trainable=True)
    for trainable in (False, True):
        weights = []
        for side in pair:
            side.layer.trainable = trainable
            side.train(2)
            weights.append(side.layer.get_weights())
        same(weights[0], weights[1], 1e-5)
        assert len(pair[0].model.trainable_weights) == len(pair[1].model.trainable_weights)
