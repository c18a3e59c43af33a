"""The nested values that arguments and results of a traced function are made of.

Source: tensorflow/core/protobuf/struct.proto and
tensorflow/python/saved_model/nested_structure_coder.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isfinite, prod
from typing import Any, NamedTuple, TypeAlias

from hubcli.errors import BrokenModelError
from hubcli.formats.tensor_layout import DType

__all__ = [
    "DTypeValue",
    "Fields",
    "Items",
    "Literal",
    "Shape",
    "ShapeValue",
    "Structure",
    "TensorSpec",
    "TypeSpec",
    "decode",
    "element_count",
    "holds_tensors",
    "is_none",
    "python_text",
    "shape_of",
    "shape_text",
    "tensors_of",
    "type_spec",
]

_MAX_RANK = 254  # tensorflow::TensorShape::MaxDimensions
Shape: TypeAlias = tuple[int | None, ...] | None
"""Sizes of the dimensions, None for an unknown one; None alone for an unknown rank."""


def shape_of(message: Any) -> Shape:
    """The shape in a TensorShapeProto, which says -1 for an unknown size; raises BrokenModelError."""
    if message.unknown_rank:
        return None
    if len(message.dim) > _MAX_RANK:
        raise BrokenModelError(f"it has a tensor of {len(message.dim)} dimensions")
    return tuple(None if dim.size < 0 else dim.size for dim in message.dim)


def element_count(shape: Shape) -> int | None:
    """How many elements there are; None if the shape doesn't say.

    >>> element_count((2, 3)), element_count((None, 3))
    (6, None)
    """
    sizes = [size for size in shape or () if size is not None]
    return None if shape is None or len(sizes) < len(shape) else prod(sizes)


def shape_text(shape: Shape) -> str:
    """The shape for a person.

    >>> shape_text((None, 224, 224, 3)), shape_text(()), shape_text(None)
    ('[?, 224, 224, 3]', '[]', '[...]')
    """
    if shape is None:
        return "[...]"
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"


class TensorSpec(NamedTuple):
    """A tensor of that type and shape; `name` is what the tracer called it, if anything."""

    dtype: str
    shape: Shape
    name: str | None = None

    def __str__(self) -> str:
        return f"{self.dtype}{shape_text(self.shape)}"


class TypeSpec(NamedTuple):
    """A composite tensor, such as a ragged or a sparse one, or another type with a spec.

    `ragged_rank` and `row_splits_dtype` are set for a RaggedTensorSpec.
    """

    class_name: str
    dtype: str | None = None
    shape: Shape = None
    ragged_rank: int | None = None
    row_splits_dtype: str | None = None

    def __str__(self) -> str:
        inner = f"{self.dtype}{shape_text(self.shape)}" if self.dtype else ""
        return f"{self.class_name.removesuffix('Spec')}({inner})"


class Literal(NamedTuple):
    """A Python value."""

    value: bool | int | float | str | None

    def __str__(self) -> str:
        return repr(self.value)


class DTypeValue(NamedTuple):
    """A `tf.DType` that was given as a Python value."""

    dtype: str

    def __str__(self) -> str:
        return f"tf.{self.dtype}"


class ShapeValue(NamedTuple):
    """A `tf.TensorShape` that was given as a Python value."""

    shape: Shape

    def __str__(self) -> str:
        return f"TensorShape({shape_text(self.shape)})"


class Items(NamedTuple):
    """A list or a tuple."""

    is_tuple: bool
    items: tuple[Structure, ...]

    def __str__(self) -> str:
        inner = ", ".join(map(str, self.items))
        if not self.is_tuple:
            return f"[{inner}]"
        return f"({inner},)" if len(self.items) == 1 else f"({inner})"


class Fields(NamedTuple):
    """A dict, its keys sorted, or a named tuple with the `name` of its class."""

    items: tuple[tuple[str, Structure], ...]
    name: str | None = None

    def __str__(self) -> str:
        if self.name is not None:
            return f"{self.name}({', '.join(f'{key}={value}' for key, value in self.items)})"
        return f"{{{', '.join(f'{key!r}: {value}' for key, value in self.items)}}}"


Structure: TypeAlias = TensorSpec | TypeSpec | Literal | DTypeValue | ShapeValue | Items | Fields


def decode(message: Any) -> Structure:
    """The structure in a StructuredValue; raises BrokenModelError if it has no value."""
    kind = message.WhichOneof("kind")
    if kind is None:
        raise BrokenModelError("A function has an argument without a value")
    return _DECODERS[kind](getattr(message, kind))


def is_none(structure: Structure) -> bool:
    """Whether it is Python's None."""
    return isinstance(structure, Literal) and structure.value is None


