"""A scanner of protobuf's wire format that reads lengths and skips bodies.

It finds out what a message holds without parsing it, so a graph of a gigabyte
costs a few reads. Source of the format:
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from hubcli.errors import BrokenModelError

__all__ = ["Field", "WireReader", "read_varint"]

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10
_MAX_FIELDS = 100_000


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message: where its value stands in the file, in bytes.

    `value` holds the number of a varint field; it is 0 for the other types.
    """

    number: int
    wire_type: int
    start: int
    end: int
    value: int = 0


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """The varint at `position` and the position after it.

    Raises BrokenModelError where the bytes end first or the number needs more
    than 64 bits.
    """
    result = 0
    for count in range(_MAX_VARINT_BYTES):
        if position + count >= len(data):
            raise BrokenModelError("A number is cut off")
        byte = data[position + count]
        result |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            if result >> 64:
                break
            return result, position + count + 1
    raise BrokenModelError("A number has more than 64 bits")


class WireReader:
    """Fields of the messages in a seekable file of `size` bytes."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.size = size

    def fields(self, start: int = 0, end: int | None = None) -> Iterator[Field]:
        """The fields of the message at `start` to `end`, in file order.

        Raises BrokenModelError where a field leaves the message or has a type
        that protobuf doesn't know.
        """
        position, end = start, self.size if end is None else end
        for _ in range(_MAX_FIELDS):
            if position >= end:
                return
            head = self.read(position, min(position + 2 * _MAX_VARINT_BYTES, end))
            key, used = read_varint(head, 0)
            number, wire_type = key >> 3, key & 7
            if number == 0:
                raise BrokenModelError(f"Field number 0 at byte {position}")
            value, length = 0, 0
            if wire_type == VARINT:
                value, used = read_varint(head, used)
            elif wire_type == LENGTH_DELIMITED:
                length, used = read_varint(head, used)
            elif wire_type in (FIXED64, FIXED32):
                length = 8 if wire_type == FIXED64 else 4
            else:
                raise BrokenModelError(f"Unknown wire type {wire_type} at byte {position}")
            body = position + used
            if body + length > end:
                raise BrokenModelError(f"A field at byte {position} reaches beyond its message")
            yield Field(number, wire_type, body, body + length, value)
            position = body + length
        raise BrokenModelError(f"More than {_MAX_FIELDS} fields in one message")

    def read(self, start: int, end: int) -> bytes:
        """The bytes of the file from `start` to `end`; raises BrokenModelError where it is shorter."""
        self._file.seek(start)
        data = self._file.read(end - start)
        if len(data) != end - start:
            raise BrokenModelError(f"The file ends before byte {end}")
        return data
