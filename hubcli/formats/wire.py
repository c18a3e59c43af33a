"""A scanner of protobuf's wire format that reads lengths and skips bodies.

It finds the fields of a message without parsing their values, so a graph of a
gigabyte costs a few reads. Source of the format:
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from mmap import mmap
from typing import NamedTuple, TypeAlias

from hubcli.errors import BrokenModelError, ModelLimitError

__all__ = [
    "FIXED32",
    "FIXED64",
    "LENGTH_DELIMITED",
    "VARINT",
    "Bytes",
    "Field",
    "encode_varint",
    "messages",
    "read_varint",
    "scan",
    "varints",
]

Bytes: TypeAlias = bytes | mmap

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10
MAX_FIELDS = 100_000


def encode_varint(value: int) -> bytes:
    r"""The number from 0 on as a varint.

    >>> encode_varint(300)
    b'\xac\x02'
    """
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def encode_field(number: int, value: int | str | bytes) -> bytes:
    """A field of a message: a number from 0 on, text, or the bytes of anything else."""
    # Its key has one byte, and so have most numbers and lengths in the schema of models.
    is_short = number < 16
    if isinstance(value, int):
        if is_short and value < 0x80:
            return bytes((number << 3 | VARINT, value))
        return encode_varint(number << 3 | VARINT) + encode_varint(value)
    body = value.encode() if isinstance(value, str) else value
    if is_short and len(body) < 0x80:
        return bytes((number << 3 | LENGTH_DELIMITED, len(body))) + body
    return encode_varint(number << 3 | LENGTH_DELIMITED) + encode_varint(len(body)) + body


class Field(NamedTuple):
    """One field of a message: start and end of its value in the data, in bytes.

    `value` holds the number of a varint field; it is 0 for the other types.
    A named tuple is made three times as fast as a frozen dataclass, and a
    graph has a hundred thousand fields.
    """

    number: int
    wire_type: int
    start: int
    end: int
    value: int = 0

    def is_message(self, number: int) -> bool:
        """Whether it has that number and holds bytes: a message, text, or just bytes."""
        return self.number == number and self.wire_type == LENGTH_DELIMITED


def read_varint(data: Bytes, position: int) -> tuple[int, int]:
    """The varint at `position` and the position after it.

    Raises BrokenModelError if the bytes end first or the number needs more
    than 64 bits.
    """
    if position < len(data) and data[position] < 0x80:  # Most are of one byte.
        return data[position], position + 1
    result = 0
    for count in range(_MAX_VARINT_BYTES):
        if position + count >= len(data):
            raise BrokenModelError("A number is truncated")
        byte = data[position + count]
        result |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            if result >> 64:
                break
            return result, position + count + 1
    raise BrokenModelError("A number has more than 64 bits")


def scan(
    data: Bytes, start: int = 0, end: int | None = None, *, max_fields: int = MAX_FIELDS
) -> Iterator[Field]:
    """The fields of the message in `data` from `start` to `end`, in file order.

    Raises BrokenModelError if a field exceeds the message or has a wire type that protobuf doesn't have,
    ModelLimitError after `max_fields`.
    """
    position, end = start, len(data) if end is None else end
    for _ in range(max_fields):
        if position >= end:
            return
        key, body = data[position], position + 1
        if key >= 0x80:  # Tags of one byte are read without a call: they are nearly all.
            key, body = read_varint(data, position)
        number, wire_type = key >> 3, key & 7
        # C++'s protobuf cuts a tag to 32 bits: a longer one would name another field there.
        if number == 0 or key >> 32:
            raise BrokenModelError(f"Field number {number} at byte {position}")
        value, length = 0, 0
        if wire_type == LENGTH_DELIMITED:
            if body < end and data[body] < 0x80:  # As are most lengths.
                length, body = data[body], body + 1
            else:
                length, body = read_varint(data, body)
        elif wire_type == VARINT:
            value, body = read_varint(data, body)
        elif wire_type in (FIXED64, FIXED32):
            length = 8 if wire_type == FIXED64 else 4
        else:
            raise BrokenModelError(f"Unknown wire type {wire_type} at byte {position}")
        if body + length > end:
            raise BrokenModelError(f"A field at byte {position} exceeds its message")
        yield Field(number, wire_type, body, body + length, value)
        position = body + length
    if position < end:
        raise ModelLimitError(f"More than {max_fields} fields in one message")


def messages(
    data: Bytes, number: int, start: int = 0, end: int | None = None, *, max_fields: int = MAX_FIELDS
) -> Iterator[Field]:
    """The fields of that number that hold bytes. Raises BrokenModelError as `scan` does."""
    for field in scan(data, start, end, max_fields=max_fields):
        if field.is_message(number):
            yield field


def varints(data: Bytes, start: int = 0, end: int | None = None) -> dict[int, int]:
    """The numbers of the message by field: the last of each counts, and other types don't.

    Raises BrokenModelError as `scan` does.
    """
    return {field.number: field.value for field in scan(data, start, end) if field.wire_type == VARINT}
