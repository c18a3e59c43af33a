"""Keras models, each built from the module of either generation."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def features(keras: Any) -> Any:
    """Batch norm, dropout, an L2 loss, and a layer that doesn't train."""
    inputs = keras.Input([4], name="features")
    x = keras.layers.Dense(3, kernel_regularizer="l2", name="hidden")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Dropout(0.5, name="drop")(x)
    x = keras.layers.Dense(2, trainable=False, name="frozen")(x)
    return keras.Model(inputs, keras.layers.Dense(1, name="score")(x))


def named(keras: Any) -> Any:
    """A dict in, a dict out, one input of numbers and one of indices."""
    words = keras.Input([3], name="words", dtype="int32")
    age = keras.Input([2], name="age")
    x = keras.layers.Flatten()(keras.layers.Embedding(5, 2)(words))
    x = keras.layers.Concatenate(name="joined")([x, age])
    return keras.Model({"words": words, "age": age}, {"score": keras.layers.Dense(1)(x), "features": x})


def listed(keras: Any) -> Any:
    """A list in, a list out."""
    first, second = keras.Input([2], name="first"), keras.Input([2], name="second")
    outputs = [keras.layers.Dense(1, name="left")(first), keras.layers.Dense(3, name="right")(second)]
    return keras.Model([first, second], outputs)


def text(keras: Any) -> Any:
    """Text in, a vector out: a vocabulary table, an embedding, a mean."""
    inputs = keras.Input([], dtype="string", name="text")
    layer = keras.layers.TextVectorization(output_sequence_length=4, vocabulary=["cat", "mat", "the"])
    x = keras.layers.Embedding(5, 6, name="table")(layer(inputs))
    return keras.Model(inputs, keras.layers.GlobalAveragePooling1D(name="mean")(x))


def sequential(keras: Any) -> Any:
    """Layers in a row."""
    return keras.Sequential([keras.Input([3]), keras.layers.Dense(2), keras.layers.Dense(1, name="top")])


def with_lambda(keras: Any) -> Any:
    """Python code within the file."""
    inputs = keras.Input([3], name="x")
    outputs = keras.layers.Lambda(lambda x: x * 2, output_shape=(3,), name="double")(inputs)
    return keras.Model(inputs, outputs)


def save(model: Any, folder: Path, ending: str) -> Path:
    """The path of the model, saved as `.keras`, `.h5`, or, for the ending "", as a SavedModel of Keras 2."""
    path = folder / f"model{ending}"
    model.save(str(path), **({} if ending else {"save_format": "tf"}))
    return path
