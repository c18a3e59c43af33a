"""Whether two SavedModels describe the same objects and functions; names of functions may differ.

TensorFlow loads two models of the same structure in the same way: after one of them was loaded, loading the
other would test nothing but its values. Source: tensorflow/python/saved_model/load.py and
function_deserialization.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from hubcli.formats.protos import parse
from hubcli.savedmodel.graph import GraphBody, MetaGraphOutline, fed_assets_of
from hubcli.savedmodel.nodes import Node, parse_merged
from hubcli.savedmodel.objects import ObjectGraph

__all__ = ["structural_difference"]

# Saving writes these again: signatures as wrappers around the old ones, and TensorFlow's own attributes of an
# object or a function, which it never reads.
_ANEW, _OWN = "signatures", "_self_saveable_object_factories"
_OWN_OF_FUNCTIONS = ("trace_", "capture_")
# The class under which any plain object is saved, and that of a captured constant.
_PLAIN_OBJECT, _CONSTANT = "_generic_user_object", "tf.TrackableConstant"
_FUNCTIONS = ("function", "bare_concrete_function")
_K = TypeVar("_K", int, str)


def structural_difference(source: MetaGraphOutline, result: MetaGraphOutline) -> str:
    """The first difference, as a phrase; "" if there is none.

    Objects are compared from the root, by their names: kinds, classes, types and shapes of variables, files
    of assets, functions with all their nodes, what each trace captures. Signatures and values are left out.
    Raises BrokenModelError where a graph can't be read.
    """
    if source.objects is None or result.objects is None:
        return "a graph without objects"
    try:
        _Comparison(source, result).run()
    except _DiffersError as error:
        return str(error)
    return ""


class _DiffersError(Exception):
    """What differs, as a phrase."""


class _Pairs(Generic[_K]):
    """Pairs found so far, each with its path; each is compared once, those in `waiting` later."""

    def __init__(self, difference: str) -> None:
        self._difference = difference
        self._known: dict[_K, _K] = {}
        self.waiting: deque[tuple[_K, _K, str]] = deque()

    def add(self, ours: _K, theirs: _K, path: str) -> None:
        """Raises _DiffersError where ours is paired with another."""
        is_new = ours not in self._known
        if self._known.setdefault(ours, theirs) != theirs:
            raise _DiffersError(f"{path} {self._difference}")
        if is_new:
            self.waiting.append((ours, theirs, path))


class _Comparison:
    """Compares from the root on, object by object and function by function."""

    def __init__(self, source: MetaGraphOutline, result: MetaGraphOutline) -> None:
        self._outlines = source, result
        self._objects = ObjectGraph(source.objects), ObjectGraph(result.objects)
        self._libraries = source.graph.functions, result.graph.functions
        self._assets = fed_assets_of(source), fed_assets_of(result)
        self._object_pairs = _Pairs[int]("is not the same object")
        self._function_pairs = _Pairs[str]("calls another function")
        self._variables: dict[int, int] = {}  # Two variables of the source must not become one.

    def run(self) -> None:
        """Raises _DiffersError."""
        self._object_pairs.add(0, 0, "the root")
        while self._object_pairs.waiting or self._function_pairs.waiting:
            if self._function_pairs.waiting:
                self._compare_functions(*self._function_pairs.waiting.popleft())
            else:
                self._compare_objects(*self._object_pairs.waiting.popleft())

    def _compare_objects(self, ours: int, theirs: int, path: str) -> None:
        left, right = self._objects
        kind, other = left.kind(ours), right.kind(theirs)
        if kind != other or kind is None:
            raise _DiffersError(f"{path} is of the kind {other}, not {kind}")
        registered, before = right.registered_name(theirs), left.registered_name(ours)
        if registered and registered not in (before, _CONSTANT):
            raise _DiffersError(f"{path} is of the registered class {registered}")
        children, others = (
            _children(graph, node) for graph, node in zip(self._objects, (ours, theirs), strict=True)
        )
        if children.keys() != others.keys():
            names = ", ".join(sorted(children.keys() ^ others.keys())[:3])
            raise _DiffersError(f"{path} has other parts: {names}")
        for name, child in children.items():
            self._object_pairs.add(child, others[name], name if not ours else f"{path}.{name}")
        self._compare_savers(ours, theirs, path)
        self._compare_content(kind, ours, theirs, path)

    def _compare_savers(self, ours: int, theirs: int, path: str) -> None:
        """The functions that save and restore an object other than a variable, such as a table."""
        left, right = (
            graph.saveables(node) for graph, node in zip(self._objects, (ours, theirs), strict=True)
        )
        if left.keys() != right.keys():
            raise _DiffersError(f"{path} is saved in another way")
        for name, functions in left.items():
            for function, other in zip(functions, right[name], strict=True):
                self._object_pairs.add(function, other, f"what saves {path}")

    def _compare_content(self, kind: str, ours: int, theirs: int, path: str) -> None:
        left, right = self._objects
        content, other = left.content(ours), right.content(theirs)
        is_same = True
        if kind == "variable":
            is_same = _variable(content) == _variable(other)
            if self._variables.setdefault(theirs, ours) != ours:
                raise _DiffersError(f"{path} is a variable that has another path too")
        elif kind == "user_object":
            is_same = other.identifier in (content.identifier, _PLAIN_OBJECT)
        elif kind == "resource":
            is_same = content.device == other.device
        elif kind == "asset":
            is_same = self._asset(0, content) == self._asset(1, other) is not None
        elif kind in _FUNCTIONS:
            self._compare_traces(left.concrete_names(ours), right.concrete_names(theirs), path)
        elif kind == "captured_tensor":
            is_same = content.name == other.name
            self._function_pairs.add(content.concrete_function, other.concrete_function, path)
        if not is_same:
            raise _DiffersError(f"the {kind} {path} differs")

    def _asset(self, side: int, content: Any) -> str | None:
        assets, number = self._assets[side], content.asset_file_def_index
        return str(assets[number].filename) if 0 <= number < len(assets) else None

    def _compare_traces(self, ours: list[str], theirs: list[str], path: str) -> None:
        if len(ours) != len(theirs):
            raise _DiffersError(f"{path} has {len(theirs)} traces instead of {len(ours)}")
        for name, other_name in zip(ours, theirs, strict=True):
            trace, other = (
                graph.concrete_function(text)
                for graph, text in zip(self._objects, (name, other_name), strict=True)
            )
            if trace is None or other is None:
                raise _DiffersError(f"{path} has a trace that is not described")
            if (
                trace.canonicalized_input_signature != other.canonicalized_input_signature
                or trace.output_signature != other.output_signature
            ):
                raise _DiffersError(f"{path} takes or gives something else")
            if len(trace.bound_inputs) != len(other.bound_inputs):
                raise _DiffersError(f"{path} captures something else")
            for place, pair in enumerate(zip(trace.bound_inputs, other.bound_inputs, strict=True)):
                if not all(0 <= node < len(graph) for node, graph in zip(pair, self._objects, strict=True)):
                    raise _DiffersError(f"{path} captures an object that is not there")
                self._object_pairs.add(*pair, f"capture {place} of {path}")
            self._function_pairs.add(name, other_name, path)

    def _compare_functions(self, ours: str, theirs: str, path: str) -> None:
        body, other = (
            library.get(name) for library, name in zip(self._libraries, (ours, theirs), strict=True)
        )
        if body is None or other is None:
            raise _DiffersError(f"{path} calls a function that is not in the library")
        if _arguments(body) != _arguments(other):
            raise _DiffersError(f"{path} has arguments of another order or type")
        nodes, others = body.by_name, other.by_name
        if nodes.keys() != others.keys():
            raise _DiffersError(
                f"{path} has other nodes: {', '.join(sorted(nodes.keys() ^ others.keys())[:3])}"
            )
        for name, node in nodes.items():
            self._compare_nodes(node, others[name], path)
        if body.results() != other.results():
            raise _DiffersError(f"{path} gives other tensors")

    def _compare_nodes(self, node: Node, other: Node, path: str) -> None:
        where = f"the node {node.name} of {path}"
        if node.op != other.op:
            if not all(
                own.op in library for own, library in zip((node, other), self._libraries, strict=True)
            ):
                raise _DiffersError(f"{where} has another op: {other.op}")
            self._function_pairs.add(node.op, other.op, path)
        if node.operands != other.operands:
            raise _DiffersError(f"{where} has other inputs")
        attributes, others = dict(node.attributes()), dict(other.attributes())
        if attributes == others:
            return
        if attributes.keys() != others.keys():
            raise _DiffersError(f"{where} has other attributes")
        for key, value in attributes.items():
            if value != others[key]:
                self._compare_attribute(value, others[key], f"{key} of {where}", path)

    def _compare_attribute(self, value: bytes, other: bytes, where: str, path: str) -> None:
        """Attributes that are functions may have other names, if the functions themselves are the same."""
        left, right = (parse_merged("AttrValue", encoded) for encoded in (value, other))
        ours, theirs = (
            [message.func] if message.HasField("func") else list(message.list.func)
            for message in (left, right)
        )
        if not ours or len(ours) != len(theirs):
            raise _DiffersError(f"{where} differs")
        for function, counterpart in zip(ours, theirs, strict=True):
            if dict(function.attr) != dict(counterpart.attr):
                raise _DiffersError(f"{where} differs")
            if function.name or counterpart.name:
                self._function_pairs.add(function.name, counterpart.name, path)


def _children(graph: ObjectGraph, node: int) -> Mapping[str, int]:
    is_function = graph.kind(node) in _FUNCTIONS
    return {
        child.name: child.node
        for child in graph.children(node)
        if child.name != _OWN
        and not (is_function and child.name.startswith(_OWN_OF_FUNCTIONS))
        and not (not node and child.name == _ANEW)
    }


def _arguments(body: GraphBody) -> list[list[tuple[str, int]]]:
    """Names and types of the function's inputs and outputs."""
    signature = body.signature()
    return [
        [(each.name, each.type) for each in (parse("ArgDef", encoded) for encoded in part)]
        for part in (signature.input_arg, signature.output_arg)
    ]


def _variable(content: Any) -> tuple[Any, ...]:
    return content.dtype, content.shape, content.trainable, content.name
