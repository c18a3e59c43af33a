"""Models around which both layers are put, each with what it is called with.

Every one has the Reusable SavedModel interface unless its name says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tests.interop import hub_models
from tests.interop.hub_models import _l2_loss as l2_loss
from tests.interop.hub_models import _spread as spread
from tests.savedmodel.zoo.tf1 import tf1_hub

__all__ = ["CASES", "Case"]

ROWS = 6
NUMBERS = np.random.default_rng(3).uniform(-1, 1, [ROWS, 4]).astype("float32")
IMAGES = np.random.default_rng(4).uniform(size=[ROWS, 32, 32, 3]).astype("float32")
SENTENCES = np.array(["the cat sat", "a dog ran", "on the mat!", "", "the the the", "zebra"], object)


@dataclass(frozen=True)
class Case:
    """A model, arguments of the layer, its inputs, and the name of the output that a head is put on.

    `spec` tells what `Input` takes for each input; `trains` whether the layer may train.
    """

    save: Callable[[Path], None]
    inputs: Any
    spec: Any
    layer: Mapping[str, Any] = field(default_factory=dict)
    output: Any = None
    trains: bool = True


class Dense(tf.train.Checkpoint):  # type: ignore[misc]
    """A projection with a bias that isn't trained, and a loss on each of two kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = tf.Variable(spread([4, 3])), tf.Variable(spread([3, 2]))
        self.bias = tf.Variable(spread([2]))
        self.trainable_variables = [self.second, self.first]
        self.variables = [self.first, self.bias, self.second]
        self.regularization_losses = [l2_loss(kernel) for kernel in (self.first, self.second)]

    @tf.function(input_signature=[tf.TensorSpec([None, 4])])  # type: ignore[untyped-decorator]
    def __call__(self, x: Any) -> Any:
        return tf.nn.relu(x @ self.first) @ self.second + self.bias


class Nested(tf.train.Checkpoint):  # type: ignore[misc]
    """A dict in, and a dict of lists out, with a factor as an argument."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = tf.Variable(spread([4, 2]))
        self.table = tf.Variable(spread([5, 2]))
        self.variables = self.trainable_variables = [self.kernel, self.table]
        self.regularization_losses = [l2_loss(self.table)]

    @tf.function  # type: ignore[untyped-decorator]
    def __call__(self, inputs: Any, factor: float = 1.0) -> Any:
        x, ids = inputs["numbers"], inputs["ids"]
        rows = tf.gather(self.table, ids)
        return {"sum": [factor * (x @ self.kernel), rows], "twice": 2.0 * rows}


class Listed(tf.train.Checkpoint):  # type: ignore[misc]
    """A list in, and a list out."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = tf.Variable(spread([4, 2]))
        self.variables = self.trainable_variables = [self.kernel]

    @tf.function(input_signature=[[tf.TensorSpec([None, 4]), tf.TensorSpec([None, 1])]])  # type: ignore[untyped-decorator]
    def __call__(self, inputs: Any) -> Any:
        return [inputs[0] @ self.kernel + inputs[1], inputs[1]]


class Dropout(tf.train.Checkpoint):  # type: ignore[misc]
    """Dropout with a seed of its own, and batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = tf.Variable(spread([4, 4]))
        self.mean = tf.Variable(tf.zeros([4]), trainable=False)
        self.trainable_variables = [self.kernel]
        self.variables = [self.mean, self.kernel]

    @tf.function  # type: ignore[untyped-decorator]
    def __call__(self, x: Any, training: bool = False) -> Any:
        x = x @ self.kernel
        if training:
            self.mean.assign(0.9 * self.mean + 0.1 * tf.reduce_mean(x, 0))
            x = tf.nn.dropout(x, 0.5, seed=7)
        return x - self.mean


class Module(tf.Module):  # type: ignore[misc]
    """What loses its lists when it is saved."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = tf.Module()
        self.inner.kernel = tf.Variable(spread([4, 2]))
        self.bias = tf.Variable(spread([2]))
        self.unused = tf.Variable(1.0)
        self.count = tf.Variable(0.0, trainable=False)

    @tf.function(input_signature=[tf.TensorSpec([None, 4])])  # type: ignore[untyped-decorator]
    def __call__(self, x: Any) -> Any:
        return x @ self.inner.kernel + self.bias + self.count


class Ragged(tf.train.Checkpoint):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.scale = tf.Variable(2.0)
        self.variables = self.trainable_variables = [self.scale]

    @tf.function(input_signature=[tf.RaggedTensorSpec([None, None])])  # type: ignore[untyped-decorator]
    def __call__(self, x: Any) -> Any:
        return {"mean": tf.reduce_mean(x, 1, keepdims=True) * self.scale, "scaled": x * self.scale}


