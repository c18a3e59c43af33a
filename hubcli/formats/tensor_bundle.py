"""The index of a tensor bundle, a LevelDB-style table: which shards there are and what each must hold.

Source: leveldb/doc/table_format.md and tensorflow/core/lib/io/table.cc for the table;
tensorflow/core/protobuf/tensor_bundle.proto, tensorflow/core/util/tensor_bundle/tensor_bundle.cc and, for
the keys of slices, tensorflow/core/util/saved_tensor_slice_util.cc. All numbers are checked against the
file before they are used.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from math import prod
from typing import NamedTuple

from hubcli.errors import BrokenModelError
from hubcli.formats.checksums import masked_crc32c
from hubcli.formats.tensor_layout import DType, TensorBox, TensorSlice, fill_exactly, slice_key
from hubcli.formats.wire import FIXED32, VARINT, messages, read_varint, scan, varints

__all__ = [
    "OBJECT_GRAPH_KEY",
    "TABLE_KEYS",
    "TABLE_VALUES",
    "BundleEntry",
    "BundleIndex",
    "decompress",
    "read_table",
]

_MAX_OUTPUT_BYTES = 1 << 28
_OFFSET_BYTES = {1: 1, 2: 2, 3: 4}


def decompress(data: bytes) -> bytes:
    """The decompressed bytes of a Snappy block; raises BrokenModelError for an invalid or truncated one."""
    expected, position = read_varint(data, 0)
    if expected > _MAX_OUTPUT_BYTES:
        raise BrokenModelError("A compressed block has an invalid length")
    output = bytearray()
    while position < len(data):
        tag = data[position]
        kind = tag & 3
        if kind == 0:
            length, position = _literal_length(data, position)
            if position + length > len(data):
                raise BrokenModelError("A compressed block is truncated")
            output += data[position : position + length]
            position += length
        else:
            width = _OFFSET_BYTES[kind]
            if position + 1 + width > len(data):
                raise BrokenModelError("A compressed block is truncated")
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
        raise BrokenModelError("A compressed block has the wrong length")
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
# The limit for all keys together: they share prefixes, so that a small file may stand for gigabytes of keys.
_MAX_KEY_BYTES = 1 << 25
_PLAIN, _SNAPPY = 0, 1


class _BlockHandle(NamedTuple):
    """The place of a block: offset and size in bytes, without its trailer."""

    offset: int
    size: int

    @classmethod
    def decode(cls, data: bytes) -> tuple[_BlockHandle, int]:
        offset, position = read_varint(data, 0)
        size, position = read_varint(data, position)
        return cls(offset, size), position


def read_table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of the table, sorted by key; each block's checksum is verified.

    TensorFlow looks a key up by the keys of the index and by the restarts of a block: a table in which it
    would find another value, or none, is refused. Raises BrokenModelError for a table that is invalid or
    truncated.
    """
    if len(data) < _FOOTER_BYTES or struct.unpack("<Q", data[-8:])[0] != _MAGIC:
        raise BrokenModelError("The index has no valid footer: it is truncated, or not an index")
    footer = data[-_FOOTER_BYTES:]
    _, used = _BlockHandle.decode(footer)
    index, _ = _BlockHandle.decode(footer[used:])
    previous: bytes | None = None
    free, key_bytes = 0, 0
    for last, encoded in _entries(_block(data, index)):
        handle, _ = _BlockHandle.decode(encoded)
        if handle.offset < free:
            raise BrokenModelError("The index has overlapping blocks")
        free = handle.offset + handle.size
        for key, value in _entries(_block(data, handle)):
            if previous is not None and key <= previous:
                raise BrokenModelError("The index has keys out of order")
            key_bytes += len(key)
            if key_bytes > _MAX_KEY_BYTES:
                raise BrokenModelError(f"The index has more than {_MAX_KEY_BYTES} bytes of keys")
            previous = key
            yield key, value
        if previous is not None and last < previous:
            raise BrokenModelError("The index has keys out of order")
        previous = last


