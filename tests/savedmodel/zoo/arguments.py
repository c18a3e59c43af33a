"""Functions by what they take and give: nests, Python values, ragged and sparse tensors."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.python.framework.tensor import BoundedTensorSpec

FLOAT = tf.TensorSpec([], tf.float32)
FLOATS = tf.TensorSpec([1, 2], tf.float32)
Point = namedtuple("Point", ["x", "y"])  # The other way to write one.


class Box(NamedTuple):
    corner: Any
    sizes: Any


def nested_arguments(target: Path) -> None:
    root = tf.Module()

    @tf.function
    def mix(features: Any, pair: Any, items: Any, box: Any) -> Any:
        total = features["a"] + features["deep"]["b"] + pair[0] + pair[1][0] + items[0] + box.corner.x
        return {
            "list": [total, {"x": items[0]}],
            "tuple": (total, ()),
            "box": Box(corner=Point(total, box.corner.y), sizes=[total]),
            "none": None,
        }

    mix.get_concrete_function(
        {"a": FLOAT, "deep": {"b": FLOAT, "flag": True}},
        (FLOAT, [FLOAT, 3]),
        [tf.TensorSpec([], tf.float32, name="item")],
        Box(corner=Point(FLOAT, FLOAT), sizes=[]),
    )
    root.mix = mix
    root.nothing = tf.function(lambda x: None, input_signature=[FLOAT])
    root.two = tf.function(lambda x: (x, [x]), input_signature=[FLOAT])
    tf.saved_model.save(root, str(target))


def keyword_arguments(target: Path) -> None:
    root = tf.Module()

    @tf.function
    def only(*, x: Any, y: Any = None, scale: float = 1.0) -> Any:
        return x * scale if y is None else (x + y) * scale

    @tf.function
    def mixed(first: Any, second: int = 2, *rest: Any, flag: bool = True, **others: Any) -> Any:
        return first * second + sum(rest) + sum(others.values()) + float(flag)

    only.get_concrete_function(x=FLOAT)
    only.get_concrete_function(x=FLOAT, y=FLOAT, scale=0.5)
    mixed.get_concrete_function(FLOAT)
    mixed.get_concrete_function(
        FLOAT, 5, FLOAT, FLOAT, flag=False, extra=FLOAT, other=tf.TensorSpec([], tf.float32)
    )
    root.only, root.mixed = only, mixed
    tf.saved_model.save(root, str(target))


def python_values(target: Path) -> None:
    """Literals as defaults and as arguments: each combination is a trace."""
    root = tf.Module()

    @tf.function
    def call(
        x: Any, a: Any = None, b: Any = True, c: Any = 3, d: Any = 2.5, e: Any = "a", f: Any = (1, None)
    ) -> Any:
        return x + float(c) + d + float(b is True)

    call.get_concrete_function(FLOAT)
    call.get_concrete_function(FLOAT, "none", False, -3, -0.5, "ü 'quoted' \\ \n", (2, "x", (True,)))
    call.get_concrete_function(FLOAT, a=[1, [2.0, "z"], {"k": None}], c=2**62, d=1e-30)
    call.get_concrete_function(FLOAT, c=-(2**63), d=float("inf"), e="")
    root.__call__ = call
    tf.saved_model.save(root, str(target))


def odd_values(target: Path) -> None:
    """Types and shapes as Python values; TensorFlow saves no trace that has a shape among its arguments."""
    root = tf.Module()

    @tf.function
    def cast(x: Any, dtype: Any = tf.float32, *, others: Any = ()) -> Any:
        return tf.cast(x, dtype)

    @tf.function
    def reshape(x: Any, shape: Any = tf.TensorShape([1, None]), like: Any = FLOAT) -> Any:  # noqa: B008
        return tf.ensure_shape(x, shape)

    cast.get_concrete_function(FLOAT)
    cast.get_concrete_function(FLOAT, tf.bfloat16, others=[tf.string, {"type": tf.int8}])
    reshape.get_concrete_function(tf.TensorSpec([1, 2], tf.float32))
    root.cast, root.reshape = cast, reshape
    tf.saved_model.save(root, str(target))


def given_input_signature(target: Path) -> None:
    """An input signature leaves out arguments that have defaults."""
    root = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="numbers")])
    def scale(x: Any, by: float = 2.0, *, training: bool = False) -> Any:
        return x * by + float(training)

    @tf.function(input_signature=[{"a": FLOAT, "b": [FLOAT, FLOAT]}])
    def nest(features: Any) -> Any:
        return features["a"] + features["b"][0] + features["b"][1]

    root.scale, root.nest = scale, nest
    tf.saved_model.save(root, str(target), signatures={"scale": scale})


def unknown_shapes(target: Path) -> None:
    root = tf.Module()
    root.identity = tf.function(lambda x: tf.identity(x))
    for shape in (None, [], [None, None], [0, None, 3]):
        root.identity.get_concrete_function(tf.TensorSpec(shape, tf.complex64))
    root.lost = tf.function(lambda shape: tf.zeros(shape), input_signature=[tf.TensorSpec(None, tf.int32)])
    signature = root.identity.get_concrete_function(tf.TensorSpec(None, tf.complex64))
    tf.saved_model.save(root, str(target), signatures=signature)


def ragged(target: Path) -> None:
    root = tf.Module()
    words = tf.RaggedTensorSpec([None, None], tf.string, ragged_rank=1)
    deep = tf.RaggedTensorSpec([2, None, None, 5], tf.int32, ragged_rank=2, row_splits_dtype=tf.int32)

    @tf.function(input_signature=[words])
    def lengths(rows: Any) -> Any:
        return {"lengths": tf.strings.length(rows), "dense": rows.to_tensor(), "splits": rows.row_splits}

    root.lengths = lengths
    root.same = tf.function(lambda rows: rows + 1, input_signature=[deep])
    tf.saved_model.save(root, str(target), signatures={"serving_default": lengths})


def sparse(target: Path) -> None:
    root = tf.Module()
    spec = tf.SparseTensorSpec([None, 4], tf.float32)
    root.dense = tf.function(lambda x: tf.sparse.to_dense(x), input_signature=[spec])
    root.double = tf.function(lambda x: tf.sparse.map_values(lambda v: v * 2, x), input_signature=[spec])
    root.any_shape = tf.function(lambda x: x, input_signature=[tf.SparseTensorSpec(None, tf.int64)])
    tf.saved_model.save(root, str(target))


def sparse_signature(target: Path) -> None:
    """A signature over sparse tensors: TensorFlow 2 spells their components out on the way in."""
    root = tf.Module()

    @tf.function(
        input_signature=[tf.SparseTensorSpec([None, 4], tf.float32), tf.TensorSpec([None], tf.string)]
    )
    def serve(features: Any, text: Any) -> Any:
        return {"dense": tf.sparse.to_dense(features), "sparse": features, "text": text}

    root.serve = serve
    tf.saved_model.save(root, str(target), signatures=serve)


def composite_specs(target: Path) -> None:
    """Specs of other classes than the usual three."""
    root = tf.Module()
    root.weight = tf.Variable([1.0, 2.0])
    slices = tf.IndexedSlicesSpec([None, 2], tf.float32)
    root.slices = tf.function(lambda x: tf.convert_to_tensor(x.values) + 1, input_signature=[slices])
    root.back = tf.function(lambda x: tf.IndexedSlices(x, tf.constant([0])), input_signature=[FLOATS])

    @tf.function
    def read(variable: Any) -> Any:
        return variable + 1.0

    read.get_concrete_function(root.weight)
    root.read = read
    root.optional = tf.function(
        lambda x: tf.experimental.Optional.from_value(x), input_signature=[tf.TensorSpec([2], tf.int32)]
    )
    tf.saved_model.save(root, str(target))


class Interval(tf.experimental.ExtensionType):
    """A composite tensor of a class that the reader doesn't know."""

    __name__ = "hubcli.Interval"
    low: tf.Tensor
    high: tf.Tensor


