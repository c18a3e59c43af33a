"""Snappy's raw block format."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubcli.errors import BrokenModelError
from hubcli.formats.tensor_bundle import decompress
from tests.cases import each_of
from tests.formats.tables import snappy_literal, varint


def _literal(data: bytes) -> bytes:
    assert 0 < len(data) <= 60
    return bytes([len(data) - 1 << 2]) + data


def test_nothing_is_decompressed_to_nothing() -> None:
    assert decompress(b"\0") == b""


@each_of("size", [1, 59, 60, 61, 256, 257, 65_536, 65_537, 70_000])
def test_literals_of_every_length_are_read(size: int) -> None:
    data = bytes(number % 251 for number in range(size))
    assert decompress(snappy_literal(data)) == data


@each_of("tag, width", [(60, 1), (61, 2), (62, 3), (63, 4)])
def test_the_length_of_a_literal_may_take_one_to_four_bytes(tag: int, width: int) -> None:
    data = bytes(100)
    assert decompress(varint(100) + bytes([tag << 2]) + (99).to_bytes(width, "little") + data) == data


@each_of(
    "copy",
    [
        b"\x05\x04",  # One byte of offset: 4 + 1 bytes from 4 back.
        b"\x12\x04\x00",  # Two bytes: 5 bytes from 4 back.
        b"\x13\x04\x00\x00\x00",  # Four bytes: the same.
    ],
)
def test_copies_with_each_width_of_offset_are_read(copy: bytes) -> None:
    assert decompress(varint(9) + _literal(b"abcd") + copy) == b"abcdabcda"


def test_a_copy_may_overlap_itself() -> None:
    assert decompress(varint(65) + _literal(b"a") + b"\xfe\x01\x00") == b"a" * 65


def test_high_bits_of_a_short_offset_count() -> None:
    start = bytes(number % 256 for number in range(300))
    tail = b"\x21\x2c"  # Offset 0x12c, four bytes.
    assert decompress(varint(304) + b"\xf4\x2b\x01" + start + tail) == start + start[:4]


@each_of(
    "block, fault",
    [
        (b"", "truncated"),
        (b"\x80", "truncated"),
        (varint(5) + b"\x10abc", "truncated"),
        (varint(5) + b"\xfc\xff", "truncated"),
        (varint(5) + _literal(b"a") + b"\x05", "truncated"),
        (varint(5) + _literal(b"a") + b"\x06\x01", "truncated"),
        (varint(5) + _literal(b"a") + b"\x07\x01\0\0", "truncated"),
        (varint(5) + _literal(b"a") + b"\x06\0\0", "before its start"),
        (varint(5) + _literal(b"a") + b"\x06\x02\0", "before its start"),
        (varint(5) + b"\x06\x01\0", "before its start"),
        (varint(5) + _literal(b"abcd"), "wrong length"),
        (varint(3) + _literal(b"abcd"), "wrong length"),
        (varint(0) + _literal(b"a"), "wrong length"),
        (varint(1 << 40) + _literal(b"a"), "invalid length"),
        (varint(2**64), "64 bits"),
    ],
)
def test_a_damaged_block_is_refused(block: bytes, fault: str) -> None:
    with pytest.raises(BrokenModelError, match=fault):
        decompress(block)


def test_a_block_that_grows_beyond_what_it_claims_is_stopped() -> None:
    with pytest.raises(BrokenModelError, match="wrong length"):
        decompress(varint(100) + _literal(b"a") + b"\xfe\x01\x00" * 1_000_000)


@given(st.binary(max_size=300))
def test_any_bytes_are_decompressed_or_a_broken_model(data: bytes) -> None:
    with suppress(BrokenModelError):
        decompress(data)


@given(st.integers(0, 3000), st.binary(max_size=300))
def test_what_is_decompressed_has_the_length_that_it_claims(claim: int, data: bytes) -> None:
    try:
        output = decompress(varint(claim) + data)
    except BrokenModelError:
        return
    assert len(output) == claim
