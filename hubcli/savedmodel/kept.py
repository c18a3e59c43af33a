"""Whether an export still is what its source is, but for values: the gate before it is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from itertools import islice

from hubcli.errors import TensorFlowError
from hubcli.quantity import plural
from hubcli.savedmodel.calls import lost_calls
from hubcli.savedmodel.diff import Difference, compare
from hubcli.savedmodel.info import ModelFormat, SavedModelInfo
from hubcli.savedmodel.variables import VariableLists

__all__ = ["require_interface_kept"]

_TOLD = 3


def require_interface_kept(source: SavedModelInfo, result: SavedModelInfo) -> tuple[Difference, ...]:
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
