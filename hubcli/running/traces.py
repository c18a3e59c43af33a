"""Traced functions: which trace the arguments mean, and what the C API needs to call it.

A Python argument, such as `training`, only chooses a trace: it has no values but those that were
traced. Source: tensorflow/python/saved_model/load.py and function_serialization.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hubcli.errors import BrokenModelError, UsageError, did_you_mean
from hubcli.formats.protos import parse
from hubcli.formats.tensor_layout import DType
from hubcli.running.captures import CannotBindError, Captures
from hubcli.running.endpoints import Binding, Endpoint, Port, composite_port
from hubcli.savedmodel.functions import Function, FunctionVariant
from hubcli.savedmodel.graph import GraphBody, MetaGraphOutline
from hubcli.savedmodel.objects import ObjectGraph
from hubcli.savedmodel.types import (
    Fields,
    Items,
    Literal,
    Structure,
    TensorSpec,
    TypeSpec,
    holds_tensors,
    python_text,
)

__all__ = ["all_traces", "choose_function", "function_endpoints", "trace_endpoint"]

_MAX_NEAREST = 5


class Trace(NamedTuple):
    """A trace with its arguments by name: those that hold tensors, and literal ones."""

    variant: FunctionVariant
    tensors: tuple[tuple[str, Structure], ...]
    literals: tuple[tuple[str, Structure], ...]
    place: int

    @property
    def text(self) -> str:
        """The arguments as Python writes them."""
        tensors = [f"{name}: {spec}" for name, spec in self.tensors]
        return f"({', '.join(tensors + [f'{name}={python_text(value)}' for name, value in self.literals])})"


def choose_function(functions: tuple[Function, ...], path: str, target: str) -> Function:
    """The function of that path. Raises UsageError, which lists what there is."""
    for function in functions:
        if function.path == path:
            return function
    paths = [function.path for function in functions]
    listed = ", ".join(paths[:20]) + (" …" if len(paths) > 20 else "")
    raise UsageError(
        f"{target} has no function '{path}'{did_you_mean(path, paths)}",
        hint=f"Its functions: {listed}" if paths else "Choose a signature: it has no functions.",
    )


def function_endpoints(
    function: Function,
    arguments: Mapping[str, Any],
    outline: MetaGraphOutline,
    objects: ObjectGraph,
    model: Path,
) -> list[Endpoint]:
    """The traces that the arguments allow, the best first: defaults before others, `training=False` too.

    Arguments are values of JSON. Raises UsageError if none was traced so, with the nearest.
    """
    traces = [_trace(function, variant, place) for place, variant in enumerate(function.variants)]
    if not traces:
        raise UsageError(
            f"The function {function.path} was never traced: the file has nothing to run",
            hint="List the traced functions: hubcli inspect MODEL --functions",
        )
    defaults = _defaults(function)
    fitting = [trace for trace in traces if _fits(trace, arguments)]
    if not fitting:
        raise _no_such_trace(function, traces, arguments)
    fitting.sort(key=lambda trace: _strangeness(trace, arguments, defaults))
    least = _strangeness(fitting[0], arguments, defaults)
    chosen = [trace for trace in fitting if _strangeness(trace, arguments, defaults) == least]
    captures = Captures(outline, objects, model)
    return [trace_endpoint(function.path, trace, outline, captures) for trace in chosen]


def all_traces(function: Function, outline: MetaGraphOutline, captures: Captures) -> list[Endpoint]:
    """An endpoint for each trace of the function, in their order."""
    return [
        trace_endpoint(function.path, _trace(function, variant, place), outline, captures)
        for place, variant in enumerate(function.variants)
    ]


def _trace(function: Function, variant: FunctionVariant, place: int) -> Trace:
    tensors: list[tuple[str, Structure]] = []
    literals: list[tuple[str, Structure]] = []
    names = function.parameters or ()
    named = [
        (names[place] if place < len(names) else f"arg{place}", value)
        for place, value in enumerate(variant.args)
    ]
    for name, value in (*named, *sorted(variant.kwargs)):
        (tensors if holds_tensors(value) else literals).append((name, value))
    return Trace(variant, tuple(tensors), tuple(literals), place)


def _defaults(function: Function) -> dict[str, Structure]:
    parameters = function.parameter_list
    if parameters is None:
        return {}
    with_default = parameters.args[len(parameters.args) - len(parameters.defaults) :]
    return dict(zip(with_default, parameters.defaults, strict=True)) | parameters.keyword_defaults


def _fits(trace: Trace, arguments: Mapping[str, Any]) -> bool:
    literals = dict(trace.literals)
    return all(name in literals and _equals(literals[name], value) for name, value in arguments.items())


def _equals(literal: Structure, value: Any) -> bool:
    """Whether a value of JSON is the literal; numbers by value, true and false apart from them."""
    if isinstance(literal, Literal):
        own = literal.value
        if isinstance(own, bool) or isinstance(value, bool) or own is None or isinstance(own, str):
            return type(own) is type(value) and own == value
        return isinstance(value, (int, float)) and bool(own == value)
    if isinstance(literal, Items) and isinstance(value, list):
        return len(literal.items) == len(value) and all(map(_equals, literal.items, value))
    if isinstance(literal, Fields) and isinstance(value, dict):
        items = dict(literal.items)
        return items.keys() == value.keys() and all(_equals(items[key], value[key]) for key in items)
    return isinstance(value, str) and value == str(literal)


def _strangeness(trace: Trace, arguments: Mapping[str, Any], defaults: Mapping[str, Structure]) -> int:
    """How many literals that no argument sets differ from their defaults; `training=True` counts as two."""
    strange = 0
    for name, value in trace.literals:
        if name in arguments:
            continue
        if name == "training":
            strange += 2 * (value == Literal(True))
        elif name in defaults:
            strange += value != defaults[name]
    return strange


def _no_such_trace(function: Function, traces: list[Trace], arguments: Mapping[str, Any]) -> UsageError:
    def misses(trace: Trace) -> int:
        literals = dict(trace.literals)
        return sum(name not in literals or not _equals(literals[name], arguments[name]) for name in arguments)

    import json

    given = ", ".join(f"{name}={json.dumps(value)}" for name, value in arguments.items())
    known = sorted({name for trace in traces for name, _ in trace.literals})
    unknown = next((name for name in arguments if name not in known), None)
    nearest = sorted(traces, key=misses)[:_MAX_NEAREST]
    listed = "; ".join(dict.fromkeys(trace.text for trace in nearest))
    message = f"{function.path} was not traced with {given}"
    if unknown is not None and any(unknown == name for trace in traces for name, _ in trace.tensors):
        message = f"{unknown} of {function.path} is a tensor: use --input, not --arg"
    elif unknown is not None:
        message = f"{function.path} has no Python argument '{unknown}'{did_you_mean(unknown, known)}"
    return UsageError(message, hint=f"The closest traces: {listed}")


def trace_endpoint(path: str, trace: Trace, outline: MetaGraphOutline, bound: Captures) -> Endpoint:
    """The endpoint of a trace: ports from its structures, types from the function in the library."""
    variant = trace.variant
    body = outline.graph.functions.get(variant.name)
    if body is None:
        raise BrokenModelError(f"its function {variant.name} is not in the graph's library")
    input_types, output_types = _types(body)
    own = input_types[: len(input_types) - len(variant.captures)]
    inputs = _ports(_flat_arguments(trace), own)
    outputs = _ports(list(_flat_outputs(variant.outputs)), output_types)
    obstacle, captures = "", list[str]()
    if inputs is None or outputs is None:
        obstacle = "its arguments do not match its graph"
    else:
        try:
            captures = bound.tensors(variant.captures)
        except CannotBindError as error:
            obstacle = str(error)
    literals = tuple((name, python_text(value)) for name, value in trace.literals)
    binding = Binding(variant.name, tuple(captures), input_types, output_types, obstacle, trace.place)
    return Endpoint("function", path, inputs or (), outputs or (), call=literals, binding=binding)


def _types(body: GraphBody) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The types of the function's arguments, captures among them, and of its results."""
    signature = body.signature()
    arguments, results = (
        tuple(int(parse("ArgDef", encoded).type) for encoded in encoded_args)
        for encoded_args in (signature.input_arg, signature.output_arg)
    )
    return arguments, results


