"""Which calls one function takes and another doesn't: judged by what can be called, trace by trace.

Argument lists of the same function are written in different ways by different
releases of TensorFlow: `(*args, **kwargs)` and `(args_0)` take the same one tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import Parameter, Signature
from typing import NamedTuple

from hubcli.savedmodel.functions import Function, FunctionVariant, ParameterList

__all__ = ["lost_calls"]

_MAX_NAMED = 64  # Of a trace with more arguments the first and the last call alone are tried.


class _Call(NamedTuple):
    """Arguments as text, as Python passes them."""

    args: tuple[str, ...]
    kwargs: Mapping[str, str]


def lost_calls(source: Function, result: Function) -> tuple[str, ...]:
    """The calls that reach a trace of `source`, and don't reach the same trace of `result`.

    Tried are the arguments of each trace by place and by name, with defaults
    and without. A call is told as Python would write it. Functions whose
    parameters aren't told must be equal.
    """
    ours, theirs = (_signature(one.parameter_list) for one in (source, result))
    if ours is None or theirs is None:
        same = (source.python_signature, set(map(_trace, source.variants)))
        is_equal = same == (result.python_signature, set(map(_trace, result.variants)))
        return () if is_equal else (source.python_signature,)
    reached = {_reached(theirs, _call(one), one) for one in result.variants} - {None}
    lost: dict[str, None] = {}
    for variant in source.variants:
        there = _reached(theirs, _call(variant), variant)
        for call in _calls(ours, variant):
            # Another default may lead to another trace, which is there as well.
            if there not in reached or _reached(theirs, call, variant) != there:
                lost[_text(source.path, call)] = None
    return tuple(lost)


def _trace(variant: FunctionVariant) -> str:
    return f"{_call(variant)} -> {variant.outputs}"


def _call(variant: FunctionVariant) -> _Call:
    return _Call(tuple(map(str, variant.args)), {name: str(one) for name, one in variant.kwargs})


def _calls(signature: Signature, variant: FunctionVariant) -> Iterator[_Call]:
    """The trace's own call first, then every other way to pass the same, as far as the signature takes it."""
    own = _call(variant)
    yield own
    names = [one.name for one in signature.parameters.values() if one.kind is one.POSITIONAL_OR_KEYWORD]
    if len(own.args) > len(names):  # Those before the unnamed ones have places alone.
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
    """What the function gets of the call, and what the trace gives; None where the call isn't taken."""
    try:
        bound = signature.bind(*call.args, **call.kwargs)
    except TypeError:
        return None
    bound.apply_defaults()
    return f"{bound.args} {sorted(bound.kwargs.items())} -> {variant.outputs}"


def _signature(parameters: ParameterList | None) -> Signature | None:
    """The parameters as Python's own; None where they aren't told, or none that Python could have."""
    if parameters is None:
        return None
    required = len(parameters.args) - len(parameters.defaults)
    usual, only, empty = Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY, Parameter.empty
    defaults = [empty] * required + [str(one) for one in parameters.defaults]
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
    return f"{path}({', '.join([*call.args, *(f'{name}={one}' for name, one in call.kwargs.items())])})"
