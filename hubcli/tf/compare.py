"""Whether a saved model computes what the live object does: outputs on made-up inputs, values to the bit.

The inputs are made up from what the file says of their types and shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, TypeAlias

from hubcli.formats.tensor_values import return_freed_memory
from hubcli.savedmodel.compare.diff import variant_text
from hubcli.savedmodel.functions import FunctionVariant, Signature
from hubcli.savedmodel.model import SavedModelInfo
from hubcli.savedmodel.types import Literal
from hubcli.tf.importing import first_line, import_tensorflow
from hubcli.tf.loading import live_variables, snapshot
from hubcli.tf.sampled_inputs import SIZES, Sampler, UnsampledError, vocabulary
from hubcli.units import plural

__all__ = [
    "SIZES",
    "CallableModel",
    "Comparison",
    "Outputs",
    "Sampler",
    "Skipped",
    "UnsampledError",
    "compare_models",
    "compare_outputs",
    "equal_outputs",
    "vocabulary",
]

_TRAINING = ("training", "is_training")
# How far two numbers may be apart, relative and absolute: threads and fused kernels add up in another order.
_TOLERANCES = {"float64": 1e-10, "complex128": 1e-10, "float16": 1e-2, "bfloat16": 5e-2}
_USUAL_TOLERANCE = 1e-5
_TIMEOUT_S = 120
# Codes of findings: what such a graph does to made-up paths and addresses stays done.
_REACHING_OUT = frozenset({"runs-python", "writes-files", "uses-network", "ends-process", "carries-program"})


@dataclass(frozen=True, slots=True)
class Skipped:
    """A call that was not compared, and why."""

    call: str
    reason: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was compared: calls by name, how many variables, what was left out, the first difference.

    `difference` is a sentence, "" where everything is equal.
    """

    calls: tuple[str, ...]
    variables: int
    skipped: tuple[Skipped, ...]
    difference: str

    @property
    def is_equal(self) -> bool:
        """Whether no difference was found."""
        return not self.difference


@dataclass(frozen=True, slots=True)
class CallableModel:
    """The functions of a model: `call` is its `__call__`, None where it can't be called.

    `trace` gives what runs one trace of `__call__`, where that isn't chosen by the arguments.
    """

    call: Callable[..., Any] | None
    signatures: Mapping[str, Callable[..., Any]]
    trace: Callable[[FunctionVariant], Callable[..., Any]] | None = None

    @classmethod
    def of(cls, obj: Any) -> CallableModel:
        """The functions of a loaded object."""
        return cls(obj if callable(obj) else None, getattr(obj, "signatures", {}))


@dataclass(frozen=True, slots=True)
class _Call:
    """One call to compare: the same on both models, with inputs of a sampler."""

    name: str
    run: Callable[[CallableModel, Sampler], Any]


Outputs: TypeAlias = dict[tuple[str, int], Any]


def compare_models(live: Any, reloaded: Any, info: SavedModelInfo, model: Path) -> Comparison:
    """Compares a live object with what was saved of it to `model` and loaded again as `info` tells.

    Variables first, bit by bit, then outputs, since a call may change a variable.
    """
    ours, theirs = (snapshot(live_variables(function, info)) for function in (live, reloaded))
    for path in ours:
        if path not in theirs:
            return Comparison((), len(ours), (), f"the variable {path} is missing")
        if ours[path] != theirs[path]:
            return Comparison((), len(ours), (), f"the variable {path} holds other values")
    outputs = compare_outputs(CallableModel.of(live), CallableModel.of(reloaded), info, model)
    return Comparison(outputs.calls, len(ours), outputs.skipped, outputs.difference)


def compare_outputs(
    live: CallableModel,
    saved: CallableModel,
    info: SavedModelInfo,
    model: Path,
    given: Outputs | None = None,
) -> Comparison:
    """Compares the outputs in inference mode: of each signature and each trace of `__call__` in `info`.

    Training-mode calls are left out: dropout is random, and the call changes
    variables. What can't be called with made-up inputs is named in `skipped`:
    so is everything of a model whose graph reaches beyond itself. Outputs of the live object that are in
    `given`, by call and size, are not computed again: a call may change variables.
    """
    words = vocabulary(model)
    return _compare_calls(info, lambda call: _compare_call(call, live, saved, words, given or {}))


