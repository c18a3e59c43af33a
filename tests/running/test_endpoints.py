"""Values in a TensorProto, such as defaults of inputs, as they lie in memory."""

from __future__ import annotations

import struct
from typing import Any

from hubcli.running.endpoints import tensor_of_proto
from tests.cases import each_of
from tests.savedmodel.protos import message

# The type, the field of its values, two of them, and how they lie in memory.
TYPES = [
    (1, "float_val", [0.5, -2.0], "f"),
    (2, "double_val", [0.25, -2.0], "d"),
    (3, "int_val", [-7, 70_000], "i"),
    (4, "int_val", [7, 255], "B"),
    (5, "int_val", [-7, 300], "h"),
    (6, "int_val", [-7, 100], "b"),
    (9, "int64_val", [2**40, -1], "q"),
    (10, "bool_val", [True, False], "?"),
    (14, "half_val", [0x3F80, 1], "H"),
    (17, "int_val", [1, 65535], "H"),
    (19, "half_val", [0x3C00, 1], "H"),
    (22, "uint32_val", [5, 2**32 - 1], "I"),
    (23, "uint64_val", [5, 2**64 - 1], "Q"),
]


def proto(dtype: int, *sizes: int, **fields: Any) -> Any:
    return message(
        "TensorProto", dtype=dtype, tensor_shape={"dim": [{"size": size} for size in sizes]}, **fields
    )


@each_of("dtype, field, values, form", TYPES)
def test_values_of_each_type(dtype: int, field: str, values: list[Any], form: str) -> None:
    for given, expected in ((values, [*values, values[1]]), ([], [0, 0, 0])):
        tensor = tensor_of_proto(proto(dtype, 3, **{field: given}))
        assert tensor is not None
        assert (tensor.dtype, tensor.shape) == (dtype, (3,))
        assert tensor.data == struct.pack(f"<3{form}", *expected)
    content = struct.pack(f"<2{form}", *values)
    whole = tensor_of_proto(proto(dtype, 2, tensor_content=content))
    assert whole is not None
    assert whole.data == content
    assert tensor_of_proto(proto(dtype, 2, tensor_content=content[1:])) is None


def test_texts_are_repeated_too() -> None:
    for given, expected in (([b"a", b"b"], [b"a", b"b", b"b"]), ([], [b"", b"", b""])):
        tensor = tensor_of_proto(proto(7, 3, string_val=given))
        assert tensor is not None
        assert list(tensor.data) == expected


@each_of(
    "odd",
    [
        proto(8, 1),
        proto(21, 1),
        proto(4, 1, int_val=[256]),
        proto(1, 1 << 40),
        message("TensorProto", dtype=1, tensor_shape={"unknown_rank": True}),
    ],
)
def test_what_has_no_values_or_too_many_is_none(odd: Any) -> None:
    assert tensor_of_proto(odd) is None
