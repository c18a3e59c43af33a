"""The variables of a live object by the paths of `inspect`, and what they hold at a moment."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hubcli.savedmodel.info import SavedModelInfo
from hubcli.tf.importing import import_tensorflow

__all__ = ["VariableState", "live_variables", "snapshot"]


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
    tf = import_tensorflow()
    if any(variable.node is None for variable in info.variables):  # TensorFlow 1 knows names alone.
        named = {variable.name.partition(":")[0]: variable for variable in getattr(obj, "variables", ())}
        return {one.path: named[one.path] for one in info.variables if one.path in named}
    found = {one.path: _resolve(tf.train.TrackableView, obj, one.path) for one in info.variables}
    return {path: variable for path, variable in found.items() if variable is not None}


def snapshot(variables: Mapping[str, Any]) -> dict[str, VariableState]:
    """What each of the variables holds now."""
    return {path: _state(variable) for path, variable in variables.items()}


def _resolve(view: Any, holder: Any, path: str) -> Any | None:
    """The variable below the object; a name on the path may itself hold dots."""
    for name, child in view.children(holder).items():
        if name == path and hasattr(child, "assign") and hasattr(child, "dtype"):
            return child
        if path.startswith(f"{name}."):
            found = _resolve(view, child, path[len(name) + 1 :])
            if found is not None:
                return found
    return None


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
