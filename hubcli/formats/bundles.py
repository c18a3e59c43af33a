"""Tensor bundles on disk: read as streams of tensors, and written piece by piece, the index last.

Partitioned tensors are read as a whole. Source: tensor_bundle.proto and
tensorflow/core/util/tensor_bundle/tensor_bundle.cc (BundleWriter: tensors stand one after the other,
unaligned). The index is a table as TensorFlow writes it, byte for byte and uncompressed:
leveldb/doc/table_format.md, tensorflow's io/table_builder.cc, block_builder.cc and table_options.h
(blocks of 256 KiB, every 16th key whole).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from heapq import merge
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from hubcli.errors import BrokenModelError, ChecksumError
from hubcli.formats.checksums import masked_crc32c
from hubcli.formats.tensor_bundle import OBJECT_GRAPH_KEY, BundleEntry, BundleIndex
from hubcli.formats.tensor_layout import ByteRun, TensorBox, TensorSlice
from hubcli.formats.tensor_values import (
    PIECE_BYTES,
    TensorValues,
    check_size,
    check_tensor,
    file_pieces,
    masked_crc_of_tensor,
)
from hubcli.formats.wire import FIXED32, encode_field, encode_varint
from hubcli.regular_file import open_regular, read_regular, write_all

__all__ = ["Bundle", "BundleValues", "ShardWriter", "TableWriter", "write_index"]

_MAX_INDEX_BYTES = 1 << 28


class Bundle:
    """A tensor bundle on disk: its index, and the shards beside it."""

    def __init__(self, folder: Path, prefix: str, index: BundleIndex) -> None:
        self.folder = folder
        self.prefix = prefix
        self.index = index

    @classmethod
    def open(cls, folder: Path, prefix: str) -> Bundle:
        """The bundle whose index is `<prefix>.index` in the folder.

        Raises BrokenModelError for an invalid one, and for a big-endian one; OSError.
        """
        file = folder / f"{prefix}.index"
        if file.stat().st_size > _MAX_INDEX_BYTES:
            raise BrokenModelError(f"{file.name} is larger than 256 MiB")
        try:
            index = BundleIndex.read(read_regular(file, _MAX_INDEX_BYTES))
        except BrokenModelError as error:
            raise BrokenModelError(f"{file.name}: {error.message}") from error
        if index.is_big_endian:
            raise BrokenModelError(
                f"{file.name} has big-endian numbers, which are not supported",
                hint="Save the model again with TensorFlow on a little-endian machine.",
            )
        return cls(folder, prefix, index)

    def shard(self, number: int) -> Path:
        """The file of that shard."""
        return self.folder / self.index.shard_name(number, self.prefix)

    def values(self) -> dict[str, TensorValues]:
        """Every whole tensor by its key, but for the object graph."""
        entries = self.index.by_name
        return {
            name: BundleValues(self, entry) for name, entry in entries.items() if name != OBJECT_GRAPH_KEY
        }

    def part_pieces(self, entry: BundleEntry) -> Iterator[bytes]:
        """The bytes of one entry as its shard has them."""
        return file_pieces(self.shard(entry.shard), entry.offset, entry.offset + entry.size_bytes)


class BundleValues(TensorValues):
    """A tensor of a bundle."""

    def __init__(self, bundle: Bundle, entry: BundleEntry) -> None:
        self._bundle = bundle
        self._entry = entry
        super().__init__(entry.name, entry.dtype, entry.shape, None if entry.slices else entry.size_bytes)
        if not entry.slices:
            try:
                check_size(entry)
            except BrokenModelError as error:
                raise BrokenModelError(f"{entry.name}: {error.message}") from error

    @property
    def crc32c(self) -> int | None:
        """As the base class says."""
        return None if self._entry.slices else self._entry.crc32c

    def pieces(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """As the base class says; only a complete read compares the checksum."""
        entry, end = self._entry, self.size_bytes if end is None else end
        if entry.slices:
            return self._joined(start, end)
        return file_pieces(self._bundle.shard(entry.shard), entry.offset + start, entry.offset + end)

    def verify(self) -> None:
        """As the base class says."""
        try:
            for part in self._bundle.index.parts(self._entry):
                check_tensor(part, self._bundle.part_pieces(part))
        except BrokenModelError as error:
            raise ChecksumError(f"{self.key}: {error.message}") from error

    def _joined(self, start: int, end: int) -> Iterator[bytes]:
        """The runs of all slices in the order of the whole tensor; they must cover it, each byte once."""
        places = merge(*self._places())  # Lazily: a slice may have millions of runs.
        position = 0
        with ExitStack() as stack:
            shards: dict[int, int] = {}
            for run, shard, offset in places:
                if run.start != position:
                    raise BrokenModelError(f"{self.key}: its slices do not cover the whole tensor")
                position = run.end
                if shard not in shards:
                    file = stack.enter_context(open_regular(self._bundle.shard(shard)))
                    shards[shard] = file.fileno()
                first, last = max(run.start, start), min(run.end, end)
                yield from _range(shards[shard], offset + first - run.start, last - first)
        if position != self.size_bytes:
            raise BrokenModelError(f"{self.key}: its slices do not cover the whole tensor")

    def _places(self) -> Iterator[Iterator[tuple[ByteRun, int, int]]]:
        """For each slice its runs, each with its shard and the offset of its bytes there."""
        entry, item_bytes = self._entry, self._entry.dtype.item_bytes
        if item_bytes is None:
            raise BrokenModelError(f"{self.key} is partitioned, and its elements differ in size")
        parts = self._bundle.index.parts(entry)
        for tensor_slice, part in zip(entry.slices, parts, strict=True):
            box = TensorBox.of(tensor_slice, entry.shape, item_bytes)
            if box.size_bytes != part.size_bytes:
                raise BrokenModelError(f"{self.key}: a slice of it has the wrong size")
            yield _placed(box, part)


def _placed(box: TensorBox, part: BundleEntry) -> Iterator[tuple[ByteRun, int, int]]:
    offset = part.offset
    for run in box.runs():
        yield run, part.shard, offset
        offset += run.end - run.start


def _range(file: int, offset: int, size_bytes: int) -> Iterator[bytes]:
    while size_bytes > 0:
        wanted_bytes = min(PIECE_BYTES, size_bytes)
        piece = os.pread(file, wanted_bytes, offset)
        if len(piece) < wanted_bytes:
            raise BrokenModelError("a shard is truncated within a slice")
        yield piece
        offset, size_bytes = offset + wanted_bytes, size_bytes - wanted_bytes


_BLOCK_BYTES = 262_144
_RESTART_INTERVAL = 16
_PLAIN = b"\x00"
_MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
_HANDLES_BYTES = 40


class TableWriter:
    """Writes keys and values to a file, a block at a time; the keys must come sorted.

    The file is incomplete until `finish`. Raises OSError.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._position = 0
        self._block = _Block(_RESTART_INTERVAL)
        self._index = _Block(1)
        self._last_key = b""
        self._pending: bytes | None = None

    def add(self, key: bytes, value: bytes) -> None:
        """One more entry; its key must be greater than that of the one before."""
        self._name_pending_block(_separator(self._last_key, key))
        self._block.add(key, value)
        self._last_key = key
        if self._block.size_bytes >= _BLOCK_BYTES:
            self._flush()

    def finish(self) -> None:
        """Writes what is left, the index of blocks and the footer."""
        self._flush()
        metaindex = self._write(_Block(_RESTART_INTERVAL))
        self._name_pending_block(_successor(self._last_key))
        handles = metaindex + self._write(self._index)
        self._file.write(handles.ljust(_HANDLES_BYTES, b"\x00") + _MAGIC)

    def _flush(self) -> None:
        if self._block.has_entries:
            self._pending = self._write(self._block)
            self._block = _Block(_RESTART_INTERVAL)

    def _name_pending_block(self, key: bytes) -> None:
        """Adds the block written last to the index, under a key not less than any of its own."""
        if self._pending is not None:
            self._index.add(key, self._pending)
            self._pending = None

    def _write(self, block: _Block) -> bytes:
        """Writes the block and its trailer; returns its handle: offset and size as varints."""
        sealed = block.encode() + _PLAIN
        handle = encode_varint(self._position) + encode_varint(len(sealed) - 1)
        self._file.write(sealed + struct.pack("<I", masked_crc32c(sealed)))
        self._position += len(sealed) + 4
        return handle


