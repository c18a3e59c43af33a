"""What TensorFlow says of a model directory, in the shapes of `hubcli inspect --json`.

Nothing of hubcli is imported here. Objects come from `tf.saved_model.load` where TensorFlow loads the
directory as a model of version 2, and from the protos, decoded by TensorFlow, where it doesn't.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import variable_pb2
from tensorflow.core.protobuf import meta_graph_pb2, struct_pb2, trackable_object_graph_pb2
from tensorflow.python.framework import tensor_util
from tensorflow.python.saved_model import nested_structure_coder
from tensorflow.python.saved_model.loader_impl import parse_saved_model

from tests.savedmodel.object_graph import ObjectGraph
from tests.savedmodel.structs import Json, dtype_name, shape_list, struct, variant

__all__ = ["Oracle"]

# Signatures that hold an operation to run instead of something to call: `load` hides them.
INIT_OP, TRAIN_OP = "__saved_model_init_op", "__saved_model_train_op"
_INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")
_TRAIN_COLLECTIONS = ("saved_model_train_op",)
# A local variable may stand in the last one alone.
_VARIABLE_COLLECTIONS = ("variables", "global_variables", "trainable_variables")


@dataclass(frozen=True)
class Oracle:
    """TensorFlow's answers on one model directory."""

    directory: Path

    @cached_property
    def proto(self) -> Any:
        return parse_saved_model(str(self.directory))

    @cached_property
    def graph(self) -> ObjectGraph | None:
        """The object graph, if there is one: that of the first meta graph."""
        meta = self.proto.meta_graphs[0]
        return ObjectGraph(meta.object_graph_def) if meta.object_graph_def.nodes else None

    @cached_property
    def root(self) -> Any:
        """The loaded object; None where TensorFlow reads a model of version 1, or finds no checkpoint."""
        if self.graph is None or len(self.proto.meta_graphs) > 1 or self._reader is None:
            return None
        return tf.saved_model.load(str(self.directory))

    # Meta graphs ---------------------------------------------------------------------------------

    @property
    def meta_graphs(self) -> list[Json]:
        return [
            {
                "tags": sorted(meta.meta_info_def.tags),
                "tensorflow_version": meta.meta_info_def.tensorflow_version,
                "signatures": [
                    _signature(name, meta.signature_def[name])
                    for name in sorted(meta.signature_def)
                    if name not in (INIT_OP, TRAIN_OP)
                ],
                "init_op": _operation(meta, INIT_OP, _INIT_COLLECTIONS),
                "train_op": _operation(meta, TRAIN_OP, _TRAIN_COLLECTIONS),
                "ops": dict(sorted(_op_counts(meta.graph_def).items())),
            }
            for meta in self.proto.meta_graphs
        ]

    @property
    def assets(self) -> list[Json]:
        """Every asset that a meta graph names, by path."""
        names = {name for meta in self.proto.meta_graphs for name in _asset_names(meta)}
        return [_asset(self.directory, name) for name in sorted(names)]

    @property
    def fingerprint(self) -> Json | None:
        try:
            read = tf.saved_model.experimental.read_fingerprint(str(self.directory))
        except FileNotFoundError:
            return None
        hashes = (
            "saved_model_checksum",
            "graph_def_program_hash",
            "signature_def_hash",
            "saved_object_graph_hash",
            "checkpoint_hash",
        )
        return {name: str(getattr(read, name)) for name in hashes}

    # Functions -----------------------------------------------------------------------------------

    @property
    def root_functions(self) -> list[Json]:
        """Functions of the root: `__call__` first, the rest by name."""
        if self.graph is None:
            return []
        names = [name for name, node in self.graph.children(0) if self.graph.is_function(node)]
        return [self._function(name) for name in sorted(names, key=lambda name: (name != "__call__", name))]

    def _function(self, name: str) -> Json:
        assert self.graph is not None
        description = self.graph.function(dict(self.graph.children(0))[name])
        if self.root is None:
            return {"path": name, **description}
        loaded = getattr(self.root, name)
        variants = [
            _loaded_variant(proto["name"], function)
            for proto, function in zip(
                description["variants"], getattr(loaded, "concrete_functions", [loaded]), strict=True
            )
        ]
        # Loading replaces `*args` by the names of an input signature: the parameters are those of the file.
        return {"path": name, "parameters": description["parameters"], "variants": variants}

    @property
    def regularization_losses(self) -> int:
        """How many functions stand in the root's list."""
        if self.root is not None:
            return len(getattr(self.root, "regularization_losses", ()))
        if self.graph is not None:
            return len(self.graph.items("regularization_losses") or ())
        collections = (meta.collection_def["regularization_losses"] for meta in self.proto.meta_graphs)
        return sum(len(collection.node_list.value) for collection in collections)

    # Variables -----------------------------------------------------------------------------------

    def listed(self, name: str) -> list[Json] | None:
        """The variables of the root's list of that name, in its order; None where there is no list.

        TensorFlow 1 has collections in the place of the lists.
        """
        if self.graph is None:
            names = _VARIABLE_COLLECTIONS if name == "variables" else (name,)
            return list(self._collected(*names).values())
        nodes = self.graph.items(name)
        if nodes is None:
            return None
        if self.root is None:
            return [self.graph.variable(node) for node in nodes]
        return [_loaded_variable(variable) for variable in getattr(self.root, name)]

    @property
    def variables(self) -> list[Json]:
        """Every variable with its tensor's key, of the object graph or of TensorFlow 1's collections."""
        if self.graph is None:
            return list(self._collected(*_VARIABLE_COLLECTIONS).values())
        keys = self.checkpoint_keys
        return [
            {**self.graph.variable(node), "checkpoint_key": keys.get(node)}
            for node in self.graph.nodes_of("variable")
        ]

    def _collected(self, *collections: str) -> dict[str, Json]:
        """The variables of the collections of every meta graph by name; parts of one count as that one."""
        found: dict[str, Json] = {}
        tensors = self.tensors or {}
        for meta in self.proto.meta_graphs:
            trainable = {_whole_name(variable) for variable in _collection(meta, "trainable_variables")}
            for action in (action for name in collections for action in _collection(meta, name)):
                name = _whole_name(action)
                tensor = tensors.get(name, {"key": None, "dtype": None, "shape": None})
                description = {"name": name, "checkpoint_key": tensor["key"], "trainable": name in trainable}
                found.setdefault(name, {**description, "dtype": tensor["dtype"], "shape": tensor["shape"]})
        return found

    @cached_property
    def checkpoint_keys(self) -> dict[int, str]:
        """The key of each variable's tensor, by the variable's node of the saved object graph.

        The checkpoint numbers its nodes differently: both graphs are walked from their roots at once.
        """
        tracked = self._tracked_objects
        if self.graph is None or tracked is None:
            return {}
        return {
            saved: attribute.checkpoint_key
            for saved, node in self.graph.beside(tracked).items()
            if self.graph.kind(saved) == "variable"
            for attribute in tracked.nodes[node].attributes
        }

    @cached_property
    def _tracked_objects(self) -> Any:
        if self._reader is None or not self._reader.has_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"):
            return None
        serialized = self._reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH")
        return trackable_object_graph_pb2.TrackableObjectGraph.FromString(serialized)

    # Checkpoint ----------------------------------------------------------------------------------

    @cached_property
    def _reader(self) -> Any:
        prefix = self.directory / "variables" / "variables"
        return tf.train.load_checkpoint(str(prefix)) if prefix.with_suffix(".index").exists() else None

    @property
    def tensors(self) -> dict[str, Json] | None:
        """Type and shape of each tensor of the checkpoint, by key; None without a checkpoint."""
        if self._reader is None:
            return None
        dtypes = self._reader.get_variable_to_dtype_map()
        shapes = self._reader.get_variable_to_shape_map()
        return {
            key: {"key": key, "dtype": dtypes[key].name, "shape": list(shapes[key])} for key in sorted(shapes)
        }

    def tensor(self, key: str) -> Any:
        """The value of a tensor of the checkpoint."""
        return self._reader.get_tensor(key)