def _flat_arguments(trace: Trace) -> list[tuple[str, Structure]]:
    """Each tensor by a dotted name, in the order of the function's inputs."""
    by_name = dict(trace.tensors)
    return [found for name, value in by_name.items() for found in _flattened(name, value)]


def _flat_outputs(outputs: Structure | None) -> Iterator[tuple[str, Structure]]:
    """Each result by its key, or by its place as `output_0`, as signatures name them."""
    if outputs is None:
        return
    if isinstance(outputs, (TensorSpec, TypeSpec)):
        yield "output_0", outputs
    elif isinstance(outputs, Items):
        for place, item in enumerate(outputs.items):
            yield from _flattened(f"output_{place}", item)
    elif isinstance(outputs, Fields):
        for name, item in outputs.items:
            yield from _flattened(name, item)


def _flattened(name: str, value: Structure) -> Iterator[tuple[str, Structure]]:
    if isinstance(value, (TensorSpec, TypeSpec)):
        yield name, value
    elif isinstance(value, Items):
        for place, item in enumerate(value.items):
            yield from _flattened(f"{name}.{place}", item)
    elif isinstance(value, Fields):
        for key, item in value.items:
            yield from _flattened(f"{name}.{key}", item)


def _ports(specs: list[tuple[str, Structure]], types: tuple[int, ...]) -> tuple[Port, ...] | None:
    """The ports of the specs, which take the types in their order; None if they don't fit."""
    ports, place = list[Port](), 0
    for name, spec in specs:
        if isinstance(spec, TensorSpec):
            count = 1
        else:
            assert isinstance(spec, TypeSpec)
            if spec.class_name not in ("RaggedTensorSpec", "SparseTensorSpec"):
                # The file doesn't say how many tensors another type has.
                ports.append(composite_port(name, spec, types))
                return tuple(ports) if len(specs) == 1 else None
            count = 3 if spec.class_name == "SparseTensorSpec" else 1 + (spec.ragged_rank or 0)
        own = types[place : place + count]
        if len(own) < count:
            return None
        if isinstance(spec, TensorSpec):
            ports.append(Port(name, DType.of(own[0]), spec.shape))
        else:
            ports.append(composite_port(name, spec, own))
        place += count
    return tuple(ports) if place == len(types) else None
