"""NumPy: tensors of a run as arrays, arrays as tensors, and how far values changed.

Without NumPy, nested lists take the place of arrays.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

from hubcli.errors import TensorFlowError
from hubcli.formats.tensor_layout import DTYPE_ENUM, DType
from hubcli.savedmodel.compare.diff import Distance
from hubcli.tf.run_protocol import STRING, Tensor

__all__ = ["NumpyMeasure", "array_of", "tensor_of_array"]

_NUMBERS = {DType.of(number).name: number for number in DTYPE_ENUM.values() if 0 < number < 100}


def array_of(tensor: Tensor) -> Any | None:
    """The tensor as an array, strings as one of bytes objects; None where NumPy isn't installed.

    bfloat16 and types of less than a byte are those of ml_dtypes where that is there, else float32 or bytes.
    """
    try:
        import numpy as np
    except ImportError:
        return None
    if tensor.dtype == STRING:
        array = np.empty(len(tensor.data), object)
        array[:] = tensor.data
        return array.reshape(tensor.shape)
    name = DType.of(tensor.dtype).name.removeprefix("q").replace("quint", "uint")
    data = bytes(tensor.data)
    try:
        return np.frombuffer(data, _dtype(np, name)).reshape(tensor.shape).copy()
    except TypeError:
        pass
    if name == "bfloat16":
        wide = np.frombuffer(data, "<u2").astype("<u4") << 16
        return wide.view("<f4").reshape(tensor.shape)
    width = DType.of(tensor.dtype).item_bytes or 1
    return np.frombuffer(data, f"V{width}").reshape(tensor.shape)


def _dtype(np: Any, name: str) -> Any:
    try:
        return np.dtype(name)
    except TypeError:
        try:
            import ml_dtypes
        except ImportError:
            raise TypeError(name) from None
        return np.dtype(getattr(ml_dtypes, name))


def tensor_of_array(value: Any) -> Any:
    """A tensor of a NumPy array or of anything that becomes one by `numpy()`; other values as they are.

    Arrays of texts and of objects become lists.
    """
    if hasattr(value, "numpy") and callable(value.numpy):
        value = value.numpy()
    if isinstance(value, (list, tuple)):
        return [tensor_of_array_item(item) for item in value]
    if not hasattr(value, "__array_interface__"):
        return value
    number = _NUMBERS.get(value.dtype.name)
    if number is None:
        return value.tolist()
    native = value.astype(value.dtype.newbyteorder("<")) if value.dtype.byteorder == ">" else value
    return Tensor(number, value.shape, native.tobytes())


def tensor_of_array_item(value: Any) -> Any:
    """An item of a list: arrays and NumPy's numbers as Python's."""
    if isinstance(value, (list, tuple)):
        return [tensor_of_array_item(item) for item in value]
    if hasattr(value, "numpy") and callable(value.numpy):
        value = value.numpy()
    return value.tolist() if hasattr(value, "__array_interface__") else value


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
