"""What can be called in a SavedModel: signatures, and functions of its objects with their traced variants.

Signatures are the named graphs of a model, with the tensors that go in and come out.
Source: tensorflow/core/protobuf/meta_graph.proto (SignatureDef, TensorInfo).
"""

from __future__ import annotations

import keyword
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from hubcli.errors import BrokenModelError
from hubcli.formats.protos import parse
from hubcli.formats.tensor_layout import DType
from hubcli.savedmodel.objects import HeldFunction, ObjectGraph
from hubcli.savedmodel.types import (
    Fields,
    Items,
    Literal,
    Shape,
    Structure,
    TensorSpec,
    decode,
    element_count,
    holds_tensors,
    is_none,
    python_text,
    shape_of,
    type_spec,
)

__all__ = [
    "Default",
    "Function",
    "FunctionVariant",
    "ParameterList",
    "Signature",
    "SignatureTensor",
    "arguments_of",
    "read_functions",
    "read_signatures",
]

_MAX_CAPTURES, _MAX_TRACES = 100_000, 1_000_000


class FunctionVariant(NamedTuple):
    """A concrete function: what it takes and gives. `name` is that in the function library.

    `outputs` is None if the file doesn't say. `captures` are the numbers of
    the objects that it uses beside its arguments.
    """

    name: str
    args: tuple[Structure, ...]
    kwargs: tuple[tuple[str, Structure], ...]
    outputs: Structure | None
    captures: tuple[int, ...] = ()

    def is_for_inference(self, parameters: tuple[str, ...]) -> bool:
        """Whether it was traced for `training=False`."""
        named = (*zip(parameters, self.args, strict=False), *self.kwargs)
        return any(
            name == "training" and isinstance(value, Literal) and value.value is False
            for name, value in named
        )


class Function(NamedTuple):
    """A function by its dotted path from the root.

    `parameters` are its named positional ones, without `self`, None if the
    file doesn't tell; `python_signature` is their text with defaults. `callee`
    is how Python reaches it from the loaded object `obj`. `parameter_list` is
    all that the file tells of the parameters, None for a bare function.
    """

    path: str
    callee: str
    python_signature: str
    parameters: tuple[str, ...] | None
    variants: tuple[FunctionVariant, ...]
    parameter_list: ParameterList | None = None

    @property
    def call(self) -> str:
        """A line of Python that calls it on the loaded object `obj`, as for inference if it was traced so."""
        return f"{self.callee}({', '.join(self._arguments())})"

    def _arguments(self) -> Iterator[str]:
        if not self.variants:
            return
        names = self.parameters or ()
        variant = next(
            (variant for variant in self.variants if variant.is_for_inference(names)), self.variants[0]
        )
        # If there are unnamed arguments, they and all before them must be positional.
        takes_names = len(variant.args) <= len(names)
        needs_name = False
        for place, value in enumerate(variant.args):
            name = names[place] if place < len(names) else f"arg{place}"
            if takes_names and is_none(value):
                needs_name = True
                continue
            needs_name = needs_name or (takes_names and isinstance(value, Literal))
            yield f"{name}={_placeholder(value, name)}" if needs_name else _placeholder(value, name)
        for name, value in variant.kwargs:
            yield f"{name}={_placeholder(value, name)}"


def _placeholder(value: Structure, name: str) -> str:
    """The value in an example of a call: names for tensors, Python literals for the rest."""
    if isinstance(value, Items):
        inner = [_placeholder(item, f"{name}_{place}") for place, item in enumerate(value.items)]
        text = ", ".join(inner)
        return (f"({text},)" if len(inner) == 1 else f"({text})") if value.is_tuple else f"[{text}]"
    if isinstance(value, Fields) and value.name is None:
        return "{" + ", ".join(f"{key!r}: {_placeholder(item, key)}" for key, item in value.items) + "}"
    if holds_tensors(value):
        own = value.name if isinstance(value, TensorSpec) else None
        chosen = own.rsplit("/", 1)[-1] if own else name
        return chosen if chosen.isidentifier() and not keyword.iskeyword(chosen) else "x"
    return python_text(value)


def read_functions(objects: ObjectGraph, *, submodules: bool) -> tuple[Function, ...]:
    """The functions of the root object, `__call__` first; of every object with `submodules`.

    Raises BrokenModelError for a damaged one.
    """
    functions, known, traces = list[Function](), dict[int, Function](), 0
    for held in objects.functions(submodules=submodules):
        function = known.get(held.node) or known.setdefault(held.node, _function(objects, held))
        functions.append(function._replace(path=held.path, callee=held.access))
        traces += len(function.variants)
        if traces > _MAX_TRACES:
            raise BrokenModelError(f"its objects hold functions with more than {_MAX_TRACES:,} traces")
    return tuple(functions)


