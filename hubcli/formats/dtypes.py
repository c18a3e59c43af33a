"""TensorFlow's element types: their numbers in files, their names, the size of an element.

Source: tensorflow/core/framework/types.proto; names as `tf.DType.name` and NumPy write them.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["DTYPE_ENUM", "DType"]

_REFERENCE = 100


class DType(NamedTuple):
    """An element type. `item_bytes` is None where elements differ in size, as strings do.

    >>> DType.of(1)
    DType(number=1, name='float32', item_bytes=4)
    """

    number: int
    name: str
    item_bytes: int | None = None

    @classmethod
    def of(cls, number: int) -> DType:
        """The type of that number; one that TensorFlow 2.21 doesn't know is named by it.

        TF1's references to variables have the number of what they refer to, plus 100.
        """
        if _REFERENCE < number < 2 * _REFERENCE:
            number -= _REFERENCE
        known = _TYPES.get(number)
        return known if known is not None else cls(number, f"unknown-{number}")

    @property
    def is_known(self) -> bool:
        """Whether TensorFlow 2.21 knows it."""
        return self.number in _TYPES

    @property
    def is_floating(self) -> bool:
        """Whether its values are real floating-point numbers."""
        return self.name.startswith(("float", "bfloat"))


_SIZES = {
    1: ("float32", 4),
    2: ("float64", 8),
    3: ("int32", 4),
    4: ("uint8", 1),
    5: ("int16", 2),
    6: ("int8", 1),
    7: ("string", None),
    8: ("complex64", 8),
    9: ("int64", 8),
    10: ("bool", 1),
    11: ("qint8", 1),
    12: ("quint8", 1),
    13: ("qint32", 4),
    14: ("bfloat16", 2),
    15: ("qint16", 2),
    16: ("quint16", 2),
    17: ("uint16", 2),
    18: ("complex128", 16),
    19: ("float16", 2),
    20: ("resource", None),
    21: ("variant", None),
    22: ("uint32", 4),
    23: ("uint64", 8),
    24: ("float8_e5m2", 1),
    25: ("float8_e4m3fn", 1),
    26: ("float8_e4m3fnuz", 1),
    27: ("float8_e4m3b11fnuz", 1),
    28: ("float8_e5m2fnuz", 1),
    # Types of less than a byte take a whole one in memory and in files.
    29: ("int4", 1),
    30: ("uint4", 1),
    31: ("int2", 1),
    32: ("uint2", 1),
    33: ("float4_e2m1fn", 1),
}
_TYPES = {number: DType(number, name, size) for number, (name, size) in _SIZES.items()}

# Names of the enum DataType where they aren't DT_ and the name in capitals.
_ENUM_NAMES = {"float32": "DT_FLOAT", "float64": "DT_DOUBLE", "float16": "DT_HALF"}
DTYPE_ENUM = {
    "DT_INVALID": 0,
    **{_ENUM_NAMES.get(name, f"DT_{name.upper()}"): number for number, (name, _) in _SIZES.items()},
}
DTYPE_ENUM |= {f"{name}_REF": number + _REFERENCE for name, number in DTYPE_ENUM.items() if number}
