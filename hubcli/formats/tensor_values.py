"""The values of a tensor as a stream of bytes, whatever file holds them; none is held in memory whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from math import prod
from pathlib import Path

from hubcli.errors import TruncatedError
from hubcli.formats.dtypes import DType
from hubcli.regular_file import open_regular

__all__ = ["PIECE_BYTES", "FileValues", "TensorValues", "file_pieces", "has_non_finite", "keep_freed_memory"]

PIECE_BYTES = 1 << 18  # Two of them stay in a processor's cache while they are summed up and compared.
_KEPT_BYTES = 4 << 20


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
        """The masked checksum that the bytes must have, None where the file records none, or several."""
        return None

    @abstractmethod
    def pieces(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` to `end`, in pieces of at most 256 KiB that hold whole elements.

        Both are places between elements. Raises IntegrityError where the file
        isn't what it was when it was opened, OSError.
        """

    def verify(self) -> None:  # noqa: B027 - most files have nothing to be held against.
        """Reads everything and raises IntegrityError where it isn't what the file itself says.

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

    Raises TruncatedError where the file ends before, OSError.
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
