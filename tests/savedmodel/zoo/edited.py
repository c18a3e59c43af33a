"""Models whose files were changed after TensorFlow wrote them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import saved_model_pb2

from tests.savedmodel.zoo import modules


def _proto(folder: Path) -> Any:
    return saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())


def tf2_text(target: Path) -> None:
    """A model of TensorFlow 2 in the text format."""
    modules.reusable(target)
    text = text_format.MessageToString(_proto(target))
    (target / "saved_model.pb").unlink()
    (target / "saved_model.pbtxt").write_text(text, encoding="utf-8")


def unclaimed_tensors(target: Path) -> None:
    """A checkpoint that holds more than the object graph names."""
    modules.plain_module(target)
    variables = target / "variables" / "variables"
    reader = tf.train.load_checkpoint(str(variables))
    keys = sorted(reader.get_variable_to_shape_map())
    tensors = [reader.get_tensor(key) for key in keys]
    tf.raw_ops.SaveV2(
        prefix=str(variables),
        tensor_names=[*keys, "left/over", "words"],
        shape_and_slices=[""] * (len(keys) + 2),
        tensors=[*tensors, tf.ones([2, 2], tf.int16), tf.constant(["x"])],
    )


def two_meta_graphs(target: Path) -> None:
    """Two graphs with the same objects, the second without its version."""
    modules.reusable(target)
    proto = _proto(target)
    second = proto.meta_graphs.add()
    second.CopyFrom(proto.meta_graphs[0])
    second.meta_info_def.tags.append("zz")
    second.meta_info_def.tensorflow_version = ""
    (target / "saved_model.pb").write_bytes(proto.SerializeToString())


def without_checkpoint(target: Path) -> None:
    """The values are gone; TensorFlow loads it no more."""
    modules.reusable(target)
    shutil.rmtree(target / "variables")
