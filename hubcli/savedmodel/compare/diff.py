"""What differs between two models: what a caller, a trainer or a server would notice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from hubcli.formats.tensor_bundle import OBJECT_GRAPH_KEY
from hubcli.savedmodel.functions import Function, FunctionVariant
from hubcli.savedmodel.model import Asset, CheckpointTensor, SavedModelInfo
from hubcli.savedmodel.signatures import Signature, SignatureTensor
from hubcli.savedmodel.types import shape_text
from hubcli.savedmodel.variables import Variable

__all__ = ["Difference", "compare"]

# Hash tables are written in the order of their buckets.
_TABLE_KEYS = ("/.ATTRIBUTES/table-keys", "/.ATTRIBUTES/table-values")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs.

    `part` is `format`, `version`, `signature`, `function`, `variable`, `value`
    or `asset`; `name` which one. `left` and `right` say how each has it; None
    where it has nothing.
    """

    part: str
    name: str
    left: str | None
    right: str | None


def compare(left: SavedModelInfo, right: SavedModelInfo) -> tuple[Difference, ...]:
    """Every difference, the interface first, then variables and their values, assets and versions.

    Values are compared by the checksums that the checkpoints hold of them.
    """
    is_one = len(left.meta_graphs) == len(right.meta_graphs) == 1
    return (
        *_of("format", {"": left}, {"": right}, lambda info: info.format.value),
        *_of("signature", _signatures(left, is_one), _signatures(right, is_one), _signature_text),
        *_functions(left, right),
        *_of("variable", _variables(left), _variables(right), _variable_text),
        *_values(left, right),
        *_of("asset", _assets(left), _assets(right), str),
        *_of("version", {"": left}, {"": right}, lambda info: info.tensorflow_version or "unknown"),
    )


def _of(
    part: str, left: Mapping[str, _T], right: Mapping[str, _T], text: Callable[[_T], str]
) -> Iterator[Difference]:
    """The names that one of the two lacks, or for which the texts differ; in the order of the left one."""
    for name in (*left, *(name for name in right if name not in left)):
        before = text(left[name]) if name in left else None
        other = text(right[name]) if name in right else None
        if before != other:
            yield Difference(part, name, before, other)


def _signatures(info: SavedModelInfo, is_one: bool) -> dict[str, Signature]:
    """By name; with the tags before it where one of the two models has several MetaGraphs."""
    return {
        signature.name if is_one else f"{','.join(graph.tags)}:{signature.name}": signature
        for graph in info.meta_graphs
        for signature in graph.signatures
    }


def _signature_text(signature: Signature) -> str:
    return f"({_tensors(signature.inputs)}) -> ({_tensors(signature.outputs)})"


def _tensors(tensors: Iterable[SignatureTensor]) -> str:
    return ", ".join(
        f"{tensor.name}: {tensor.dtype}{shape_text(tensor.shape)}"
        + ("" if tensor.kind == "dense" else f" {tensor.kind}")
        + ("" if tensor.default is None else f" = {tensor.default.value}")
        for tensor in tensors
    )


def _functions(left: SavedModelInfo, right: SavedModelInfo) -> Iterator[Difference]:
    """Functions that one lacks, or whose parameters differ; then variants that one lacks."""
    ours, theirs = _by_path(left), _by_path(right)
    yield from _of("function", ours, theirs, lambda function: function.python_signature)
    for path in ours:
        if path in theirs:
            left_traces, right_traces = (_traces(each[path]) for each in (ours, theirs))
            for difference in _of("function", left_traces, right_traces, str):
                yield Difference("function", f"{path}{difference.name}", difference.left, difference.right)


def _traces(function: Function) -> dict[str, str]:
    return {variant_text(variant): "traced" for variant in function.variants}


def _by_path(info: SavedModelInfo) -> dict[str, Function]:
    return {function.path: function for function in info.functions}


def variant_text(variant: FunctionVariant) -> str:
    """What the variant takes and gives."""
    arguments = [*map(str, variant.args), *(f"{name}={value}" for name, value in variant.kwargs)]
    result = "" if variant.outputs is None else f" -> {variant.outputs}"
    return f"({', '.join(arguments)}){result}"


def _variables(info: SavedModelInfo) -> dict[str, Variable]:
    return {variable.path: variable for variable in info.variables}


def _variable_text(variable: Variable) -> str:
    words = [f"{variable.dtype}{shape_text(variable.shape)}"]
    words += ["trainable"] if variable.trainable else []
    words += [] if variable.is_listed else ["not in the list `variables`"]
    return ", ".join(words)


def _values(left: SavedModelInfo, right: SavedModelInfo) -> Iterator[Difference]:
    """Variables of the same type and shape whose values have other checksums."""
    ours, theirs = _variables(left), _variables(right)
    tensors = [_by_key(info) for info in (left, right)]
    yield from _of("value", _unclaimed(left), _unclaimed(right), _value_text)
    for path, variable in ours.items():
        other = theirs.get(path)
        if other is None or (variable.dtype, variable.shape) != (other.dtype, other.shape):
            continue
        found = [
            tensor.get(each.checkpoint_key or "")
            for tensor, each in zip(tensors, (variable, other), strict=True)
        ]
        texts = [None if tensor is None else tensor.checksum() for tensor in found]
        if texts[0] != texts[1]:
            yield Difference("value", path, *texts)


def _by_key(info: SavedModelInfo) -> dict[str, CheckpointTensor]:
    return {} if info.checkpoint is None else {tensor.key: tensor for tensor in info.checkpoint.tensors}


def _value_text(tensor: CheckpointTensor) -> str:
    """The checksum; of a table what is the same however often it is saved: its order isn't."""
    if tensor.key.endswith(_TABLE_KEYS):
        return f"{tensor.dtype}{shape_text(tensor.shape)}"
    return tensor.checksum()


def _unclaimed(info: SavedModelInfo) -> dict[str, CheckpointTensor]:
    """The tensors that are no variable's, such as those of tables; the object graph is compared elsewhere."""
    claimed = {variable.checkpoint_key for variable in info.variables}
    return {
        key: tensor for key, tensor in _by_key(info).items() if key not in claimed and key != OBJECT_GRAPH_KEY
    }


def _assets(info: SavedModelInfo) -> dict[str, str]:
    def text(asset: Asset) -> str:
        if not asset.is_present:
            return "missing" if asset.is_present is False else "not looked at"
        return f"{asset.size_bytes} bytes" + (f", sha256 {asset.sha256}" if asset.sha256 else "")

    return {asset.path: text(asset) for asset in info.assets}
