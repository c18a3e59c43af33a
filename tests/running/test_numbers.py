"""Elements of tensors: nothing is cast silently, and digits are the fewest that give a number back."""

from __future__ import annotations

import math
import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubcli.errors import InputError
from hubcli.running.numbers import decoded, encoded, is_supported, number_texts, require_supported
from tests.cases import each_of
from tests.running.ports import NUMBERS, dtype_named

FLOATS = ("float32", "float64", "float16", "bfloat16")
REFUSED = {"resource", "variant", *(name for name in NUMBERS if name.startswith(("float8", "float4")))}


def test_every_type_is_supported_or_refused_by_its_name() -> None:
    assert {name for name in NUMBERS if not is_supported(dtype_named(name))} == REFUSED
    for name in REFUSED:
        with pytest.raises(InputError, match=name):
            require_supported(dtype_named(name), "x")


@each_of("name", [name for name in NUMBERS if name.startswith(("int", "uint", "q"))])
def test_integers_go_in_and_come_out(name: str) -> None:
    values = [0, 1] if name.startswith(("u", "quint")) else [-1, 0, 1]
    assert decoded(dtype_named(name), encoded(dtype_named(name), values)) == values


@each_of(
    "name, value",
    [("int4", 8), ("uint4", -1), ("int2", 2), ("uint2", 4), ("int8", 128), ("uint8", -1), ("int64", 1 << 63)],
)
def test_an_integer_out_of_range_is_refused(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{value} is out of range for {name}"):
        encoded(dtype_named(name), [0, value])


@each_of("value", [1.0, 1.5, True, "1", None])
def test_an_integer_type_takes_integers_alone(value: object) -> None:
    with pytest.raises(ValueError, match="is not an integer, and the type is int32"):
        encoded(dtype_named("int32"), [value])


@each_of("name, bits", [("float32", 24), ("float64", 53), ("float16", 11), ("bfloat16", 8)])
def test_an_integer_that_would_lose_digits_as_a_float_is_refused(name: str, bits: int) -> None:
    exact = (1 << bits) if bits < 12 else (1 << bits) + 2
    assert decoded(dtype_named(name), encoded(dtype_named(name), [exact])) == [exact]
    with pytest.raises(ValueError, match=f"{(1 << bits) + 1} would lose digits in {name}"):
        encoded(dtype_named(name), [(1 << bits) + 1])


@each_of("name, value", [("float16", 70_000), ("float32", 10**40), ("bfloat16", 10**40)])
def test_an_integer_beyond_a_float_type_is_refused(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{value} is out of range for {name}"):
        encoded(dtype_named(name), [1, value])


@each_of("name", FLOATS)
def test_floats_beyond_the_type_are_refused(name: str) -> None:
    if name != "float64":
        with pytest.raises(ValueError, match="1e\\+39 is out of range"):
            encoded(dtype_named(name), [1e39])


@each_of("name", FLOATS)
def test_non_finite_numbers_are_written_as_words_too(name: str) -> None:
    values = ["NaN", "Infinity", "-Infinity", math.inf]
    found = decoded(dtype_named(name), encoded(dtype_named(name), values))
    assert math.isnan(found[0])
    assert found[1:] == [math.inf, -math.inf, math.inf]
    assert number_texts(dtype_named(name), found) == ["NaN", "Infinity", "-Infinity", "Infinity"]


@given(st.floats(width=32))
def test_the_text_of_a_float32_gives_it_back_in_at_most_nine_digits(value: float) -> None:
    (text,) = number_texts(dtype_named("float32"), [value])
    back = struct.unpack("<f", struct.pack("<f", float(text)))[0]
    assert back == value or math.isnan(value)
    assert len(text.lstrip("-0.").partition("e")[0].replace(".", "")) <= 9


@given(st.floats(width=16))
def test_the_text_of_a_half_gives_it_back(value: float) -> None:
    (text,) = number_texts(dtype_named("float16"), [value])
    assert math.isnan(value) or decoded(dtype_named("float16"), struct.pack("<e", float(text))) == [value]


@each_of("value", [0.1, 16777216.0, 3.4028234663852886e38, 1e-45, 2.0, 1e10])
def test_a_float32_is_shown_in_its_own_digits(value: float) -> None:
    single = struct.unpack("<f", struct.pack("<f", value))[0]
    (text,) = number_texts(dtype_named("float32"), [single])
    assert "." in text or "e" in text
    assert len(text) <= 16


def test_bfloat16_is_rounded_to_the_nearest_even() -> None:
    # 1 + 1/256 lies between 1 and 1 + 1/128: the even one is 1.
    assert decoded(dtype_named("bfloat16"), encoded(dtype_named("bfloat16"), [1.00390625])) == [1.0]
    assert decoded(dtype_named("bfloat16"), encoded(dtype_named("bfloat16"), [1.01171875])) == [1.015625]


def test_complex_numbers_are_written_as_in_python() -> None:
    dtype = dtype_named("complex64")
    values = decoded(dtype, encoded(dtype, ["1+2j", 3, "0.5-0.5j"]))
    assert number_texts(dtype, values) == ["1.0+2.0j", "3.0+0.0j", "0.5-0.5j"]
    with pytest.raises(ValueError, match="is not a complex number"):
        encoded(dtype, ["one"])


def test_texts_are_utf8_and_bytes_base64() -> None:
    dtype = dtype_named("string")
    assert encoded(dtype, ["ü", {"b64": "/w=="}, b"\x00"]) == [b"\xc3\xbc", b"\xff", b"\x00"]
    with pytest.raises(ValueError, match="not base64"):
        encoded(dtype, [{"b64": "*"}])
    with pytest.raises(ValueError, match="5 is not text"):
        encoded(dtype, [5])


def test_booleans_are_true_and_false_alone() -> None:
    assert encoded(dtype_named("bool"), [True, False]) == b"\x01\x00"
    with pytest.raises(ValueError, match="neither true nor false"):
        encoded(dtype_named("bool"), [1])


@each_of("value", ["1e39", "-1e39j", 1e39, "1e400", "1-1e400j"])
def test_a_complex_number_out_of_range_is_named(value: object) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{value!r} is out of range for complex64")):
        encoded(dtype_named("complex64"), [1, value])


def test_a_complex_number_takes_no_boolean_and_loses_no_digits() -> None:
    for value in (True, "1_0", None, {"b64": ""}):
        with pytest.raises(ValueError, match="is not a complex number; write it as '1\\+2j'"):
            encoded(dtype_named("complex64"), [value])
    with pytest.raises(ValueError, match="16777217 would lose digits"):
        encoded(dtype_named("complex64"), [(1 << 24) + 1])
    exact = [1 + 2j, (1 << 24) + 1, "inf-infj", " 1 + 2j "]
    assert decoded(dtype_named("complex128"), encoded(dtype_named("complex128"), exact)) == [
        1 + 2j,
        16777217 + 0j,
        complex(math.inf, -math.inf),
        1 + 2j,
    ]


def test_half_of_a_surrogate_pair_is_not_text() -> None:
    with pytest.raises(ValueError, match=r"'a\\ud800' contains half of a surrogate pair"):
        encoded(dtype_named("string"), ["a\ud800"])
    assert encoded(dtype_named("string"), ["\udcff"]) == [b"\xff"]  # A byte of the command line.
