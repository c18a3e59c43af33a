"""New values of a variable beside its old ones: equal or not, finite or not, how far apart."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import sub
from typing import NamedTuple, TypeAlias

from hubcli.errors import BrokenModelError, ValuesError
from hubcli.formats.tensor_layout import DType
from hubcli.formats.tensor_values import TensorValues, has_non_finite

__all__ = ["Change", "Comparison", "Distance", "Measure", "changes_between", "largest_change"]


class Distance(NamedTuple):
    """How far apart two runs of numbers are: `largest` is the greatest |new - old|.

    It is None of types without a distance. `is_finite` tells that the new ones
    are all finite; where it is False, some may not be.
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
    """A variable that got other values: `largest` is the greatest |new - old|, None where there is none."""

    key: str
    dtype: str
    shape: tuple[int, ...]
    largest: float | None


def largest_change(dtype: DType, new: bytes, old: bytes) -> Distance:
    """A `Measure` without NumPy: 30 ns an element. Of complex numbers it is that of a component.

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
    """The new values of one variable, looked at while they pass."""

    def __init__(self, given: TensorValues, measure: Measure) -> None:
        self._given = given
        self._measure = measure
        self._largest: float | None = None
        self.is_changed = False
        self.has_non_finite = False

    def through(self, new: Iterator[bytes], old: Iterator[bytes], size_bytes: int) -> Iterator[bytes]:
        """The pieces of `new` as they are; `old` are the bytes that stood in their place."""
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
        if dtype.item_bytes is None:  # Strings: no numbers, and no distance.
            return
        if len(new) != len(old):
            raise BrokenModelError("its shard ends within it")
        found = self._measure(dtype, new, old)
        if found.largest is not None:
            self._largest = max(found.largest, self._largest or 0.0)
        if not (found.is_finite or self.has_non_finite):
            self.has_non_finite = has_non_finite(dtype, new)

    def change(self, key: str) -> Change:
        """What to report of it."""
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

    `keys` are pairs, since a variable may have another key in each; told are
    those of `before`. Raises ValuesError where a tensor is gone, or has
    another type or shape, IntegrityError where a file can't be read.
    """
    changed, unchanged = list[Change](), list[str]()
    for old_key, new_key in keys:
        old, new = before[old_key], after.get(new_key)
        if new is None or (new.dtype, new.shape) != (old.dtype, old.shape):
            found = "nothing" if new is None else f"{new.dtype.name} {list(new.shape)}"
            raise ValuesError(
                f"{old_key} was {old.dtype.name} {list(old.shape)} in the model, and became {found}",
                hint="A fine-tuned variable keeps its type and shape: assign no values of another.",
            )
        comparison = Comparison(new, measure)
        for _ in comparison.through(new.pieces(), old.pieces(), new.size_bytes):
            pass
        if comparison.is_changed:
            changed.append(comparison.change(old_key))
        else:
            unchanged.append(old_key)
    return tuple(changed), tuple(unchanged)
