"""What a fine-tuned export must pass before it is shown: something trained, nothing lost, equal outputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hubcli.errors import BrokenModelError, TensorFlowError, UnchangedError
from hubcli.finetuning.options import FinetuneOptions
from hubcli.finetuning.result import ChangedValues, LostPart, SkippedComparison
from hubcli.savedmodel.checks.integrity import ModelCheck
from hubcli.savedmodel.compare.preservation import verify_only_values_changed
from hubcli.units import plural

if TYPE_CHECKING:
    from hubcli.savedmodel.model import SavedModelInfo
    from hubcli.tf.compare import Comparison

__all__ = [
    "require_same_interface",
    "require_same_outputs",
    "require_trained",
    "require_whole",
    "verify_bytes_preserved",
]


def require_trained(values: ChangedValues, options: FinetuneOptions) -> None:
    """Raises UnchangedError where no trainable variable has another value, unless that is allowed."""
    if options.allow_unchanged or values.changed_trainable or (values.changed and not values.trainable):
        return
    others = len(values.changed)
    told = f"; of the others {others} did, such as statistics of batch norm" if others else ""
    cause = (
        "Was the layer made of the object that was given, with trainable=True?"
        if options.weights is None
        else "Are they from before the training, or was the layer frozen?"
    )
    raise UnchangedError(
        f"Nothing trained: no value of {plural(values.trainable, 'trainable variable')} changed{told}",
        hint=f"{cause} To write it all the same: --allow-unchanged.",
    )


def verify_bytes_preserved(model: Path, made: Path) -> tuple[str, ...]:
    """Holds a rewritten model against its source, byte by byte; what is the same. Raises TensorFlowError."""
    verify_only_values_changed(model, made)
    return ("every byte but the values'",)


def require_same_interface(made: Path, info: SavedModelInfo) -> tuple[tuple[str, ...], tuple[LostPart, ...]]:
    """Holds a model that was saved again against its source, read as `info`, with hashes of its assets.

    What is the same, and what differs beside the values, and may. Raises TensorFlowError.
    """
    # Imported here: what is rewritten isn't read as a whole.
    from hubcli.savedmodel.compare.preservation import verify_interface_preserved
    from hubcli.savedmodel.files import ModelFiles
    from hubcli.savedmodel.reader import read_model

    found = verify_interface_preserved(info, read_model(ModelFiles.of_directory(made), hash_assets=True))
    slots = sum(one.part == "variable" and one.left is not None for one in found)
    state = [LostPart("optimizer state", f"{slots} variables, which belong to the training before")]
    others = [
        LostPart(f"{one.part} {one.name}".strip(), f"was {one.left}, and is {one.right}")
        for one in found
        if one.part != "variable"
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
        (len([one for one in info.variables if not one.is_slot and one.path != "save_counter"]), "variable"),
        (info.lists.losses or 0, "regularization loss"),
        (len(info.assets), "asset"),
    )
    return tuple(plural(count, noun) for count, noun in counts if count)


def require_whole(made: Path) -> None:
    """Reads it all back from the disk. Raises BrokenModelError where TensorFlow could not load it."""
    for fault in ModelCheck(made, (), quick=True).run().faults:
        # An asset that is missing is one that the source hasn't either: the gates compared them.
        if fault.code != "missing" or not (fault.file or "").startswith("assets/"):
            raise BrokenModelError(
                f"The export is broken: {fault}", hint="Nothing was written. Try it again."
            )


def require_same_outputs(comparison: Comparison) -> tuple[SkippedComparison, ...]:
    """What was not compared. Raises TensorFlowError where something differs."""
    if comparison.difference:
        raise TensorFlowError(
            f"The export isn't what was trained: {comparison.difference}",
            hint="Does something of the training still run, such as a thread? Let it end first.",
        )
    return tuple(SkippedComparison(one.call, one.reason) for one in comparison.skipped)
