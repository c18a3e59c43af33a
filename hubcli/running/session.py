"""A model that runs: which runner takes it, what it is loaded with, what comes out of each run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from hubcli.errors import InputError, TensorFlowError
from hubcli.running.batching import Batch
from hubcli.running.endpoints import Endpoint
from hubcli.running.media import WAV_HINT
from hubcli.running.model import RunnableModel
from hubcli.running.model_process import INSTALL_HINT, load_model, prepare_endpoint
from hubcli.running.values import cut
from hubcli.tf.run_process import RunnerError, RunProcess, find_library, has_package, one_sentence
from hubcli.tf.run_protocol import Tensor

__all__ = ["OutputBatch", "Session"]

_MAX_GROUP, _GROUP_BYTES, _GROUP_S = 32, 1 << 18, 0.02
# Of graphs of TensorFlow 1 that declare an asset twice: only the Python loader takes them.
_DECODING_HINTS = {
    "image": "Convert it to PNG.",
    "wav": WAV_HINT,
}
_TWICE_FED = "fed more than once"


class OutputBatch(NamedTuple):
    """What one run gives: the tensors of each output, in the endpoint's order; and how long it took.

    `rows` and `whole` are as in the batch that went in.
    """

    parts: tuple[tuple[Tensor, ...], ...]
    rows: int | None
    whole: bool
    seconds: tuple[float, ...]


class Session:
    """Runs one model in a process of its own; a context that ends the process.

    The process starts and loads TensorFlow's library while the model is read. `timeout_s` bounds the loading,
    and each run where there is no `run_timeout_s`. Raises TensorFlowError.
    """

    def __init__(self, runner: str, timeout_s: float, run_timeout_s: float | None = None) -> None:
        self.choice = runner
        self.load_seconds = 0.0
        self.notes: list[str] = []
        self._timeout_s = timeout_s
        self._run_timeout_s = timeout_s if run_timeout_s is None else run_timeout_s
        self._is_once = False
        self._library: str | None = find_library() if runner != "python" else None
        self._log: list[str] = []
        self._process: RunProcess | None = None
        if self._library is not None:
            self._process = RunProcess("c", self._library, timeout_s)
        elif runner == "c":
            raise TensorFlowError("TensorFlow's library is not installed", hint=INSTALL_HINT)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._log.append(self._process.close())
            self._process = None

    @property
    def log(self) -> str:
        """The end of what TensorFlow and the model wrote to their standard streams, once it is closed."""
        return "\n".join(filter(None, self._log))

    @property
    def runner(self) -> str:
        """What runs the model: `c` or `python`."""
        return self._process.runner if self._process is not None else ""

    @property
    def version(self) -> str:
        """The release of TensorFlow that runs it."""
        return self._running.version

    @property
    def _running(self) -> RunProcess:
        assert self._process is not None
        return self._process

    def open(self, model: RunnableModel, endpoint: Endpoint, *, is_once: bool = False) -> None:
        """Loads the model and chooses the endpoint; continues in Python where the C API can't, if allowed.

        With `is_once` it is loaded for a single run: the graph isn't optimized. Raises TensorFlowError.
        """
        self._is_once = is_once
        if self.runner == "python":  # For an endpoint before this one.
            self._load(model)
            self._prepare(endpoint)
            return
        obstacle = self._obstacle(endpoint) or model.obstacle or self._open_by_c(model, endpoint)
        if not obstacle:
            return
        if self.choice == "c":
            raise TensorFlowError(
                f"The C API cannot run the {endpoint.title}: {obstacle}", hint="Remove --runner c."
            )
        self._start_python(obstacle)
        self._load(model)
        self._prepare(endpoint)

    def _open_by_c(self, model: RunnableModel, endpoint: Endpoint) -> str:
        """Loads the model by the C API; why that can't be, where Python may do it."""
        try:
            self._load(model)
            self._prepare(endpoint)
        except RunnerError as error:
            if endpoint.kind != "function" and _TWICE_FED not in error.message:
                raise
            return error.message
        return ""

    def _obstacle(self, endpoint: Endpoint) -> str:
        """Why the C API can't run the endpoint, "" if it may."""
        if self._process is None:
            return "TensorFlow's library is missing" if self.choice == "auto" else "not requested"
        try:
            _ = self._process.version
        except RunnerError as error:
            return error.message
        return endpoint.binding.obstacle if endpoint.binding is not None else ""

    def _start_python(self, obstacle: str) -> None:
        if not has_package("tensorflow"):
            raise TensorFlowError("tensorflow is not installed", hint=INSTALL_HINT)
        self.close()
        if self.choice == "auto":
            self.notes.append(f"Running in TensorFlow's Python package: {obstacle}")
        self._process = RunProcess("python", None, self._timeout_s)

    def _load(self, model: RunnableModel) -> None:
        self._running.limit(self._timeout_s)
        self.load_seconds = load_model(self._running, model, is_once=self._is_once)

    def _prepare(self, endpoint: Endpoint) -> None:
        prepare_endpoint(self._running, endpoint)

    def decode(
        self, kind: str, data: bytes, doing: str, **fields: Any
    ) -> tuple[dict[str, Any], list[Tensor]]:
        """An image or sound, decoded. Raises TensorFlowError."""
        if self._process is None:
            self._start_python("decoding needs TensorFlow")
        try:
            return self._running.ask(kind, [Tensor(7, (), [data])], doing=doing, **fields)
        except RunnerError as error:
            hint = error.hint or _DECODING_HINTS.get(kind, "")
            raise InputError(f"TensorFlow failed {doing}: {error.message}", hint=hint) from error

    def run(
        self,
        endpoint: Endpoint,
        batches: Iterable[Batch],
        repeat: int = 1,
        is_ready: Callable[[], bool] = lambda: True,
    ) -> Iterator[OutputBatch]:
        """What each batch gives, in their order. Raises TensorFlowError.

        Batches are made while those before them run. Small ones that are made quickly go several at a time:
        a turn between two processes takes as long as a small model. Where making one would wait, as
        `is_ready` tells, what is there comes first.
        """
        waiting: list[Batch] = []
        process, doing = self._running, f"running the {endpoint.title}"
        process.limit(self._run_timeout_s)
        groups = _Groups(batches, is_ready)
        while True:
            if waiting and not is_ready():
                yield from _output_batches(endpoint, waiting, *process.answer(doing=doing))
                waiting = []
            group = groups.following()
            answer = process.answer(doing=doing) if waiting else None
            if group:
                tensors = [tensor for batch in group for tensor in batch.tensors]
                process.send("run", tensors, doing=doing, number=0, repeat=repeat, batches=len(group))
            if answer is not None:
                yield from _output_batches(endpoint, waiting, *answer)
            waiting = group
            if not group:
                break
        if groups.failure is not None:
            raise groups.failure

    def peak_memory_bytes(self) -> int:
        """The most memory that the process had at a time."""
        return int(self._running.ask("memory", doing="measuring memory")[0]["peak_bytes"])


