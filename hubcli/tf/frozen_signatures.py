"""Signatures of a graph of TensorFlow 1 as converters take them: fed at placeholders, with constant weights.

A session feeds any tensor of a graph, and variables that a graph assigns to. Converters need a placeholder
for each input, and LiteRT's takes no variable that is assigned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

__all__ = ["converted_source"]


@contextmanager
def converted_source(tf: Any, order: Mapping[str, Any]) -> Iterator[str]:
    """The directory to convert: that of the model, or of a frozen copy if the order has `frozen` signatures.

    Those have `name`, `inputs` (name, tensor, type and shape) and `outputs` (name and tensor). The copy is
    beside the destination, and removed at the end. A model that keeps a state is not copied.
    """
    graph = _frozen(tf, order) if order["frozen"] else None
    if graph is None:
        yield order["model"]
        return
    with TemporaryDirectory(dir=Path(order["destination"]).parent) as folder:
        copy = str(Path(folder, "frozen"))
        _save(tf, *graph, order["tags"], copy)
        yield copy


def _frozen(tf: Any, order: Mapping[str, Any]) -> tuple[Any, dict[str, Any]] | None:
    """The GraphDef with a copy of the graph for each signature, and the tensors of each; None for a state."""
    loaded, joined = tf.Graph(), tf.Graph()
    with tf.compat.v1.Session(graph=loaded) as session:
        tf.compat.v1.saved_model.load(session, order["tags"], order["model"])
        outputs = [_node(port["tensor"]) for each in order["frozen"] for port in each["outputs"]]
        try:
            constant = tf.compat.v1.graph_util.convert_variables_to_constants(
                session, loaded.as_graph_def(), list(dict.fromkeys(outputs))
            )
            with joined.as_default():
                weights = _import_weights(tf, constant, order["frozen"])
                tensors = {
                    signature["name"]: _import(tf, constant, signature, weights, f"signature_{place}")
                    for place, signature in enumerate(order["frozen"])
                }
        except (
            ValueError,
            tf.errors.OpError,
        ):  # A variable that a signature assigns to, or that has no constant value.
            return None
    # Without what the fed tensors were computed from.
    named = [tensor.op.name for _, results in tensors.values() for tensor in results.values()]
    fed = [tensor.op.name for inputs, _ in tensors.values() for tensor in inputs.values()]
    pruned = tf.compat.v1.graph_util.extract_sub_graph(joined.as_graph_def(), named + fed)
    if _has_state(pruned):
        return None
    return pruned, {
        name: tuple({key: tensor.name for key, tensor in side.items()} for side in sides)
        for name, sides in tensors.items()
    }


def _import_weights(tf: Any, graph: Any, signatures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Takes the constants out of the graph, for all signatures to share; the imported ones by tensor."""
    ports = [port for each in signatures for side in ("inputs", "outputs") for port in each[side]]
    named = {_node(port["tensor"]) for port in ports}
    named.update(source[1:] for node in graph.node for source in node.input if source.startswith("^"))
    weights, others = tf.compat.v1.GraphDef(versions=graph.versions), list[Any]()
    for node in graph.node:
        node.attr.pop("_class", None)  # A wish to be on one device with a node that is taken out.
        is_weight = node.op == "Const" and not node.input and node.name not in named
        (weights.node if is_weight else others).append(node)
    tensors = [f"{node.name}:0" for node in weights.node]
    del graph.node[:]
    graph.node.extend(others)
    found = tf.import_graph_def(weights, return_elements=tensors, name="weights")
    return dict(zip(tensors, found, strict=True))


def _import(
    tf: Any, graph: Any, signature: Mapping[str, Any], weights: Mapping[str, Any], scope: str
) -> tuple[dict[str, Any], ...]:
    """The inputs and the outputs of the signature, of a copy of the graph below the scope."""
    there = {node.name for node in graph.node}
    inputs, by_tensor = {}, {}
    for place, port in enumerate(signature["inputs"]):
        dtype = tf.as_dtype(port["type"])
        fed = tf.compat.v1.placeholder(dtype, port["shape"], name=f"{scope}_input_{place}")
        inputs[port["name"]] = by_tensor[port["tensor"]] = fed
    computed = [port["tensor"] for port in signature["outputs"] if port["tensor"] not in by_tensor]
    found = tf.import_graph_def(
        graph,
        input_map={
            **weights,
            **{tensor: fed for tensor, fed in by_tensor.items() if _node(tensor) in there},
        },
        return_elements=computed,
        name=scope,
    )
    by_tensor |= dict(zip(computed, found, strict=True))
    # An output of its own for each: an input may be an output too.
    outputs = {port["name"]: tf.identity(by_tensor[port["tensor"]]) for port in signature["outputs"]}
    return inputs, outputs


def _has_state(graph: Any) -> bool:
    """Whether it has an op that keeps something between runs, or that TensorFlow does not know."""
    from tensorflow.python.framework import op_def_registry

    definitions = [op_def_registry.get(node.op) for node in graph.node]
    return any(definition is None or definition.is_stateful for definition in definitions)


def _save(tf: Any, graph: Any, tensors: Mapping[str, Any], tags: Sequence[str], folder: str) -> None:
    """Writes a SavedModel with those signatures."""
    saved_model = tf.compat.v1.saved_model
    with tf.Graph().as_default() as written, tf.compat.v1.Session(graph=written) as session:
        tf.import_graph_def(graph, name="")
        signatures = {
            name: saved_model.build_signature_def(
                *(
                    {
                        key: saved_model.build_tensor_info(written.get_tensor_by_name(tensor))
                        for key, tensor in side.items()
                    }
                    for side in sides
                )
            )
            for name, sides in tensors.items()
        }
        builder = saved_model.Builder(folder)
        builder.add_meta_graph_and_variables(session, tags, signatures)
        builder.save()


def _node(tensor: str) -> str:
    return tensor.partition(":")[0]
