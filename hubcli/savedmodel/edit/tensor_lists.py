"""Lists in a graph whose items are known by their places: strings of a constant, types and shapes.

Source: tensorflow/core/framework/tensor.proto and attr_value.proto.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from hubcli.formats.wire import encode_field
from hubcli.formats.wire_message import WireMessage

__all__ = ["drop_list_items", "list_length", "map_types", "strings_of", "tensor_of_strings", "types_of"]

_LIST = 1  # of AttrValue
_TYPES, _SHAPES = 6, 7  # of ListValue
_STRING, _STRING_VAL = 7, 8  # DT_STRING; of TensorProto
_MAX_STRINGS = 1_000_000


def strings_of(tensor: WireMessage) -> list[bytes]:
    """The strings of a TensorProto, which may store equal ones at its end once."""
    values = tensor.all_bytes(_STRING_VAL)
    count = 1
    for shape in tensor.messages(2):
        for dimension in shape.messages(2):
            # A product of a million large sizes would take hours.
            count = min(count * dimension.integer(1), _MAX_STRINGS + 1)
    if values and len(values) < count <= _MAX_STRINGS:
        values += values[-1:] * (count - len(values))
    return values[:count]


def tensor_of_strings(values: Sequence[bytes]) -> bytes:
    """The encoded TensorProto of a vector of strings."""
    shape = encode_field(2, encode_field(1, len(values)))
    texts = b"".join(encode_field(_STRING_VAL, value) for value in values)
    return encode_field(1, _STRING) + encode_field(2, shape) + texts


def list_length(value: WireMessage) -> int:
    """How many types or shapes the AttrValue lists."""
    return sum(
        len(values.integers(_TYPES)) or sum(1 for _ in values.messages(_SHAPES))
        for values in value.messages(_LIST)
    )


def drop_list_items(value: WireMessage, places: Collection[int]) -> None:
    """Removes the types or shapes at these places from the AttrValue."""
    for values in value.messages(_LIST):
        types = values.integers(_TYPES)
        if types:
            values.put_integers(_TYPES, [number for place, number in enumerate(types) if place not in places])
            continue
        values.remove_places(_SHAPES, places)


def types_of(value: WireMessage) -> list[int]:
    """The types that the AttrValue lists."""
    return [number for values in value.messages(_LIST) for number in values.integers(_TYPES)]


def map_types(value: WireMessage, types: Sequence[int]) -> None:
    """Replaces the types in the AttrValue's list."""
    for values in value.messages(_LIST):
        values.put_integers(_TYPES, list(types))
