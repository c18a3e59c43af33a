"""A decoder of Snappy's raw block format, which some index files use.

TensorFlow compresses the blocks of variables.index on platforms where it was
built with Snappy. Source: google/snappy, format_description.txt.
"""

from __future__ import annotations

from hubcli.errors import BrokenModelError
from hubcli.formats.wire import read_varint

__all__ = ["decompress"]

_MAX_OUTPUT_BYTES = 1 << 28
_OFFSET_BYTES = {1: 1, 2: 2, 3: 4}


def decompress(data: bytes) -> bytes:
    """The plain bytes of the block `data`; raises BrokenModelError where it isn't a whole one."""
    expected, position = read_varint(data, 0)
    if expected > _MAX_OUTPUT_BYTES:
        raise BrokenModelError("A compressed block claims an absurd length")
    output = bytearray()
    while position < len(data):
        tag = data[position]
        kind = tag & 3
        if kind == 0:
            length, position = _literal_length(data, position)
            if position + length > len(data):
                raise BrokenModelError("A compressed block is cut off")
            output += data[position : position + length]
            position += length
        else:
            width = _OFFSET_BYTES[kind]
            if position + 1 + width > len(data):
                raise BrokenModelError("A compressed block is cut off")
            offset = int.from_bytes(data[position + 1 : position + 1 + width], "little")
            length = (tag >> 2) + 1
            if kind == 1:
                offset |= (tag >> 5) << 8
                length = ((tag >> 2) & 7) + 4
            position += 1 + width
            _copy(output, offset, length)
        if len(output) > expected:
            break
    if len(output) != expected:
        raise BrokenModelError("A compressed block has another length than it claims")
    return bytes(output)


def _literal_length(data: bytes, position: int) -> tuple[int, int]:
    length = data[position] >> 2
    position += 1
    if length < 60:
        return length + 1, position
    width = length - 59
    return int.from_bytes(data[position : position + width], "little") + 1, position + width


def _copy(output: bytearray, offset: int, length: int) -> None:
    """Appends `length` bytes from `offset` bytes back; the two may overlap."""
    if not 0 < offset <= len(output):
        raise BrokenModelError("A compressed block points before its start")
    start = len(output) - offset
    pattern = bytes(output[start : start + length])
    repeats = -(-length // len(pattern))
    output += (pattern * repeats)[:length]
