"""`--train`: the user's function that trains a loaded object, what it changed, and where it runs.

It runs alone, on all devices of this machine, or on several machines.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from inspect import iscoroutine, isgenerator, signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hubcli.config.process_variables import library_variable
from hubcli.errors import TensorFlowError, UsageError
from hubcli.formats.tensor_bundle import OBJECT_GRAPH_KEY, TABLE_KEYS, TABLE_VALUES
from hubcli.savedmodel.model import SavedModelInfo
from hubcli.tf import StrategyKind
from hubcli.tf.importing import first_line, import_tensorflow, load_module, near_misses, user_errors
from hubcli.tf.loading import VariableState, live_variables, parts_at, snapshot

__all__ = [
    "Strategy",
    "TrainingFunction",
    "TrainingReport",
    "TrainingWatch",
    "fill_table",
    "table_states",
    "table_tensors",
    "tables_of",
    "train",
]


def table_states(obj: Any, info: SavedModelInfo) -> dict[str, str]:
    """A hash of what each table of the loaded object holds now, by path; tables are written in no order."""
    return {path: _state(table) for path, (_, table) in tables_of(obj, info).items()}


def tables_of(obj: Any, info: SavedModelInfo) -> dict[str, tuple[str, Any]]:
    """The tables of the loaded object by path, each with the beginning of its two checkpoint keys."""
    tensors = () if info.checkpoint is None else info.checkpoint.tensors
    stems = [tensor.key.removesuffix(TABLE_KEYS) for tensor in tensors if tensor.key.endswith(TABLE_KEYS)]
    paths = {_dotted(stem): stem for stem in stems}
    found = parts_at(obj, paths.keys())
    return {path: (paths[path], found[path]) for path in sorted(found)}


def table_tensors(obj: Any, info: SavedModelInfo) -> dict[str, Any]:
    """What each table holds now, as arrays of its keys and of its values, by their keys in a checkpoint."""
    found: dict[str, Any] = {}
    for stem, table in tables_of(obj, info).values():
        found[f"{stem}{TABLE_KEYS}"], found[f"{stem}{TABLE_VALUES}"] = _content(table)
    return found


def fill_table(table: Any, keys: Any, values: Any) -> None:
    """Lets the table hold these pairs, and nothing else."""
    tf = import_tensorflow()
    with TemporaryDirectory() as folder:
        before, after = str(Path(folder, "before")), str(Path(folder, "after"))
        tf.train.Checkpoint(t=table).write(before)
        objects = tf.train.load_checkpoint(before).get_tensor(OBJECT_GRAPH_KEY)
        tf.raw_ops.SaveV2(
            prefix=after,
            tensor_names=[OBJECT_GRAPH_KEY, f"t{TABLE_KEYS}", f"t{TABLE_VALUES}"],
            shape_and_slices=[""] * 3,
            tensors=[tf.constant(objects), tf.constant(keys), tf.constant(values)],
        )
        tf.train.Checkpoint(t=table).read(after).assert_consumed()


def _dotted(key: str) -> str:
    """The path of a checkpoint key. Source: tensorflow/python/checkpoint/trackable_utils.py."""
    return ".".join(name.replace(".S", "/").replace("..", ".") for name in key.split("/"))


def _state(table: Any) -> str:
    rows = zip(*_content(table), strict=True)
    lines = sorted(f"{_text(key)} {_text(value)}" for key, value in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _content(table: Any) -> tuple[Any, Any]:
    """Arrays of the keys and of the values."""
    # A table that was loaded has no methods of its own: a checkpoint is the public way to what it holds.
    tf = import_tensorflow()
    with TemporaryDirectory() as folder:
        written = tf.train.load_checkpoint(tf.train.Checkpoint(t=table).write(str(Path(folder, "t"))))
        return written.get_tensor(f"t{TABLE_KEYS}"), written.get_tensor(f"t{TABLE_VALUES}")


def _text(row: Any) -> str:
    """All of it: NumPy's own text leaves out what is long."""
    return repr(row.tolist() if hasattr(row, "tolist") else row)


