"""A SavedModel, loaded, with what loading loses set right; its variables by the paths of `inspect`.

Beside their values: how far new ones are from old ones.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubcli.errors import HubcliError, MissingPathError, NoModelError, TensorFlowError
from hubcli.formats import MAIN_FILES
from hubcli.savedmodel.layout import ModelFormat, detect_format
from hubcli.savedmodel.model import SavedModelInfo
from hubcli.savedmodel.objects import LISTS
from hubcli.savedmodel.variables import Variable
from hubcli.tf.importing import first_line, import_tensorflow, use_tensorflow
from hubcli.tf.without_gc import without_gc

__all__ = [
    "ListAttributes",
    "RestoredLists",
    "VariableState",
    "copy_file",
    "copy_values",
    "live_variables",
    "load_model",
    "load_object",
    "parts_at",
    "raw_bytes",
    "require_path",
    "restore_lists",
    "snapshot",
]

_TF1_HUB_MARKER = "tfhub_module.pb"


@dataclass(frozen=True, slots=True)
class ListAttributes:
    """What the lists of an object held when it was loaded; a name that isn't there had no list."""

    items: Mapping[str, tuple[Any, ...]]

    @classmethod
    def of(cls, obj: Any) -> ListAttributes:
        """The lists of the object as it is now."""
        return cls({name: tuple(getattr(obj, name)) for name in LISTS if hasattr(obj, name)})

    def put_back(self, obj: Any) -> None:
        """Gives them back to the object, replacing what was set on it, so that it is saved as it was.

        With a list that it hadn't, what lies deep in the object would get
        shorter checkpoint keys ("variables/0/…"), since a key is the shortest
        path; with another one, who loads the export would train or
        regularize something else.
        """
        for name in LISTS:
            own, there = self.items.get(name), getattr(obj, name, None)
            if own is None:
                if hasattr(obj, name):
                    delattr(obj, name)
            elif there is None or [id(value) for value in there] != [id(value) for value in own]:
                setattr(obj, name, list(own))


@dataclass(frozen=True, slots=True)
class RestoredLists:
    """Paths of the variables in the lists that were set on an object; empty where it had them."""

    variables: tuple[str, ...] = ()
    trainable_variables: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """A sentence about it, "" where nothing was set."""
        if not self.variables:
            return ""
        return (
            f"the object had no list of what to train, as any plain tf.Module: set `variables` "
            f"({len(self.variables)}) and `trainable_variables` ({len(self.trainable_variables)})"
        )


def load_model(path: Path, tags: tuple[str, ...] | None = None, *, name: str = "") -> Any:
    """The object in the SavedModel, as `hub.load` gives it: the TF1 Hub format is loaded by no tags.

    Its functions work for as long as the object is kept. Raises
    TensorFlowError, which tells of the model by its `name` rather than by a
    path that is nobody's.
    """
    tf = import_tensorflow()
    is_hub_module = (path / _TF1_HUB_MARKER).is_file()
    return _load(tf, str(path), tags, None, name=name, is_hub_module=is_hub_module)


def load_object(path: str, tags: tuple[str, ...] | None = None, options: Any = None) -> Any:
    """The object at any path that TensorFlow reads, with its `LoadOptions`; its log messages are kept.

    Raises NoModelError where no SavedModel is there, TensorFlowError.
    """
    tf = use_tensorflow()
    with _readable(path):
        there = {name for name in (*MAIN_FILES, _TF1_HUB_MARKER) if tf.io.gfile.exists(f"{path}/{name}")}
    if not there & {*MAIN_FILES}:
        raise NoModelError(
            "Trying to load a model of incompatible/unknown type. "
            f"'{path}' contains neither '{MAIN_FILES[0]}' nor '{MAIN_FILES[1]}'.",
            hint="Specify the directory that contains it.",
        )
    return _load(tf, path, tags, options, is_hub_module=_TF1_HUB_MARKER in there)


def require_path(path: str) -> str:
    """The path, once TensorFlow says that something is there. Raises MissingPathError, TensorFlowError."""
    tf = use_tensorflow()
    with _readable(path):
        is_there = tf.io.gfile.exists(path)
    if not is_there:
        raise MissingPathError(f"{path} does not exist.", hint="Check the path and its permissions.")
    return path


def copy_file(source: str, target: Path) -> None:
    """Copies a file of a place that TensorFlow reads. Raises MissingPathError, TensorFlowError."""
    tf = use_tensorflow()
    require_path(source)
    with _readable(source):
        tf.io.gfile.copy(source, str(target))


def restore_lists(obj: Any, info: SavedModelInfo) -> RestoredLists:
    """Sets `variables` and `trainable_variables` on an object that has lost them.

    They hold what the object's functions use, by the flags in the file, and
    aren't set where these use nothing. Without them a Keras layer around the
    object trains nothing.
    """
    if info.lists.trainable_variables is not None or any(
        variable.node is None for variable in info.variables
    ):
        return RestoredLists()
    live = live_variables(obj, info)
    chosen = [variable for variable in _to_list(info) if variable.path in live]
    if not chosen:
        return RestoredLists()
    trainable = [variable for variable in chosen if variable.trainable]
    if info.lists.variables is None:
        obj.variables = [live[variable.path] for variable in chosen]
    obj.trainable_variables = [live[variable.path] for variable in trainable]
    return RestoredLists(
        tuple(variable.path for variable in chosen), tuple(variable.path for variable in trainable)
    )


