"""Structured values: arguments and results of traced functions."""

from __future__ import annotations

from typing import Any

import pytest

from hubcli.errors import BrokenModelError
from hubcli.savedmodel.types import (
    DTypeValue,
    Fields,
    Items,
    Literal,
    ShapeValue,
    TensorSpec,
    TypeSpec,
    decode,
    python_text,
    tensors_of,
)
from tests.cases import each_of
from tests.savedmodel.protos import (
    FLOAT,
    INT,
    STRING,
    Spec,
    dtype_value,
    message,
    shape_value,
    spec_value,
    value,
)


@each_of(
    "content, text",
    [
        (None, "None"),
        (True, "True"),
        (-3, "-3"),
        (2**62, str(2**62)),
        (0.5, "0.5"),
        (float("inf"), "inf"),
        ("a'b", '"a\'b"'),
        ([1, 2], "[1, 2]"),
        ((1,), "(1,)"),
        ((), "()"),
        ((1, None), "(1, None)"),
        ({"b": 1, "a": "x"}, "{'a': 'x', 'b': 1}"),
        (Spec(FLOAT, (None, 3)), "float32[?, 3]"),
        (Spec(STRING, ()), "string[]"),
        (Spec(INT, None), "int32[...]"),
        (Spec(999, (1,)), "unknown-999[1]"),
        (dtype_value(19), "tf.float16"),
        (shape_value(None, 2), "TensorShape([?, 2])"),
        (
            spec_value(3, shape_value(None, None), dtype_value(FLOAT), 1, dtype_value(9)),
            "RaggedTensor(float32[?, ?])",
        ),
        (spec_value(1, shape_value(2, 3), dtype_value(FLOAT)), "SparseTensor(float32[2, 3])"),
        (spec_value(13, name="my.Ext"), "my.Ext()"),
        (spec_value(0), "Type()"),
    ],
)
def test_each_kind_has_a_text(content: Any, text: str) -> None:
    assert str(decode(value(content))) == text


@each_of("content", [(), (1,), (1, None), [1], [], {"a": (True,)}])
def test_pythons_own_form_is_what_python_writes(content: Any) -> None:
    assert python_text(decode(value(content))) == repr(content)


def test_a_tensor_has_its_name() -> None:
    assert decode(value(Spec(FLOAT, (2,), "x"))) == TensorSpec("float32", (2,), "x")
    assert decode(value(Spec(FLOAT, (2,)))) == TensorSpec("float32", (2,), None)


def test_a_bounded_tensor_is_a_tensor() -> None:
    bounded = message("StructuredValue", bounded_tensor_spec_value=Spec(FLOAT, (2,)).proto)
    assert decode(bounded) == TensorSpec("float32", (2,))


@pytest.mark.parametrize("kind", ["tensor_value", "numpy_value"])
def test_a_constant_tensor_is_told_by_its_type_and_shape(kind: str) -> None:
    constant = message("StructuredValue", **{kind: {"dtype": INT, "tensor_shape": {"dim": [{"size": 4}]}}})
    assert decode(constant) == TensorSpec("int32", (4,))


def test_a_ragged_spec_has_its_rank_and_the_type_of_its_splits() -> None:
    ragged = spec_value(3, shape_value(None, None), dtype_value(FLOAT), 2, dtype_value(9))
    assert decode(ragged) == TypeSpec("RaggedTensorSpec", "float32", (None, None), 2, "int64")
    assert decode(spec_value(3)) == TypeSpec("RaggedTensorSpec")


def test_a_spec_without_a_state_is_told_by_its_class() -> None:
    bare = message("StructuredValue", type_spec_value={"type_spec_class": 5})
    assert decode(bare) == TypeSpec("DatasetSpec")


def test_a_named_tuple_keeps_its_order_and_its_name() -> None:
    proto = message("StructuredValue")
    proto.named_tuple_value.name = "Point"
    for key in ("y", "x"):
        proto.named_tuple_value.values.add(key=key, value=value(1))
    decoded = decode(proto)
    assert decoded == Fields((("y", Literal(1)), ("x", Literal(1))), "Point")
    assert str(decoded) == "Point(y=1, x=1)"


def test_the_other_kinds_are_values_of_their_own() -> None:
    assert decode(dtype_value(FLOAT)) == DTypeValue("float32")
    assert decode(shape_value(3)) == ShapeValue((3,))
    assert decode(value([])) == Items(is_tuple=False, items=())


@each_of("where", ["top", "list", "dict"])
def test_a_value_that_holds_nothing_is_refused(where: str) -> None:
    empty = message("StructuredValue")
    content = {"top": empty, "list": [empty], "dict": {"a": empty}}[where]
    with pytest.raises(BrokenModelError, match="without a value"):
        decode(value(content))


def test_tensors_are_found_wherever_they_stand() -> None:
    nested = ({"b": [Spec(FLOAT, ())], "a": (Spec(INT, ()), 3)}, "x", spec_value(1))
    assert [str(tensor) for tensor in tensors_of(decode(value(nested)))] == [
        "int32[]",
        "float32[]",
        "SparseTensor()",
    ]
