"""Rows cut and joined, and the one that doesn't fit."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hubcli.errors import InputError, UsageError
from hubcli.running.batching import Batch, batches_of_columns, batches_of_rows
from hubcli.running.endpoints import Endpoint
from hubcli.running.inputs import Columns, InputReader, RowStream
from hubcli.running.values import nested
from hubcli.tf.run_protocol import Tensor
from tests.cases import each_of
from tests.running.ports import port, signature

FLOATS = signature(port("x", "float32", (None, 2)))
WITH_SCALAR = signature(port("k", "int32", ()), port("x", "float32", (None,)))


def of_rows(
    endpoint: Endpoint, folder: Path, lines: list[str], size: int | None, *others: str
) -> Iterator[Batch]:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(lines))
    given = InputReader(endpoint).of_texts([f"@{path}", *others])
    assert isinstance(given, RowStream)
    yield from batches_of_rows(endpoint, given, size)
    given.file.close()


def rows_and_values(batches: Iterator[Batch]) -> list[Any]:
    return [[nested(tensor) for tensor in batch.tensors] for batch in batches]


def test_rows_come_in_batches_the_last_one_shorter(tmp_path: Path) -> None:
    lines = [f"[{number}, 0]" for number in range(5)]
    found = list(of_rows(FLOATS, tmp_path, lines, 2))
    assert [batch.rows for batch in found] == [2, 2, 1]
    assert nested(found[2].tensors[0]) == [[4.0, 0.0]]


@each_of(
    "bad, message",
    [
        ("[1, 2, 3]", r"line 4: A row of x has the shape \[2\], and the value \[3\]"),
        ("7", r"line 4: A row of x has the shape \[2\], and the value \[\]"),
        ('["a", 1]', "line 4: x: 'a' is not a number"),
        ("[1", "line 4 is not JSON"),
        ('{"z": 1}', "line 4: .* no input 'z'"),
        ("[" * 10_000, "line 4 is nested too deeply"),
    ],
)
def test_a_row_that_does_not_fit_is_named_and_those_before_it_are_run(
    tmp_path: Path, bad: str, message: str
) -> None:
    lines = ["[1, 1]", "[2, 2]", "[3, 3]", bad, "[5, 5]"]
    batches = of_rows(FLOATS, tmp_path, lines, 2)
    assert nested(next(batches).tensors[0]) == [[1.0, 1.0], [2.0, 2.0]]
    assert nested(next(batches).tensors[0]) == [[3.0, 3.0]]
    with pytest.raises(InputError, match=message):
        next(batches)


def test_a_scalar_is_given_once_for_all_rows_or_with_each(tmp_path: Path) -> None:
    assert rows_and_values(of_rows(WITH_SCALAR, tmp_path, ['{"x": 1}', '{"x": 2}'], 8, "k=3")) == [
        [3, [1.0, 2.0]]
    ]
    lines = ['{"x": 1, "k": 1}', '{"x": 2, "k": 1}', '{"x": 3, "k": 2}']
    assert rows_and_values(of_rows(WITH_SCALAR, tmp_path, lines, 8)) == [[1, [1.0, 2.0]], [2, [3.0]]]


def test_rows_of_ragged_and_sparse_inputs_are_joined_by_their_parts(tmp_path: Path) -> None:
    ragged = signature(port("x", "int64", (None,)), port("x_1", "int64", (None,)))
    lines = ["[1, 2]", "[]", '{"x": [3]}', "[4]"]
    assert rows_and_values(of_rows(ragged, tmp_path, lines, 3)) == [[[1, 2, 3], [0, 2, 2, 3]], [[4], [0, 1]]]
    parts = (port("x", "int64", (None, 2)), port("x_1", "float32", (None,)), port("x_2", "int64", (2,)))
    found = rows_and_values(of_rows(signature(*parts), tmp_path, ["[null, 5]", "[6, null]"], None))
    assert found == [[[[0, 1], [1, 0]], [5.0, 6.0], [2, 2]]]


def test_a_fixed_first_dimension_is_filled_up(tmp_path: Path) -> None:
    fixed = signature(port("x", "float32", (2, 1)))
    found = list(of_rows(fixed, tmp_path, ["[1]", "[2]", "[3]"], None))
    assert [(batch.rows, batch.padding) for batch in found] == [(2, 0), (1, 1)]
    assert nested(found[1].tensors[0]) == [[3.0], [3.0]]
    with pytest.raises(UsageError, match="takes 2 rows at a time"):
        list(of_rows(fixed, tmp_path, ["[1]"], 3))


def test_a_fixed_first_dimension_is_that_of_the_inputs_that_a_row_has(tmp_path: Path) -> None:
    default = Tensor(1, (2, 1), struct.pack("<2f", 8, 9))
    fixed = signature(
        port("k", "float32", ()), port("x", "float32", (2, 1)), port("z", "float32", (2, 1), default)
    )
    found = list(of_rows(fixed, tmp_path, ['{"x": [1], "k": 1}', '{"x": [2], "k": 1}'], None))
    assert [batch.rows for batch in found] == [2]
    assert [nested(tensor) for tensor in found[0].tensors] == [1.0, [[1.0], [2.0]], [[8.0], [9.0]]]


def test_a_row_is_a_run_of_its_own_where_there_is_no_dimension_for_rows(tmp_path: Path) -> None:
    scalar = signature(port("x", "float32", ()))
    found = list(of_rows(scalar, tmp_path, ["1", "2"], None))
    assert [(batch.whole, nested(batch.tensors[0])) for batch in found] == [(True, 1.0), (True, 2.0)]
    with pytest.raises(UsageError, match="one row at a time"):
        list(of_rows(scalar, tmp_path, ["1"], 4))


def test_columns_are_cut_by_a_batch_size() -> None:
    given = InputReader(FLOATS).of_texts(["[[1, 1], [2, 2], [3, 3]]"])
    assert isinstance(given, Columns)
    assert [batch.rows for batch in batches_of_columns(FLOATS, given, None)] == [3]
    assert [batch.rows for batch in batches_of_columns(FLOATS, given, 2)] == [2, 1]


def test_columns_without_rows_can_not_be_cut() -> None:
    fixed = signature(port("x", "float32", (2, 2)))
    given = InputReader(fixed).of_texts(["[[1, 1], [2, 2]]"])
    assert isinstance(given, Columns)
    with pytest.raises(UsageError, match="cannot be split into batches"):
        list(batches_of_columns(fixed, given, 1))


def test_no_row_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="contains nothing"):
        rows_and_values(of_rows(FLOATS, tmp_path, [], 2))
