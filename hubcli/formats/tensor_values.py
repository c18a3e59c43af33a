"""The values of a tensor as a stream of bytes: from any kind of file, checked against an index, or halved.

None is held in memory whole. Source: tensorflow/core/util/tensor_bundle/tensor_bundle.cc (WriteTensor,
WriteStringTensor, WriteVariantTensor and their readers).
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from math import prod
from pathlib import Path
from typing import Literal

from hubcli.errors import BrokenModelError, TruncatedError, ValuesError
from hubcli.formats import HalfType
from hubcli.formats.checksums import extend_crc32c, mask_crc32c
from hubcli.formats.tensor_bundle import BundleEntry
from hubcli.formats.tensor_layout import DType
from hubcli.formats.wire import read_varint
from hubcli.regular_file import open_regular

__all__ = [
    "PIECE_BYTES",
    "ByteOrder",
    "FileValues",
    "TensorValues",
    "check_size",
    "check_tensor",
    "file_pieces",
    "half_piece",
    "halved",
    "has_non_finite",
    "keep_freed_memory",
    "masked_crc_of_tensor",
    "return_freed_memory",
]

PIECE_BYTES = 1 << 18  # Two of them stay in a processor's cache while they are summed up and compared.
_KEPT_BYTES = 4 << 20
_FLOAT32 = DType.of(1)


class TensorValues(ABC):
    """A tensor of a weights file: its key there, type, shape, and its bytes when they are asked for.

    The bytes are those of its elements, little-endian and in C order; those of
    a string are as a tensor bundle has them. `size_bytes` counts them.
    """

    # Whether `pieces` looks at the file's own checksum where it reads all.
    verifies_whole_reads = False

    def __init__(self, key: str, dtype: DType, shape: tuple[int, ...], size_bytes: int | None = None) -> None:
        self.key = key
        self.dtype = dtype
        self.shape = shape
        self.size_bytes = prod(shape) * (dtype.item_bytes or 0) if size_bytes is None else size_bytes

    @property
    def crc32c(self) -> int | None:
        """The masked checksum that the bytes must have, None if the file records none, or several."""
        return None

    @abstractmethod
    def pieces(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` to `end`, in pieces of at most 256 KiB that hold whole elements.

        Both are places between elements. Raises IntegrityError if the file
        isn't what it was when it was opened, OSError.
        """

    def verify(self) -> None:  # noqa: B027 - most files have nothing to be held against.
        """Reads everything. Raises IntegrityError where it differs from the checksums in the file.

        Does nothing where the file has no checksums.
        """