class _Groups:
    """Batches that go in one message; `failure` is what making one ended with, raised after the rest."""

    def __init__(self, batches: Iterable[Batch], is_ready: Callable[[], bool]) -> None:
        self._batches = iter(batches)
        self._is_ready = is_ready
        self.failure: BaseException | None = None

    def following(self) -> list[Batch]:
        """The next batches; none at the end."""
        group: list[Batch] = []
        size, until_s = 0, time.monotonic() + _GROUP_S
        while self.failure is None and len(group) < _MAX_GROUP and size < _GROUP_BYTES:
            try:
                batch = next(self._batches, None)
            except Exception as error:  # noqa: BLE001 - raised later, after what was given before it
                self.failure = error
                break
            if batch is None:
                break
            group.append(batch)
            size += sum(map(_size_of, batch.tensors))
            if time.monotonic() > until_s or not self._is_ready():
                break
        return group


def _size_of(tensor: Tensor) -> int:
    return sum(map(len, tensor.data)) if isinstance(tensor.data, list) else len(tensor.data)


def _output_batches(
    endpoint: Endpoint, batches: Sequence[Batch], answer: dict[str, Any], tensors: list[Tensor]
) -> Iterator[OutputBatch]:
    """What each batch of a message gave; after them, RunnerError for the one that failed."""
    count = sum(port.part_count for port in endpoint.outputs)
    for number, seconds in enumerate(answer["seconds"]):
        own = tensors[number * count : (number + 1) * count]
        yield _output_batch(endpoint, batches[number], own, seconds)
    if answer.get("failed"):
        raise RunnerError(one_sentence(answer["failed"]))


def _output_batch(
    endpoint: Endpoint, batch: Batch, tensors: list[Tensor], seconds: list[float]
) -> OutputBatch:
    parts = []
    for _, own in endpoint.parts_of_outputs(tensors):
        if batch.padding and batch.rows is not None:
            total = batch.rows + batch.padding
            own = [cut(tensor, 0, batch.rows) if tensor.shape[:1] == (total,) else tensor for tensor in own]
        parts.append(tuple(own))
    return OutputBatch(tuple(parts), batch.rows, batch.whole, tuple(seconds))
