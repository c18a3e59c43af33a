"""A Keras model on the disk, before Keras reads it: which kind of file, which generation, what it would run.

Sources: keras/src/saving/saving_lib.py (`.keras`), keras/src/legacy/saving/legacy_h5_format.py (`.h5`),
tf_keras/src/saving/legacy/saved_model/ (`keras_metadata.pb`).
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from hubcli.errors import BrokenModelError, NotFoundError, UsageError
from hubcli.formats.files import MAIN_FILES
from hubcli.regular_file import open_regular, read_regular
from hubcli.tf.importing import KerasGeneration, import_h5py

__all__ = ["KerasFormat", "KerasSource"]

_METADATA_FILE = "keras_metadata.pb"
_MAX_CONFIG_BYTES = 1 << 28
_H5_MAGIC, _ZIP_MAGIC = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"
# The configs of a SavedModel's layers are JSON text within a protobuf message.
_LAMBDA_CODE = re.compile(rb'"function_type":\s*"lambda"|"class_name":\s*"__lambda__"')


class KerasFormat(str, Enum):
    """How a Keras model is stored."""

    ARCHIVE = ".keras"
    HDF5 = ".h5"
    SAVED_MODEL = "SavedModel"


@dataclass(frozen=True, slots=True)
class KerasSource:
    """A Keras model's file or directory.

    `version` is that of the Keras that wrote it, "" where the file doesn't
    tell. `code_layers` are the names of layers whose Python code stands in the
    file and would run ("" for one without a name that can be told).
    """

    path: Path
    format: KerasFormat
    generation: KerasGeneration
    version: str
    code_layers: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> KerasSource:
        """What the file says of itself; of no library but h5py is needed.

        Raises NotFoundError, UsageError for what is no Keras model,
        BrokenModelError for a damaged one, TensorFlowError without h5py.
        """
        try:
            if path.is_dir():
                return cls._of_directory(path)
            with open_regular(path) as file:
                magic = file.read(8)
        except FileNotFoundError as error:
            raise NotFoundError(f"{path} doesn't exist", hint="Check the path.") from error
        except OSError as error:
            raise NotFoundError(f"{path} can't be read: {error.strerror}", hint="Check its mode.") from error
        if magic == _H5_MAGIC:
            return cls._of_hdf5(path)
        if magic[:4] == _ZIP_MAGIC:
            return cls._of_archive(path)
        raise UsageError(
            f"{path} is no Keras model: neither a .keras archive nor an HDF5 file",
            hint="Give what model.save() wrote: MODEL.keras, MODEL.h5 or a SavedModel directory.",
        )

    @classmethod
    def _of_directory(cls, path: Path) -> KerasSource:
        if not any((path / name).is_file() for name in MAIN_FILES):
            raise UsageError(
                f"{path} is no Keras model: {MAIN_FILES[0]} isn't in it",
                hint="Give what model.save() wrote: MODEL.keras, MODEL.h5 or a SavedModel directory.",
            )
        metadata = path / _METADATA_FILE
        if not metadata.is_file():
            raise UsageError(
                f"{path} is a SavedModel, but {_METADATA_FILE}, from which Keras makes a model, isn't in it",
                hint="Export it as it is, or give the .keras or .h5 file of the model.",
            )
        has_code = _LAMBDA_CODE.search(read_regular(metadata)) is not None
        return cls(path, KerasFormat.SAVED_MODEL, KerasGeneration.KERAS_2, "", ("",) if has_code else ())

    @classmethod
    def _of_archive(cls, path: Path) -> KerasSource:
        try:
            with open_regular(path, is_buffered=True) as opened, zipfile.ZipFile(opened) as archive:
                names = set(archive.namelist())
                if not {"config.json", "metadata.json"} <= names:
                    raise UsageError(
                        f"{path} is a zip archive, but no Keras model: config.json isn't in it",
                        hint="Give what model.save('MODEL.keras') wrote.",
                    )
                metadata, config = (_member(archive, name, path) for name in ("metadata.json", "config.json"))
        except (zipfile.BadZipFile, OSError) as error:
            raise BrokenModelError(f"{path} is damaged: {error}", hint="Copy or save it again.") from error
        version = str(metadata.get("keras_version", ""))
        generation = KerasGeneration.of_version(version)
        return cls(path, KerasFormat.ARCHIVE, generation, version, tuple(_code_layers(config)))

    @classmethod
    def _of_hdf5(cls, path: Path) -> KerasSource:
        h5py = import_h5py()
        try:
            with open_regular(path, is_buffered=True) as opened, h5py.File(opened, "r") as file:
                version, config = _text(file.attrs.get("keras_version")), file.attrs.get("model_config")
        except OSError as error:
            raise BrokenModelError(f"{path} is damaged: {error}", hint="Copy or save it again.") from error
        if config is None:
            raise UsageError(
                f"{path} holds weights alone, and no model",
                hint="Give what model.save() wrote, not model.save_weights().",
            )
        generation = KerasGeneration.of_version(version)
        layers = tuple(_code_layers(_json(_text(config), path)))
        return cls(path, KerasFormat.HDF5, generation, version, layers)


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> Any:
    """The JSON in the member. Raises BrokenModelError, BadZipFile."""
    if archive.getinfo(name).file_size > _MAX_CONFIG_BYTES:
        raise BrokenModelError(f"{path} is damaged: its {name} would be larger than 256 MiB")
    return _json(archive.read(name).decode("utf-8", "replace"), path)


def _json(text: str, path: Path) -> Any:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BrokenModelError(
            f"{path} is damaged: its config is no JSON: {error}", hint="Copy or save it again."
        ) from error
    if not isinstance(found, dict):
        raise BrokenModelError(f"{path} is damaged: its config is no JSON object")
    return found


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def _code_layers(config: Any) -> Iterator[str]:
    """Names of the Lambda layers whose bytecode stands in the config, in its order."""
    pending = [config]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            inner = one.get("config")
            if one.get("class_name") == "Lambda" and isinstance(inner, dict) and _is_code(inner):
                yield str(inner.get("name", ""))
            pending += reversed(one.values())
        elif isinstance(one, list):
            pending += reversed(one)


def _is_code(config: dict[str, Any]) -> bool:
    function = config.get("function")
    kind = function.get("class_name") if isinstance(function, dict) else config.get("function_type")
    return kind in ("__lambda__", "lambda")