def equal_outputs(
    live: CallableModel, saved: CallableModel, info: SavedModelInfo, model: Path, given: Outputs
) -> Comparison | None:
    """The comparison of `compare_outputs` if all outputs are equal; None if any differs or a call fails.

    Functions run unoptimized, as in a session. The outputs of the live object are put into `given`.
    """
    words = vocabulary(model)

    def compare(call: _Call) -> tuple[str, str]:
        with unoptimized():
            reason = _reason_unless_equal(call, live, saved, words, given)
        return (reason, "") if reason is not None else ("", "it differs, or fails")

    comparison = _compare_calls(info, compare)
    return comparison if comparison.is_equal else None


def _compare_calls(info: SavedModelInfo, compare: Callable[[_Call], tuple[str, str]]) -> Comparison:
    """The comparison of each call, up to the first that differs.

    `compare` gives the reason why a call could not be compared, and the difference; each may be "".
    """
    compared, skipped = list[str](), list(_left_out(info))
    reaching = _reaching_out(info)
    for call in _calls(info):
        reason, difference = (reaching, "") if reaching else compare(call)
        if difference:
            return Comparison(tuple(compared), 0, tuple(skipped), difference)
        if reason:
            skipped.append(Skipped(call.name, reason))
        else:
            compared.append(call.name)
    return Comparison(tuple(compared), 0, tuple(skipped), "")


@contextmanager
def unoptimized() -> Iterator[None]:
    """Disables the graph optimizer within the context, as in a session.

    To optimize one takes longer than to run it once, and numbers are added up in the same order.
    """
    options = import_tensorflow().config.optimizer
    before = bool(options.get_experimental_options().get("disable_meta_optimizer", False))
    options.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        options.set_experimental_options({"disable_meta_optimizer": before})


def _reason_unless_equal(
    call: _Call, live: CallableModel, saved: CallableModel, words: tuple[str, ...], given: Outputs
) -> str | None:
    """Why it isn't called; "" if its outputs are equal, None if they differ or the call fails."""
    for size in SIZES:
        sampler = Sampler(size, words)
        try:
            expected = _run(call, live, sampler)
        except UnsampledError as error:
            return str(error)
        except _EndlessCallError:
            return None
        except _CallFailedError:
            continue
        given[call.name, size] = expected
        try:
            return None if _first_difference(expected, _run(call, saved, sampler)) else ""
        except (UnsampledError, _EndlessCallError, _CallFailedError):
            return None
    return None


def _reaching_out(info: SavedModelInfo) -> str:
    """Why the model is not called with generated paths and addresses; "" for most models."""
    found = next((finding for finding in info.findings if finding.code in _REACHING_OUT), None)
    return "" if found is None else f"the model was not called: {found.message}"


def _compare_call(
    call: _Call, live: CallableModel, saved: CallableModel, words: tuple[str, ...], given: Outputs
) -> tuple[str, str]:
    """The reason why nothing could be compared, and the difference; each may be ""."""
    reason = ""
    for size in SIZES:
        sampler = Sampler(size, words)
        if (call.name, size) in given:  # As when these were computed: sums have the same order.
            with unoptimized():
                return _compare_with(given[call.name, size], call, live, saved, sampler)
        try:
            expected = _run(call, live, sampler)
        except (UnsampledError, _EndlessCallError) as error:
            return str(error), ""
        except _CallFailedError as error:
            reason = reason or f"it fails on generated inputs: {error}"
            continue
        return _compare_with(expected, call, live, saved, sampler)
    return reason, ""


def _compare_with(
    expected: Any, call: _Call, live: CallableModel, saved: CallableModel, sampler: Sampler
) -> tuple[str, str]:
    """Reason and difference of a call whose expected outputs the live object gave already."""
    try:
        where = _first_difference(expected, _run(call, saved, sampler))
    except _EndlessCallError as error:
        return str(error), ""
    except _CallFailedError as error:
        return "", f"{call.name} fails after saving: {error}"
    if not where:
        return "", ""
    if _first_difference(expected, _run(call, live, sampler)):
        return "its output is different each time", ""
    return "", f"{call.name}: {where}"


class _CallFailedError(Exception):
    """What a call raised, in one line."""


class _EndlessCallError(Exception):
    """A call that didn't end."""


