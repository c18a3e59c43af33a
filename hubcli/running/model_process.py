"""Models in a process of their own, called by signature: what a run, and a comparison of two models, rest on.

A process holds several models, each under a number. By the C API it loads them as TensorFlow Serving does,
by the session loader; in Python as `tf.saved_model.load` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from hubcli.errors import InputError, TensorFlowError
from hubcli.formats.tensor_layout import DType
from hubcli.running.endpoints import Endpoint, Port
from hubcli.running.model import RunnableModel, read_signatures_of, require_packages
from hubcli.running.numbers import encoded, is_supported
from hubcli.tf.run_process import RunnerError, RunProcess, find_library, has_package, op_libraries
from hubcli.tf.run_protocol import Tensor

__all__ = [
    "INSTALL_HINT",
    "LoadedModel",
    "ModelProcess",
    "load_model",
    "prepare_endpoint",
    "prepare_order",
    "sampled_inputs",
]

INSTALL_HINT = "Install it: pip install 'hubcli[tf]'"
_BATCH, _MAX_SAMPLE_ELEMENTS = 2, 1 << 24
_GOLDEN_RATIO = 0.6180339887
_WORDS = ("the", "cat", "sat on the mat", "hello world", "", "Zürich 42!")


def load_model(process: RunProcess, model: RunnableModel, *, number: int = 0, is_once: bool = False) -> float:
    """Loads the model under the number, in the place of one before it; the seconds that it took.

    With `is_once` it is loaded for a single run: the graph isn't optimized. Raises TensorFlowError.
    """
    require_packages(model, {package.module: has_package(package.module) for package in model.packages})
    modules = [package.module for package in model.packages]
    try:
        answer, _ = process.ask(
            "load",
            doing=f"loading {model.name}",
            number=number,
            model=str(model.path),
            tags=list(model.tags),
            libraries=[path for module in modules for path in op_libraries(module)],
            modules=modules,
            assets=dict(model.assets),
            initializers=list(model.initializers),
            is_once=is_once,
        )
    except RunnerError as error:
        raise RunnerError(f"Cannot load {model.name}: {error.message}", hint=_hint(model, error)) from error
    return float(answer["seconds"])


def _hint(model: RunnableModel, error: RunnerError) -> str:
    """What to do about a model that TensorFlow doesn't load."""
    if "Op type not registered" in error.message and model.unknown_ops:
        ops = ", ".join(model.unknown_ops[:5])
        return f"Install a package with these ops, which TensorFlow does not have: {ops}"
    if "not in Op" in error.message:
        return "Install a newer TensorFlow: pip install -U tensorflow"
    return f"Verify the model: hubcli verify {model.name}"


def prepare_endpoint(process: RunProcess, endpoint: Endpoint, *, number: int = 0) -> None:
    """Chooses what following runs of the model under the number call. Raises TensorFlowError."""
    process.ask("prepare", doing=f"preparing the {endpoint.title}", number=number, **prepare_order(endpoint))


def prepare_order(endpoint: Endpoint) -> dict[str, Any]:
    """The endpoint as a runner gets it."""
    order: dict[str, Any] = {
        "names": [port.name for port in endpoint.inputs],
        "kinds": [[port.kind, port.part_count] for port in endpoint.inputs],
        "output_names": [port.name for port in endpoint.outputs],
    }
    if endpoint.binding is None:
        order["signature"] = endpoint.name
        order["inputs"] = [part for port in endpoint.inputs for part in port.parts]
        order["outputs"] = [part for port in endpoint.outputs for part in port.parts]
        return order
    binding = endpoint.binding
    own = len(binding.input_types) - len(binding.captures)
    return order | {
        "function": binding.function,
        "path": endpoint.name,
        "place": binding.place,
        "captures": list(binding.captures),
        "types": list(binding.input_types[:own]),
        "input_types": list(binding.input_types),
        "output_types": list(binding.output_types),
    }


class ModelProcess:
    """A process that loads models and calls their signatures; a context that ends it.

    `runner` is "c" (the session loader, without TensorFlow's Python package) or "python"
    (`tf.saved_model.load`). `timeout_s` bounds the loading and each call. Raises TensorFlowError.
    """

    def __init__(self, runner: str = "c", timeout_s: float = 3600.0) -> None:
        library = find_library() if runner == "c" else None
        if runner == "c" and library is None:
            raise TensorFlowError("TensorFlow's library is not installed", hint=INSTALL_HINT)
        if runner == "python" and not has_package("tensorflow"):
            raise TensorFlowError("tensorflow is not installed", hint=INSTALL_HINT)
        self._process = RunProcess(runner, library, timeout_s)
        self._count = 0

    def __enter__(self) -> ModelProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.close()

    @property
    def version(self) -> str:
        """The release of TensorFlow. Raises TensorFlowError if it can't be loaded."""
        return self._process.version

    def load(self, path: Path, name: str = "", tags: frozenset[str] | None = None) -> LoadedModel:
        """The model in the directory, which is called `name` in errors; it isn't scanned.

        `tags` choose a MetaGraph where there are several. Raises BrokenModelError, NotFoundError,
        UsageError for tags that the model doesn't have, TensorFlowError, which also says why the C API
        can't run a model that Python can.
        """
        model = read_signatures_of(name or str(path), path, tags)
        if self._process.runner == "c" and model.obstacle:
            raise TensorFlowError(f"The C API cannot run {model.name}: {model.obstacle}")
        self._count += 1
        load_model(self._process, model, number=self._count)
        return LoadedModel(self._process, self._count, model)


