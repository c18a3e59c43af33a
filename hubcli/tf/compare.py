"""Whether a saved model computes what the live object does: outputs on made-up inputs, values to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from threading import Thread
from typing import Any

from hubcli.errors import TensorFlowError
from hubcli.formats.tensor_layout import DType
from hubcli.savedmodel.compare.diff import Distance, variant_text
from hubcli.savedmodel.functions import FunctionVariant, Signature
from hubcli.savedmodel.model import SavedModelInfo
from hubcli.savedmodel.types import Literal
from hubcli.tf.importing import first_line, import_tensorflow
from hubcli.tf.loading import live_variables, snapshot
from hubcli.tf.sampling import SIZES, Sampler, UnsampledError, vocabulary

__all__ = ["CallableModel", "Comparison", "NumpyMeasure", "Skipped", "compare_models", "compare_outputs"]

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
class CallableModel:
    """The functions of a model: `call` is its `__call__`, None where it can't be called."""

    call: Callable[..., Any] | None
    signatures: Mapping[str, Callable[..., Any]]

    @classmethod
    def of(cls, obj: Any) -> CallableModel:
        """Those of a loaded object."""
        return cls(obj if callable(obj) else None, getattr(obj, "signatures", {}))


@dataclass(frozen=True, slots=True)
class _Call:
    """One call to compare: the same on both models, with inputs of a sampler."""

    name: str
    run: Callable[[CallableModel, Sampler], Any]


def compare_models(live: Any, reloaded: Any, info: SavedModelInfo, model: Path) -> Comparison:
    """Compares a live object with what was saved of it to `model` and loaded again as `info` tells.

    Variables first, bit by bit, then outputs, since a call may change a variable.
    """
    ours, theirs = (snapshot(live_variables(function, info)) for function in (live, reloaded))
    for path in ours:
        if path not in theirs:
            return Comparison((), len(ours), (), f"the variable {path} is gone")
        if ours[path] != theirs[path]:
            return Comparison((), len(ours), (), f"the variable {path} holds other values")
    outputs = compare_outputs(CallableModel.of(live), CallableModel.of(reloaded), info, model)
    return Comparison(outputs.calls, len(ours), outputs.skipped, outputs.difference)


def compare_outputs(
    live: CallableModel, saved: CallableModel, info: SavedModelInfo, model: Path
) -> Comparison:
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
    found = next((finding for finding in info.findings if finding.code in _REACHING_OUT), None)
    return "" if found is None else f"the model isn't called unasked: {found.message}"


def _compare_call(
    call: _Call, live: CallableModel, saved: CallableModel, words: tuple[str, ...]
) -> tuple[str, str]:
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


def _run(call: _Call, callees: CallableModel, sampler: Sampler) -> Any:
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
    def run(callees: CallableModel, sampler: Sampler) -> Any:
        inputs = {}
        for tensor in signature.inputs:
            if tensor.kind != "dense":
                raise UnsampledError(f"no value can be made up for {tensor.name}, which is {tensor.kind}")
            inputs[tensor.name] = sampler.tensor(tensor.dtype, tensor.shape)
        return callees.signatures[signature.name](**inputs)

    return _Call(f"signature {signature.name}", run)


def _variant_call(variant: FunctionVariant) -> _Call:
    def run(callees: CallableModel, sampler: Sampler) -> Any:
        args = [sampler.value(argument) for argument in variant.args]
        kwargs = {name: sampler.value(argument) for name, argument in variant.kwargs}
        assert callees.call is not None
        return callees.call(*args, **kwargs)

    return _Call(f"__call__{variant_text(variant)}", run)


def _first_difference(left: Any, right: Any) -> str:
    """Which output differs and by how much, "" where none does."""
    tf = import_tensorflow()
    ours, theirs = (tf.nest.flatten(result, expand_composites=True) for result in (left, right))
    if len(ours) != len(theirs):
        return f"{len(theirs)} outputs instead of {len(ours)}"
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


_FLOATS = {"float16": "<f2", "float32": "<f4", "float64": "<f8"}
_INTEGERS = {
    f"{sign}int{8 * size}": f"<{kind}{size}"
    for sign, kind in (("", "i"), ("u", "u"))
    for size in (1, 2, 4, 8)
}
_COMPLEX = {"complex64": "<f4", "complex128": "<f8"}


class NumpyMeasure:
    """A `Measure` for `rewrite`; of complex numbers it is the distance of a component.

    Raises TensorFlowError where NumPy isn't installed.
    """

    def __init__(self) -> None:
        try:
            import numpy as np
        except ImportError as error:
            raise TensorFlowError("numpy isn't installed", hint="pip install 'hubcli[tf]'") from error
        self._np: Any = np

    def __call__(self, dtype: DType, new: bytes, old: bytes) -> Distance:
        """As `hubcli.savedmodel.compare.diff.Measure` says."""
        np = self._np
        if dtype.name == "bfloat16":
            left, right = (
                (np.frombuffer(values, "<u2").astype("<u4") << 16).view("<f4") for values in (new, old)
            )
            return self._of_floats(left, right)
        layout = _FLOATS.get(dtype.name) or _COMPLEX.get(dtype.name)
        if layout is not None:
            return self._of_floats(np.frombuffer(new, layout), np.frombuffer(old, layout))
        if dtype.name in _INTEGERS:
            left, right = (np.frombuffer(values, _INTEGERS[dtype.name]) for values in (new, old))
            # The difference of two signed numbers needs a bit more than they have: unsigned it fits.
            high, low = np.maximum(left, right), np.minimum(left, right)
            unsigned = _INTEGERS[dtype.name].replace("i", "u")
            return Distance(float((high.view(unsigned) - low.view(unsigned)).max(initial=0)), is_finite=True)
        return Distance(None)

    def _of_floats(self, new: Any, old: Any) -> Distance:
        np = self._np
        with np.errstate(all="ignore"):
            changes = np.subtract(new, old, dtype=None if new.dtype.itemsize > 2 else "<f4")
            largest = float(max(changes.max(initial=0), -changes.min(initial=0)))
            if isfinite(largest):  # Neither NaN nor infinity is at a finite distance from anything.
                return Distance(largest, is_finite=True)
            # NaN shows in the maximum: only then is it looked for.
            return Distance(largest if largest == largest else float(np.nanmax(np.abs(changes), initial=0)))
