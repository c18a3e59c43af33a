"""Verifies that an export preserves its source's interface and, but for values, its bytes.

Functions are compared by the calls that reach each trace: releases of TensorFlow write the parameters of
the same function in different ways, such as `(*args, **kwargs)` and `(args_0)` for one tensor.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence, Set
from inspect import Parameter, Signature
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from hubcli.errors import TensorFlowError
from hubcli.formats import INDEX_FILE
from hubcli.formats.tensor_bundle import BundleEntry, BundleIndex
from hubcli.regular_file import open_regular, read_regular
from hubcli.savedmodel.compare.diff import Difference, compare
from hubcli.savedmodel.functions import Function, FunctionVariant, ParameterList
from hubcli.savedmodel.layout import ModelFormat
from hubcli.savedmodel.model import SavedModelInfo
from hubcli.savedmodel.variables import VariableLists
from hubcli.units import plural

__all__ = ["lost_calls", "verify_interface_preserved", "verify_only_values_changed"]

_MAX_LISTED = 3


def verify_interface_preserved(source: SavedModelInfo, result: SavedModelInfo) -> tuple[Difference, ...]:
    """The differences that are allowed, without those of values.

    These are: TensorFlow's version, a plain object instead of a Keras model, parameters that still accept
    every call of the source, and an optimizer's variables. Raises TensorFlowError if a caller, a trainer or
    a server would miss something of the source.
    """
    slots = {variable.path for info in (source, result) for variable in info.variables if variable.is_slot}
    equal = _equal_functions(source, result)
    found = [difference for difference in compare(source, result) if difference.part != "value"]
    found += _lists(source.lists, result.lists)
    lost = [difference for difference in found if not _may_differ(difference, slots, equal)]
    if lost:
        parts = "; ".join(map(_difference_text, islice(lost, _MAX_LISTED)))
        more = f"; and {len(lost) - _MAX_LISTED} more" if len(lost) > _MAX_LISTED else ""
        raise TensorFlowError(
            f"Saved again, the model differs: {parts}{more}",
            hint="Change only the values, which loses nothing: --method rewrite",
        )
    return tuple(found)


def _lists(source: VariableLists, result: VariableLists) -> Iterator[Difference]:
    """Lists of the root that differ, also in their order alone: the order of weights depends on it."""
    for name in ("variables", "trainable_variables"):
        ours, theirs = getattr(source, name), getattr(result, name)
        if ours != theirs:
            texts = (None if paths is None else ", ".join(paths) for paths in (ours, theirs))
            yield Difference("list", name, *texts)
    if source.losses != result.losses:
        losses = (plural(lists.losses, "function") for lists in (source, result))
        yield Difference("list", "regularization_losses", *losses)


def _equal_functions(source: SavedModelInfo, result: SavedModelInfo) -> tuple[str, ...]:
    """Paths of the functions that accept every call that they accepted."""
    there = {function.path: function for function in result.functions}
    return tuple(
        function.path
        for function in source.functions
        if function.path in there and not lost_calls(function, there[function.path])
    )


def _may_differ(difference: Difference, slots: Set[str], equal: Sequence[str]) -> bool:
    if difference.part == "format":
        return bool(difference.left == ModelFormat.KERAS_2.value)
    if difference.part == "function":
        # A trace is named by the path of its function and its arguments.
        return any(difference.name == path or difference.name.startswith(f"{path}(") for path in equal)
    if difference.part == "variable":
        return difference.name in slots
    return difference.part == "version"


def _difference_text(difference: Difference) -> str:
    name = f"{difference.part} {difference.name}".strip()
    if difference.right is None:
        return f"{name} is gone"
    if difference.left is None:
        return f"{name} is new"
    return f"{name} was {difference.left} and is {difference.right}"


_READ_BYTES = 1 << 18
_RENEWED = ("fingerprint.pb",)  # It holds a hash of the checkpoint.


def verify_only_values_changed(source: Path, result: Path) -> None:
    """Raises TensorFlowError unless every file of the two directories is the same except the checkpoint.

    Its tensors must have the same names, types, shapes and slices. Raises OSError.
    """
    shards = {f"variables/{path.name}" for path in (source / "variables").glob("variables.data-*")}
    names = _files(source)
    if names != _files(result):
        raise _differs(", ".join(sorted(names ^ _files(result))))
    for name in sorted(names - shards - {INDEX_FILE, *_RENEWED}):
        if not _is_same(source / name, result / name):
            raise _differs(name)
    ours, theirs = (BundleIndex.read(read_regular(folder / INDEX_FILE)) for folder in (source, result))
    for entry, other in zip(ours.entries, theirs.entries, strict=False):
        if _identity(entry) != _identity(other):
            raise _differs(f"{INDEX_FILE}: {entry.name}")
    if len(ours.entries) != len(theirs.entries):
        raise _differs(INDEX_FILE)


def _is_same(path: Path, other: Path) -> bool:
    """Whether the two files hold the same bytes."""
    with open_regular(path) as ours, open_regular(other) as theirs:
        if os.fstat(ours.fileno()).st_size != os.fstat(theirs.fileno()).st_size:
            return False
        while piece := ours.read(_READ_BYTES):
            if piece != theirs.read(_READ_BYTES):
                return False
        return not theirs.read(1)


def _identity(entry: BundleEntry) -> tuple[object, ...]:
    return entry.key, entry.dtype, entry.shape, entry.slices


def _files(model: Path) -> set[str]:
    return {
        Path(folder, name).relative_to(model).as_posix()
        for folder, _, files in os.walk(model)
        for name in files
    }


def _differs(what: str) -> TensorFlowError:
    return TensorFlowError(
        f"The rewritten model differs from its source in more than values: {what}",
        hint="Check whether the source changed, and run the command again.",
    )


_MAX_NAMED = 64  # For a trace with more arguments, only the first and the last way to pass them are tried.


class _Call(NamedTuple):
    """The arguments of a call, as text."""

    args: tuple[str, ...]
    kwargs: Mapping[str, str]


def lost_calls(source: Function, result: Function) -> tuple[str, ...]:
    """The calls that reach a trace of `source`, and don't reach the same trace of `result`.

    The arguments of each trace are tried by place and by name, with defaults and without. A call is returned
    as Python code. Functions whose parameters are unknown must be equal.
    """
    ours, theirs = (_signature(function.parameter_list) for function in (source, result))
    if ours is None or theirs is None:
        same = (source.python_signature, set(map(_trace, source.variants)))
        is_equal = same == (result.python_signature, set(map(_trace, result.variants)))
        return () if is_equal else (source.python_signature,)
    reached = {_reached(theirs, _call(variant), variant) for variant in result.variants} - {None}
    lost: dict[str, None] = {}
    for variant in source.variants:
        there = _reached(theirs, _call(variant), variant)
        for call in _calls(ours, variant):
            # With another default it may reach another trace of the result.
            if there not in reached or _reached(theirs, call, variant) != there:
                lost[_text(source.path, call)] = None
    return tuple(lost)


def _trace(variant: FunctionVariant) -> str:
    return f"{_call(variant)} -> {variant.outputs}"


def _call(variant: FunctionVariant) -> _Call:
    return _Call(tuple(map(str, variant.args)), {name: str(argument) for name, argument in variant.kwargs})


def _calls(signature: Signature, variant: FunctionVariant) -> Iterator[_Call]:
    """The trace's own call, then every other way to pass the same arguments that the signature accepts."""
    own = _call(variant)
    yield own
    names = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    if len(own.args) > len(names):  # With unnamed arguments, all before them are passed by place.
        return
    counts = range(len(own.args) + 1)
    for count in counts if len(own.args) <= _MAX_NAMED else (0, len(own.args)):
        named = {**dict(zip(names[count:], own.args[count:], strict=False)), **own.kwargs}
        needed = {
            name: value
            for name, value in named.items()
            if name not in signature.parameters or signature.parameters[name].default != value
        }
        for kwargs in (named, needed):
            call = _Call(own.args[:count], kwargs)
            if _reached(signature, call, variant) == _reached(signature, own, variant) is not None:
                yield call


