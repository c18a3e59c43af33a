"""How tensors are laid out: element types, and slices of partitioned tensors with their keys in a bundle.

Source: tensorflow/core/framework/types.proto (names as `tf.DType.name` and NumPy write them) and
tensor_slice.proto, tensorflow/core/util/saved_tensor_slice_util.cc (EncodeTensorNameSlice) and
tensorflow/core/lib/strings/ordered_code.cc, whose encoding sorts as its values do.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import NamedTuple

from hubcli.errors import BrokenModelError
from hubcli.formats.wire import messages, varints

__all__ = [
    "DTYPE_ENUM",
    "ByteRun",
    "DType",
    "TensorBox",
    "TensorSlice",
    "fill_exactly",
    "picked",
    "slice_key",
]

_REFERENCE = 100


class DType(NamedTuple):
    """An element type. `item_bytes` is None if elements differ in size, as strings do.

    >>> DType.of(1)
    DType(number=1, name='float32', item_bytes=4)
    """

    number: int
    name: str
    item_bytes: int | None = None

    @classmethod
    def of(cls, number: int) -> DType:
        """The type of that number; one that TensorFlow 2.21 doesn't know is `unknown-NUMBER`.

        A reference type of TF1 has the number of its type plus 100.
        """
        if _REFERENCE < number < 2 * _REFERENCE:
            number -= _REFERENCE
        known = _TYPES.get(number)
        return known if known is not None else cls(number, f"unknown-{number}")

    @property
    def is_known(self) -> bool:
        """Whether TensorFlow 2.21 knows it."""
        return self.number in _TYPES

    @property
    def is_floating(self) -> bool:
        """Whether its values are real floating-point numbers."""
        return self.name.startswith(("float", "bfloat"))


_SIZES = {
    1: ("float32", 4),
    2: ("float64", 8),
    3: ("int32", 4),
    4: ("uint8", 1),
    5: ("int16", 2),
    6: ("int8", 1),
    7: ("string", None),
    8: ("complex64", 8),
    9: ("int64", 8),
    10: ("bool", 1),
    11: ("qint8", 1),
    12: ("quint8", 1),
    13: ("qint32", 4),
    14: ("bfloat16", 2),
    15: ("qint16", 2),
    16: ("quint16", 2),
    17: ("uint16", 2),
    18: ("complex128", 16),
    19: ("float16", 2),
    20: ("resource", None),
    21: ("variant", None),
    22: ("uint32", 4),
    23: ("uint64", 8),
    24: ("float8_e5m2", 1),
    25: ("float8_e4m3fn", 1),
    26: ("float8_e4m3fnuz", 1),
    27: ("float8_e4m3b11fnuz", 1),
    28: ("float8_e5m2fnuz", 1),
    # Types of less than a byte take a whole one in memory and in files.
    29: ("int4", 1),
    30: ("uint4", 1),
    31: ("int2", 1),
    32: ("uint2", 1),
    33: ("float4_e2m1fn", 1),
}
_TYPES = {number: DType(number, name, size) for number, (name, size) in _SIZES.items()}

# Names of the enum DataType where they aren't DT_ and the name in capitals.
_ENUM_NAMES = {"float32": "DT_FLOAT", "float64": "DT_DOUBLE", "float16": "DT_HALF"}
DTYPE_ENUM = {
    "DT_INVALID": 0,
    **{_ENUM_NAMES.get(name, f"DT_{name.upper()}"): number for number, (name, _) in _SIZES.items()},
}
DTYPE_ENUM |= {f"{name}_REF": number + _REFERENCE for name, number in DTYPE_ENUM.items() if number}


_MAX_RANK = 254  # tensorflow::TensorShape::MaxDimensions
_EXTENT, _START, _LENGTH = 1, 1, 2
# Bits that tell the length of a signed number, by its length in bytes.
_HEADERS = (0, 0x80, 0xC0, 0xE0, 0xF0, 0xF8, 0xFC, 0xFE, 0xFF, 0xFF80, 0xFFC0)
_ESCAPES = {b"\x00": b"\x00\xff", b"\xff": b"\xff\x00"}
_SPECIAL = rb"[\x00\xff]"


class TensorSlice(NamedTuple):
    """A box of a partitioned tensor: start and length along each dimension.

    A length of None stands for all of the dimension.
    """

    starts: tuple[int, ...]
    lengths: tuple[int | None, ...]

    @classmethod
    def decode(cls, message: bytes) -> TensorSlice:
        """The slice in a TensorSliceProto; raises BrokenModelError for an invalid one."""
        starts, lengths = list[int](), list[int | None]()
        for extent in messages(message, _EXTENT):
            numbers = varints(message, extent.start, extent.end)
            length = numbers.get(_LENGTH)
            starts.append(_signed(numbers.get(_START, 0)))
            lengths.append(None if length is None else _signed(length))
            if len(starts) > _MAX_RANK:
                raise BrokenModelError("The index has a slice of an invalid shape")
        return cls(tuple(starts), tuple(lengths))


def slice_key(name: bytes, part: TensorSlice) -> bytes:
    r"""The key of that slice of the tensor `name` in the index.

    >>> slice_key(b"v", TensorSlice((2, 0), (1, None)))
    b'\x00v\x00\x01\x01\x02\x82\x81\x80\x7f'
    """
    escaped = re.sub(_SPECIAL, lambda found: _ESCAPES[found[0]], name)
    encoded = _ordered(0) + escaped + b"\x00\x01" + _ordered(len(part.starts))
    for start, length in zip(part.starts, part.lengths, strict=True):
        encoded += _ordered_signed(start) + _ordered_signed(-1 if length is None else length)
    return encoded


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _ordered(number: int) -> bytes:
    """A number from 0 on: its length in bytes, then its bytes, big-endian."""
    size = (number.bit_length() + 7) // 8
    return bytes([size]) + number.to_bytes(size, "big")


def _ordered_signed(number: int) -> bytes:
    """A signed number: as few bytes as it needs, their count in the highest bits."""
    magnitude = ~number if number < 0 else number
    size = magnitude.bit_length() // 7 + 1
    header = _HEADERS[size] << 8 * (size - 1 if size < 9 else size - 2)
    return ((number & ((1 << 8 * size) - 1)) ^ header).to_bytes(size, "big")


# Partitioners of TensorFlow cut along one axis; each more doubles the corners of a slice.
_MAX_CUT_AXES = 6


def fill_exactly(shape: tuple[int, ...], boxes: Sequence[TensorBox]) -> bool:
    """Whether each element of a tensor of the shape is in one of the boxes and no other.

    The corners of a box, counted as positive or negative in turn, tell it from every other sum of boxes: so
    those of all boxes, summed up, must be those of the tensor. False for boxes along more than 6 axes.
    """
    cut = [axis for axis, size in enumerate(shape) if any(box.lengths[axis] != size for box in boxes)]
    if len(cut) > _MAX_CUT_AXES:
        return False
    corners: Counter[tuple[int, ...]] = Counter()
    whole = ([0] * len(shape), shape, -1)
    for starts, lengths, count in (*((box.starts, box.lengths, 1) for box in boxes), whole):
        if 0 in lengths:
            continue
        for ends in product((False, True), repeat=len(cut)):
            place = [
                starts[axis] + (lengths[axis] if is_end else 0)
                for axis, is_end in zip(cut, ends, strict=True)
            ]
            corners[tuple(place)] += -count if sum(ends) % 2 else count
    return not any(corners.values())


class ByteRun(NamedTuple):
    """Bytes of the whole tensor, from `start` to `end`."""

    start: int
    end: int


class TensorBox(NamedTuple):
    """A slice of a tensor of `shape` whose elements have `item_bytes`; `of` checks that it is inside."""

    shape: tuple[int, ...]
    starts: tuple[int, ...]
    lengths: tuple[int, ...]
    item_bytes: int

    @classmethod
    def of(cls, part: TensorSlice, shape: tuple[int, ...], item_bytes: int) -> TensorBox:
        """The box of the slice; raises BrokenModelError if it exceeds the tensor."""
        if len(part.starts) != len(shape):
            raise BrokenModelError("A slice has another rank than its tensor")
        lengths = tuple(
            size - start if length is None else length
            for start, length, size in zip(part.starts, part.lengths, shape, strict=True)
        )
        if any(
            start < 0 or length < 0 or start + length > size
            for start, length, size in zip(part.starts, lengths, shape, strict=True)
        ):
            raise BrokenModelError("A slice exceeds its tensor")
        return cls(shape, part.starts, lengths, item_bytes)

    @property
    def size_bytes(self) -> int:
        """How many bytes it holds."""
        return prod(self.lengths) * self.item_bytes

    def runs(self) -> Iterator[ByteRun]:
        """Its bytes as runs of those of the whole tensor, in ascending order."""
        if not self.size_bytes:
            return
        cut = max((axis for axis, size in enumerate(self.shape) if self.lengths[axis] != size), default=0)
        strides = [prod(self.shape[axis + 1 :]) * self.item_bytes for axis in range(len(self.shape))]
        if not self.shape:
            yield ByteRun(0, self.item_bytes)
            return
        length = self.lengths[cut] * strides[cut]
        for start in self._starts(strides, cut, 0, 0):
            yield ByteRun(start, start + length)

    def _starts(self, strides: Sequence[int], cut: int, axis: int, base: int) -> Iterator[int]:
        """Where each run begins: indices of the dimensions before `cut`, the last running fastest."""
        first = base + self.starts[axis] * strides[axis]
        if axis == cut:
            yield first
            return
        for step in range(self.lengths[axis]):
            yield from self._starts(strides, cut, axis + 1, first + step * strides[axis])


def picked(pieces: Iterator[bytes], position: int, runs: Iterator[ByteRun]) -> Iterator[bytes]:
    """The bytes of the ascending runs, from a stream that begins at `position` of the whole tensor."""
    piece = b""
    for start, end in runs:
        while start < end:
            if start >= position + len(piece):
                position += len(piece)
                piece = next(pieces, b"")
                if not piece:
                    raise BrokenModelError("a tensor is truncated")
                continue
            taken = piece[start - position : end - position]
            start += len(taken)
            yield taken
