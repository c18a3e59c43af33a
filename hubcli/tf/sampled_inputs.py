"""Generated values for the inputs of a model, by their types and shapes; the same at each run."""

from __future__ import annotations

from dataclasses import dataclass
from io import TextIOWrapper
from math import prod
from pathlib import Path
from typing import Any

from hubcli.regular_file import open_regular
from hubcli.savedmodel.types import (
    DTypeValue,
    Fields,
    Items,
    Literal,
    Shape,
    ShapeValue,
    Structure,
    TensorSpec,
    TypeSpec,
)
from hubcli.tf.importing import import_tensorflow

__all__ = ["SIZES", "Sampler", "UnsampledError", "vocabulary"]

# Sizes for unknown dimensions but the first, tried in this order: a convolution needs more than a few.
SIZES = (3, 1, 32, 224)
_BATCH = 2
_MAX_ELEMENTS = 1 << 24
_MAX_WORDS, _MAX_VOCABULARY_BYTES = 64, 1 << 20
_WORDS = ("the", "cat", "sat on the mat", "hello world", "", "Zürich 42!")


class UnsampledError(Exception):
    """No value can be generated for an input; the text says why."""


@dataclass(frozen=True, slots=True)
class Sampler:
    """Generates values, the same each time: batches of two, other unknown dimensions of `size`."""

    size: int
    words: tuple[str, ...] = ()

    def value(self, structure: Structure) -> Any:
        """A value of the structure: generated tensors, Python values as they are. Raises UnsampledError."""
        tf = import_tensorflow()
        if isinstance(structure, TensorSpec):
            return self.tensor(structure.dtype, structure.shape)
        if isinstance(structure, TypeSpec):
            return self._composite(structure)
        if isinstance(structure, Literal):
            return structure.value
        if isinstance(structure, DTypeValue):
            return tf.as_dtype(structure.dtype)
        if isinstance(structure, ShapeValue):
            return tf.TensorShape(structure.shape)
        if isinstance(structure, Items):
            items = [self.value(item) for item in structure.items]
            return tuple(items) if structure.is_tuple else items
        if isinstance(structure, Fields) and structure.name is None:
            return {key: self.value(item) for key, item in structure.items}
        raise UnsampledError(f"no value can be generated for {structure}")

    def tensor(self, dtype: str | None, shape: Shape) -> Any:
        """A dense tensor of that type and shape. Raises UnsampledError."""
        tf = import_tensorflow()
        sizes = self._sizes(shape)
        count = prod(sizes)
        if count > _MAX_ELEMENTS:
            raise UnsampledError(f"{count} elements are too many")
        if dtype == "string":
            words = (*self.words, *_WORDS)
            return tf.reshape(tf.constant([words[place % len(words)] for place in range(count)]), sizes)
        kind = None if dtype is None or dtype in ("resource", "variant") else tf.as_dtype(dtype)
        if kind is None:
            raise UnsampledError(f"no value can be generated for a tensor of type {dtype or 'unknown'}")
        # A fixed sequence, spread evenly: no random numbers, so that every run sees the same.
        spread = tf.math.floormod(tf.range(count, dtype=tf.float32) * 0.6180339887, 1.0)
        return tf.cast(tf.reshape(spread * (1.0 if kind.is_floating else 2.0), sizes), kind)

    def _sizes(self, shape: Shape) -> list[int]:
        if shape is None:
            return [_BATCH, self.size]
        return [
            size if size is not None else _BATCH if place == 0 else self.size
            for place, size in enumerate(shape)
        ]

    def _composite(self, spec: TypeSpec) -> Any:
        tf = import_tensorflow()
        if spec.class_name == "SparseTensorSpec":
            return tf.sparse.from_dense(self.tensor(spec.dtype, spec.shape))
        if spec.class_name == "RaggedTensorSpec" and spec.ragged_rank == 1:
            splits = tf.as_dtype(spec.row_splits_dtype or "int64")
            dense = self.tensor(spec.dtype, spec.shape)
            return tf.RaggedTensor.from_tensor(dense, ragged_rank=1, row_splits_dtype=splits)
        raise UnsampledError(f"no value can be generated for {spec}")


def vocabulary(model: Path) -> tuple[str, ...]:
    """The first words of the model's text assets, which its tables know."""
    words: list[str] = []
    for path in sorted((model / "assets").glob("*")):
        words += _first_lines(path)
    return tuple(words[:_MAX_WORDS])


def _first_lines(path: Path) -> list[str]:
    """The first short lines of the file; none if it can't be read as text."""
    try:
        with TextIOWrapper(open_regular(path, is_buffered=True), encoding="utf-8") as file:
            text = file.read(_MAX_VOCABULARY_BYTES)
    except (OSError, UnicodeDecodeError):
        return []
    return [line for line in text.splitlines()[:_MAX_WORDS] if 0 < len(line) < 50]
