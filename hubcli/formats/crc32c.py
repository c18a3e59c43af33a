"""CRC-32C as TensorFlow and LevelDB store it: masked.

Source: leveldb/util/crc32c.h; a stored checksum is rotated and shifted, so
that the checksum of bytes that hold a checksum stays a good one.
"""

from __future__ import annotations

import google_crc32c

__all__ = ["combine_crc32c", "extend_crc32c", "mask_crc32c", "masked_crc32c", "unmask_crc32c"]

_MASK_DELTA = 0xA282EAD8
_POLYNOMIAL = 0x82F63B78


def extend_crc32c(crc: int, data: bytes) -> int:
    """The plain CRC-32C of what `crc` is of, followed by `data`; that of nothing is 0.

    Other threads run meanwhile.

    >>> extend_crc32c(extend_crc32c(0, b"12345"), b"6789") == extend_crc32c(0, b"123456789")
    True
    """
    extended: int = google_crc32c.extend(crc, data)
    return extended


def mask_crc32c(crc: int) -> int:
    """The masked form of a plain CRC-32C.

    >>> hex(mask_crc32c(0))
    '0xa282ead8'
    """
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def masked_crc32c(data: bytes) -> int:
    """The masked CRC-32C of `data`, an unsigned 32-bit number.

    >>> hex(masked_crc32c(b""))
    '0xa282ead8'
    """
    return mask_crc32c(extend_crc32c(0, data))


def unmask_crc32c(masked: int) -> int:
    """The checksum that was masked.

    >>> unmask_crc32c(masked_crc32c(b"123456789")) == 0xE3069283
    True
    """
    rotated = (masked - _MASK_DELTA) & 0xFFFFFFFF
    return ((rotated << 15) | (rotated >> 17)) & 0xFFFFFFFF


def combine_crc32c(first: int, second: int, second_bytes: int) -> int:
    """The CRC-32C of two pieces of data in a row, from the one of each (not masked) and the second's length.

    A zero bit behind the data is a linear map of its checksum, n of them are
    the n-th power of that map: zlib's crc32_combine, for another polynomial.

    >>> hex(combine_crc32c(unmask_crc32c(masked_crc32c(b"12345")), unmask_crc32c(masked_crc32c(b"6789")), 4))
    '0xe3069283'
    """
    shift = [_POLYNOMIAL, *(1 << bit for bit in range(31))]
    bits, result = 8 * second_bytes, first
    while bits:
        if bits & 1:
            result = _times(shift, result)
        shift = [_times(shift, column) for column in shift]
        bits >>= 1
    return result ^ second


def _times(matrix: list[int], vector: int) -> int:
    """The product of a 32 by 32 matrix of bits, as its columns, and a vector of bits."""
    total, column = 0, 0
    while vector:
        if vector & 1:
            total ^= matrix[column]
        vector >>= 1
        column += 1
    return total
