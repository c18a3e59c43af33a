"""`run`: a signature or a traced function of a model is executed."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubcli.config.environment import require_timeout
from hubcli.config.settings import Settings
from hubcli.errors import InputError, UsageError
from hubcli.fetching.model_ref import ModelRef, naming_target
from hubcli.progress import ProgressListener
from hubcli.running.batching import Batch, batches_of_columns, batches_of_rows
from hubcli.running.endpoints import Endpoint
from hubcli.running.inputs import Columns, InputReader, RowStream, only_input
from hubcli.running.media import MediaOptions
from hubcli.running.model import RunnableModel, Selection, read_runnable, refuse_unsafe

if TYPE_CHECKING:  # A dry run needs none of it.
    from hubcli.running.outputs import Collected
    from hubcli.running.serving import PredictRequest
    from hubcli.running.session import OutputBatch, Session

__all__ = ["ModelRun", "RunOptions", "RunResult", "open_run", "run"]

DEFAULT_TIMEOUT_S = 3600.0
RUNNERS = ("auto", "c", "python")
_MAX_BATCH = 1 << 20


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of a run.

    `arguments` choose a trace of the `function` by its Python arguments, as values of JSON. `image_size` is
    height and width, `scale` the range of an image's floats. `timeout_s` bounds the loading and each run;
    `unsafe` runs a model in which the scan found something. `dry_run` starts nothing.
    """

    signature: str | None = None
    function: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    tag_set: frozenset[str] | None = None
    batch_size: int | None = None
    image_size: tuple[int, int] | None = None
    scale: tuple[float, float] = (0.0, 1.0)
    runner: str = "auto"
    timeout_s: float = DEFAULT_TIMEOUT_S
    unsafe: bool = False
    dry_run: bool = False

    def require_valid(self) -> None:
        """Raises UsageError for options that contradict each other, and for a limit of no time."""
        require_timeout(self.timeout_s)
        if self.signature is not None and self.function is not None:
            raise UsageError(
                "--signature and --function cannot be used together", hint="Use only one of them."
            )
        if self.arguments and self.function is None:
            raise UsageError("--arg requires --function", hint="Add --function PATH, or remove --arg.")
        if self.runner not in RUNNERS:
            raise UsageError(f"Invalid runner '{self.runner}'", hint=f"Use one of {', '.join(RUNNERS)}.")
        if self.batch_size is not None and not 0 < self.batch_size <= _MAX_BATCH:
            raise UsageError(f"Invalid batch size {self.batch_size}", hint=f"Use 1 to {_MAX_BATCH}.")


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run gave: NumPy arrays by the outputs' names, nested lists where NumPy isn't installed.

    Texts are bytes objects. `runner` is `c` or `python`; times are in seconds, `load_seconds` without those
    of starting TensorFlow.
    """

    target: str
    endpoint: str
    runner: str
    tensorflow_version: str
    outputs: Mapping[str, Any]
    load_seconds: float
    run_seconds: float

    def __getitem__(self, name: str) -> Any:
        return self.outputs[name]


def run(
    target: str,
    inputs: Mapping[str, Any] | Any = None,
    settings: Settings | None = None,
    options: RunOptions | None = None,
    listener: ProgressListener | None = None,
    *,
    signature: str | None = None,
    function: str | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> RunResult:
    """Runs the model once on the inputs: a mapping by name, or the value of the only input.

    Values are nested lists, texts, bytes or arrays. The model runs in a process of its own, without
    importing TensorFlow where its C API can do it. Raises HubcliError of the class that fits: what `fetch`
    raises, UsageError, InputError, UnsafeModelError for what the scan refuses, TensorFlowError.
    """
    from dataclasses import replace

    from hubcli.running.outputs import Collected

    options = options or RunOptions()
    if signature or function or arguments:
        options = replace(options, signature=signature, function=function, arguments=dict(arguments or {}))
    with open_run(target, settings, options, listener) as opened:
        opened.give_values(inputs)
        collected = Collected(opened.endpoint)
        for batch in opened.outputs():
            collected.add(batch)
        return RunResult(
            target=opened.model.name,
            endpoint=opened.endpoint.title,
            runner=opened.session.runner,
            tensorflow_version=opened.session.version,
            outputs=_arrays(collected),
            load_seconds=opened.session.load_seconds,
            run_seconds=sum(collected.seconds),
        )


def _arrays(collected: Collected) -> dict[str, Any]:
    from hubcli.running.values import nested
    from hubcli.tf.arrays import array_of

    outputs: dict[str, Any] = {}
    for port, parts, _ in collected.values():
        arrays = [array_of(part) for part in parts]
        values = [nested(part) if array is None else array for array, part in zip(arrays, parts, strict=True)]
        outputs[port.name] = values[0] if port.kind == "dense" else tuple(values)
    return outputs


class ModelRun:
    """A model that was read and scanned, and the process that runs it; made by `open_run`."""

    def __init__(
        self, model: RunnableModel, session: Session | None, options: RunOptions, listener: ProgressListener
    ) -> None:
        self.model = model
        self.endpoint: Endpoint = model.endpoints[0]
        self.batches: Iterator[Batch] | None = None
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.checked_rows: int | None = None
        self._session = session
        self._options = options
        self._listener = listener
        self._stream: RowStream | None = None

    @property
    def session(self) -> Session:
        """What runs it; there is none in a dry run."""
        assert self._session is not None
        return self._session

    def give_texts(self, texts: Sequence[str]) -> None:
        """Takes values of `--input`. Raises InputError."""
        self._choose(lambda reader: reader.of_texts(texts))

    def give_values(self, inputs: Any) -> None:
        """Takes values by name, or the value of the only input. Raises InputError."""
        from hubcli.tf.arrays import tensor_of_array

        if inputs is None:
            inputs = {}
        if not isinstance(inputs, Mapping):
            only = only_input(self.endpoint)
            if only is None:
                names = ", ".join(port.name for port in self.endpoint.inputs)
                raise InputError(
                    f"The {self.endpoint.title} has several inputs",
                    hint=f"Pass a mapping with a value for each of {names}.",
                )
            inputs = {only.name: inputs}
        given = {name: [tensor_of_array(value)] for name, value in inputs.items()}
        self._choose(lambda reader: reader.of_values(given))

    def give_request(self, request: PredictRequest) -> None:
        """Takes a request of TensorFlow Serving. Raises InputError."""
        self._take(request.columns(self.endpoint))

    def needs_input(self) -> bool:
        """Whether an input has no default."""
        return any(port.default is None for port in self.endpoint.inputs)

    def _choose(self, read: Any) -> None:
        """Takes what fits the first of the endpoints that it fits. Raises InputError of the first one."""
        media = MediaOptions(self._options.image_size, self._options.scale)
        decoder = None if self._session is None else self._session.decode
        error: InputError | None = None
        for endpoint in self.model.endpoints:
            reader = InputReader(endpoint, media, decoder)
            try:
                given = read(reader)
            except InputError as first:
                error = error or first
                continue
            self.endpoint = endpoint
            for note in reader.notes:
                self._listener.note(note)
            self._take(given)
            return
        assert error is not None
        raise error

    def _take(self, given: Columns | RowStream) -> None:
        if isinstance(given, RowStream):
            self._stream = given
            given.file.on_bytes = self._listener.received
            self.batches = batches_of_rows(self.endpoint, given, self._options.batch_size)
            return
        self.shapes = {name: tensors[0].shape for name, tensors in given.tensors.items()}
        self.batches = batches_of_columns(self.endpoint, given, self._options.batch_size)

    @property
    def has_stream(self) -> bool:
        """Whether rows come one by one, so that how many they are isn't known yet."""
        return self._stream is not None

    def check_rows(self) -> None:
        """Reads the rows of a stream, and counts them in `checked_rows`; raises InputError for a misfit."""
        if self._stream is not None and self.batches is not None:
            with contextlib.closing(self._stream.file):
                self.checked_rows = sum(batch.rows or 0 for batch in self.batches)

    def open(self, *, is_once: bool = False) -> None:
        """Loads the model, perhaps for a single run. Raises TensorFlowError."""
        self.session.open(self.model, self.endpoint, is_once=is_once)
        for note in self.session.notes:
            self._listener.note(note)

    def outputs(self, repeat: int = 1) -> Iterator[OutputBatch]:
        """What the runs give, in the inputs' order; loads the model. Raises InputError, TensorFlowError."""
        assert self.batches is not None
        self.open(is_once=repeat == 1 and not self.has_stream and self._options.batch_size is None)
        if self._stream is None:
            yield from self.session.run(self.endpoint, self.batches, repeat)
            return
        self._listener.started(self.model.name, self._stream.source, self._stream.size_bytes)
        try:
            is_ready = self._stream.file.is_ready
            yield from self.session.run(self.endpoint, self.batches, repeat, is_ready)
        finally:
            self._listener.finished()
            self._stream.file.close()


