"""Whether a rewritten model is its source to the byte, but for values: the gate before it is shown."""

from __future__ import annotations

import os
from pathlib import Path

from hubcli.errors import TensorFlowError
from hubcli.formats.bundle import BundleEntry, BundleIndex
from hubcli.formats.files import INDEX_FILE
from hubcli.regular_file import open_regular, read_regular

__all__ = ["require_only_values_changed"]

_READ_BYTES = 1 << 18
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
        if not _is_same(source / name, result / name):
            raise _differs(name)
    ours, theirs = (BundleIndex.read(read_regular(one / INDEX_FILE)) for one in (source, result))
    for one, other in zip(ours.entries, theirs.entries, strict=False):
        if _identity(one) != _identity(other):
            raise _differs(f"{INDEX_FILE}: {one.name}")
    if len(ours.entries) != len(theirs.entries):
        raise _differs(INDEX_FILE)


def _is_same(one: Path, other: Path) -> bool:
    """Whether the two files hold the same bytes."""
    with open_regular(one) as ours, open_regular(other) as theirs:
        if os.fstat(ours.fileno()).st_size != os.fstat(theirs.fileno()).st_size:
            return False
        while piece := ours.read(_READ_BYTES):
            if piece != theirs.read(_READ_BYTES):
                return False
        return not theirs.read(1)


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
