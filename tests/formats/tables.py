"""Writers of what hubcli/formats reads: tables with good checksums and any content.

Fuzzed bytes that a checksum gives away never reach the code behind it; these
are sealed after the damage was done.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from hubcli.formats.checksums import masked_crc32c

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
        index = entries_block([(b"%08d" % place, handles[block]) for place, block in enumerate(named)])
    place = varint(0) + varint(0) + varint(len(out)) + varint(len(index))
    return out + _sealed(index, PLAIN) + place.ljust(40, b"\0") + struct.pack("<Q", _MAGIC)


def _sealed(block: bytes, kind: int) -> bytes:
    typed = block + bytes([kind])
    return typed + struct.pack("<I", masked_crc32c(typed))


def index_of(entries: Sequence[tuple[bytes, bytes]], *, shards: int = 1) -> bytes:
    """A bundle's index with the entries."""
    return table([entries_block([(b"", bundle_header(shards)), *entries])])
