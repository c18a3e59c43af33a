"""Outputs as JSON text: each line is JSON that any reader takes."""

from __future__ import annotations

import json
import struct

import pytest

from hubcli.running.json_text import json_lines
from hubcli.running.session import OutputBatch
from hubcli.tf.run_protocol import Tensor
from tests.running.ports import dtype_named, port, signature


def test_a_row_has_numbers_that_are_not_finite_as_text_and_bytes_in_base64_only_if_they_are_no_text() -> None:
    endpoint = signature(outputs=(port("y", shape=(None,)), port("y_bytes", "string", (None,))))
    numbers = Tensor(dtype_named("float32").number, (2,), struct.pack("<2f", float("nan"), 0.5))
    texts = Tensor(dtype_named("string").number, (2,), [b"text", b"\xff"])
    batch = OutputBatch(((numbers,), (texts,)), 2, whole=False, seconds=())
    lines = "".join(json_lines(endpoint, iter([batch]))).splitlines()
    assert [json.loads(line, parse_constant=pytest.fail) for line in lines] == [
        {"y": "NaN", "y_bytes": "text"},
        {"y": 0.5, "y_bytes": {"b64": "/w=="}},
    ]