def _loaded_variant(name: str, concrete: Any) -> Json:
    return variant(name, concrete.structured_input_signature, concrete.structured_outputs)


def _loaded_variable(variable: Any) -> Json:
    return {
        "name": variable.name.removesuffix(":0"),
        "dtype": variable.dtype.base_dtype.name,
        "shape": shape_list(variable.shape),
        "trainable": variable.trainable,
    }


def _collection(meta: Any, name: str) -> Iterator[Any]:
    for serialized in meta.collection_def[name].bytes_list.value:
        yield variable_pb2.VariableDef.FromString(serialized)


def _whole_name(variable_def: Any) -> str:
    """The variable's name; of a part of one, the name of the whole, which is its key in the checkpoint."""
    return str(variable_def.save_slice_info_def.full_name or variable_def.variable_name.removesuffix(":0"))


def _asset_names(meta: Any) -> Iterator[str]:
    yield from (asset.filename for asset in meta.asset_file_def)
    for packed in meta.collection_def["saved_model_assets"].any_list.value:
        asset = meta_graph_pb2.AssetFileDef()
        packed.Unpack(asset)
        yield asset.filename


def _asset(directory: Path, name: str) -> Json:
    path = directory / "assets" / name
    present = path.is_file()
    return {
        "path": f"assets/{name}",
        "size_bytes": path.stat().st_size if present else None,
        "present": present,
    }


