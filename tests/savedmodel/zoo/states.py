"""What models keep: variables of every type, tables, slots, shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

# Those that a checkpoint can hold; each is a number of that many bytes, or a string.
_NUMERIC = (
    "float16", "bfloat16", "float32", "float64",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "bool", "complex64", "complex128",
)  # fmt: skip
_NARROW = (
    "float8_e5m2", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e4m3b11fnuz", "float8_e5m2fnuz",
    "int4", "uint4", "int2", "uint2", "float4_e2m1fn",
)  # fmt: skip
_QUANTIZED = ("qint8", "quint8", "qint16", "quint16", "qint32")


def _variable(dtype: str, shape: list[int]) -> Any:
    values = tf.reshape(tf.range(tf.reduce_prod(shape)), shape)
    return tf.Variable(tf.cast(values, dtype), name=dtype)


def every_dtype(target: Path) -> None:
    root = tf.Module()
    for dtype in _NUMERIC:
        setattr(root, dtype, _variable(dtype, [2, 3]))
    root.string = tf.Variable([["a", "bc"], ["", "ü" * 200]], name="string")
    root.scalar = tf.Variable(1.0, name="scalar")
    root.empty = tf.Variable(tf.zeros([0, 4]), name="empty")
    root.no_strings = tf.Variable(tf.zeros([0], tf.string), name="no_strings")
    tf.saved_model.save(root, str(target))


def _narrow(dtype: str) -> Any:
    source = tf.float32 if dtype.startswith("float") else tf.int32
    return tf.Variable(tf.cast(tf.constant([1, 1, 0], source), dtype), name=dtype)


def _savable(dtype: str) -> bool:
    """Whether this TensorFlow holds a variable of the type in a checkpoint."""
    root = tf.train.Checkpoint()
    try:
        root.variable = _narrow(dtype)
        root.write(f"ram://savable/{dtype}")
    except (tf.errors.OpError, TypeError):
        return False
    return True


def narrow_dtypes(target: Path) -> None:
    """Numbers of eight bits and less, as far as this TensorFlow saves them."""
    root = tf.Module()
    for dtype in filter(_savable, (*_NARROW, *_QUANTIZED)):
        setattr(root, dtype, _narrow(dtype))
    tf.saved_model.save(root, str(target))


def variables_of_unknown_shape(target: Path) -> None:
    """The object graph says less of the shape than the checkpoint does."""
    root = tf.Module()
    root.any = tf.Variable([[1.0]], shape=tf.TensorShape(None), name="any")
    root.rows = tf.Variable([[1, 2], [3, 4]], shape=tf.TensorShape([None, 2]), name="rows")
    root.append = tf.function(lambda x: root.rows.assign(tf.concat([root.rows, x], 0)))
    root.append.get_concrete_function(tf.TensorSpec([None, 2], tf.int32))
    tf.saved_model.save(root, str(target))


def _mirrored_root() -> Any:
    root = tf.Module()
    with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
        root.weight = tf.Variable([1.0, 2.0], name="weight")
        options = {"synchronization": tf.VariableSynchronization.ON_READ}
        root.total = tf.Variable(
            0.0, name="total", trainable=False, aggregation=tf.VariableAggregation.SUM, **options
        )
    root.scale = tf.function(lambda x: x * root.weight, input_signature=[tf.TensorSpec([2], tf.float32)])
    return root


def mirrored(target: Path) -> None:
    tf.saved_model.save(_mirrored_root(), str(target))


def mirrored_expanded(target: Path) -> None:
    """Variables of which the file tells each replica."""
    policy = tf.saved_model.experimental.VariablePolicy.EXPAND_DISTRIBUTED_VARIABLES
    options = tf.saved_model.SaveOptions(experimental_variable_policy=policy)
    tf.saved_model.save(_mirrored_root(), str(target), options=options)


def _rows(count: int) -> Any:
    root = tf.Module()
    for name in ("left", "right"):
        rows = tf.reshape(tf.range(count * 8, dtype=tf.float32), [count, 8])
        setattr(root, name, tf.Variable(rows, name=name))
    root.bias = tf.Variable(tf.ones([8]), name="bias")
    root.words = tf.Variable(["a", "b", "c"], name="words")
    return root


def two_shards(target: Path) -> None:
    """Tensors in more than one data file, each whole."""
    policy = tf.train.experimental.MaxShardSizePolicy(max_shard_size=600)
    options = tf.saved_model.SaveOptions(experimental_sharding_callback=policy)
    tf.saved_model.save(_rows(16), str(target), options=options)


def split_variables(target: Path) -> None:
    """A variable larger than a shard: its slices lie in several files."""
    policy = tf.train.experimental.MaxShardSizePolicy(max_shard_size=1024)
    options = tf.saved_model.SaveOptions(experimental_sharding_callback=policy)
    tf.saved_model.save(_rows(100), str(target), options=options)


def odd_names(target: Path) -> None:
    """Names that checkpoint keys escape, and two variables of one name."""
    root = tf.Module()
    root.map = {
        "a/b": tf.Variable(1.0),
        "c.d": tf.Variable(2.0),
        "_e": tf.Variable(3.0),
        "ü": tf.Variable(4.0),
    }
    root.first = tf.Variable([1.0], name="same")
    root.second = tf.Variable([2.0], name="same")
    root.variable_with_a_long_name = tf.Variable(1, name="scope/of/names")
    tf.saved_model.save(root, str(target))


def containers(target: Path) -> None:
    """More than ten variables in a list, nested containers, and one variable at two places."""
    root = tf.Module()
    root.variables_list = [tf.Variable(float(number), name=f"v{number}") for number in range(12)]
    root.nest = {"pair": (tf.Variable(1), [tf.Variable(2), {"leaf": tf.Variable(3, trainable=False)}])}
    root.again = root.variables_list[3]
    root.back = tf.Module()
    root.back.root = root
    tf.saved_model.save(root, str(target))


def static_vocabulary(target: Path) -> None:
    """A table of a file, which becomes an asset; and an asset of the same file name."""
    words, other = target.with_name(f"{target.name}.d"), target.with_name(f"{target.name}.e")
    for folder, text in ((words, "one\ntwo\nthree\n"), (other, "four\n")):
        folder.mkdir()
        (folder / "vocab.txt").write_text(text, encoding="utf-8")
    root = tf.Module()
    initializer = tf.lookup.TextFileInitializer(
        str(words / "vocab.txt"), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
    )  # fmt: skip
    root.table = tf.lookup.StaticVocabularyTable(initializer, num_oov_buckets=2)
    root.asset = tf.saved_model.Asset(str(other / "vocab.txt"))
    root.ids = tf.function(
        lambda text: root.table.lookup(text), input_signature=[tf.TensorSpec([None], tf.string)]
    )
    tf.saved_model.save(root, str(target), signatures=root.ids)


def mutable_table(target: Path) -> None:
    """Tables whose content lies in the checkpoint, as two tensors each."""
    root = tf.Module()
    root.table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, default_value=-1)
    root.table.insert(tf.constant(["a", "b"]), tf.constant([1, 2], tf.int64))
    root.dense = tf.lookup.experimental.DenseHashTable(
        tf.int64, tf.float32, default_value=0.0, empty_key=-1, deleted_key=-2, initial_num_buckets=8
    )
    root.dense.insert(tf.constant([5], tf.int64), tf.constant([0.5]))
    root.find = tf.function(
        lambda keys: root.table.lookup(keys), input_signature=[tf.TensorSpec([None], tf.string)]
    )
    tf.saved_model.save(root, str(target))


def optimizer_of_checkpoint(target: Path) -> None:
    """A checkpoint of a module with the slots of a Keras 2 optimizer of the old kind."""
    import tf_keras

    module = tf.Module()
    module.weight = tf.Variable([1.0, 2.0], name="weight")
    optimizer = tf_keras.optimizers.legacy.Adam(0.1)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(module.weight**2)
    optimizer.apply_gradients([(tape.gradient(loss, module.weight), module.weight)])
    tf.saved_model.save(tf.train.Checkpoint(model=module, optimizer=optimizer), str(target))
