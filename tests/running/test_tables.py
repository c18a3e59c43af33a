"""Records of tables, such as serialized tf.Examples, as values by feature."""

from __future__ import annotations

import struct

from hubcli.formats.wire import encode_field
from hubcli.formats.wire_message import map_entry
from hubcli.running.tables import example_features


def feature(number: int, content: bytes) -> bytes:
    """A Feature with a BytesList (1), a FloatList (2) or an Int64List (3)."""
    return encode_field(number, content)


def example(**features: bytes) -> bytes:
    return encode_field(1, b"".join(encode_field(1, map_entry(name, own)) for name, own in features.items()))


def test_each_kind_of_feature_has_its_values() -> None:
    packed = b"\x05" + b"\xff" * 9 + b"\x01" + b"\xff" * 8 + b"\x7f"
    record = example(
        text=feature(1, encode_field(1, b"a") + encode_field(1, b"\xff")),
        real=feature(2, encode_field(1, struct.pack("<2f", 0.5, -2))),
        packed=feature(3, encode_field(1, packed)),
        single=feature(3, encode_field(1, 2**64 - 7)),
    )
    assert example_features(record) == {
        "text": [b"a", b"\xff"],
        "real": [0.5, -2.0],
        "packed": [5, -1, 2**63 - 1],
        "single": [-7],
    }


def test_bytes_that_are_not_an_example_give_none() -> None:
    for record in (encode_field(2, b"x"), b"\xff", example(x=b"")[:-1]):
        assert example_features(record) is None
