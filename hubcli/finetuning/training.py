"""A training function of the user's, and the model after it: saved again, or with its values put in place."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from hubcli.archive import Limits
from hubcli.archive.tree import Tree
from hubcli.atomic_files import remove_tree
from hubcli.durability import UNSYNCED, Durability
from hubcli.errors import HubcliError, TensorFlowError, UsageError, ValuesError
from hubcli.finetuning import FinetuneOptions, Method
from hubcli.finetuning.comparison import ExportComparison, save_and_compare
from hubcli.finetuning.result import (
    ChangedValues,
    StagedModel,
    require_same_outputs,
    require_trained,
    verify_bytes_preserved,
)
from hubcli.finetuning.weights import best_measure
from hubcli.formats import MAIN_FILES
from hubcli.formats.bundles import Bundle
from hubcli.formats.tensor_values import TensorValues
from hubcli.progress import ProgressListener
from hubcli.savedmodel.compare.diff import Change, changes_between
from hubcli.savedmodel.layout import ModelFormat
from hubcli.savedmodel.model import ModelFiles, SavedModelInfo
from hubcli.savedmodel.reader import read_model
from hubcli.savedmodel.weights.assignable import AssignableVariables, read_assignable
from hubcli.savedmodel.weights.rewrite import RewriteOptions, rewrite
from hubcli.savedmodel.weights.sources import open_weights
from hubcli.tf import StrategyKind
from hubcli.tf.live_model import Keep, LiveModel, TrainingJob
from hubcli.tf.resave import require_resavable, would_be_lost
from hubcli.tf.training import Strategy
from hubcli.tf.without_gc import without_gc
from hubcli.units import plural

__all__ = ["FromTraining"]

_OPTIMIZERS = ("optimizer", "_optimizer")


class FromTraining(NamedTuple):
    """One model, and the training to run on it."""

    name: str
    model: Path
    info: SavedModelInfo
    targets: AssignableVariables
    job: TrainingJob
    options: FinetuneOptions
    losses: tuple[str, ...] = ()
    durability: Durability = UNSYNCED

    @classmethod
    def prepare(
        cls, name: str, model: Path, options: FinetuneOptions, durability: Durability = UNSYNCED
    ) -> FromTraining:
        """Starts TensorFlow and the strategy, and looks ahead at what the export would lose.

        Raises TensorFlowError, UsageError for a strategy or tags that can't be had.
        """
        assert options.train is not None
        with without_gc():
            return cls._prepare(name, model, options, options.train)._replace(durability=durability)

    @classmethod
    def _prepare(cls, name: str, model: Path, options: FinetuneOptions, function: str) -> FromTraining:
        strategy = Strategy.start(None if options.strategy is None else StrategyKind(options.strategy))
        files = ModelFiles.of_directory(model)
        whole = read_model(files, hash_assets=True)
        if options.method is Method.RESAVE:
            require_resavable(model, whole, name=name)
        losses = would_be_lost(model, whole) if options.method is Method.AUTO else ()
        tag_set = _tag_set(name, whole, options.tag_set)
        info = whole if tag_set is None else read_model(files, tag_set=tag_set)
        _require_distinct_paths(name, info)
        tags = None if tag_set is None else info.meta_graphs[0].tags
        job = TrainingJob(function, options.arguments, strategy, tags, options.on_loaded)
        return cls(name, model, info, read_assignable(model), job, options, losses)

    @property
    def is_writer(self) -> bool:
        """Whether this process writes: of several workers the chief alone does."""
        return self.job.strategy.is_chief

    def train(self, keep: Keep | None = None) -> LiveModel:
        """Runs the function, and hands the values to `keep`.

        Raises TensorFlowError for its exception, or a loss of tables; ValuesError.
        """
        before = self._files()
        live = LiveModel.train(self.model, self.info, self.name, self.job, keep)
        changed = sorted({name for name, _ in before ^ self._files()})
        if changed:
            raise TensorFlowError(
                f"{self.name} changed during the training: {', '.join(changed[:3])}",
                hint="Save checkpoints elsewhere, fetch or copy the model again, and repeat the training.",
            )
        assert live.training is not None
        poisoned = set(live.training.changed) & set(live.training.not_finite)
        if poisoned and not self.options.allow_nan:
            named = ", ".join(sorted(poisoned)[:3])
            raise ValuesError(
                f"The training left NaN or infinity in {plural(len(poisoned), 'variable')}: {named}",
                hint="Train with a lower learning rate, or allow it: --allow-nan.",
            )
        self._require_tables_written(live.training.changed_tables)
        return live

    def _files(self) -> set[tuple[str, tuple[int, int]]]:
        """The files that are the model, with what changes when they are written."""
        nodes = Tree.read(self.model, Limits()).nodes
        return {
            (node.name, node.stamp)
            for node in nodes
            if node.name in MAIN_FILES or node.name.startswith(("variables/", "assets/"))
        }

    def _require_tables_written(self, changed: tuple[str, ...]) -> None:
        """Raises TensorFlowError where what the training put into a table would not get into the export."""
        named = ", ".join(changed)
        if changed and self.options.method is Method.REWRITE:
            raise TensorFlowError(
                f"The training changed the table {named}, but --method rewrite writes only variables",
                hint="Save the table too: --method resave",
            )
        if changed and self.losses:
            raise TensorFlowError(
                f"The training changed the table {named}, which cannot be written into "
                f"{self.name}: saving it again would lose {'; '.join(self.losses)}",
                hint="Train only the variables: --method rewrite",
            )
        if changed and self.options.strategy is not None:
            raise TensorFlowError(
                f"The training changed the table {named}, which cannot be saved with --strategy",
                hint="Train without --strategy.",
            )

    def make(self, live: LiveModel, staged: Path, listener: ProgressListener) -> StagedModel:
        """Writes the trained model to `staged`, which isn't there yet; other names beside it are used too.

        Raises UnchangedError, ValuesError, IntegrityError, TensorFlowError.
        """
        if self.options.method is Method.REWRITE:
            return self._rewritten(live, staged, listener)
        if self.losses:
            reason = f"saving {self.name} again would lose {'; '.join(self.losses)}"
            return self._rewritten_instead(live, staged, listener, reason)
        try:
            return self._saved_again(live, staged, listener)
        except TensorFlowError as error:
            if self.options.method is not Method.AUTO or not self._only_values_changed(live, staged):
                raise
            remove_tree(staged)
            return self._rewritten_instead(live, staged, listener, error.message)

    def _rewritten_instead(
        self, live: LiveModel, staged: Path, listener: ProgressListener, reason: str
    ) -> StagedModel:
        """The model by `rewrite`, which `auto` uses where TensorFlow's own saving is refused."""
        result = self._rewritten(live, staged, listener)
        return result._replace(reason=f"written by rewrite (only values): {reason}")

    def _only_values_changed(self, live: LiveModel, staged: Path) -> bool:
        """Whether nothing but the values of variables changed: no table, no new object."""
        if live.training is None or live.training.changed_tables:
            return False
        try:
            again = read_model(ModelFiles.of_directory(staged))
        except (HubcliError, OSError):  # TensorFlow didn't save it: nothing tells of more.
            return True
        known = {variable.path for variable in self.info.variables}
        return all(
            variable.path in known or variable.is_slot or variable.path.partition(".")[0] in _OPTIMIZERS
            for variable in again.variables
        )

    def _saved_again(self, live: LiveModel, staged: Path, listener: ProgressListener) -> StagedModel:
        """The model as TensorFlow saves the object, compared with both."""

        def values_of(saved: SavedModelInfo) -> ChangedValues:
            values = ChangedValues.of(self._changes(staged, saved), self.targets)
            require_trained(values, self.options)
            return values

        return save_and_compare(
            live, staged, values_of, listener, self.durability, may_use_session=self._may_use_session
        )

    def _rewritten(self, live: LiveModel, staged: Path, listener: ProgressListener) -> StagedModel:
        """The source with the new values, compared with the object."""
        result = self._rewrite(live, staged)
        with ExportComparison(live, staged, may_use_session=self._may_use_session) as comparison:
            listener.step("Loading the export and comparing it")
            found = comparison.run(self.info)
        return result._replace(compared=found.calls, skipped=require_same_outputs(found))

    @property
    def _may_use_session(self) -> bool:
        return self.job.strategy.value is None

    def _changes(self, staged: Path, saved: SavedModelInfo) -> tuple[Change, ...]:
        """What became of each variable, by its path in both models."""
        there = {
            variable.path: variable.checkpoint_key for variable in saved.variables if not variable.is_slot
        }
        keys = [
            (variable.checkpoint_key, there.get(variable.path) or "")
            for variable in self.info.variables
            if variable.checkpoint_key is not None and not variable.is_slot
        ]
        before, after = (
            Bundle.open(folder / "variables", "variables").values() for folder in (self.model, staged)
        )
        changed, _ = changes_between(before, after, keys, best_measure())
        return changed

    def _rewrite(self, live: LiveModel, staged: Path) -> StagedModel:
        given = dict[str, TensorValues]()
        if live.training is not None and live.training.changed:
            given = dict(open_weights(live.write_values(staged.with_name("values"))).tensors)
        options = RewriteOptions(allow_nan=True, allow_unchanged=True, measure=best_measure())
        report = rewrite(self.model, staged, given, options)
        values = ChangedValues.of(report.changed, self.targets)
        require_trained(values, self.options)
        return StagedModel(values, verify_bytes_preserved(self.model, staged))


def _tag_set(name: str, info: SavedModelInfo, tags: frozenset[str] | None) -> frozenset[str] | None:
    """The tags of the graph to load; None of a model with one. Raises UsageError where one must be chosen."""
    if tags is not None or len(info.meta_graphs) == 1:
        return tags
    if info.format is ModelFormat.TF1_HUB:  # Its graph for inference has no tags; `hub.load` takes that too.
        return frozenset()
    sets = " or ".join(",".join(graph.tags) for graph in info.meta_graphs)
    raise UsageError(f"{name} has {len(info.meta_graphs)} graphs", hint=f"Choose one: --tag-set {sets}")


def _require_distinct_paths(name: str, info: SavedModelInfo) -> None:
    """Raises TensorFlowError where two variables have one path, as with names with dots in them.

    What optimizers keep has names alone, which may be shared: it isn't trained, and stays as it is.
    """
    counts = Counter(variable.path for variable in info.variables if not variable.is_slot)
    twice = next((path for path, count in counts.items() if count > 1), None)
    if twice is not None:
        raise TensorFlowError(
            f"{name} has {counts[twice]} variables with the same path {twice}",
            hint="Export values of a file by checkpoint keys: --weights FILE.npz --method rewrite",
        )
