"""The model with the values of a file: put in place of the old ones, or loaded with them and saved again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from hubcli.errors import TensorFlowError
from hubcli.finetuning import FinetuneOptions, Method
from hubcli.finetuning.result import ChangedValues, StagedModel, require_trained, verify_bytes_preserved
from hubcli.formats.tensor_bundle import TABLE_KEYS, TABLE_VALUES
from hubcli.progress import ProgressListener
from hubcli.savedmodel.compare.diff import Measure, largest_change
from hubcli.savedmodel.weights.assignable import AssignableVariables, read_assignable
from hubcli.savedmodel.weights.mapping import WeightMapping, map_weights, read_map
from hubcli.savedmodel.weights.rewrite import RewriteOptions, rewrite
from hubcli.savedmodel.weights.sources import Weights, open_weights, weights_kind

__all__ = ["FromWeights", "best_measure", "opened_weights"]


@contextmanager
def opened_weights(path: Path) -> Iterator[Weights]:
    """The values at the path, to be read within the context.

    Raises NotFoundError, UsageError, BrokenModelError; TensorFlowError where h5py is missing.
    """
    if not weights_kind(path).needs_h5py:
        yield open_weights(path)
        return
    from hubcli.tf.keras.h5_weights import open_keras_weights

    with open_keras_weights(path) as weights:
        yield weights


def best_measure() -> Measure:
    """The one of NumPy, which is a hundred times faster, where that is installed."""
    if find_spec("numpy") is None:
        return largest_change
    from hubcli.tf.differences import NumpyMeasure

    return NumpyMeasure()


class FromWeights(NamedTuple):
    """One model, one opened file of weights, and which value is for which variable."""

    name: str
    model: Path
    targets: AssignableVariables
    weights: Weights
    mapping: WeightMapping
    options: FinetuneOptions
    tables: tuple[str, ...] = ()

    @classmethod
    def map(cls, name: str, model: Path, weights: Weights, options: FinetuneOptions) -> FromWeights:
        """Finds the one mapping. Raises what `map_weights` does."""
        named = None if options.map_file is None else read_map(options.map_file)
        targets = read_assignable(model)
        mapping = map_weights(targets, weights, root=options.root, named=named)
        tables = () if options.method is Method.REWRITE else _other_tables(targets, weights)
        return cls(name, model, targets, weights, mapping, options, tables)

    @property
    def method(self) -> Method:
        """The method that is used: of `auto` the one that writes all of the values."""
        if self.options.method is not Method.AUTO:
            return self.options.method
        return Method.RESAVE if self.tables else Method.REWRITE

    def make(
        self, staged: Path, listener: ProgressListener, on_written: Callable[[Path], None] = lambda path: None
    ) -> StagedModel:
        """Writes the model to `staged`, which isn't there yet; other names beside it are used too.

        A rewrite calls `on_written` with `staged` before it is compared with its source.
        Raises UnchangedError, ValuesError, IntegrityError, TensorFlowError.
        """
        is_rewrite = self.method is Method.REWRITE
        if not is_rewrite:
            listener.step("Starting TensorFlow")
            _require_resavable(self.name, self.model)
        place = staged if is_rewrite else staged.with_name("values")
        size_bytes = sum(entry.size_bytes for entry in self.targets.bundle.index.entries)
        listener.started(self.name, str(self.weights.path), size_bytes)
        report = rewrite(
            self.model,
            place,
            self.mapping.values(self.weights),
            RewriteOptions(
                allow_nan=self.options.allow_nan,
                allow_unchanged=self.options.allow_unchanged,
                measure=best_measure(),
            ),
            listener.received,
        )
        values = ChangedValues.of(report.changed, self.targets)
        require_trained(values, self.options)
        if is_rewrite:
            on_written(staged)
        result = StagedModel(values, preserved=verify_bytes_preserved(self.model, place))
        return result if is_rewrite else self._save_again(place, staged, values, listener)

    def _save_again(
        self, place: Path, staged: Path, values: ChangedValues, listener: ProgressListener
    ) -> StagedModel:
        """Lets TensorFlow load what was written to `place`, and save it."""
        from hubcli.finetuning.comparison import save_and_compare
        from hubcli.savedmodel.model import ModelFiles
        from hubcli.savedmodel.reader import read_model
        from hubcli.tf.live_model import LiveModel

        info = read_model(ModelFiles.of_directory(place), hash_assets=True)
        listener.step("Loading the model with its new values")
        live = LiveModel.load(place, info, self.name)
        self.options.on_loaded()
        if self.tables and self.weights.bundle is not None:
            bundle = self.weights.bundle
            live.fill_tables(self.tables, bundle.folder / bundle.prefix)
        listener.step("Saving it again")
        return save_and_compare(live, staged, lambda saved: values, listener)._replace(reason=self._reason)

    @property
    def _reason(self) -> str:
        if self.options.method is not Method.AUTO or not self.tables:
            return ""
        return f"saved by TensorFlow: rewriting values does not fill the table {', '.join(self.tables)}"


def _other_tables(targets: AssignableVariables, weights: Weights) -> tuple[str, ...]:
    """The tables of which the weights, a checkpoint with the keys of the model, hold more or fewer pairs.

    Each is named by the common prefix of its two keys.
    """
    if weights.bundle is None:
        return ()
    found = list[str]()
    for target in targets.all:
        stem = target.key.removesuffix(TABLE_KEYS)
        given = [weights.tensors.get(f"{stem}{end}") for end in (TABLE_KEYS, TABLE_VALUES)]
        if stem != target.key and all(given) and target.shape != given[0].shape:  # type: ignore[union-attr]
            found.append(stem)
    return tuple(found)


def _require_resavable(name: str, model: Path) -> None:
    """Raises TensorFlowError where TensorFlow is missing, or saving the model again would lose something."""
    from hubcli.savedmodel.model import ModelFiles
    from hubcli.savedmodel.reader import read_model
    from hubcli.tf.importing import import_tensorflow
    from hubcli.tf.resave import require_resavable

    try:
        import_tensorflow()
    except TensorFlowError as error:
        hint = f"{error.hint}; or write only the values, without TensorFlow: --method rewrite"
        raise TensorFlowError(error.message, hint=hint) from error
    require_resavable(model, read_model(ModelFiles.of_directory(model)), name=name)
