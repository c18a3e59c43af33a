"""What a converted model computes, compared with its SavedModel: on inputs that are given, or sampled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple, Protocol

from hubcli.errors import ConversionError, InputError, TensorFlowError, UsageError
from hubcli.running.batching import Batch, batches_of_columns, batches_of_rows
from hubcli.running.endpoints import Endpoint, Port, described
from hubcli.running.inputs import Columns, InputReader, complete
from hubcli.running.model import RunnableModel
from hubcli.running.model_process import sampled_inputs
from hubcli.running.session import Session
from hubcli.tf.compare import SIZES, vocabulary
from hubcli.tf.differences import difference, has_values
from hubcli.tf.run_process import RunnerError
from hubcli.tf.run_protocol import Tensor

__all__ = [
    "NOT_RUN_HINT",
    "Comparer",
    "OutputDifference",
    "SignatureComparison",
    "files_by_signature",
    "read_batches",
]

MAX_ROWS = 1000
_SAMPLED, _GIVEN = "sampled", "given"
NOT_RUN_HINT = (
    "Use other inputs with --inputs FILE, or more time with --timeout. To skip the comparison: --no-compare"
)


class OutputDifference(NamedTuple):
    """The largest error of an output over all inputs, as `hubcli.tf.differences.difference` defines it."""

    name: str
    error: float


class SignatureComparison(NamedTuple):
    """How far a signature's outputs are apart, over all `runs`; `inputs` is `given` or `sampled`."""

    signature: str
    inputs: str
    runs: int
    outputs: tuple[OutputDifference, ...]

    @property
    def largest(self) -> OutputDifference:
        """The output with the largest error."""
        return max(self.outputs, key=lambda output: output.error)


class Converted(Protocol):
    """A converted model that runs."""

    def prepare(self, endpoint: Endpoint) -> None:
        """Chooses the signature. Raises ConversionError if its names were lost."""

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Its outputs, in the endpoint's order. Raises ConversionError if it fails, TensorFlowError."""


class Comparer:
    """Compares one model with what it was converted to."""

    def __init__(self, model: RunnableModel, session: Session, tolerance: float) -> None:
        self._model = model
        self._session = session
        self._tolerance = tolerance

    def compare(
        self, endpoint: Endpoint, converted: Converted, given: Sequence[Batch]
    ) -> SignatureComparison:
        """The errors of a signature, on the batches that are given, else on sampled inputs.

        Raises ConversionError if an error is larger than the tolerance, where the converted model fails,
        and where there is nothing that the SavedModel takes: then inputs must be given.
        """
        self._session.open(self._model, endpoint)
        converted.prepare(endpoint)
        kind, batches = (_GIVEN, list(given)) if given else (_SAMPLED, [self._sampled(endpoint)])
        errors, has_outputs = {port.name: 0.0 for port in endpoint.outputs}, False
        for batch in batches:
            try:
                expected = self._expected(endpoint, batch)
            except RunnerError as error:
                raise ConversionError(
                    f"{self._model.name}: the {endpoint.title} fails on the {kind} inputs: {error.message}",
                    hint=NOT_RUN_HINT,
                ) from error
            has_outputs = has_outputs or any(map(has_values, expected))
            for name, size in self._errors(endpoint, converted, batch, expected):
                errors[name] = max(errors[name], size)
        if not has_outputs:
            raise ConversionError(
                f"{self._model.name}: the {endpoint.title} gives only empty or NaN outputs "
                f"on the {kind} inputs, which prove nothing",
                hint=NOT_RUN_HINT,
            )
        outputs = tuple(OutputDifference(name, error) for name, error in errors.items())
        return SignatureComparison(endpoint.name, kind, len(batches), outputs)

    def _sampled(self, endpoint: Endpoint) -> Batch:
        """Inputs that the SavedModel takes, of the first size that it takes. Raises ConversionError."""
        words, reasons = vocabulary(self._model.path), list[str]()
        for size in SIZES:
            with _collecting(reasons):
                batch = sampled_batch(endpoint, words, size)
                self._expected(endpoint, batch)
                return batch
        raise ConversionError(
            f"{self._model.name}: the {endpoint.title} cannot be compared on sampled inputs: {reasons[0]}",
            hint="Specify inputs that it accepts: --inputs FILE. To skip the comparison: --no-compare",
        )

    def _expected(self, endpoint: Endpoint, batch: Batch) -> list[Tensor]:
        """What the SavedModel gives. Raises RunnerError for inputs that it refuses, TensorFlowError."""
        try:
            (output,) = self._session.run(endpoint, [batch])
        except RunnerError:
            raise
        except TensorFlowError as error:  # It crashed, or ran longer than the limit: no size helps.
            raise TensorFlowError(error.message, hint=NOT_RUN_HINT) from error
        return [part for parts in output.parts for part in parts]

    def _errors(
        self, endpoint: Endpoint, converted: Converted, batch: Batch, expected: Sequence[Tensor]
    ) -> Iterator[tuple[str, float]]:
        """The error of each output of one run. Raises ConversionError."""
        where = f"{self._model.name}, {endpoint.title}"
        actual = converted.run(batch.tensors)
        for port, ours, theirs in zip(endpoint.outputs, expected, actual, strict=True):
            error_size, reason = difference(ours, theirs)
            if not error_size <= self._tolerance:  # NaN is too large, too.
                raise self._too_far(
                    endpoint,
                    batch,
                    expected,
                    f"{where}: output {port.name} differs from the SavedModel's",
                    error_size,
                    reason,
                )
            yield port.name, error_size

    def _too_far(
        self,
        endpoint: Endpoint,
        batch: Batch,
        expected: Sequence[Tensor],
        what: str,
        error: float,
        reason: str,
    ) -> ConversionError:
        """The error of a difference that is too large, if the SavedModel itself gives the same each time."""
        again = self._expected(endpoint, batch)
        if any(difference(*pair)[0] > self._tolerance for pair in zip(expected, again, strict=True)):
            return ConversionError(
                f"{self._model.name}: the {endpoint.title} cannot be compared: its outputs change each time",
                hint="To skip the comparison: --no-compare",
            )
        if reason:
            return ConversionError(f"{what}: it {reason}", hint="To skip the comparison: --no-compare")
        return ConversionError(
            f"{what}: error {error:.2g}, tolerance {self._tolerance:g}",
            hint="Allow a larger error with --tolerance, or compare on real inputs with --inputs FILE.",
        )


