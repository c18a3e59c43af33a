"""Signatures and the tensors in them."""

from __future__ import annotations

import struct
from typing import Any

from hubcli.savedmodel.functions import INIT_OP, TRAIN_OP, Default, op_name, read_signatures
from tests.cases import each_of
from tests.savedmodel.protos import FLOAT, INT, STRING, call_signature, init_signature, message


def signature_of(**parts: Any) -> Any:
    """The one signature `s` of those fields, as it is read."""
    (signature,) = read_signatures({"s": message("SignatureDef", **parts)})
    return signature


def test_signatures_and_their_tensors_are_sorted() -> None:
    parts = {"inputs": {"b": {"name": "b:0"}, "a": {"name": "a:0"}}}
    definitions = {name: message("SignatureDef", **parts) for name in ("z", "a")}
    signatures = read_signatures(definitions)
    assert [signature.name for signature in signatures] == ["a", "z"]
    assert [tensor.name for tensor in signatures[0].inputs] == ["a", "b"]


def test_names_of_ops_to_run_are_no_signatures() -> None:
    definitions = {INIT_OP: init_signature("i"), TRAIN_OP: init_signature("t"), "s": call_signature("o:0")}
    assert [signature.name for signature in read_signatures(definitions)] == ["s"]
    assert op_name(message("MetaGraphDef", signature_def=definitions), INIT_OP) == "i"
    assert op_name(message("MetaGraphDef"), TRAIN_OP) is None
    nothing = message("MetaGraphDef", signature_def={INIT_OP: message("SignatureDef")})
    assert op_name(nothing, INIT_OP) is None


def test_the_op_to_run_is_the_one_of_its_own_key() -> None:
    signature = init_signature("right")
    signature.outputs["A"].name = "wrong"
    assert op_name(message("MetaGraphDef", signature_def={INIT_OP: signature}), INIT_OP) == "right"


def test_a_dense_tensor() -> None:
    shape = {"dim": [{"size": -1}, {"size": 3}]}
    tensor = signature_of(outputs={"o": {"name": "o:0", "dtype": FLOAT, "tensor_shape": shape}}).outputs[0]
    assert (tensor.kind, tensor.dtype, tensor.shape, tensor.tensor) == ("dense", "float32", (None, 3), "o:0")


def test_a_tensor_of_any_rank_and_one_without_a_name() -> None:
    tensor = signature_of(inputs={"i": {"dtype": 105, "tensor_shape": {"unknown_rank": True}}}).inputs[0]
    assert (tensor.kind, tensor.dtype, tensor.shape, tensor.tensor) == ("dense", "int16", None, None)


def test_a_sparse_tensor_has_its_three_parts() -> None:
    sparse = {"values_tensor_name": "v", "indices_tensor_name": "i", "dense_shape_tensor_name": "s"}
    tensor = signature_of(inputs={"i": {"coo_sparse": sparse}}).inputs[0]
    assert (tensor.kind, tensor.tensor, tensor.components) == ("sparse", None, ("v", "i", "s"))


def test_a_composite_tensor_has_its_parts() -> None:
    composite = {"components": [{"name": "a:0"}, {"name": "b:0"}]}
    tensor = signature_of(inputs={"i": {"composite_tensor": composite}}).inputs[0]
    assert (tensor.kind, tensor.components) == ("composite", ("a:0", "b:0"))


@each_of(
    "proto, expected",
    [
        ({"dtype": FLOAT, "float_val": [0.5]}, 0.5),
        ({"dtype": 2, "double_val": [0.25]}, 0.25),
        ({"dtype": INT, "int_val": [-7]}, -7),
        ({"dtype": 4, "int_val": [7]}, 7),
        ({"dtype": 9, "int64_val": [2**40]}, 2**40),
        ({"dtype": 10, "bool_val": [True]}, True),
        ({"dtype": 22, "uint32_val": [5]}, 5),
        ({"dtype": 23, "uint64_val": [5]}, 5),
        ({"dtype": STRING, "string_val": [b"a\xff"]}, "a\\xff"),
        ({"dtype": INT, "tensor_content": struct.pack("<i", -9)}, -9),
        ({"dtype": 19, "tensor_content": struct.pack("<e", 1.5)}, 1.5),
        ({"dtype": 10, "tensor_content": b"\1"}, True),
        ({"dtype": INT, "tensor_content": b"abc"}, None),
        ({"dtype": FLOAT}, 0.0),
        ({"dtype": INT}, 0),
        ({"dtype": 10}, False),
        ({"dtype": STRING}, ""),
        ({"dtype": 8}, None),
        ({"dtype": FLOAT, "float_val": [1.0, 2.0], "tensor_shape": {"dim": [{"size": 2}]}}, None),
    ],
)
def test_the_value_of_a_default(proto: dict[str, Any], expected: object) -> None:
    tensor = signature_of(inputs={"i": {"name": "i:0"}}, defaults={"i": proto}).inputs[0]
    assert tensor.default is not None
    assert (tensor.default.value, type(tensor.default.value)) == (expected, type(expected))


def test_an_input_without_a_default_has_none() -> None:
    signature = signature_of(inputs={"i": {"name": "i:0"}}, defaults={"other": {"dtype": FLOAT}})
    assert signature.inputs[0].default is None


def test_a_default_of_zero_is_zero() -> None:
    """tf.make_tensor_proto writes float_val: 0; a TensorProto with fewer values repeats the last, or 0."""
    tensor = signature_of(inputs={"i": {}}, defaults={"i": {"dtype": FLOAT}}).inputs[0]
    assert tensor.default == Default("float32", (), 0.0)


def test_the_line_that_calls_it() -> None:
    assert signature_of(inputs={"b": {}, "a": {}}).call == 'obj.signatures["s"](a=…, b=…)'
    assert signature_of(inputs={"a-b": {}}).call == "obj.signatures[\"s\"](**{'a-b': …})"
    assert signature_of().call == 'obj.signatures["s"]()'


@each_of("signature, key", [("s", "class"), ('a"b', "x"), ("a\\", "x")])
def test_the_line_that_calls_it_is_python(signature: str, key: str) -> None:
    (definition,) = read_signatures({signature: message("SignatureDef", inputs={key: {}})})
    compile(definition.call.replace("…", "..."), "call", "eval")
