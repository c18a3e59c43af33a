"""How far two outputs are apart."""

from __future__ import annotations

from array import array

import pytest

from hubcli.tf.differences import SMALLEST_SCALE, difference
from hubcli.tf.run_protocol import Tensor
from tests.installed import require_installed

require_installed("numpy")
NAN, INF = float("nan"), float("inf")


def floats(*values: float) -> Tensor:
    return Tensor(1, (len(values),), array("f", values).tobytes())


def whole(*values: int) -> Tensor:
    return Tensor(3, (len(values),), array("i", values).tobytes())


@pytest.mark.parametrize(
    ("expected", "actual", "error"),
    [
        (floats(1, 2), floats(1, 2), 0.0),
        (floats(1, 4), floats(2, 4), 0.25),  # Of the largest value.
        (floats(0, 0), floats(0, SMALLEST_SCALE / 2), 0.5),  # Of the smallest scale.
        (floats(NAN, INF, -INF, 1), floats(NAN, INF, -INF, 1), 0.0),
        (floats(), floats(), 0.0),
        (whole(1, 2, 3, 4), whole(1, 2, 3, 5), 0.25),  # The share that differs.
        (Tensor(7, (2,), [b"a", b"\xff"]), Tensor(7, (2,), [b"a", b"b"]), 0.5),
        (Tensor(10, (), b"\1"), Tensor(10, (), b"\0"), 1.0),
        (Tensor(2, (1,), array("d", [2]).tobytes()), Tensor(2, (1,), array("d", [1]).tobytes()), 0.5),
    ],
)
def test_an_error_is_relative(expected: Tensor, actual: Tensor, error: float) -> None:
    found, reason = difference(expected, actual)
    assert found == pytest.approx(error, abs=1e-6)
    assert reason == ""


@pytest.mark.parametrize(
    ("expected", "actual", "reason"),
    [
        (floats(1), floats(NAN), "has NaN or infinity in other places"),
        (floats(NAN), floats(1), "has NaN or infinity in other places"),
        (floats(INF), floats(-INF), "has NaN or infinity in other places"),
        (floats(1), whole(1), "is int32 instead of float32"),
        (floats(1), floats(1, 2), "has the shape [2], not [1]"),
    ],
)
def test_what_cannot_be_compared_is_infinitely_far(expected: Tensor, actual: Tensor, reason: str) -> None:
    assert difference(expected, actual) == (INF, reason)
