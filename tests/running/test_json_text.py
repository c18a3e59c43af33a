"""Outputs as JSON text: each line is JSON that any reader takes."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import pytest

from hubcli.running.json_text import has_classes, json_lines, ranked_rows, read_labels
from hubcli.running.session import OutputBatch
from hubcli.tf.run_protocol import Tensor
from tests.running.ports import NUMBERS, dtype_named, port, signature


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


def test_complex_numbers_have_no_order_and_so_no_classes() -> None:
    numbers = Tensor(NUMBERS["complex64"], (2,), struct.pack("<4f", 1, 2, 3, 4))
    assert not has_classes(numbers)
    assert has_classes(Tensor(NUMBERS["float32"], (2,), struct.pack("<2f", 1, 2)))


def test_numbers_that_are_not_finite_are_texts_among_the_best_too() -> None:
    values = Tensor(NUMBERS["float32"], (3,), struct.pack("<3f", -math.inf, math.nan, math.inf))
    (row,) = ranked_rows(port("y"), values, 3, None)
    assert [own["value"] for own in json.loads(row, parse_constant=pytest.fail)] == [
        "Infinity",
        "-Infinity",
        "NaN",
    ]


def test_a_label_may_have_any_characters_but_ends_of_lines(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes("\ufeffa\u0085b\u2028c\x0c\r\nd\n\ne".encode())
    assert read_labels(str(file)) == ("a\u0085b\u2028c\x0c", "d", "", "e")
