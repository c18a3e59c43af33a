"""A loaded model that holds fine-tuned values: trained here, or loaded with them; saved, and compared."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from hubcli.errors import TensorFlowError
from hubcli.formats.bundles import Bundle
from hubcli.formats.tensor_bundle import TABLE_KEYS, TABLE_VALUES
from hubcli.formats.tensor_values import TensorValues
from hubcli.savedmodel.model import SavedModelInfo
from hubcli.tf.compare import CallableModel, Comparison, Outputs, compare_models, compare_outputs
from hubcli.tf.importing import first_line, import_tensorflow, own_directory
from hubcli.tf.loading import (
    ListAttributes,
    copy_values,
    live_variables,
    load_model,
    raw_bytes,
    restore_lists,
)
from hubcli.tf.resave import ResaveReport, disk_errors, resave
from hubcli.tf.training import (
    Strategy,
    TrainingFunction,
    TrainingReport,
    TrainingWatch,
    fill_table,
    table_tensors,
    tables_of,
    train,
)
from hubcli.tf.without_gc import without_gc
from hubcli.units import plural

__all__ = ["Keep", "LiveModel", "TrainedValues", "TrainingJob", "saved_values"]


@dataclass(frozen=True, slots=True)
class TrainedValues:
    """Tensors by checkpoint key. `is_finished` tells whether the training came to its end."""

    tensors: Mapping[str, Any]
    is_finished: bool = True

    @classmethod
    def of(
        cls,
        obj: Any,
        variables: Mapping[str, Any],
        info: SavedModelInfo,
        source: Path,
        *,
        is_finished: bool = True,
    ) -> TrainedValues:
        """The values of these variables, by path, and of the tables of the object.

        Variables of the model that TensorFlow doesn't give out, or that can't be
        read, have the value that they have in the SavedModel in `source`: so
        each has one. What optimizers keep is left out.
        """
        paths = {
            variable.path: variable.checkpoint_key for variable in info.variables if not variable.is_slot
        }
        tensors: dict[str, Any] = {}
        for path, key in paths.items():
            value = _value(variables.get(path))
            if key is not None and value is not None:
                tensors[key] = value
        missing = [key for key in paths.values() if key is not None and key not in tensors]
        # The training may have done anything to the source and to the tables.
        with suppress(Exception):
            tensors |= saved_values(source, missing) if missing else {}
        with suppress(Exception):
            tensors |= table_tensors(obj, info)
        return cls(tensors, is_finished)

    def write(self, prefix: Path) -> None:
        """Writes the checkpoint `prefix`, whose folder is there. Raises OSError."""
        try:
            _write_checkpoint(prefix, self.tensors)
        except import_tensorflow().errors.OpError as error:
            raise OSError(first_line(error)) from error


def _write_checkpoint(prefix: Path, tensors: Mapping[str, Any]) -> None:
    """Writes the tensors, or variables, by their keys. Raises OSError for a full disk, tf.errors.OpError."""
    tf = import_tensorflow()
    with disk_errors():
        tf.raw_ops.SaveV2(
            prefix=os.fsencode(prefix),
            tensor_names=list(tensors),
            shape_and_slices=[""] * len(tensors),
            tensors=[tf.convert_to_tensor(tensor) for tensor in tensors.values()],
        )


def _value(variable: Any) -> Any | None:
    """What the variable holds; None where it can't be read."""
    if variable is None:
        return None
    with suppress(Exception):  # An uninitialized one, or one that the training deleted.
        return import_tensorflow().convert_to_tensor(variable)
    return None


def saved_values(source: Path, keys: list[str]) -> dict[str, Any]:
    """What the SavedModel in the directory has under these checkpoint keys, as arrays."""
    reader = import_tensorflow().train.load_checkpoint(str(source / "variables" / "variables"))
    return {key: reader.get_tensor(key) for key in keys if reader.has_tensor(key)}