class Sparse(tf.train.Checkpoint):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.kernel = tf.Variable(spread([4, 2]))
        self.variables = self.trainable_variables = [self.kernel]

    @tf.function(input_signature=[tf.SparseTensorSpec([None, 4])])  # type: ignore[untyped-decorator]
    def __call__(self, x: Any) -> Any:
        return tf.sparse.sparse_dense_matmul(x, self.kernel)


class Double(tf.train.Checkpoint):  # type: ignore[misc]
    """Numbers of twice the usual width."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = tf.Variable(tf.cast(spread([4, 2]), tf.float64))
        self.variables = self.trainable_variables = [self.kernel]

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float64)])  # type: ignore[untyped-decorator]
    def __call__(self, x: Any) -> Any:
        return x @ self.kernel


def _save_nested(target: Path) -> None:
    model = Nested()
    inputs = {
        "numbers": tf.TensorSpec([None, 4], name="numbers"),
        "ids": tf.TensorSpec([None], tf.int32, name="ids"),
    }
    model.__call__.get_concrete_function(inputs, factor=3.0)

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec([None, 4], name="x"), tf.TensorSpec([None], tf.int32, name="ids")]
    )
    def serve(x: Any, ids: Any) -> Any:
        given = model({"numbers": x, "ids": ids}, factor=3.0)
        return {"first": given["sum"][0], "twice": given["twice"]}

    tf.saved_model.save(model, str(target), signatures=serve)


def _save_dropout(target: Path) -> None:
    model = Dropout()
    for training in (True, False):
        model.__call__.get_concrete_function(tf.TensorSpec([None, 4]), training=training)
    tf.saved_model.save(model, str(target))


def _save(build: Callable[[], Any]) -> Callable[[Path], None]:
    return lambda target: tf.saved_model.save(build(), str(target))


_IDS = np.arange(ROWS, dtype="int32") % 5
_NESTED = {"numbers": NUMBERS, "ids": _IDS}
_NESTED_SPEC = {"numbers": {"shape": [4]}, "ids": {"shape": [], "dtype": "int32"}}
_BY_NAME = {"x": NUMBERS, "ids": _IDS}
_BY_NAME_SPEC = {"x": {"shape": [4]}, "ids": {"shape": [], "dtype": "int32"}}
_NUMBERS_SPEC = {"shape": [4]}
_IMAGES_SPEC = {"shape": [32, 32, 3]}

CASES = {
    "text": Case(hub_models.save_text, SENTENCES, {"shape": [], "dtype": "string"}),
    "regularizers": Case(_save(Dense), NUMBERS, _NUMBERS_SPEC, {"output_shape": [2]}),
    "seeded dropout": Case(_save_dropout, NUMBERS, _NUMBERS_SPEC),
    "batch norm": Case(hub_models.save_keras_image, IMAGES, _IMAGES_SPEC),
    "image": Case(hub_models.save_image, IMAGES, _IMAGES_SPEC),
    "list": Case(
        _save(Listed),
        [NUMBERS, NUMBERS[:, :1]],
        [{"shape": [4]}, {"shape": [1]}],
        output=lambda given: given[0],
    ),
    "nests": Case(
        _save_nested, _NESTED, _NESTED_SPEC, {"arguments": {"factor": 3.0}}, lambda given: given["sum"][0]
    ),
    "tf.Module": Case(_save(Module), NUMBERS, _NUMBERS_SPEC),
    "ragged": Case(
        _save(Ragged),
        [[1.0, 2.0], [3.0], [4.0, 5.0, 6.0], [0.5], [1.5], [2.5, 3.5]],
        {"shape": [None], "ragged": True},
        output=lambda given: given["mean"],
    ),
    "sparse": Case(_save(Sparse), NUMBERS, {"shape": [4], "sparse": True}),
    "double": Case(
        _save(Double), NUMBERS.astype("float64"), {"shape": [4], "dtype": "float64"}, {"dtype": "float64"}
    ),
    "signature, one output": Case(
        _save_nested,
        _BY_NAME,
        _BY_NAME_SPEC,
        {"signature": "serving_default", "output_key": "first"},
        trains=False,
    ),
    "signature, all outputs": Case(
        _save_nested,
        _BY_NAME,
        _BY_NAME_SPEC,
        {"signature": "serving_default", "signature_outputs_as_dict": True},
        lambda given: given["twice"],
        trains=False,
    ),
    "TF1 Hub format": Case(
        tf1_hub,
        NUMBERS[:, :1],
        {"shape": [1]},
        {"output_key": "outputs"},
        trains=False,
    ),
}
