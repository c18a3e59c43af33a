"""The index of a tensor bundle: which shards there are and what each must hold.

Source: tensorflow/core/protobuf/tensor_bundle.proto and
tensorflow/core/util/tensor_bundle/tensor_bundle.cc.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

from hubcli.errors import BrokenModelError
from hubcli.formats.table import read_table
from hubcli.formats.wire import Field, WireReader

__all__ = ["BundleEntry", "BundleIndex"]

_MAX_SHARDS = 100_000


@dataclass(frozen=True, slots=True)
class BundleEntry:
    """Where a tensor's bytes stand: shard number, offset and size in bytes."""

    key: bytes
    shard: int
    offset: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class BundleIndex:
    """`variables.index`, read: the number of shards and the entries, sorted by key."""

    shard_count: int
    entries: tuple[BundleEntry, ...]

    @classmethod
    def read(cls, data: bytes) -> BundleIndex:
        """The index in `data`; raises BrokenModelError where it isn't a whole one."""
        table = read_table(data)
        key, header = next(table, (None, b""))
        if key != b"":
            raise BrokenModelError("The index has no header")
        shard_count = dict(_numbers(header)).get(1, 0)
        if not 0 < shard_count <= _MAX_SHARDS:
            raise BrokenModelError(f"The index speaks of {shard_count} shards")
        entries = tuple(_entry(key, value) for key, value in table)
        for entry in entries:
            if entry.shard >= shard_count:
                raise BrokenModelError(f"A tensor is said to be in shard {entry.shard} of {shard_count}")
        return cls(shard_count, entries)

    def shard_name(self, shard: int) -> str:
        """File name of the shard, such as `variables.data-00000-of-00001`."""
        return f"variables.data-{shard:05d}-of-{self.shard_count:05d}"

    def shard_sizes_bytes(self) -> list[int]:
        """The least size that each shard must have for its tensors, in bytes."""
        sizes = [0] * self.shard_count
        for entry in self.entries:
            sizes[entry.shard] = max(sizes[entry.shard], entry.offset + entry.size_bytes)
        return sizes


def _numbers(message: bytes) -> Iterator[tuple[int, int]]:
    field: Field
    for field in WireReader(io.BytesIO(message), len(message)).fields():
        yield field.number, field.value


def _entry(key: bytes, value: bytes) -> BundleEntry:
    numbers = dict(_numbers(value))
    return BundleEntry(key, numbers.get(3, 0), numbers.get(4, 0), numbers.get(5, 0))