def python_text(structure: Structure) -> str:
    """The structure as Python writes it; `...` for a tensor, which has no literal."""
    if isinstance(structure, (TensorSpec, TypeSpec)):
        return "..."
    if isinstance(structure, ShapeValue):
        shape = structure.shape
        return f"tf.TensorShape({None if shape is None else list(shape)})"
    if isinstance(structure, Literal):
        is_endless = isinstance(structure.value, float) and not isfinite(structure.value)
        return f"float({str(structure.value)!r})" if is_endless else repr(structure.value)
    if isinstance(structure, Items):
        inner = ", ".join(map(python_text, structure.items))
        if not structure.is_tuple:
            return f"[{inner}]"
        return f"({inner},)" if len(structure.items) == 1 else f"({inner})"
    if isinstance(structure, Fields):
        pairs = [(key, python_text(value)) for key, value in structure.items]
        if structure.name is not None:
            return f"{structure.name}({', '.join(f'{key}={value}' for key, value in pairs)})"
        return f"{{{', '.join(f'{key!r}: {value}' for key, value in pairs)}}}"
    return str(structure)


def tensors_of(structure: Structure) -> Iterator[TensorSpec | TypeSpec]:
    """The tensors in the structure, in order: those that a caller passes, or receives."""
    if isinstance(structure, (TensorSpec, TypeSpec)):
        yield structure
    elif isinstance(structure, Items):
        for item in structure.items:
            yield from tensors_of(item)
    elif isinstance(structure, Fields):
        for _, item in structure.items:
            yield from tensors_of(item)


def holds_tensors(structure: Structure) -> bool:
    """Whether there is a tensor anywhere in it."""
    return any(True for _ in tensors_of(structure))


def _tensor_spec(message: Any) -> TensorSpec:
    return TensorSpec(DType.of(message.dtype).name, shape_of(message.shape), message.name or None)


def _constant(message: Any) -> TensorSpec:
    return TensorSpec(DType.of(message.dtype).name, shape_of(message.tensor_shape))


# Names by number of TypeSpecProto.TypeSpecClass; other classes have their names in the file.
_CLASSES = {
    1: "SparseTensorSpec",
    2: "IndexedSlicesSpec",
    3: "RaggedTensorSpec",
    4: "TensorArraySpec",
    5: "DatasetSpec",
    6: "IteratorSpec",
    7: "OptionalSpec",
    8: "PerReplicaSpec",
    9: "VariableSpec",
    10: "RowPartitionSpec",
}


def type_spec(message: Any) -> TypeSpec:
    """The spec in a TypeSpecProto: the first type and shape of its state; a ragged one in full."""
    name = _CLASSES.get(message.type_spec_class) or message.type_spec_class_name or "TypeSpec"
    state = decode(message.type_state) if message.type_state.WhichOneof("kind") else Items(True, ())
    parts = state.items if isinstance(state, Items) else ()
    dtypes = [part.dtype for part in parts if isinstance(part, DTypeValue)]
    shapes = [part.shape for part in parts if isinstance(part, ShapeValue)]
    ranks = [part.value for part in parts if isinstance(part, Literal) and isinstance(part.value, int)]
    is_ragged = name == "RaggedTensorSpec"
    return TypeSpec(
        class_name=name,
        dtype=dtypes[0] if dtypes else None,
        shape=shapes[0] if shapes else None,
        ragged_rank=ranks[0] if is_ragged and ranks else None,
        row_splits_dtype=dtypes[1] if is_ragged and len(dtypes) > 1 else None,
    )


def _items(message: Any, *, is_tuple: bool) -> Items:
    return Items(is_tuple, tuple(decode(value) for value in message.values))


def _dict(message: Any) -> Fields:
    return Fields(tuple((key, decode(message.fields[key])) for key in sorted(message.fields)))


def _named_tuple(message: Any) -> Fields:
    return Fields(tuple((pair.key, decode(pair.value)) for pair in message.values), message.name)


_DECODERS: dict[str, Callable[[Any], Structure]] = {
    "none_value": lambda _: Literal(None),
    "float64_value": Literal,
    "int64_value": Literal,
    "string_value": Literal,
    "bool_value": Literal,
    "tensor_shape_value": lambda shape: ShapeValue(shape_of(shape)),
    "tensor_dtype_value": lambda number: DTypeValue(DType.of(number).name),
    "tensor_spec_value": _tensor_spec,
    "bounded_tensor_spec_value": _tensor_spec,
    "type_spec_value": type_spec,
    "list_value": lambda message: _items(message, is_tuple=False),
    "tuple_value": lambda message: _items(message, is_tuple=True),
    "dict_value": _dict,
    "named_tuple_value": _named_tuple,
    "tensor_value": _constant,
    "numpy_value": _constant,
}
