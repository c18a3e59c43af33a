"""Slices of partitioned tensors, and the keys under which a bundle holds them.

Source: tensorflow/core/framework/tensor_slice.proto,
tensorflow/core/util/saved_tensor_slice_util.cc (EncodeTensorNameSlice) and
tensorflow/core/lib/strings/ordered_code.cc, whose encoding sorts as its values do.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from hubcli.errors import BrokenModelError
from hubcli.formats.wire import messages, scan

__all__ = ["TensorSlice", "slice_key"]

_MAX_RANK = 254  # tensorflow::TensorShape::MaxDimensions
_EXTENT, _START, _LENGTH = 1, 1, 2
# Bits that tell the length of a signed number, by its length in bytes.
_HEADERS = (0, 0x80, 0xC0, 0xE0, 0xF0, 0xF8, 0xFC, 0xFE, 0xFF, 0xFF80, 0xFFC0)
_ESCAPES = {b"\x00": b"\x00\xff", b"\xff": b"\xff\x00"}
_SPECIAL = re.compile(rb"[\x00\xff]")


class TensorSlice(NamedTuple):
    """A box of a partitioned tensor: start and length along each dimension.

    A length of None stands for all of the dimension.
    """

    starts: tuple[int, ...]
    lengths: tuple[int | None, ...]

    @classmethod
    def decode(cls, message: bytes) -> TensorSlice:
        """The slice in a TensorSliceProto; raises BrokenModelError where it isn't one."""
        starts, lengths = list[int](), list[int | None]()
        for extent in messages(message, _EXTENT):
            fields = scan(message, extent.start, extent.end)
            numbers = {field.number: _signed(field.value) for field in fields}
            starts.append(numbers.get(_START, 0))
            lengths.append(numbers.get(_LENGTH))
            if len(starts) > _MAX_RANK:
                raise BrokenModelError("The index has a slice of an impossible shape")
        return cls(tuple(starts), tuple(lengths))


def slice_key(name: bytes, part: TensorSlice) -> bytes:
    r"""The key under which the bytes of that slice of the tensor `name` stand.

    >>> slice_key(b"v", TensorSlice((2, 0), (1, None)))
    b'\x00v\x00\x01\x01\x02\x82\x81\x80\x7f'
    """
    escaped = _SPECIAL.sub(lambda found: _ESCAPES[found[0]], name)
    encoded = _ordered(0) + escaped + b"\x00\x01" + _ordered(len(part.starts))
    for start, length in zip(part.starts, part.lengths, strict=True):
        encoded += _ordered_signed(start) + _ordered_signed(-1 if length is None else length)
    return encoded


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _ordered(number: int) -> bytes:
    """A number from 0 on: its length in bytes, then its bytes, the highest first."""
    size = (number.bit_length() + 7) // 8
    return bytes([size]) + number.to_bytes(size, "big")


def _ordered_signed(number: int) -> bytes:
    """A signed number: as few bytes as it needs, their count in the highest bits."""
    magnitude = ~number if number < 0 else number
    size = magnitude.bit_length() // 7 + 1
    header = _HEADERS[size] << 8 * (size - 1 if size < 9 else size - 2)
    return ((number & ((1 << 8 * size) - 1)) ^ header).to_bytes(size, "big")