def _function(objects: ObjectGraph, held: HeldFunction) -> Function:
    content = objects.content(held.node)
    traces = (_variant(objects, name) for name in objects.concrete_names(held.node))
    variants = tuple(variant for variant in traces if variant is not None)
    spec = parse("FunctionSpec", content.function_spec) if content.function_spec else None
    if spec is not None and spec.HasField("fullargspec"):
        parameters = ParameterList.decode(decode(spec.fullargspec))
        return Function(held.path, held.access, str(parameters), parameters.args, variants, parameters)
    is_bare = objects.kind(held.node) == "bare_concrete_function"
    keywords = tuple(content.argument_keywords) if is_bare else None
    return Function(held.path, held.access, f"({', '.join(keywords or ())})", keywords, variants)


def _variant(objects: ObjectGraph, name: str) -> FunctionVariant | None:
    message = objects.concrete_function(name)
    if message is None:
        return None
    args, kwargs = arguments_of(message)
    outputs = decode(message.output_signature) if message.HasField("output_signature") else None
    if len(message.bound_inputs) > _MAX_CAPTURES:
        raise BrokenModelError(f"its function {name} uses {len(message.bound_inputs)} objects")
    captures = tuple(message.bound_inputs)
    for node in captures:
        if not 0 <= node < len(objects):
            raise BrokenModelError(f"its function {name} uses object {node} of {len(objects)}")
    return FunctionVariant(name, args, kwargs, outputs, captures)


def arguments_of(message: Any) -> tuple[tuple[Structure, ...], tuple[tuple[str, Structure], ...]]:
    """Positional and named arguments: the canonical signature is a pair of a tuple and a dict."""
    if not message.HasField("canonicalized_input_signature"):
        return (), ()
    pair = decode(message.canonicalized_input_signature)
    if is_none(pair):  # tf.compat.v1.wrap_function and pruned functions
        return (), ()
    if isinstance(pair, Items) and len(pair.items) == 2:
        args, kwargs = pair.items
        if isinstance(args, Items) and isinstance(kwargs, Fields):
            return args.items, kwargs.items
    raise BrokenModelError("its functions have arguments in a form that TensorFlow does not write")


class ParameterList(NamedTuple):
    """An inspect.FullArgSpec without `self` and annotations; `defaults` belong to the last of `args`."""

    args: tuple[str, ...]
    varargs: str | None
    varkw: str | None
    defaults: tuple[Structure, ...]
    keyword_only: tuple[str, ...]
    keyword_defaults: dict[str, Structure]

    @classmethod
    def decode(cls, spec: Structure) -> ParameterList:
        """The list in a named tuple of `inspect.FullArgSpec`'s fields; missing fields are empty."""
        fields = dict(spec.items) if isinstance(spec, Fields) else {}
        args = _texts(fields.get("args"))
        if args[:1] == ("self",):
            args = args[1:]
        defaults, only = fields.get("defaults"), fields.get("kwonlydefaults")
        return cls(
            args=args,
            varargs=_text(fields.get("varargs")),
            varkw=_text(fields.get("varkw")),
            defaults=defaults.items if isinstance(defaults, Items) else (),
            keyword_only=_texts(fields.get("kwonlyargs")),
            keyword_defaults=dict(only.items) if isinstance(only, Fields) else {},
        )

    def __str__(self) -> str:
        required = max(0, len(self.args) - len(self.defaults))
        parts = list(self.args[:required])
        parts += [
            f"{name}={python_text(value)}"
            for name, value in zip(self.args[required:], self.defaults, strict=False)
        ]
        if self.varargs:
            parts.append(f"*{self.varargs}")
        elif self.keyword_only:
            parts.append("*")
        for name in self.keyword_only:
            default = self.keyword_defaults.get(name)
            parts.append(name if default is None else f"{name}={python_text(default)}")
        if self.varkw:
            parts.append(f"**{self.varkw}")
        return f"({', '.join(parts)})"


def _texts(value: Structure | None) -> tuple[str, ...]:
    items = value.items if isinstance(value, Items) else ()
    return tuple(item.value for item in items if isinstance(item, Literal) and isinstance(item.value, str))


def _text(value: Structure | None) -> str | None:
    return value.value if isinstance(value, Literal) and isinstance(value.value, str) else None


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
    """The default of an input. `value` is None if it is not a scalar."""

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
        # A JSON string is a valid Python string, with double quotes.
        quoted = f'"{self.name}"'
        if not (self.name.isascii() and self.name.isidentifier()):
            import json  # Most names need none, and each start would wait 2 ms for it.

            quoted = json.dumps(self.name)
        return f"obj.signatures[{quoted}]({arguments})"


def read_signatures(signature_defs: Any) -> tuple[Signature, ...]:
    """The signatures of a MetaGraph, sorted by name, without those that only name an op to run."""
    return tuple(
        _signature(name, signature_defs[name])
        for name in sorted(signature_defs)
        if name not in (INIT_OP, TRAIN_OP)
    )


def op_name(meta_graph: Any, name: str) -> str | None:
    """The op to run first, or to train, as a MetaGraphDef names it; None if it names none.

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
        components = [sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name]
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
    """The single value of a TensorProto, from either of its two forms."""
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
