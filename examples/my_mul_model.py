"""A Reusable SavedModel written by hand, and what a layer makes of its lists.

Source: https://www.tensorflow.org/hub/reusable_saved_models
"""

from __future__ import annotations

import tempfile
from typing import Any

import tensorflow as tf

import hubcli as hub


class MyMulModel(tf.train.Checkpoint):  # type: ignore[misc]
    """Multiplies by a number that it learns."""

    def __init__(self, v_init: float) -> None:
        super().__init__()
        self.v = tf.Variable(v_init)
        self.variables = [self.v]
        self.trainable_variables = [self.v]
        self.regularization_losses = [
            tf.function(input_signature=[])(lambda: 0.001 * self.v**2),
        ]

    @tf.function(input_signature=[tf.TensorSpec(shape=None, dtype=tf.float32)])  # type: ignore[untyped-decorator]
    def __call__(self, inputs: Any) -> Any:
        """The product."""
        return tf.multiply(inputs, self.v)


path = tempfile.mkdtemp()
tf.saved_model.save(MyMulModel(2.0), path)

layer = hub.KerasLayer(path)
product = layer([10.0, 20.0])
print(product)  # [20., 40.]
layer.trainable = True
print(layer.trainable_weights)  # [2.]
print(layer.losses)  # 0.004
