"""Writers of what hubcli/formats reads: tables with good checksums and any content.

Fuzzed bytes that a checksum gives away never reach the code behind it; these
are sealed after the damage was done.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from hubcli.errors import BrokenModelError
from hubcli.formats.checksums import masked_crc32c
from hubcli.formats.tensor_bundle import decompress
from hubcli.formats.wire import read_varint

__all__ = [
    "PLAIN",
    "SNAPPY",
    "bundle_entry",
    "bundle_header",
    "delimited",
    "entries_block",
    "index_of",
    "number",
    "snappy_literal",
    "table",
    "varint",
]

PLAIN, SNAPPY = 0, 1
_MAGIC = 0xDB4775248B80FB57


def varint(value: int) -> bytes:
    """The number in protobuf's and LevelDB's form."""
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def number(field: int, value: int) -> bytes:
    """A varint field of a message."""
    return varint(field << 3) + varint(value)


def delimited(field: int, body: bytes) -> bytes:
    """A field of a message that holds bytes, text or a message."""
    return varint(field << 3 | 2) + varint(len(body)) + body


def bundle_header(shards: int) -> bytes:
    """What stands under the empty key."""
    return number(1, shards) + delimited(3, number(1, 1))


def bundle_entry(shard: int, offset: int, size: int) -> bytes:
    """What stands under the key of a tensor of floats."""
    return number(1, 1) + number(3, shard) + number(4, offset) + number(5, size)


def entries_block(entries: Sequence[tuple[bytes, bytes]], *, restarts: int = 1) -> bytes:
    """A block of keys and values, each key as what it doesn't share with the one before."""
    out, previous = b"", b""
    for key, value in entries:
        shared = 0
        while shared < min(len(key), len(previous)) and key[shared] == previous[shared]:
            shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        previous = key
    return out + bytes(4 * restarts) + struct.pack("<I", restarts)


def snappy_literal(data: bytes) -> bytes:
    """The data in Snappy's form, nothing compressed."""
    size = len(data)
    return varint(size) + (b"\xfc" + struct.pack("<I", size - 1) + data if size else b"")


def table(
    blocks: Sequence[bytes],
    *,
    kind: int = PLAIN,
    order: Sequence[int] | None = None,
    index: bytes | None = None,
) -> bytes:
    """A table of the blocks, sealed. `order` names blocks for the index; `index` stands in its place."""
    out, handles = b"", []
    for block in blocks:
        handles.append(varint(len(out)) + varint(len(block)))
        out += _sealed(block, kind)
    named = range(len(blocks)) if order is None else order
    if index is None:
        keys = [_last_key(blocks[block], kind) for block in named]
        # As TensorFlow has it, the last name may be longer than the last key.
        keys[-1:] = [key + b"\xff" for key in keys[-1:]]
        index = entries_block([(key, handles[block]) for key, block in zip(keys, named, strict=True)])
    place = varint(0) + varint(0) + varint(len(out)) + varint(len(index))
    return out + _sealed(index, PLAIN) + place.ljust(40, b"\0") + struct.pack("<Q", _MAGIC)


def _last_key(block: bytes, kind: int) -> bytes:
    """The last key of a block; an empty one if it isn't a block."""
    key, position = b"", 0
    try:
        block = decompress(block) if kind == SNAPPY else block
        end = len(block) - 4 - 4 * int.from_bytes(block[-4:], "little")
        while position < end:
            shared, position = read_varint(block, position)
            unshared, position = read_varint(block, position)
            length, position = read_varint(block, position)
            key = key[:shared] + block[position : position + unshared]
            position += unshared + length
    except BrokenModelError:
        return b""
    return key


def _sealed(block: bytes, kind: int) -> bytes:
    typed = block + bytes([kind])
    return typed + struct.pack("<I", masked_crc32c(typed))


def index_of(entries: Sequence[tuple[bytes, bytes]], *, shards: int = 1) -> bytes:
    """A bundle's index with the entries."""
    return table([entries_block([(b"", bundle_header(shards)), *entries])])
