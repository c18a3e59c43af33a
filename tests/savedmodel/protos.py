"""SavedModels written message by message, without TensorFlow: any object graph, library and signatures.

`Objects` makes an object graph, `graph`, `function` and `node` a GraphDef; `meta_graph`
joins them, and `write_model` puts them on the disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubcli.formats.protos import _message_class
from hubcli.issues import Issue
from hubcli.savedmodel.model import ModelFiles, SavedModelInfo
from hubcli.savedmodel.reader import read_model
from tests.formats.tables import delimited, index_of, number

__all__ = [
    "FLOAT",
    "INT",
    "STRING",
    "Func",
    "Funcs",
    "Objects",
    "Spec",
    "asset_file",
    "call_signature",
    "findings_of",
    "function",
    "graph",
    "index",
    "init_signature",
    "message",
    "meta_graph",
    "node",
    "read",
    "saved_model",
    "saver",
    "spec_value",
    "value",
    "write_model",
]

FLOAT, INT, STRING, RESOURCE = 1, 3, 7, 20


def message(type_name: str, /, **fields: Any) -> Any:
    """A message of TensorFlow's, the whole of it known; messages within it may be given as dicts."""
    proto = _message_class(type_name, is_lean=False)()
    _fill(proto, fields)
    return proto


def _fill(target: Any, fields: dict[str, Any]) -> None:
    """Sets the fields, as newer releases of protobuf do when a message is made."""
    for name, value in fields.items():
        kind = target.DESCRIPTOR.fields_by_name[name]
        is_map = kind.message_type is not None and kind.message_type.GetOptions().map_entry
        if is_map:
            for key, inner in value.items():
                _set_in_map(getattr(target, name), key, inner)
        elif isinstance(value, (list, tuple)):
            for inner in value:
                _append(getattr(target, name), inner)
        elif kind.message_type is None:
            setattr(target, name, value)
        else:
            getattr(target, name).SetInParent()
            _put(getattr(target, name), value)


def _set_in_map(target: Any, key: str, value: Any) -> None:
    if isinstance(value, (str, bytes, int, float)):
        target[key] = value
    else:
        _put(target[key], value)


def _append(target: Any, value: Any) -> None:
    if isinstance(value, (str, bytes, int, float)):
        target.append(value)
    else:
        _put(target.add(), value)


def _put(target: Any, value: Any) -> None:
    if isinstance(value, dict):
        _fill(target, value)
    else:
        target.CopyFrom(value)


# Values ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spec:
    """A tensor: number of its type, and its shape with None for an unknown size or rank."""

    dtype: int = FLOAT
    shape: tuple[int | None, ...] | None = (None, 2)
    name: str = ""

    @property
    def proto(self) -> Any:
        return message("TensorSpecProto", dtype=self.dtype, shape=shape_proto(self.shape), name=self.name)


def shape_proto(shape: tuple[int | None, ...] | None) -> Any:
    if shape is None:
        return message("TensorShapeProto", unknown_rank=True)
    return message("TensorShapeProto", dim=[{"size": -1 if size is None else size} for size in shape])


def value(content: Any) -> Any:
    """The StructuredValue of a Python value; `Spec` is a tensor."""
    proto = message("StructuredValue")
    if content is None:
        proto.none_value.SetInParent()
    elif isinstance(content, bool):
        proto.bool_value = content
    elif isinstance(content, int):
        proto.int64_value = content
    elif isinstance(content, float):
        proto.float64_value = content
    elif isinstance(content, str):
        proto.string_value = content
    elif isinstance(content, Spec):
        proto.tensor_spec_value.CopyFrom(content.proto)
    elif isinstance(content, dict):
        proto.dict_value.SetInParent()
        for key, inner in content.items():
            proto.dict_value.fields[key].CopyFrom(value(inner))
    elif isinstance(content, (list, tuple)):
        kind = proto.list_value if isinstance(content, list) else proto.tuple_value
        kind.SetInParent()
        kind.values.extend(value(inner) for inner in content)
    else:
        proto.CopyFrom(content)  # A StructuredValue already.
    return proto


def spec_value(class_number: int, *state: Any, name: str = "") -> Any:
    """The StructuredValue of a composite tensor's spec."""
    proto = message("StructuredValue")
    proto.type_spec_value.type_spec_class = class_number
    proto.type_spec_value.type_spec_class_name = name
    proto.type_spec_value.type_state.CopyFrom(value(tuple(state)))
    return proto


