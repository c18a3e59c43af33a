"""Outputs collected in memory, or written row by row to a file that appears atomically."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from hubcli.errors import UsageError
from hubcli.formats.npy import npy_header
from hubcli.formats.tensor_layout import DType
from hubcli.running.endpoints import Endpoint, Port
from hubcli.running.json_text import element_texts, json_lines, port_text, require_rows, whole_rows
from hubcli.running.output_file import OutputForm, staged_file
from hubcli.running.values import join
from hubcli.savedmodel.types import shape_text
from hubcli.tf.run_protocol import STRING, Tensor
from hubcli.units import plural

if TYPE_CHECKING:  # It starts processes, which a dry run does not.
    from hubcli.running.session import OutputBatch

__all__ = ["Collected", "write_outputs"]

_MAX_COLLECTED_BYTES = 1 << 32
_COPY_BYTES = 1 << 20
_MAX_NAME_BYTES = 200  # File systems take 255, with the suffix and a number.


class Collected:
    """The outputs of all runs, joined: `value` gives those of a port. Raises UsageError past 4 GiB.

    With `max_rows`, no more rows than these are kept, and `shapes` tell of all.
    """

    def __init__(self, endpoint: Endpoint, max_rows: int | None = None) -> None:
        self.endpoint = endpoint
        self.rows: int | None = None
        self.seconds: list[float] = []
        self._max_rows = max_rows
        self._parts: list[tuple[tuple[Tensor, ...], ...]] = []
        self._total = [0] * len(endpoint.outputs)
        self._size_bytes = 0
        self.count = 0

    def add(self, batch: OutputBatch) -> None:
        """Takes what a run gave."""
        self.seconds += batch.seconds
        self.count += 1
        if batch.rows is not None:
            self.rows = (self.rows or 0) + batch.rows
        parts = whole_rows(batch).parts
        if self.count > 1:
            for port, own in zip(self.endpoint.outputs, parts, strict=True):
                require_rows(port, own, batch.rows)
        for place, own in enumerate(parts):
            self._total[place] += own[0].shape[0] if own[0].shape else 0
        if self._max_rows is not None and self.count > 1 and (self.rows or 0) > self._max_rows:
            return
        self._size_bytes += sum(_size(part) for own in parts for part in own)
        if self._size_bytes > _MAX_COLLECTED_BYTES:
            raise UsageError(
                "The outputs are larger than 4 GiB",
                hint="Use --json-lines or -o FILE.npz, which write rows as they are computed.",
            )
        self._parts.append(parts)

    def values(self) -> Iterator[tuple[Port, tuple[Tensor, ...], tuple[int, ...]]]:
        """Each output with its tensors and the shape of all its rows, kept or not."""
        for place, port in enumerate(self.endpoint.outputs):
            parts = [batch[place] for batch in self._parts]
            joined = parts[0] if len(parts) == 1 else (join([part[0] for part in parts]),)
            shape = joined[0].shape
            if self.count > 1 and shape:
                shape = (self._total[place], *shape[1:])
            yield port, joined, shape


class _Spool:
    """The elements of an output, written to a file as they come: an array once all are there."""

    def __init__(self, port: Port, folder: Path) -> None:
        import tempfile

        self._port = port
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed at the end
        self._dtype = 0
        self._row: tuple[int, ...] = ()
        self._rows = 0
        self._has_rows = False
        self._width = 0
        self._count = 0

    def add(self, part: Tensor) -> None:
        """Takes the rows of a run."""
        if self._count:
            self._rows += part.shape[0]
        else:
            self._dtype, self._has_rows = part.dtype, bool(part.shape)
            self._row, self._rows = part.shape[1:], part.shape[0] if part.shape else 1
        self._count += 1
        if part.shape[1:] != self._row:
            raise UsageError(
                f"Cannot write the output {self._port.name} as an array: its rows have "
                f"the shapes {shape_text(self._row)} and {shape_text(part.shape[1:])}",
                hint="Use JSON Lines: --json-lines, or -o FILE.jsonl",
            )
        if part.dtype != STRING:
            self._file.write(part.data)
            return
        self._width = max(self._width, *map(len, part.data), 0, 0)
        for value in part.data:
            if value[-1:] == b"\0":
                raise UsageError(
                    f"Cannot write the output {self._port.name} as an array: NumPy drops the zero bytes at "
                    "the end of its texts",
                    hint="Use JSON: -o FILE.json or -o FILE.jsonl",
                )
            self._file.write(struct.pack("<I", len(value)) + value)

    def write(self, target: IO[bytes]) -> None:
        """Writes the array as a .npy file."""
        import shutil

        shape = (self._rows, *self._row) if self._has_rows else ()
        target.write(npy_header(DType.of(self._dtype), shape, text_width=self._width))
        self._file.seek(0)
        if self._dtype != STRING:
            shutil.copyfileobj(self._file, target, _COPY_BYTES)
            return
        while head := self._file.read(4):
            value = self._file.read(struct.unpack("<I", head)[0])
            target.write(value.ljust(max(1, self._width), b"\0"))

    def close(self) -> None:
        """Removes what was kept."""
        self._file.close()


def write_outputs(
    form: OutputForm, endpoint: Endpoint, batches: Iterator[OutputBatch], *, force: bool
) -> int:
    """Writes what the runs give, in constant memory but for a JSON document; how many rows there were.

    Raises OutputError, UsageError for what the form can't hold.
    """
    counted = _Counted(batches)
    with staged_file(form.path, force=force, is_directory=form.kind == "dir") as staged:
        if form.kind in ("npz", "npy", "dir"):
            _write_arrays(form.kind, staged, endpoint, counted)
        elif form.kind == "jsonl":
            _write_text(staged, json_lines(endpoint, counted))
        elif form.kind == "csv":
            _write_text(staged, _csv(endpoint, counted))
        else:
            collected = Collected(endpoint)
            for batch in counted:
                collected.add(batch)
            _write_text(staged, document_text(collected))
    return counted.rows


class _Counted:
    """Batches, with the sum of their rows."""

    def __init__(self, batches: Iterator[OutputBatch]) -> None:
        self._batches = batches
        self.rows = 0

    def __iter__(self) -> Iterator[OutputBatch]:
        return self

    def __next__(self) -> OutputBatch:
        batch = next(self._batches)
        self.rows += batch.rows or 0
        return batch


def _write_text(path: Path, texts: Iterator[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for text in texts:
            file.write(text)


def document_text(collected: Collected) -> Iterator[str]:
    """The outputs as `{"outputs": {name: values}}`, in pieces: what `hubcli run --input @FILE` takes back."""
    yield '{"outputs": {'
    for number, (port, parts, _) in enumerate(collected.values()):
        yield f"{', ' if number else ''}{json.dumps(port.name, ensure_ascii=False)}: {port_text(port, parts)}"
    yield "}}\n"


def _write_arrays(kind: str, staged: Path, endpoint: Endpoint, batches: Iterator[OutputBatch]) -> None:
    for port in endpoint.outputs:
        if port.kind != "dense":
            raise UsageError(
                f"Cannot write the output {port.name} as an array: it is {port.kind}",
                hint="Use a .json file.",
            )
        npy_header(port.dtype, ())  # Raises for a type that NumPy can't store, before anything runs.
    spools = [_Spool(port, staged.parent) for port in endpoint.outputs]
    names = _file_names([port.name for port in endpoint.outputs])
    try:
        for number, batch in enumerate(batches):
            batch = whole_rows(batch)
            for port, spool, parts in zip(endpoint.outputs, spools, batch.parts, strict=True):
                if number:
                    require_rows(port, parts, batch.rows)
                spool.add(parts[0])
        if kind == "npz":
            import zipfile

            with zipfile.ZipFile(staged, "w", zipfile.ZIP_STORED) as archive:
                for name, spool in zip(names, spools, strict=True):
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        spool.write(member)
            return
        for name, spool in zip(names, spools, strict=True):
            path = staged if kind == "npy" else staged / f"{name}.npy"
            with path.open("wb") as file:
                spool.write(file)
    finally:
        for spool in spools:
            spool.close()


def _file_names(outputs: Sequence[str]) -> list[str]:
    """The outputs' names as files may have them: a model chooses names, but no places.

    All are different; where two outputs would have one, also on a file system that ignores case, the
    later one gets a number.
    """
    names: list[str] = []
    taken = set[str]()
    for output in outputs:
        safe = "".join(letter if letter.isalnum() or letter in "-_. " else "_" for letter in output)
        safe = safe.lstrip(".").encode("utf-8", "replace")[:_MAX_NAME_BYTES].decode("utf-8", "ignore")
        safe = safe or "output"
        name, number = safe, 1
        while name.casefold() in taken:
            number += 1
            name = f"{safe}_{number}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _csv(endpoint: Endpoint, batches: Iterator[OutputBatch]) -> Iterator[str]:
    """A header, then each row: a vector has a column for each element, `y.0`, `y.1`."""
    import csv
    import io

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    first: list[str] = []
    for number, batch in enumerate(batches):
        batch = whole_rows(batch)
        columns: list[list[str]] = []
        header: list[str] = []
        for port, parts in zip(endpoint.outputs, batch.parts, strict=True):
            if number:
                require_rows(port, parts, batch.rows)
            names, own = _csv_columns(port, parts[0], batch.rows)
            header += names
            columns += own
        if not number:
            writer.writerow(header)
            first = header
        _require_table(header, first, columns)
        writer.writerows(zip(*columns, strict=True))
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def _require_table(header: list[str], first: list[str], columns: list[list[str]]) -> None:
    """Raises UsageError if the rows have other columns than those before, or the columns other rows."""
    hint = "Use a .npz, .json or .jsonl file."
    if header != first:
        raise UsageError(
            f"Cannot write a table: its rows have {plural(len(first), 'column')}, then {len(header)}",
            hint=hint,
        )
    if len({len(column) for column in columns}) > 1:
        raise UsageError("Cannot write a table: the outputs differ in their number of rows", hint=hint)


def _csv_columns(port: Port, part: Tensor, rows: int | None) -> tuple[list[str], list[list[str]]]:
    if port.kind != "dense" or len(part.shape) > 2 or (part.shape and rows not in (None, part.shape[0])):
        raise UsageError(
            f"Cannot write the output {port.name} as a table: it has the shape {shape_text(part.shape)}",
            hint="Use a .npz, .json or .jsonl file.",
        )
    if part.dtype == STRING:
        cells = [value.decode("utf-8", "backslashreplace") for value in part.data]
    else:
        cells = element_texts(part, is_bare=True)
    if len(part.shape) < 2:
        return [port.name], [cells]
    width = part.shape[1]
    return [f"{port.name}.{place}" for place in range(width)], [cells[place::width] for place in range(width)]


def _size(part: Tensor) -> int:
    return sum(map(len, part.data)) + 64 * len(part.data) if part.dtype == STRING else len(part.data)
