"""Warmup requests and defaults: read from files, made up, written as Serving reads them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from hubcli.errors import InputError, NotFoundError, UsageError
from hubcli.exporting.requests import (
    WarmupRequest,
    encoded_defaults,
    encoded_requests,
    read_requests,
    request_count,
    sampled_requests,
    signatures_of,
)
from hubcli.formats.checksums import masked_crc32c
from hubcli.formats.protos import parse
from hubcli.formats.wire_message import WireMessage
from hubcli.running.endpoints import Endpoint, tensor_of_proto
from hubcli.running.model_process import sampled_inputs
from hubcli.savedmodel.edit.editable import EditableModel
from hubcli.tf.run_protocol import STRING, Tensor
from tests.cases import each_of
from tests.models import example_files


@pytest.fixture(scope="module")
def signatures() -> dict[str, Endpoint]:
    return signatures_of(EditableModel.parse(example_files()["saved_model.pb"]))


def records(data: bytes) -> list[bytes]:
    """The records of a TFRecord file, whose checksums are right."""
    found = []
    while data:
        length = int.from_bytes(data[:8], "little")
        assert data[8:12] == masked_crc32c(data[:8]).to_bytes(4, "little")
        found.append(data[12 : 12 + length])
        assert data[12 + length : 16 + length] == masked_crc32c(found[-1]).to_bytes(4, "little")
        data = data[16 + length :]
    return found


def read_back(record: bytes) -> tuple[str, dict[str, Any]]:
    """The signature and the inputs of a PredictionLog."""
    log = WireMessage(record).only(6)
    request = None if log is None else log.only(1)
    assert request is not None
    spec = request.only(1)
    assert spec is not None
    inputs = {
        entry.text(1): tensor_of_proto(parse("TensorProto", entry.bytes_at(2)))
        for entry in request.messages(2)
    }
    return spec.text(3), {
        name: (tensor.dtype, tensor.shape, tensor.data) for name, tensor in inputs.items() if tensor
    }


BODIES = [
    {"instances": [[1.0], [2.0]]},
    {"inputs": {"x": [[1.0], [2.0]]}, "signature_name": "serving_default"},
]
EXPECTED = ("serving_default", {"x": (1, (2, 1), b"\x00\x00\x80?\x00\x00\x00@")})


@each_of(
    "name, text",
    [
        ("one.json", json.dumps(BODIES[0], indent=1)),
        ("several.json", json.dumps(BODIES, indent=1)),
        ("lines.jsonl", "\n".join(map(json.dumps, BODIES))),
    ],
)
def test_bodies_of_serving_become_records(
    name: str, text: str, tmp_path: Path, signatures: dict[str, Endpoint]
) -> None:
    (tmp_path / name).write_text(text)
    requests = read_requests(str(tmp_path / name), signatures)
    written = [read_back(record) for record in records(encoded_requests(requests))]
    assert written == [EXPECTED] * len(requests)
    assert len(requests) == (1 if name == "one.json" else 2)


def test_tensors_of_each_type_are_written_as_they_are() -> None:
    tensors = {
        "n": Tensor(9, (2,), struct.pack("<2q", 2**40, -1)),
        "h": Tensor(19, (1, 1), struct.pack("<e", 1.5)),
        "t": Tensor(STRING, (2,), [b"word", b"\xff"]),
    }
    (record,) = records(encoded_requests([WarmupRequest("s", tensors)]))
    assert read_back(record) == (
        "s",
        {name: (tensor.dtype, tensor.shape, tensor.data) for name, tensor in tensors.items()},
    )


def test_rows_of_json_lines_are_requests_of_one(tmp_path: Path, signatures: dict[str, Endpoint]) -> None:
    (tmp_path / "rows.jsonl").write_text('{"x": [3.0]}\n{"x": [4.0]}\n')
    requests = read_requests(str(tmp_path / "rows.jsonl"), signatures)
    assert [request.inputs["x"].shape for request in requests] == [(1, 1), (1, 1)]


@pytest.mark.tensorflow
def test_arrays_of_an_npz_are_one_request(tmp_path: Path, signatures: dict[str, Endpoint]) -> None:
    numpy = pytest.importorskip("numpy")
    numpy.savez(tmp_path / "arrays.npz", x=numpy.array([[1.0], [2.0]], "float32"))
    requests = read_requests(str(tmp_path / "arrays.npz"), signatures)
    assert [read_back(record) for record in records(encoded_requests(requests))] == [EXPECTED]


@each_of(
    "text, words",
    [
        ('{"instances": [[1.0]], "signature_name": "other"}', "no signature 'other'"),
        ('{"instances": [["text"]]}', "request 1"),
        ('{"instances": [[1.0]], "inputs": [[1.0]]}', "must have one of them"),
        ('{"instances": [1.0', "JSON"),
        ("[]", "contains no requests"),
    ],
)
def test_a_request_that_does_not_fit_is_named(
    text: str, words: str, tmp_path: Path, signatures: dict[str, Endpoint]
) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(InputError, match=words):
        read_requests(str(tmp_path / "bad.json"), signatures)


def test_more_requests_than_serving_reads_are_refused(
    tmp_path: Path, signatures: dict[str, Endpoint]
) -> None:
    (tmp_path / "many.jsonl").write_text('{"x": [1.0]}\n' * 1001)
    with pytest.raises(InputError, match="more than 1,000 requests"):
        read_requests(str(tmp_path / "many.jsonl"), signatures)
    for text in ("1001", "0", "-1", "9" * 5000):
        with pytest.raises(UsageError, match=f"Invalid number of requests {text[:20]}") as caught:
            request_count(text)
        assert caught.value.hint == "Use 1 to 1000."


def test_warmup_takes_a_number_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [request_count(text) for text in ("1", "1000", "requests.jsonl", "-", "\u0663")] == [
        1,
        1000,
        None,
        None,
        None,
    ]
    (tmp_path / "7").mkdir()
    assert request_count("7") == 7, (
        "a version of Serving, beside which the command runs, is not a file of requests"
    )
    with pytest.raises(NotFoundError, match="Cannot read absent") as caught:
        read_requests("absent", {})
    assert "--warmup N" in caught.value.hint


def test_sampled_requests_have_batches_of_two_and_one(signatures: dict[str, Endpoint]) -> None:
    requests, notes = sampled_requests(4, signatures, sampled_inputs)
    assert [request.inputs["x"].shape for request in requests] == [(2, 1), (1, 1), (2, 1), (1, 1)]
    assert notes == []
    assert encoded_requests(requests) == encoded_requests(sampled_requests(4, signatures, sampled_inputs)[0])


@each_of(
    "text, error, words",
    [
        ("serving_default.y=1", UsageError, "no signature input 'serving_default.y'"),
        ("x=1", UsageError, "no signature input 'x'"),
        ("serving_default.x", UsageError, "Invalid default"),
        ("serving_default.x=text", InputError, "serving_default.x"),
        ('serving_default.x=["a"]', InputError, "x"),
    ],
)
def test_a_default_that_does_not_fit_is_refused(
    text: str, error: type[Exception], words: str, signatures: dict[str, Endpoint]
) -> None:
    with pytest.raises(error, match=words):
        encoded_defaults([text], signatures)


def test_two_defaults_of_an_input_are_refused(signatures: dict[str, Endpoint]) -> None:
    with pytest.raises(UsageError, match="--add-defaults serving_default.x is given twice"):
        encoded_defaults(["serving_default.x=[[1.0]]", "serving_default.x=[[2.0]]"], signatures)


def test_a_default_is_an_encoded_tensor(signatures: dict[str, Endpoint]) -> None:
    ((key, encoded),) = encoded_defaults(["serving_default.x=[[1.0], [2.0]]"], signatures).items()
    assert key == ("serving_default", "x")
    tensor = tensor_of_proto(parse("TensorProto", encoded))
    assert tensor is not None
    assert (tensor.dtype, tensor.shape, tensor.data) == EXPECTED[1]["x"]
