"""Batches: rows cut and joined along a first dimension of unknown size, or brought to a fixed one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hubcli.errors import InputError, UsageError
from hubcli.running.endpoints import Endpoint, Port
from hubcli.running.inputs import Columns, RowStream, complete
from hubcli.running.values import cut, depth_of_first, flattened, join, row_count, tensors_of, with_parts
from hubcli.tf.run_protocol import Tensor
from hubcli.units import plural

__all__ = ["DEFAULT_BATCH", "Batch", "batches_of_columns", "batches_of_rows"]

DEFAULT_BATCH = 32


class Batch(NamedTuple):
    """What one run gets: the tensors of the inputs in their order.

    `rows` is how many of the user's rows it holds, None if the inputs have none. `padding` counts
    copies of the last row behind them. A row that is a `whole` run has no first dimension for rows.
    """

    tensors: list[Tensor]
    rows: int | None
    padding: int = 0
    whole: bool = False


def batches_of_columns(endpoint: Endpoint, columns: Columns, batch_size: int | None) -> Iterator[Batch]:
    """Everything in one run, or cut into runs of that many rows. Raises UsageError if it can't be cut."""
    ordered = [tensor for port in endpoint.inputs for tensor in columns.tensors[port.name]]
    counts = {
        count
        for port in endpoint.inputs
        if port.shape != () and port.kind == "dense"
        for count in [row_count(columns.tensors[port.name][0])]
        if count is not None
    }
    rows = counts.pop() if len(counts) == 1 else None
    if batch_size is None or (rows is not None and rows <= batch_size and endpoint.has_batch):
        yield Batch(ordered, rows if endpoint.has_batch else None)
        return
    if not endpoint.has_batch or rows is None:
        raise UsageError(
            f"The inputs of the {endpoint.title} cannot be split into batches",
            hint=(
                "Remove --batch-size: each input needs the same number of rows, in a "
                "first dimension of any size."
            ),
        )
    for start in range(0, rows, batch_size):
        end = min(start + batch_size, rows)
        yield Batch([cut(tensor, start, end) for tensor in ordered], end - start)


def batches_of_rows(endpoint: Endpoint, stream: RowStream, batch_size: int | None) -> Iterator[Batch]:
    """The rows in batches of that size; each row alone if the inputs have no dimension for rows.

    Of a run with a row that doesn't fit, the rows before it come as a run; then InputError tells which
    row and input it is.
    """
    rows = iter(stream.rows)
    first = next(rows, None)
    if first is None:
        raise InputError(f"{stream.source} has no rows")
    fixed = _fixed_batch(endpoint, first[1])
    if fixed is not None and batch_size is not None and batch_size != fixed:
        raise UsageError(
            f"The {endpoint.title} takes {plural(fixed, 'row')} at a time", hint="Remove --batch-size."
        )
    has_parts = _has_parts(endpoint, first)
    is_whole = fixed is None and not endpoint.has_batch and not has_parts
    if is_whole and batch_size not in (None, 1):
        raise UsageError(f"The {endpoint.title} takes one row at a time", hint="Remove --batch-size.")
    size = 1 if is_whole else fixed or batch_size or DEFAULT_BATCH
    encoder = _RowEncoder(endpoint, stream, is_whole=is_whole, fixed=fixed, has_parts=has_parts)
    pending = [first]
    failure: InputError | None = None
    while pending and failure is None:
        try:
            # A slow writer gets answers to the rows that are there, instead of waiting for a whole batch.
            while len(pending) < size and stream.file.is_ready():
                row = next(rows, None)
                if row is None:
                    break
                pending.append(row)
        except InputError as error:  # An unreadable line: the rows before it are run.
            failure = error
        for group in _alike(endpoint, pending, stream.constants):
            yield from encoder.batches(group)
        pending = []
        if failure is None:
            following = next(rows, None)
            pending = [] if following is None else [following]
    if failure is not None:
        raise failure


def _fixed_batch(endpoint: Endpoint, row: Mapping[str, Any]) -> int | None:
    """The size of the batches, where the signature fixes one and the row has one dimension less."""
    sizes = {port.shape[0] for port in endpoint.inputs if port.shape}
    if len(sizes) != 1 or None in sizes or endpoint.has_batch:
        return None
    for port in endpoint.inputs:
        if port.shape and port.name in row:
            try:
                _, shape = flattened(row[port.name])
            except ValueError:
                return None
            if len(shape) != len(port.shape) - 1:
                return None
    return sizes.pop()


