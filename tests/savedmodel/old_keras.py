"""Keras 2 SavedModels as TensorFlow 2.4, 2.8, 2.11 and 2.15 wrote them.

Made by the tf_keras of today, with the argument lists, metadata and files of
those releases put in place. They were held against models that TensorFlow
2.8.4 and 2.11.1 wrote, and against the corpus (2.4.1).
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow.core.protobuf import saved_model_pb2

__all__ = ["RELEASES", "Release", "save_base", "written_by"]


@dataclass(frozen=True)
class Release:
    """What a release writes: the parameters of `_default_save_signature`, the optimizers, the files.

    `has_inner_metadata` says that each object holds its own, which keras_metadata.pb does since 2.5.
    """

    version: str
    varargs: str | None
    varkw: str | None
    is_legacy: bool
    has_fingerprint: bool = True
    has_inner_metadata: bool = False


RELEASES = {
    "2.4": Release("2.4.1", "args", None, True, has_fingerprint=False, has_inner_metadata=True),
    "2.8": Release("2.8.4", "args", "kwargs", True, has_fingerprint=False),
    "2.11": Release("2.11.1", "args", "kwargs", False),
    "2.15": Release("2.15.1", None, None, False),
}


@tf_keras.utils.register_keras_serializable("tests")
class Scale(tf_keras.layers.Layer):  # type: ignore[misc]
    """A layer whose variable has the name that each of them has: so have the slots of optimizers."""

    def __init__(self, units: int = 2, **options: Any) -> None:
        super().__init__(**options)
        self.units = units

    def build(self, shape: Any) -> None:
        with tf.name_scope("scales/"):  # The last slash lets the name be what it is, wherever it stands.
            self.w = tf.Variable(tf.ones([shape[-1], self.units]), name="w")

    def call(self, x: Any) -> Any:
        return x @ self.w

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


def save_base(target: Path, *, is_legacy: bool) -> Path:
    """A network of two inputs, custom layers, dropout and batch norm, trained for one step by Adam."""
    layers = tf_keras.layers
    left, right = tf_keras.Input([3], name="left"), tf_keras.Input([2], name="right")
    x = layers.Concatenate()([Scale(2, name="one")(left), Scale(2, name="two")(right)])
    x = layers.Dropout(0.5)(layers.BatchNormalization(name="norm")(x))
    top = layers.Dense(1, kernel_regularizer="l2", name="top")(x)
    network = tf_keras.Model({"left": left, "right": right}, top)
    optimizers = tf_keras.optimizers.legacy if is_legacy else tf_keras.optimizers
    network.compile(optimizers.Adam(0.1), "mse")
    inputs = {"left": np.ones([2, 3], "float32"), "right": np.ones([2, 2], "float32")}
    network.fit(inputs, np.ones([2, 1], "float32"), verbose=0)
    network.save(str(target), save_format="tf")
    return target


def written_by(release: Release, base: Path, target: Path) -> Path:
    """A copy of the base as that release would have written it."""
    shutil.copytree(base, target)
    proto = saved_model_pb2.SavedModel.FromString((target / "saved_model.pb").read_bytes())
    graph = proto.meta_graphs[0]
    graph.meta_info_def.tensorflow_version = release.version
    if release.varargs is not None:
        for node in _named(graph.object_graph_def, "_default_save_signature"):
            spec = node.bare_concrete_function.function_spec.fullargspec
            _set_parameters(spec, release.varargs, release.varkw)
    if release.has_inner_metadata:
        (target / "keras_metadata.pb").unlink()
        for node in graph.object_graph_def.nodes:
            if node.user_object.identifier.startswith("_tf_keras"):
                node.user_object.metadata = "{}"
    if not release.has_fingerprint:
        (target / "fingerprint.pb").unlink()
    (target / "saved_model.pb").write_bytes(proto.SerializeToString())
    return target


def _named(objects: Any, name: str) -> list[Any]:
    """The objects that any other one holds under the name."""
    numbers = {child.node_id for node in objects.nodes for child in node.children if child.local_name == name}
    return [objects.nodes[number] for number in sorted(numbers)]


def _set_parameters(spec: Any, varargs: str, varkw: str | None) -> None:
    fields = {pair.key: pair.value for pair in spec.named_tuple_value.values}
    for key in ("args", "kwonlyargs"):
        fields[key].Clear()
        fields[key].list_value.SetInParent()
    for key, text in (("varargs", varargs), ("varkw", varkw), ("defaults", None), ("kwonlydefaults", None)):
        fields[key].Clear()
        if text is None:
            fields[key].none_value.SetInParent()
        else:
            fields[key].string_value = text
