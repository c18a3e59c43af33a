"""A Keras model on the disk, before Keras reads it: which kind of file, which generation, what it would run.

Sources: keras/src/saving/saving_lib.py (`.keras`), keras/src/legacy/saving/legacy_h5_format.py (`.h5`),
tf_keras/src/saving/legacy/saved_model/ (`keras_metadata.pb`). HDF5 can point into other files: by external
links, external storage of a dataset, and virtual datasets. Keras would follow them while it loads weights.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO, Any

from hubcli.archive.unpack import require_room
from hubcli.errors import BrokenModelError, HubcliError, NotFoundError, UsageError
from hubcli.formats import MAIN_FILES
from hubcli.formats.array_files import ARCHIVE_ERRORS
from hubcli.regular_file import NotRegularError, open_at_once
from hubcli.savedmodel.checks.file_scan import MAX_METADATA_BYTES, metadata_configs
from hubcli.savedmodel.checks.keras_config import ConfigIssue, KerasConfig, TrustedNames, walk_config
from hubcli.savedmodel.layout import KERAS_METADATA
from hubcli.tf.importing import KerasGeneration, import_h5py

__all__ = [
    "HDF5_ERRORS",
    "KerasFormat",
    "KerasSource",
    "ZipWindow",
    "opened_file",
    "private_copy",
    "private_directory",
    "read_h5_config",
    "require_no_other_files",
]

_MAX_OBJECTS = 500_000


def read_h5_config(file: Any) -> tuple[str, str | None]:
    """The version of Keras and the model's config in an open HDF5 file; "" and None if it holds none.

    Raises BrokenModelError if either isn't one piece of UTF-8 text: Keras
    would read it otherwise than we.
    """
    version = _text(file.attrs.get("keras_version"), "keras_version")
    return version or "", _text(file.attrs.get("model_config"), "model_config")


def require_no_other_files(file: Any) -> None:
    """Raises BrokenModelError if a link or a dataset of the open HDF5 file stands in another file.

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
                raise BrokenModelError(f"{group.name.rstrip('/')}/{name} is a link, not a dataset")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                continue
            seen.add(address)
            if isinstance(item, h5py.Group):
                pending.append(item)
            elif isinstance(item, h5py.Dataset) and (item.is_virtual or item.external):
                raise BrokenModelError(f"the values of {item.name} are in another file")


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
        size_bytes = max(0, min(len(buffer), self._size - self._position))
        self._archive.seek(self._start + self._position)
        found = self._archive.read(size_bytes)
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
            raise BrokenModelError(f"its {name} is not UTF-8") from error
    raise BrokenModelError(f"its {name} is not text")


_COPIED = (*MAIN_FILES, "keras_metadata.pb")


@contextmanager
def private_copy(path: Path, suffix: str) -> Iterator[Path]:
    """A copy of the file in a directory that only this user can enter, named as Keras wants it."""
    with tempfile.TemporaryDirectory(prefix="hubcli-") as folder:
        # Keras names nothing after the file, and a name of a user's may end otherwise.
        copy = Path(folder) / f"model{suffix}"
        _copy(path, copy)
        yield copy


@contextmanager
def private_directory(path: Path) -> Iterator[Path]:
    """A SavedModel whose graph and Keras metadata are copies; its variables and assets are links."""
    with tempfile.TemporaryDirectory(prefix="hubcli-") as folder:
        copy = Path(folder) / "model"
        copy.mkdir()
        for item in path.iterdir():
            if item.name in _COPIED:
                _copy(item, copy / item.name)
            else:
                (copy / item.name).symlink_to(item.absolute())
        yield copy


def opened_file(path: Path) -> int:
    """A descriptor of the regular file. Nothing is waited for: a pipe isn't one.

    Raises NotFoundError, UsageError for what is not a regular file.
    """
    try:
        return open_at_once(str(path), os.O_RDONLY)
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} does not exist", hint="Check the path.") from error
    except (NotRegularError, IsADirectoryError) as error:
        raise UsageError(
            f"{path} is not a regular file", hint="Use a file that model.save() wrote."
        ) from error
    except OSError as error:
        raise NotFoundError(f"Cannot read {path}: {error.strerror}", hint="Check its permissions.") from error


