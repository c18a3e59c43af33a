"""Checksums of TensorFlow files: CRC-32C as tensor bundles and tables store it (masked), and FarmHash.

Source: leveldb/util/crc32c.h; a stored checksum is rotated and shifted, so that the checksum of bytes that
hold a checksum stays a good one. farmhash.cc (namespace farmhashna) of https://github.com/google/farmhash and
tensorflow/cc/saved_model/fingerprinting.cc: `checkpoint_hash` in fingerprint.pb is the Fingerprint64 of the
bytes of variables.index.
"""

from __future__ import annotations

import struct

import google_crc32c

__all__ = [
    "combine_crc32c",
    "extend_crc32c",
    "fingerprint64",
    "mask_crc32c",
    "masked_crc32c",
    "unmask_crc32c",
]

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


_MASK = (1 << 64) - 1
_K0, _K1, _K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F
_SEED = 81
_EIGHT = struct.Struct("<8Q")
_Pair = tuple[int, int]


def fingerprint64(data: bytes) -> int:
    """The unsigned 64-bit fingerprint of `data`, some 5 MB of it in a second.

    >>> hex(fingerprint64(b""))
    '0x9ae16a3b2f90404f'
    """
    size = len(data)
    if size > 64:
        return _long(data)
    if size > 32:
        return _up_to_64(data)
    return _up_to_32(data) if size > 16 else _up_to_16(data)


def _long(data: bytes) -> int:
    state = _State(_SEED, _SEED * _K1 + 113 & _MASK)
    state.x = _SEED * _K2 + _word(data, 0) & _MASK
    last = (len(data) - 1) // 64 * 64
    for start in range(0, last, 64):
        state.mix(_EIGHT.unpack_from(data, start), _K1, 1)
    multiplier = _K1 + ((state.z & 0xFF) << 1)
    first = state.w[0] + ((len(data) - 1) & 63)
    state.v = (state.v[0] + first & _MASK, state.v[1])
    state.w = (first + state.v[0] & _MASK, state.w[1])
    state.mix(_EIGHT.unpack_from(data, len(data) - 64), multiplier, 9)
    v, w = state.v, state.w
    left = _hash_16(v[0], w[0], multiplier) + _shift_mix(state.y) * _K0 + state.z
    right = _hash_16(v[1], w[1], multiplier) + state.x
    return _hash_16(left & _MASK, right & _MASK, multiplier)


class _State:
    """What is carried from one run of 64 bytes to the next; the names are those of the source."""

    __slots__ = ("v", "w", "x", "y", "z")

    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y
        self.z = _shift_mix(y * _K2 + 113 & _MASK) * _K2 & _MASK
        self.v: _Pair = (0, 0)
        self.w: _Pair = (0, 0)

    def mix(self, words: tuple[int, ...], multiplier: int, weight: int) -> None:
        v, w = self.v, self.w
        x = _rotate(self.x + self.y + v[0] + words[1], 37) * multiplier & _MASK
        y = _rotate(self.y + v[1] + words[6], 42) * multiplier & _MASK
        x ^= w[1] * weight & _MASK
        y = y + v[0] * weight + words[5] & _MASK
        z = _rotate(self.z + w[0], 33) * multiplier & _MASK
        self.v = _weak_hash(words[:4], v[1] * multiplier, x + w[0])
        self.w = _weak_hash(words[4:], z + w[1], y + words[2])
        self.x, self.y, self.z = z, y, x


def _weak_hash(words: tuple[int, ...], a: int, b: int) -> _Pair:
    first, second, third, fourth = words
    a += first
    b = _rotate(b + a + fourth, 21)
    c = a
    a += second + third
    return a + fourth & _MASK, b + _rotate(a, 44) + c & _MASK


def _up_to_16(data: bytes) -> int:
    size = len(data)
    multiplier = _K2 + size * 2 & _MASK
    if size >= 8:
        a, b = _word(data, 0) + _K2, _word(data, size - 8)
        c = _rotate(b, 37) * multiplier + a & _MASK
        return _hash_16(c, (_rotate(a, 25) + b) * multiplier & _MASK, multiplier)
    if size >= 4:
        first, last = int.from_bytes(data[:4], "little"), int.from_bytes(data[-4:], "little")
        return _hash_16(size + (first << 3), last, multiplier)
    if size:
        y = data[0] + (data[size >> 1] << 8)
        z = size + (data[-1] << 2)
        return _shift_mix((y * _K2 ^ z * _K0) & _MASK) * _K2 & _MASK
    return _K2


def _up_to_32(data: bytes) -> int:
    size = len(data)
    multiplier = _K2 + size * 2 & _MASK
    a, b = _word(data, 0) * _K1, _word(data, 8)
    c, d = _word(data, size - 8) * multiplier, _word(data, size - 16) * _K2
    left = _rotate(a + b, 43) + _rotate(c, 30) + d
    return _hash_16(left & _MASK, a + _rotate(b + _K2, 18) + c & _MASK, multiplier)


def _up_to_64(data: bytes) -> int:
    size = len(data)
    multiplier = _K2 + size * 2 & _MASK
    a, b = _word(data, 0) * _K2, _word(data, 8)
    c, d = _word(data, size - 8) * multiplier, _word(data, size - 16) * _K2
    y = _rotate(a + b, 43) + _rotate(c, 30) + d & _MASK
    z = _hash_16(y, a + _rotate(b + _K2, 18) + c & _MASK, multiplier)
    e, f = _word(data, 16) * multiplier, _word(data, 24)
    g = (y + _word(data, size - 32)) * multiplier
    h = (z + _word(data, size - 24)) * multiplier
    left = _rotate(e + f, 43) + _rotate(g, 30) + h
    return _hash_16(left & _MASK, e + _rotate(f + a, 18) + g & _MASK, multiplier)


def _hash_16(u: int, v: int, multiplier: int) -> int:
    a = _shift_mix((u ^ v) * multiplier & _MASK)
    return _shift_mix((v ^ a) * multiplier & _MASK) * multiplier & _MASK


def _shift_mix(value: int) -> int:
    return value ^ value >> 47


def _rotate(value: int, shift: int) -> int:
    value &= _MASK
    return value >> shift | (value << 64 - shift & _MASK)


def _word(data: bytes, start: int) -> int:
    return int.from_bytes(data[start : start + 8], "little")