def dtype_value(dtype: int) -> Any:
    return message("StructuredValue", tensor_dtype_value=dtype)


def shape_value(*sizes: int | None) -> Any:
    return message("StructuredValue", tensor_shape_value=shape_proto(sizes))


# Graphs ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Func:
    """An attribute that names a function."""

    name: str


@dataclass(frozen=True)
class Funcs:
    """An attribute that lists functions."""

    names: tuple[str, ...]


def node(name: str, op: str, /, *inputs: str, **attributes: Any) -> Any:
    """A NodeDef. Attributes are text, bytes, `Func`, `Funcs` or an AttrValue."""
    proto = message("NodeDef", name=name, op=op, input=inputs)
    for key, content in attributes.items():
        attribute = proto.attr[key]
        if isinstance(content, Func):
            attribute.func.name = content.name
        elif isinstance(content, Funcs):
            attribute.list.func.extend(message("NameAttrList", name=name) for name in content.names)
        elif isinstance(content, str):
            attribute.s = content.encode()
        elif isinstance(content, bytes):
            attribute.s = content
        else:
            attribute.CopyFrom(content)
    return proto


def function(
    name: str, *nodes: Any, inputs: Sequence[str] = (), results: Mapping[str, str] | None = None
) -> Any:
    """A FunctionDef; `results` are tensors (`node:output:0`) by the output's name."""
    results = results or {}
    signature = message(
        "OpDef",
        name=name,
        input_arg=[message("ArgDef", name=tensor, type=FLOAT) for tensor in inputs],
        output_arg=[message("ArgDef", name=result, type=FLOAT) for result in results],
    )
    return message("FunctionDef", signature=signature, node_def=nodes, ret=results)


def graph(*nodes: Any, functions: Sequence[Any] = ()) -> Any:
    """A GraphDef with a library."""
    proto = message("GraphDef", node=nodes)
    proto.library.function.extend(functions)
    return proto


# Objects -----------------------------------------------------------------------------------------


class Objects:
    """An object graph that grows from its root, object 0; each method gives the number of what it made."""

    def __init__(self, identifier: str = "_generic_user_object") -> None:
        self.message = message("SavedObjectGraph")
        self.message.nodes.add().user_object.identifier = identifier

    def hang(self, child: int, name: str, parent: int = 0) -> int:
        """One more name for the object."""
        self.message.nodes[parent].children.add(node_id=child, local_name=name)
        return child

    def add(self, name: str | None, parent: int = 0, **kind: Any) -> int:
        """An object of any kind; without a name it hangs nowhere."""
        self.message.nodes.add(**kind)
        number_ = len(self.message.nodes) - 1
        return number_ if name is None else self.hang(number_, name, parent)

    def user(self, name: str | None, parent: int = 0, identifier: str = "_generic_user_object") -> int:
        return self.add(name, parent, user_object={"identifier": identifier})

    def list_of(self, name: str, nodes: Sequence[int], parent: int = 0) -> int:
        """A list that holds the objects."""
        list_id = self.user(name, parent, "trackable_list_wrapper")
        for place, child in enumerate(nodes):
            self.hang(child, str(place), list_id)
        return list_id

    def variable(
        self,
        name: str | None,
        parent: int = 0,
        *,
        dtype: int = FLOAT,
        shape: tuple[int | None, ...] | None = (2,),
        trainable: bool = True,
        full_name: str = "",
    ) -> int:
        content = {
            "dtype": dtype,
            "shape": shape_proto(shape),
            "trainable": trainable,
            "name": full_name or (name or ""),
        }
        return self.add(name, parent, variable=content)

    def function(
        self,
        name: str | None,
        *concrete: str,
        parent: int = 0,
        parameters: Sequence[str] | None = ("x",),
        defaults: Sequence[Any] = (),
    ) -> int:
        """A tf.function with those variants; without `parameters` its Python signature isn't told."""
        function_id = self.add(name, parent, function={"concrete_functions": concrete})
        if parameters is not None:
            spec = self.message.nodes[function_id].function.function_spec.fullargspec.named_tuple_value
            fields: dict[str, Any] = {
                "args": list(parameters),
                "varargs": None,
                "varkw": None,
                "defaults": tuple(defaults) if defaults else None,
                "kwonlyargs": [],
                "kwonlydefaults": None,
                "annotations": {},
            }
            spec.name = "FullArgSpec"
            for key, content in fields.items():
                spec.values.add(key=key, value=value(content))
        return function_id

    def bare(self, name: str | None, concrete: str, parent: int = 0) -> int:
        """A function of one trace."""
        return self.add(name, parent, bare_concrete_function={"concrete_function_name": concrete})

    def concrete(
        self,
        name: str,
        *args: Any,
        kwargs: Mapping[str, Any] | None = None,
        outputs: Any = Spec(),
        captures: Sequence[int] = (),
    ) -> str:
        """What the function of the library takes and gives; its name."""
        concrete_function = self.message.concrete_functions[name]
        concrete_function.bound_inputs.extend(captures)
        concrete_function.canonicalized_input_signature.CopyFrom(value((tuple(args), dict(kwargs or {}))))
        concrete_function.output_signature.CopyFrom(value(outputs))
        return name

    def traced(self, name: str, *args: Any, parent: int = 0, **more: Any) -> int:
        """A tf.function of one variant, whose name in the library is `fn_` and its own."""
        return self.function(name, self.concrete(f"fn_{name}", *args, **more), parent=parent)