@dataclass(frozen=True, slots=True)
class TrainingFunction:
    """A function of the user's, by the text that names it."""

    name: str
    function: Callable[..., Any]

    def require_arguments(self, arguments: Mapping[str, Any]) -> None:
        """Raises UsageError if the function can't be called with an object and these."""
        try:
            signature(self.function).bind(object(), **arguments)
        except TypeError as error:
            raise UsageError(
                f"Cannot call {self.name} with the model and the given arguments: {error}",
                hint=f"It takes {signature(self.function)}: the model first, the others by --arg KEY=VALUE.",
            ) from error
        except ValueError:  # One in C has no signature.
            return

    @classmethod
    def load(cls, text: str) -> TrainingFunction:
        """The function of `FILE.py:function` or `package.module:function`.

        Raises UsageError for a text of another form, a module or a name that
        isn't there or can't be called, NotFoundError for a file, TensorFlowError
        for an exception in it.
        """
        place, colon, name = text.rpartition(":")
        if not colon or not place or not name.isidentifier():
            raise UsageError(
                f"Missing function in {text}", hint="Use FILE.py:function or package.module:function."
            )
        module = load_module(place)
        own = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        if not hasattr(module, name):
            raise UsageError(f"{place} has no function {name}", hint=near_misses(name, own))
        function = getattr(module, name)
        if not callable(function):
            raise UsageError(f"{place}:{name} is not a function but a {type(function).__name__}")
        return cls(text, function)


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """Paths of the variables that a training changed, and of those that hold NaN or infinity.

    `trainable` is how many the model has; `after` what each variable holds now;
    `changed_tables` are paths of tables that hold something else.
    """

    changed: tuple[str, ...]
    changed_trainable: tuple[str, ...]
    trainable: int
    not_finite: tuple[str, ...]
    after: Mapping[str, VariableState]
    changed_tables: tuple[str, ...] = ()


class TrainingWatch:
    """A loaded model as it is before its training: its parts, and what they hold.

    `read` gives the part of a variable to read once the training failed. An
    exception that `is_finished` precedes is none of the training function's.
    """

    def __init__(
        self, obj: Any, info: SavedModelInfo, read: Callable[[Any], Any] = lambda variable: variable
    ) -> None:
        self.obj = obj
        self.info = info
        self.variables, self.functions = live_variables(obj, info), _functions(obj, info)
        self.values, self.tables = snapshot(self.variables), table_states(obj, info)
        self.is_finished = False
        self._read = read

    def changed_variables(self) -> dict[str, Any]:
        """The variables of the model, by path; of one that was replaced the new one where it fits.

        Empty where neither a variable nor a table holds anything else than before.
        """
        now = live_variables(self.obj, self.info)
        found, is_changed = dict[str, Any](), False
        for path, variable in self.variables.items():
            own, there = self._read(variable), self._read(now.get(path, variable))
            found[path] = own
            fits = (there.dtype, there.shape) == (own.dtype, own.shape)
            for folder in (there, own) if fits else (own,):
                if _sha256(folder) not in (None, self.values[path].sha256):
                    found[path], is_changed = folder, True
                    break
        is_changed = is_changed or table_states(self.obj, self.info) != self.tables
        return found if is_changed else {}


def train(
    obj: Any,
    function: TrainingFunction,
    arguments: Mapping[str, Any],
    info: SavedModelInfo,
    watch: TrainingWatch | None = None,
) -> TrainingReport:
    """Calls `function(obj, **arguments)`, within a strategy's scope if one is open, and tells what changed.

    `info` is the model's, read before. An exception of the function's is
    raised as TensorFlowError with its own message and line; so is it where the
    function left another variable or function in the place of the model's own.
    """
    watch = watch or TrainingWatch(obj, info)
    with user_errors(function.name):
        given = function.function(obj, **arguments)
    watch.is_finished = True
    return _report(watch, given, function)


def _sha256(variable: Any) -> str | None:
    with suppress(Exception):  # One that the training deleted.
        return snapshot({"": variable})[""].sha256
    return None


def _report(before: TrainingWatch, given: Any, function: TrainingFunction) -> TrainingReport:
    obj, info, variables = before.obj, before.info, before.variables
    if iscoroutine(given) or isgenerator(given):
        given.close()
        raise TensorFlowError(
            f"{function.name}: it returned a {type(given).__name__}, which is never run: nothing was trained",
            hint="Use a plain function, which trains before it returns.",
        )
    _require_in_place("variable", variables, live_variables(obj, info), function)
    _require_in_place("function", before.functions, _functions(obj, info), function)
    after = snapshot(variables)
    changed = tuple(path for path in after if after[path].sha256 != before.values[path].sha256)
    trainable = _trainable(obj, variables, info)
    return TrainingReport(
        changed=changed,
        changed_trainable=tuple(path for path in changed if path in trainable),
        trainable=len(trainable),
        not_finite=tuple(path for path, state in after.items() if not state.is_finite),
        after=after,
        changed_tables=tuple(
            path for path, state in table_states(obj, info).items() if before.tables[path] != state
        ),
    )


