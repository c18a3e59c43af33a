"""NumPy's .npy format, without NumPy and without pickle: headers read, arrays read whole and written.

Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. A file is a magic, a
version, the length of a header, the header as a Python literal, the elements.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import IO, Any

from hubcli.errors import BrokenModelError
from hubcli.formats.tensor_layout import DTYPE_ENUM, DType

__all__ = ["MAGIC", "dtype_of", "npy_header", "read_array", "read_header", "shape_of"]

MAGIC = b"\x93NUMPY"
_MAX_HEADER_BYTES = 10_000  # NumPy's own limit: parsing a literal may take much more memory than its text.
_MAX_RANK = 64
_MAX_ARRAY_BYTES = 1 << 32
_STRING = 7
_ALIGNMENT = 64
_FLOATS = {2: "DT_HALF", 4: "DT_FLOAT", 8: "DT_DOUBLE"}
_NUMBER_KINDS = frozenset("fiucU")
_KINDS = {
    "f": _FLOATS,
    "i": {1: "DT_INT8", 2: "DT_INT16", 4: "DT_INT32", 8: "DT_INT64"},
    "u": {1: "DT_UINT8", 2: "DT_UINT16", 4: "DT_UINT32", 8: "DT_UINT64"},
    "c": {8: "DT_COMPLEX64", 16: "DT_COMPLEX128"},
    "b": {1: "DT_BOOL"},
    # NumPy doesn't know bfloat16: the type of ml_dtypes is stored as two untyped bytes.
    "V": {2: "DT_BFLOAT16"},
}
# NumPy's names of TensorFlow's types; for types that NumPy lacks, those of the bytes that store them.
_DESCRS = {
    "float16": "<f2", "float32": "<f4", "float64": "<f8", "int8": "|i1", "int16": "<i2", "int32": "<i4",
    "int64": "<i8", "uint8": "|u1", "uint16": "<u2", "uint32": "<u4", "uint64": "<u8", "bool": "|b1",
    "complex64": "<c8", "complex128": "<c16", "qint8": "|i1", "quint8": "|u1", "qint16": "<i2",
    "quint16": "<u2", "qint32": "<i4", "int4": "|i1", "uint4": "|u1", "int2": "|i1", "uint2": "|u1",
    "bfloat16": "|V2",
}  # fmt: skip


def read_header(file: IO[bytes], name: str) -> tuple[dict[str, Any], int]:
    """The header's fields, and how many bytes come before the elements. Raises BrokenModelError."""
    head = file.read(8)
    if head[:6] != MAGIC or len(head) < 8 or head[6] not in (1, 2, 3):
        raise BrokenModelError(f"{name} is not a .npy file")
    length_bytes = 2 if head[6] == 1 else 4
    length = int.from_bytes(file.read(length_bytes), "little")
    if length > _MAX_HEADER_BYTES:
        raise BrokenModelError(f"{name} has a header of {length} bytes")
    import ast  # Few runs read an array.

    try:
        header = ast.literal_eval(file.read(length).decode("utf-8").strip())
    except (SyntaxError, TypeError, MemoryError, RecursionError, ValueError) as error:
        raise BrokenModelError(f"{name} has an invalid header") from error
    if not isinstance(header, dict) or header.keys() != {"descr", "fortran_order", "shape"}:
        raise BrokenModelError(f"{name} has a header that NumPy does not write")
    return header, 8 + length_bytes + length


def dtype_of(descr: object, name: str) -> DType:
    """The type that NumPy writes as its byte order, a letter and its size, such as `<f4`."""
    if not isinstance(descr, str) or len(descr) < 2 or descr[0] not in "<>|=":
        raise BrokenModelError(f"{name} contains records, not numbers")
    order, kind, size = descr[0], descr[1], descr[2:]
    if kind == "O":
        raise BrokenModelError(
            f"{name} contains Python objects, which require pickle; that may run any code",
            hint="Save arrays of numbers: numpy.savez(file, **{key: array}).",
        )
    label = _KINDS.get(kind, {}).get(int(size) if size.isdecimal() and len(size) < 3 else 0)
    if label is None:
        raise BrokenModelError(f"{name} has the NumPy type {descr[:20]!r}, which no variable has")
    if order == ">" and kind != "V":
        raise BrokenModelError(
            f"{name} is stored big-endian", hint=f"Save it with array.astype('<{descr[1:]}')."
        )
    return DType.of(DTYPE_ENUM[label])


def shape_of(shape: object, name: str) -> tuple[int, ...]:
    """The shape in a header. Raises BrokenModelError for one that no array can have."""
    if (
        not isinstance(shape, tuple)
        or len(shape) > _MAX_RANK
        or not all(type(size) is int and 0 <= size < 1 << 63 for size in shape)
        or prod(shape) >> 63
    ):
        raise BrokenModelError(f"{name} has an invalid shape")
    return shape