def _operation(meta: Any, signature: str, collections: tuple[str, ...]) -> str | None:
    """The operation that a signature of a reserved name or a collection holds."""
    if signature in meta.signature_def:
        return str(meta.signature_def[signature].outputs[signature].name)
    for collection in collections:
        if collection in meta.collection_def:
            return str(meta.collection_def[collection].node_list.value[0])
    return None


def _op_counts(graph: Any) -> Counter[str]:
    counts = Counter(node.op for node in graph.node)
    for function in graph.library.function:
        counts.update(node.op for node in function.node_def)
    return counts


def _signature(name: str, signature_def: Any) -> Json:
    return {
        "name": name,
        "method": signature_def.method_name,
        "inputs": [
            _tensor(key, signature_def.inputs[key], signature_def.defaults.get(key))
            for key in sorted(signature_def.inputs)
        ],
        "outputs": [_tensor(key, signature_def.outputs[key], None) for key in sorted(signature_def.outputs)],
    }


def _tensor(key: str, info: Any, default: Any) -> Json:
    encoding = info.WhichOneof("encoding")
    if encoding == "composite_tensor":
        return _composite(key, info.composite_tensor)
    sparse = info.coo_sparse
    parts = [sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name]
    is_sparse = encoding == "coo_sparse"
    return {
        "name": key,
        "dtype": dtype_name(info.dtype),
        "shape": shape_list(tf.TensorShape(info.tensor_shape)),
        "tensor": None if is_sparse else info.name,
        "kind": "sparse" if is_sparse else "dense",
        "components": parts if is_sparse else [],
        "default": _default(default) if default is not None else None,
    }


def _composite(key: str, composite_tensor: Any) -> Json:
    """A composite tensor: its TensorInfo has neither type nor shape, its spec has both."""
    value = struct_pb2.StructuredValue(type_spec_value=composite_tensor.type_spec)
    spec = struct(nested_structure_coder.decode_proto(value))
    return {
        "name": key,
        "dtype": spec["dtype"],
        "shape": spec["shape"],
        "tensor": None,
        "kind": "composite",
        "components": [component.name for component in composite_tensor.components],
        "default": None,
    }


def _default(tensor_proto: Any) -> Json:
    """A default; its value is told where it is a single one."""
    array = tensor_util.MakeNdarray(tensor_proto)
    value = array.item() if array.size == 1 else None
    text = value.decode() if isinstance(value, bytes) else value
    return {"dtype": dtype_name(tensor_proto.dtype), "shape": list(array.shape), "value": text}
