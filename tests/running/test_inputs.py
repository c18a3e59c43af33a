"""Values of `--input` and files behind them, as tensors of a signature."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from hubcli.errors import HubcliError, InputError, NotFoundError
from hubcli.formats.checksums import masked_crc32c
from hubcli.formats.npy import npy_header
from hubcli.formats.tensor_layout import DType
from hubcli.formats.wire import encode_field
from hubcli.running.endpoints import Endpoint
from hubcli.running.inputs import Columns, InputReader, RowStream
from hubcli.running.numbers import decoded
from hubcli.running.values import nested, tensors_of
from hubcli.tf.run_protocol import Tensor
from tests.cases import each_of
from tests.running.ports import dtype_named, port, signature

FLOATS = signature(port("x"))
TEXTS = signature(port("text", "string", (None,)))
TWO = signature(port("a", "float32", (None,)), port("b", "int64", (None, 2)))


def columns(endpoint: Endpoint, *texts: str) -> dict[str, Any]:
    """What the texts give, as nested lists by input."""
    found = InputReader(endpoint).of_texts(texts)
    if isinstance(found, RowStream):
        rows = [dict(row) for _, row in found.rows]
        found.file.close()
        return {"rows": rows}
    assert isinstance(found, Columns)
    return {name: [nested(tensor) for tensor in tensors] for name, tensors in found.tensors.items()}


def value(endpoint: Endpoint, *texts: str) -> Any:
    """The value of the only input."""
    (found,) = columns(endpoint, *texts).values()
    return found[0]


def file(tmp_path: Path, name: str, content: bytes | str) -> str:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return f"@{path}"


def npy(dtype: str, shape: tuple[int, ...], data: bytes) -> bytes:
    return npy_header(dtype_named(dtype), shape) + data


# Values ------------------------------------------------------------------------------------------


def test_a_single_input_needs_no_name() -> None:
    assert value(FLOATS, "[[1, 2], [3, 4]]") == [[1.0, 2.0], [3.0, 4.0]]
    assert value(FLOATS, "x=[[1, 2]]") == [[1.0, 2.0]]


def test_what_lacks_the_batch_is_a_batch_of_one() -> None:
    assert value(FLOATS, "[1, 2]") == [[1.0, 2.0]]


def test_nothing_else_is_broadcast() -> None:
    with pytest.raises(InputError, match=r"x has the shape \[\?, 2\], and the value \[\]"):
        value(FLOATS, "1")
    with pytest.raises(InputError, match="dimension 1 is 3, not 2"):
        value(FLOATS, "[1, 2, 3]")


@each_of(
    "shape, dtype, text, line",
    [
        ((None, 1), "float32", "3", "--input 'x=[[3]]'"),
        ((None, 2), "float32", "7", "--input 'x=[[0, 0]]'"),
        ((3,), "bool", "[[true, true]]", "--input 'x=[false, false, false]'"),
        ((None, 1, 1), "string", "a", """--input 'x=[[["a"]]]'"""),
        ((), "int64", "[[5]]", "--input 'x=5'"),
    ],
)
def test_a_value_of_another_rank_has_a_line_to_copy(shape: Any, dtype: str, text: str, line: str) -> None:
    endpoint = signature(port("x", dtype, shape))
    with pytest.raises(InputError, match="x has the shape") as caught:
        value(endpoint, text)
    assert caught.value.hint == f"Use {line}"
    assert columns(endpoint, line.split("'")[1])


def test_a_value_of_another_rank_for_a_large_shape_has_its_form() -> None:
    with pytest.raises(InputError, match="x has the shape") as caught:
        value(signature(port("x", "float32", (None, 224, 3))), "1")
    assert "nested 3 deep, such as [[[…]]]" in caught.value.hint


def test_repeated_values_are_stacked_into_a_batch() -> None:
    assert value(FLOATS, "x=[1, 2]", "x=[[3, 4], [5, 6]]") == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


def test_repeated_values_fill_a_batch_of_fixed_size() -> None:
    fixed = signature(port("x", "float32", (2, 1)))
    assert value(fixed, "[[1]]", "[[2]]") == [[1.0], [2.0]]
    with pytest.raises(InputError, match="dimension 0 is 3, not 2"):
        value(fixed, "[[1]]", "[[2]]", "[[3]]")


def test_a_scalar_is_given_once() -> None:
    scalar = signature(port("k", "float32", ()))
    assert value(scalar, "2.5") == 2.5
    with pytest.raises(InputError, match="k is a scalar: use it once"):
        value(scalar, "1", "2")


@each_of("text", ["a good film", "a; film", "[unbalanced", "it's {odd", "x=y", '"half', "5", ""])
def test_text_is_taken_as_it_is(text: str) -> None:
    assert value(TEXTS, text) == [text.encode()]


def test_text_may_be_json_too_and_begin_with_an_at_sign() -> None:
    assert value(TEXTS, '["a", "b"]') == [b"a", b"b"]
    assert value(TEXTS, '{"b64": "/w=="}') == [b"\xff"]
    assert value(TEXTS, "@@home") == [b"@home"]
    assert value(TEXTS, "text=@@home") == [b"@home"]


def test_nan_and_infinity_are_numbers() -> None:
    assert value(FLOATS, '[NaN, "-Infinity"]')[0][1] == float("-inf")


def test_expressions_are_not_evaluated() -> None:
    with pytest.raises(InputError, match="is not JSON"):
        value(FLOATS, "x=np.ones((2, 1))")


def test_a_name_that_is_no_input_gets_a_suggestion() -> None:
    with pytest.raises(HubcliError, match="no input 'xs'.*Did you mean 'x'") as caught:
        value(FLOATS, "xs=[[1, 2]]")
    assert "x: float32[?, 2]" in caught.value.hint


def test_several_inputs_need_names() -> None:
    assert columns(TWO, "a=[1]", "b=[[2, 3]]") == {"a": [[1.0]], "b": [[[2, 3]]]}
    assert columns(TWO, '{"a": [1], "b": [[2, 3]]}') == {"a": [[1.0]], "b": [[[2, 3]]]}
    with pytest.raises(InputError, match="Missing input name"):
        columns(TWO, "[1]")


def test_an_input_that_is_left_out_is_named() -> None:
    with pytest.raises(InputError, match="requires a value for b") as caught:
        columns(TWO, "a=[1]")
    assert "b: int64[?, 2]" in caught.value.hint


def test_a_default_of_the_signature_stands_in() -> None:
    default = Tensor(1, (), struct.pack("<f", 0.5))
    both = signature(port("x", "float32", (None,)), port("k", "float32", (), default))
    assert columns(both, "x=[1]") == {"x": [[1.0]], "k": [0.5]}
    assert columns(both, "x=[1]", "k=2") == {"x": [[1.0]], "k": [2.0]}


def test_a_file_without_an_at_sign_is_suggested(tmp_path: Path) -> None:
    path = file(tmp_path, "x.json", "[[1, 2]]")[1:]
    with pytest.raises(InputError) as caught:
        value(FLOATS, f"x={path}")
    assert f"x=@{path}" in caught.value.hint


# Ragged and sparse -------------------------------------------------------------------------------

RAGGED = signature(port("x", "float32", (None,)), port("x_1", "int64", (None,)))
SPARSE = signature(port("x", "int64", (None, 2)), port("x_1", "float32", (None,)), port("x_2", "int64", (2,)))


def test_nested_lists_become_values_and_row_splits() -> None:
    assert columns(RAGGED, "[[1, 2], [], [3]]") == {"x": [[1.0, 2.0, 3.0]], "x_1": [[0, 2, 2, 3]]}


def test_the_parts_of_a_ragged_input_may_be_given_themselves() -> None:
    assert columns(RAGGED, "x=[1, 2]", "x_1=[0, 2]") == {"x": [[1.0, 2.0]], "x_1": [[0, 2]]}


def test_nested_lists_with_null_become_a_sparse_tensor() -> None:
    found = columns(SPARSE, "[[1, null, 2], [null, 3]]")
    assert found == {"x": [[[0, 0], [0, 2], [1, 1]]], "x_1": [[1.0, 2.0, 3.0]], "x_2": [[2, 3]]}


def test_a_sparse_tensor_may_be_given_by_its_parts() -> None:
    found = columns(SPARSE, 'x={"indices": [[1, 0]], "values": [5], "dense_shape": [2, 2]}')
    assert found == {"x": [[[1, 0]]], "x_1": [[5.0]], "x_2": [[2, 2]]}


# Files -------------------------------------------------------------------------------------------


def test_json_of_columns_of_rows_and_of_a_value(tmp_path: Path) -> None:
    by_columns = file(tmp_path, "c", '{"a": [1, 2], "b": [[1, 2], [3, 4]]}')
    by_rows = file(tmp_path, "r", '[{"a": 1, "b": [1, 2]},\n {"a": 2, "b": [3, 4]}]')
    assert columns(TWO, by_columns) == columns(TWO, by_rows) == {"a": [[1.0, 2.0]], "b": [[[1, 2], [3, 4]]]}
    assert value(FLOATS, file(tmp_path, "v", "[[1, 2],\n [3, 4]]")) == [[1.0, 2.0], [3.0, 4.0]]


def test_lines_of_json_are_rows(tmp_path: Path) -> None:
    rows = file(tmp_path, "rows", '{"a": 1, "b": [1, 2]}\n\n{"a": 2, "b": [3, 4]}\n')
    assert columns(TWO, rows) == {"rows": [{"a": 1, "b": [1, 2]}, {"a": 2, "b": [3, 4]}]}


def test_a_table_has_a_column_for_each_input_or_element(tmp_path: Path) -> None:
    table = file(tmp_path, "t", "a,b.0,b.1,other\n1.5,2,3,x\n-1,4,5,y\n")
    assert columns(TWO, table) == {"rows": [{"a": 1.5, "b": [2, 3]}, {"a": -1.0, "b": [4, 5]}]}


def test_a_cell_that_is_no_number_is_named_by_its_line(tmp_path: Path) -> None:
    table = file(tmp_path, "t.csv", "a,b.0,b.1\n1,2,3\n1,2.5,3\n")
    with pytest.raises(InputError, match=r"line 3: '2.5' for b is not of type int64"):
        columns(TWO, table)


def test_lines_of_text_are_rows(tmp_path: Path) -> None:
    lines = file(tmp_path, "t", "\ufeffone\ntwo; three\n")
    assert columns(TEXTS, lines) == {"rows": [{"text": b"one"}, {"text": b"two; three"}]}


def test_two_files_of_rows_are_read_whole(tmp_path: Path) -> None:
    first = file(tmp_path, "a.jsonl", "1\n2\n")
    second = file(tmp_path, "b.jsonl", "[1, 2]\n[3, 4]\n")
    found = columns(TWO, f"a={first}", f"b={second}")
    assert found == {"a": [[1.0, 2.0]], "b": [[[1, 2], [3, 4]]]}


def test_arrays_of_numpy(tmp_path: Path) -> None:
    data = npy("float32", (2, 2), struct.pack("<4f", 1, 2, 3, 4))
    assert value(FLOATS, file(tmp_path, "x.npy", data)) == [[1.0, 2.0], [3.0, 4.0]]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("a.npy", npy("float32", (1,), struct.pack("<f", 1)))
        out.writestr("b.npy", npy("int64", (1, 2), struct.pack("<2q", 2, 3)))
    assert columns(TWO, file(tmp_path, "x.npz", archive.getvalue())) == {"a": [[1.0]], "b": [[[2, 3]]]}


def test_texts_of_numpy(tmp_path: Path) -> None:
    wide = b"\x93NUMPY\x01\x00" + _header("<U2", (2,)) + "aüb\0".encode("utf-32-le")
    assert value(TEXTS, file(tmp_path, "x.npy", wide)) == ["aü".encode(), b"b"]


def _header(descr: str, shape: tuple[int, ...], extra: str = "") -> bytes:
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}{extra}}}\n".encode()
    return struct.pack("<H", len(text)) + text


def test_arrays_aren_t_cast_where_digits_would_be_lost(tmp_path: Path) -> None:
    exact = file(tmp_path, "a.npy", npy("int64", (2,), struct.pack("<2q", 1, 1 << 24)))
    assert value(FLOATS, exact) == [[1.0, 16777216.0]]
    lossy = file(tmp_path, "b.npy", npy("int64", (2,), struct.pack("<2q", 1, (1 << 24) + 1)))
    with pytest.raises(InputError, match="16777217 would lose digits in float32"):
        value(FLOATS, lossy)
    ints = signature(port("n", "int32", (None,)))
    with pytest.raises(InputError, match="but the values are"):
        value(ints, file(tmp_path, "c.npy", npy("float32", (1,), struct.pack("<f", 1))))


def test_rounding_of_arrays_is_said(tmp_path: Path) -> None:
    reader = InputReader(FLOATS)
    reader.of_texts([file(tmp_path, "a.npy", npy("float64", (2,), struct.pack("<2d", 0.5, 2)))])
    assert reader.notes == []
    reader.of_texts([file(tmp_path, "b.npy", npy("float64", (2,), struct.pack("<2d", 0.1, 2)))])
    assert reader.notes == ["x: float64 values are rounded to float32"]


def record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    checks = [struct.pack("<I", masked_crc32c(part)) for part in (length, data)]
    return length + checks[0] + data + checks[1]


def example(**features: list[Any]) -> bytes:
    entries = b""
    for name, values in features.items():
        if isinstance(values[0], bytes):
            kind = encode_field(1, b"".join(encode_field(1, value) for value in values))
        elif isinstance(values[0], float):
            kind = encode_field(2, encode_field(1, struct.pack(f"<{len(values)}f", *values)))
        else:
            kind = encode_field(3, b"".join(encode_field(1, value) for value in values))
        entries += encode_field(1, encode_field(1, name) + encode_field(2, kind))
    return encode_field(1, entries)


def test_features_of_tf_examples_are_inputs(tmp_path: Path) -> None:
    records = record(example(a=[0.5], b=[1, 2])) + record(example(a=[1.5], b=[3, 4]))
    assert columns(TWO, file(tmp_path, "r", records)) == {
        "rows": [{"a": 0.5, "b": [1, 2]}, {"a": 1.5, "b": [3, 4]}]
    }


def test_records_go_whole_into_an_input_of_text(tmp_path: Path) -> None:
    data = example(other=[1.0])
    assert columns(TEXTS, file(tmp_path, "r", record(data))) == {"rows": [{"text": data}]}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], "record 2 is truncated"),
        (lambda data: data[:-5] + b"\xff" + data[-4:], "record 2: checksum mismatch"),
    ],
)
def test_damaged_records_are_refused(tmp_path: Path, damage: Any, message: str) -> None:
    data = damage(record(example(a=[0.5], b=[1, 2])) * 2)
    with pytest.raises(InputError, match=message):
        columns(TWO, file(tmp_path, "r", data))


# Hostile files -----------------------------------------------------------------------------------


def test_a_pickle_in_an_array_is_refused(tmp_path: Path) -> None:
    pickled = b"\x93NUMPY\x01\x00" + _header("|O", (1,)) + b"cos\nsystem\n(S'touch owned'\ntR."
    with pytest.raises(InputError, match="Python objects, which require pickle"):
        value(FLOATS, file(tmp_path, "x.npy", pickled))


@each_of(
    "descr, shape, message",
    [
        ("<f4", (1 << 20, 1 << 10), "is truncated"),
        ("<f4", (1 << 62, 4), "invalid shape"),
        ("<f4", (-1, 4), "invalid shape"),
        ("<U1000000000", (1 << 30,), "which no variable has"),
    ],
)
def test_a_header_that_lies_is_refused(
    tmp_path: Path, descr: str, shape: tuple[int, ...], message: str
) -> None:
    data = b"\x93NUMPY\x01\x00" + _header(descr, shape) + b"\0" * 64
    with pytest.raises(InputError, match=message):
        value(FLOATS, file(tmp_path, "x.npy", data))


def test_json_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    deep = "[" * 10_000 + "]" * 10_000
    for given in (deep, file(tmp_path, "x.json", deep)):
        with pytest.raises(InputError, match="nested"):
            value(FLOATS, f"x={given}")
    assert json.loads("[]") == []


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(NotFoundError, match="Cannot read nowhere.json"):
        value(FLOATS, "x=@nowhere.json")


def test_lists_that_differ_in_length_are_refused() -> None:
    with pytest.raises(InputError, match="the lists at depth 1 differ in length"):
        value(FLOATS, "[[1, 2], [3]]")


def test_decoded_values_are_those_that_were_given() -> None:
    found = InputReader(FLOATS).of_texts(["[[1, 2]]"])
    assert isinstance(found, Columns)
    (tensor,) = found.tensors["x"]
    assert decoded(DType.of(tensor.dtype), tensor.data) == [1.0, 2.0]


def test_a_ragged_input_without_values_has_its_inner_sizes() -> None:
    for shape, sizes in (((None, None), (0,)), ((None, None, 3), (0, 3)), ((None, None, None), (0, 0))):
        ragged = port("r", shape=shape)._replace(kind="ragged", part_types=(1, 9))
        values, splits = tensors_of(ragged, [[], []])
        assert (values.dtype, values.shape, values.data) == (1, sizes, b"")
        assert (splits.shape, splits.data) == ((3,), bytes(24))


@each_of("value, data", [(0, 1), ([], 0), ([0, 0], 2)])
def test_a_ragged_input_without_row_splits_takes_the_value_itself(value: Any, data: int) -> None:
    ragged = port("r", shape=(None,))._replace(kind="ragged", part_types=(1,))
    (tensor,) = tensors_of(ragged, value)
    assert (tensor.shape, bytes(tensor.data)) == ((data,), bytes(4 * data))


@each_of("value", [None, {}, "", False])
def test_what_is_not_a_number_is_refused_by_a_ragged_input_without_row_splits(value: Any) -> None:
    ragged = port("r", shape=(None,))._replace(kind="ragged", part_types=(1,))
    with pytest.raises(InputError, match="is not a number"):
        tensors_of(ragged, value)
