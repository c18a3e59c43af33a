"""Objects of TensorFlow 2: what they compute, and what hangs on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tests.savedmodel.zoo import tf1

FLOATS = tf.TensorSpec([None, 3], tf.float32)


def _reusable_parts() -> tuple[Any, Any, Any]:
    """A root and its kernel and bias, with a `__call__` traced for training and for use."""
    root = tf.train.Checkpoint()
    root.kernel = tf.Variable(tf.ones([3, 2]), name="kernel")
    root.bias = tf.Variable([0.5, -0.5], name="bias")
    root.steps = tf.Variable(7, trainable=False, dtype=tf.int64, name="steps")

    def call(x: Any, training: bool = False) -> Any:
        y = x @ root.kernel + root.bias
        return tf.nn.dropout(y, 0.5) if training else y

    root.__call__ = tf.function(call)
    for training in (True, False):
        root.__call__.get_concrete_function(FLOATS, training=training)
    return root, root.kernel, root.bias


def reusable(target: Path) -> None:
    """The whole interface of a reusable SavedModel, its lists in an order of their own."""
    root, kernel, bias = _reusable_parts()
    root.variables = [bias, kernel, root.steps]
    root.trainable_variables = [kernel]
    root.regularization_losses = [
        tf.function(lambda: tf.reduce_sum(kernel**2), input_signature=[]),
        tf.function(lambda: tf.reduce_sum(bias**2) * 0.1, input_signature=[]),
    ]
    tf.saved_model.save(root, str(target))


def reusable_with_tuples(target: Path) -> None:
    """The lists of the interface as tuples, and an empty one."""
    root, kernel, bias = _reusable_parts()
    root.variables = (kernel, bias)
    root.trainable_variables = (bias,)
    root.regularization_losses = []
    tf.saved_model.save(root, str(target), signatures=root.__call__.get_concrete_function(FLOATS))


class _Dense(tf.Module):
    """A layer whose variables are its own."""

    def __init__(self, size: int, name: str | None = None) -> None:
        super().__init__(name=name)
        self.w = tf.Variable(tf.ones([size, size]), name="w")
        self.b = tf.Variable(tf.zeros([size]), name="b", trainable=False)

    @tf.function(input_signature=[FLOATS])
    def __call__(self, x: Any) -> Any:
        """Apply the layer."""
        return x @ self.w + self.b

    @tf.function
    def penalty(self, *, scale: float = 1.0) -> Any:
        """A loss of the layer."""
        return scale * tf.reduce_sum(self.w**2)


class _Encoder(tf.Module):
    """Two layers in a list, and one that another module holds too."""

    def __init__(self, shared: _Dense) -> None:
        super().__init__()
        self.layers = [_Dense(3, name="first"), _Dense(3, name="second")]
        self.shared = shared

    @tf.function
    def encode(self, x: Any, depth: int = 2) -> Any:
        """Apply the first layers."""
        for layer in self.layers[:depth]:
            x = layer(x)
        return self.shared(x)


class _Outer(tf.Module):
    """The root of modules two levels deep."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = _Dense(3, name="shared")
        self.encoder = _Encoder(self.shared)

    @tf.function
    def __call__(self, x: Any) -> Any:
        """Apply everything."""
        return self.encoder.encode(x)


def plain_module(target: Path) -> None:
    """A `tf.Module`: its `variables` are a property, and no list of the file."""
    model = _Dense(3)
    model(tf.ones([1, 3]))
    tf.saved_model.save(model, str(target))


def submodules(target: Path) -> None:
    model = _Outer()
    model(tf.ones([1, 3]))
    model.encoder.encode(tf.ones([5, 3]), depth=1)
    model.encoder.encode(tf.ones([5, 3]), 2)
    model.shared.penalty()
    model.shared.penalty(scale=0.5)
    tf.saved_model.save(model, str(target))


def signature_only(target: Path) -> None:
    """A signature of a function that hangs nowhere."""
    root = tf.Module()
    root.scale = tf.Variable(2.0)
    function = tf.function(lambda x: x * root.scale).get_concrete_function(tf.TensorSpec([], tf.float32, "x"))
    tf.saved_model.save(root, str(target), signatures=function)


def several_signatures(target: Path) -> None:
    root = tf.Module()
    root.bias = tf.Variable([1, 2], dtype=tf.int32)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string), tf.TensorSpec([None, 4], tf.float64)])
    def joined(text: Any, numbers: Any) -> Any:
        return {"length": tf.strings.length(text), "sum": tf.reduce_sum(numbers, axis=1), "text": text}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.int32, name="left"), tf.TensorSpec([2], tf.int32)])
    def pair(a: Any, b: Any) -> Any:
        return a + 1, b + root.bias

    @tf.function(input_signature=[])
    def nothing_in() -> Any:
        return root.bias + 0

    root.joined, root.pair = joined, pair
    signatures = {"serving_default": joined, "a/b c": pair, "constant": nothing_in}
    tf.saved_model.save(root, str(target), signatures=signatures)


