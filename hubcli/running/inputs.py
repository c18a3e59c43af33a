"""What a user gives as inputs: `--input` values and files, brought to tensors or to a stream of rows.

A value is JSON, plain text for string inputs, or a file named by `@`. What comes row by row is left as a
stream, which is checked and run in batches; everything else is read whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from hubcli.errors import InputError, did_you_mean
from hubcli.formats.tensor_layout import DType
from hubcli.running.endpoints import Endpoint, Port, described
from hubcli.running.file_kind import FileKind
from hubcli.running.files import InputFile, open_input, parse_json
from hubcli.running.media import Decoder, MediaOptions, decode_image, decode_wav
from hubcli.running.numbers import decoded
from hubcli.running.tables import row_values
from hubcli.running.values import cast_tensor, join, tensor_of, tensors_of, with_parts
from hubcli.tf.run_protocol import Tensor

__all__ = ["Columns", "InputReader", "RowStream", "complete", "only_input"]

_NAME = re.compile(r"[A-Za-z_][\w./-]*")
_FLOAT64, _ROUNDED = 2, ("float32", "float16", "bfloat16")
_SPARSE_KEYS = {"indices", "values", "dense_shape"}


class Columns(NamedTuple):
    """The tensors of each input that was given, by its name; a ragged or sparse one has several."""

    tensors: Mapping[str, Sequence[Tensor]]


class RowStream(NamedTuple):
    """Rows that come one by one, each with its place and a value of each input; scalars that all have."""

    source: str
    size_bytes: int | None
    rows: Iterator[tuple[str, Mapping[str, Any]]]
    file: InputFile
    constants: Mapping[str, Sequence[Tensor]]


class _Value(NamedTuple):
    """What stands behind one `--input`: of which input, None if it is for all of them."""

    port: Port | None
    text: str
    is_file: bool


class InputReader:
    """Reads what is given for an endpoint; images and sound are decoded by the decoder, if there is one.

    `notes` tell which values were rounded.
    """

    def __init__(
        self, endpoint: Endpoint, media: MediaOptions | None = None, decoder: Decoder | None = None
    ) -> None:
        self._endpoint = endpoint
        self._media = media or MediaOptions()
        self._decoder = decoder
        self._names = [port.name for port in endpoint.inputs]
        self._name_set = frozenset(self._names)
        self._only = only_input(endpoint)
        self.notes: list[str] = []

    def of_texts(self, texts: Sequence[str]) -> Columns | RowStream:
        """What the values of `--input` give. Raises InputError, NotFoundError."""
        values = [self._parsed(text) for text in texts]
        if sum(value.is_file and value.text == "-" for value in values) > 1:
            raise InputError("Standard input can be read only once: use @- once")
        files = {
            place: open_input(value.text, *self._expected(value.port))
            for place, value in enumerate(values)
            if value.is_file
        }
        try:
            streamed = [place for place, file in files.items() if file.kind.has_rows]
            rest = [value for place, value in enumerate(values) if place not in streamed]
            if len(streamed) == 1 and all(
                value.port is not None and value.port.shape == () for value in rest
            ):
                return self._stream(values[streamed[0]], files.pop(streamed[0]), rest)
            return self.of_values(self._collected(values, files))
        finally:
            for file in files.values():
                file.close()

    def of_values(self, given: Mapping[str, Sequence[Any]]) -> Columns:
        """The tensors of values by input: each a sequence, whose items are stacked. Raises InputError."""
        given = with_parts(self._endpoint, given)
        for name in given:
            self._endpoint.port(name)
        tensors = {
            port.name: self._stacked(port, given[port.name])
            for port in self._endpoint.inputs
            if given.get(port.name)
        }
        return Columns(complete(self._endpoint, tensors))

    def row(self, value: Any, port: Port | None = None) -> Mapping[str, Any]:
        """A row of JSON as values by input; a single input's may stand alone. Of the port, if one is named.

        Raises InputError.
        """
        if port is not None:
            return {port.name: self._value_of(port, value)}
        if type(value) is dict and value.keys() <= self._name_set and value:
            return value
        only = self._only
        if isinstance(value, dict) and (only is None or value.keys() != {"b64"}):
            for name in value:
                self._endpoint.port(name)
            return value
        if only is None:
            raise InputError(
                f"a row must be an object with a value for each of {', '.join(self._names)}",
                hint=f"Inputs: {described(self._endpoint.inputs)}",
            )
        return {only.name: value}

    def _value_of(self, port: Port, value: Any) -> Any:
        """The port's value in an object of inputs; anything else is the value itself."""
        if type(value) is dict and port.name in value:
            return value[port.name]
        if not isinstance(value, dict) or value.keys() in ({"b64"}, _SPARSE_KEYS):
            return value
        for name in value:
            self._endpoint.port(name)
        raise InputError(f"missing value for {port.name}; found {', '.join(value)}")

    def media_of(self, port: Port, data: bytes, where: str, kind: FileKind) -> Any:
        """The value of an image or of sound for the input: its bytes where that is a string."""
        if port.dtype.name == "string":
            return data
        if kind is FileKind.IMAGE:
            return decode_image(port, data, where, self._media, self._decoder)
        return decode_wav(port, data, where, self._decoder)

    def _expected(self, port: Port | None) -> tuple[frozenset[str], bool]:
        """The columns that a table may have, and whether a file that is nothing else is text."""
        ports = (port,) if port is not None else self._endpoint.inputs
        is_text = all(port.dtype.name == "string" for port in ports)
        names = {port.name for port in self._endpoint.inputs}
        return frozenset(names | {f"{name}.0" for name in names}), is_text

    def _parsed(self, text: str) -> _Value:
        """An input's name, if there is one, and what it is given. Raises InputError."""
        name, separator, value = text.partition("=")
        inputs = self._endpoint.inputs
        if separator and name in self._names:
            return _file_or_text(self._endpoint.port(name), value)
        is_named = bool(separator) and _NAME.fullmatch(name) is not None
        if is_named and (value[:1] == "@" or did_you_mean(name, self._names)):
            self._endpoint.port(name)  # Raises, and says which there are.
        if self._only is not None:
            if is_named and self._only.dtype.name != "string":
                self._endpoint.port(name)
            return _file_or_text(self._only, text)
        parsed = _file_or_text(None, text)
        if parsed.is_file or text.lstrip()[:1] == "{":
            return parsed
        if is_named:
            self._endpoint.port(name)
        raise InputError(
            f"Missing input name in --input '{text[:60]}'",
            hint=f"Use --input NAME=VALUE. Inputs of the {self._endpoint.title}: {described(inputs)}",
        )

    def _collected(self, values: Sequence[_Value], files: Mapping[int, InputFile]) -> dict[str, list[Any]]:
        """The values of each input, those of files read whole."""
        collected: dict[str, list[Any]] = {}
        for place, value in enumerate(values):
            found = self._of_file(value, files[place]) if value.is_file else self._of_text(value)
            for name, content in found.items():
                if name in collected and value.is_file and files[place].kind is FileKind.IMAGE:
                    _require_batch_of_images(self._endpoint.port(name))
                collected.setdefault(name, []).append(content)
        return collected

    def _of_text(self, value: _Value) -> Mapping[str, Any]:
        if value.port is None:
            return dict(self.row(parse_json(value.text, "--input")))
        return {value.port.name: _literal(value.port, value.text)}

    def _of_file(self, value: _Value, file: InputFile) -> Mapping[str, Any]:
        """The values of a file by input."""
        port, kind = value.port, file.kind
        only = port or self._only
        if kind is FileKind.NPZ:
            return self._of_arrays(file.arrays(), port, file.name)
        if kind is FileKind.JSON:
            return self._of_document(file.json(), port)
        if kind.has_rows:
            return _as_columns(self.rows_of(file, port))
        if only is None and kind is FileKind.EMPTY:
            raise InputError(f"{file.name} is empty", hint=f"Inputs: {described(self._endpoint.inputs)}")
        if only is None:
            message = f"Missing input name for {file.name}, which is {kind.value}"
            raise InputError(message, hint=f"Use --input NAME=@{value.text}")
        if kind is FileKind.NPY:
            return {only.name: file.array()}
        if kind in (FileKind.IMAGE, FileKind.WAV):
            return {only.name: self.media_of(only, file.read(), file.name, kind)}
        if kind is FileKind.BYTES and only.dtype.name == "string":
            return {only.name: file.read()}
        hint = f"Use --input {only.name}=VALUE. The input is {only}."
        raise InputError(f"{file.name} contains {kind.value}", hint=hint)

    def _of_arrays(self, arrays: Mapping[str, Tensor], port: Port | None, name: str) -> Mapping[str, Any]:
        if port is not None and port.name not in arrays and len(arrays) == 1:
            return {port.name: next(iter(arrays.values()))}
        if port is not None and port.name not in arrays:
            raise InputError(f"{name} contains {', '.join(arrays) or 'no array'}, but none for {port.name}")
        if port is not None:
            return {port.name: arrays[port.name]}
        if len(arrays) == 1 and self._only is not None:
            return {self._only.name: next(iter(arrays.values()))}
        return arrays

    def _of_document(self, document: Any, port: Port | None) -> Mapping[str, Any]:
        """A document of columns, of rows (a list of objects), or of the only or named input's value."""
        only = port or self._only
        is_rows = isinstance(document, list) and document and all(isinstance(row, dict) for row in document)
        if is_rows and (only is None or document[0].keys() != {"b64"}):
            rows = ((f"row {number + 1}", self.row(row, port)) for number, row in enumerate(document))
            return _as_columns(rows)
        if isinstance(document, dict) and not (
            only is not None and document.keys() in ({"b64"}, _SPARSE_KEYS)
        ):
            return document if port is None else {port.name: self._value_of(port, document)}
        return dict(self.row(document, port))

    def rows_of(self, file: InputFile, port: Port | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The rows of a file that has rows, each with its place. Raises InputError."""
        if file.kind is FileKind.JSON_LINES:
            for where, value in file.json_rows():
                yield where, self._placed_row(value, port, f"{file.name}, {where}")
            return
        yield from row_values(file, self._endpoint, port)

    def _placed_row(self, value: Any, port: Port | None, where: str) -> Mapping[str, Any]:
        try:
            return self.row(value, port)
        except InputError as error:
            raise InputError(f"{where}: {error.message}", hint=error.hint) from error

    def _stream(self, value: _Value, file: InputFile, rest: Sequence[_Value]) -> RowStream:
        try:
            constants = {name: [tensor] for name, tensor in self._scalars(rest)}
        except BaseException:
            file.close()
            raise
        return RowStream(file.name, file.size_bytes, self.rows_of(file, value.port), file, constants)

    def _scalars(self, values: Sequence[_Value]) -> Iterator[tuple[str, Tensor]]:
        for name, found in self._collected(values, {}).items():
            port = self._endpoint.port(name)
            if len(found) > 1:
                raise InputError(f"{name} is a scalar, but has {len(found)} values")
            yield name, tensor_of(port, found[0])

    def _stacked(self, port: Port, values: Sequence[Any]) -> Sequence[Tensor]:
        """The tensors of an input's values: several are the rows of one batch, in their order."""
        self.notes += [note for value in values if (note := _rounding(port, value))]
        if len(values) == 1:
            return tensors_of(port, values[0])
        if port.kind != "dense" or port.shape == ():
            raise InputError(f"{port.name} is {'a scalar' if port.shape == () else port.kind}: use it once")
        # Each is a part of the batch, whose size counts at the end alone.
        part = port if port.shape is None else port._replace(shape=(None, *port.shape[1:]))
        return [tensor_of(port, join([tensor_of(part, value) for value in values]))]


def _require_batch_of_images(port: Port) -> None:
    """Raises InputError for an input of one image: the rows of a second one would be more of its height."""
    if port.dtype.name != "string" and port.shape is not None and len(port.shape) < 4:
        raise InputError(
            f"{port.name} takes one image: it has no dimension for a batch",
            hint=f"Run them one by one. The input is {port}.",
        )


def _rounding(port: Port, value: Any) -> str:
    """A note if the numbers of an array have more digits than the input keeps, else ""."""
    if not isinstance(value, Tensor) or value.dtype != _FLOAT64 or port.dtype.name not in _ROUNDED:
        return ""
    given = decoded(DType.of(_FLOAT64), value.data)
    rounded = decoded(port.dtype, cast_tensor(port, value).data)
    is_exact = all(own == number or number != number for own, number in zip(rounded, given, strict=True))
    return "" if is_exact else f"{port.name}: float64 values are rounded to {port.dtype.name}"


def only_input(endpoint: Endpoint) -> Port | None:
    """The input that a value without a name is for: the only one, or the one whose parts are the others."""
    if not endpoint.inputs:
        return None
    first, names = endpoint.inputs[0], {port.name for port in endpoint.inputs}
    return first if names == {first.name, *(f"{first.name}_{n}" for n in range(1, len(names)))} else None


def complete(endpoint: Endpoint, tensors: Mapping[str, Sequence[Tensor]]) -> dict[str, Sequence[Tensor]]:
    """The tensors with defaults for inputs that were left out. Raises InputError for one without."""
    found = dict(tensors)
    missing = []
    for port in endpoint.inputs:
        if port.name in found:
            continue
        if port.default is not None:
            found[port.name] = [port.default]
        else:
            missing.append(port)
    if missing:
        names = ", ".join(port.name for port in missing)
        raise InputError(
            f"The {endpoint.title} requires a value for {names}",
            hint=f"Add --input NAME=VALUE for each of: {described(tuple(missing))}",
        )
    return found


def _file_or_text(port: Port | None, text: str) -> _Value:
    """`@FILE` is a file, `@@…` a text that begins with one @."""
    if text[:2] == "@@":
        return _Value(port, text[1:], False)
    return _Value(port, text[1:], True) if text[:1] == "@" else _Value(port, text, False)


def _literal(port: Port, text: str) -> Any:
    """The value of a text: JSON, for a string input the text itself if it isn't JSON of texts."""
    if port.dtype.name == "string":
        if text[:1] not in ("[", "{", '"'):
            return text
        try:
            return parse_json(text, "")
        except InputError:
            return text
    try:
        return parse_json(text, f"--input {port.name}: '{text[:60]}'")
    except InputError as error:
        is_path = False
        with suppress(OSError, ValueError, RuntimeError):  # No path, and no user of that name.
            is_path = Path(text).expanduser().is_file()
        hint = (
            f"To read the file: --input {port.name}=@{text}"
            if is_path
            else (f"Use JSON, such as 1.5 or [[1, 2], [3, 4]], or a file as @FILE. The input is {port}.")
        )
        raise InputError(error.message, hint=hint) from error


def _as_columns(rows: Iterator[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """All rows as one value by input."""
    columns: dict[str, list[Any]] = {}
    for number, (where, row) in enumerate(rows):
        if number and row.keys() != columns.keys():
            raise InputError(f"{where} has {', '.join(row)}; the rows before it have {', '.join(columns)}")
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return dict(columns)