@contextmanager
def _collecting(reasons: list[str]) -> Iterator[None]:
    try:
        yield
    except (InputError, RunnerError) as error:
        reasons.append(error.message)


def sampled_batch(endpoint: Endpoint, words: Sequence[str], size: int) -> Batch:
    """Sampled values of every input, defaults where the signature has them. Raises InputError."""
    sampled = sampled_inputs(
        endpoint._replace(inputs=tuple(p for p in endpoint.inputs if p.default is None)), words, size
    )
    columns = complete(endpoint, sampled)
    return Batch([tensor for port in endpoint.inputs for tensor in columns[port.name]], None)


def files_by_signature(texts: Sequence[str], option: str, endpoints: Sequence[Endpoint]) -> dict[str, str]:
    """The file of each signature, of texts `SIGNATURE=FILE`; one that names none is for the first.

    Raises UsageError for a signature that has two files.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, separator, path = text.partition("=")
        if not separator or all(endpoint.name != name for endpoint in endpoints):
            name, path = endpoints[0].name, text
        if name in found:
            raise UsageError(
                f"{option} names two files for the signature {name}: {found[name]} and {path}",
                hint=f"Use {option} SIGNATURE=FILE, once for each signature.",
            )
        found[name] = path
    return found


def read_batches(endpoint: Endpoint, path: str, session: Session, size: int) -> Iterator[Batch]:
    """The rows of a file in batches of that size, or of the only size that the signature takes.

    At most MAX_ROWS rows are read; what doesn't fill a batch of a fixed size is left out. Raises InputError,
    NotFoundError.
    """
    count = 0
    for batch in islice(_batches(endpoint, path, session, size), -(-MAX_ROWS // size)):
        count += 1
        yield batch
    if not count:
        raise InputError(
            f"{path} has too few rows for the {endpoint.title}",
            hint=f"It takes {described(endpoint.inputs)}.",
        )


def _batches(endpoint: Endpoint, path: str, session: Session, size: int) -> Iterator[Batch]:
    fixed = _fixed_rows(endpoint)
    # A file may have any number of rows for a signature with a fixed batch size.
    ports = endpoint.inputs if fixed is None else tuple(map(_any_rows, endpoint.inputs))
    opened = endpoint._replace(inputs=ports)
    given = InputReader(opened, None, session.decode).of_texts([f"@{path}"])
    if not isinstance(given, Columns):
        try:
            yield from batches_of_rows(endpoint, given, size if endpoint.has_batch else None)
        finally:
            given.file.close()
    elif not opened.has_batch:
        yield from batches_of_columns(opened, given, None)
    else:
        for batch in batches_of_columns(opened, given, fixed or size):
            if fixed is None or batch.rows == fixed:
                yield batch


def _fixed_rows(endpoint: Endpoint) -> int | None:
    """How many rows the signature takes at a time; None if that is any number, or inputs differ."""
    sizes = {port.shape[0] if port.shape else None for port in endpoint.inputs if port.shape != ()}
    return sizes.pop() if len(sizes) == 1 else None


def _any_rows(port: Port) -> Port:
    return port._replace(shape=(None, *port.shape[1:])) if port.shape else port
