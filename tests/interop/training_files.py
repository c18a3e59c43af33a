"""Every kind of file that a training leaves behind, all from one training of each kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_hub as hub
import tf_keras

from tests.interop import finetuning

__all__ = ["KINDS", "Trained"]


@dataclass(frozen=True)
class Trained:
    """What a training left: files by their kind, and what the trained object was."""

    files: Mapping[str, Path]
    witness: Mapping[str, Any]


def by_layer(handle: str, data: str, folder: Path) -> Trained:
    keeper = tf_keras.callbacks.ModelCheckpoint(str(folder / "kept" / "{epoch:02d}"), save_weights_only=True)
    network = finetuning.by_layer(handle, data, callbacks=(keeper,))
    obj = network.layers[0].resolved_object
    network.save_weights(str(folder / "weights"), save_format="tf")
    network.save_weights(str(folder / "tuned.weights.h5"))
    network.save_weights(str(folder / "tuned.h5"))
    network.save(str(folder / "whole.h5"))
    network.save(str(folder / "whole.keras"))
    network.save(str(folder / "whole"), save_format="tf")
    saver = tf.train.Checkpoint(model=network, optimizer=network.optimizer)
    alone = tf.train.Checkpoint(obj).write(str(folder / "alone"))
    tf.saved_model.save(obj, str(folder / "again"), signatures=obj.signatures)
    files = {
        "keras 2 weights": folder / "weights",
        "keras 2 .weights.h5": folder / "tuned.weights.h5",
        "keras 2 .h5": folder / "tuned.h5",
        "keras 2 whole .h5": folder / "whole.h5",
        "keras 2 whole .keras": folder / "whole.keras",
        "keras 2 whole SavedModel": folder / "whole",
        "ModelCheckpoint": folder / "kept",
        "model and optimizer": Path(saver.save(str(folder / "both"))),
        "the object's checkpoint": Path(alone),
        "the object's SavedModel": folder / "again",
        ".npz": folder / "tuned.npz",
        ".safetensors": folder / "tuned.safetensors",
    }
    arrays = values_by_key(alone)
    np.savez(files[".npz"], **arrays)
    from safetensors.numpy import save_file

    save_file(arrays, files[".safetensors"])
    return Trained(files, finetuning.witness_of(obj, data))


def by_tape(handle: str, data: str, folder: Path) -> Trained:
    obj = hub.load(handle)
    saver = finetuning.by_tape(obj, data)
    tf.train.CheckpointManager(saver, str(folder / "managed"), max_to_keep=1).save()
    tf.saved_model.save(obj, str(folder / "saved"))
    files = {
        "CheckpointManager": folder / "managed",
        "tf.train.Checkpoint": Path(saver.write(str(folder / "loop"))),
        "a SavedModel without its signatures": folder / "saved",
    }
    return Trained(files, finetuning.witness_of(obj, data))


def by_keras_3(handle: str, data: str, folder: Path) -> Trained:
    network = finetuning.by_keras_3(handle, data)
    obj = network.get_layer("tuned").resolved_object
    network.save_weights(folder / "tuned.weights.h5")
    network.save(folder / "tuned.keras")
    network.save(folder / "tuned.h5")
    files = {
        "keras 3 whole .h5": folder / "tuned.h5",
        "keras 3 .weights.h5": folder / "tuned.weights.h5",
        "keras 3 .keras": folder / "tuned.keras",
        "keras 3 checkpoint": Path(tf.train.Checkpoint(model=network).save(str(folder / "three"))),
    }
    return Trained(files, finetuning.witness_of(obj, data))


def values_by_key(checkpoint: str) -> dict[str, Any]:
    """The values in a checkpoint of the object, whose keys are those of its SavedModel."""
    reader = tf.train.load_checkpoint(checkpoint)
    keys = reader.get_variable_to_shape_map().keys() - {"_CHECKPOINTABLE_OBJECT_GRAPH"}
    return {key: np.asarray(reader.get_tensor(key)) for key in sorted(keys)}


TRAININGS: tuple[Callable[[str, str, Path], Trained], ...] = (by_layer, by_tape, by_keras_3)
# Which training leaves which kind of file.
KINDS = {
    "keras 2 weights": by_layer,
    "keras 2 .weights.h5": by_layer,
    "keras 2 .h5": by_layer,
    "keras 2 whole .h5": by_layer,
    "keras 2 whole .keras": by_layer,
    "keras 2 whole SavedModel": by_layer,
    "ModelCheckpoint": by_layer,
    "model and optimizer": by_layer,
    "the object's checkpoint": by_layer,
    "the object's SavedModel": by_layer,
    ".npz": by_layer,
    ".safetensors": by_layer,
    "CheckpointManager": by_tape,
    "tf.train.Checkpoint": by_tape,
    "a SavedModel without its signatures": by_tape,
    "keras 3 .weights.h5": by_keras_3,
    "keras 3 .keras": by_keras_3,
    "keras 3 whole .h5": by_keras_3,
    "keras 3 checkpoint": by_keras_3,
}