class _Block:
    """Entries whose keys are shortened by the prefix that they share with the key before, but every n-th."""

    def __init__(self, restart_interval: int) -> None:
        self._interval = restart_interval
        self._data = bytearray()
        self._restarts = [0]
        self._since_restart = 0
        self._last_key = b""

    @property
    def has_entries(self) -> bool:
        return bool(self._data)

    @property
    def size_bytes(self) -> int:
        return len(self._data) + 4 * len(self._restarts) + 4

    def add(self, key: bytes, value: bytes) -> None:
        shared = 0
        if self._since_restart < self._interval:
            shared = _shared_bytes(self._last_key, key)
        else:
            self._restarts.append(len(self._data))
            self._since_restart = 0
        self._data += encode_varint(shared) + encode_varint(len(key) - shared) + encode_varint(len(value))
        self._data += key[shared:] + value
        self._last_key = key
        self._since_restart += 1

    def encode(self) -> bytes:
        count = len(self._restarts)
        return bytes(self._data) + struct.pack(f"<{count + 1}I", *self._restarts, count)


def _shared_bytes(left: bytes, right: bytes) -> int:
    """The length of the common prefix, in bytes."""
    limit = min(len(left), len(right))
    if left[:limit] == right[:limit]:
        return limit
    return next(place for place in range(limit) if left[place] != right[place])


