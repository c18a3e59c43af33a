"""Whether a saved model computes what the live object does: outputs on made-up inputs, values to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from hubcli.savedmodel.diff import variant_text
from hubcli.savedmodel.functions import FunctionVariant
from hubcli.savedmodel.info import SavedModelInfo
from hubcli.savedmodel.signatures import Signature
from hubcli.savedmodel.structures import Literal
from hubcli.tf.importing import import_tensorflow
from hubcli.tf.messages import first_line
from hubcli.tf.sampling import SIZES, Sampler, UnsampledError, vocabulary
from hubcli.tf.variables import live_variables, snapshot

__all__ = ["Callees", "Comparison", "Skipped", "compare_models", "compare_outputs"]

_TRAINING = ("training", "is_training")
# How far two numbers may be apart, relative and absolute: threads and fused kernels add up in another order.
_TOLERANCES = {"float64": 1e-10, "complex128": 1e-10, "float16": 1e-2, "bfloat16": 5e-2}
_USUAL_TOLERANCE = 1e-5
_PATIENCE_S = 120
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
class Callees:
    """The functions of a model: `call` is its `__call__`, None where it can't be called."""

    call: Callable[..., Any] | None
    signatures: Mapping[str, Callable[..., Any]]

    @classmethod
    def of(cls, obj: Any) -> Callees:
        """Those of a loaded object."""
        return cls(obj if callable(obj) else None, getattr(obj, "signatures", {}))


@dataclass(frozen=True, slots=True)
class _Call:
    """One call to compare: the same on both models, with inputs of a sampler."""

    name: str
    run: Callable[[Callees, Sampler], Any]


def compare_models(live: Any, reloaded: Any, info: SavedModelInfo, model: Path) -> Comparison:
    """Compares a live object with what was saved of it to `model` and loaded again as `info` tells.

    Variables first, bit by bit, then outputs, since a call may change a variable.
    """
    ours, theirs = (snapshot(live_variables(one, info)) for one in (live, reloaded))
    for path in ours:
        if path not in theirs:
            return Comparison((), len(ours), (), f"the variable {path} is gone")
        if ours[path] != theirs[path]:
            return Comparison((), len(ours), (), f"the variable {path} holds other values")
    outputs = compare_outputs(Callees.of(live), Callees.of(reloaded), info, model)
    return Comparison(outputs.calls, len(ours), outputs.skipped, outputs.difference)


def compare_outputs(live: Callees, saved: Callees, info: SavedModelInfo, model: Path) -> Comparison:
    """Compares the outputs in inference mode: of each signature and each trace of `__call__` in `info`.

    Training-mode calls are left out: dropout is random, and the call changes
    variables. What can't be called with made-up inputs is told in `skipped`:
    so is everything of a model whose graph reaches beyond itself.
    """
    words, reaching = vocabulary(model), _reaching_out(info)
    compared: list[str] = []
    skipped = list(_left_out(info))
    for call in _calls(info):
        reason, difference = (reaching, "") if reaching else _compare_call(call, live, saved, words)
        if difference:
            return Comparison(tuple(compared), 0, tuple(skipped), difference)
        if reason:
            skipped.append(Skipped(call.name, reason))
        else:
            compared.append(call.name)
    return Comparison(tuple(compared), 0, tuple(skipped), "")


def _reaching_out(info: SavedModelInfo) -> str:
    """Why no graph of the model is called with paths and addresses that nobody chose; "" for most."""
    found = next((one for one in info.findings if one.code in _REACHING_OUT), None)
    return "" if found is None else f"the model isn't called unasked: {found.message}"


def _compare_call(call: _Call, live: Callees, saved: Callees, words: tuple[str, ...]) -> tuple[str, str]:
    """The reason why nothing could be compared, and the difference; "" each where there is none."""
    reason = ""
    for size in SIZES:
        sampler = Sampler(size, words)
        try:
            expected = _run(call, live, sampler)
        except (UnsampledError, _EndlessCallError) as error:
            return str(error), ""
        except _CallFailedError as error:
            reason = reason or f"it fails on made-up inputs: {error}"
            continue
        try:
            where = _first_difference(expected, _run(call, saved, sampler))
        except _EndlessCallError as error:
            return str(error), ""
        except _CallFailedError as error:
            return "", f"{call.name} fails after saving: {error}"
        if not where:
            return "", ""
        if _first_difference(expected, _run(call, live, sampler)):
            return "it gives another output each time", ""
        return "", f"{call.name}: {where}"
    return reason, ""


class _CallFailedError(Exception):
    """What a call raised, in one line."""


class _EndlessCallError(Exception):
    """A call that didn't end."""


def _run(call: _Call, callees: Callees, sampler: Sampler) -> Any:
    """What the call gives; one that doesn't end is left behind, as Python can't stop it."""
    given: Future[Any] = Future()

    def work() -> None:
        try:
            given.set_result(call.run(callees, sampler))
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
            given.set_exception(error)

    Thread(target=work, daemon=True).start()
    try:
        return given.result(_PATIENCE_S)
    except UnsampledError:
        raise
    except FutureTimeoutError as error:
        raise _EndlessCallError(f"it didn't end within {_PATIENCE_S} s on made-up inputs") from error
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
    def run(callees: Callees, sampler: Sampler) -> Any:
        inputs = {}
        for tensor in signature.inputs:
            if tensor.kind != "dense":
                raise UnsampledError(f"no value can be made up for {tensor.name}, which is {tensor.kind}")
            inputs[tensor.name] = sampler.tensor(tensor.dtype, tensor.shape)
        return callees.signatures[signature.name](**inputs)

    return _Call(f"signature {signature.name}", run)


def _variant_call(variant: FunctionVariant) -> _Call:
    def run(callees: Callees, sampler: Sampler) -> Any:
        args = [sampler.value(one) for one in variant.args]
        kwargs = {name: sampler.value(one) for name, one in variant.kwargs}
        assert callees.call is not None
        return callees.call(*args, **kwargs)

    return _Call(f"__call__{variant_text(variant)}", run)


def _first_difference(left: Any, right: Any) -> str:
    """Which output differs and by how much, "" where none does."""
    tf = import_tensorflow()
    ours, theirs = (tf.nest.flatten(one, expand_composites=True) for one in (left, right))
    if len(ours) != len(theirs):
        return f"{len(theirs)} outputs instead of {len(ours)}"
    for place, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        found = _tensor_difference(tf.convert_to_tensor(one), tf.convert_to_tensor(other), tf)
        if found:
            return f"output {place} {found}"
    return ""


def _tensor_difference(one: Any, other: Any, tf: Any) -> str:
    if one.dtype != other.dtype or one.shape != other.shape:
        return f"is {other.dtype.name}{list(other.shape)} instead of {one.dtype.name}{list(one.shape)}"
    if one.dtype in (tf.variant, tf.resource):
        return ""
    ours, theirs = one.numpy(), other.numpy()
    if not (one.dtype.is_floating or one.dtype.is_complex):
        return "" if bool((ours == theirs).all()) else "has other values"
    tolerance = _TOLERANCES.get(one.dtype.name, _USUAL_TOLERANCE)
    import numpy

    wide = "complex128" if one.dtype.is_complex else "float64"
    ours, theirs = ours.astype(wide), theirs.astype(wide)
    if numpy.allclose(theirs, ours, rtol=tolerance, atol=tolerance, equal_nan=True):
        return ""
    return f"differs by up to {float(numpy.nanmax(abs(ours - theirs))):.3g}"
