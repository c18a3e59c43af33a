"""Models of Keras 3, exported and saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf


def _model() -> Any:
    inputs = keras.Input([4], name="features")
    x = keras.layers.Dense(3, kernel_regularizer="l2", name="hidden")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Dropout(0.5)(x)
    return keras.Model(inputs, {"score": keras.layers.Dense(1)(x), "hidden": x})


def keras3_export(target: Path) -> None:
    _model().export(str(target), verbose=False)


def keras3_frozen(target: Path) -> None:
    """A frozen layer, and an optimizer that was built."""
    model = _model()
    model.get_layer("hidden").trainable = False
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    model.export(str(target), verbose=False)


def keras3_archive(target: Path) -> None:
    """Endpoints of one's own: one with two inputs and a flag, and one for training."""
    model = _model()
    archive = keras.export.ExportArchive()
    archive.track(model)
    spec = tf.TensorSpec([None, 4], tf.float32, name="features")
    archive.add_endpoint("call_inference", lambda x: model(x, training=False), [spec])
    archive.add_endpoint("call_training", lambda x: model(x, training=True), [spec])
    archive.add_variable_collection("trainable_variables_of_mine", model.trainable_variables)
    archive.write_out(str(target), verbose=False)


def keras3_saved_by_tf(target: Path) -> None:
    tf.saved_model.save(_model(), str(target))