def read_array(file: IO[bytes], name: str) -> tuple[int, tuple[int, ...], Any]:
    """Type number, shape and elements of a .npy file: little-endian bytes in C order, or a list of texts.

    Raises BrokenModelError for Python objects, records, and a truncated file.
    """
    header, _ = read_header(file, name)
    shape, descr = shape_of(header["shape"], name), header["descr"]
    is_swapped = isinstance(descr, str) and descr[:1] == ">" and descr[1:2] in _NUMBER_KINDS
    if is_swapped:
        descr = f"<{descr[1:]}"
    width = _text_width(descr)
    dtype = DType(_STRING, "string", width) if width is not None else dtype_of(descr, name)
    size = prod(shape) * (dtype.item_bytes or 0)
    if size > _MAX_ARRAY_BYTES:
        raise BrokenModelError(f"{name} claims {size} bytes")
    data = _read_whole(file, size, name)
    if header["fortran_order"]:
        data = _in_c_order(data, shape, width if width is not None else dtype.item_bytes or 1)
    if is_swapped:
        data = _swapped(data, _number_bytes(dtype))
    if width is None:
        return dtype.number, shape, data
    return _STRING, shape, _texts(data, prod(shape), width, is_wide=str(descr)[1:2] == "U", name=name)


def _in_c_order(data: bytes, shape: tuple[int, ...], item_bytes: int) -> bytes:
    """Elements in Fortran order, brought into C order."""
    if len(shape) < 2 or not data:
        return data

    def rows(view: memoryview, sizes: tuple[int, ...]) -> Iterator[bytes]:
        if len(sizes) == 1:
            yield view.tobytes()
            return
        for place in range(sizes[0]):
            yield from rows(view[place :: sizes[0]], sizes[1:])

    return b"".join(rows(memoryview(data).cast("B", (len(data) // item_bytes, item_bytes)), shape))


def _number_bytes(dtype: DType) -> int:
    """The bytes of a number: a complex one is two, a text has four bytes a letter."""
    if dtype.name == "string":
        return 4
    return (dtype.item_bytes or 1) // (2 if dtype.name.startswith("complex") else 1)


def _swapped(data: bytes, size: int) -> bytes:
    """The bytes of each number in reverse order."""
    swapped = bytearray(len(data))
    for place in range(size):
        swapped[place::size] = data[size - 1 - place :: size]
    return bytes(swapped)


def _read_whole(file: IO[bytes], size: int, name: str) -> bytes:
    """The bytes, read in pieces, so that a header with a wrong size takes no memory."""
    pieces, left = [], size
    while left:
        piece = file.read(min(left, 1 << 24))
        if not piece:
            raise BrokenModelError(f"{name} is truncated: {size - left} of {size} bytes")
        pieces.append(piece)
        left -= len(piece)
    if file.read(1):
        raise BrokenModelError(f"{name} has more bytes than its shape requires")
    return b"".join(pieces)


def _text_width(descr: object) -> int | None:
    """The bytes of an element of a text array, None for another type."""
    if not isinstance(descr, str) or descr[:1] not in ("<", "|") or not descr[2:].isdecimal():
        return None
    if len(descr) > 10 or descr[1] not in "SU":
        return None
    return int(descr[2:]) * (4 if descr[1] == "U" else 1)


def _texts(data: bytes, count: int, width: int, *, is_wide: bool, name: str) -> list[bytes]:
    texts = [data[width * place : width * place + width] for place in range(count)]
    if not is_wide:
        return [text.rstrip(b"\0") for text in texts]
    try:
        return [text.decode("utf-32-le").rstrip("\0").encode() for text in texts]
    except UnicodeError as error:
        raise BrokenModelError(f"{name} has an invalid header") from error


def npy_header(dtype: DType, shape: tuple[int, ...], *, text_width: int = 0) -> bytes:
    """The magic and header of a .npy file with that type and shape.

    Texts are stored as bytes of one width (NumPy's `S`). Raises BrokenModelError for a type that NumPy
    can't store.
    """
    descr = f"|S{max(1, text_width)}" if dtype.name == "string" else _DESCRS.get(dtype.name)
    if descr is None:
        raise BrokenModelError(f"NumPy has no type {dtype.name}")
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    padding = -(len(MAGIC) + 4 + len(text) + 1) % _ALIGNMENT
    encoded = f"{text}{' ' * padding}\n".encode("latin-1")
    return MAGIC + b"\x01\x00" + len(encoded).to_bytes(2, "little") + encoded