Keep: TypeAlias = Callable[[TrainedValues], None]


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """A training as the user names it: `FILE.py:function`, and what it is called with beside the object.

    `tags` choose the graph of a model with several. `on_loaded` is called before the function.
    """

    function: str
    arguments: Mapping[str, Any]
    strategy: Strategy
    tags: tuple[str, ...] | None = None
    on_loaded: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class LiveModel:
    """The object of the SavedModel in `directory`, which `info` tells of.

    `name` is what errors call it. `training` is what a training did; `note` a
    sentence on what was set right before, "" where nothing was.
    """

    obj: Any
    directory: Path
    info: SavedModelInfo
    name: str
    tags: tuple[str, ...] | None = None
    training: TrainingReport | None = None
    note: str = ""

    @classmethod
    def load(cls, directory: Path, info: SavedModelInfo, name: str) -> LiveModel:
        """The object as it is. Raises TensorFlowError."""
        return cls(load_model(directory, name=name), directory, info, name)

    @classmethod
    def train(
        cls, directory: Path, info: SavedModelInfo, name: str, job: TrainingJob, keep: Keep | None = None
    ) -> LiveModel:
        """The object after the training, with the lists that it was loaded with.

        Under a strategy it is another one, with the same values: what a
        strategy made of the variables can't be saved as it was. `keep` gets the
        values as soon as the training ends, however it does, where any changed.
        Raises what `TrainingFunction.load`, `load_model` and `train` do.
        """
        import_tensorflow()  # Imported before the user's module does it, to keep its log messages out.
        with own_directory():
            function = TrainingFunction.load(job.function)
            function.require_arguments(job.arguments)  # Checked before a large model is loaded.
            with without_gc(), job.strategy.scope():
                obj = load_model(directory, job.tags, name=name)
                lists = ListAttributes.of(obj)
                restored = restore_lists(obj, info)
                watch = TrainingWatch(obj, info, job.strategy.local_value)
                _require_loaded_as_saved(watch, directory, name)
            job.on_loaded()
            try:
                with job.strategy.scope():
                    report = train(obj, function, job.arguments, info, watch)
                if job.strategy.value is None:
                    lists.put_back(obj)
                else:
                    obj = load_model(directory, job.tags, name=name)
                    copy_values(watch.obj, obj, info)
                if keep is not None and (report.changed or report.changed_tables):
                    keep(TrainedValues.of(obj, live_variables(obj, info), info, directory))
            except BaseException:  # An interrupt too: the training may have taken hours.
                if keep is not None:
                    _keep_what_changed(watch, directory, keep)
                raise
        return cls(obj, directory, info, name, job.tags, report, restored.note)

    def fill_tables(self, stems: Sequence[str], prefix: Path) -> None:
        """Lets the tables hold what a checkpoint has of them; each by the beginning of its two keys there.

        Raises TensorFlowError where a table doesn't take it.
        """
        tf = import_tensorflow()
        tables = dict(tables_of(self.obj, self.info).values())
        try:
            reader = tf.train.load_checkpoint(str(prefix))
            for stem in stems:
                keys, values = (reader.get_tensor(f"{stem}{end}") for end in (TABLE_KEYS, TABLE_VALUES))
                fill_table(tables[stem], keys, values)
        # What doesn't fit raises what the table's own op does.
        except Exception as error:
            raise TensorFlowError(
                f"{self.name}: cannot fill the table {stem}: {first_line(error)}",
                hint="Change only the variables: --method rewrite",
            ) from error

    def save(self, destination: Path) -> ResaveReport:
        """Saves the object to `destination`, which isn't there yet, as `resave` does."""
        return resave(self.obj, self.directory, destination, self.info, name=self.name)

    def write_values(self, folder: Path) -> Path:
        """A checkpoint in the folder, of the changed variables under the keys of the model: its prefix."""
        assert self.training is not None
        # A slot may have the name of another's path: it must not stand for that.
        ordered = sorted(self.info.variables, key=lambda variable: not variable.is_slot)
        keys = {variable.path: variable.checkpoint_key for variable in ordered}
        live = live_variables(self.obj, self.info)
        changed = [(keys[path], live[path]) for path in self.training.changed]
        folder.mkdir()
        prefix = folder / "trained"
        _write_checkpoint(prefix, {key: variable for key, variable in changed if key is not None})
        return prefix

    def compare(
        self, saved: Path, given: Outputs | None = None, saved_info: SavedModelInfo | None = None
    ) -> Comparison:
        """The object beside what was written to `saved`, loaded again. Raises TensorFlowError.

        `given` are outputs of the object, as `equal_outputs` leaves them. With `saved_info`, which
        describes `saved`, values are compared with its checkpoint: calls may have changed the object since
        `unlike_saved` found it the same.
        """
        reloaded = load_model(saved, self.tags, name=f"the export of {self.name}")
        if saved_info is None:
            return compare_models(self.obj, reloaded, self.info, saved)
        paths, there = (live_variables(obj, self.info) for obj in (self.obj, reloaded))
        missing = [path for path in paths if path not in there]
        if missing:
            return Comparison((), len(paths), (), f"the variable {missing[0]} is missing")
        path = replace(self, obj=reloaded).unlike_saved(saved, saved_info)
        if path is not None:
            return Comparison((), len(paths), (), f"the variable {path} holds other values")
        outputs = compare_outputs(
            CallableModel.of(self.obj), CallableModel.of(reloaded), self.info, saved, given
        )
        return replace(outputs, variables=len(paths))

    def unlike_saved(self, saved: Path, info: SavedModelInfo) -> str | None:
        """The path of the first variable that differs, bit by bit, in the model in `saved`, read as `info`.

        A missing variable differs, as does one of a type without bytes to compare. None if all are the same.
        Raises BrokenModelError, IntegrityError, OSError.
        """
        tensors = Bundle.open(saved / "variables", "variables").values()
        keys = {variable.path: variable.checkpoint_key for variable in info.variables}
        for path, variable in live_variables(self.obj, self.info).items():
            values = tensors.get(keys.get(path) or "")
            if values is None or not _is_equal(variable, values, saved):
                return path
        return None


