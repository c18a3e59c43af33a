"""Whether a rewritten model is its source to the byte, but for values: the gate before it is shown."""

from __future__ import annotations

import os
from filecmp import cmp
from pathlib import Path

from hubcli.errors import TensorFlowError
from hubcli.formats.bundle import BundleEntry, BundleIndex
from hubcli.formats.files import INDEX_FILE

__all__ = ["require_only_values_changed"]

_RENEWED = ("fingerprint.pb",)  # It holds a hash of the checkpoint.


def require_only_values_changed(source: Path, result: Path) -> None:
    """Raises TensorFlowError unless every file of the two directories is the same but for the checkpoint.

    Of that one the tensors must have the same names, types, shapes and slices. Raises OSError.
    """
    shards = {f"variables/{path.name}" for path in (source / "variables").glob("variables.data-*")}
    names = _files(source)
    if names != _files(result):
        raise _differs(", ".join(sorted(names ^ _files(result))))
    for name in sorted(names - shards - {INDEX_FILE, *_RENEWED}):
        if not cmp(source / name, result / name, shallow=False):
            raise _differs(name)
    ours, theirs = (BundleIndex.read((one / INDEX_FILE).read_bytes()) for one in (source, result))
    for one, other in zip(ours.entries, theirs.entries, strict=False):
        if _identity(one) != _identity(other):
            raise _differs(f"{INDEX_FILE}: {one.name}")
    if len(ours.entries) != len(theirs.entries):
        raise _differs(INDEX_FILE)


def _identity(entry: BundleEntry) -> tuple[object, ...]:
    return entry.key, entry.dtype, entry.shape, entry.slices


def _files(model: Path) -> set[str]:
    return {
        Path(folder, name).relative_to(model).as_posix()
        for folder, _, files in os.walk(model)
        for name in files
    }


def _differs(what: str) -> TensorFlowError:
    return TensorFlowError(
        f"The model that was written isn't its source with other values: {what} differs",
        hint="Did the source change meanwhile? Once it stays as it is: again.",
    )
