"""Masked CRC-32C."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubcli.formats.checksums import extend_crc32c, mask_crc32c, masked_crc32c
from tests.cases import each_of

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, reflected


def _crc32c(data: bytes) -> int:
    """The checksum, bit by bit, from its definition (RFC 3720, appendix B.4)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _unmasked(masked: int) -> int:
    rotated = (masked - 0xA282EAD8) % 2**32
    return (rotated >> 17 | rotated << 15) % 2**32


@each_of(
    "data, crc",
    [
        # RFC 3720, appendix B.4.
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
    ],
)
def test_the_checksums_of_the_rfc_are_had_unmasked(data: bytes, crc: int) -> None:
    assert _unmasked(masked_crc32c(data)) == crc


@given(st.binary(max_size=200))
def test_the_checksum_is_what_its_definition_says(data: bytes) -> None:
    assert _unmasked(masked_crc32c(data)) == _crc32c(data)


@given(st.lists(st.binary(max_size=50), max_size=5))
def test_a_checksum_in_parts_is_that_of_the_whole(parts: list[bytes]) -> None:
    crc = 0
    for part in parts:
        crc = extend_crc32c(crc, part)
    assert mask_crc32c(crc) == masked_crc32c(b"".join(parts))


@pytest.mark.tensorflow
def test_tensorflow_s_records_have_the_same_checksum(tmp_path: object) -> None:
    tf = pytest.importorskip("tensorflow")
    path = f"{tmp_path}/one.tfrecord"
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(b"a record")
    record = tf.io.gfile.GFile(path, "rb").read()
    assert masked_crc32c(record[:8]) == int.from_bytes(record[8:12], "little")
    assert masked_crc32c(b"a record") == int.from_bytes(record[-4:], "little")