def _separator(key: bytes, following: bytes) -> bytes:
    """A short key that is not less than `key`, and less than `following` (FindShortestSeparator)."""
    shared = _shared_bytes(key, following)
    if shared < min(len(key), len(following)):
        byte = key[shared]
        if byte < 0xFF and byte + 1 < following[shared]:
            return key[:shared] + bytes([byte + 1])
    return key


def _successor(key: bytes) -> bytes:
    """A short key that is not less than `key` (FindShortSuccessor)."""
    for place, byte in enumerate(key):
        if byte != 0xFF:
            return key[:place] + bytes([byte + 1])
    return key


_VERSION = encode_field(1, 1)  # kTensorBundleVersion; the least consumer is 0 and left out.
_CRC32C_TAG = encode_varint(6 << 3 | FIXED32)
_SIGNED = 1 << 64


class ShardWriter:
    """Writes one data shard from its start on, with one piece in memory. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("wb", buffering=0)
        self.position = 0

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def fill(self, pieces: Iterable[bytes]) -> None:
        """Writes bytes that belong to no tensor."""
        for _ in self._written(pieces):
            pass

    def add(self, entry: BundleEntry, pieces: Iterable[bytes]) -> BundleEntry:
        """Writes the tensor's bytes, as bundles store them; returns the entry with new offset and checksum.

        The pieces must have the `size_bytes` of the entry in total, and fit its type and shape. Raises
        BrokenModelError if they don't.
        """
        offset, written = self.position, self._written(pieces)
        crc = masked_crc_of_tensor(entry, written)
        for _ in written:  # Pieces beyond the size, which is an error below.
            pass
        if self.position - offset != entry.size_bytes:
            raise BrokenModelError(f"{entry.name} has more than its {entry.size_bytes} bytes")
        return entry._replace(offset=offset, crc32c=crc)

    def _written(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            write_all(self._file.fileno(), piece)
            self.position += len(piece)
            yield piece


def write_index(path: Path, shard_count: int, entries: Iterable[BundleEntry]) -> None:
    """Writes the index of a little-endian bundle with a number of shards. Raises OSError."""
    with path.open("wb") as file:
        table = TableWriter(file)
        table.add(b"", encode_field(1, shard_count) + encode_field(3, _VERSION))
        for entry in sorted(entries, key=lambda entry: entry.key):
            table.add(entry.key, _encoded(entry))
        table.finish()


def _encoded(entry: BundleEntry) -> bytes:
    """The BundleEntryProto; numbers that are 0 are left out, as protobuf does."""
    encoded = _number(1, entry.dtype.number)
    encoded += encode_field(2, b"".join(encode_field(2, _number(1, size)) for size in entry.shape))
    encoded += _number(3, entry.shard) + _number(4, entry.offset) + _number(5, entry.size_bytes)
    if entry.crc32c:
        encoded += _CRC32C_TAG + entry.crc32c.to_bytes(4, "little")
    return encoded + b"".join(encode_field(7, _encoded_slice(tensor_slice)) for tensor_slice in entry.slices)


def _encoded_slice(part: TensorSlice) -> bytes:
    """The TensorSliceProto; a length of None is the whole dimension, whose extent is empty."""
    encoded = b""
    for start, length in zip(part.starts, part.lengths, strict=True):
        extent = _number(1, start % _SIGNED)
        if length is not None:  # A member of a oneof: written even where it is 0.
            extent += encode_field(2, length % _SIGNED)
        encoded += encode_field(1, extent)
    return encoded


def _number(field: int, value: int) -> bytes:
    return encode_field(field, value) if value else b""