def without_variables(target: Path) -> None:
    root = tf.Module()
    root.double = tf.function(lambda x: x * 2, input_signature=[FLOATS])
    root.table = tf.constant([[1.0, 2.0]])
    tf.saved_model.save(root, str(target))


def empty_module(target: Path) -> None:
    tf.saved_model.save(tf.Module(), str(target))


def control_flow(target: Path) -> None:
    """Loops, branches and cases: functions of the library that no object of the graph names."""
    root = tf.Module()
    root.limit = tf.Variable(10.0)

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32), tf.TensorSpec([], tf.int32)])
    def wander(x: Any, branch_index: Any) -> Any:
        while x < root.limit:
            x = x * 2.0 if x > 1.0 else x + 1.0
        branches = [lambda: x, lambda: -x, lambda: tf.map_fn(tf.sin, tf.stack([x, x]))[0]]
        return tf.switch_case(branch_index, branches)

    root.wander = wander
    tf.saved_model.save(root, str(target), signatures=wander)


def custom_gradient(target: Path) -> None:
    root = tf.Module()

    @tf.custom_gradient
    def clipped(x: Any) -> Any:
        return tf.clip_by_value(x, -1.0, 1.0), lambda upstream: upstream * 0.5

    root.clip = tf.function(lambda x: clipped(x) * 3.0, input_signature=[FLOATS])
    tf.saved_model.save(
        root, str(target), options=tf.saved_model.SaveOptions(experimental_custom_gradients=True)
    )


def python_op(target: Path) -> None:
    """A graph that calls back into the Python process which wrote it."""
    root = tf.Module()

    def call(x: Any) -> Any:
        doubled = tf.py_function(lambda value: value * 2, [x], tf.float32)
        return tf.numpy_function(np.sort, [doubled], tf.float32)

    root.__call__ = tf.function(call, input_signature=[FLOATS])
    tf.saved_model.save(root, str(target))


def bare_functions(target: Path) -> None:
    """Concrete functions on the root, beside the function that they were traced from."""
    root = tf.Module()
    root.rate = tf.Variable(0.1)
    step = tf.function(lambda x, rate=0.5: x - rate * root.rate)
    root.step_of_one = step.get_concrete_function(tf.TensorSpec([], tf.float32, name="x"))
    root.step_of_many = step.get_concrete_function(tf.TensorSpec([None], tf.float32), rate=0.25)
    root.step = step
    tf.saved_model.save(root, str(target), signatures={"step": root.step_of_one})


def wrapped_functions(target: Path) -> None:
    """Functions of TensorFlow 1's style, of which nothing tells the structure of their arguments."""
    root = tf.Module()
    root.bias = tf.Variable([1.0, 2.0, 3.0])
    specs = [FLOATS, tf.TensorSpec([], tf.float32)]
    root.wrapped = tf.compat.v1.wrap_function(lambda x, y: {"sum": x + y + root.bias}, specs)
    graph = root.wrapped.graph
    root.pruned = root.wrapped.prune(graph.inputs[:2], [graph.outputs[0]])
    tf.saved_model.save(root, str(target))


def resaved_from_tf1(target: Path) -> None:
    """A model of TensorFlow 1 that was loaded and saved by TensorFlow 2."""
    first = target.with_name(f"{target.name}_first")
    tf1.tf1_resources(first)
    loaded = tf.saved_model.load(str(first))
    tf.saved_model.save(loaded, str(target), signatures=loaded.signatures)


def many_options(target: Path) -> None:
    """Debug information beside the model, names for its functions, and one more tag."""
    root = tf.Module()
    root.double = tf.function(lambda x: x * 2, input_signature=[FLOATS])
    options = tf.saved_model.SaveOptions(
        save_debug_info=True, function_aliases={"twice": root.double}, extra_tags=["extra"]
    )
    tf.saved_model.save(root, str(target), options=options)


def without_saver(target: Path) -> None:
    """The checkpoint is there, the graph's operations that would read it aren't."""
    root = tf.Module()
    root.weight = tf.Variable([1.0, 2.0])
    root.read = tf.function(lambda: root.weight + 1, input_signature=[])
    tf.saved_model.save(root, str(target), options=tf.saved_model.SaveOptions(experimental_skip_saver=True))


def resaved(target: Path) -> None:
    """A model that was loaded and saved again: its functions are restored ones."""
    first = target.with_name(f"{target.name}_first")
    reusable(first)
    tf.saved_model.save(tf.saved_model.load(str(first)), str(target))
