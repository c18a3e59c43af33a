"""Requests of TensorFlow Serving as tensors, and outputs as its answers."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from hubcli.errors import InputError
from hubcli.running.endpoints import Endpoint
from hubcli.running.serving import PredictRequest, answer_text
from hubcli.running.session import OutputBatch
from hubcli.running.values import nested
from hubcli.tf.run_protocol import Tensor
from tests.cases import each_of
from tests.running.ports import port, signature

ONE_INPUT = signature(port("x", "float32", (None, 1)))
TWO = signature(port("a", "float32", (None,)), port("text", "string", (None,)))


def columns(endpoint: Endpoint, document: Any) -> dict[str, Any]:
    request = PredictRequest.parse(document)
    return {name: nested(tensors[0]) for name, tensors in request.columns(endpoint).tensors.items()}


@each_of(
    "document",
    [
        {"instances": [[1.0], [2.0]]},
        {"instances": [{"x": [1.0]}, {"x": [2.0]}]},
        {"inputs": [[1.0], [2.0]]},
        {"inputs": {"x": [[1.0], [2.0]]}},
    ],
)
def test_rows_and_columns_of_one_input(document: Any) -> None:
    assert columns(ONE_INPUT, document) == {"x": [[1.0], [2.0]]}


def test_rows_of_several_inputs_and_bytes() -> None:
    rows = {"instances": [{"a": 1, "text": "x"}, {"a": 2, "text": {"b64": "/w=="}}]}
    assert columns(TWO, rows) == {"a": [1.0, 2.0], "text": [b"x", b"\xff"]}
    assert columns(TWO, {"inputs": {"a": [1], "text": [{"b64": "/w=="}]}}) == {"a": [1.0], "text": [b"\xff"]}


def test_bytes_are_a_value_of_a_single_input_and_no_names() -> None:
    text = signature(port("text", "string", (None,)))
    assert columns(text, {"instances": [{"b64": "YQ=="}, "b"]}) == {"text": [b"a", b"b"]}
    assert columns(text, {"inputs": {"b64": "YQ=="}}) == {"text": [b"a"]}


@each_of(
    "document",
    [
        [],
        {},
        {"instances": []},
        {"instances": {"x": 1}},
        {"instances": [[1]], "inputs": [[1]]},
        {"instances": [[1.0], [2.0, 3.0]]},
        {"instances": [[1]], "signature_name": 5},
        {"instances": [{"y": [1]}]},
        {"inputs": {"y": [1]}},
        {"instances": [1, 2]},
        {"inputs": [1]},
    ],
)
def test_what_serving_refuses_is_refused(document: Any) -> None:
    with pytest.raises(InputError):
        columns(ONE_INPUT, document)


def test_columns_of_no_input_are_left_out_as_serving_does() -> None:
    assert columns(ONE_INPUT, {"inputs": {"x": [[1.0]], "other": 1}}) == {"x": [[1.0]]}


@each_of(
    "document, message",
    [
        ({"signature_name": "x"}, "Missing 'inputs' or 'instances' key"),
        ({"inputs": {"a": [1]}}, "Missing named input: text in 'inputs' object"),
        ({"inputs": [1]}, "inputs is a plain value/list, but expecting an object"),
        (
            {"instances": [{"a": 1, "text": "x"}, {"a": 1}]},
            "Failed to process element: 1 of 'instances' list: keys must be equal to: a,text",
        ),
    ],
)
def test_a_refusal_has_the_words_of_serving(document: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        columns(TWO, document)
    assert caught.value.message.startswith(message)


def test_several_inputs_need_names() -> None:
    with pytest.raises(InputError, match="instances is a plain list, but expecting list of objects"):
        columns(TWO, {"instances": [1]})


def answer(document: Any, endpoint: Endpoint, *tensors: Tensor, rows: int | None = 2) -> str:
    batch = OutputBatch(tuple((tensor,) for tensor in tensors), rows, False, (0.0,))
    return answer_text(PredictRequest.parse(document), endpoint, batch)


FLOATS = Tensor(1, (2,), struct.pack("<2f", 1.5, float("nan")))
TEXTS = Tensor(7, (2,), [b"a", b"\xc3\xbc"])
BY_ROWS, BY_COLUMNS = {"instances": [[1], [2]]}, {"inputs": [[1], [2]]}


def test_one_output_stands_alone_and_non_finite_numbers_are_bare() -> None:
    endpoint = signature(port("x"), outputs=(port("y", "float32", (None,)),))
    assert answer(BY_ROWS, endpoint, FLOATS) == '{"predictions": [1.5, NaN]}'
    assert answer(BY_COLUMNS, endpoint, FLOATS) == '{"outputs": [1.5, NaN]}'


def test_several_outputs_have_names_and_those_of_bytes_are_in_base64() -> None:
    outputs = (port("y", "float32", (None,)), port("text", "string", (None,)))
    found = json.loads(answer(BY_ROWS, signature(port("x"), outputs=outputs), FLOATS, TEXTS))
    assert found["predictions"][1]["text"] == "ü"
    outputs = (port("y", "float32", (None,)), port("image_bytes", "string", (None,)))
    found = json.loads(answer(BY_COLUMNS, signature(port("x"), outputs=outputs), FLOATS, TEXTS))
    assert found["outputs"]["image_bytes"] == [{"b64": "YQ=="}, {"b64": "w7w="}]


def test_an_output_without_rows_can_not_be_told_by_rows() -> None:
    endpoint = signature(port("x"), outputs=(port("y", "float32", ()),))
    with pytest.raises(InputError, match="y has no shape information"):
        answer(BY_ROWS, endpoint, Tensor(1, (), struct.pack("<f", 1)))


def test_rows_of_an_answer_are_those_of_the_outputs() -> None:
    """A signature of fixed shape takes the elements of `instances` as its first dimension."""
    endpoint = signature(port("x", shape=(2,)), outputs=(port("y", "float32", (2,)),))
    assert answer(BY_ROWS, endpoint, FLOATS, rows=None) == '{"predictions": [1.5, NaN]}'
    outputs = (port("y", "float32", (None,)), port("z", "float32", (None,)))
    empty = Tensor(1, (0,), b"")
    with pytest.raises(InputError, match="z has inconsistent batch size: 0 expecting: 2"):
        answer(BY_ROWS, signature(port("x"), outputs=outputs), FLOATS, empty)
