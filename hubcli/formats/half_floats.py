"""float32 numbers in half the bytes: float16 and bfloat16, rounded to the nearest, ties to even.

Fast without NumPy: `struct` packs IEEE's half precision, and a bfloat16 is the upper half of a float32, so
that a whole piece is rounded as one large integer whose 32-bit lanes can't overflow.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from hubcli.errors import ValuesError
from hubcli.formats import HalfType
from hubcli.formats.tensor_layout import DType
from hubcli.formats.tensor_values import has_non_finite

__all__ = ["half_piece", "halved"]


_FLOAT32 = DType.of(1)


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
    """Finite float32 numbers as the half type; None if one is too large for float16.

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
