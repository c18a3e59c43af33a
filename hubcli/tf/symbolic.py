"""Symbolic tensors of Keras: what a function gives for them, found by tracing it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hubcli.errors import ArgumentError
from hubcli.tf.importing import use_keras_3, use_tensorflow

__all__ = ["output_shapes", "output_spec"]


def output_spec(function: Callable[[Any], Any], inputs: Any) -> Any:
    """The symbolic outputs of a function of one nest, dense, sparse or ragged.

    Raises ArgumentError where not even the rank of an output is known.
    """
    tf = use_tensorflow()
    traced = tf.function(function, autograph=False).get_concrete_function(
        tf.nest.map_structure(_spec, inputs)
    )
    return tf.nest.map_structure(_symbol, traced.structured_outputs)


def output_shapes(spec_of: Callable[[Any], Any], shapes: Any, dtype: str) -> Any:
    """The shapes that a function of symbolic inputs gives for those of its inputs, all of one dtype."""
    tf, keras = use_tensorflow(), use_keras_3()
    inputs = tf.nest.map_structure(lambda shape: keras.KerasTensor(tuple(shape), dtype), shapes)
    return tf.nest.map_structure(lambda tensor: tuple(tensor.shape), spec_of(inputs))


def _spec(tensor: Any) -> Any:
    tf, keras = use_tensorflow(), use_keras_3()
    if not isinstance(tensor, keras.KerasTensor):
        return tf.type_spec_from_value(tensor)
    if tensor.sparse:
        return tf.SparseTensorSpec(tensor.shape, tensor.dtype)
    if tensor.ragged:
        return tf.RaggedTensorSpec(tensor.shape, tensor.dtype, tensor.ragged_rank or 1)
    return tf.TensorSpec(tensor.shape, tensor.dtype)


def _symbol(tensor: Any) -> Any:
    tf, keras = use_tensorflow(), use_keras_3()
    if tensor is None:
        return None
    spec = tf.type_spec_from_value(tensor)
    if spec.shape.rank is None:
        raise ArgumentError(
            "The model doesn't tell the shape of its output, which Keras must know",
            hint="Give it, without the batch, such as output_shape=[20].",
        )
    kind: dict[str, Any] = {}
    if isinstance(spec, tf.SparseTensorSpec):
        kind = {"sparse": True}
    elif isinstance(spec, tf.RaggedTensorSpec):
        kind = {"ragged": True, "ragged_rank": spec.ragged_rank}
    return keras.KerasTensor(tuple(spec.shape), spec.dtype.name, **kind)