_Rows = list[tuple[str, Mapping[str, Any]]]


def _alike(endpoint: Endpoint, rows: _Rows, constants: Mapping[str, Any]) -> Iterator[_Rows]:
    """Runs of rows that have the same scalars: one run of the model has one of each."""
    names = [port.name for port in endpoint.inputs if port.shape == () and port.name not in constants]
    if not names:
        if rows:
            yield rows
        return
    group: _Rows = []
    for row in rows:
        if group and any(row[1].get(name) != group[0][1].get(name) for name in names):
            yield group
            group = []
        group.append(row)
    if group:
        yield group


class _RowEncoder:
    """Makes batches of rows, and finds the one that doesn't fit."""

    def __init__(
        self, endpoint: Endpoint, stream: RowStream, *, is_whole: bool, fixed: int | None, has_parts: bool
    ) -> None:
        self._endpoint = endpoint
        self._stream = stream
        self._is_whole = is_whole
        self._fixed = fixed
        self._has_parts = has_parts
        # Of a fixed batch, rows are checked one by one; the padding shows how many there are.
        self._ports = [
            port._replace(shape=(None, *port.shape[1:])) if fixed is not None and port.shape else port
            for port in endpoint.inputs
        ]

    def batches(self, rows: _Rows) -> Iterator[Batch]:
        """The rows in one batch; of rows with a misfit, those before it, then the error."""
        try:
            batch = self._batch(rows)
        except InputError:
            misfit = next((place for place, row in enumerate(rows) if self._error_of(row)), None)
            if misfit is None:
                raise  # They fit one by one, not together.
            if misfit:
                yield self._batch(rows[:misfit])
            error = self._error_of(rows[misfit])
            assert error is not None
            place = f"{self._stream.source}, {rows[misfit][0]}: {error.message}"
            raise InputError(place, hint=error.hint) from error
        yield batch

    def _error_of(self, row: tuple[str, Mapping[str, Any]]) -> InputError | None:
        try:
            self._batch([row])
        except InputError as error:
            return error
        return None

    def _batch(self, rows: _Rows) -> Batch:
        given: dict[str, Sequence[Tensor]] = dict(self._stream.constants)
        if self._has_parts:
            given |= _parts_of(self._endpoint, rows)
        for port in self._ports:
            name = port.name
            present = [row for _, row in rows if name in row]
            if not present or name in given:
                continue
            if len(present) < len(rows):
                raise InputError(f"a row has no value for {name}")
            if self._is_whole or port.shape == ():
                given[name] = tensors_of(port, present[0][name])
            else:
                given[name] = tensors_of(port, _column(port, present), is_rows=True)
        completed = complete(self._endpoint, given)
        tensors = [tensor for port in self._endpoint.inputs for tensor in completed[port.name]]
        missing = 0 if self._fixed is None else self._fixed - len(rows)
        if missing:
            tensors = [
                join([tensor, *[cut(tensor, len(rows) - 1, len(rows))] * missing]) for tensor in tensors
            ]
        return Batch(tensors, len(rows), missing, self._is_whole)


def _has_parts(endpoint: Endpoint, row: tuple[str, Mapping[str, Any]]) -> bool:
    """Whether the row has a ragged or sparse input as nested lists."""
    try:
        return bool(_parts_of(endpoint, [row]))
    except InputError:  # Encoding the row raises it again, with its place.
        return True


def _parts_of(endpoint: Endpoint, rows: _Rows) -> dict[str, Sequence[Tensor]]:
    """The parts of ragged and sparse inputs that the rows have as nested lists; none of other inputs."""
    names = [name for name in rows[0][1] if all(name in row for _, row in rows)]
    columns = {name: [[row[name] for _, row in rows]] for name in names}
    found = with_parts(endpoint, columns)
    return {name: values for name, values in found.items() if columns.get(name) is not values}


def _column(port: Port, rows: Sequence[Mapping[str, Any]]) -> Any:
    """The values of an input in all rows, as one value with a row more in its depth."""
    values = [row[port.name] for row in rows]
    if isinstance(values[0], Tensor):
        return join(values)
    rank = None if port.shape is None else len(port.shape)
    # A row may have its own dimension for rows, of size 1, as one that stands alone.
    has_own = depth_of_first(values[0]) == rank
    if has_own and all(isinstance(value, list) and len(value) == 1 for value in values):
        return [value[0] for value in values]
    return values
