"""Graphs of TensorFlow 1."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf

v1 = tf.compat.v1
Model = tuple[Any, Any]


@contextmanager
def _session() -> Iterator[Any]:
    with tf.Graph().as_default(), v1.Session() as session:
        yield session


def _half_plus_two(*, use_resource: bool = False) -> Model:
    """Its input and its output."""
    x = v1.placeholder(tf.float32, [None, 1], name="x")
    a = v1.get_variable("scope/a", initializer=0.5, use_resource=use_resource)
    b = v1.get_variable("b", [1], initializer=v1.constant_initializer(2.0), use_resource=use_resource)
    v1.get_variable("count", initializer=3, trainable=False, use_resource=use_resource)
    v1.get_variable(
        "local", initializer=1.0, collections=[v1.GraphKeys.LOCAL_VARIABLES], use_resource=use_resource
    )
    return x, tf.add(a * x, b, name="y")


def _signature(x: Any, y: Any, method: str = v1.saved_model.signature_constants.PREDICT_METHOD_NAME) -> Any:
    build = v1.saved_model.build_signature_def
    info = v1.saved_model.build_tensor_info
    return build(inputs={"inputs": info(x)}, outputs={"outputs": info(y)}, method_name=method)


def _save(target: Path, build: Callable[[], Model], tags: list[str], *, as_text: bool = False) -> None:
    builder = v1.saved_model.Builder(str(target))
    with _session() as session:
        x, y = build()
        session.run(v1.global_variables_initializer())
        signatures = {"serving_default": _signature(x, y)}
        builder.add_meta_graph_and_variables(session, tags, signature_def_map=signatures)
    builder.save(as_text=as_text)


def tf1_tag_sets(target: Path) -> None:
    """Three meta graphs over one set of variables; the last one trains."""
    builder = v1.saved_model.Builder(str(target))
    with _session() as session:
        x, y = _half_plus_two()
        session.run(v1.global_variables_initializer())
        signatures = {
            "serving_default": _signature(x, y),
            "regress": _signature(x, y, "tensorflow/serving/regress"),
        }
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map=signatures,
            main_op=v1.tables_initializer(),
            clear_devices=True,
        )
        builder.add_meta_graph(["serve", "gpu"], signature_def_map=signatures, strip_default_attrs=True)
    with _session():
        x, y = _half_plus_two()
        train = v1.train.MomentumOptimizer(0.1, 0.9).minimize(tf.reduce_sum(y), name="minimize")
        v1.add_to_collection(
            "saved_model_train_op", train
        )  # The builder of version 1 has no argument for it.
        builder.add_meta_graph(["train"], signature_def_map={"": _signature(x, y)})
    builder.save()


def tf1_assets(target: Path) -> None:
    vocabulary = target.with_name(f"{target.name}.txt")
    vocabulary.write_text("one\ntwo\n", encoding="utf-8")
    builder = v1.saved_model.Builder(str(target))
    with _session() as session:
        path = v1.constant(str(vocabulary), name="vocabulary")
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, path)
        index = tf.lookup.TextFileIndex
        initializer = tf.lookup.TextFileInitializer(
            path, tf.string, index.WHOLE_LINE, tf.int64, index.LINE_NUMBER
        )
        table = tf.lookup.StaticHashTable(initializer, -1)
        x = v1.placeholder(tf.string, [None], name="words")
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map={"serving_default": _signature(x, table.lookup(x))},
            assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
            legacy_init_op=v1.tables_initializer(name="load_tables"),
        )
    builder.save()


def tf1_partitioned(target: Path) -> None:
    """One variable in three parts: three variables of the graph, one tensor of the checkpoint."""

    def build() -> Model:
        x = v1.placeholder(tf.int32, [None], name="ids")
        with v1.variable_scope("emb", partitioner=v1.fixed_size_partitioner(3)):
            table = v1.get_variable("table", [10, 4], use_resource=False)
        v1.get_variable("whole", [2], use_resource=False)
        return x, tf.nn.embedding_lookup(table, x)

    _save(target, build, ["serve"])


def tf1_resources(target: Path) -> None:
    _save(target, lambda: _half_plus_two(use_resource=True), ["serve"])


def tf1_text(target: Path) -> None:
    _save(target, _half_plus_two, ["serve"], as_text=True)


def tf1_sparse_signature(target: Path) -> None:
    """A sparse and a ragged tensor as one entry of the signature each."""

    def build() -> Model:
        x = v1.sparse_placeholder(tf.float32, [None, 4], name="features")
        y = tf.RaggedTensor.from_row_lengths(v1.sparse.to_dense(x)[0], tf.constant([1, 3], tf.int64))
        return x, y

    _save(target, build, ["serve"])


def tf1_functions(target: Path) -> None:
    """Control flow of version 2 in a graph of version 1: a library of functions, and no objects."""

    def build() -> Model:
        x = v1.placeholder(tf.float32, [], name="x")
        doubled = tf.function(lambda value: tf.while_loop(lambda v: v < 10.0, lambda v: [v * 2], [value])[0])
        return x, doubled(x)

    _save(target, build, ["serve"])


def tf1_hub(target: Path) -> None:
    """The look of the TF1 Hub format: a marker file, and a meta graph without tags."""
    builder = v1.saved_model.Builder(str(target))
    with _session() as session:
        x, y = _half_plus_two(use_resource=True)
        session.run(v1.global_variables_initializer())
        builder.add_meta_graph_and_variables(session, [], signature_def_map={"default": _signature(x, y, "")})
        builder.add_meta_graph(["train"], signature_def_map={"default": _signature(x, y, "")})
    builder.save()
    (target / "tfhub_module.pb").write_bytes(b"\x08\x03")
