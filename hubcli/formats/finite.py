"""NaN and infinity, found in the bytes of numbers without making numbers of them.

Of every format the exponent has all ones for both. That stands in the highest
byte, or the two highest: one look at every n-th byte leaves hardly a number
that must be looked at closer, and costs 0.3 s per GiB of float32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hubcli.formats.dtypes import DType

__all__ = ["has_non_finite"]


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
