"""Values of inputs and outputs: nested lists to tensors and back, rows cut and joined.

A value of an input is what JSON has, bytes, or a `Tensor` that a file held. Where its rank is one less than
that of an input whose first dimension may be anything, it is a batch of one; nothing else is broadcast.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from hubcli.errors import InputError
from hubcli.formats.tensor_layout import DType
from hubcli.running.endpoints import Endpoint, Port
from hubcli.running.numbers import decoded, encoded, require_supported
from hubcli.savedmodel.types import shape_text
from hubcli.tf.run_protocol import STRING, Tensor

__all__ = [
    "cast_tensor",
    "cut",
    "depth_of_first",
    "flattened",
    "join",
    "nested",
    "row_count",
    "tensor_of",
    "tensors_of",
    "with_parts",
]

_MAX_RANK = 254
_LISTS = frozenset({list, tuple})
_INT64 = 9
_SPLIT_TYPES = ("int64", "int32")
_MAX_EXAMPLE = 16  # elements of a hint
_SPARSE_KEYS = {"indices", "values", "dense_shape"}


def tensors_of(port: Port, value: Any, *, is_rows: bool = False) -> list[Tensor]:
    """The tensors of an input, one of a dense one, for a value; with `is_rows` for a list of rows.

    Raises InputError, which names the input and what doesn't fit.
    """
    if port.kind == "dense":
        return [tensor_of(port, value, is_rows=is_rows)]
    if port.kind == "ragged":
        return _ragged(port, value)
    if port.kind == "sparse":
        return _sparse(port, value)
    raise InputError(
        f"{port.name} is a {port.kind.removesuffix('Spec')}, which hubcli run does not support",
        hint="Run it in Python: hubcli inspect MODEL prints the call.",
    )


def tensor_of(port: Port, value: Any, *, is_rows: bool = False) -> Tensor:
    """The tensor of a dense input; with `is_rows` of a list of rows, none of it a batch of one.

    Raises InputError.
    """
    require_supported(port.dtype, port.name)
    if isinstance(value, Tensor):
        tensor = cast_tensor(port, value)
    else:
        try:
            flat, shape = flattened(value)
            tensor = Tensor(port.dtype.number, shape, encoded(port.dtype, flat))
        except ValueError as error:
            raise InputError(f"{port.name}: {error}", hint=f"The input is {port}.") from None
    if is_rows and port.shape is not None:
        _require_row(port, port.shape[1:], tensor.shape[1:])
    else:
        tensor.shape = _fitted(port, tensor.shape, value)
    return tensor


def cast_tensor(port: Port, tensor: Tensor) -> Tensor:
    """The values in the input's type, where none of them is changed but by rounding a float.

    Raises InputError.
    """
    own = DType.of(tensor.dtype)
    if own.number == port.dtype.number:
        return Tensor(tensor.dtype, tensor.shape, tensor.data)
    is_rounding = own.is_floating and port.dtype.is_floating
    values = decoded(own, tensor.data)
    if own.name == "bool" or (port.dtype.name != "string" and own.is_floating and not is_rounding):
        raise InputError(
            f"{port.name} is {port.dtype.name}, but the values are {own.name}",
            hint=f"Convert them to {port.dtype.name}: array.astype('{port.dtype.name}')",
        )
    try:
        return Tensor(port.dtype.number, tensor.shape, encoded(port.dtype, values))
    except ValueError as error:
        raise InputError(f"{port.name}: {error}", hint=f"The input is {port}.") from None


def flattened(value: Any) -> tuple[list[Any], tuple[int, ...]]:
    """The elements of nested lists in row-major order, and the shape. Raises ValueError for ragged ones."""
    shape: list[int] = []
    level = [value]
    while level and isinstance(level[0], (list, tuple)):
        length = len(level[0])
        if len(shape) >= _MAX_RANK:
            raise ValueError(f"lists are nested more than {_MAX_RANK} deep")
        for item in level:
            if not isinstance(item, (list, tuple)) or len(item) != length:
                raise ValueError(f"the lists at depth {len(shape)} differ in length")
        shape.append(length)
        level = [element for item in level for element in item]
        if not level:
            break
    if not _LISTS.isdisjoint(set(map(type, level))):
        raise ValueError(f"the lists at depth {len(shape)} differ in length")
    return level, tuple(shape)


def _require_row(port: Port, expected: tuple[int | None, ...], shape: tuple[int, ...]) -> None:
    """Raises InputError for a row whose shape isn't that of the input without its first dimension."""
    if len(shape) != len(expected) or any(
        size not in (None, own) for size, own in zip(expected, shape, strict=True)
    ):
        raise InputError(
            f"A row of {port.name} has the shape {shape_text(expected)}, and the value {shape_text(shape)}",
            hint=f"The input is {port}.",
        )


