"""An edited model compared with its source: loaded by both loaders, each kept signature called in both.

The session loader runs in TensorFlow's C library, `tf.saved_model.load` in a Python process; both are
children, which a crash ends alone. Inputs are made up, the same for both models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hubcli.errors import HubcliError, InputError, TensorFlowError, UsageError, ValuesError
from hubcli.exporting.requests import WarmupRequest, read_requests, request_count, sampled_requests
from hubcli.exporting.sampled_examples import sampled_examples
from hubcli.formats.tensor_layout import DType
from hubcli.running.endpoints import Endpoint
from hubcli.running.model import read_signatures_of
from hubcli.running.model_process import LoadedModel, ModelProcess, sampled_inputs
from hubcli.running.numbers import decoded
from hubcli.tf.compare import SIZES, vocabulary
from hubcli.tf.run_process import find_library, has_package
from hubcli.tf.run_protocol import Tensor

__all__ = [
    "EditComparison",
    "Samples",
    "compare_with_source",
    "difference",
    "has_tensorflow",
    "reaching_out",
    "warmup_of",
]

_RUNNERS = {"c": "the session loader", "python": "tf.saved_model.load"}
# What such a graph does to made-up paths and addresses stays done.
_REACHING_OUT = frozenset({"runs-python", "writes-files", "uses-network", "ends-process", "carries-program"})
_TIMEOUT_S = 120.0
_LEAST = 5e-324


def has_tensorflow() -> bool:
    """Whether models can be loaded here."""
    return find_library() is not None or has_package("tensorflow")


@dataclass(frozen=True, slots=True)
class EditComparison:
    """What was compared: signatures of the export, loaders; notes say what wasn't, and why.

    `largest_error` is relative to the largest value of the output, None if nothing was compared.
    """

    signatures: tuple[str, ...] = ()
    loaders: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    largest_error: float | None = None


class Samples:
    """What the made-up texts of a model's inputs consist of: words that its tables know, or whole records."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self.words = vocabulary(source)

    @cached_property
    def examples(self) -> tuple[bytes, ...]:
        """Records for a signature that parses serialized tf.Examples. Raises BrokenModelError, OSError."""
        return sampled_examples(self._source, self.words)


def working_inputs(
    loaded: LoadedModel, endpoint: Endpoint, samples: Samples
) -> tuple[dict[str, list[Tensor]], dict[str, tuple[Tensor, ...]]]:
    """Made-up inputs with which the signature runs, and what it gives. Raises InputError for none."""
    failure = ""
    for given in _sampled(endpoint, samples):
        try:
            return given, loaded.call(endpoint.name, given)
        except InputError:  # noqa: PERF203 - inputs are tried one after another
            raise
        except TensorFlowError as error:
            failure = failure or error.message
    raise InputError(f"it fails on generated inputs: {failure}")


def _sampled(endpoint: Endpoint, samples: Samples) -> Iterator[dict[str, list[Tensor]]]:
    """Inputs to try in turn. Raises InputError for an input that none can be generated for."""
    for size in SIZES:
        yield sampled_inputs(endpoint, samples.words, size)
    texts = [port for port in endpoint.inputs if port.dtype.name == "string" and port.kind == "dense"]
    if texts and samples.examples:
        # A parser of records takes a vector of them, also where the signature doesn't say so.
        ports = tuple(
            port._replace(shape=port.shape or (None,)) if port in texts else port for port in endpoint.inputs
        )
        yield sampled_inputs(endpoint._replace(inputs=ports), samples.examples)


def reaching_out(source: Path) -> str:
    """Why no signature of the model is called with made-up values; "" for most models."""
    try:
        findings = read_signatures_of(str(source), source, is_scanned=True).findings
    except UsageError:
        # Of several MetaGraphs none has the tag that a loader asks for.
        return "the model has several MetaGraphs, and none with the one tag 'serve'"
    found = next((finding for finding in findings if finding.code in _REACHING_OUT), None)
    return "" if found is None else f"the model was not called: {found.message}"


def compare_with_source(
    source: Path, export: Path, signatures: Mapping[str, str], tolerance: float | None = None
) -> EditComparison:
    """Compares each signature of the export, by its name in the source.

    Outputs must be equal to the bit, or, given a tolerance, as near as that. Raises ValuesError if they
    aren't, TensorFlowError where the export can't be loaded by a loader that loads the source.
    """
    if not signatures:
        return EditComparison(notes=("Nothing was compared: the export has no signature",))
    reason = reaching_out(source)
    if reason:
        return EditComparison(notes=(f"Nothing was compared: {reason}",))
    compared: set[str] = set()
    loaders, notes, errors = list[str](), list[str](), list[float]()
    for runner, loader in _RUNNERS.items():
        if (find_library() is None) if runner == "c" else not has_package("tensorflow"):
            continue
        work = _Loader(runner, source, export, signatures, tolerance)
        found = work.run()
        notes += [f"{loader}: {note}" for note in work.notes]
        errors += work.errors
        compared |= set(found)
        loaders += [loader] if work.is_loaded else []
    ordered = tuple(new for new in signatures.values() if new in compared)
    return EditComparison(ordered, tuple(loaders), tuple(notes), max(errors, default=None))


