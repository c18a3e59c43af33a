"""How an export of fine-tuned values is shown: as JSON with stable keys, as lines for a person."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import TYPE_CHECKING, Any

from hubcli.cli.output import printable
from hubcli.cli.tables import Column, Style, render_table
from hubcli.cli.views.export import edit_document
from hubcli.savedmodel.types import shape_text
from hubcli.savedmodel.weights.assignable import VALUE_SUFFIX
from hubcli.units import first_few, format_elapsed, format_size, plural

if TYPE_CHECKING:
    from hubcli.finetuning.result import ChangedVariable, FinetuneResult, StagedModel
    from hubcli.savedmodel.weights.mapping import WeightMapping

__all__ = ["finetune_document", "finetune_payload", "finetune_report"]

_FEW = 5
_NAME_WIDTH = 10
_MAPPING_COLUMNS = (
    Column("VARIABLE", stretches=True),
    Column("VALUE FROM", stretches=True),
    Column("DTYPE"),
    Column("SHAPE"),
    Column("FOUND BY", min_width=80, styles={"order": "yellow"}),
)


def finetune_report(result: FinetuneResult) -> Iterator[str]:
    """What a person wants to know of it, a line each."""
    if result.mapping is not None:
        yield from _mapping_lines(result.mapping)
    if result.written is None or result.staged_model is None:
        if result.mapping is None:
            yield "This worker is not the chief: it trained, but writes no export"
        return
    written, staged = result.written, result.staged_model
    yield _fact("values", _values_text(staged))
    largest = sorted(staged.values.changed, key=lambda change: -(change.largest or 0.0))
    for change in largest[:_FEW]:
        yield _fact("", _change_text(change))
    if len(largest) > _FEW:
        yield _fact("", f"and {len(largest) - _FEW} more: see --json")
    yield from _compared_lines(staged)
    yield from _files_lines(staged)
    size, files = format_size(written.size_bytes), plural(written.file_count, "file")
    time = format_elapsed(result.seconds)
    yield f"Exported {result.source} by {result.method.value}  {size}, {files}, {time}"


def finetune_payload(result: FinetuneResult, style: Style, *, quiet: bool) -> str:
    """The path of the export; of a dry run the mapping, with `quiet` as lines that --map reads."""
    if result.written is not None:
        return str(result.written.destination)
    if result.mapping is None:
        return ""
    if quiet:
        return "\n".join(f"{pair.target_path} = {pair.source_key}" for pair in result.mapping.pairs)
    rows = [
        (
            printable(pair.target_path),
            printable(pair.source_key.removesuffix(VALUE_SUFFIX)),
            pair.dtype,
            shape_text(pair.shape),
            pair.found_by,
        )
        for pair in result.mapping.pairs
    ]
    return render_table(_MAPPING_COLUMNS, rows, style)


def finetune_document(result: FinetuneResult) -> dict[str, Any]:
    """`hubcli finetune-export --json`."""
    written, staged = result.written, result.staged_model
    return {
        "source": result.source,
        "destination": None if written is None else str(written.destination),
        "method": result.method.value,
        "requested_method": result.requested_method.value,
        "method_reason": None if staged is None else staged.reason or None,
        "format": None if written is None else written.format.value,
        "bytes": None if written is None else written.size_bytes,
        "files": None if written is None else written.file_count,
        "sha256": None if written is None else written.sha256,
        "seconds": round(result.seconds, 3),
        "mapping": None if result.mapping is None else _mapping_document(result.mapping),
        "values": None if staged is None else _values_document(staged),
        "compared": [] if staged is None else list(staged.compared),
        "not_compared": [] if staged is None else [skipped._asdict() for skipped in staged.skipped],
        "kept": [] if staged is None else list(staged.preserved),
        "carried": [] if staged is None else list(staged.carried),
        "not_kept": [] if staged is None else [loss._asdict() for loss in staged.not_kept],
        **({} if result.edited is None else {"edited": edit_document(result.edited)}),
    }


def _fact(name: str, text: str) -> str:
    return f"  {name:{_NAME_WIDTH}}{text}"


def _mapping_lines(mapping: WeightMapping) -> Iterator[str]:
    where = "by their keys" if mapping.root is None else f"from {mapping.root or 'the root'}"
    yield f"Found values for {plural(len(mapping.pairs), 'variable')} {where}"
    if any(pair.found_by == "order" for pair in mapping.pairs):
        yield "Values were matched by order only: check them with --dry-run"
    if mapping.unused:
        count, first = len(mapping.unused), mapping.unused[0].removesuffix(VALUE_SUFFIX)
        yield _fact("unused", f"{plural(count, 'value')} in the file{', such as' * (count > 1)} {first}")


def _values_text(staged: StagedModel) -> str:
    values = staged.values
    others = len(values.changed) - values.changed_trainable
    parts = [f"{values.changed_trainable} of {plural(values.trainable, 'trainable variable')} changed"]
    parts += [f"{plural(others, 'other')} too"] if others else []
    parts += [f"{len(values.unchanged)} unchanged"] if values.unchanged else []
    return ", ".join(parts)


def _change_text(change: ChangedVariable) -> str:
    by = "" if change.largest is None else f"by up to {change.largest:.3g}  "
    return f"{by}{change.path}  {change.dtype} {shape_text(change.shape)}"


def _compared_lines(staged: StagedModel) -> Iterator[str]:
    if staged.compared:
        yield _fact("compared", f"after reloading, same outputs in {plural(len(staged.compared), 'call')}")
    elif staged.skipped:
        yield _fact("compared", "after reloading, same variables; no call could be compared")
    if staged.skipped:
        kind = "other call" if staged.compared else "call"
        yield _fact("", f"{plural(len(staged.skipped), kind)} skipped: see --json")


def _files_lines(staged: StagedModel) -> Iterator[str]:
    if staged.preserved:
        yield _fact("kept", ", ".join(staged.preserved))
    if staged.carried:
        yield _fact("carried", f"over: {first_few(staged.carried, _FEW)}")
    for name, loss in zip(("not preserved", *[""] * len(staged.not_kept)), staged.not_kept, strict=False):
        yield _fact(name, f"{loss.what}: {loss.reason}")


def _mapping_document(mapping: WeightMapping) -> dict[str, Any]:
    return {
        "root": mapping.root,
        "pairs": [
            {
                "variable": pair.target_path,
                "key": pair.target_key,
                "from": pair.source_key,
                "dtype": pair.dtype,
                "shape": list(pair.shape),
                "found_by": pair.found_by,
            }
            for pair in mapping.pairs
        ],
        "kept": list(mapping.unassigned),
        "unused": list(mapping.unused),
    }


def _finite(number: float | None) -> float | None:
    """JSON has no infinity."""
    return number if number is not None and isfinite(number) else None


def _values_document(staged: StagedModel) -> dict[str, Any]:
    return {
        "changed": [
            {
                "variable": change.path,
                "key": change.key,
                "dtype": change.dtype,
                "shape": list(change.shape),
                "trainable": change.trainable,
                "largest_change": _finite(change.largest),
            }
            for change in staged.values.changed
        ],
        "unchanged": list(staged.values.unchanged),
        "trainable": staged.values.trainable,
    }