@contextmanager
def open_run(
    target: str,
    settings: Settings | None = None,
    options: RunOptions | None = None,
    listener: ProgressListener | None = None,
) -> Iterator[ModelRun]:
    """The model, fetched if it isn't cached, read and scanned; its process ends with the context.

    Raises HubcliError of the class that fits: what `fetch` raises, UnsafeModelError, UsageError.
    """
    settings, options = settings or Settings.read(), options or RunOptions()
    options.require_valid()
    progress = listener or ProgressListener()
    selection = Selection(options.signature, options.function, options.arguments, options.tag_set)
    reference = ModelRef.resolve(target, settings)
    if reference.is_keras_file:
        raise UsageError(
            f"{reference.name} is a Keras file, not a SavedModel",
            hint=f"Convert it first: hubcli export {shlex.quote(target)} DIR",
        )
    with naming_target(reference, settings), _directory(reference, settings, progress) as directory:
        session: Session | None = None
        if not options.dry_run:
            from hubcli.running.session import Session

            # It loads TensorFlow's library while the model is read here.
            session = Session(options.runner, options.timeout_s)
        try:
            model = read_runnable(reference.name, directory, selection, is_dry=options.dry_run)
            if not options.unsafe:
                refuse_unsafe(model)
            if model.note:
                progress.note(model.note)
            yield ModelRun(model, session, options, progress)
        finally:
            if session is not None:
                session.close()