class LoadedModel:
    """A model in a ModelProcess: `signatures` are those that give something, by name."""

    def __init__(self, process: RunProcess, number: int, model: RunnableModel) -> None:
        self.signatures: Mapping[str, Endpoint] = {endpoint.name: endpoint for endpoint in model.endpoints}
        self._process = process
        self._number = number
        self._prepared = ""

    def call(self, signature: str, inputs: Mapping[str, Sequence[Tensor]]) -> dict[str, tuple[Tensor, ...]]:
        """What the signature gives, by output: one tensor of a dense one, several of a ragged or sparse one.

        Inputs are the same by name; one that has a default may be left out. Raises InputError for one that
        is missing, TensorFlowError.
        """
        endpoint = self.signatures[signature]
        tensors: list[Tensor] = []
        for port in endpoint.inputs:
            own = inputs.get(port.name) or ([port.default] if port.default is not None else None)
            if own is None:
                raise InputError(f"The {endpoint.title} requires a value for {port.name}")
            tensors += own
        if self._prepared != signature:
            prepare_endpoint(self._process, endpoint, number=self._number)
            self._prepared = signature
        _, results = self._process.ask(
            "run",
            tensors,
            doing=f"running the {endpoint.title}",
            number=self._number,
            repeat=1,
            batches=1,
        )
        return {port.name: tuple(parts) for port, parts in endpoint.parts_of_outputs(results)}

    def close(self) -> None:
        """Frees the model's memory; the process stays."""
        self._process.ask("unload", doing="freeing the model", number=self._number)


def sampled_inputs(
    endpoint: Endpoint, words: Sequence[str | bytes] = (), size: int = 3
) -> dict[str, list[Tensor]]:
    """Made-up values for each input, the same at each call; `call` of a LoadedModel takes them.

    Batches are of two, other unknown dimensions of `size`. Floats are spread over [0, 1), integers are 0
    and 1, texts are `words` and some of ours. Raises InputError for an input that none can be generated for.
    """
    return {port.name: _sampled_parts(port, (*words, *_WORDS), size) for port in endpoint.inputs}


def _sampled_parts(port: Port, words: Sequence[str | bytes], size: int) -> list[Tensor]:
    shape = (None, None) if port.shape is None else port.shape
    sizes = [own if own is not None else _BATCH if not axis else size for axis, own in enumerate(shape)]
    if port.kind == "dense":
        return [_sampled(port, tuple(sizes), words)]
    int64 = DType.of(9)
    if port.kind == "sparse" and sizes and all(sizes):
        values = _sampled(port, (1,), words)
        indices = Tensor(9, (1, len(sizes)), encoded(int64, [0] * len(sizes)))
        return [indices, values, Tensor(9, (len(sizes),), encoded(int64, sizes))]
    if port.kind == "ragged":
        splits = port.part_types[1:]
        inner = sizes[len(splits) + 1 :]
        ends = [
            Tensor(number, (_BATCH + 1,), encoded(DType.of(number), list(range(_BATCH + 1))))
            for number in splits
        ]
        return [_sampled(port, (_BATCH, *inner), words), *ends]
    raise InputError(f"No value can be generated for {port}")


def _sampled(port: Port, shape: tuple[int, ...], words: Sequence[str | bytes]) -> Tensor:
    count, dtype = prod(shape), port.dtype
    if not is_supported(dtype) or count > _MAX_SAMPLE_ELEMENTS:
        raise InputError(f"No value can be generated for {port}")
    spread = ((place * _GOLDEN_RATIO) % 1.0 for place in range(count))
    values: list[Any]
    if dtype.name == "string":
        values = [words[place % len(words)] for place in range(count)]
    elif dtype.is_floating or dtype.name.startswith("complex"):
        values = list(spread)
    elif dtype.name == "bool":
        values = [value >= 0.5 for value in spread]
    else:
        values = [int(value >= 0.5) for value in spread]
    return Tensor(dtype.number, shape, encoded(dtype, values))
