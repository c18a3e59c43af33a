"""A reader of .safetensors files.

Source: https://github.com/huggingface/safetensors#format: the length of the header in 8 bytes, the
header as JSON, then all tensors one after the other, little-endian and in C order, without gaps.
"""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

from hubcli.errors import BrokenModelError
from hubcli.formats.dtypes import DTYPE_ENUM, DType
from hubcli.formats.tensor_values import FileValues, TensorValues
from hubcli.regular_file import open_regular

__all__ = ["read_safetensors"]

_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 16 << 20  # The format allows 100 MB; as Python's objects they would fill the memory.
_MAX_RANK = 64
_METADATA = "__metadata__"
_NAMES = {
    "BOOL": "DT_BOOL",
    "U8": "DT_UINT8",
    "I8": "DT_INT8",
    "U16": "DT_UINT16",
    "I16": "DT_INT16",
    "U32": "DT_UINT32",
    "I32": "DT_INT32",
    "U64": "DT_UINT64",
    "I64": "DT_INT64",
    "F16": "DT_HALF",
    "BF16": "DT_BFLOAT16",
    "F32": "DT_FLOAT",
    "F64": "DT_DOUBLE",
    "C64": "DT_COMPLEX64",
    "F8_E5M2": "DT_FLOAT8_E5M2",
    "F8_E4M3": "DT_FLOAT8_E4M3FN",
}


def read_safetensors(path: Path) -> dict[str, TensorValues]:
    """The tensors of the file by name; read is its header alone.

    Raises BrokenModelError where the header isn't one, or its tensors overlap,
    leave gaps or leave the file; OSError.
    """
    size_bytes = path.stat().st_size
    header, start = _header(path, size_bytes)
    tensors: dict[str, TensorValues] = {}
    places = []
    for name, value in header.items():
        if name == _METADATA:
            continue
        dtype, shape, first, last = _described(name, value)
        values = FileValues(name, dtype, shape, path, start + first)
        if last - first != values.size_bytes:
            raise BrokenModelError(f"{name} has {last - first} bytes; its shape takes {values.size_bytes}")
        tensors[name] = values
        places.append((first, last))
    position = 0
    for first, last in sorted(places):
        if first != position:
            raise BrokenModelError(f"{path.name} has tensors that overlap or leave gaps")
        position = last
    if start + position != size_bytes:
        raise BrokenModelError(f"{path.name} has {size_bytes} bytes; its header says {start + position}")
    return tensors


def _header(path: Path, size_bytes: int) -> tuple[dict[str, Any], int]:
    """The header, and where the tensors begin."""
    with open_regular(path, is_buffered=True) as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if length > min(_MAX_HEADER_BYTES, size_bytes - _LENGTH_BYTES):
            raise BrokenModelError(f"{path.name} can't be read as safetensors: its header has no such length")
        encoded = file.read(length)
    try:
        header = json.loads(encoded.decode("utf-8"), object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise BrokenModelError(f"{path.name} can't be read as safetensors: {error}") from error
    if not isinstance(header, dict):
        raise BrokenModelError(f"{path.name} can't be read as safetensors: its header is no object")
    return header, _LENGTH_BYTES + length


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in its header")
    return found


def _described(name: str, value: Any) -> tuple[DType, tuple[int, ...], int, int]:
    """Type, shape, start and end of the tensor."""
    if not isinstance(value, dict):
        raise BrokenModelError(f"{name} is described by no object")
    label = value.get("dtype")
    if not isinstance(label, str) or label not in _NAMES:
        raise BrokenModelError(f"{name} is of the type {str(label)[:20]!r}, which no variable has")
    shape, offsets = _numbers(value.get("shape")), _numbers(value.get("data_offsets"))
    if shape is None or prod(shape) >> 60 or offsets is None or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise BrokenModelError(f"{name} has an impossible shape or place")
    return DType.of(DTYPE_ENUM[_NAMES[label]]), shape, offsets[0], offsets[1]


def _numbers(value: Any) -> tuple[int, ...] | None:
    """A short list of numbers from 0 on; None for anything else."""
    if not isinstance(value, list) or len(value) > _MAX_RANK:
        return None
    if not all(type(number) is int and 0 <= number < 1 << 63 for number in value):
        return None
    return tuple(value)
