"""Runs: which bytes of a whole tensor a slice of it holds, one after the other.

A tensor stands in C order; a box of it is runs of bytes that are as long as
the box has all of its last dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import NamedTuple

from hubcli.errors import BrokenModelError
from hubcli.formats.slices import TensorSlice

__all__ = ["Box", "Run", "picked"]


class Run(NamedTuple):
    """Bytes of the whole tensor, from `start` to `end`."""

    start: int
    end: int


class Box(NamedTuple):
    """A slice of a tensor of `shape` whose elements have `item_bytes`; a valid one by construction."""

    shape: tuple[int, ...]
    starts: tuple[int, ...]
    lengths: tuple[int, ...]
    item_bytes: int

    @classmethod
    def of(cls, part: TensorSlice, shape: tuple[int, ...], item_bytes: int) -> Box:
        """The box that the slice is; raises BrokenModelError where it leaves the tensor."""
        if len(part.starts) != len(shape):
            raise BrokenModelError("A slice has another rank than its tensor")
        lengths = tuple(
            size - start if length is None else length
            for start, length, size in zip(part.starts, part.lengths, shape, strict=True)
        )
        if any(
            start < 0 or length < 0 or start + length > size
            for start, length, size in zip(part.starts, lengths, shape, strict=True)
        ):
            raise BrokenModelError("A slice leaves its tensor")
        return cls(shape, part.starts, lengths, item_bytes)

    @property
    def size_bytes(self) -> int:
        """How many bytes it holds."""
        return prod(self.lengths) * self.item_bytes

    @property
    def is_whole_rows(self) -> bool:
        """Whether it is cut along the first dimension alone: one run."""
        return self.lengths[1:] == self.shape[1:]

    def runs(self) -> Iterator[Run]:
        """Its bytes, in the order of the whole tensor and of its own."""
        if not self.size_bytes:
            return
        cut = max((axis for axis, size in enumerate(self.shape) if self.lengths[axis] != size), default=0)
        strides = [prod(self.shape[axis + 1 :]) * self.item_bytes for axis in range(len(self.shape))]
        if not self.shape:
            yield Run(0, self.item_bytes)
            return
        length = self.lengths[cut] * strides[cut]
        for start in self._starts(strides, cut, 0, 0):
            yield Run(start, start + length)

    def _starts(self, strides: Sequence[int], cut: int, axis: int, base: int) -> Iterator[int]:
        """Where each run begins: indices of the dimensions before `cut`, the last running fastest."""
        first = base + self.starts[axis] * strides[axis]
        if axis == cut:
            yield first
            return
        for step in range(self.lengths[axis]):
            yield from self._starts(strides, cut, axis + 1, first + step * strides[axis])


def picked(pieces: Iterator[bytes], position: int, runs: Iterator[Run]) -> Iterator[bytes]:
    """The bytes of the runs, which ascend, out of a stream that begins at `position` of the whole tensor."""
    piece = b""
    for start, end in runs:
        while start < end:
            if start >= position + len(piece):
                position += len(piece)
                piece = next(pieces, b"")
                if not piece:
                    raise BrokenModelError("a tensor's bytes end early")
                continue
            taken = piece[start - position : end - position]
            start += len(taken)
            yield taken
