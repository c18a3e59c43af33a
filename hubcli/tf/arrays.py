"""Tensors of a run as NumPy arrays, and arrays as tensors; without NumPy, nested lists take their place."""

from __future__ import annotations

from typing import Any

from hubcli.formats.tensor_layout import DTYPE_ENUM, DType
from hubcli.tf.run_protocol import STRING, Tensor

__all__ = ["array_of", "tensor_of_array"]

_NUMBERS = {DType.of(number).name: number for number in DTYPE_ENUM.values() if 0 < number < 100}


def array_of(tensor: Tensor) -> Any | None:
    """The tensor as an array, strings as one of bytes objects; None if NumPy isn't installed.

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

            return np.dtype(getattr(ml_dtypes, name))
        except (ImportError, AttributeError):  # An older one lacks the newer types.
            raise TypeError(name) from None


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
