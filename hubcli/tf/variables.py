"""The variables of a live object by the paths of `inspect`, and what they hold at a moment."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from hubcli.savedmodel.model import SavedModelInfo
from hubcli.tf.importing import import_tensorflow

__all__ = ["VariableState", "live_variables", "parts_at", "snapshot"]

_OPTIMIZERS = ("optimizer", "_optimizer")  # What newer ones of Keras keep hangs on them.


@dataclass(frozen=True, slots=True)
class VariableState:
    """What a variable holds: a sha256 over type, shape and bytes, and whether every number is finite."""

    sha256: str
    is_finite: bool


def live_variables(obj: Any, info: SavedModelInfo) -> dict[str, Any]:
    """The variables of the loaded object by their paths in `info`, in its order.

    Left out is what the object hasn't, such as slots of an optimizer that
    TensorFlow doesn't restore.
    """
    if any(variable.node is None for variable in info.variables):  # TensorFlow 1 knows names alone.
        named = {variable.name.partition(":")[0]: variable for variable in getattr(obj, "variables", ())}
        # Local ones have no key: they begin anew with each load.
        return {
            one.path: named[one.path]
            for one in info.variables
            if one.path in named and one.checkpoint_key is not None
        }
    # A slot has no path where nothing but its optimizer's list of slots holds it: it is told by a name,
    # which others may share, and must not be taken for what stands at such a path.
    paths = {one.path for one in info.variables if not one.is_slot}
    paths |= {one.path for one in info.variables if one.path.partition(".")[0] in _OPTIMIZERS}
    found = parts_at(obj, paths, _is_variable)
    return {one.path: found[one.path] for one in info.variables if one.path in found}


def snapshot(variables: Mapping[str, Any]) -> dict[str, VariableState]:
    """What each of the variables holds now."""
    return {path: _state(variable) for path, variable in variables.items()}


def parts_at(
    obj: Any, paths: Collection[str], is_wanted: Callable[[Any], bool] = lambda part: True
) -> dict[str, Any]:
    """What stands below the object at these dotted paths; a name on a path may itself hold dots."""
    view = import_tensorflow().train.TrackableView
    onward = {path[:place] for path in paths for place, letter in enumerate(path) if letter == "."}
    found: dict[str, Any] = {}
    waiting = deque([("", obj)])
    while waiting:
        prefix, holder = waiting.popleft()
        for name, child in view.children(holder).items():
            path = f"{prefix}{name}"
            if path in paths and is_wanted(child):
                found.setdefault(path, child)
            if path in onward:
                waiting.append((f"{path}.", child))
    return found


def _is_variable(part: Any) -> bool:
    return hasattr(part, "assign") and hasattr(part, "dtype")


def _state(variable: Any) -> VariableState:
    tf = import_tensorflow()
    try:
        value = tf.convert_to_tensor(variable)
    except tf.errors.FailedPreconditionError:
        return VariableState("uninitialized", True)
    array = value.numpy()
    digest = hashlib.sha256(f"{value.dtype.name}{list(value.shape)}".encode())
    # Strings are Python objects; TensorFlow writes them with their lengths.
    digest.update(tf.io.serialize_tensor(value).numpy() if array.dtype.kind == "O" else array.tobytes())
    is_number = value.dtype.is_floating or value.dtype.is_complex
    # Types that TensorFlow doesn't test itself are those of eight bits and less.
    is_finite = not is_number or bool(tf.reduce_all(tf.math.is_finite(_wide(tf, value))))
    return VariableState(digest.hexdigest(), is_finite)


def _wide(tf: Any, value: Any) -> Any:
    if value.dtype.is_complex:
        return tf.abs(value)
    return value if value.dtype in (tf.float32, tf.float64) else tf.cast(value, tf.float32)
