"""What `finetune-export` tells of an export: values by variable, what was compared, what went along."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hubcli.exporting.layouts import ExportFormat
from hubcli.finetuning.options import Method
from hubcli.savedmodel.compare.value_changes import Change
from hubcli.savedmodel.weights.assignable import AssignableVariables
from hubcli.savedmodel.weights.mapping import WeightMapping

__all__ = [
    "ChangedValues",
    "ChangedVariable",
    "FinetuneResult",
    "LostPart",
    "SkippedComparison",
    "StagedModel",
    "WrittenExport",
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
        """The changes, told by the variables of the model.

        A counter of saves is none of them: tf.train.Checkpoint(obj).save() in a training counts it up.
        """
        by_key = {target.key: target for target in targets.all}
        changed = tuple(
            ChangedVariable(by_key[one.key].path, *one[:3], by_key[one.key].trainable, one.largest)
            for one in changes
            if one.key in by_key
        )
        keys = {one.key for one in changed}
        own = [target for target in targets.all if target.is_required or target.trainable]
        return cls(
            changed,
            tuple(target.path for target in own if target.key not in keys),
            sum(target.trainable for target in own),
        )

    @property
    def changed_trainable(self) -> int:
        """How many of the changed variables train."""
        return sum(one.trainable for one in self.changed)


class LostPart(NamedTuple):
    """Something of the source that the export hasn't, or has anew, and why."""

    what: str
    reason: str


class SkippedComparison(NamedTuple):
    """A call whose outputs were not compared, and why."""

    call: str
    reason: str


class StagedModel(NamedTuple):
    """A model that stands in its temporary place, complete and compared.

    `kept` are phrases about what was held against the source and is the same,
    `compared` the calls whose outputs equal those of the live object, `skipped`
    the others; the calls are there where TensorFlow ran. `carried` are files
    that were copied beside what TensorFlow writes. `method` is the one that was
    used, `reason` why `auto` chose another than usual; "" where it didn't.
    """

    values: ChangedValues
    kept: tuple[str, ...] = ()
    compared: tuple[str, ...] = ()
    skipped: tuple[SkippedComparison, ...] = ()
    carried: tuple[str, ...] = ()
    not_kept: tuple[LostPart, ...] = ()
    method: Method = Method.REWRITE
    reason: str = ""


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

    `method` is the one that was or would be used, `requested_method` what was
    asked for. `mapping` is there for a file of weights. `written` and `made` are
    None of a dry run, and in a worker that isn't the chief of its cluster.
    """

    source: str
    method: Method
    seconds: float
    mapping: WeightMapping | None = None
    written: WrittenExport | None = None
    made: StagedModel | None = None
    requested_method: Method = Method.AUTO
