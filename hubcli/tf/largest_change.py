"""How far new values are from the old ones, by NumPy: a hundred times faster than without."""

from __future__ import annotations

from math import isfinite
from typing import Any

from hubcli.errors import TensorFlowError
from hubcli.formats.dtypes import DType
from hubcli.savedmodel.changes import Distance

__all__ = ["NumpyMeasure"]

_FLOATS = {"float16": "<f2", "float32": "<f4", "float64": "<f8"}
_INTEGERS = {
    f"{sign}int{8 * size}": f"<{kind}{size}"
    for sign, kind in (("", "i"), ("u", "u"))
    for size in (1, 2, 4, 8)
}
_COMPLEX = {"complex64": "<f4", "complex128": "<f8"}


class NumpyMeasure:
    """A `Measure` for `rewrite`; of complex numbers it is the distance of a component.

    Raises TensorFlowError where NumPy isn't installed.
    """

    def __init__(self) -> None:
        try:
            import numpy as np
        except ImportError as error:
            raise TensorFlowError("numpy isn't installed", hint="pip install 'hubcli[tf]'") from error
        self._np: Any = np

    def __call__(self, dtype: DType, new: bytes, old: bytes) -> Distance:
        """As `hubcli.savedmodel.changes.Measure` says."""
        np = self._np
        if dtype.name == "bfloat16":
            left, right = ((np.frombuffer(one, "<u2").astype("<u4") << 16).view("<f4") for one in (new, old))
            return self._of_floats(left, right)
        layout = _FLOATS.get(dtype.name) or _COMPLEX.get(dtype.name)
        if layout is not None:
            return self._of_floats(np.frombuffer(new, layout), np.frombuffer(old, layout))
        if dtype.name in _INTEGERS:
            left, right = (np.frombuffer(one, _INTEGERS[dtype.name]) for one in (new, old))
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
