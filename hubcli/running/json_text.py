"""Values of outputs as JSON text: floats in their own digits, rows, and the best classes of rows.

JSON has no NaN and no infinities. Documents of hubcli have them as the strings "NaN", "Infinity" and
"-Infinity", which inputs of hubcli take back; answers to TensorFlow Serving's requests have them bare, as
Serving has.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hubcli.errors import InputError, NotFoundError, UsageError
from hubcli.formats.tensor_layout import DType
from hubcli.regular_file import read_regular
from hubcli.running.endpoints import Endpoint, Port
from hubcli.running.numbers import decoded, number_texts
from hubcli.savedmodel.types import shape_text
from hubcli.tf.run_protocol import STRING, Tensor
from hubcli.units import plural

if TYPE_CHECKING:  # It starts processes, which a dry run does not.
    from hubcli.running.session import OutputBatch

__all__ = [
    "Ranked",
    "best_of",
    "element_texts",
    "has_classes",
    "has_rows",
    "json_lines",
    "port_rows",
    "port_text",
    "ranked_rows",
    "read_labels",
    "require_rows",
    "row_count",
    "rows_of",
    "tensor_text",
    "text_of_bytes",
    "whole_rows",
]

_MAX_LABEL_BYTES = 1 << 26
_NON_FINITE = {"NaN": '"NaN"', "Infinity": '"Infinity"', "-Infinity": '"-Infinity"'}


def element_texts(tensor: Tensor, *, is_bare: bool = False, is_binary: bool = False) -> list[str]:
    """Each element as JSON; `is_bare` leaves NaN and infinities bare, `is_binary` has bytes in base64."""
    if tensor.dtype == STRING:
        return [text_of_bytes(value, is_binary=is_binary) for value in tensor.data]
    dtype = DType.of(tensor.dtype)
    texts = number_texts(dtype, decoded(dtype, tensor.data))
    if dtype.name.startswith("complex"):
        return [f'"{text}"' for text in texts]
    if not is_bare and dtype.is_floating and not _NON_FINITE.keys().isdisjoint(texts):
        return [_NON_FINITE.get(text, text) for text in texts]
    return texts


def text_of_bytes(value: bytes, *, is_binary: bool = False) -> str:
    """The bytes as a JSON string; what is not UTF-8, or is binary, as `{"b64": …}`."""
    if not is_binary:
        try:
            return json.dumps(value.decode(), ensure_ascii=False)
        except UnicodeDecodeError:
            pass
    from base64 import b64encode

    return json.dumps({"b64": b64encode(value).decode()})


def rows_of(tensor: Tensor, texts: Sequence[str]) -> list[str]:
    """The texts of the elements as one text for each row, nested as the shape says."""
    level = list(texts)
    for size in reversed(tensor.shape[1:]):
        if size:
            level = [f"[{', '.join(level[start : start + size])}]" for start in range(0, len(level), size)]
        else:
            level = ["[]"] * _count(tensor.shape)
    return level


def _count(shape: tuple[int, ...]) -> int:
    """How many empty lists stand at the depth of the first dimension of size 0, a lower one inside."""
    count = 1
    for size in shape:
        if not size:
            break
        count *= size
    return count


def tensor_text(tensor: Tensor, *, is_bare: bool = False, is_binary: bool = False) -> str:
    """The tensor as nested lists."""
    texts = element_texts(tensor, is_bare=is_bare, is_binary=is_binary)
    if not tensor.shape:
        return texts[0]
    if 0 in tensor.shape:
        from hubcli.running.values import nested

        return json.dumps(nested(tensor))
    return f"[{', '.join(rows_of(tensor, texts))}]"


def port_text(port: Port, parts: Sequence[Tensor], *, is_bare: bool = False) -> str:
    """The value of an output: nested lists, of a sparse one an object with its parts."""
    is_binary = is_bare and port.name.endswith("_bytes")
    if port.kind == "ragged":
        return f"[{', '.join(_ragged_rows(parts, is_bare=is_bare))}]"
    if port.kind == "sparse" and len(parts) == 3:
        names = ("indices", "values", "dense_shape")
        texts = [tensor_text(part, is_bare=is_bare) for part in parts]
        return "{" + ", ".join(f'"{name}": {text}' for name, text in zip(names, texts, strict=True)) + "}"
    return tensor_text(parts[0], is_bare=is_bare, is_binary=is_binary)


def port_rows(port: Port, parts: Sequence[Tensor], *, is_bare: bool = False) -> list[str]:
    """The value of each row of an output that has rows."""
    if port.kind == "ragged":
        return _ragged_rows(parts, is_bare=is_bare)
    is_binary = is_bare and port.name.endswith("_bytes")
    texts = element_texts(parts[0], is_bare=is_bare, is_binary=is_binary)
    return rows_of(parts[0], texts)


def _ragged_rows(parts: Sequence[Tensor], *, is_bare: bool) -> list[str]:
    """The rows of a ragged tensor: values, then row splits from the outermost on."""
    values, *splits = parts
    level = rows_of(values, element_texts(values, is_bare=is_bare))
    for split in reversed(splits):
        ends: list[Any] = decoded(DType.of(split.dtype), split.data)
        level = [f"[{', '.join(level[start:end])}]" for start, end in pairwise(ends)]
    return level


def whole_rows(batch: OutputBatch) -> OutputBatch:
    """A batch of a row that was a run of its own gets a dimension for it."""
    if not batch.whole:
        return batch
    parts = tuple(
        tuple(Tensor(part.dtype, (1, *part.shape), part.data) for part in own) for own in batch.parts
    )
    return batch._replace(parts=parts)


def require_rows(port: Port, parts: Sequence[Tensor], rows: int | None) -> None:
    """Raises UsageError if the output hasn't a row for each that went in, so can't be joined or cut."""
    if port.kind != "dense" or rows is None or parts[0].shape[:1] != (rows,):
        raise UsageError(
            f"Cannot join the output {port.name} of several runs: its shape is "
            f"{shape_text(parts[0].shape)} for {rows} rows",
            hint="Run all rows at once: remove --batch-size, and pass the inputs as one document.",
        )


def has_rows(endpoint: Endpoint, batch: OutputBatch) -> bool:
    """Whether each output has a row for each that went in."""
    if batch.whole:
        return True
    return batch.rows is not None and all(
        row_count(port, parts) == batch.rows
        for port, parts in zip(endpoint.outputs, batch.parts, strict=True)
    )


def row_count(port: Port, parts: Sequence[Tensor]) -> int | None:
    """How many rows an output has; None if it has no dimension for them."""
    if port.kind == "ragged":
        return parts[1].shape[0] - 1
    return parts[0].shape[0] if port.kind == "dense" and parts[0].shape else None


def json_lines(
    endpoint: Endpoint,
    batches: Iterator[OutputBatch],
    rows_text: Callable[[Port, Sequence[Tensor]], list[str]] = port_rows,
) -> Iterator[str]:
    """Each row as a line with an object of the outputs; one line of all where they have no rows."""
    names = [json.dumps(port.name, ensure_ascii=False) for port in endpoint.outputs]
    for number, batch in enumerate(batches):
        if not has_rows(endpoint, batch):
            if number:
                for port, parts in zip(endpoint.outputs, batch.parts, strict=True):
                    require_rows(port, parts, batch.rows)
            texts = [port_text(port, own) for port, own in zip(endpoint.outputs, batch.parts, strict=True)]
            pairs = zip(names, texts, strict=True)
            yield "{" + ", ".join(f"{name}: {text}" for name, text in pairs) + "}\n"
            continue
        batch = whole_rows(batch)
        columns = [rows_text(port, parts) for port, parts in zip(endpoint.outputs, batch.parts, strict=True)]
        if len(names) == 1:
            yield "".join([f"{{{names[0]}: {text}}}\n" for text in columns[0]])
            continue
        form = "{" + ", ".join(f"{name.replace('%', '%%')}: %s" for name in names) + "}\n"
        yield "".join([form % row for row in zip(*columns, strict=True)])


class Ranked(NamedTuple):
    """A class: its place in the last dimension, its label where there is one, its value as text."""

    place: int
    label: str | None
    value: str

    def text(self) -> str:
        """It as JSON."""
        label = "" if self.label is None else f'"label": {json.dumps(self.label, ensure_ascii=False)}, '
        value = _NON_FINITE.get(self.value, self.value)
        return f'{{"index": {self.place}, {label}"value": {value}}}'


def read_labels(file: str) -> tuple[str, ...]:
    """The labels in the file, one a line. Raises NotFoundError, InputError."""
    try:
        data = read_regular(Path(file).expanduser(), _MAX_LABEL_BYTES + 1)
    except OSError as error:
        raise NotFoundError(
            f"Cannot read {file}: {error.strerror}", hint="Specify a file of labels."
        ) from error
    if len(data) > _MAX_LABEL_BYTES:
        raise InputError(f"{file} is larger than 64 MiB")
    # str.splitlines ends lines at more characters, which a label may contain.
    lines = io.StringIO(data.decode("utf-8-sig", "replace"), newline=None)
    return tuple(line.rstrip("\n") for line in lines)


def has_classes(tensor: Tensor) -> bool:
    """Whether it has a number for each class, in its last dimension: [classes] or [batch, classes].

    Complex numbers have no order, so none of them is the largest.
    """
    if tensor.dtype == STRING or DType.of(tensor.dtype).name.startswith("complex"):
        return False
    return len(tensor.shape) in (1, 2) and tensor.shape[-1] > 1


def best_of(port: Port, tensor: Tensor, count: int, labels: Sequence[str] | None) -> list[list[Ranked]]:
    """The classes with the largest values of each row, the largest first; NaN comes last.

    Raises UsageError if the labels are fewer or more than the classes.
    """
    if labels is not None and len(labels) != tensor.shape[-1]:
        raise UsageError(
            f"The file has {plural(len(labels), 'label')}, "
            f"and {port.name} has {plural(tensor.shape[-1], 'class')}",
            hint="Use a file with one line for each class.",
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