def copy_values(source: Any, target: Any, info: SavedModelInfo) -> None:
    """Assigns the values of one loaded object to another of the same model."""
    origin: Mapping[str, Any] = live_variables(source, info)
    for path, variable in live_variables(target, info).items():
        if path in origin:
            variable.assign(origin[path].numpy())


def _load(
    tf: Any,
    path: str,
    tags: tuple[str, ...] | None,
    options: Any,
    *,
    name: str = "",
    is_hub_module: bool,
) -> Any:
    chosen = list(tags) if tags is not None else [] if is_hub_module else None
    try:
        with without_gc():
            obj = tf.saved_model.load(path, tags=chosen, options=options)
    # Loading runs the model's own initializers, which fail in many ways.
    except Exception as error:
        raise TensorFlowError(
            f"TensorFlow cannot load {name or path}: {type(error).__name__}: {first_line(error)}",
            hint=_hint(str(error), path),
        ) from error
    obj._is_hub_module_v1 = is_hub_module  # tensorflow_hub's KerasLayer asks for it.
    return obj


@contextmanager
def _readable(path: str) -> Iterator[None]:
    """The hubcli error for a place that TensorFlow can't read."""
    tf = use_tensorflow()
    try:
        yield
    except tf.errors.OpError as error:
        raise TensorFlowError(
            f"TensorFlow cannot read {path}: {first_line(error)}",
            hint="Check the network, and credentials for the bucket (GOOGLE_APPLICATION_CREDENTIALS).",
        ) from error


def _to_list(info: SavedModelInfo) -> list[Variable]:
    own = [variable for variable in info.variables if not variable.is_slot]
    if info.lists.variables is not None:
        return [variable for variable in own if variable.is_listed]
    used = {node for function in info.functions for variant in function.variants for node in variant.captures}
    return [variable for variable in own if variable.node in used]


# What TensorFlow says of files that are missing or damaged, whichever release wrote them.
_DAMAGE = ("No such file", "DataLoss", "corrupt", "checksum", "Not found")


def _is_of_tensorflow_1(path: str) -> bool:
    """Whether it is a graph without objects: TensorFlow 2 refuses reference variables and old ops."""
    with suppress(HubcliError, OSError):
        return detect_format(Path(path)) in (ModelFormat.TF1, ModelFormat.TF1_HUB)
    return False


def _hint(text: str, path: str) -> str:
    if "tags=" in text or "MetaGraphDef associated with tags" in text:
        return "Choose one of its tag sets: hubcli inspect MODEL"
    if "Op type not registered" in text:
        return "Install the package with that op, such as tensorflow_text."
    if _is_of_tensorflow_1(path) and not any(part in text for part in _DAMAGE):
        return (
            "Use values from a file, as TensorFlow 2 cannot load this graph "
            "of TensorFlow 1: hubcli finetune-export MODEL DEST --weights FILE"
        )
    if "attr" in text and "not in Op" in text:
        return "Install a newer TensorFlow: pip install -U tensorflow"
    return "Verify the model: hubcli verify MODEL. See the traceback: --debug"


_OPTIMIZERS = ("optimizer", "_optimizer")  # Attributes that hold the state of newer Keras optimizers.


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
            variable.path: named[variable.path]
            for variable in info.variables
            if variable.path in named and variable.checkpoint_key is not None
        }
    # A slot has no path where nothing but its optimizer's list of slots holds it: it is known by a name,
    # which others may share, and must not be taken for what stands at such a path.
    paths = {variable.path for variable in info.variables if not variable.is_slot}
    paths |= {variable.path for variable in info.variables if variable.path.partition(".")[0] in _OPTIMIZERS}
    found = parts_at(obj, paths, _is_variable)
    return {variable.path: found[variable.path] for variable in info.variables if variable.path in found}


def snapshot(variables: Mapping[str, Any]) -> dict[str, VariableState]:
    """What each of the variables holds now."""
    return {path: _state(variable) for path, variable in variables.items()}


def parts_at(
    obj: Any, paths: Collection[str], accepts: Callable[[Any], bool] = lambda part: True
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
            if path in paths and accepts(child):
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
    array, is_text = value.numpy(), value.dtype == tf.string
    digest = hashlib.sha256(f"{value.dtype.name}{list(value.shape)}".encode())
    # Strings are Python objects; TensorFlow writes them with their lengths.
    digest.update(tf.io.serialize_tensor(value).numpy() if is_text else raw_bytes(array))
    return VariableState(digest.hexdigest(), _is_finite(tf, value, array))


def raw_bytes(array: Any) -> memoryview:
    """The bytes of a contiguous array in memory order; of any type but objects."""
    return memoryview(array.reshape(-1).view("uint8"))


def _is_finite(tf: Any, value: Any, array: Any) -> bool:
    if not (value.dtype.is_floating or value.dtype.is_complex):
        return True
    if value.dtype in (tf.float32, tf.float64):
        # If the sum is finite, so is each number; that needs no second array of their size.
        import numpy as np

        with np.errstate(all="ignore"):
            if np.isfinite(array.sum()):
                return True
    # Types that TensorFlow doesn't test itself are those of eight bits and less.
    return bool(tf.reduce_all(tf.math.is_finite(_wide(tf, value))))


def _wide(tf: Any, value: Any) -> Any:
    if value.dtype.is_complex:
        return tf.abs(value)
    return value if value.dtype in (tf.float32, tf.float64) else tf.cast(value, tf.float32)
