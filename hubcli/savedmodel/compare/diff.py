"""What differs between two models, as a caller, a trainer or a server would notice, and by how much.

New values of a variable are compared with the old ones: whether they are equal and finite, and how far apart.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import sub
from typing import NamedTuple, TypeAlias, TypeVar

from hubcli.errors import BrokenModelError, ValuesError
from hubcli.formats.tensor_bundle import OBJECT_GRAPH_KEY, TABLE_KEYS, TABLE_VALUES
from hubcli.formats.tensor_layout import DType
from hubcli.formats.tensor_values import TensorValues, has_non_finite
from hubcli.savedmodel.functions import Function, FunctionVariant, Signature, SignatureTensor
from hubcli.savedmodel.model import Asset, CheckpointTensor, SavedModelInfo
from hubcli.savedmodel.types import shape_text
from hubcli.savedmodel.variables import Variable

__all__ = [
    "Change",
    "Comparison",
    "Difference",
    "Distance",
    "Measure",
    "changes_between",
    "compare",
    "largest_change",
]

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
    """The names that one of the two lacks, or whose texts differ; in the order of the left one."""
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
    """The checksum; for a hash table, which is saved in the order of its buckets, only type and shape."""
    if tensor.key.endswith((TABLE_KEYS, TABLE_VALUES)):
        return f"{tensor.dtype}{shape_text(tensor.shape)}"
    return tensor.checksum()


def _unclaimed(info: SavedModelInfo) -> dict[str, CheckpointTensor]:
    """The tensors that belong to no variable, such as those of tables, without the object graph."""
    claimed = {variable.checkpoint_key for variable in info.variables}
    return {
        key: tensor for key, tensor in _by_key(info).items() if key not in claimed and key != OBJECT_GRAPH_KEY
    }


def _assets(info: SavedModelInfo) -> dict[str, str]:
    def text(asset: Asset) -> str:
        if not asset.is_present:
            return "missing" if asset.is_present is False else "not checked"
        return f"{asset.size_bytes} bytes" + (f", sha256 {asset.sha256}" if asset.sha256 else "")

    return {asset.path: text(asset) for asset in info.assets}


class Distance(NamedTuple):
    """How far apart two runs of numbers are: `largest` is the greatest |new - old|.

    It is None for types without a distance. `is_finite` says that the new numbers are all finite; if it is
    False, some may not be.
    """

    largest: float | None
    is_finite: bool = False


Measure: TypeAlias = Callable[[DType, bytes, bytes], Distance]
"""The largest distance between two elements at the same place, the new before the old. NaN doesn't count."""

_CODES = {
    "float16": "e",
    "float32": "f",
    "float64": "d",
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
}
_COMPONENTS = {"complex64": "f", "complex128": "d"}


class Change(NamedTuple):
    """A variable with other values: `largest` is the greatest |new - old|, None if none is a number."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    largest: float | None


def largest_change(dtype: DType, new: bytes, old: bytes) -> Distance:
    """A `Measure` without NumPy: 30 ns an element. For complex numbers it is the largest of a component.

    >>> largest_change(DType.of(1), struct.pack("<2f", 1.0, 2.0), struct.pack("<2f", 1.5, 2.0)).largest
    0.5
    """
    if dtype.name == "bfloat16":
        new, old = _widened(new), _widened(old)
    code = "f" if dtype.name == "bfloat16" else _CODES.get(dtype.name) or _COMPONENTS.get(dtype.name)
    if code is None:
        return Distance(None)
    layout = struct.Struct(f"<{len(new) // struct.calcsize(code)}{code}")
    changes = max(map(abs, map(sub, layout.unpack(new), layout.unpack(old))), default=0)
    if changes != changes:  # NaN came first, to which no number compares as greater.
        pairs = map(abs, map(sub, layout.unpack(new), layout.unpack(old)))
        changes = max((pair for pair in pairs if pair == pair), default=0)
    return Distance(float(changes))


def _widened(piece: bytes) -> bytes:
    """bfloat16 as float32, of which it is the upper half."""
    wide = bytearray(2 * len(piece))
    wide[2::4], wide[3::4] = piece[0::2], piece[1::2]
    return bytes(wide)


class Comparison:
    """Compares the new values of one variable with the old ones while they are read."""

    def __init__(self, given: TensorValues, measure: Measure) -> None:
        self._given = given
        self._measure = measure
        self._largest: float | None = None
        self.is_changed = False
        self.has_non_finite = False

    def through(self, new: Iterator[bytes], old: Iterator[bytes]) -> Iterator[bytes]:
        """The pieces of `new` unchanged, compared with the bytes of `old`."""
        before = _Old(old)
        dtype = self._given.dtype
        for piece in new:
            replaced = before.take(len(piece))
            if piece != replaced:
                self.is_changed = True
                self._look_closer(dtype, piece, replaced)
            elif not self.has_non_finite:
                self.has_non_finite = has_non_finite(dtype, piece)
            yield piece
        if before.take(1):  # Strings that are shorter than they were.
            self.is_changed = True

    def _look_closer(self, dtype: DType, new: bytes, old: bytes) -> None:
        if dtype.item_bytes is None:  # Strings have no distance.
            return
        if len(new) != len(old):
            raise BrokenModelError("its shard ends within it")
        found = self._measure(dtype, new, old)
        if found.largest is not None:
            self._largest = max(found.largest, self._largest or 0.0)
        if not (found.is_finite or self.has_non_finite):
            self.has_non_finite = has_non_finite(dtype, new)

    def change(self, key: str) -> Change:
        """The change of the variable, to report."""
        return Change(key, self._given.dtype.name, self._given.shape, self._largest)


class _Old:
    """The old bytes, taken in pieces of other lengths."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = b""
        self._position = 0

    def take(self, size_bytes: int) -> bytes:
        """The next bytes; fewer where there are no more."""
        taken = self._piece[self._position : self._position + size_bytes]
        self._position += len(taken)
        while len(taken) < size_bytes:
            self._piece, wanted_bytes = next(self._pieces, b""), size_bytes - len(taken)
            if not self._piece:
                break
            # A slice of all of it is the piece itself, not a copy.
            taken = taken + self._piece[:wanted_bytes] if taken else self._piece[:wanted_bytes]
            self._position = min(wanted_bytes, len(self._piece))
        return taken


def changes_between(
    before: Mapping[str, TensorValues],
    after: Mapping[str, TensorValues],
    keys: Iterable[tuple[str, str]],
    measure: Measure,
) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """What changed from one checkpoint to another: changes, and keys of what is equal.

    `keys` are pairs, since a variable may have different keys; the result has those of `before`. Raises
    ValuesError if a tensor is missing, or has another type or shape, IntegrityError if a file can't be read.
    """
    changed, unchanged = list[Change](), list[str]()
    for old_key, new_key in keys:
        old, new = before[old_key], after.get(new_key)
        if new is None or (new.dtype, new.shape) != (old.dtype, old.shape):
            found = "nothing" if new is None else f"{new.dtype.name} {list(new.shape)}"
            raise ValuesError(
                f"{old_key} was {old.dtype.name} {list(old.shape)} in the model, and became {found}",
                hint="Keep the type and shape of each fine-tuned variable.",
            )
        comparison = Comparison(new, measure)
        for _ in comparison.through(new.pieces(), old.pieces()):
            pass
        if comparison.is_changed:
            changed.append(comparison.change(old_key))
        else:
            unchanged.append(old_key)
    return tuple(changed), tuple(unchanged)
