"""HDF5 files of Keras, looked at before Keras opens them: their config, and that they read no other file.

HDF5 can point into other files: by external links, external storage of a
dataset, and virtual datasets. Keras would follow them while it loads weights.
"""

from __future__ import annotations

import io
from typing import IO, Any

from hubcli.errors import BrokenModelError
from hubcli.tf.importing import import_h5py

__all__ = ["ZipWindow", "read_h5_config", "require_no_other_files"]

_MAX_OBJECTS = 500_000


def read_h5_config(file: Any) -> tuple[str, str | None]:
    """The version of Keras and the model's config in an open HDF5 file; "" and None where it holds none.

    Raises BrokenModelError where either isn't one piece of UTF-8 text: Keras
    would read it otherwise than we.
    """
    version = _text(file.attrs.get("keras_version"), "keras_version")
    return version or "", _text(file.attrs.get("model_config"), "model_config")


def require_no_other_files(file: Any) -> None:
    """Raises BrokenModelError where a link or a dataset of the open HDF5 file stands in another file.

    Links by name are refused too: Keras writes none, and one may lead through another file.
    """
    h5py = import_h5py()
    pending, seen = [file["/"]], set[int]()
    while pending:
        group = pending.pop()
        for name in group:
            if len(seen) > _MAX_OBJECTS:
                raise BrokenModelError(f"it holds more than {_MAX_OBJECTS} HDF5 objects")
            if type(group.get(name, getlink=True)) is not h5py.HardLink:
                raise BrokenModelError(f"{group.name.rstrip('/')}/{name} is a link, not a dataset of its own")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                continue
            seen.add(address)
            if isinstance(item, h5py.Group):
                pending.append(item)
            elif isinstance(item, h5py.Dataset) and (item.is_virtual or item.external):
                raise BrokenModelError(f"the values of {item.name} stand in another file")


class ZipWindow(io.RawIOBase):
    """A member of a zip archive that is stored as it is, as a file of its own without a copy.

    `start` is where its bytes begin in the open archive, `size` how many there are.
    """

    def __init__(self, archive: IO[bytes], start: int, size: int) -> None:
        super().__init__()
        self._archive, self._start, self._size, self._position = archive, start, size, 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to a place in the member."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Reads what fits, and no byte behind the member's end."""
        wanted = max(0, min(len(buffer), self._size - self._position))
        self._archive.seek(self._start + self._position)
        found = self._archive.read(wanted)
        buffer[: len(found)] = found
        self._position += len(found)
        return len(found)


def _text(value: Any, name: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BrokenModelError(f"its {name} is no UTF-8") from error
    raise BrokenModelError(f"its {name} is no text")
