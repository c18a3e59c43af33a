"""CRC-32C as TensorFlow and LevelDB store it: masked.

Source: leveldb/util/crc32c.h; a stored checksum is rotated and shifted, so
that the checksum of bytes that hold a checksum stays a good one.
"""

from __future__ import annotations

import google_crc32c

__all__ = ["masked_crc32c"]

_MASK_DELTA = 0xA282EAD8


def masked_crc32c(data: bytes) -> int:
    """The masked CRC-32C of `data`, an unsigned 32-bit number.

    >>> hex(masked_crc32c(b""))
    '0xa282ead8'
    """
    crc: int = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF
