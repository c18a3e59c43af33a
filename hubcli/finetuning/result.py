"""The result of `finetune-export`, and the checks that an export must pass first.

Something was trained, nothing is lost, the outputs are equal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hubcli._moved import warn_of_old_name
from hubcli.errors import BrokenModelError, TensorFlowError, UnchangedError
from hubcli.exporting import ExportFormat
from hubcli.finetuning import FinetuneOptions, Method
from hubcli.savedmodel.checks.integrity import ModelCheck
from hubcli.savedmodel.compare.diff import Change
from hubcli.savedmodel.compare.preservation import verify_only_values_changed
from hubcli.savedmodel.weights.assignable import AssignableVariables
from hubcli.savedmodel.weights.mapping import WeightMapping
from hubcli.units import plural

if TYPE_CHECKING:
    from hubcli.exporting.editing import EditReport
    from hubcli.savedmodel.model import SavedModelInfo
    from hubcli.tf.compare import Comparison

__all__ = [
    "ChangedValues",
    "ChangedVariable",
    "FinetuneResult",
    "LostPart",
    "SkippedComparison",
    "StagedModel",
    "WrittenExport",
    "require_same_interface",
    "require_same_outputs",
    "require_trained",
    "require_whole",
    "verify_bytes_preserved",
]


class ChangedVariable(NamedTuple):
    """A variable with other values; `largest` is the greatest |new - old|, None where there is none."""

    path: str
    key: str
    dtype: str
    shape: tuple[int, ...]
    trainable: bool
    largest: float | None


class ChangedValues(NamedTuple):
    """The variables of the model by path: those that `changed`, those that didn't, how many train in all.

    Variables for which nothing was given are `unchanged` too.
    """

    changed: tuple[ChangedVariable, ...]
    unchanged: tuple[str, ...]
    trainable: int

    @classmethod
    def of(cls, changes: Iterable[Change], targets: AssignableVariables) -> ChangedValues:
        """The changes, by the variables of the model.

        A counter of saves is none of them: tf.train.Checkpoint(obj).save() in a training counts it up.
        """
        by_key = {target.key: target for target in targets.all}
        changed = tuple(
            ChangedVariable(
                by_key[change.key].path, *change[:3], by_key[change.key].trainable, change.largest
            )
            for change in changes
            if change.key in by_key
        )
        keys = {variable.key for variable in changed}
        own = [target for target in targets.all if target.is_required or target.trainable]
        return cls(
            changed,
            tuple(target.path for target in own if target.key not in keys),
            sum(target.trainable for target in own),
        )

    @property
    def changed_trainable(self) -> int:
        """How many of the changed variables train."""
        return sum(variable.trainable for variable in self.changed)


class LostPart(NamedTuple):
    """Something of the source that the export lacks, or has anew, and why."""

    what: str
    reason: str


class SkippedComparison(NamedTuple):
    """A call whose outputs were not compared, and why."""

    call: str
    reason: str


class StagedModel(NamedTuple):
    """A model that stands in its temporary place, complete and compared.

    `preserved` are phrases about what was compared with the source and is the same,
    `compared` the calls whose outputs equal those of the live object, `skipped`
    the others; the calls are there where TensorFlow ran. `carried` are files
    that were copied beside what TensorFlow writes. `method` is the one that was
    used, `reason` why `auto` chose another than usual; "" where it didn't.
    """

    values: ChangedValues
    preserved: tuple[str, ...] = ()
    compared: tuple[str, ...] = ()
    skipped: tuple[SkippedComparison, ...] = ()
    carried: tuple[str, ...] = ()
    not_kept: tuple[LostPart, ...] = ()
    method: Method = Method.REWRITE
    reason: str = ""

    @property
    def kept(self) -> tuple[str, ...]:
        """The old name of `preserved`."""
        warn_of_old_name(self, "kept", "preserved")
        return self.preserved


@dataclass(frozen=True, slots=True)
class WrittenExport:
    """Where the export is, links followed. `sha256` is an archive's, None of a directory."""

    destination: Path
    format: ExportFormat
    size_bytes: int
    file_count: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class FinetuneResult:
    """An export, or the plan of one.

    `method` is the one that was or would be used, `requested_method` that of the options. `mapping` is there
    for a file of weights, `edited` for a model that was edited too. `written` and `staged_model` are None of
    a dry run, and in a worker that isn't the chief of its cluster.
    """

    source: str
    method: Method
    seconds: float
    mapping: WeightMapping | None = None
    written: WrittenExport | None = None
    staged_model: StagedModel | None = None
    requested_method: Method = Method.AUTO
    edited: EditReport | None = None

    @property
    def made(self) -> StagedModel | None:
        """The old name of `staged_model`."""
        warn_of_old_name(self, "made", "staged_model")
        return self.staged_model


def require_trained(values: ChangedValues, options: FinetuneOptions) -> None:
    """Raises UnchangedError where no trainable variable has another value, unless that is allowed."""
    if options.allow_unchanged or values.changed_trainable or (values.changed and not values.trainable):
        return
    others = len(values.changed)
    note = f"; of the others {others} did, such as statistics of batch norm" if others else ""
    cause = (
        "Create the layer from the given object, with trainable=True."
        if options.weights is None
        else "Check that they are from after the training, and that the layer was not frozen."
    )
    raise UnchangedError(
        f"Nothing trained: no value of {plural(values.trainable, 'trainable variable')} changed{note}",
        hint=f"{cause} Or use --allow-unchanged.",
    )


def verify_bytes_preserved(model: Path, exported: Path) -> tuple[str, ...]:
    """Compares a rewritten model with its source, byte by byte; what is the same. Raises TensorFlowError."""
    verify_only_values_changed(model, exported)
    return ("every byte but the values'",)


def require_same_interface(
    exported: SavedModelInfo, info: SavedModelInfo
) -> tuple[tuple[str, ...], tuple[LostPart, ...]]:
    """Compares a model that was saved again with its source; both were read with hashes of their assets.

    What is the same, and what differs beside the values, and may. Raises TensorFlowError.
    """
    # Imported here: what is rewritten isn't read as a whole.
    from hubcli.savedmodel.compare.preservation import verify_interface_preserved

    found = verify_interface_preserved(info, exported)
    slots = sum(difference.part == "variable" and difference.left is not None for difference in found)
    state = [LostPart("optimizer state", f"{plural(slots, 'variable')} of the earlier training")]
    others = [
        LostPart(
            f"{difference.part} {difference.name}".strip(),
            f"was {difference.left}, and is {difference.right}",
        )
        for difference in found
        if difference.part != "variable"
    ]
    shards = 0 if info.checkpoint is None else info.checkpoint.shards
    merged = [LostPart(f"{shards} data shards", "TensorFlow writes one")] if shards > 1 else []
    return _interface(info), (*others, *(state if slots else ()), *merged)


def _interface(info: SavedModelInfo) -> tuple[str, ...]:
    """What a model offers, counted."""
    traces = sum(len(function.variants) for function in info.functions)
    counts = (
        (sum(len(graph.signatures) for graph in info.meta_graphs), "signature"),
        (traces, "traced function"),
        (
            len(
                [
                    variable
                    for variable in info.variables
                    if not variable.is_slot and variable.path != "save_counter"
                ]
            ),
            "variable",
        ),
        (info.lists.losses or 0, "regularization loss"),
        (len(info.assets), "asset"),
    )
    return tuple(plural(count, noun) for count, noun in counts if count)


def require_whole(exported: Path) -> None:
    """Reads it all back from the disk. Raises BrokenModelError where TensorFlow could not load it."""
    for fault in ModelCheck(exported, (), quick=True).run().faults:
        # An asset that is missing is one that the source hasn't either: the gates compared them.
        if fault.code != "missing" or not (fault.file or "").startswith("assets/"):
            raise BrokenModelError(
                f"The export failed verification: {fault}", hint="Run the command again. Nothing was written."
            )


def require_same_outputs(comparison: Comparison) -> tuple[SkippedComparison, ...]:
    """What was not compared. Raises TensorFlowError where something differs."""
    if comparison.difference:
        raise TensorFlowError(
            f"The export differs from the trained model: {comparison.difference}",
            hint="End all threads of the training before it returns.",
        )
    return tuple(SkippedComparison(name.call, name.reason) for name in comparison.skipped)
