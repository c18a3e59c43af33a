"""A reader of LevelDB-style tables, the format of a tensor bundle's index.

Source: leveldb/doc/table_format.md and tensorflow/core/lib/io/table.cc. All
numbers are checked against the file before they are used.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from hubcli.errors import BrokenModelError
from hubcli.formats.crc32c import masked_crc32c
from hubcli.formats.wire import read_varint

__all__ = ["decompress", "read_table"]

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


_FOOTER_BYTES = 48
_MAGIC = 0xDB4775248B80FB57
_TRAILER_BYTES = 5
# Of all keys together: they share beginnings, so that a small file can stand for gigabytes of them.
_MAX_KEY_BYTES = 1 << 25
_PLAIN, _SNAPPY = 0, 1


class _BlockHandle(NamedTuple):
    """Where a block stands: offset and size in bytes, without its trailer."""

    offset: int
    size: int

    @classmethod
    def decode(cls, data: bytes) -> tuple[_BlockHandle, int]:
        offset, position = read_varint(data, 0)
        size, position = read_varint(data, position)
        return cls(offset, size), position


def read_table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of the table, sorted by key; each block's checksum is verified.

    Raises BrokenModelError for anything that isn't a whole table.
    """
    if len(data) < _FOOTER_BYTES or struct.unpack("<Q", data[-8:])[0] != _MAGIC:
        raise BrokenModelError("The index doesn't end like one: cut short, or something else")
    footer = data[-_FOOTER_BYTES:]
    _, used = _BlockHandle.decode(footer)
    index, _ = _BlockHandle.decode(footer[used:])
    previous, free, key_bytes = None, 0, 0
    for _, encoded in _entries(_block(data, index)):
        handle, _ = _BlockHandle.decode(encoded)
        if handle.offset < free:
            raise BrokenModelError("The index names blocks that overlap")
        free = handle.offset + handle.size
        for key, value in _entries(_block(data, handle)):
            if previous is not None and key <= previous:
                raise BrokenModelError("The index holds keys out of order")
            key_bytes += len(key)
            if key_bytes > _MAX_KEY_BYTES:
                raise BrokenModelError(f"The index holds more than {_MAX_KEY_BYTES} bytes of keys")
            previous = key
            yield key, value


def _block(data: bytes, handle: _BlockHandle) -> bytes:
    end = handle.offset + handle.size
    if end + _TRAILER_BYTES > len(data) - _FOOTER_BYTES:
        raise BrokenModelError("The index names a block beyond its end")
    kind = data[end]
    stored = struct.unpack("<I", data[end + 1 : end + _TRAILER_BYTES])[0]
    if masked_crc32c(data[handle.offset : end + 1]) != stored:
        raise BrokenModelError(f"The index is damaged: checksum of its block at byte {handle.offset}")
    if kind not in (_PLAIN, _SNAPPY):
        raise BrokenModelError(f"The index has a block of unknown type {kind}")
    block = data[handle.offset : end]
    return decompress(block) if kind == _SNAPPY else block


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    if len(block) < 4:
        raise BrokenModelError("The index has a block without an end")
    restarts = struct.unpack("<I", block[-4:])[0]
    end = len(block) - 4 - 4 * restarts
    if end < 0:
        raise BrokenModelError("The index has a block without an end")
    key, position = b"", 0
    while position < end:
        shared, position = read_varint(block, position)
        unshared, position = read_varint(block, position)
        length, position = read_varint(block, position)
        stop = position + unshared + length
        if shared > len(key) or stop > end:
            raise BrokenModelError("The index has an entry that leaves its block")
        key = key[:shared] + block[position : position + unshared]
        yield key, block[position + unshared : stop]
        position = stop
