"""Signatures: the named graphs of a SavedModel, with the tensors that go in and come out.

Source: tensorflow/core/protobuf/meta_graph.proto (SignatureDef, TensorInfo).
"""

from __future__ import annotations

import json
import keyword
import struct
from typing import Any, NamedTuple

from hubcli.formats.tensor_layout import DType
from hubcli.savedmodel.types import Shape, element_count, shape_of, type_spec

__all__ = ["Default", "Signature", "SignatureTensor", "read_signatures"]

INIT_OP, TRAIN_OP = "__saved_model_init_op", "__saved_model_train_op"
_OP_COLLECTIONS = {
    INIT_OP: ("saved_model_main_op", "legacy_init_op"),
    TRAIN_OP: ("saved_model_train_op",),
}
_FORMATS = {
    "float32": "f",
    "float64": "d",
    "float16": "e",
    "int8": "b",
    "int16": "h",
    "int32": "i",
    "int64": "q",
    "uint8": "B",
    "uint16": "H",
    "uint32": "I",
    "uint64": "Q",
    "bool": "?",
}
_VALUES = {
    "float32": "float_val",
    "float64": "double_val",
    "int64": "int64_val",
    "bool": "bool_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
    "string": "string_val",
}


class Default(NamedTuple):
    """What an input is where a caller leaves it out. `value` is None where it is no scalar."""

    dtype: str
    shape: Shape
    value: bool | int | float | str | None


class SignatureTensor(NamedTuple):
    """An input or output by its key in the signature.

    `tensor` is its name in the graph; a sparse or composite one has the names
    of its `components` instead.
    """

    name: str
    kind: str
    dtype: str
    shape: Shape
    tensor: str | None
    components: tuple[str, ...] = ()
    default: Default | None = None


class Signature(NamedTuple):
    """A signature: inputs and outputs, sorted by key."""

    name: str
    method: str
    inputs: tuple[SignatureTensor, ...]
    outputs: tuple[SignatureTensor, ...]

    @property
    def call(self) -> str:
        """A line of Python that calls it on the loaded object `obj`."""
        keys = [tensor.name for tensor in self.inputs]
        if all(key.isidentifier() and not keyword.iskeyword(key) for key in keys):
            arguments = ", ".join(f"{key}=…" for key in keys)
        else:
            arguments = "**{" + ", ".join(f"{key!r}: …" for key in keys) + "}"
        # As JSON writes it, a name is good Python too, in the quotes that people use.
        return f"obj.signatures[{json.dumps(self.name)}]({arguments})"


def read_signatures(signature_defs: Any) -> tuple[Signature, ...]:
    """The signatures of a MetaGraph, sorted by name; what merely names an op to run is left out."""
    return tuple(
        _signature(name, signature_defs[name])
        for name in sorted(signature_defs)
        if name not in (INIT_OP, TRAIN_OP)
    )


def op_name(meta_graph: Any, name: str) -> str | None:
    """The op to run first, or to train, as a MetaGraphDef names it; None where it names none.

    Newer releases write a signature of that name, older ones a collection.
    """
    definitions = meta_graph.signature_def
    if name in definitions:
        outputs = definitions[name].outputs
        key = name if name in outputs else next(iter(sorted(outputs)), None)
        return None if key is None else str(outputs[key].name)
    for collection in _OP_COLLECTIONS[name]:
        if collection in meta_graph.collection_def:
            return next(iter(meta_graph.collection_def[collection].node_list.value), None)
    return None


def _signature(name: str, message: Any) -> Signature:
    return Signature(
        name=name,
        method=message.method_name,
        inputs=tuple(
            _tensor(key, message.inputs[key], message.defaults.get(key)) for key in sorted(message.inputs)
        ),
        outputs=tuple(_tensor(key, message.outputs[key], None) for key in sorted(message.outputs)),
    )


def _tensor(name: str, message: Any, default: Any | None) -> SignatureTensor:
    encoding = message.WhichOneof("encoding")
    dtype, shape = DType.of(message.dtype).name, shape_of(message.tensor_shape)
    kind, tensor, components = "dense", message.name or None, list[str]()
    if encoding == "coo_sparse":
        kind, tensor = "sparse", None
        sparse = message.coo_sparse
        components = [
            sparse.values_tensor_name,
            sparse.indices_tensor_name,
            sparse.dense_shape_tensor_name,
        ]
    elif encoding == "composite_tensor":
        kind, tensor = "composite", None
        spec = type_spec(message.composite_tensor.type_spec)
        dtype, shape = spec.dtype or dtype, spec.shape
        components = [part.name for part in message.composite_tensor.components]
    return SignatureTensor(
        name=name,
        kind=kind,
        dtype=dtype,
        shape=shape,
        tensor=tensor,
        components=tuple(components),
        default=None if default is None else _default(default),
    )


def _default(message: Any) -> Default:
    dtype, shape = DType.of(message.dtype).name, shape_of(message.tensor_shape)
    return Default(dtype, shape, _scalar(message, dtype) if element_count(shape) == 1 else None)


def _scalar(message: Any, dtype: str) -> bool | int | float | str | None:
    """The one value of a TensorProto, in whichever of its two forms it stands."""
    content = message.tensor_content
    if content and dtype in _FORMATS:
        form = "<" + _FORMATS[dtype]
        if struct.calcsize(form) == len(content):
            value: bool | int | float = struct.unpack(form, content)[0]
            return value
    if content:
        return None
    if dtype not in _VALUES and not dtype.startswith(("int", "uint")):
        return None
    values = getattr(message, _VALUES.get(dtype, "int_val"))
    if not values:  # A TensorProto leaves out what is the default of its type.
        return False if dtype == "bool" else "" if dtype == "string" else 0.0 if "float" in dtype else 0
    first: bool | int | float | bytes = values[0]
    return first.decode("utf-8", "backslashreplace") if isinstance(first, bytes) else first
