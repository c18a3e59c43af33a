"""Files of named arrays, as trainings save them: .safetensors, and NumPy's .npz, without NumPy or pickle.

Sources: https://github.com/huggingface/safetensors#format: the length of the header in 8 bytes, the
header as JSON, then all tensors one after the other, little-endian and in C order, without gaps;
https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html: an archive is a zip of .npy files,
each a magic, a version, the length of a header, the header as a Python literal, the elements.
"""

from __future__ import annotations

import errno
import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

from hubcli.errors import BrokenModelError, TruncatedError
from hubcli.formats.npy import dtype_of, read_header, shape_of
from hubcli.formats.tensor_layout import DTYPE_ENUM, DType
from hubcli.formats.tensor_values import PIECE_BYTES, FileValues, TensorValues
from hubcli.regular_file import open_regular

__all__ = ["ARCHIVE_ERRORS", "read_npz", "read_safetensors"]

_LENGTH_BYTES = 8
# The format allows 100 MB, which would fill the memory as Python's objects.
_MAX_SAFETENSORS_HEADER_BYTES = 16 << 20
_METADATA = "__metadata__"
_NAMES = {
    "BOOL": "DT_BOOL",
    "U8": "DT_UINT8",
    "I8": "DT_INT8",
    "U16": "DT_UINT16",
    "I16": "DT_INT16",
    "U32": "DT_UINT32",
    "I32": "DT_INT32",
    "U64": "DT_UINT64",
    "I64": "DT_INT64",
    "F16": "DT_HALF",
    "BF16": "DT_BFLOAT16",
    "F32": "DT_FLOAT",
    "F64": "DT_DOUBLE",
    "C64": "DT_COMPLEX64",
    "F8_E5M2": "DT_FLOAT8_E5M2",
    "F8_E4M3": "DT_FLOAT8_E4M3FN",
}


def read_safetensors(path: Path) -> dict[str, TensorValues]:
    """The tensors of the file by name; only its header is read.

    Raises BrokenModelError if the header is invalid, or its tensors overlap, leave gaps or exceed the file;
    OSError.
    """
    size_bytes = path.stat().st_size
    header, start = _safetensors_header(path, size_bytes)
    tensors: dict[str, TensorValues] = {}
    places = []
    for name, value in header.items():
        if name == _METADATA:
            continue
        dtype, shape, first, last = _described(name, value)
        values = FileValues(name, dtype, shape, path, start + first)
        if last - first != values.size_bytes:
            raise BrokenModelError(f"{name} has {last - first} bytes; its shape requires {values.size_bytes}")
        tensors[name] = values
        places.append((first, last))
    position = 0
    for first, last in sorted(places):
        if first != position:
            raise BrokenModelError(f"{path.name} has tensors that overlap or leave gaps")
        position = last
    if start + position != size_bytes:
        raise BrokenModelError(f"{path.name} has {size_bytes} bytes; its header expects {start + position}")
    return tensors