# Files -------------------------------------------------------------------------------------------


def saver(save: str = "", restore: str = "", filename: str = "") -> Any:
    """A SaverDef."""
    return message("SaverDef", save_tensor_name=save, restore_op_name=restore, filename_tensor_name=filename)


def call_signature(*outputs: str) -> Any:
    """A signature that gives those tensors."""
    infos = {f"out{place}": {"name": name, "dtype": FLOAT} for place, name in enumerate(outputs)}
    return message("SignatureDef", outputs=infos, method_name="tensorflow/serving/predict")


def init_signature(op: str) -> Any:
    """The signature that names the op to run first."""
    return message("SignatureDef", outputs={"__saved_model_init_op": {"name": op}})


def asset_file(tensor: str, filename: str) -> Any:
    """An AssetFileDef."""
    return message("AssetFileDef", tensor_info={"name": tensor}, filename=filename)


def meta_graph(
    graph_def: Any = None,
    objects: Objects | None = None,
    *,
    tags: Sequence[str] = ("serve",),
    version: str = "2.21.0",
    **parts: Any,
) -> Any:
    """A MetaGraphDef; `parts` are fields such as `signature_def` and `collection_def`."""
    proto = message("MetaGraphDef", meta_info_def={"tags": tags, "tensorflow_version": version}, **parts)
    proto.graph_def.CopyFrom(graph_def if graph_def is not None else graph())
    if objects is not None:
        proto.object_graph_def.CopyFrom(objects.message)
    return proto


def saved_model(*meta_graphs: Any) -> bytes:
    """saved_model.pb, of messages or their bytes."""
    encoded = [
        meta_graph if isinstance(meta_graph, bytes) else meta_graph.SerializeToString()
        for meta_graph in meta_graphs
    ]
    return number(1, 1) + b"".join(delimited(2, meta_graph) for meta_graph in encoded)


def index(**tensors: tuple[int, tuple[int, ...], int]) -> bytes:
    """An index: type, shape and checksum by key, in which `__` stands for `/`; items of four bytes."""
    entries, offset = [], 0
    for name in sorted(tensors):
        dtype, shape, checksum = tensors[name]
        size = 4
        for dim in shape:
            size *= dim
        encoded = number(1, dtype) + delimited(2, shape_proto(shape).SerializeToString())
        encoded += number(4, offset) + number(5, size) + b"\x35" + checksum.to_bytes(4, "little")
        entries.append((f"{name.replace('__', '/')}/.ATTRIBUTES/VARIABLE_VALUE".encode(), encoded))
        offset += size
    return index_of(entries)


def write_model(
    folder: Path,
    *meta_graphs: Any,
    index_bytes: bytes | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """A model's directory."""
    everything = {"saved_model.pb": saved_model(*meta_graphs), **(files or {})}
    if index_bytes is not None:
        everything["variables/variables.index"] = index_bytes
    for name, content in everything.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return folder


def read(
    folder: Path,
    *meta_graphs: Any,
    submodules: bool = False,
    tag_set: frozenset[str] | None = None,
    index_bytes: bytes | None = None,
    files: Mapping[str, bytes] | None = None,
) -> SavedModelInfo:
    """What the reader says of a model of those MetaGraphs."""
    model = write_model(folder, *meta_graphs, index_bytes=index_bytes, files=files)
    return read_model(ModelFiles.of_directory(model), submodules=submodules, tag_set=tag_set)


def findings_of(folder: Path, *meta_graphs: Any) -> tuple[Issue, ...]:
    """What the scan finds in a model of those MetaGraphs."""
    return read(folder, *meta_graphs).findings
