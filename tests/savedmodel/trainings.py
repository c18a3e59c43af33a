"""Fine-tunings of one small model, as people write them, and what each leaves on disk.

The model is a reusable SavedModel with a kernel, a bias and a counter. Every
training adds `STEP` to kernel and bias, so that a test knows what to find.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_hub as hub
import tf_keras

__all__ = ["STEP", "TRAININGS", "load", "save_model"]

STEP = 0.25


def save_model(target: Path) -> None:
    root = tf.train.Checkpoint()
    root.kernel = tf.Variable(tf.reshape(tf.range(6.0), [3, 2]), name="kernel")
    root.bias = tf.Variable([0.5, -0.5], name="bias")
    root.steps = tf.Variable(7, trainable=False, dtype=tf.int64, name="steps")
    root.variables = [root.kernel, root.bias, root.steps]
    root.trainable_variables = [root.kernel, root.bias]
    root.regularization_losses = []
    root.__call__ = tf.function(lambda x, training=False: x @ root.kernel + root.bias)
    for training in (True, False):
        root.__call__.get_concrete_function(tf.TensorSpec([None, 3], tf.float32), training=training)
    tf.saved_model.save(root, str(target))


def load(model: Path) -> Any:
    return tf.saved_model.load(str(model))


def _trained(model: Path) -> Any:
    loaded = load(model)
    for variable in loaded.trainable_variables:
        variable.assign_add(tf.fill(variable.shape, STEP))
    return loaded


def _keras_2(model: Path) -> Any:
    layer = hub.KerasLayer(_trained(model), trainable=True)
    network = tf_keras.Sequential([layer, tf_keras.layers.Dense(2), tf_keras.layers.Dense(1)])
    network.build([None, 3])
    return network


def keras_2_weights(model: Path, folder: Path) -> Path:
    network = _keras_2(model)
    network.compile("adam", "mse")
    network.save_weights(str(folder / "weights"), save_format="tf")
    return folder / "weights"


def keras_2_fitted_and_checkpointed(model: Path, folder: Path) -> Path:
    network = _keras_2(model)
    network.compile(tf_keras.optimizers.SGD(0.0), "mse")
    network.fit(np.ones([4, 3], "float32"), np.ones([4, 1], "float32"), verbose=0)
    saved = tf.train.Checkpoint(model=network, optimizer=network.optimizer).save(str(folder / "ckpt"))
    assert saved
    return folder


def keras_2_h5(model: Path, folder: Path) -> Path:
    _keras_2(model).save_weights(str(folder / "tuned.weights.h5"))
    return folder / "tuned.weights.h5"


def keras_2_old_h5(model: Path, folder: Path) -> Path:
    _keras_2(model).save_weights(str(folder / "tuned.h5"))
    return folder / "tuned.h5"


def keras_2_saved_model(model: Path, folder: Path) -> Path:
    _keras_2(model).save(str(folder / "network"), save_format="tf")
    return folder / "network"


def object_itself(model: Path, folder: Path) -> Path:
    return Path(tf.train.Checkpoint(_trained(model)).write(str(folder / "itself")))


def gradient_tape(model: Path, folder: Path) -> Path:
    loaded = _trained(model)
    head = tf.Module()
    head.kernel = tf.Variable(tf.ones([2, 1]))
    optimizer = tf_keras.optimizers.Adam(0.0)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(loaded(tf.ones([1, 3]), training=True) @ head.kernel)
    variables = [*loaded.trainable_variables, head.kernel]
    optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
    return Path(tf.train.Checkpoint(obj=loaded, head=head, optimizer=optimizer).save(str(folder / "ckpt")))


def nested_deeper(model: Path, folder: Path) -> Path:
    inner, outer = tf.Module(), tf.Module()
    inner.towers = [{"encoder": _trained(model)}]
    outer.inner = inner
    return Path(tf.train.Checkpoint(net=outer).write(str(folder / "deep")))


class _KerasThreeLayer(keras.layers.Layer):  # type: ignore[misc]
    """A layer that tracks the object and holds its variables as Keras's own."""

    def __init__(self, loaded: Any, **options: Any) -> None:
        super().__init__(**options)
        self._obj = loaded
        for variable in loaded.variables:
            own = keras.Variable(variable, dtype=variable.dtype.name, trainable=variable.trainable)
            self._track_variable(own)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}

    def call(self, x: Any, training: bool = False) -> Any:
        return self._obj(x, training=training)


def _keras_3(model: Path) -> Any:
    network = keras.Sequential([_KerasThreeLayer(_trained(model), name="tuned"), keras.layers.Dense(1)])
    network.build([None, 3])
    return network


def keras_3_checkpoint(model: Path, folder: Path) -> Path:
    return Path(tf.train.Checkpoint(model=_keras_3(model)).save(str(folder / "ckpt")))


def keras_3_h5(model: Path, folder: Path) -> Path:
    _keras_3(model).save_weights(folder / "tuned.weights.h5")
    return folder / "tuned.weights.h5"


def keras_3_archive(model: Path, folder: Path) -> Path:
    _keras_3(model).save(folder / "tuned.keras")
    return folder / "tuned.keras"


def keras_3_export(model: Path, folder: Path) -> Path:
    network = _keras_3(model)
    network(np.ones([1, 3], "float32"))
    network.export(str(folder / "exported"), verbose=False)
    return folder / "exported"


def saved_again(model: Path, folder: Path) -> Path:
    tf.saved_model.save(_trained(model), str(folder / "again"))
    return folder / "again"


def _arrays(model: Path) -> dict[str, Any]:
    loaded = _trained(model)
    names = ("kernel", "bias", "steps")
    return {f"{name}/.ATTRIBUTES/VARIABLE_VALUE": np.asarray(getattr(loaded, name)) for name in names}


def npz(model: Path, folder: Path) -> Path:
    np.savez(folder / "tuned.npz", **_arrays(model))
    return folder / "tuned.npz"


def npz_compressed(model: Path, folder: Path) -> Path:
    short = {key.partition("/")[0]: array for key, array in _arrays(model).items()}
    np.savez_compressed(folder / "tuned.npz", **short)
    return folder / "tuned.npz"


def safetensors(model: Path, folder: Path) -> Path:
    from safetensors.numpy import save_file

    save_file(_arrays(model), folder / "tuned.safetensors")
    return folder / "tuned.safetensors"


def tf1_saver(model: Path, folder: Path) -> Path:
    """A graph of TensorFlow 1 with the model's names below a scope, its slots and a step beside them."""
    v1, values = tf.compat.v1, _arrays(model)
    with tf.Graph().as_default(), v1.Session() as session:
        with v1.variable_scope("module"):
            for key, array in values.items():
                v1.get_variable(key.partition("/")[0], initializer=array, use_resource=True)
        v1.get_variable("head/weights", initializer=1.0)
        v1.train.get_or_create_global_step()
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(folder / "model.ckpt"), global_step=3)
    return folder


Training = Callable[[Path, Path], Path]
TRAININGS: dict[str, Training] = {
    training.__name__: training
    for training in (
        keras_2_weights,
        keras_2_fitted_and_checkpointed,
        keras_2_h5,
        keras_2_old_h5,
        keras_2_saved_model,
        object_itself,
        gradient_tape,
        nested_deeper,
        keras_3_checkpoint,
        keras_3_h5,
        keras_3_archive,
        keras_3_export,
        saved_again,
        npz,
        npz_compressed,
        safetensors,
        tf1_saver,
    )
}
