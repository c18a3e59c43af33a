"""How far two outputs are apart, as tensors of a run; needs NumPy, not TensorFlow."""

from __future__ import annotations

from typing import Any

from hubcli.formats.tensor_layout import DType
from hubcli.savedmodel.types import shape_text
from hubcli.tf.arrays import array_of
from hubcli.tf.run_protocol import Tensor

__all__ = ["SMALLEST_SCALE", "difference", "has_values"]

# Outputs that are smaller than this throughout are compared as if their largest value were this one.
SMALLEST_SCALE = 1e-3
_INFINITE = float("inf")
_NEEDS_INSTALLING = "NumPy is not installed"


def difference(expected: Tensor, actual: Tensor) -> tuple[float, str]:
    """How far an output is from the expected one, and in words why it can't be compared, "" where it can.

    Of floats it is the largest difference, divided by the largest of the expected values (at least
    SMALLEST_SCALE); of other types the share of elements that differ. Where only one of the two is NaN or
    infinite, it is infinite.
    """
    if expected.dtype != actual.dtype:
        return _INFINITE, f"is {DType.of(actual.dtype).name} instead of {DType.of(expected.dtype).name}"
    if expected.shape != actual.shape:
        return _INFINITE, f"has the shape {shape_text(actual.shape)}, not {shape_text(expected.shape)}"
    if not expected.size:
        return 0.0, ""
    ours, theirs = array_of(expected), array_of(actual)
    assert ours is not None, _NEEDS_INSTALLING
    dtype = DType.of(expected.dtype)
    if dtype.is_floating or dtype.name.startswith("complex"):
        error = _float_difference(ours, theirs)
        return error, "has NaN or infinity in other places" if error == _INFINITE else ""
    return float((ours != theirs).mean()), ""


def has_values(tensor: Tensor) -> bool:
    """Whether the output says anything: it has elements, and not all of them are NaN."""
    array = array_of(tensor)
    assert array is not None, _NEEDS_INSTALLING
    return bool(array.size) and not (array.dtype.kind in "fc" and bool((array != array).all()))


def _float_difference(ours: Any, theirs: Any) -> float:
    import numpy as np

    wide = np.complex128 if ours.dtype.kind == "c" else np.float64
    ours, theirs = ours.astype(wide), theirs.astype(wide)
    finite = np.isfinite(ours)
    is_alike = np.array_equal(ours[~finite], theirs[~finite], equal_nan=True)
    if not is_alike or not np.isfinite(theirs[finite]).all():
        return _INFINITE
    if not finite.any():
        return 0.0
    apart = float(np.abs(ours[finite] - theirs[finite]).max())
    return apart / max(float(np.abs(ours[finite]).max()), SMALLEST_SCALE)
