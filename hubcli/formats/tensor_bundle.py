"""The index of a tensor bundle: which shards there are and what each must hold.

Source: tensorflow/core/protobuf/tensor_bundle.proto,
tensorflow/core/util/tensor_bundle/tensor_bundle.cc and, for the keys of
slices, tensorflow/core/util/saved_tensor_slice_util.cc.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from math import prod
from typing import NamedTuple

from hubcli.errors import BrokenModelError
from hubcli.formats.dtypes import DType
from hubcli.formats.leveldb_table import read_table
from hubcli.formats.slices import TensorSlice, slice_key
from hubcli.formats.wire import FIXED32, VARINT, messages, scan

__all__ = ["OBJECT_GRAPH_KEY", "TABLE_KEYS", "TABLE_VALUES", "BundleEntry", "BundleIndex"]

OBJECT_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
# What a checkpoint appends to the path of a table for its keys and for its values.
TABLE_KEYS, TABLE_VALUES = "/.ATTRIBUTES/table-keys", "/.ATTRIBUTES/table-values"
_MAX_SHARDS = 100_000
_MAX_ENTRIES, _MAX_SLICES = 100_000, 10_000
_MAX_RANK = 254  # tensorflow::TensorShape::MaxDimensions
_SLICE_PREFIX = b"\x00"
# Field numbers of BundleEntryProto.
_DTYPE, _SHAPE, _SHARD, _OFFSET, _SIZE, _CRC32C, _SLICES = range(1, 8)


class BundleEntry(NamedTuple):
    """A tensor: its type and shape, and where its bytes stand (shard, offset and size in bytes).

    `crc32c` is the masked checksum of its bytes. A partitioned tensor has
    `slices` and no bytes of its own: they are in the entries of its slices.
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
        """The checkpoint key as text; what is no UTF-8 in it is escaped."""
        return self.key.decode("utf-8", "backslashreplace")

    @property
    def is_slice(self) -> bool:
        """Whether it is a part of a partitioned tensor, which has an entry of its own."""
        return self.key.startswith(_SLICE_PREFIX)

    @property
    def element_count(self) -> int:
        """How many elements the shape has."""
        return prod(self.shape)


@dataclass(frozen=True)
class BundleIndex:
    """`variables.index`, read: the number of shards and the entries, sorted by key."""

    shard_count: int
    entries: tuple[BundleEntry, ...]
    is_big_endian: bool = False

    @classmethod
    def read(cls, data: bytes) -> BundleIndex:
        """The index in `data`; raises BrokenModelError where it isn't a whole one."""
        table = read_table(data)
        key, header = next(table, (None, b""))
        if key != b"":
            raise BrokenModelError("The index has no header")
        numbers = {field.number: field.value for field in scan(header) if field.wire_type == VARINT}
        shard_count = numbers.get(1, 0)
        if not 0 < shard_count <= _MAX_SHARDS:
            raise BrokenModelError(f"The index speaks of {shard_count} shards")
        shapes: dict[bytes, tuple[int, ...]] = {}  # Most tensors have one that others have, too.
        entries = tuple(_entry(key, value, shapes) for key, value in islice(table, _MAX_ENTRIES + 1))
        if len(entries) > _MAX_ENTRIES:
            raise BrokenModelError(f"The index holds more than {_MAX_ENTRIES} tensors")
        for entry in entries:
            if entry.shard >= shard_count:
                raise BrokenModelError(f"A tensor is said to be in shard {entry.shard} of {shard_count}")
        return cls(shard_count, entries, numbers.get(2, 0) == 1)

    @cached_property
    def by_name(self) -> dict[str, BundleEntry]:
        """The whole tensors by checkpoint key; slices of partitioned ones are left out."""
        return {entry.name: entry for entry in self.entries if not entry.is_slice}

    def parts(self, entry: BundleEntry) -> list[BundleEntry]:
        """The entries that hold the tensor's bytes: itself, or those of its slices in their order.

        Raises BrokenModelError where a slice has no entry.
        """
        if not entry.slices:
            return [entry]
        found = [self._by_key.get(slice_key(entry.key, one)) for one in entry.slices]
        parts = [part for part in found if part is not None]
        if len(parts) < len(found):
            raise BrokenModelError(
                f"The index lacks {len(found) - len(parts)} of {len(found)} slices of {entry.name}"
            )
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


def _entry(key: bytes, value: bytes, shapes: dict[bytes, tuple[int, ...]]) -> BundleEntry:
    numbers: dict[int, int] = {}
    shape: tuple[int, ...] = ()
    slices = []
    for field in scan(value):
        if field.wire_type == VARINT:
            numbers[field.number] = field.value
        elif field.number == _CRC32C and field.wire_type == FIXED32:
            numbers[_CRC32C] = int.from_bytes(value[field.start : field.end], "little")
        elif field.is_message(_SHAPE):
            encoded = value[field.start : field.end]
            if encoded not in shapes:
                shapes[encoded] = _shape(encoded)
            shape = shapes[encoded]
        elif field.is_message(_SLICES):
            slices.append(TensorSlice.decode(value[field.start : field.end]))
            if len(slices) > _MAX_SLICES:
                raise BrokenModelError(f"The index has a tensor in more than {_MAX_SLICES} slices")
    return BundleEntry(
        key,
        DType.of(numbers.get(_DTYPE, 0)),
        shape,
        numbers.get(_SHARD, 0),
        numbers.get(_OFFSET, 0),
        numbers.get(_SIZE, 0),
        numbers.get(_CRC32C, 0),
        tuple(slices),
    )


def _shape(encoded: bytes) -> tuple[int, ...]:
    """The sizes in a TensorShapeProto: repeated `dim` 2 with `size` 1."""
    sizes = []
    for dimension in messages(encoded, 2):
        inner = scan(encoded, dimension.start, dimension.end)
        size = {field.number: field.value for field in inner}.get(1, 0)
        sizes.append(size)
    if len(sizes) > _MAX_RANK or any(size >> 63 for size in sizes):
        raise BrokenModelError("The index has a tensor of an impossible shape")
    return tuple(sizes)