class FileValues(TensorValues):
    """A tensor whose bytes stand together in a file, from `offset` on."""

    def __init__(self, key: str, dtype: DType, shape: tuple[int, ...], path: Path, offset: int) -> None:
        super().__init__(key, dtype, shape)
        self._path = path
        self._offset = offset

    def pieces(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """As the base class says."""
        end = self.size_bytes if end is None else end
        return file_pieces(self._path, self._offset + start, self._offset + end)


def file_pieces(path: Path, start: int, end: int) -> Iterator[bytes]:
    """The bytes of the file from `start` to `end`; each piece but the last has 256 KiB.

    Raises TruncatedError if the file ends before, OSError.
    """
    if start >= end:
        return
    with open_regular(path) as file:
        file.seek(start)
        while start < end:
            wanted_bytes = min(PIECE_BYTES, end - start)
            piece = file.read(wanted_bytes)
            while len(piece) < wanted_bytes:
                more = file.read(wanted_bytes - len(piece))
                if not more:
                    raise TruncatedError(f"{path.name} ends at byte {start + len(piece)}, {end} are needed")
                piece += more
            start += wanted_bytes
            yield piece
            del piece


def keep_freed_memory() -> None:
    """Lets the C library keep the memory of pieces that were read, for the next ones.

    glibc gives back what is free at the end of its heap beyond twice the size
    of the largest block that was ever freed, at first 128 KiB: every piece would
    be new pages, each a fault, which took a third of the time of a rewrite.
    The block that is freed here was never touched, and so costs nothing. Other
    libraries take no notice. Source: malloc(3), M_MMAP_THRESHOLD and
    M_TRIM_THRESHOLD in mallopt(3).
    """
    bytes(_KEPT_BYTES)


def return_freed_memory() -> None:
    """Has the C library give freed memory back to the system, that of other threads too; some 10 ms for 1 GB.

    glibc keeps what each thread frees for that thread: TensorFlow's threads kept 70 MB of a model that was
    loaded and saved, which counts for the peak of what runs afterwards. Does nothing with other libraries.
    Source: malloc_trim(3).
    """
    import ctypes  # Only programs that have loaded TensorFlow come here, which imports it.

    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def has_non_finite(dtype: DType, piece: bytes) -> bool:
    """Whether a number in the bytes, which are whole elements in little-endian order, is NaN or infinite.

    >>> has_non_finite(DType.of(1), bytes.fromhex("0000807f"))
    True
    """
    look = _LOOKS.get(dtype.name)
    return look is not None and look(piece)


def _in_two_bytes(piece: bytes, *, item_bytes: int, least_second: int) -> bool:
    """Formats whose exponent ends in the second byte: the first has seven of its ones."""
    first = piece[item_bytes - 1 :: item_bytes]
    if b"\x7f" not in first and b"\xff" not in first:
        return False
    second = piece[item_bytes - 2 :: item_bytes]
    return any(high & 0x7F == 0x7F and low >= least_second for high, low in zip(first, second, strict=True))


def _in_one_byte(piece: bytes, *, item_bytes: int, harmless: bytes) -> bool:
    """Formats whose exponent is in the highest byte alone."""
    return bool(piece[item_bytes - 1 :: item_bytes].translate(None, harmless))


def _harmless(*patterns: range) -> bytes:
    """All bytes but those of the patterns, and of the patterns with the sign."""
    bad = {value | sign for pattern in patterns for value in pattern for sign in (0, 0x80)}
    return bytes(value for value in range(256) if value not in bad)


_LOOKS: dict[str, Callable[[bytes], bool]] = {
    "float32": partial(_in_two_bytes, item_bytes=4, least_second=0x80),
    "complex64": partial(_in_two_bytes, item_bytes=4, least_second=0x80),
    "bfloat16": partial(_in_two_bytes, item_bytes=2, least_second=0x80),
    "float64": partial(_in_two_bytes, item_bytes=8, least_second=0xF0),
    "complex128": partial(_in_two_bytes, item_bytes=8, least_second=0xF0),
    "float16": partial(_in_one_byte, item_bytes=2, harmless=_harmless(range(0x7C, 0x80))),
    "float8_e5m2": partial(_in_one_byte, item_bytes=1, harmless=_harmless(range(0x7C, 0x80))),
    "float8_e4m3fn": partial(_in_one_byte, item_bytes=1, harmless=_harmless(range(0x7F, 0x80))),
    # Where zero has no sign, its bit pattern with one is NaN.
    **{
        name: partial(_in_one_byte, item_bytes=1, harmless=bytes(range(0x80)) + bytes(range(0x81, 0x100)))
        for name in ("float8_e4m3fnuz", "float8_e4m3b11fnuz", "float8_e5m2fnuz")
    },
}


ByteOrder = Literal["little", "big"]

_CRC_BYTES = 4
_LONGEST_VARINT = 10
_LONG_STRING = 1 << 32
# Lengths are summed up in batches: a call for each would take longer than all else.
_BATCH_BYTES = 1 << 16


def check_size(entry: BundleEntry) -> None:
    """Raises BrokenModelError if no tensor of that type and shape has the size in the index."""
    size, count, item_bytes = entry.size_bytes, entry.element_count, entry.dtype.item_bytes
    if count >> 63:  # More than a TensorShape counts, and than Python would print.
        raise BrokenModelError("the index has an invalid shape for it")
    if item_bytes is not None:
        if size != count * item_bytes:
            raise BrokenModelError(
                f"it has {size} bytes in the index; {count} elements of "
                f"{entry.dtype.name} require {count * item_bytes}"
            )
        return
    least = {"string": 1, "variant": 1 + _CRC_BYTES}.get(entry.dtype.name, 0)
    if size < count * least:
        raise BrokenModelError(f"it has {size} bytes in the index, too few for {count} elements")


def check_tensor(entry: BundleEntry, pieces: Iterator[bytes], byte_order: ByteOrder = "little") -> None:
    """Raises BrokenModelError unless the bytes are those of the index's checksum.

    `pieces` are the `size_bytes` of the tensor from the shard, in order; they
    may be left unread where a fault is found. `byte_order` is the one that the
    index names: lengths of strings are summed up in it.
    """
    if masked_crc_of_tensor(entry, pieces, byte_order) != entry.crc32c:
        raise BrokenModelError("checksum mismatch with the index")


def masked_crc_of_tensor(
    entry: BundleEntry, pieces: Iterator[bytes], byte_order: ByteOrder = "little"
) -> int:
    """The checksum that the index of a bundle records for a tensor of these bytes, all of which are read.

    Raises BrokenModelError if they can't be those of a tensor of that type, shape and size.
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
        del piece  # Before the next one is read, which takes its memory.
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
        raise BrokenModelError("checksum mismatch of the lengths of its strings")
    if total != cursor.left_bytes:
        raise BrokenModelError(f"its strings have {total} bytes together, but there are {cursor.left_bytes}")
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
            raise BrokenModelError(f"checksum mismatch of its element {number}")
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
                self._piece = b""  # Before the next one is read, which takes its memory.
                self._piece, self._position = next(self._pieces, b""), 0
                if not self._piece:
                    raise BrokenModelError("it is truncated")
            end = min(self._position + size_bytes, len(self._piece))
            run = (
                self._piece[self._position : end] if end - self._position < len(self._piece) else self._piece
            )
            self._position, size_bytes = end, size_bytes - len(run)
            yield run
            del run


def halved(pieces: Iterable[bytes], half: HalfType, key: str) -> Iterator[bytes]:
    """The pieces, each of whole float32 numbers, as the half type.

    Raises ValuesError, which names the key, for NaN, infinity, and numbers that round to infinity.
    """
    for piece in pieces:
        if has_non_finite(_FLOAT32, piece):
            raise ValuesError(
                f"{key} contains NaN or infinity", hint="Use weights from before the training diverged."
            )
        small = half_piece(piece, half)
        if small is None or has_non_finite(DType.of(half.number), small):
            other = "; or use --half bfloat16" if half is HalfType.FLOAT16 else ""
            raise ValuesError(
                f"{key} has a value beyond {half.largest}, the largest of {half.value}",
                hint=f"Remove --half{other}.",
            )
        yield small


def half_piece(piece: bytes, half: HalfType) -> bytes | None:
    """Finite float32 numbers as the half type, rounded to the nearest, ties to even.

    None if one is too large for float16. Fast without NumPy: `struct` packs IEEE's half precision, and a
    bfloat16 is the upper half of a float32, so that a whole piece is rounded as one large integer whose
    32-bit lanes can't overflow.

    >>> half_piece(struct.pack("<2f", 1.0, -2.5), HalfType.BFLOAT16).hex()
    '803f20c0'
    """
    count = len(piece) // 4
    if half is HalfType.FLOAT16:
        try:
            return struct.pack(f"<{count}e", *struct.unpack(f"<{count}f", piece))
        except OverflowError:
            return None
    lanes = int.from_bytes(piece, "little")
    ones = int.from_bytes(b"\x01\x00\x00\x00" * count, "little")
    rounded = (lanes + 0x7FFF * ones + ((lanes >> 16) & ones)).to_bytes(4 * count, "little")
    result = bytearray(2 * count)
    result[0::2], result[1::2] = rounded[2::4], rounded[3::4]
    return bytes(result)
