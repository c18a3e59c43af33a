"""Where fine-tuned values come from: checkpoints, SavedModels, .npz and .safetensors, as one noun.

Source of the state file: tensorflow/python/checkpoint/checkpoint_management.py.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from hubcli.errors import BrokenModelError, NotFoundError, UsageError
from hubcli.formats import MAIN_FILES
from hubcli.formats.array_files import read_npz, read_safetensors
from hubcli.formats.bundles import Bundle
from hubcli.formats.tensor_values import TensorValues
from hubcli.regular_file import open_regular, read_regular
from hubcli.savedmodel.weights.assignable import CheckpointGraph

__all__ = ["DAMAGED_HINT", "WeightGroup", "Weights", "WeightsKind", "open_weights", "weights_kind"]

DAMAGED_HINT = "Copy or save it again: it is corrupt, truncated or of another format than its name says."
_STATE_FILE = "checkpoint"
_STATE = re.compile(rb'^\s*model_checkpoint_path:\s*"((?:[^"\\]|\\.)*)"', re.MULTILINE)
_MAX_STATE_BYTES = 1 << 20
_INDEX, _SHARD = ".index", re.compile(r"\.data-\d{5}-of-\d{5}$")
_HDF5, _ZIP = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"
_KERAS_MEMBER = "model.weights.h5"


class WeightsKind(str, Enum):
    """What the weights are, in words that scripts may rely on."""

    CHECKPOINT = "checkpoint"
    SAVED_MODEL = "saved-model"
    NPZ = "npz"
    SAFETENSORS = "safetensors"
    KERAS_WEIGHTS = "keras-weights"
    KERAS_ARCHIVE = "keras-archive"

    @property
    def needs_h5py(self) -> bool:
        """Whether `hubcli.tf.keras.h5_weights` reads it, not `open_weights`."""
        return self in (WeightsKind.KERAS_WEIGHTS, WeightsKind.KERAS_ARCHIVE)


class WeightGroup(NamedTuple):
    """The values of one layer in the order in which Keras wrote them, by key."""

    name: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Weights:
    """Values by the key that they have in the file.

    `bundle` is that of a checkpoint; `groups` are the layers of a Keras file, whose values are known by their
    order only.
    """

    path: Path
    kind: WeightsKind
    tensors: Mapping[str, TensorValues]
    bundle: Bundle | None = None
    groups: tuple[WeightGroup, ...] = ()

    @cached_property
    def graph(self) -> CheckpointGraph | None:
        """A checkpoint's objects, None if it has none; read on first use, since equal keys don't need them.

        Raises BrokenModelError if they can't be read.
        """
        try:
            return None if self.bundle is None else CheckpointGraph.of(self.bundle)
        except BrokenModelError as error:
            raise BrokenModelError(f"{self.path}: {error.message}", hint=error.hint) from error


def weights_kind(path: Path) -> WeightsKind:
    """The kind of weights at the path: by its files, its first bytes, or its suffix.

    Raises NotFoundError if there are none, UsageError for an unknown format.
    """
    if path.is_dir():
        is_model = any((path / name).is_file() for name in MAIN_FILES)
        return WeightsKind.SAVED_MODEL if is_model else WeightsKind.CHECKPOINT
    if path.name == _STATE_FILE or _prefix_of(path) is not None:
        return WeightsKind.CHECKPOINT
    if not path.is_file():
        raise NotFoundError(
            f"No weights at {path}: no such file, and no checkpoint {path.name}.index",
            hint="Specify a checkpoint, a SavedModel, or a .npz, .safetensors, .weights.h5 or .keras file.",
        )
    try:
        with open_regular(path) as file:
            head = file.read(len(_HDF5))
    except OSError as error:
        raise NotFoundError(f"Cannot read {path}: {error.strerror}", hint="Check its permissions.") from error
    if head == _HDF5:
        return WeightsKind.KERAS_WEIGHTS
    if head.startswith(_ZIP):
        return WeightsKind.KERAS_ARCHIVE if _is_keras(path) else WeightsKind.NPZ
    suffixes = {
        ".npz": WeightsKind.NPZ,
        ".safetensors": WeightsKind.SAFETENSORS,
        ".h5": WeightsKind.KERAS_WEIGHTS,
        ".keras": WeightsKind.KERAS_ARCHIVE,
    }
    if path.suffix not in suffixes:
        raise UsageError(
            f"Unknown weights format: {path.name}",
            hint="Use a TensorFlow checkpoint, a SavedModel, .npz, .safetensors, .weights.h5 or .keras.",
        )
    return suffixes[path.suffix]


def _is_keras(path: Path) -> bool:
    try:
        with open_regular(path, is_buffered=True) as opened, zipfile.ZipFile(opened) as archive:
            return _KERAS_MEMBER in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return path.suffix == ".keras"


def open_weights(path: Path) -> Weights:
    """The weights at the path, whose values are not read yet; for kinds that don't need h5py.

    Raises NotFoundError, UsageError, BrokenModelError if they can't be read.
    """
    kind = weights_kind(path)
    try:
        if kind is WeightsKind.NPZ:
            return Weights(path, kind, read_npz(path))
        if kind is WeightsKind.SAFETENSORS:
            return Weights(path, kind, read_safetensors(path))
        if kind.needs_h5py:
            raise UsageError(f"{path.name} requires h5py", hint="Install it: pip install 'hubcli[tf]'")
        folder, prefix = (
            (path / "variables", "variables") if kind is WeightsKind.SAVED_MODEL else _found_prefix(path)
        )
        bundle = Bundle.open(folder, prefix)
        return Weights(path, kind, bundle.values(), bundle)
    except BrokenModelError as error:
        reason = error.message.removeprefix(f"{path.name}: ").removeprefix(f"{path.name} ")
        raise BrokenModelError(f"{path}: {reason}", hint=error.hint or DAMAGED_HINT) from error
    except OSError as error:
        raise NotFoundError(
            f"Cannot read {error.filename or path}: {error.strerror}",
            hint="Check the path and its permissions.",
        ) from error


def _prefix_of(path: Path) -> tuple[Path, str] | None:
    """Directory and prefix of the checkpoint that the path names by its prefix or one of its files."""
    name = _SHARD.sub("", path.name).removesuffix(_INDEX)
    return (path.parent, name) if (path.parent / f"{name}{_INDEX}").is_file() else None


def _found_prefix(path: Path) -> tuple[Path, str]:
    state = path / _STATE_FILE if path.is_dir() else path
    if state.name != _STATE_FILE or not state.is_file():
        found = _prefix_of(path) if not path.is_dir() else _only_checkpoint(path)
        if found is None:
            raise NotFoundError(f"No checkpoint in {path}", hint="Specify its prefix, such as DIR/ckpt-3.")
        return found
    named = _STATE.search(read_regular(state, _MAX_STATE_BYTES))
    if named is None:
        raise BrokenModelError(
            f"{state.name} names no checkpoint", hint="Specify its prefix, such as DIR/ckpt-3."
        )
    newest = Path(re.sub(rb"\\(.)", rb"\1", named[1]).decode("utf-8", "replace"))
    # A directory that was moved still names its old place: then the file beside is meant.
    for place in (state.parent / newest, state.parent / newest.name):
        found = _prefix_of(place)
        if found is not None:
            return found
    raise NotFoundError(
        f"{state} names {newest} as the newest checkpoint, which does not exist",
        hint="Specify another one by its prefix, such as DIR/ckpt-3.",
    )


def _only_checkpoint(folder: Path) -> tuple[Path, str] | None:
    """The one checkpoint in a directory without a state file."""
    found = sorted(file.name.removesuffix(_INDEX) for file in folder.glob(f"*{_INDEX}"))
    if len(found) > 1:
        raise UsageError(
            f"{folder} contains {len(found)} checkpoints, but no file that names the newest",
            hint=f"Specify one: {folder / found[-1]}",
        )
    return (folder, found[0]) if found else None