def _block(data: bytes, handle: _BlockHandle) -> bytes:
    end = handle.offset + handle.size
    if end + _TRAILER_BYTES > len(data) - _FOOTER_BYTES:
        raise BrokenModelError("The index points to a block beyond its end")
    kind = data[end]
    stored = struct.unpack("<I", data[end + 1 : end + _TRAILER_BYTES])[0]
    if masked_crc32c(data[handle.offset : end + 1]) != stored:
        raise BrokenModelError(
            f"The index is corrupt: checksum mismatch of its block at byte {handle.offset}"
        )
    if kind not in (_PLAIN, _SNAPPY):
        raise BrokenModelError(f"The index has a block of unknown type {kind}")
    block = data[handle.offset : end]
    return decompress(block) if kind == _SNAPPY else block


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    if len(block) < 4:
        raise BrokenModelError("The index has a block without an end")
    count = struct.unpack("<I", block[-4:])[0]
    end = len(block) - 4 - 4 * count
    if end < 0:
        raise BrokenModelError("The index has a block without an end")
    if end and not 0 < count <= end:
        raise BrokenModelError("The index has a block whose restarts are not where its entries are")
    restarts = struct.unpack_from(f"<{count}I", block, end) if end else ()
    key, position, found = b"", 0, 0
    while position < end:
        start = position
        shared, position = read_varint(block, position)
        if found < count and restarts[found] == start and not shared:
            found += 1
        unshared, position = read_varint(block, position)
        length, position = read_varint(block, position)
        stop = position + unshared + length
        if shared > len(key) or stop > end:
            raise BrokenModelError("The index has an entry beyond the end of its block")
        key = key[:shared] + block[position : position + unshared]
        yield key, block[position + unshared : stop]
        position = stop
    if found < len(restarts) or restarts[:1] not in ((), (0,)):
        raise BrokenModelError("The index has a block whose restarts are not where its entries are")


OBJECT_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
# The suffixes of a hash table's path in a checkpoint, for its keys and for its values.
TABLE_KEYS, TABLE_VALUES = "/.ATTRIBUTES/table-keys", "/.ATTRIBUTES/table-values"
_MAX_SHARDS = 100_000
_MAX_ENTRIES, _MAX_SLICES = 100_000, 10_000
_MAX_RANK = 254  # tensorflow::TensorShape::MaxDimensions
_SLICE_PREFIX = b"\x00"
_INT32 = (1 << 32) - 1  # What protobuf reads of a number of that type, and of an enum.
# Field numbers of BundleEntryProto.
_DTYPE, _SHAPE, _SHARD, _OFFSET, _SIZE, _CRC32C, _SLICES = range(1, 8)


class BundleEntry(NamedTuple):
    """A tensor: its type and shape, and the place of its bytes (shard, offset and size in bytes).

    `crc32c` is the masked checksum of its bytes. A partitioned tensor has `slices` and no bytes of its own:
    they are in the entries of its slices.
    """

    key: bytes
    dtype: DType
    shape: tuple[int, ...]
    shard: int
    offset: int
    size_bytes: int
    crc32c: int
    slices: tuple[TensorSlice, ...] = ()

    @property
    def name(self) -> str:
        """The checkpoint key as text; bytes that are not UTF-8 are escaped."""
        return self.key.decode("utf-8", "backslashreplace")

    @property
    def is_slice(self) -> bool:
        """Whether it is a slice of a partitioned tensor, which has an entry of its own."""
        return self.key.startswith(_SLICE_PREFIX)

    @property
    def element_count(self) -> int:
        """How many elements the shape has."""
        return prod(self.shape)


class _BundleIndex(NamedTuple):
    shard_count: int
    entries: tuple[BundleEntry, ...]
    is_big_endian: bool = False


