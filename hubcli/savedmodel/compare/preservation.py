"""Verifies that an export preserves its source's interface and, but for values, its bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence, Set
from itertools import islice
from pathlib import Path

from hubcli.errors import TensorFlowError
from hubcli.formats.files import INDEX_FILE
from hubcli.formats.tensor_bundle import BundleEntry, BundleIndex
from hubcli.regular_file import open_regular, read_regular
from hubcli.savedmodel.compare.calls import lost_calls
from hubcli.savedmodel.compare.diff import Difference, compare
from hubcli.savedmodel.model import SavedModelInfo
from hubcli.savedmodel.model_format import ModelFormat
from hubcli.savedmodel.variables import VariableLists
from hubcli.units import plural

__all__ = ["verify_interface_preserved", "verify_only_values_changed"]

_TOLD = 3


def verify_interface_preserved(source: SavedModelInfo, result: SavedModelInfo) -> tuple[Difference, ...]:
    """What differs beside the values, and may.

    That is: TensorFlow's version, that a Keras model is a plain object, an
    argument list with which every call of the source is still taken, and what
    an optimizer keeps for a training to go on. Raises TensorFlowError where a
    caller, a trainer or a server would miss something of the source.
    """
    slots = {one.path for info in (source, result) for one in info.variables if one.is_slot}
    equal = _equal_functions(source, result)
    found = [difference for difference in compare(source, result) if difference.part != "value"]
    found += _lists(source.lists, result.lists)
    lost = [difference for difference in found if not _may_differ(difference, slots, equal)]
    if lost:
        told = "; ".join(map(_told, islice(lost, _TOLD)))
        more = f"; and {len(lost) - _TOLD} more" if len(lost) > _TOLD else ""
        raise TensorFlowError(
            f"Saved again, the model isn't what it was: {told}{more}",
            hint="Change the values alone, which loses nothing: --method rewrite",
        )
    return tuple(found)


def _lists(source: VariableLists, result: VariableLists) -> Iterator[Difference]:
    """Lists of the root that hold something else, or the same in another order: weights go by it."""
    for name in ("variables", "trainable_variables"):
        ours, theirs = getattr(source, name), getattr(result, name)
        if ours != theirs:
            yield Difference(
                "list", name, *(None if one is None else ", ".join(one) for one in (ours, theirs))
            )
    if source.losses != result.losses:
        losses = (plural(one.losses, "function") for one in (source, result))
        yield Difference("list", "regularization_losses", *losses)


def _equal_functions(source: SavedModelInfo, result: SavedModelInfo) -> tuple[str, ...]:
    """Paths of the functions that take every call which they took."""
    there = {one.path: one for one in result.functions}
    return tuple(
        one.path for one in source.functions if one.path in there and not lost_calls(one, there[one.path])
    )


def _may_differ(difference: Difference, slots: Set[str], equal: Sequence[str]) -> bool:
    if difference.part == "format":
        return bool(difference.left == ModelFormat.KERAS_2.value)
    if difference.part == "function":
        # A trace is told by the path of its function and its arguments.
        return any(difference.name == path or difference.name.startswith(f"{path}(") for path in equal)
    if difference.part == "variable":
        return difference.name in slots
    return difference.part == "version"


def _told(difference: Difference) -> str:
    name = f"{difference.part} {difference.name}".strip()
    if difference.right is None:
        return f"{name} is gone"
    if difference.left is None:
        return f"{name} is new"
    return f"{name} was {difference.left} and is {difference.right}"


_READ_BYTES = 1 << 18
_RENEWED = ("fingerprint.pb",)  # It holds a hash of the checkpoint.


def verify_only_values_changed(source: Path, result: Path) -> None:
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
