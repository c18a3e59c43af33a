"""A message of protobuf's wire format that can be edited: fields that aren't edited keep their bytes.

Fields are found by their lengths and parsed when they are used. So unknown fields, the order of fields and
map entries, and the encoding of each number stay, and a graph of a gigabyte that isn't edited is never
copied. Source of the format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

from hubcli.errors import BrokenModelError
from hubcli.formats.wire import (
    FIXED64,
    LENGTH_DELIMITED,
    VARINT,
    Bytes,
    encode_field,
    encode_varint,
    read_varint,
    scan,
)

__all__ = ["WireField", "WireMessage", "map_entry"]

_PIECE_BYTES = 1 << 20
# A graph of half a million nodes is read; what has more fields would fill the memory. With its message and
# what is edited in it, a field takes up to 400 bytes.
_MAX_FIELDS, _MAX_ALL_FIELDS = 1_000_000, 10_000_000


class _FieldCount:
    """Counts the fields that were found in a message, at all depths, and bounds them."""

    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total = 0

    def add(self, count: int) -> None:
        self.total += count
        if self.total > _MAX_ALL_FIELDS:
            raise BrokenModelError(f"it has more than {_MAX_ALL_FIELDS:,} fields")


class WireField:
    """One field: its place in the data, and its new bytes or message after an edit.

    `start` is that of the tag, `body` that of the value. `value` holds the number of a varint field.
    """

    __slots__ = ("body", "child", "end", "new", "number", "start", "value", "wire_type")

    def __init__(self, number: int, wire_type: int, start: int, body: int, end: int, value: int) -> None:
        self.number = number
        self.wire_type = wire_type
        self.start = start
        self.body = body
        self.end = end
        self.value = value
        self.new: bytes | None = None
        self.child: WireMessage | None = None

    @property
    def is_edited(self) -> bool:
        """Whether its bytes differ from those in the data."""
        return self.new is not None or (self.child is not None and self.child.is_edited)

    def is_message(self, number: int) -> bool:
        """Whether it has that number and holds bytes: a message, text, or just bytes."""
        return self.number == number and self.wire_type == LENGTH_DELIMITED


class WireMessage:
    """The message in `data` from `start` to `end`; an empty one without data.

    Its methods raise BrokenModelError for an invalid or truncated message, and for one with too many fields
    at all depths.
    """

    __slots__ = ("_count", "_data", "_end", "_fields", "_is_edited", "_start")

    def __init__(
        self, data: Bytes = b"", start: int = 0, end: int | None = None, count: _FieldCount | None = None
    ) -> None:
        self._count = count or _FieldCount()
        self._data = data
        self._start = start
        self._end = len(data) if end is None else end
        self._fields: list[WireField] | None = None
        self._is_edited = False

    @property
    def fields(self) -> list[WireField]:
        """Its fields in file order."""
        if self._fields is None:
            position, found = self._start, []
            for field in scan(self._data, self._start, self._end, max_fields=_MAX_FIELDS):
                found.append(
                    WireField(field.number, field.wire_type, position, field.start, field.end, field.value)
                )
                position = field.end
            self._count.add(len(found))
            self._fields = found
        return self._fields

    @property
    def is_edited(self) -> bool:
        """Whether something in it was changed, at any depth."""
        return self._is_edited or any(field.is_edited for field in self._fields or ())

    def copy(self) -> WireMessage:
        """The same message, to be edited on its own; the data is shared."""
        copied = WireMessage(self._data, self._start, self._end, self._count)
        copied._is_edited = self._is_edited
        if self._fields is not None:
            copied._fields = [_copied(field) for field in self._fields]
        return copied

    def messages(self, number: int) -> Iterator[WireMessage]:
        """The messages in the fields of that number; edits of them are edits of this message."""
        for field in self.fields:
            if field.is_message(number):
                yield self.message(field)

    def message(self, field: WireField) -> WireMessage:
        """The message in one of the fields of bytes."""
        if field.child is None:
            field.child = WireMessage(field.new) if field.new is not None else self._inner(field)
            # A message that was put in counts as edited, even if nothing in it changes.
            field.child._is_edited = field.new is not None
            field.new = None
        return field.child

    def only(self, number: int) -> WireMessage | None:
        """The message in the last field of that number, or None."""
        found = None
        for found in self.messages(number):  # noqa: B007 - the last one counts
            pass
        return found

    def bytes_of(self, field: WireField) -> bytes:
        """The bytes in a field of bytes, as they are now."""
        if field.child is not None:
            return field.child.encode()
        return self._data[field.body : field.end] if field.new is None else field.new

    def all_bytes(self, number: int) -> list[bytes]:
        """The bytes in each of the fields of that number."""
        return [self.bytes_of(field) for field in self.fields if field.is_message(number)]

    def bytes_at(self, number: int) -> bytes:
        """The bytes in the last field of that number; empty if it is absent."""
        for field in reversed(self.fields):
            if field.is_message(number):
                return self.bytes_of(field)
        return b""

    def text_of(self, field: WireField) -> str:
        """The text in a field of bytes, as it is now; bytes that are not UTF-8 are escaped."""
        return self.bytes_of(field).decode("utf-8", "surrogateescape")

    def text(self, number: int) -> str:
        """The text in the last field of that number; bytes that are not UTF-8 are escaped."""
        return self.bytes_at(number).decode("utf-8", "surrogateescape")

    def texts(self, number: int) -> list[str]:
        """The texts in the fields of that number."""
        return [self.text_of(field) for field in self.fields if field.is_message(number)]

    def integer(self, number: int) -> int:
        """The number in the last varint field of that number; 0 if it is absent."""
        for field in reversed(self.fields):
            if field.number == number and field.wire_type == VARINT:
                return field.value
        return 0

    def integers(self, number: int) -> list[int]:
        """The numbers of a repeated varint field, packed or not."""
        found: list[int] = []
        for field in self.fields:
            if field.number == number and field.wire_type == VARINT:
                found.append(field.value)
            elif field.is_message(number):
                packed, position = self.bytes_of(field), 0
                while position < len(packed):
                    value, position = read_varint(packed, position)
                    found.append(value)
        return found

    def has(self, number: int) -> bool:
        """Whether a field of that number is there."""
        return any(field.number == number for field in self.fields)

    def set_bytes(self, field: WireField, value: bytes) -> None:
        """Puts the bytes into a field of bytes, unless it has them."""
        if self.bytes_of(field) != value:
            field.child, field.new = None, value

    def map_texts(self, number: int, new_text: Callable[[str], str]) -> None:
        """Puts into each field of that number the text that `new_text` returns for its own."""
        for field in self.fields:
            if field.is_message(number):
                new = new_text(self.text_of(field))
                self.set_bytes(field, new.encode("utf-8", "surrogateescape"))

    def set_text(self, number: int, value: str) -> None:
        """Puts the text into the last field of that number, or into a new one as `add` does."""
        self.put(number, value.encode("utf-8", "surrogateescape"))

    def put(self, number: int, value: bytes) -> None:
        """Puts the bytes into the last field of that number, or into a new one as `add` does."""
        for field in reversed(self.fields):
            if field.is_message(number):
                self.set_bytes(field, value)
                return
        self.add(number, value)

    def put_integer(self, number: int, value: int) -> None:
        """Replaces the fields of that number by one with this value, from 0 on; none for 0."""
        if self.integer(number) == value and self.has(number):
            return
        self.replace(number, encode_field(number, value) if value else b"")

    def put_integers(self, number: int, values: list[int]) -> None:
        """Replaces the fields of that number by these values, packed."""
        if self.integers(number) != values:
            packed = b"".join(encode_varint(value) for value in values)
            self.replace(number, encode_field(number, packed) if values else b"")

    def add(self, number: int, *values: bytes) -> None:
        """Adds fields of bytes after the last one whose number is not greater."""
        added = []
        for value in values:
            field = WireField(number, LENGTH_DELIMITED, 0, 0, 0, 0)
            field.new = value
            added.append(field)
        place = len(self.fields)
        while place and self.fields[place - 1].number > number:
            place -= 1
        self.fields[place:place] = added
        self._is_edited = True

    def replace(self, number: int, encoded: bytes) -> None:
        """Replaces the fields of that number by encoded fields, at the place of the first."""
        fields = self.fields
        place = next((place for place, field in enumerate(fields) if field.number >= number), len(fields))
        self.remove(lambda field: field.number == number)
        added = []
        for field in WireMessage(encoded).fields:
            new = WireField(field.number, field.wire_type, 0, 0, 0, field.value)
            new.new = encoded[field.body : field.end]
            added.append(new)
        self.fields[place:place] = added
        self._is_edited = True

    def remove(self, is_removed: Callable[[WireField], bool]) -> int:
        """Removes the fields for which `is_removed` returns True; returns how many."""
        retained = [field for field in self.fields if not is_removed(field)]
        removed = len(self.fields) - len(retained)
        if removed:
            self._fields, self._is_edited = retained, True
        return removed

    def remove_messages(self, number: int, is_removed: Callable[[WireMessage], bool]) -> int:
        """Removes the messages of that number for which `is_removed` returns True; returns how many."""
        return self.remove(lambda field: field.is_message(number) and is_removed(self.message(field)))

    def remove_texts(self, number: int, is_removed: Callable[[str], bool]) -> int:
        """Removes the texts of that number for which `is_removed` returns True; returns how many."""
        return self.remove(lambda field: field.is_message(number) and is_removed(self.text_of(field)))

    def remove_places(self, number: int, places: Iterable[int]) -> None:
        """Removes the fields of bytes of that number at these places among them, the first is 0."""
        # A list would be searched for each of up to a million fields.
        place, removed = itertools.count(), frozenset(places)
        self.remove(lambda field: field.is_message(number) and next(place) in removed)

    def clear(self, number: int) -> bool:
        """Removes the fields of that number; returns whether there was one."""
        return bool(self.remove(lambda field: field.number == number))

    def encode(self) -> bytes:
        """The message as it is now."""
        if not self.is_edited:
            return self._data[self._start : self._end]
        return b"".join(self.pieces())

    @property
    def size_bytes(self) -> int:
        """How many bytes it takes now."""
        if not self.is_edited:
            return self._end - self._start
        return sum(map(_size, self.fields))

    def pieces(self) -> Iterator[bytes]:
        """The message as it is now, in pieces of at most a megabyte where it is not edited."""
        if not self.is_edited:
            yield from self._run(self._start, self._end)
            return
        begin = end = -1
        for field in self.fields:
            if not field.is_edited:
                if field.start != end:  # Adjacent fields are one piece.
                    yield from self._run(begin, end)
                    begin = field.start
                end = field.end
                continue
            yield from self._run(begin, end)
            begin = end = -1
            yield from _edited(field)
        yield from self._run(begin, end)

    def _run(self, start: int, end: int) -> Iterator[bytes]:
        for position in range(start, end, _PIECE_BYTES):
            yield self._data[position : min(end, position + _PIECE_BYTES)]

    def _inner(self, field: WireField) -> WireMessage:
        if field.wire_type != LENGTH_DELIMITED:
            raise BrokenModelError(f"Field {field.number} is not a message")
        return WireMessage(self._data, field.body, field.end, self._count)


def _copied(field: WireField) -> WireField:
    new = WireField(field.number, field.wire_type, field.start, field.body, field.end, field.value)
    new.new = field.new
    new.child = None if field.child is None else field.child.copy()
    return new


def _edited(field: WireField) -> Iterator[bytes]:
    if field.wire_type == LENGTH_DELIMITED:
        size = field.child.size_bytes if field.child is not None else len(field.new or b"")
        yield encode_varint(field.number << 3 | LENGTH_DELIMITED) + encode_varint(size)
        if field.child is not None:
            yield from field.child.pieces()
        else:
            yield field.new or b""
    else:
        tag = encode_varint(field.number << 3 | field.wire_type)
        yield tag + (encode_varint(field.value) if field.wire_type == VARINT else field.new or b"")


def _size(field: WireField) -> int:
    if not field.is_edited:
        return field.end - field.start
    tag = len(encode_varint(field.number << 3 | field.wire_type))
    if field.wire_type == LENGTH_DELIMITED:
        size = field.child.size_bytes if field.child is not None else len(field.new or b"")
        return tag + len(encode_varint(size)) + size
    if field.wire_type == VARINT:
        return tag + len(encode_varint(field.value))
    return tag + (8 if field.wire_type == FIXED64 else 4)


def map_entry(key: str | int, value: bytes) -> bytes:
    """An entry of a map: the key, and a message or text."""
    return encode_field(1, key) + encode_field(2, value)