def warmup_of(
    text: str,
    source: Path,
    signatures: Mapping[str, Endpoint],
    names: Mapping[str, str],
    *,
    untried: str = "",
) -> tuple[list[WarmupRequest], list[str]]:
    """The requests of `--warmup`, a file or a number, for these signatures of the export; and notes.

    `names` are those of the source by those of the export. Where TensorFlow is there, the source answers each
    once, as a server doesn't load a model that fails at one; unless `untried` says why not.
    Raises InputError, UsageError, NotFoundError.
    """
    count = request_count(text)
    given = None if count is not None else read_requests(text, signatures)
    samples = Samples(source)
    reason = untried
    if not signatures:
        raise UsageError("--warmup requires a signature, and the export has none", hint="Remove --warmup.")
    if not untried and not has_tensorflow():
        reason = "TensorFlow is not installed"
    reason = reason or reaching_out(source)
    if reason:
        notes = [f"The warmup requests were not tried: {reason}"]
        if given is not None:
            return given, notes
        requests, more = sampled_requests(
            count or 0, signatures, lambda own: sampled_inputs(own, samples.words)
        )
        return requests, notes + more
    with ModelProcess("c" if find_library() is not None else "python", _TIMEOUT_S) as process:
        loaded = process.load(source, "the source")
        if given is None:
            return sampled_requests(
                count or 0,
                signatures,
                lambda own: working_inputs(loaded, loaded.signatures[names[own.name]], samples)[0],
            )
        for number, request in enumerate(given):
            try:
                loaded.call(names[request.signature], {name: [own] for name, own in request.inputs.items()})
            except (InputError, TensorFlowError) as error:  # noqa: PERF203 - it names the request
                raise InputError(
                    f"{text}: the model fails at warmup request {number + 1}: {error.message}",
                    hint="Correct or remove the request: a server would not load the model.",
                ) from error
        return given, []


class _Loader:
    """The comparison by one loader."""

    def __init__(
        self,
        runner: str,
        source: Path,
        export: Path,
        signatures: Mapping[str, str],
        tolerance: float | None,
    ) -> None:
        self._runner = runner
        self._source = source
        self._export = export
        self._signatures = signatures
        self._samples = Samples(source)
        self._tolerance = tolerance
        self.notes: list[str] = []
        self.errors: list[float] = []
        self.is_loaded = False

    def run(self) -> list[str]:
        """The signatures that gave the same."""
        with ModelProcess(self._runner, _TIMEOUT_S) as process:
            try:
                before = process.load(self._source, "the source")
            except HubcliError as error:
                self.notes.append(f"nothing was compared: it cannot load the source: {error.message}")
                before = None
            try:
                after = process.load(self._export, "the export")
            except TensorFlowError as error:
                if before is None:
                    self.notes.append(f"it cannot load the export either: {error.message}")
                    return []
                raise
            self.is_loaded = True
            if before is None:
                return []
            return [new for old, new in self._signatures.items() if self._is_equal(before, old, after, new)]

    def _is_equal(self, before: LoadedModel, old: str, after: LoadedModel, new: str) -> bool:
        """Whether the signature could be compared. Raises ValuesError if it gives something else."""
        endpoint = before.signatures.get(old)
        if endpoint is None or new not in after.signatures:
            self.notes.append(f"the signature {new} has no outputs to compare")
            return False
        try:
            inputs, expected = working_inputs(before, endpoint, self._samples)
        except (InputError, TensorFlowError) as error:
            self.notes.append(f"the signature {new} was not compared: {error.message}")
            return False
        actual = after.call(new, inputs)
        apart = difference(expected, actual)
        if apart > (self._tolerance or 0.0):
            # What gives something else each time can't be compared; a counter counts in both alike.
            if difference(expected, before.call(old, inputs)) > 0:
                self.notes.append(f"the signature {new} was not compared: its outputs change each time")
                return False
            raise ValuesError(
                _message(new, _RUNNERS[self._runner], apart, self._tolerance), hint=_hint(self._tolerance)
            )
        self.errors.append(apart)
        return True


def _message(name: str, loader: str, error: float, tolerance: float | None) -> str:
    if tolerance is None:
        return f"The signature {name} has other outputs than in the source, by {loader}"
    if error == float("inf"):
        return f"The signature {name} has other values than in the source, by {loader}"
    return (
        f"The signature {name} is off by {error:.2g} of its largest output, "
        f"more than {tolerance:g}, by {loader}"
    )


def _hint(tolerance: float | None) -> str:
    if tolerance is None:
        return "Report it, or skip the comparison: --no-compare"
    return "Allow a larger error with --tolerance, or remove --half."


def difference(expected: Mapping[str, Sequence[Tensor]], actual: Mapping[str, Sequence[Tensor]]) -> float:
    """How far two results are apart: 0 where they are equal to the bit, infinite where no number tells.

    Else the largest distance of two numbers of an output, relative to its largest number.
    """
    if expected.keys() != actual.keys():
        return float("inf")
    worst = 0.0
    for name, own in expected.items():
        others = actual[name]
        if len(own) != len(others):
            return float("inf")
        for left, right in zip(own, others, strict=True):
            worst = max(worst, _distance(left, right))
    return worst


def _distance(left: Tensor, right: Tensor) -> float:
    if left.dtype != right.dtype or left.shape != right.shape:
        return float("inf")
    is_text = isinstance(left.data, list)
    if (left.data == right.data) if is_text else (bytes(left.data) == bytes(right.data)):
        return 0.0
    dtype = DType.of(left.dtype)
    if is_text or not dtype.is_floating:
        return float("inf")
    largest, distance = 0.0, 0.0
    for value, other in zip(decoded(dtype, left.data), decoded(dtype, right.data), strict=True):
        if value != value or other != other:
            if (value != value) != (other != other):
                return float("inf")
            continue
        if value == other:
            largest = max(largest, abs(value)) if abs(value) != float("inf") else largest
            continue
        # Relative to infinity every distance would be none.
        if float("inf") in (abs(value), abs(other)):
            return float("inf")
        largest, distance = max(largest, abs(value)), max(distance, abs(value - other))
    # Values may be equal and their bits not, such as those of 0.0 and -0.0.
    return max(distance / largest if largest else distance, _LEAST)
