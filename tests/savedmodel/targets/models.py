"""Models that not every loader takes: newer ops, types and attributes, ops of add-on packages, device pins.

Written by TensorFlow, those with an op of another package edited afterwards. `build` writes one by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

__all__ = ["MODELS", "build"]


def _save(
    target: Path,
    function: Callable[..., Any],
    *specs: tf.TensorSpec,
    unsigned: Callable[..., Any] | None = None,
) -> None:
    """A module with that function as its signature; `unsigned` is another one that is none."""
    module = tf.Module()
    module.apply = tf.function(function, input_signature=list(specs))
    if unsigned is not None:
        module.unsigned = tf.function(unsigned, input_signature=list(specs))
        module.unsigned.get_concrete_function()
    tf.saved_model.save(module, str(target), signatures=module.apply)


def _floats(*shape: int | None) -> tf.TensorSpec:
    return tf.TensorSpec(shape, tf.float32, name="x")


def newer_op(target: Path) -> None:
    """FFTND came in 2.13 or later."""
    _save(
        target,
        lambda x: tf.math.real(tf.raw_ops.FFTND(input=tf.cast(x, tf.complex64), fft_length=[4], axes=[0])),
        _floats(4),
    )


def newest_op(target: Path) -> None:
    """DecodeWebP came in 2.20."""
    _save(
        target,
        lambda x: tf.raw_ops.DecodeWebP(contents=x, channels=3),
        tf.TensorSpec((), tf.string, name="x"),
    )


def newer_op_without_signature(target: Path) -> None:
    """The newer op stands in a function that no signature calls."""
    _save(
        target,
        lambda x: x + 1,
        _floats(None),
        unsigned=lambda x: tf.raw_ops.Conv(
            input=tf.reshape(x, [1, 2, 2, 1]),
            filter=tf.ones([1, 1, 1, 1]),
            strides=[1, 1, 1, 1],
            padding="SAME",
        ),
    )


def attribute_that_matters(target: Path) -> None:
    """`bad_indices_policy` decides what comes out; 2.17 has it first."""
    _save(
        target,
        lambda x: tf.raw_ops.GatherNd(params=x, indices=[[9]], bad_indices_policy="IGNORE"),
        _floats(4),
    )


def text_of_text(target: Path) -> None:
    """AsString takes texts only in later releases."""
    _save(target, lambda x: tf.raw_ops.AsString(input=x), tf.TensorSpec((None,), tf.string, name="x"))


def unsigned_range(target: Path) -> None:
    """Range of uint64 came in 2.20."""
    _save(
        target,
        lambda x: tf.raw_ops.Range(start=tf.constant(0, tf.uint64), limit=x, delta=tf.constant(1, tf.uint64)),
        tf.TensorSpec((), tf.uint64, name="x"),
    )


def small_integers(target: Path) -> None:
    """The type int4 came with 2.13 or later."""
    _save(target, lambda x: tf.cast(tf.cast(x, tf.dtypes.experimental.int4), tf.float32), _floats(None))


def _pinned(device: str) -> Callable[[tf.Tensor], tf.Tensor]:
    def apply(x: tf.Tensor) -> tf.Tensor:
        with tf.device(device):
            return x * 2.0

    return apply


def pinned_to_gpu(target: Path) -> None:
    """An op asks for a graphics card."""
    _save(target, _pinned("/GPU:0"), _floats(None))


def pinned_to_worker(target: Path) -> None:
    """An op asks for a worker of a cluster."""
    _save(target, _pinned("/job:worker/replica:0/task:1/device:CPU:0"), _floats(None))


def variable_of_worker(target: Path) -> None:
    """A variable lies on a worker of a cluster."""
    _variable_of(target, "/job:worker/replica:0/task:1/device:GPU:0")


def variable_of_gpu(target: Path) -> None:
    """A variable lies on a graphics card."""
    _variable_of(target, "/device:GPU:0")


def _variable_of(target: Path, device: str) -> None:
    module = tf.Module()
    module.scale = tf.Variable(2.0)
    module.apply = tf.function(lambda x: x * module.scale, input_signature=[_floats(None)])
    tf.saved_model.save(module, str(target), signatures=module.apply)
    model = _read(target)
    for node in model.meta_graphs[0].object_graph_def.nodes:
        if node.HasField("variable"):
            node.variable.device = device
    for node in model.meta_graphs[0].graph_def.node:
        if node.op == "VarHandleOp":
            node.device = device
    _write(target, model)


def text_package(target: Path) -> None:
    """An op of tensorflow-text."""
    _save(target, lambda x: tf.strings.lower(x), tf.TensorSpec((None,), tf.string, name="x"))
    _rename_op(target, "StringLower", "CaseFoldUTF8")


def nobodys_op(target: Path) -> None:
    """An op that no known package has."""
    _save(target, lambda x: tf.sin(x), _floats(None))
    _rename_op(target, "Sin", "OpOfNobody")


def nobodys_op_in_graph(target: Path) -> None:
    """Such an op in the graph itself, where nothing needs it."""
    _save(target, lambda x: tf.sin(x), _floats(None))
    model = _read(target)
    node = model.meta_graphs[0].graph_def.node.add()
    node.name, node.op = "idle", "OpOfNobody"
    _write(target, model)


def without_init_op(target: Path) -> None:
    """A table whose initializer the graph doesn't name."""
    module = tf.Module()
    keys, values = tf.constant(["a", "b"]), tf.constant([1, 2], tf.int64)
    module.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), -1)
    module.apply = tf.function(
        lambda x: module.table.lookup(x), input_signature=[tf.TensorSpec((None,), tf.string, name="x")]
    )
    tf.saved_model.save(module, str(target), signatures=module.apply)
    model = _read(target)
    model.meta_graphs[0].signature_def.pop("__saved_model_init_op")
    model.meta_graphs[0].collection_def.pop("saved_model_main_op")
    _write(target, model)


def python_function(target: Path) -> None:
    """A signature that calls Python."""
    _save(target, lambda x: tf.ensure_shape(tf.py_function(lambda y: y, [x], tf.float32), [2]), _floats(2))


def _rename_op(target: Path, old: str, new: str) -> None:
    model = _read(target)
    graph = model.meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    for node in nodes:
        if node.op == old:
            node.op = new
            node.attr.clear()
    _write(target, model)


def _read(target: Path) -> saved_model_pb2.SavedModel:
    return saved_model_pb2.SavedModel.FromString((target / "saved_model.pb").read_bytes())


def _write(target: Path, model: saved_model_pb2.SavedModel) -> None:
    (target / "saved_model.pb").write_bytes(model.SerializeToString(deterministic=True))
    (target / "fingerprint.pb").unlink(missing_ok=True)


MODELS: dict[str, Callable[[Path], None]] = {
    build.__name__: build
    for build in (
        newer_op,
        newest_op,
        newer_op_without_signature,
        attribute_that_matters,
        text_of_text,
        unsigned_range,
        small_integers,
        pinned_to_gpu,
        pinned_to_worker,
        variable_of_worker,
        variable_of_gpu,
        text_package,
        nobodys_op,
        nobodys_op_in_graph,
        without_init_op,
        python_function,
    )
}


def build(name: str, target: Path) -> None:
    """Write the model of that name to the directory, which isn't there yet."""
    MODELS[name](target)
