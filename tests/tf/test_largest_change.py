"""The largest change, with NumPy and without: the same numbers."""

from __future__ import annotations

from typing import Any

import pytest

from hubcli.formats.tensor_layout import DTYPE_ENUM, DType
from hubcli.formats.tensor_values import has_non_finite
from hubcli.savedmodel.compare.diff import largest_change
from hubcli.tf.differences import NumpyMeasure
from tests.cases import each_of

np: Any = pytest.importorskip("numpy")
ml_dtypes: Any = pytest.importorskip("ml_dtypes")

BY_NAME = {DType.of(number).name: DType.of(number) for number in DTYPE_ENUM.values()}
NUMBERS = ("float16", "float32", "float64", "complex64", "complex128")
INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


@each_of("name", [*NUMBERS, *INTEGERS])
def test_both_measures_agree(name: str) -> None:
    chance = np.random.default_rng(7)
    for _ in range(20):
        new, old = (
            chance.bytes(640) if name in INTEGERS else chance.standard_normal(40).astype(name).tobytes()
            for _ in range(2)
        )
        without = largest_change(BY_NAME[name], new, old).largest
        found = NumpyMeasure()(BY_NAME[name], new, old)
        assert found.largest == pytest.approx(without, rel=1e-6)
        assert found.is_finite


def test_bfloat16_is_read_as_the_upper_half_of_float32() -> None:
    new, old = (np.array(values, ml_dtypes.bfloat16).tobytes() for values in ([1.5, 2.0], [1.0, 2.25]))
    for measure in (NumpyMeasure(), largest_change):
        assert measure(BY_NAME["bfloat16"], new, old).largest == 0.5


def test_types_without_a_distance_have_none() -> None:
    for measure in (NumpyMeasure(), largest_change):
        assert measure(BY_NAME["bool"], b"\0", b"\1").largest is None


def test_nan_does_not_hide_a_change() -> None:
    new = np.array([float("nan"), 1.0, 5.0], "<f4").tobytes()
    old = np.array([1.0, 1.0, 2.0], "<f4").tobytes()
    for measure in (NumpyMeasure(), largest_change):
        assert measure(BY_NAME["float32"], new, old).largest == 3.0


@each_of("name", [*NUMBERS, "bfloat16"])
@each_of("number", [float("nan"), float("inf"), float("-inf")])
@each_of("before", [0.0, float("nan"), float("inf"), float("-inf")])
def test_a_measure_never_takes_for_finite_what_is_not(name: str, number: float, before: float) -> None:
    kind = ml_dtypes.bfloat16 if name == "bfloat16" else name
    new, old = (np.array([1, value, 3], kind).tobytes() for value in (number, before))
    for measure in (NumpyMeasure(), largest_change):
        assert not measure(BY_NAME[name], new, old).is_finite
        assert has_non_finite(BY_NAME[name], new)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ["float16", "bfloat16", *(n for n in BY_NAME if n.startswith("float8"))])
def test_every_pattern_of_small_floats_is_finite_or_not_as_numpy_says(name: str) -> None:
    dtype = BY_NAME[name]
    unsigned = "<u2" if dtype.item_bytes == 2 else "u1"
    patterns = np.arange(256 ** (dtype.item_bytes or 1), dtype=unsigned)
    floats = np.float16 if name == "float16" else getattr(ml_dtypes, name)
    expected = ~np.isfinite(patterns.view(floats).astype("f8"))
    assert [has_non_finite(dtype, pattern.tobytes()) for pattern in patterns] == expected.tolist()


@each_of("name", NUMBERS[1:])
@each_of("number", [float("nan"), float("inf"), float("-inf"), 3.3e38, -3.3e38])
def test_large_numbers_are_finite(name: str, number: float) -> None:
    data = np.array([0, -1, number, 1], name).tobytes()
    assert has_non_finite(BY_NAME[name], data) == (not np.isfinite(number))
