"""The best classes of outputs: indices and labels of the largest values of each row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hubcli.errors import InputError, NotFoundError, UsageError
from hubcli.formats.tensor_layout import DType
from hubcli.regular_file import read_regular
from hubcli.running.endpoints import Port
from hubcli.running.numbers import decoded, number_texts
from hubcli.savedmodel.types import shape_text
from hubcli.tf.run_protocol import STRING, Tensor

__all__ = ["Ranked", "best_of", "has_classes", "ranked_rows", "read_labels"]

_MAX_LABEL_BYTES = 1 << 26


class Ranked(NamedTuple):
    """A class: its place in the last dimension, its label where there is one, its value as text."""

    place: int
    label: str | None
    value: str

    def text(self) -> str:
        """It as JSON."""
        label = "" if self.label is None else f'"label": {json.dumps(self.label, ensure_ascii=False)}, '
        return f'{{"index": {self.place}, {label}"value": {self.value}}}'


def read_labels(file: str) -> tuple[str, ...]:
    """The labels in the file, one a line. Raises NotFoundError, InputError."""
    try:
        data = read_regular(Path(file).expanduser(), _MAX_LABEL_BYTES + 1)
    except OSError as error:
        raise NotFoundError(
            f"{file} can't be read: {error.strerror}", hint="Name a file of labels."
        ) from error
    if len(data) > _MAX_LABEL_BYTES:
        raise InputError(f"{file} is larger than 64 MiB")
    return tuple(data.decode("utf-8", "replace").splitlines())


def has_classes(tensor: Tensor) -> bool:
    """Whether it has a number for each class, in its last dimension: [classes] or [batch, classes]."""
    return tensor.dtype != STRING and len(tensor.shape) in (1, 2) and tensor.shape[-1] > 1


def best_of(port: Port, tensor: Tensor, count: int, labels: Sequence[str] | None) -> list[list[Ranked]]:
    """The classes with the largest values of each row, the largest first; NaN comes last.

    Raises UsageError where the labels are fewer or more than the classes.
    """
    if labels is not None and len(labels) != tensor.shape[-1]:
        raise UsageError(
            f"The labels are {len(labels)}, and {port.name} has the shape {shape_text(tensor.shape)}",
            hint="Give a file with one line for each class.",
        )
    dtype = DType.of(tensor.dtype)
    values, width = decoded(dtype, tensor.data), tensor.shape[-1]
    rows = []
    for start in range(0, len(values), width):
        row = values[start : start + width]
        order = sorted(range(width), key=lambda place: _order(row[place]), reverse=True)[:count]
        texts = number_texts(dtype, [row[place] for place in order])
        rows.append(
            [
                Ranked(place, labels[place] if labels else None, text)
                for place, text in zip(order, texts, strict=True)
            ]
        )
    return rows


def _order(value: float) -> tuple[bool, float]:
    return value == value, value


def ranked_rows(port: Port, tensor: Tensor, count: int, labels: Sequence[str] | None) -> list[str]:
    """The best of each row as JSON."""
    return [
        f"[{', '.join(ranking.text() for ranking in row)}]" for row in best_of(port, tensor, count, labels)
    ]
