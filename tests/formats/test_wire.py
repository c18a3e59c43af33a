"""Protobuf's wire format, skimmed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubcli.errors import BrokenModelError
from hubcli.formats.wire import Field, encode_field, messages, read_varint, scan
from tests.cases import each_of
from tests.corpus import KINDS, corpus_file
from tests.formats.tables import delimited, number, varint


def _fields(data: bytes) -> list[Field]:
    return list(scan(data))


@given(st.integers(0, 2**64 - 1), st.binary(max_size=3))
def test_a_varint_is_read_back_with_the_position_behind_it(value: int, rest: bytes) -> None:
    encoded = varint(value)
    assert read_varint(b"\xff" + encoded + rest, 1) == (value, 1 + len(encoded))


@given(
    st.sampled_from([1, 15, 16, 2000]),
    st.one_of(
        st.integers(0, 300), st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 127, 128, 20_000]).map(bytes)
    ),
)
def test_an_encoded_field_is_read_back_for_each_length_of_its_numbers(key: int, value: int | bytes) -> None:
    data = encode_field(key, value)
    (field,) = scan(data)
    assert field.number == key
    assert (data[field.start : field.end] if isinstance(value, bytes) else field.value) == value


@each_of("value", [2**64, 2**69, 2**70, 2**77])
def test_a_varint_of_more_than_64_bits_is_refused(value: int) -> None:
    with pytest.raises(BrokenModelError, match="64 bits"):
        read_varint(varint(value), 0)


@each_of("data", [b"", b"\x80", b"\xff" * 9])
def test_a_varint_that_is_cut_off_is_refused(data: bytes) -> None:
    with pytest.raises(BrokenModelError, match="truncated"):
        read_varint(data, 0)


def test_a_padded_varint_of_ten_bytes_is_read() -> None:
    assert read_varint(b"\x81" + b"\x80" * 8 + b"\0", 0) == (1, 10)


def test_fields_of_each_type_are_found_where_they_stand() -> None:
    data = number(1, 300) + delimited(2, b"abc") + b"\x1d" + bytes(4) + b"\x21" + bytes(8)
    assert _fields(data) == [
        Field(1, 0, 3, 3, 300),
        Field(2, 2, 5, 8),
        Field(3, 5, 9, 13),
        Field(4, 1, 14, 22),
    ]


def test_a_message_within_a_message_is_walked_in_its_bounds() -> None:
    inner = number(1, 5) + delimited(2, b"x")
    data = delimited(7, inner) + number(9, 9)
    outer = next(scan(data))
    assert [field.number for field in scan(data, outer.start, outer.end)] == [1, 2]


def test_messages_of_a_number_are_the_fields_that_hold_bytes() -> None:
    data = delimited(2, b"a") + number(2, 7) + delimited(3, b"b") + delimited(2, b"")
    assert [(field.start, field.end) for field in messages(data, 2)] == [(2, 3), (10, 10)]


def test_a_field_that_leaves_its_message_is_refused() -> None:
    inner = b"\x12\x05x"  # Five bytes are promised, one is there; more follow outside.
    data = delimited(1, inner) + b"y" * 20
    outer = next(scan(data))
    with pytest.raises(BrokenModelError, match="exceeds its message"):
        list(scan(data, outer.start, outer.end))


@each_of("wire_type", [3, 4, 6, 7])
def test_groups_and_unknown_wire_types_are_refused(wire_type: int) -> None:
    with pytest.raises(BrokenModelError, match=f"wire type {wire_type}"):
        _fields(bytes([1 << 3 | wire_type]) + bytes(10))


def test_a_field_with_the_number_0_is_refused() -> None:
    with pytest.raises(BrokenModelError, match="Field number 0"):
        _fields(b"\0\0")


def test_a_length_of_exabytes_is_refused() -> None:
    with pytest.raises(BrokenModelError, match="exceeds its message"):
        _fields(varint(1 << 3 | 2) + varint(2**63))


def test_more_fields_than_are_allowed_are_refused() -> None:
    assert len(list(scan(number(1, 1) * 3, max_fields=3))) == 3
    with pytest.raises(BrokenModelError, match="More than 2 fields"):
        list(scan(number(1, 1) * 3, max_fields=2))


@given(st.binary(max_size=200))
def test_any_bytes_are_fields_or_a_broken_model(data: bytes) -> None:
    try:
        fields = _fields(data)
    except BrokenModelError:
        return
    assert [field.end for field in fields][-1:] == [len(data)][: len(fields)]


@each_of("model", KINDS)
def test_the_outline_of_a_real_model_is_a_version_and_meta_graphs(model: str) -> None:
    data = corpus_file(model, "saved_model.pb")
    fields = _fields(data)
    assert (fields[0].number, fields[0].value) == (1, 1)
    assert {field.number for field in fields[1:]} == {2}
    assert fields[-1].end == len(data)


@pytest.mark.tensorflow
@each_of("model", KINDS)
def test_tensorflow_finds_the_same_meta_graphs(model: str) -> None:
    saved_model_pb2 = pytest.importorskip("tensorflow.core.protobuf.saved_model_pb2")
    data = corpus_file(model, "saved_model.pb")
    parsed = saved_model_pb2.SavedModel.FromString(data)
    sizes = [field.end - field.start for field in _fields(data) if field.number == 2]
    assert len(sizes) == len(parsed.meta_graphs)
    # Map order may differ in what TensorFlow writes, sizes can't.
    assert sizes == [meta_graph.ByteSize() for meta_graph in parsed.meta_graphs]