def rare_specs(target: Path) -> None:
    """Extension types, datasets and bounds."""
    root = tf.Module()
    root.width = tf.function(lambda interval: interval.high - interval.low)
    root.width.get_concrete_function(Interval.Spec(low=FLOAT, high=FLOAT))
    bounded = BoundedTensorSpec([2], tf.int32, 0, 9, name="digits")
    root.bounded = tf.function(lambda x: tf.constant([1, 2]) + x, input_signature=[bounded])
    dataset = tf.data.DatasetSpec({"x": FLOAT, "y": tf.TensorSpec([2], tf.string)})
    root.count = tf.function(
        lambda rows: rows.reduce(0, lambda total, _: total + 1), input_signature=[dataset]
    )
    tf.saved_model.save(root, str(target))


def signature_defaults(target: Path) -> None:
    """Tensors as defaults of arguments become defaults of the signature."""
    root = tf.Module()

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.float32, name="x"),
            tf.TensorSpec([2], tf.float32, name="y"),
            tf.TensorSpec([], tf.int64, name="z"),
            tf.TensorSpec([1], tf.string, name="word"),
        ]
    )
    def add(
        x: Any,
        y: Any = tf.constant([1.5, 0.1]),  # noqa: B008
        z: Any = tf.constant(-7, tf.int64),  # noqa: B008
        word: Any = tf.constant(["höflich"]),  # noqa: B008
    ) -> Any:
        return {"sum": x + y[0] + tf.cast(z, tf.float32), "word": word}

    root.add = add
    tf.saved_model.save(root, str(target), signatures=add)


def no_traces(target: Path) -> None:
    """A function that was never called has no variants."""
    root = tf.Module()
    root.never = tf.function(lambda x, y=1: x + y)
    root.once = tf.function(lambda x: x + 1, input_signature=[FLOAT])
    tf.saved_model.save(root, str(target))