@contextmanager
def _directory(reference: ModelRef, settings: Settings, listener: ProgressListener) -> Iterator[Path]:
    """The model's directory: cached, fetched, named, or unpacked for the context."""
    if reference.directory is not None:
        if reference.entry is not None:
            reference.entry.touch()
        yield reference.directory
        return
    from hubcli.commands.fetch import model_directory

    with model_directory(reference, settings, listener) as directory:
        yield directory


def warm_up_count(repeat: int) -> int:
    """How many runs come before those that are counted."""
    return min(10, max(1, repeat // 10))


@dataclass(frozen=True, slots=True)
class Timing:
    """What repeated runs took, in seconds; the rate is of rows, or of runs where the inputs have no rows."""

    runs: int
    rows: int | None
    p50: float
    p95: float
    p99: float
    mean: float
    rate: float
    load_seconds: float
    peak_memory_bytes: int


def timing(opened: ModelRun, repeat: int) -> tuple[list[OutputBatch], Timing]:
    """The outputs of a run that was repeated, and its times, without those of the first runs.

    Raises UsageError for inputs of several batches or a stream: their sizes would be mixed.
    """
    if opened.has_stream:
        raise UsageError(
            "--repeat requires inputs that fit in one run", hint="Pass them with --input, not as rows."
        )
    warm = warm_up_count(repeat)
    batches = list(opened.outputs(repeat + warm))
    if len(batches) > 1:
        raise UsageError("--repeat and --batch-size cannot be used together", hint="Remove --batch-size.")
    seconds = sorted(batches[0].seconds[warm:])
    mean = sum(seconds) / len(seconds)
    rows = batches[0].rows
    return batches, Timing(
        runs=repeat,
        rows=rows,
        p50=_percentile(seconds, 50),
        p95=_percentile(seconds, 95),
        p99=_percentile(seconds, 99),
        mean=mean,
        rate=(rows or 1) / mean if mean else 0.0,
        load_seconds=opened.session.load_seconds,
        peak_memory_bytes=opened.session.peak_memory_bytes(),
    )


def _percentile(ordered: Sequence[float], percent: int) -> float:
    """The smallest value that this percentage does not exceed."""
    place = max(0, -(-len(ordered) * percent // 100) - 1)
    return ordered[place]
