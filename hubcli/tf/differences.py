"""How far values are apart: outputs of two runs, weights before and after; needs NumPy, not TensorFlow."""

from __future__ import annotations

from math import isfinite
from typing import Any

from hubcli.errors import TensorFlowError
from hubcli.formats.tensor_layout import DType
from hubcli.savedmodel.compare.diff import Distance
from hubcli.savedmodel.types import shape_text
from hubcli.tf.arrays import array_of
from hubcli.tf.run_protocol import Tensor

__all__ = ["SMALLEST_SCALE", "NumpyMeasure", "difference", "has_values"]

# Outputs that are smaller than this throughout are compared as if their largest value were this one.
SMALLEST_SCALE = 1e-3
_INFINITE = float("inf")
_NEEDS_INSTALLING = "NumPy is not installed"


def difference(expected: Tensor, actual: Tensor) -> tuple[float, str]:
    """How far an output is from the expected one, and in words why it can't be compared, "" if it can.

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


_FLOATS = {"float16": "<f2", "float32": "<f4", "float64": "<f8"}
_INTEGERS = {
    f"{sign}int{8 * size}": f"<{kind}{size}"
    for sign, kind in (("", "i"), ("u", "u"))
    for size in (1, 2, 4, 8)
}
_COMPLEX = {"complex64": "<f4", "complex128": "<f8"}


class NumpyMeasure:
    """A `Measure` for `rewrite`; of complex numbers it is the distance of a component.

    Raises TensorFlowError if NumPy isn't installed.
    """

    def __init__(self) -> None:
        try:
            import numpy as np
        except ImportError as error:
            raise TensorFlowError(
                "numpy is not installed", hint="Install it: pip install 'hubcli[tf]'"
            ) from error
        self._np: Any = np

    def __call__(self, dtype: DType, new: bytes, old: bytes) -> Distance:
        """As `hubcli.savedmodel.compare.diff.Measure` says."""
        np = self._np
        if dtype.name == "bfloat16":
            left, right = (
                (np.frombuffer(values, "<u2").astype("<u4") << 16).view("<f4") for values in (new, old)
            )
            return self._of_floats(left, right)
        layout = _FLOATS.get(dtype.name) or _COMPLEX.get(dtype.name)
        if layout is not None:
            return self._of_floats(np.frombuffer(new, layout), np.frombuffer(old, layout))
        if dtype.name in _INTEGERS:
            left, right = (np.frombuffer(values, _INTEGERS[dtype.name]) for values in (new, old))
            # The difference of two signed numbers needs a bit more than they have: unsigned it fits.
            high, low = np.maximum(left, right), np.minimum(left, right)
            unsigned = _INTEGERS[dtype.name].replace("i", "u")
            return Distance(float((high.view(unsigned) - low.view(unsigned)).max(initial=0)), is_finite=True)
        return Distance(None)

    def _of_floats(self, new: Any, old: Any) -> Distance:
        np = self._np
        with np.errstate(all="ignore"):
            changes = np.subtract(new, old, dtype=None if new.dtype.itemsize > 2 else "<f4")
            largest = float(max(changes.max(initial=0), -changes.min(initial=0)))
            if isfinite(largest):  # Neither NaN nor infinity is at a finite distance from anything.
                return Distance(largest, is_finite=True)
            # NaN shows in the maximum: only then is it looked for.
            return Distance(largest if largest == largest else float(np.nanmax(np.abs(changes), initial=0)))