def _run(call: _Call, callees: CallableModel, sampler: Sampler) -> Any:
    """What the call gives; one that doesn't end is left behind, as Python can't stop it."""
    return_freed_memory()  # Of loading, saving and the call before: a call takes the most memory of all.
    given: Future[Any] = Future()

    def work() -> None:
        try:
            given.set_result(call.run(callees, sampler))
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            given.set_exception(error)

    Thread(target=work, daemon=True).start()
    try:
        return given.result(_TIMEOUT_S)
    except UnsampledError:
        raise
    except FutureTimeoutError as error:
        raise _EndlessCallError(f"it did not end within {_TIMEOUT_S} s on generated inputs") from error
    # Made-up inputs may not be what the graph takes: an op raises what it likes.
    except Exception as error:
        raise _CallFailedError(f"{type(error).__name__}: {first_line(error)[:200]}") from error


def _calls(info: SavedModelInfo) -> Iterator[_Call]:
    for graph in info.meta_graphs[:1]:
        for signature in graph.signatures:
            yield _signature_call(signature)
    for function in info.functions:
        if function.path == "__call__":
            for variant in function.variants:
                if not _is_training(function.parameters or (), variant):
                    yield _variant_call(variant)


def _left_out(info: SavedModelInfo) -> Iterator[Skipped]:
    for function in info.functions:
        for variant in function.variants:
            name = f"{function.path}{variant_text(variant)}"
            if function.path != "__call__":
                yield Skipped(name, "only signatures and __call__ are called")
            elif _is_training(function.parameters or (), variant):
                yield Skipped(name, "a call in training mode is random and changes variables")


def _is_training(parameters: tuple[str, ...], variant: FunctionVariant) -> bool:
    named = (*zip(parameters, variant.args, strict=False), *variant.kwargs)
    return any(
        name in _TRAINING and not (isinstance(value, Literal) and value.value in (False, None))
        for name, value in named
    )


def _signature_call(signature: Signature) -> _Call:
    def run(callees: CallableModel, sampler: Sampler) -> Any:
        inputs = {}
        for tensor in signature.inputs:
            if tensor.kind != "dense":
                raise UnsampledError(f"no value can be generated for {tensor.name}, which is {tensor.kind}")
            inputs[tensor.name] = sampler.tensor(tensor.dtype, tensor.shape)
        return callees.signatures[signature.name](**inputs)

    return _Call(f"signature {signature.name}", run)


def _variant_call(variant: FunctionVariant) -> _Call:
    def run(callees: CallableModel, sampler: Sampler) -> Any:
        args = [sampler.value(argument) for argument in variant.args]
        kwargs = {name: sampler.value(argument) for name, argument in variant.kwargs}
        call = callees.call if callees.trace is None else callees.trace(variant)
        assert call is not None
        return call(*args, **kwargs)

    return _Call(f"__call__{variant_text(variant)}", run)


def _first_difference(left: Any, right: Any) -> str:
    """Which output differs and by how much, "" where none does."""
    tf = import_tensorflow()
    # Outputs that are not tensors are left out: a session returns only tensors.
    ours, theirs = (
        [part for part in tf.nest.flatten(result, expand_composites=True) if part is not None]
        for result in (left, right)
    )
    if len(ours) != len(theirs):
        return f"{plural(len(theirs), 'output')} instead of {len(ours)}"
    for place, (tensor, other) in enumerate(zip(ours, theirs, strict=True)):
        found = _tensor_difference(tf.convert_to_tensor(tensor), tf.convert_to_tensor(other), tf)
        if found:
            return f"output {place} {found}"
    return ""


def _tensor_difference(tensor: Any, other: Any, tf: Any) -> str:
    if tensor.dtype != other.dtype or tensor.shape != other.shape:
        return f"is {other.dtype.name}{list(other.shape)} instead of {tensor.dtype.name}{list(tensor.shape)}"
    if tensor.dtype in (tf.variant, tf.resource):
        return ""
    ours, theirs = tensor.numpy(), other.numpy()
    if not (tensor.dtype.is_floating or tensor.dtype.is_complex):
        return "" if bool((ours == theirs).all()) else "has other values"
    tolerance = _TOLERANCES.get(tensor.dtype.name, _USUAL_TOLERANCE)
    import numpy

    wide = "complex128" if tensor.dtype.is_complex else "float64"
    ours, theirs = ours.astype(wide), theirs.astype(wide)
    if numpy.allclose(theirs, ours, rtol=tolerance, atol=tolerance, equal_nan=True):
        return ""
    return f"differs by up to {float(numpy.nanmax(abs(ours - theirs))):.3g}"
