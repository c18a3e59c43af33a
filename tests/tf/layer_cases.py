"""The models of `tests.interop.layer_models`, each saved once, and small ones of this room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from tests.interop import layer_models

__all__ = ["Deep", "Multiplier", "Unfit", "save"]


class Multiplier(tf.train.Checkpoint):  # type: ignore[misc]
    """MyMulModel of the guide to Reusable SavedModels."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.v = tf.Variable(factor)
        self.variables = self.trainable_variables = [self.v]
        self.regularization_losses = [
            tf.function(input_signature=[])(lambda: 0.001 * self.v**2),
            tf.function(input_signature=[])(lambda: 0.5 * self.v),
        ]

    @tf.function(input_signature=[tf.TensorSpec(shape=None, dtype=tf.float32)])  # type: ignore[untyped-decorator]
    def __call__(self, inputs: Any) -> Any:
        return tf.multiply(inputs, self.v)


class Deep(tf.train.Checkpoint):  # type: ignore[misc]
    """Dicts in lists in dicts, text among them."""

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[
            {
                "b": [{"c": tf.TensorSpec([None, 2], name="c")}],
                "d": tf.TensorSpec([None], tf.string, name="d"),
            }
        ]
    )
    def __call__(self, inputs: Any) -> Any:
        return {"a": (inputs["b"][0]["c"] * 2.0, [inputs["d"]])}


class Unfit(tf.train.Checkpoint):  # type: ignore[misc]
    """Variables that no Keras can know: text, and a vector of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.word, self.factor = tf.Variable("word"), tf.Variable(2.0)
        self.vector = tf.Variable([1.0], shape=[None])
        self.variables = [self.word, self.vector, self.factor]
        self.trainable_variables = [self.factor]

    @tf.function(input_signature=[tf.TensorSpec([None])])  # type: ignore[untyped-decorator]
    def __call__(self, x: Any) -> Any:
        return x * self.factor + tf.reduce_sum(self.vector)


_OWN = {"multiplier": lambda: Multiplier(2.0), "deep": Deep, "unfit": Unfit}


def save(name: str, folder: Path) -> str:
    """The path of the model of that name below the folder, written when it is first asked for."""
    path = folder / name.replace(" ", "-").replace(",", "")
    if not path.exists():
        if name in _OWN:
            tf.saved_model.save(_OWN[name](), str(path))
        else:
            layer_models.CASES[name].save(path)
    return str(path)
