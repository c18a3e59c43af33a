"""A reader of NumPy's .npz archives, without NumPy and without pickle.

Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. An archive is a zip of
.npy files: a magic, a version, the length of a header, the header as a Python literal, the elements.
"""

from __future__ import annotations

import errno
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from hubcli.errors import BrokenModelError, TruncatedError
from hubcli.formats.dtypes import DType
from hubcli.formats.npy import dtype_of, read_header, shape_of
from hubcli.formats.tensor_values import PIECE_BYTES, TensorValues
from hubcli.regular_file import open_regular

__all__ = ["read_npz"]

_MAX_MEMBERS = 100_000
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


def read_npz(path: Path) -> dict[str, TensorValues]:
    """The arrays of the archive by name; read are its directory and the header of each.

    Raises BrokenModelError for what is no such archive or holds what is no
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
            raise BrokenModelError(f"{path.name} holds {len(members)} files")
        for member in members:
            name = member.filename.removesuffix(".npy")
            if name in arrays:
                raise BrokenModelError(f"{path.name} holds two arrays of the name {name}")
            arrays[name] = _read_member(path, archive, member, name)
    return arrays


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """What the zip module raises, as one error of ours."""
    try:
        yield
    except _BROKEN as error:
        raise BrokenModelError(f"{name} can't be read as a .npz archive: {error}") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # That comes of places before the start of the file.
            raise
        raise BrokenModelError(f"{name} can't be read as a .npz archive: it is damaged") from error


def _read_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> TensorValues:
    if member.compress_type not in _METHODS or member.flag_bits & _ENCRYPTED:
        raise BrokenModelError(f"{path.name}: {name} is packed in a way that NumPy doesn't write")
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
            f"{path.name}: {name} has {member.file_size - start} bytes; "
            f"its shape of {dtype.name} takes {values.size_bytes}"
        )
    return values


class _MemberValues(TensorValues):
    """An array in the archive; the zip's own checksum is looked at where all of it is read."""

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
        """As the base class says; what stands before `start` is unpacked and left."""
        left = (self.size_bytes if end is None else end) - start
        with (
            _reading(self._path.name),
            open_regular(self._path, is_buffered=True) as opened,
            zipfile.ZipFile(opened) as archive,
            archive.open(self._member) as file,
        ):
            file.seek(self._start + start)
            while left > 0:
                piece = _read_all(file, min(PIECE_BYTES, left))
                if not piece:
                    raise TruncatedError(f"{self._path.name}: {self.key} ends early")
                left -= len(piece)
                yield piece
            if end is None:
                file.read(1)  # At the end of the member its checksum is compared.

    def verify(self) -> None:
        """As the base class says."""
        for _ in self.pieces():
            pass


def _read_all(file: IO[bytes], size_bytes: int) -> bytes:
    """So many bytes; none where there are fewer."""
    piece = file.read(size_bytes)
    while len(piece) < size_bytes:
        more = file.read(size_bytes - len(piece))
        if not more:
            return b""
        piece += more
    return piece
