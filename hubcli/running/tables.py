"""Rows of tables, records and lines of text as values of inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Any

from hubcli.errors import BrokenModelError, InputError
from hubcli.running.endpoints import Endpoint, Port, described
from hubcli.running.files import FileKind, InputFile
from hubcli.units import plural

__all__ = ["example_features", "row_values"]

_BOOLS = {"true": True, "false": False, "1": True, "0": False}
_INTEGERS = ("int", "uint", "qint", "quint")


def row_values(
    file: InputFile, endpoint: Endpoint, port: Port | None
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of a CSV file, a TFRecord or a text, each with its place. Raises InputError.

    With a `port` they are all of that input, else of each one by its name.
    """
    only = port or (endpoint.inputs[0] if len(endpoint.inputs) == 1 else None)
    rows = {
        FileKind.CSV: file.csv_rows,
        FileKind.TFRECORD: file.records,
        FileKind.TEXT: file.text_rows,
    }[file.kind]()
    values: Callable[[Any], Mapping[str, Any]] | None = None
    for where, row in rows:
        if values is None:
            values = _reader(file, endpoint, only, row)
        try:
            yield where, values(row)
        except ValueError as error:
            raise InputError(f"{file.name}, {where}: {error}") from error


def _reader(
    file: InputFile, endpoint: Endpoint, only: Port | None, first: Any
) -> Callable[[Any], Mapping[str, Any]]:
    """What makes values of a row, as the first row tells."""
    if file.kind is FileKind.CSV:
        return _csv_reader(file.name, endpoint, only, list(first))
    if file.kind is FileKind.TFRECORD:
        return _record_reader(file.name, endpoint, only, first)
    if only is None or only.dtype.name != "string":
        raise InputError(
            f"{file.name} contains lines of text, but there is no single text input",
            hint=f"Inputs: {described(endpoint.inputs)}",
        )
    return lambda line: {only.name: line}


def _csv_reader(
    name: str, endpoint: Endpoint, only: Port | None, header: list[str]
) -> Callable[[Mapping[str, str]], Mapping[str, Any]]:
    """Columns are named as inputs, `x.0`, `x.1` as the elements of a vector; or are the only input's."""
    columns: dict[str, tuple[Port, list[str]]] = {}
    for port in (only,) if only is not None else endpoint.inputs:
        if port.name in header:
            columns[port.name] = (port, [port.name])
            continue
        own = [column for column in header if column.rpartition(".")[0] == port.name]
        if own and all(column.rpartition(".")[2].isdecimal() for column in own):
            columns[port.name] = (port, sorted(own, key=lambda column: int(column.rpartition(".")[2])))
    if not columns and only is not None and (len(header) == 1 or len(only.shape or ()) > 1):
        columns[only.name] = (only, header)
    if not columns:
        raise InputError(
            f"No column of {name} is an input: {', '.join(header)}",
            hint=f"Inputs: {described(endpoint.inputs)}",
        )

    def values(row: Mapping[str, str]) -> Mapping[str, Any]:
        return {key: _cells(port, [row[column] for column in own]) for key, (port, own) in columns.items()}

    return values


def _cells(port: Port, cells: list[str]) -> Any:
    """The value of a row's cells: one for a scalar a row, a list for a vector."""
    numbers = [_cell(port, cell) for cell in cells]
    is_vector = len(cells) > 1 or (port.shape is not None and len(port.shape) > 1)
    return numbers if is_vector else numbers[0]


def _cell(port: Port, cell: str) -> Any:
    """The value of a cell in the input's type. Raises ValueError."""
    name = port.dtype.name
    if name == "string":
        return cell
    text = cell.strip()
    try:
        if name == "bool":
            return _BOOLS[text.lower()]
        if name.startswith("complex"):
            return text
        text = text.replace("_", "?")  # Python takes 1_000 for a number, tables don't.
        return int(text) if name.startswith(_INTEGERS) else float(text)
    except (ValueError, KeyError):
        raise ValueError(f"'{cell[:60]}' for {port.name} is not of type {name}") from None


def _record_reader(
    name: str, endpoint: Endpoint, only: Port | None, first: bytes
) -> Callable[[bytes], Mapping[str, Any]]:
    """Features of tf.Example are named as inputs; else each record is the bytes of the only string input."""
    features = example_features(first)
    ports = [port for port in endpoint.inputs if features is not None and port.name in features]
    if only is not None and only not in ports and only.dtype.name == "string":
        return lambda record: {only.name: record}
    if not ports:
        message = f"{name} contains no tf.Example"
        if features:
            message = f"No feature of {name} is an input: {', '.join(sorted(features))}"
        raise InputError(message, hint=f"Inputs: {described(endpoint.inputs)}")

    def values(record: bytes) -> Mapping[str, Any]:
        found = example_features(record) or {}
        return {port.name: _feature(port, found[port.name]) for port in ports if port.name in found}

    return values


def _feature(port: Port, values: list[Any]) -> Any:
    """The values of a feature in the shape of one row. Raises ValueError."""
    shape = None if port.shape is None else port.shape[1:] if port.shape else ()
    if shape == () and len(values) == 1:
        return values[0]
    if shape is None or len(shape) == 1:
        return values
    known = [size for size in shape if size is not None]
    if len(known) < len(shape) or prod(known) != len(values):
        raise ValueError(f"{plural(len(values), 'value')} for {port.name}, which is {port}")
    for size in reversed(known[1:]):
        values = [values[start : start + size] for start in range(0, len(values), size)]
    return values


def example_features(record: bytes) -> dict[str, list[Any]] | None:
    """The values of each feature of a serialized tf.Example; None if the record is none."""
    from hubcli.formats.protos import parse

    try:
        example = parse("Example", record)
    except BrokenModelError:
        return None
    if not example.HasField("features"):
        return None
    return {name: _feature_values(feature) for name, feature in example.features.feature.items()}


def _feature_values(feature: Any) -> list[Any]:
    kind = feature.WhichOneof("kind")
    return [] if kind is None else list(getattr(feature, kind).value)