def _copy(source: Path, destination: Path) -> None:
    with os.fdopen(opened_file(source), "rb") as read, destination.open("wb") as written:
        shutil.copyfileobj(read, written, 1 << 20)


_MAX_CONFIG_BYTES = 64 << 20
_MAX_MEMBERS = 100_000
_H5_MAGIC, _ZIP_MAGIC = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"
_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
# Keras drops it with `compile=False`; that of a model within the model is read.
_NOT_READ = "compile_config"
_LOCAL_HEADER_BYTES = 30


class KerasFormat(str, Enum):
    """How a Keras model is stored."""

    ARCHIVE = ".keras"
    HDF5 = ".h5"
    SAVED_MODEL = "SavedModel"


@dataclass(frozen=True, slots=True)
class KerasSource:
    """A Keras model's file or directory, as the user named it, and the private copy that Keras is to read.

    `version` is that of the Keras that wrote it, "" if the file doesn't
    tell. `configs` are all that Keras would make objects from.
    """

    path: Path
    copy: Path
    format: KerasFormat
    generation: KerasGeneration
    version: str
    configs: tuple[KerasConfig, ...]

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[KerasSource]:
        """What the file says of itself; of no library but h5py is needed. The copy lasts as the context.

        Raises NotFoundError, UsageError for what is not a Keras model,
        BrokenModelError for a damaged one or one that reads other files,
        TensorFlowError without h5py, OSError where the copy can't be written.
        """
        if path.is_dir():
            _require_keras_directory(path)
            with private_directory(path) as copy, _named(path):
                yield _of_directory(path, copy)
            return
        form = _format(path)
        with private_copy(path, form.value) as copy:
            with _named(path):
                source = (_of_hdf5 if form is KerasFormat.HDF5 else _of_archive)(path, copy)
            yield source

    def issues(self, trusted: TrustedNames) -> tuple[ConfigIssue, ...]:
        """Everything in it that would run code or read files of its choice, each once."""
        found = dict[ConfigIssue, None]()
        is_keras_3 = self.generation is KerasGeneration.KERAS_3
        with _named(self.path):
            for config in self.configs:
                found.update(dict.fromkeys(walk_config(config, is_keras_3=is_keras_3, trusted=trusted)))
        return tuple(found)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors about the content, with the path and what to do."""
    try:
        yield
    except BrokenModelError as error:
        if str(path) in error.message:
            raise
        raise BrokenModelError(
            f"{path} is corrupt: {error.message}", hint=error.hint or "Copy or save it again."
        ) from error


def _format(path: Path) -> KerasFormat:
    with os.fdopen(opened_file(path), "rb") as file:
        magic = file.read(8)
    if magic == _H5_MAGIC:
        return KerasFormat.HDF5
    if magic[:4] == _ZIP_MAGIC:
        return KerasFormat.ARCHIVE
    raise UsageError(
        f"{path} is not a Keras model: neither a .keras archive nor an HDF5 file",
        hint="Use the result of model.save(): MODEL.keras, MODEL.h5 or a SavedModel directory.",
    )


def _require_keras_directory(path: Path) -> None:
    if not any((path / name).is_file() for name in MAIN_FILES):
        raise UsageError(
            f"{path} is not a Keras model: it has no {MAIN_FILES[0]}",
            hint="Use the result of model.save(): MODEL.keras, MODEL.h5 or a SavedModel directory.",
        )
    if not (path / KERAS_METADATA).is_file():
        raise UsageError(
            f"{path} is a SavedModel without {KERAS_METADATA}, from which Keras creates the model",
            hint="Export it without these options, or use the .keras or .h5 file of the model.",
        )


def _of_directory(path: Path, copy: Path) -> KerasSource:
    metadata = copy / KERAS_METADATA
    if metadata.stat().st_size > MAX_METADATA_BYTES:
        raise BrokenModelError(f"its {KERAS_METADATA} is larger than 256 MiB")
    configs = tuple(metadata_configs(metadata.read_bytes()))
    if not configs:
        raise BrokenModelError(f"its {KERAS_METADATA} names no Keras object")
    return KerasSource(path, copy, KerasFormat.SAVED_MODEL, KerasGeneration.KERAS_2, "", configs)


def _of_archive(path: Path, copy: Path) -> KerasSource:
    try:
        with zipfile.ZipFile(copy) as archive:
            names = archive.namelist()
            if not {_CONFIG, _METADATA} <= set(names):
                raise UsageError(
                    f"{path} is a zip archive, but not a Keras model: {_CONFIG} is missing",
                    hint="Use the file that model.save('MODEL.keras') wrote.",
                )
            if len(set(names)) != len(names) or len(names) > _MAX_MEMBERS:
                raise BrokenModelError("its archive contains a name twice")
            # Keras unpacks what is compressed, and so does the look through the weights.
            packed = [member for member in archive.infolist() if member.compress_type != zipfile.ZIP_STORED]
            unpacked_bytes = sum(member.file_size for member in packed)
            folder, way_out = Path(tempfile.gettempdir()), "set TMPDIR to another directory"
            require_room(folder, unpacked_bytes, f"{path}, unpacked", way_out)
            metadata, config = (_member(archive, name) for name in (_METADATA, _CONFIG))
            if _WEIGHTS in names:
                _check_weights(archive, copy)
    except ARCHIVE_ERRORS as error:
        raise BrokenModelError(str(error)) from error
    version = str(metadata.value.get("keras_version", ""))
    read = {key: value for key, value in config.value.items() if key != _NOT_READ}
    configs = (KerasConfig(read, config.repeated_key),)
    generation = KerasGeneration.of_version(version)
    return KerasSource(path, copy, KerasFormat.ARCHIVE, generation, version, configs)


def _of_hdf5(path: Path, copy: Path) -> KerasSource:
    with _hdf5(copy) as file:
        version, config = read_h5_config(file)
        if config is None:
            raise UsageError(
                f"{path} contains only weights, and no model",
                hint="Use the result of model.save(), not of model.save_weights().",
            )
        require_no_other_files(file)
    configs = (KerasConfig.parse(config),)
    generation = KerasGeneration.of_version(version)
    return KerasSource(path, copy, KerasFormat.HDF5, generation, version, configs)


# What h5py raises for damaged or hostile bytes, beside OSError: a file says of itself what types it has.
HDF5_ERRORS = (LookupError, RuntimeError, TypeError, ValueError)


@contextmanager
def _hdf5(file: Path | IO[bytes]) -> Iterator[Any]:
    """The open HDF5 file. Only errors of hubcli leave the context."""
    h5py = import_h5py()
    try:
        with h5py.File(file, "r") as opened:
            yield opened
    except HubcliError:
        raise
    except (OSError, *HDF5_ERRORS) as error:
        raise BrokenModelError(str(error)) from error


def _check_weights(archive: zipfile.ZipFile, copy: Path) -> None:
    """Looks through the HDF5 file within the archive, in place where it isn't compressed."""
    info = archive.getinfo(_WEIGHTS)
    if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:
        with copy.open("rb") as file:
            file.seek(info.header_offset)
            header = file.read(_LOCAL_HEADER_BYTES)
            start = info.header_offset + _LOCAL_HEADER_BYTES
            start += int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
            with _hdf5(ZipWindow(file, start, info.file_size)) as opened:  # type: ignore[arg-type]
                require_no_other_files(opened)
        return
    with tempfile.TemporaryFile() as file, archive.open(info) as member:
        shutil.copyfileobj(member, file, 1 << 20)
        with _hdf5(file) as opened:
            require_no_other_files(opened)


def _member(archive: zipfile.ZipFile, name: str) -> KerasConfig:
    """The JSON in the member, of which no more is read than it may have."""
    with archive.open(name) as member:
        content = member.read(_MAX_CONFIG_BYTES + 1)
    if len(content) > _MAX_CONFIG_BYTES:
        raise BrokenModelError(f"its {name} would be larger than 64 MiB")
    # Keras gives the bytes to json.loads too, which tells their encoding.
    return KerasConfig.parse(content)
