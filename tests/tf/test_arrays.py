"""Arrays of NumPy as the tensors that go to a process of TensorFlow."""

from __future__ import annotations

import struct
import sys
from types import ModuleType

import pytest

from hubcli.formats.tensor_layout import DTYPE_ENUM
from hubcli.tf.arrays import array_of, tensor_of_array
from hubcli.tf.run_protocol import Tensor


def test_an_array_lies_in_memory_as_little_endian_whatever_its_own_order() -> None:
    numpy = pytest.importorskip("numpy")
    for order in "<>=":
        tensor = tensor_of_array(numpy.array([[1, 2, 3]], f"{order}i4"))
        assert isinstance(tensor, Tensor)
        assert (tensor.dtype, tensor.shape) == (3, (1, 3))
        assert tensor.data == struct.pack("<3i", 1, 2, 3)


def test_texts_become_lists_and_other_values_stay() -> None:
    numpy = pytest.importorskip("numpy")
    assert tensor_of_array(numpy.array([["a"], ["b"]])) == [["a"], ["b"]]
    assert tensor_of_array("text") == "text"
    assert tensor_of_array([numpy.float32(0.5), (1,)]) == [0.5, [1]]


def test_a_type_that_neither_numpy_nor_ml_dtypes_has_is_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numpy")
    for module in (ModuleType("ml_dtypes"), None):  # One without the type, as an older one, and none.
        monkeypatch.setitem(sys.modules, "ml_dtypes", module)
        array = array_of(Tensor(DTYPE_ENUM["DT_RESOURCE"], (1, 2), b"\x01\x02"))
        assert array is not None
        assert (array.dtype.itemsize, array.tolist()) == (1, [[b"\x01", b"\x02"]])