def _fitted(port: Port, shape: tuple[int, ...], value: Any) -> tuple[int, ...]:
    """The shape that the input gets. Raises InputError if the signature has another."""
    expected = port.shape
    if expected is None:
        return shape
    if len(shape) == len(expected) - 1 and expected[0] in (None, 1):
        shape = (1, *shape)
    if len(shape) == 1 and shape[0] == 0 and expected and expected[0] is None and None not in expected[1:]:
        shape = (0, *(size or 0 for size in expected[1:]))  # Zero rows.
    if len(shape) != len(expected):
        raise InputError(
            f"{port.name} has the shape {shape_text(expected)}, and the value {shape_text(shape)}",
            hint=_example(port, value),
        )
    for axis, (size, own) in enumerate(zip(expected, shape, strict=True)):
        if size is not None and size != own:
            raise InputError(
                f"{port.name} has the shape {shape_text(expected)}, and the value {shape_text(shape)}: "
                f"dimension {axis} is {own}, not {size}",
                hint=f"The input is {port}.",
            )
    return shape


def _example(port: Port, value: Any) -> str:
    """A line to copy, with the value where its elements fit the input's shape, else the form in words."""
    expected = port.shape or ()
    count = prod(size or 1 for size in expected)
    if isinstance(value, Tensor) or count > _MAX_EXAMPLE:
        rank = len(expected)
        return f"Use lists nested {rank} deep, such as {'[' * rank}…{']' * rank}. The input is {port}."
    elements: list[Any] = flattened(value)[0]
    if len(elements) != count or any(isinstance(element, (bytes, dict)) for element in elements):
        blank = "text" if port.dtype.name == "string" else False if port.dtype.name == "bool" else 0
        elements = [blank] * count
    for size in reversed(expected):
        own = size or 1
        elements = [elements[start : start + own] for start in range(0, len(elements), own)]
    return f"Use --input '{port.name}={json.dumps(elements[0], ensure_ascii=False)}'"


def _ragged(port: Port, value: Any) -> list[Tensor]:
    """Values and row splits, the outermost first, of nested lists."""
    rank = len(port.part_types) - 1
    level, splits = value, list[Tensor]()
    for number in port.part_types[1:]:
        if not isinstance(level, list) or not all(isinstance(item, list) for item in level):
            raise InputError(
                f"{port.name} is ragged: use lists nested {rank + 1} deep", hint=f"The input is {port}."
            )
        ends = [0]
        for item in level:
            ends.append(ends[-1] + len(item))
        form = "q" if number == _INT64 else "i"
        splits.append(Tensor(number, (len(ends),), struct.pack(f"<{len(ends)}{form}", *ends)))
        level = [element for item in level for element in item]
    shape = None if port.shape is None else (None, *port.shape[rank + 1 :])
    values = port._replace(kind="dense", shape=shape)
    if level == [] and shape is not None:  # Without row splits, the value may be a number.
        sizes = (0, *(size or 0 for size in shape[1:]))
        return [Tensor(port.dtype.number, sizes, [] if port.dtype.name == "string" else b""), *splits]
    return [tensor_of(values, level), *splits]


def _sparse(port: Port, value: Any) -> list[Tensor]:
    """Indices, values and shape, of an object with these, or of nested lists in which null is nothing."""
    if isinstance(value, dict):
        if value.keys() != _SPARSE_KEYS:
            raise InputError(
                f"{port.name} is sparse: use lists, or an object with indices, values and dense_shape",
                hint=f"The input is {port}.",
            )
        indices, values, sizes = value["indices"], value["values"], value["dense_shape"]
    else:
        indices, values, sizes = [], [], _extents(value)
        _collect(value, (), len(sizes), indices, values)
    rank = len(sizes)
    own = (Port(port.name, DType.of(_INT64), (None, rank)), Port(port.name, DType.of(_INT64), (rank,)))
    if not indices:
        first = Tensor(_INT64, (0, rank), b"")
        second = Tensor(port.dtype.number, (0,), [] if port.dtype.name == "string" else b"")
    else:
        first = tensor_of(own[0], indices)
        second = tensor_of(port._replace(kind="dense", shape=(None,)), values)
    if first.shape[0] != second.shape[0]:
        raise InputError(f"{port.name}: {first.shape[0]} indices for {second.shape[0]} values")
    return [first, second, tensor_of(own[1], sizes)]


def _extents(value: Any) -> list[int]:
    """The longest list at each depth."""
    sizes: list[int] = []
    level = [value]
    while any(isinstance(item, list) for item in level) and len(sizes) < _MAX_RANK:
        lists = [item for item in level if isinstance(item, list)]
        sizes.append(max(map(len, lists)))
        level = [element for item in lists for element in item]
    return sizes


def _collect(value: Any, place: tuple[int, ...], rank: int, indices: list[Any], values: list[Any]) -> None:
    if isinstance(value, list):
        for number, item in enumerate(value):
            _collect(item, (*place, number), rank, indices, values)
    elif value is not None and len(place) == rank:
        indices.append(list(place))
        values.append(value)


