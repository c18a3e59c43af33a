"""Trainings as TF Hub's documentation writes them, for `hubcli finetune-export --train`.

Each is called with a loaded object. The `witness`, where one is asked for,
records what that object is after its training, for whoever gets the export.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_hub as hub
import tf_keras

__all__ = [
    "INPUTS",
    "PROBES",
    "by_keras_3",
    "by_layer",
    "by_tape",
    "keeping_checkpoints",
    "network_of",
    "testify",
    "witness_of",
]

_SENTENCES = ["the cat sat", "a dog ran", "on the mat!", "nothing known here"]
_GENERATOR = np.random.default_rng(7)
_IMAGES = _GENERATOR.uniform(size=[8, 32, 32, 3]).astype("float32")
# What is trained with, and what the results are looked at by.
INPUTS = {"text": tf.constant(_SENTENCES * 2), "image": tf.constant(_IMAGES)}
PROBES = {
    "text": tf.constant(["The cat", "the cat sat on the mat.", "", "zebra"]),
    "image": INPUTS["image"][:3],
}
_LABELS = tf.constant([[0.0], [1.0]] * 4)


def by_layer(model: Any, data: str, witness: str | None = None, callbacks: tuple[Any, ...] = ()) -> Any:
    """A hub.KerasLayer around the object, or handle, in a model of Keras 2, compiled and fitted."""
    network = network_of(model, data)
    network.compile(tf_keras.optimizers.SGD(0.05, momentum=0.9), "mse")
    dataset = tf.data.Dataset.from_tensor_slices((INPUTS[data], _LABELS)).batch(4)
    network.fit(dataset, epochs=2, verbose=0, callbacks=list(callbacks))
    testify(network.layers[0].resolved_object, data, witness)
    return network


def network_of(model: Any, data: str) -> Any:
    """A classifier around the object or handle, as the tutorials build it."""
    layers = tf_keras.layers
    beginning = (
        [hub.KerasLayer(model, input_shape=[], dtype=tf.string, trainable=True)]
        if data == "text"
        else [layers.InputLayer(input_shape=[32, 32, 3]), hub.KerasLayer(model, trainable=True)]
    )
    head = [layers.Dense(4, activation="relu"), layers.Dense(1)]
    return tf_keras.Sequential([*beginning, layers.Dropout(0.2), *head])


def by_tape(obj: Any, data: str, witness: str | None = None) -> tf.train.Checkpoint:
    """A loop of one's own around the object, as the guide to Reusable SavedModels tells it."""
    head = tf_keras.layers.Dense(1)
    optimizer = tf_keras.optimizers.Adam(0.05)
    for _ in range(2):
        with tf.GradientTape() as tape:
            features = obj(INPUTS[data]) if data == "text" else obj(INPUTS[data], training=True)
            loss = tf.reduce_mean((head(features) - _LABELS) ** 2)
            loss += sum(loss_function() for loss_function in obj.regularization_losses)
        variables = [*obj.trainable_variables, *head.trainable_variables]
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
    testify(obj, data, witness)
    return tf.train.Checkpoint(step=tf.Variable(2), optimizer=optimizer, encoder=obj, head=head)


def keeping_checkpoints(obj: Any, data: str, folder: str, witness: str | None = None) -> None:
    """A training that could go on where it was broken off: it saves what it has in every way there is."""
    by_layer(
        obj,
        data,
        callbacks=(
            tf_keras.callbacks.ModelCheckpoint(f"{folder}/weights", save_weights_only=True),
            tf_keras.callbacks.ModelCheckpoint(f"{folder}/whole"),
            tf_keras.callbacks.BackupAndRestore(f"{folder}/backup"),
        ),
    )
    by_tape(obj, data, witness).save(f"{folder}/all")
    tf.train.Checkpoint(obj).save(f"{folder}/object")
    tf.train.Checkpoint(obj).restore(f"{folder}/object-1").assert_consumed()
    tf.saved_model.save(obj, f"{folder}/saved", signatures=obj.signatures)


def by_keras_3(model: Any, data: str, witness: str | None = None) -> Any:
    """A hubcli.KerasLayer around the object, or handle, in a model of Keras 3."""
    import keras

    import hubcli

    shape, dtype = ([], "string") if data == "text" else ([32, 32, 3], "float32")
    layer = hubcli.KerasLayer(model, trainable=True, name="tuned")
    network = keras.Sequential([keras.Input(shape, dtype=dtype), layer, keras.layers.Dense(1)])
    network.compile(keras.optimizers.SGD(0.05), "mse")
    network.fit(tf.data.Dataset.from_tensor_slices((INPUTS[data], _LABELS)).batch(4), epochs=2, verbose=0)
    testify(layer.resolved_object, data, witness)
    return network


def witness_of(obj: Any, data: str) -> dict[str, Any]:
    """Every variable, the regularization losses, and what the object gives in inference.

    Under a strategy the variables alone: the functions work in its replicas only.
    """
    variables = {f"variable {place}": variable.numpy() for place, variable in enumerate(obj.variables)}
    if tf.distribute.has_strategy():
        return variables
    losses = {
        f"loss {place}": loss_function().numpy()
        for place, loss_function in enumerate(obj.regularization_losses)
    }
    outputs = obj(PROBES[data]) if data == "text" else obj(PROBES[data], training=False)
    return {**variables, **losses, "outputs": outputs.numpy()}


def testify(obj: Any, data: str, witness: str | None) -> None:
    if witness is not None:
        np.savez(Path(witness), **witness_of(obj, data))
