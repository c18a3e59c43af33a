"""The values in Keras's files: `.weights.h5`, older `.h5`, and the archive `.keras`, read with h5py.

Source: keras/src/saving/saving_lib.py (H5IOStore: `<path>/vars/0…`) and, for
the older form, keras/src/legacy/saving/legacy_h5_format.py (`weight_names`).
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import SpooledTemporaryFile, gettempdir
from typing import IO, Any

from hubcli.archive.unpack import require_room
from hubcli.errors import BrokenModelError, NotFoundError
from hubcli.formats.tensor_layout import DTYPE_ENUM, DType
from hubcli.formats.tensor_values import PIECE_BYTES, TensorValues
from hubcli.regular_file import NotRegularError, open_regular
from hubcli.savedmodel.weights.sources import DAMAGED_HINT, WeightGroup, Weights, WeightsKind, weights_kind
from hubcli.tf.importing import import_h5py
from hubcli.tf.keras.source import HDF5_ERRORS

__all__ = ["open_keras_weights"]

_MEMBER = "model.weights.h5"
_MAX_LAYERS = 100_000
_COPY_BYTES = 1 << 20
_IN_MEMORY_BYTES = 16 << 20
_NAMES = {"float16": "DT_HALF", "float32": "DT_FLOAT", "float64": "DT_DOUBLE"}


@contextmanager
def open_keras_weights(path: Path) -> Iterator[Weights]:
    """The values of the file by layer, to be read within the context.

    Raises TensorFlowError if h5py isn't installed or doesn't load,
    BrokenModelError for what is not such a file, NotFoundError.
    """
    h5py = import_h5py()
    kind = weights_kind(path)
    with ExitStack() as opened:
        groups, tensors = list[WeightGroup](), dict[str, TensorValues]()
        with _reading(path):
            file = opened.enter_context(h5py.File(opened.enter_context(_plain(path, kind)), "r"))
            for group, values in _layers(h5py, file):
                groups.append(group)
                tensors |= values
        yield Weights(path, kind, tensors, None, tuple(groups))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Errors of h5py and the zip module for a file of another format, as errors of hubcli."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} does not exist", hint="Check the path.") from error
    except zipfile.BadZipFile as error:
        raise BrokenModelError(
            f"Cannot read {path} as a Keras archive: {error}", hint=DAMAGED_HINT
        ) from error
    except NotRegularError as error:
        raise NotFoundError(f"Cannot read {path}: {error.strerror}", hint="Check the path.") from error
    except OSError as error:
        if error.errno is not None:  # Of the disk: h5py's own have none.
            raise
        raise BrokenModelError(f"Cannot read {path} as HDF5: {error}", hint=DAMAGED_HINT) from error
    except (zlib.error, *HDF5_ERRORS) as error:
        raise BrokenModelError(f"Cannot read {path} as Keras weights: {error}", hint=DAMAGED_HINT) from error


@contextmanager
def _plain(path: Path, kind: WeightsKind) -> Iterator[IO[bytes]]:
    """The HDF5 file itself; that of an archive is unpacked beside the memory where it is large."""
    if kind is not WeightsKind.KERAS_ARCHIVE:
        with open_regular(path, is_buffered=True) as plain:
            yield plain
        return
    with (
        open_regular(path, is_buffered=True) as opened,
        zipfile.ZipFile(opened) as archive,
        SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as unpacked,
    ):
        size_bytes = archive.getinfo(_MEMBER).file_size
        if size_bytes > _IN_MEMORY_BYTES:
            require_room(
                Path(gettempdir()), size_bytes, f"{path}, unpacked", "set TMPDIR to another directory"
            )
        with archive.open(_MEMBER) as member:
            while piece := member.read(_COPY_BYTES):
                unpacked.write(piece)
        unpacked.seek(0)
        yield unpacked


def _layers(h5py: Any, file: Any) -> Iterator[tuple[WeightGroup, dict[str, TensorValues]]]:
    """Every group with values, in the order of the file."""
    found: list[tuple[str, list[tuple[str, Any]]]] = []

    def visit(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Group) or len(found) >= _MAX_LAYERS:
            return
        if "weight_names" in item.attrs:
            labels = [_text(label) for label in item.attrs["weight_names"]]
            found.append((name, [(f"{name}/{label}", _held(h5py, item, label)) for label in labels]))
        elif name.rpartition("/")[2] == "vars":
            places = sorted((place for place in item if place.isdecimal()), key=int)
            layer = name.rpartition("/")[0]
            found.append((layer, [(f"{name}/{place}", _held(h5py, item, place)) for place in places]))

    file.visititems(visit)
    for layer, items in found:
        if items and all(isinstance(item, h5py.Dataset) for _, item in items):
            values: dict[str, TensorValues] = {key: _DatasetValues(key, item) for key, item in items}
            if len(values) == len(items):
                yield WeightGroup(layer, tuple(values)), values


def _held(h5py: Any, group: Any, name: str) -> Any:
    """What the group holds under the name, with slashes in it; no link is followed, least of all to a file.

    Raises BrokenModelError for what stands in another file: nobody who names a
    file of weights means to read others by it.
    """
    item = group
    for part in name.split("/"):
        link = item.get(part, getlink=True)
        if link is not None and not isinstance(link, h5py.HardLink):
            raise _elsewhere(f"{group.name}/{name}")
        item = item[part]
    if isinstance(item, h5py.Dataset) and (item.is_virtual or item.external):
        raise _elsewhere(item.name)
    return item


def _elsewhere(name: str) -> BrokenModelError:
    return BrokenModelError(
        f"{name.lstrip('/')} is not a value but a reference to another place or file",
        hint="Save the weights with Keras, which writes the values themselves.",
    )


def _text(label: str | bytes) -> str:
    return label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)


class _DatasetValues(TensorValues):
    """A dataset of the open file."""

    def __init__(self, key: str, dataset: Any) -> None:
        if dataset.shape is None:
            raise BrokenModelError(f"{key} is empty: it has no shape", hint=DAMAGED_HINT)
        super().__init__(key, _dtype(dataset.dtype), tuple(dataset.shape))
        self._dataset = dataset

    def pieces(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """As the base class says; rows are read as many as make a piece."""
        end = self.size_bytes if end is None else end
        position = 0
        for rows in self._rows():
            piece = rows[max(0, start - position) : max(0, end - position)]
            position += len(rows)
            for place in range(0, len(piece), PIECE_BYTES):
                yield piece[place : place + PIECE_BYTES]
            if position >= end:
                return

    def _rows(self) -> Iterator[bytes]:
        little = self._dataset.dtype.newbyteorder("<")
        if not self.shape or not self.size_bytes:
            yield self._read(()).astype(little).tobytes()
            return
        step = max(1, PIECE_BYTES * self.shape[0] // self.size_bytes)
        for row in range(0, self.shape[0], step):
            yield self._read(slice(row, row + step)).astype(little, copy=False).tobytes()

    def _read(self, rows: Any) -> Any:
        try:
            return self._dataset[rows]
        except (OSError, *HDF5_ERRORS) as error:
            if getattr(error, "errno", None) is not None:
                raise
            raise BrokenModelError(f"Cannot read {self.key}: {error}", hint=DAMAGED_HINT) from error


def _dtype(found: Any) -> DType:
    """TensorFlow's type of that name; bfloat16 is stored as two bytes of anything."""
    name = "bfloat16" if found.kind == "V" and found.itemsize == 2 else found.name
    label = _NAMES.get(name, f"DT_{name.upper()}")
    if label not in DTYPE_ENUM:
        return DType(0, name)
    return DType.of(DTYPE_ENUM[label])