def _functions(obj: Any, info: SavedModelInfo) -> dict[str, Any]:
    return parts_at(obj, frozenset(function.path for function in info.functions))


def _require_in_place(
    kind: str, before: Mapping[str, Any], after: Mapping[str, Any], function: TrainingFunction
) -> None:
    """Raises TensorFlowError for what a name means now and didn't: the model computes by what it was."""
    for path, part in before.items():
        if after.get(path) is not part:
            did = "replaced" if path in after else "removed"
            raise TensorFlowError(
                f"{function.name}: it {did} the {kind} {path} of the model", hint=_HINTS[kind]
            )


_HINTS = {
    "variable": "Change its value with assign(…): the functions of the model read the original variable.",
    "function": "Wrap the object in one of your own, without changing its functions.",
}


def _trainable(obj: Any, variables: Mapping[str, Any], info: SavedModelInfo) -> frozenset[str]:
    """The paths in the object's list, or by the flags in the file where it has none."""
    listed = getattr(obj, "trainable_variables", None)
    if listed is None:
        return frozenset(
            variable.path for variable in info.variables if variable.trainable and not variable.is_slot
        )
    numbers = {id(variable) for variable in listed}
    return frozenset(path for path, variable in variables.items() if id(variable) in numbers)


@dataclass(frozen=True, slots=True)
class Strategy:
    """A strategy, started; `is_chief` tells whether this process writes.

    The model is loaded and trained within `scope()`. Every worker must read
    the variables at the same points: values that are summed up over the
    replicas when they are read need all of them.
    """

    value: Any | None
    is_chief: bool

    @classmethod
    def start(cls, kind: StrategyKind | None) -> Strategy:
        """The strategy of that kind, or none; started before anything else of TensorFlow runs.

        `multiworker` reads TF_CONFIG. Raises UsageError for a TF_CONFIG that
        isn't there or can't be read, TensorFlowError.
        """
        if kind is None:
            return cls(None, True)
        if kind is StrategyKind.MULTI_WORKER:
            _require_cluster()
        tf = import_tensorflow()
        try:
            if kind is StrategyKind.MIRRORED:
                devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
                value = tf.distribute.MirroredStrategy([device.name for device in devices])
            else:
                value = tf.distribute.MultiWorkerMirroredStrategy()
        # What stands in TF_CONFIG is taken apart by TensorFlow, which trusts it to be of the right types.
        except (tf.errors.OpError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise TensorFlowError(
                f"Cannot start the strategy {kind.value}: {first_line(error)}",
                hint="Check TF_CONFIG and that the workers reach each other."
                if kind is StrategyKind.MULTI_WORKER
                else "Train without --strategy.",
            ) from error
        return cls(value, _is_chief(value.cluster_resolver))

    def local_value(self, variable: Any) -> Any:
        """The variable, or this worker's own part of it where several workers hold it together.

        For values that are read after a failure: reading the whole takes all workers.
        """
        resolver = getattr(self.value, "cluster_resolver", None)
        if resolver is None or resolver.task_type is None:
            return variable
        parts = getattr(variable, "values", None)
        return parts[0] if isinstance(parts, (list, tuple)) and parts else variable

    def scope(self) -> AbstractContextManager[Any]:
        """The context in which variables are made for the strategy."""
        return nullcontext() if self.value is None else self.value.scope()


def _require_cluster() -> None:
    # What the cluster is made of is said to TensorFlow, not to hubcli: it reads the variable by itself.
    text = library_variable("TF_CONFIG")
    if not text:
        raise UsageError("--strategy multiworker requires TF_CONFIG", hint=_TF_CONFIG_HINT)
    try:
        config = json.loads(text)
    except ValueError as error:
        raise UsageError(f"TF_CONFIG is not JSON: {error}", hint=_TF_CONFIG_HINT) from error
    parts = [config.get(name) for name in ("cluster", "task")] if isinstance(config, dict) else [None]
    if not all(isinstance(part, dict) and part for part in parts):
        raise UsageError("TF_CONFIG lacks the cluster or the task", hint=_TF_CONFIG_HINT)


_TF_CONFIG_HINT = (
    """Set on each machine: TF_CONFIG='{"cluster": {"worker": ["HOST:PORT", …]}, """
    """"task": {"type": "worker", "index": 0}}'"""
)


def _is_chief(resolver: Any) -> bool:
    """The task `chief`, or the first worker of a cluster without one."""
    if resolver is None or resolver.task_type is None:
        return True
    if resolver.task_type == "chief":
        return True
    has_chief = "chief" in resolver.cluster_spec().jobs
    return resolver.task_type == "worker" and not resolver.task_id and not has_chief
