"""A message that is edited on the wire: what isn't edited keeps its bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubcli.errors import BrokenModelError
from hubcli.formats import wire_message
from hubcli.formats.wire import encode_field
from hubcli.formats.wire_message import WireMessage, map_entry

# Field 1 twice, an unknown fixed32, a number written in more bytes than it needs, a nested message.
_INNER = encode_field(3, encode_field(2, "x"))
ODD = b"\x0a\x01a" + b"\x7d\x01\x02\x03\x04" + b"\x10\x81\x00" + _INNER + b"\x0a\x01b"

FIELDS = st.recursive(
    st.binary(max_size=6) | st.integers(0, 1 << 63),
    lambda inner: st.lists(st.tuples(st.integers(1, 20), inner), max_size=4),
    max_leaves=12,
)


def encoded(fields: object) -> bytes:
    """The value of a field: nested lists are messages."""
    assert isinstance(fields, list)
    return b"".join(
        encode_field(number, encoded(value) if isinstance(value, list) else value) for number, value in fields
    )


def test_a_message_that_is_read_keeps_its_bytes() -> None:
    message = WireMessage(ODD)
    assert message.texts(1) == ["a", "b"]
    assert message.integer(2) == 1
    assert message.only(3).text(2) == "x"  # type: ignore[union-attr]
    assert not message.is_edited
    assert message.encode() == ODD


def test_an_edit_deep_inside_changes_nothing_else() -> None:
    message = WireMessage(ODD)
    message.only(3).set_text(2, "longer")  # type: ignore[union-attr]
    assert message.is_edited
    assert message.encode() == ODD.replace(
        encode_field(3, encode_field(2, "x")), encode_field(3, encode_field(2, "longer"))
    )
    assert message.size_bytes == len(message.encode())


def test_an_edit_and_its_inverse_give_the_bytes_back() -> None:
    message = WireMessage(ODD)
    message.put(1, b"c")
    message.put(1, b"b")
    assert message.encode() == ODD


def test_a_copy_is_edited_on_its_own() -> None:
    message = WireMessage(ODD)
    inner = message.only(3)
    assert inner is not None
    inner.set_text(2, "first")
    copied = message.copy()
    copied.only(3).set_text(2, "second")  # type: ignore[union-attr]
    copied.clear(1)
    assert message.only(3).text(2) == "first"  # type: ignore[union-attr]
    assert message.texts(1) == ["a", "b"]


def test_fields_are_removed_replaced_and_added_in_the_order_of_their_numbers() -> None:
    message = WireMessage(encode_field(1, "a") + encode_field(5, "z"))
    message.add(3, b"m")
    message.put_integer(2, 7)
    assert message.encode() == (
        encode_field(1, "a") + encode_field(2, 7) + encode_field(3, b"m") + encode_field(5, "z")
    )
    message.put_integer(2, 0)
    message.put_integers(4, [1, 300])
    assert message.integers(4) == [1, 300]
    assert not message.has(2)
    assert message.remove(lambda field: field.number in (3, 4)) == 2
    assert message.encode() == encode_field(1, "a") + encode_field(5, "z")


def test_messages_and_texts_are_removed_and_changed_where_a_function_says() -> None:
    numbers = (encode_field(1, encode_field(1, number)) for number in (1, 2, 3))
    message = WireMessage(
        b"".join([*numbers, *(encode_field(2, text) for text in "abc"), encode_field(2, 7)])
    )
    assert message.remove_messages(1, lambda inner: inner.integer(1) == 2) == 1
    assert message.remove_texts(2, "b".__eq__) == 1
    message.map_texts(2, str.upper)
    assert [inner.integer(1) for inner in message.messages(1)] == [1, 3]
    assert (message.texts(2), message.integer(2)) == (["A", "C"], 7)
    message.remove_places(1, [1])
    message.remove_places(2, [0])
    assert message.encode() == b"".join(
        [encode_field(1, encode_field(1, 1)), encode_field(2, "C"), encode_field(2, 7)]
    )


class Unsearchable(list[int]):
    """A list that is never searched: a million places in a message of a million fields would take an hour."""

    def __contains__(self, place: object) -> bool:
        raise AssertionError("a list of places was searched")


def test_places_are_not_searched_for_each_field() -> None:
    message = WireMessage(encode_field(1, "a") * 3)
    message.remove_places(1, Unsearchable([0, 2]))
    assert message.texts(1) == ["a"]


def test_the_last_of_several_fields_counts_as_protobuf_has_it() -> None:
    message = WireMessage(encode_field(1, "a") + encode_field(1, "b"))
    assert message.text(1) == "b"
    message.set_text(1, "c")
    assert message.texts(1) == ["a", "c"]


def test_a_map_entry_is_a_message_of_key_and_value() -> None:
    entry = WireMessage(map_entry("key", b"value"))
    assert (entry.text(1), entry.bytes_at(2)) == ("key", b"value")


@given(st.lists(st.tuples(st.integers(1, 20), FIELDS), max_size=6))
def test_any_message_keeps_its_bytes_when_it_is_walked(fields: list[tuple[int, object]]) -> None:
    data = encoded(fields)
    message = WireMessage(data)
    copied = message.copy()
    for field in copied.fields:
        assert copied.size_bytes == len(data)
        assert field.start < field.end
    assert copied.encode() == data


@given(st.binary(max_size=64))
def test_bytes_that_are_no_message_give_our_error(data: bytes) -> None:
    try:
        fields = WireMessage(data).fields
    except BrokenModelError:
        return
    assert b"".join(data[field.start : field.end] for field in fields) == data


def test_a_number_is_no_message() -> None:
    message = WireMessage(encode_field(1, 5))
    with pytest.raises(BrokenModelError, match="not a message"):
        message.message(message.fields[0])


def test_several_fields_are_added_in_order_behind_those_of_their_number() -> None:
    message = WireMessage(encode_field(1, "a") + encode_field(3, "b") + encode_field(4, "c"))
    message.add(3, b"x", b"y")
    assert message.encode() == b"".join(
        encode_field(number, text) for number, text in ((1, "a"), (3, "b"), (3, "x"), (3, "y"), (4, "c"))
    )


def test_the_fields_of_all_messages_within_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_message, "_MAX_ALL_FIELDS", 30)
    inner = encode_field(1, 1) * 9
    message = WireMessage(encode_field(1, inner) * 3)
    assert [len(part.fields) for part in message.messages(1)] == [9, 9, 9]
    with pytest.raises(BrokenModelError, match="more than 30 fields"):
        _ = [part.fields for part in WireMessage(encode_field(1, inner) * 4).copy().messages(1)]
