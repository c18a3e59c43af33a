"""CRC-32C as TensorFlow and LevelDB store it: masked.

Source: leveldb/util/crc32c.h; a stored checksum is rotated and shifted, so
that the checksum of bytes that hold a checksum stays a good one.
"""

from __future__ import annotations

import google_crc32c

__all__ = ["extend_crc32c", "mask_crc32c", "masked_crc32c"]

_MASK_DELTA = 0xA282EAD8


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
