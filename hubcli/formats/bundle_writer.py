"""A writer of tensor bundles: shards filled piece by piece, then the index that names what is in them.

Source: tensorflow/core/util/tensor_bundle/tensor_bundle.cc (BundleWriter:
tensors stand one after the other, unaligned) and tensor_bundle.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from hubcli.errors import BrokenModelError
from hubcli.formats.leveldb_table_writer import TableWriter
from hubcli.formats.slices import TensorSlice
from hubcli.formats.tensor_bundle import BundleEntry
from hubcli.formats.tensors import masked_crc_of_tensor
from hubcli.formats.wire import FIXED32, encode_field, encode_varint

__all__ = ["ShardWriter", "write_index"]

_VERSION = encode_field(1, 1)  # kTensorBundleVersion; the least consumer is 0 and left out.
_CRC32C_TAG = encode_varint(6 << 3 | FIXED32)
_SIGNED = 1 << 64


class ShardWriter:
    """Fills one data shard from its start on; what it has in memory is one piece. Raises OSError."""

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
        """Bytes that belong to no tensor."""
        for _ in self._written(pieces):
            pass

    def add(self, entry: BundleEntry, pieces: Iterable[bytes]) -> BundleEntry:
        """Writes the tensor's bytes, as a bundle holds them; the entry with its new place and checksum.

        `entry` tells type, shape and size in bytes, which the pieces must have
        together. Raises BrokenModelError where they haven't.
        """
        offset, written = self.position, self._written(pieces)
        crc = masked_crc_of_tensor(entry, written)
        for _ in written:  # Where there is more, the size tells.
            pass
        if self.position - offset != entry.size_bytes:
            raise BrokenModelError(f"{entry.name} has more than its {entry.size_bytes} bytes")
        return entry._replace(offset=offset, crc32c=crc)

    def _written(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._write(piece)
            yield piece

    def _write(self, piece: bytes) -> None:
        written = self._file.write(piece)
        while written < len(piece):  # A raw file may take less: at 2 GiB, or at a signal.
            written += self._file.write(memoryview(piece)[written:])
        self.position += len(piece)


def write_index(path: Path, shard_count: int, entries: Iterable[BundleEntry]) -> None:
    """Writes the index of a little-endian bundle of so many shards. Raises OSError."""
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
    return encoded + b"".join(encode_field(7, _encoded_slice(one)) for one in entry.slices)


def _encoded_slice(part: TensorSlice) -> bytes:
    """The TensorSliceProto; a length of None is a dimension as a whole, whose extent is empty."""
    encoded = b""
    for start, length in zip(part.starts, part.lengths, strict=True):
        extent = _number(1, start % _SIGNED)
        if length is not None:  # A member of a oneof: written even where it is 0.
            extent += encode_field(2, length % _SIGNED)
        encoded += encode_field(1, extent)
    return encoded


def _number(field: int, value: int) -> bytes:
    return encode_field(field, value) if value else b""