def with_parts(endpoint: Endpoint, given: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
    """What is given, with nested lists for a ragged or sparse input brought to its parts `x`, `x_1`, `x_2`.

    A signature has such an input as several: https://www.tensorflow.org/guide/ragged_tensor. They are built
    where the parts are there, none of the others is given, and the value has more depth than `x` has.
    """
    if endpoint.kind != "signature":
        return given
    ports = {port.name: port for port in endpoint.inputs}
    found = dict(given)
    for name, values in given.items():
        port = ports.get(name)
        if port is None or port.shape is None or len(values) != 1 or isinstance(values[0], Tensor):
            continue
        virtual = _ragged_port(ports, port, values[0], given) or _sparse_port(ports, port, given)
        if virtual is not None:
            names = [name, *(f"{name}_{number}" for number in range(1, virtual.part_count))]
            for part, tensor in zip(names, tensors_of(virtual, values[0]), strict=True):
                found[part] = [tensor]
    return found


def _ragged_port(ports: Mapping[str, Port], port: Port, value: Any, given: Mapping[str, Any]) -> Port | None:
    """The ragged input of which the port is the flat values, if the value is nested deeper than these."""
    assert port.shape is not None
    rank = _depth_of(value) - len(port.shape)
    names = [f"{port.name}_{number}" for number in range(1, rank + 1)]
    splits = [ports[name] for name in names if name in ports and name not in given]
    is_whole = rank > 0 and len(splits) == rank
    if not is_whole or any(
        split.dtype.name not in _SPLIT_TYPES or split.shape != (None,) for split in splits
    ):
        return None
    types = (port.dtype.number, *(split.dtype.number for split in splits))
    return port._replace(kind="ragged", shape=None, part_types=types)


def _sparse_port(ports: Mapping[str, Port], port: Port, given: Mapping[str, Any]) -> Port | None:
    """The sparse input of which the port is the indices, if the value isn't of their shape."""
    values, dense_shape = ports.get(f"{port.name}_1"), ports.get(f"{port.name}_2")
    shape = port.shape or ()
    if values is None or dense_shape is None or {values.name, dense_shape.name} & given.keys():
        return None
    is_sparse = port.dtype.name == dense_shape.dtype.name == "int64" and len(shape) == 2
    if not is_sparse or values.shape != (None,) or dense_shape.shape != shape[1:]:
        return None
    number = port.dtype.number
    return Port(port.name, values.dtype, None, "sparse", part_types=(number, values.dtype.number, number))


def depth_of_first(value: Any) -> int:
    """How deep lists are nested, by the first item of each."""
    depth = 0
    while isinstance(value, list):
        depth, value = depth + 1, value[0] if value else None
    return depth


def _depth_of(value: Any) -> int:
    """How deep lists are nested, at most 254."""
    depth, level = 0, [value]
    while depth < 254 and any(isinstance(item, list) for item in level):
        level = [element for item in level if isinstance(item, list) for element in item[:1000]]
        depth += 1
    return depth


def nested(tensor: Tensor) -> Any:
    """The elements as nested lists of the tensor's shape."""
    level = list(decoded(DType.of(tensor.dtype), tensor.data))
    for size in reversed(tensor.shape[1:]):
        if not size:
            return _empty(tensor.shape)
        level = [level[start : start + size] for start in range(0, len(level), size)]
    return level if tensor.shape else level[0]


def _empty(shape: tuple[int, ...]) -> Any:
    return [_empty(shape[1:]) for _ in range(shape[0])] if shape else []


def row_count(tensor: Tensor) -> int | None:
    """How many rows it has; None for a scalar."""
    return tensor.shape[0] if tensor.shape else None


def cut(tensor: Tensor, start: int, end: int) -> Tensor:
    """The rows from `start` to `end`; a scalar has none, and stays as it is."""
    if not tensor.shape:
        return tensor
    end = min(end, tensor.shape[0])
    width = prod(tensor.shape[1:])
    size = 1 if tensor.dtype == STRING else DType.of(tensor.dtype).item_bytes or 1
    data = tensor.data[start * width * size : end * width * size]
    return Tensor(tensor.dtype, (end - start, *tensor.shape[1:]), data)


def join(tensors: Sequence[Tensor]) -> Tensor:
    """The rows of all, one after the other. Raises InputError if they differ in type or shape."""
    first = tensors[0]
    if len(tensors) == 1:
        return first
    if any(
        tensor.dtype != first.dtype or tensor.shape[1:] != first.shape[1:] or not tensor.shape
        for tensor in tensors
    ):
        shapes = ", ".join(dict.fromkeys(shape_text(tensor.shape) for tensor in tensors))
        raise InputError(
            f"Cannot join values of different shapes: {shapes}",
            hint="Run them one by one; images of several sizes: --image-size",
        )
    joined: list[bytes] | bytes | None
    if any(tensor.data is None for tensor in tensors):  # Images of a dry run have shapes alone.
        joined = None
    elif first.dtype == STRING:
        joined = [element for tensor in tensors for element in tensor.data]
    else:
        joined = b"".join([bytes(tensor.data) for tensor in tensors])
    return Tensor(first.dtype, (sum(tensor.shape[0] for tensor in tensors), *first.shape[1:]), joined)