def _is_equal(variable: Any, values: TensorValues, model: Path) -> bool:
    """Whether the variable has a value, and the checkpoint of the model has the same."""
    value = _value(variable)
    if value is None or value.dtype.name != values.dtype.name or tuple(value.shape) != values.shape:
        return False
    array = value.numpy()
    if value.dtype.name == "string":  # Strings are stored with their lengths.
        import numpy as np

        return bool(np.array_equal(array, saved_values(model, [values.key])[values.key]))
    data, place = raw_bytes(array), 0
    for piece in values.pieces():
        if data[place : place + len(piece)].tobytes() != piece:
            return False
        place += len(piece)
    return place == len(data)


def _require_loaded_as_saved(watch: TrainingWatch, directory: Path, name: str) -> None:
    """Raises TensorFlowError for a model that sets trainable variables to other values whenever it is loaded.

    No export of it would hold what a training left, which is reported before one runs.
    """
    keys = {
        variable.path: variable.checkpoint_key
        for variable in watch.info.variables
        if variable.trainable and not variable.is_slot
    }
    there = {path: key for path, key in keys.items() if key is not None and path in watch.variables}
    tensors = Bundle.open(directory / "variables", "variables").values() if there else {}
    other = [
        path
        for path, key in there.items()
        if key in tensors
        and tensors[key].shape == tuple(watch.variables[path].shape)
        and not _is_equal(watch.variables[path], tensors[key], directory)
    ]
    if other:
        raise TensorFlowError(
            f"{name} sets {plural(len(other), 'trainable variable')} to other values "
            f"than in its file whenever it is loaded ({', '.join(other[:3])}): trained values would be lost",
            hint="Save it without the initializer that sets them (init_op in: hubcli inspect MODEL --json)",
        )


def _keep_what_changed(watch: TrainingWatch, directory: Path, keep: Keep) -> None:
    with suppress(Exception):  # What was raised must not be hidden by what reading the values raises.
        changed = watch.changed_variables()
        if changed:
            values = TrainedValues.of(
                watch.obj, changed, watch.info, directory, is_finished=watch.is_finished
            )
            keep(values)