class BundleIndex(_BundleIndex):  # In a class of its own: named tuples have no place for cached properties.
    """`variables.index`, read: the number of shards and the entries, sorted by key."""

    @classmethod
    def read(cls, data: bytes) -> BundleIndex:
        """The index in `data`; raises BrokenModelError for an invalid or truncated one."""
        table = read_table(data)
        key, header = next(table, (None, b""))
        if key != b"":
            raise BrokenModelError("The index has no header")
        numbers = varints(header)
        shard_count = numbers.get(1, 0) & _INT32
        if not 0 < shard_count <= _MAX_SHARDS:
            raise BrokenModelError(f"The index has {shard_count} shards")
        shapes: dict[bytes, tuple[int, ...]] = {}  # Decoded once: most tensors share theirs with others.
        entries = tuple(_entry(key, value, shapes) for key, value in islice(table, _MAX_ENTRIES + 1))
        if len(entries) > _MAX_ENTRIES:
            raise BrokenModelError(f"The index has more than {_MAX_ENTRIES} tensors")
        for entry in entries:
            if entry.shard >= shard_count:
                raise BrokenModelError(f"A tensor is recorded in shard {entry.shard} of {shard_count}")
        return cls(shard_count, entries, numbers.get(2, 0) & _INT32 == 1)

    @cached_property
    def by_name(self) -> dict[str, BundleEntry]:
        """The whole tensors by checkpoint key; slices of partitioned ones are left out."""
        return {entry.name: entry for entry in self.entries if not entry.is_slice}

    def parts(self, entry: BundleEntry) -> list[BundleEntry]:
        """The entries with the tensor's bytes: its own, or those of its slices in their order.

        Raises BrokenModelError if a slice has no entry, or the slices aren't the tensor.
        """
        if not entry.slices:
            return [entry]
        # Each slice has a key of its own, which begins with that of the tensor, and all are in the index.
        is_possible = len(set(entry.slices)) == len(entry.slices)
        if not is_possible or len(entry.slices) * len(entry.key) > _MAX_KEY_BYTES:
            raise _wrong_slices(entry)
        found = [self._by_key.get(slice_key(entry.key, tensor_slice)) for tensor_slice in entry.slices]
        parts = [part for part in found if part is not None]
        if len(parts) < len(found):
            raise BrokenModelError(
                f"The index lacks {len(found) - len(parts)} of {len(found)} slices of {entry.name}"
            )
        boxes = [TensorBox.of(part, entry.shape, 1) for part in entry.slices]
        are_alike = all(
            (part.dtype, part.element_count) == (entry.dtype, box.size_bytes)
            for part, box in zip(parts, boxes, strict=True)
        )
        if not are_alike or not fill_exactly(entry.shape, boxes):
            raise _wrong_slices(entry)
        return parts

    @cached_property
    def _by_key(self) -> dict[bytes, BundleEntry]:
        return {entry.key: entry for entry in self.entries}

    def shard_name(self, shard: int, prefix: str = "variables") -> str:
        """File name of the shard, such as `variables.data-00000-of-00001`."""
        return f"{prefix}.data-{shard:05d}-of-{self.shard_count:05d}"

    def shard_sizes_bytes(self) -> list[int]:
        """The least size that each shard must have for its tensors, in bytes."""
        sizes = [0] * self.shard_count
        for entry in self.entries:
            sizes[entry.shard] = max(sizes[entry.shard], entry.offset + entry.size_bytes)
        return sizes


def _wrong_slices(entry: BundleEntry) -> BrokenModelError:
    return BrokenModelError(f"The index has slices of {entry.name} that do not make up the tensor")


def _entry(key: bytes, value: bytes, shapes: dict[bytes, tuple[int, ...]]) -> BundleEntry:
    numbers: dict[int, int] = {}
    encoded_shape = b""
    slices = []
    for field in scan(value):
        if field.wire_type == VARINT:
            numbers[field.number] = field.value
        elif field.number == _CRC32C and field.wire_type == FIXED32:
            numbers[_CRC32C] = int.from_bytes(value[field.start : field.end], "little")
        elif field.is_message(_SHAPE):
            encoded_shape += value[field.start : field.end]  # Protobuf joins a message in pieces.
        elif field.is_message(_SLICES):
            slices.append(TensorSlice.decode(value[field.start : field.end]))
            if len(slices) > _MAX_SLICES:
                raise BrokenModelError(f"The index has a tensor in more than {_MAX_SLICES} slices")
    if encoded_shape not in shapes:
        shapes[encoded_shape] = _shape(encoded_shape)
    return BundleEntry(
        key,
        DType.of(numbers.get(_DTYPE, 0) & _INT32),
        shapes[encoded_shape],
        numbers.get(_SHARD, 0) & _INT32,
        numbers.get(_OFFSET, 0),
        numbers.get(_SIZE, 0),
        numbers.get(_CRC32C, 0),
        tuple(slices),
    )


def _shape(encoded: bytes) -> tuple[int, ...]:
    """The sizes in a TensorShapeProto: repeated `dim` 2 with `size` 1; `unknown_rank` is 3."""
    dimensions = messages(encoded, 2)
    sizes = [varints(encoded, dimension.start, dimension.end).get(1, 0) for dimension in dimensions]
    if len(sizes) > _MAX_RANK or any(size >> 63 for size in sizes) or varints(encoded).get(3):
        raise BrokenModelError("The index has a tensor of an invalid shape")
    return tuple(sizes)
