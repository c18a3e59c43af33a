"""float32 numbers in half the bytes: rounded as IEEE says, refused where they don't fit."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubcli.errors import ValuesError
from hubcli.formats import HalfType
from hubcli.formats.tensor_layout import DType
from hubcli.formats.tensor_values import half_piece, halved
from hubcli.running.numbers import decoded, encoded
from tests.cases import each_of

SINGLES = st.floats(width=32, allow_nan=False, allow_infinity=False)


def packed(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


@given(st.lists(SINGLES.filter(lambda value: abs(value) < 3.3e38), max_size=20))
def test_bfloat16_is_rounded_as_one_by_one(values: list[float]) -> None:
    """The reference rounds each number on its own."""
    expected = encoded(DType.of(14), values)
    assert half_piece(packed(*values), HalfType.BFLOAT16) == expected


@given(st.lists(SINGLES.filter(lambda value: abs(value) <= 65504), max_size=20))
def test_float16_is_off_by_half_a_step_at_most(values: list[float]) -> None:
    piece = half_piece(packed(*values), HalfType.FLOAT16)
    assert piece is not None
    for value, rounded in zip(values, decoded(DType.of(19), piece), strict=True):
        assert abs(value - rounded) <= max(abs(value) * 2**-11, 2**-25)


def test_ties_go_to_even() -> None:
    # 1 + 2^-8 is half way between 1 and the next bfloat16.
    assert half_piece(packed(1 + 2**-8, 1 + 3 * 2**-8), HalfType.BFLOAT16) == bytes.fromhex("803f823f")


@each_of(
    "half, value",
    [
        (HalfType.FLOAT16, 65520.0),
        (HalfType.FLOAT16, -1e30),
        (HalfType.BFLOAT16, 3.4e38),
        (HalfType.BFLOAT16, -3.4e38),
    ],
)
def test_a_value_beyond_the_type_is_refused(half: HalfType, value: float) -> None:
    with pytest.raises(ValuesError, match=f"layer/kernel has a value beyond .* the largest of {half.value}"):
        list(halved([packed(1.0, value)], half, "layer/kernel"))


@each_of("value", [math.nan, math.inf, -math.inf])
@each_of("half", list(HalfType))
def test_nan_and_infinity_are_refused(half: HalfType, value: float) -> None:
    with pytest.raises(ValuesError, match="NaN or infinity"):
        list(halved([packed(1.0), packed(value)], half, "w"))
