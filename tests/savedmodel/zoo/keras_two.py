"""Models of Keras 2 (tf_keras)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras


def _functional() -> Any:
    """Dropout, batch normalization, regularizers, and a layer that doesn't train."""
    inputs = tf_keras.Input([4], name="features")
    x = tf_keras.layers.Dense(3, kernel_regularizer="l2", bias_regularizer="l1", name="hidden")(inputs)
    x = tf_keras.layers.BatchNormalization(name="norm")(x)
    x = tf_keras.layers.Dropout(0.5)(x)
    x = tf_keras.layers.Dense(2, trainable=False, name="frozen")(x)
    return tf_keras.Model(inputs, tf_keras.layers.Dense(1, name="top")(x))


def _trained(optimizer: Any) -> Any:
    model = tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=[3]), tf_keras.layers.Dense(1)])
    model.compile(optimizer, "mse", metrics=["mae"])
    model.fit(np.ones([2, 3], "float32"), np.ones([2, 1], "float32"), verbose=0)
    return model


def keras2_functional(target: Path) -> None:
    _functional().save(str(target), save_format="tf")


def keras2_saved_by_tf(target: Path) -> None:
    """The same through `tf.saved_model.save`: no `keras_metadata.pb`."""
    tf.saved_model.save(_functional(), str(target))


def keras2_adam(target: Path) -> None:
    _trained(tf_keras.optimizers.Adam(0.01)).save(str(target), save_format="tf")


def keras2_legacy_adam(target: Path) -> None:
    """Slots as `slot_variables` of the optimizer's node."""
    _trained(tf_keras.optimizers.legacy.Adam(0.01)).save(str(target), save_format="tf")


def keras2_text(target: Path) -> None:
    """Two inputs by name, one of them text: the vocabulary is a table of the model."""
    words = tf_keras.layers.TextVectorization(
        output_mode="int", output_sequence_length=3, vocabulary=["a", "b"]
    )
    text = tf_keras.Input([], dtype=tf.string, name="text")
    age = tf_keras.Input([1], name="age")
    x = tf_keras.layers.Embedding(5, 2)(words(text))
    x = tf_keras.layers.Concatenate()([tf_keras.layers.Flatten()(x), age])
    outputs = {"score": tf_keras.layers.Dense(1)(x), "features": x}
    tf_keras.Model({"text": text, "age": age}, outputs).save(str(target), save_format="tf")