def _safetensors_header(path: Path, size_bytes: int) -> tuple[dict[str, Any], int]:
    """The header, and where the tensors begin."""
    with open_regular(path, is_buffered=True) as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if length > min(_MAX_SAFETENSORS_HEADER_BYTES, size_bytes - _LENGTH_BYTES):
            raise BrokenModelError(f"{path.name} cannot be read as safetensors: invalid header length")
        encoded = file.read(length)
    try:
        header = json.loads(encoded.decode("utf-8"), object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise BrokenModelError(f"{path.name} cannot be read as safetensors: {error}") from error
    if not isinstance(header, dict):
        raise BrokenModelError(f"{path.name} cannot be read as safetensors: its header is not a JSON object")
    return header, _LENGTH_BYTES + length


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name appears twice in its header")
    return found


def _described(name: str, value: Any) -> tuple[DType, tuple[int, ...], int, int]:
    """Type, shape, start and end of the tensor."""
    if not isinstance(value, dict):
        raise BrokenModelError(f"{name} is described by no object")
    label = value.get("dtype")
    if not isinstance(label, str) or label not in _NAMES:
        raise BrokenModelError(f"{name} has the type {str(label)[:20]!r}, which no variable has")
    shape, offsets = _numbers(value.get("shape")), _numbers(value.get("data_offsets"))
    if shape is None or prod(shape) >> 60 or offsets is None or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise BrokenModelError(f"{name} has an invalid shape or offset")
    return DType.of(DTYPE_ENUM[_NAMES[label]]), shape, offsets[0], offsets[1]


def _numbers(value: Any) -> tuple[int, ...] | None:
    """A short list of numbers from 0 on; None for anything else."""
    if not isinstance(value, list) or len(value) > _MAX_RANK:
        return None
    if not all(type(number) is int and 0 <= number < 1 << 63 for number in value):
        return None
    return tuple(value)


_MAX_MEMBERS = 100_000
_MAX_RANK = 64
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1
# What reading a damaged zip archive raises.
ARCHIVE_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


def read_npz(path: Path) -> dict[str, TensorValues]:
    """The arrays of the archive by name; only its directory and the header of each are read.

    Raises BrokenModelError for what is not such an archive or holds what is not a
    tensor: Python objects, text, arrays in Fortran order; OSError.
    """
    arrays: dict[str, TensorValues] = {}
    with (
        _reading(path.name),
        open_regular(path, is_buffered=True) as opened,
        zipfile.ZipFile(opened) as archive,
    ):
        members = archive.infolist()
        if len(members) > _MAX_MEMBERS:
            raise BrokenModelError(f"{path.name} contains {len(members)} files")
        for member in members:
            name = member.filename.removesuffix(".npy")
            if name in arrays:
                raise BrokenModelError(f"{path.name} contains two arrays named {name}")
            arrays[name] = _read_member(path, archive, member, name)
    return arrays


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turns errors of the zip module into BrokenModelError."""
    try:
        yield
    except ARCHIVE_ERRORS as error:
        raise BrokenModelError(f"{name} cannot be read as a .npz archive: {error}") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # That comes of places before the start of the file.
            raise
        raise BrokenModelError(f"{name} cannot be read as a .npz archive: it is corrupt") from error


def _read_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> TensorValues:
    if member.compress_type not in _METHODS or member.flag_bits & _ENCRYPTED:
        raise BrokenModelError(f"{path.name}: {name} has a compression that NumPy does not write")
    with archive.open(member) as file:
        header, start = read_header(file, name)
    dtype, shape = dtype_of(header["descr"], name), shape_of(header["shape"], name)
    if header["fortran_order"] and sum(size > 1 for size in shape) > 1:
        raise BrokenModelError(
            f"{path.name}: {name} is stored in Fortran order",
            hint="Save it with numpy.ascontiguousarray(…).",
        )
    values = _MemberValues(name, dtype, shape, path, member, start)
    if start + values.size_bytes != member.file_size:
        raise BrokenModelError(
            f"{path.name}: {name} has {member.file_size - start} bytes; its shape of "
            f"{dtype.name} requires {values.size_bytes}"
        )
    return values


class _MemberValues(TensorValues):
    """An array in the archive; a read of all of it verifies the zip's own checksum."""

    verifies_whole_reads = True

    def __init__(
        self,
        key: str,
        dtype: DType,
        shape: tuple[int, ...],
        path: Path,
        member: zipfile.ZipInfo,
        start: int,
    ) -> None:
        super().__init__(key, dtype, shape)
        self._path = path
        self._member = member
        self._start = start

    def pieces(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """As the base class says; the bytes before `start` are unpacked and skipped."""
        left = (self.size_bytes if end is None else end) - start
        with (
            _reading(self._path.name),
            open_regular(self._path, is_buffered=True) as opened,
            zipfile.ZipFile(opened) as archive,
            archive.open(self._member) as file,
        ):
            file.seek(self._start + start)
            while left > 0:
                wanted_bytes = min(PIECE_BYTES, left)
                piece = file.read(wanted_bytes)
                if len(piece) < wanted_bytes:  # ZipExtFile reads less at the end alone.
                    raise TruncatedError(f"{self._path.name}: {self.key} is truncated")
                left -= wanted_bytes
                yield piece
            if end is None:
                file.read(1)  # At the end of the member its checksum is compared.

    def verify(self) -> None:
        """As the base class says."""
        for _ in self.pieces():
            pass
