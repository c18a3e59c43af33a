"""The bytes of a tensor in a shard, against what the bundle's index says of them.

Source: tensorflow/core/util/tensor_bundle/tensor_bundle.cc (WriteTensor,
WriteStringTensor, WriteVariantTensor and their readers).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from hubcli.errors import BrokenModelError
from hubcli.formats.crc32c import extend_crc32c, mask_crc32c
from hubcli.formats.tensor_bundle import BundleEntry
from hubcli.formats.wire import read_varint

__all__ = ["ByteOrder", "check_size", "check_tensor", "masked_crc_of_tensor"]

ByteOrder = Literal["little", "big"]

_CRC_BYTES = 4
_LONGEST_VARINT = 10
_LONG_STRING = 1 << 32
# Lengths are summed up in batches: a call for each would take longer than all else.
_BATCH_BYTES = 1 << 16


def check_size(entry: BundleEntry) -> None:
    """Raises BrokenModelError where no tensor of that type and shape has the size in the index."""
    size, count, item_bytes = entry.size_bytes, entry.element_count, entry.dtype.item_bytes
    if count >> 63:  # More than a TensorShape counts, and than Python would print.
        raise BrokenModelError("the index gives it an impossible shape")
    if item_bytes is not None:
        if size != count * item_bytes:
            raise BrokenModelError(
                f"the index gives it {size} bytes; "
                f"{count} elements of {entry.dtype.name} take {count * item_bytes}"
            )
        return
    least = {"string": 1, "variant": 1 + _CRC_BYTES}.get(entry.dtype.name, 0)
    if size < count * least:
        raise BrokenModelError(f"the index gives it {size} bytes, too few for {count} elements")


def check_tensor(entry: BundleEntry, pieces: Iterator[bytes], byte_order: ByteOrder = "little") -> None:
    """Raises BrokenModelError unless the bytes are those of the index's checksum.

    `pieces` are the `size_bytes` of the tensor from the shard, in order; they
    may be left unread where a fault is found. `byte_order` is the one that the
    index names: lengths of strings are summed up in it.
    """
    if masked_crc_of_tensor(entry, pieces, byte_order) != entry.crc32c:
        raise BrokenModelError("its bytes don't have the checksum that the index records")


def masked_crc_of_tensor(
    entry: BundleEntry, pieces: Iterator[bytes], byte_order: ByteOrder = "little"
) -> int:
    """The checksum that the index of a bundle records for a tensor of these bytes, all of which are read.

    Raises BrokenModelError where they can't be those of a tensor of that type, shape and size.
    """
    check_size(entry)
    cursor = _Cursor(pieces, entry.size_bytes)
    if entry.dtype.name == "string" and entry.size_bytes:
        crc = _crc_of_strings(cursor, entry.element_count, byte_order)
    elif entry.dtype.name == "variant":
        crc = _crc_of_variants(cursor, entry.element_count, byte_order)
    else:
        crc = _extended(0, cursor.take(entry.size_bytes))
    return mask_crc32c(crc)


def _extended(crc: int, pieces: Iterator[bytes]) -> int:
    for piece in pieces:
        crc = extend_crc32c(crc, piece)
    return crc


def _crc_of_strings(cursor: _Cursor, count: int, byte_order: ByteOrder) -> int:
    """The checksum of all lengths, then their own checksum, then the bytes of all strings."""
    crc, total, batch = 0, 0, bytearray()
    for _ in range(count):
        length = cursor.varint()
        total += length
        batch += length.to_bytes(4 if length < _LONG_STRING else 8, byte_order)
        if len(batch) >= _BATCH_BYTES:
            crc = extend_crc32c(crc, bytes(batch))
            batch.clear()
    crc = extend_crc32c(crc, bytes(batch))
    stored = b"".join(cursor.take(_CRC_BYTES))
    if int.from_bytes(stored, byte_order) != mask_crc32c(crc):
        raise BrokenModelError("the lengths of its strings don't have their checksum")
    if total != cursor.left_bytes:
        raise BrokenModelError(f"its strings have {total} bytes together, {cursor.left_bytes} are there")
    return _extended(extend_crc32c(crc, stored), cursor.take(total))


def _crc_of_variants(cursor: _Cursor, count: int, byte_order: ByteOrder) -> int:
    """The checksum of each element's length and bytes, and of the sums that stand between them."""
    crc = 0
    for number in range(count):
        length = cursor.varint()
        crc = extend_crc32c(crc, length.to_bytes(8, byte_order))
        crc = _extended(crc, cursor.take(length))
        stored = b"".join(cursor.take(_CRC_BYTES))
        if int.from_bytes(stored, byte_order) != mask_crc32c(crc):
            raise BrokenModelError(f"its element {number} doesn't have its checksum")
        crc = extend_crc32c(crc, stored)
    if cursor.left_bytes:
        raise BrokenModelError(f"{cursor.left_bytes} bytes follow its last element")
    return crc


class _Cursor:
    """Numbers and runs of bytes from the pieces of a tensor; `left_bytes` are still to come."""

    def __init__(self, pieces: Iterator[bytes], size_bytes: int) -> None:
        self.left_bytes = size_bytes
        self._pieces = pieces
        self._piece = b""
        self._position = 0

    def varint(self) -> int:
        while len(self._piece) - self._position < _LONGEST_VARINT:
            more = next(self._pieces, b"")
            if not more:
                break
            self._piece, self._position = self._piece[self._position :] + more, 0
        number, end = read_varint(self._piece, self._position)
        self.left_bytes -= end - self._position
        self._position = end
        return number

    def take(self, size_bytes: int) -> Iterator[bytes]:
        """The next bytes in pieces, which are to be read before anything else is."""
        if size_bytes > self.left_bytes:
            raise BrokenModelError(f"its bytes claim {size_bytes} more where {self.left_bytes} are left")
        self.left_bytes -= size_bytes
        return self._run(size_bytes)

    def _run(self, size_bytes: int) -> Iterator[bytes]:
        while size_bytes:
            if self._position == len(self._piece):
                self._piece, self._position = next(self._pieces, b""), 0
                if not self._piece:
                    raise BrokenModelError("its bytes end early")
            end = min(self._position + size_bytes, len(self._piece))
            run = (
                self._piece[self._position : end] if end - self._position < len(self._piece) else self._piece
            )
            self._position, size_bytes = end, size_bytes - len(run)
            yield run