def _reached(signature: Signature, call: _Call, variant: FunctionVariant) -> str | None:
    """The bound arguments of the call, and the trace's outputs; None if the call isn't accepted."""
    try:
        bound = signature.bind(*call.args, **call.kwargs)
    except TypeError:
        return None
    bound.apply_defaults()
    return f"{bound.args} {sorted(bound.kwargs.items())} -> {variant.outputs}"


def _signature(parameters: ParameterList | None) -> Signature | None:
    """The parameters as an inspect.Signature; None if they are unknown or invalid."""
    if parameters is None:
        return None
    required = len(parameters.args) - len(parameters.defaults)
    usual, only, empty = Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY, Parameter.empty
    defaults = [empty] * required + [str(default) for default in parameters.defaults]
    try:
        found = [
            Parameter(name, usual, default=default)
            for name, default in zip(parameters.args, defaults, strict=True)
        ]
        found += [Parameter(parameters.varargs, Parameter.VAR_POSITIONAL)] if parameters.varargs else []
        for name in parameters.keyword_only:
            default = parameters.keyword_defaults.get(name)
            found.append(Parameter(name, only, default=empty if default is None else str(default)))
        found += [Parameter(parameters.varkw, Parameter.VAR_KEYWORD)] if parameters.varkw else []
        return Signature(found)
    except ValueError:
        return None


def _text(path: str, call: _Call) -> str:
    return f"{path}({', '.join([*call.args, *(f'{name}={value}' for name, value in call.kwargs.items())])})"
