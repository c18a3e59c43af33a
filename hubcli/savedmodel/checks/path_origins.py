"""Whether the path that an op opens is from TensorFlow itself, or may be any path.

TensorFlow provides paths at two places. While it loads a model, it feeds the declared assets
(`asset_file_def`), and binds the asset objects that functions capture; TensorFlow 2 passes them to the graph
through variables (save.py). When it saves or restores variables, it feeds the saver's file name. A path is
proven if only these can reach the op; a pattern that isn't known counts as any path. Sources:
tensorflow/python/saved_model/loader_impl.py, load.py, save.py, tensorflow/cc/saved_model/loader_util.cc.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from enum import Enum
from functools import cached_property
from typing import NamedTuple

from hubcli.formats.wire import encode_field
from hubcli.savedmodel.checks.call_graph import CallGraph, NodeCall, calls_by
from hubcli.savedmodel.graph import Graph, GraphBody, MetaGraphOutline, fed_assets_of
from hubcli.savedmodel.nodes import FieldRun, Node
from hubcli.savedmodel.objects import ObjectGraph

__all__ = ["PathOrigins", "PathSource"]

_HANDLES = frozenset({"VarHandleOp", "_VarHandlesOp", "_XlaAotOnlyVarHandleOp"})
_MAX_VALUES = 10
_ASSIGN, _HARMLESS = "AssignVariableOp", ("ReadVariableOp", "VarIsInitializedOp")
_OPS = _HANDLES | {_ASSIGN, *_HARMLESS}


class _AssetVariables:
    """The values assigned to variables of a graph, by their handle nodes; the graph is read when needed."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._is_read = False

    @property
    def unread_bytes(self) -> int:
        """How many bytes the next call of `values` will parse."""
        return 0 if self._is_read else 2 * self._graph.bodies[0].size_bytes

    def values(self, handle: str) -> list[str]:
        """All tensors that are assigned to the variable of that handle; empty if they are unknown."""
        if not _OPS.isdisjoint(self._graph.functions):
            return []  # A function of that name takes precedence over the op, and may assign any value.
        self._is_read = True
        name = handle.removesuffix(":0")
        variable = self._handles.get(name)
        if not variable or self._handle_counts[variable] > 1 or variable in self._named_in_functions:
            return []
        return self._assigned.get(name) or []

    @cached_property
    def _handles(self) -> dict[str, str]:
        """The variable of each handle of the graph itself; "" if it isn't known."""
        nodes = self._graph.bodies[0].nodes_of_ops(_HANDLES)
        return {node.name: _variable_of(node) for node in nodes}

    @cached_property
    def _handle_counts(self) -> Counter[str]:
        return Counter(self._handles.values())

    @cached_property
    def _assigned(self) -> dict[str, list[str] | None]:
        """What is assigned to the variable of each handle; None for one that other ops use too."""
        handles = self._handles
        assigned: dict[str, list[str] | None] = {name: [] for name in handles}
        for node in self._graph.bodies[0].nodes():
            op, inputs = node.op, node.sources
            if op in _HARMLESS:
                continue
            names = [text.partition(":")[0] for text in inputs]
            values = assigned.get(names[0]) if op == _ASSIGN and len(names) == 2 else None
            is_assigned = values is not None and len(values) < _MAX_VALUES
            if values is not None and is_assigned:
                values.append(inputs[1])
            # Any other op may do anything with its handles.
            assigned.update((name, None) for name in names[is_assigned:] if name in handles)
        return assigned

    @cached_property
    def _named_in_functions(self) -> frozenset[str]:
        """The variables that functions name themselves; all of them if one of those names is unknown."""
        nodes = (node for body in self._graph.bodies[1:] for node in body.nodes_of_ops(_HANDLES))
        names = {_variable_of(node) if node.text("shared_name") else "" for node in nodes}
        return frozenset(names if "" not in names else {*names, *self._handles.values()})


def _variable_of(node: Node) -> str:
    """The name by which TensorFlow shares the variable; "" if it may be several or in a container."""
    if node.op != "VarHandleOp" or not node.is_empty_text("container"):
        return ""
    if node.is_empty_text("shared_name"):
        return node.name
    return node.text("shared_name") or ""


# Ops that return their input.
_PASSED_THROUGH = ("Identity", "StopGradient")
_READ = "ReadVariableOp"
# Real models need far less: a path takes some ten steps from its source to the op.
_MAX_STEPS, _MAX_PARSED_BYTES, _MAX_SEARCHED_BYTES = 50_000, 1 << 23, 1 << 30
_MAX_PARTS, _LARGE_NODE_COST, _PIECE_BYTES = 8, 1 << 12, 1 << 19
_MAX_KEPT, _MAX_SUFFIX_CHARACTERS, _MAX_SUFFIXES = 8, 1000, 8

Tensor = tuple[GraphBody, str]


class PathSource(Enum):
    """The paths that TensorFlow itself provides."""

    ASSET = "an asset, fed or bound while the model is loaded"
    SAVER = "the file name that the saver is given"


class _Inputs(NamedTuple):
    """The places of a function's inputs by name, and the objects that are bound to the last of them.

    `is_unclear` if one of them stands for several tensors, so that a place doesn't identify one.
    """

    places: dict[str, int]
    is_unclear: bool
    captures: list[int]


class _Nodes:
    """Nodes by name, looked up in a piece of a body at a time; the last pieces are kept."""

    def __init__(self) -> None:
        self._recent: OrderedDict[tuple[GraphBody, FieldRun], dict[str, Node]] = OrderedDict()
        self.parsed_bytes = self.searched_bytes = 0

    def find(self, body: GraphBody, name: str) -> Node | None:
        """The node of that name; TensorFlow refuses a body with two."""
        for (owner, _), nodes in self._recent.items():
            if owner is body and name in nodes:
                return nodes[name]
        # A node whose name protobuf would encode in another way isn't found, and so not proven.
        encoded = encode_field(1, name)
        for piece in body.pieces:
            size = piece.end - piece.start
            self.searched_bytes += size if piece.large_node is None else _LARGE_NODE_COST
            if (body, piece) not in self._recent and piece.holds(encoded, body.data):
                nodes = self._keep(body, piece)
                if name in nodes:
                    return nodes[name]
        return None

    def _keep(self, body: GraphBody, piece: FieldRun) -> dict[str, Node]:
        self.parsed_bytes += piece.end - piece.start if piece.large_node is None else _LARGE_NODE_COST
        nodes = {node.name: node for node in body.nodes_of(piece)}
        self._recent[(body, piece)] = nodes
        if len(self._recent) > _MAX_KEPT:
            self._recent.popitem(last=False)
        return nodes


class PathOrigins:
    """The proofs for one MetaGraph; each tensor is examined once."""

    def __init__(self, outline: MetaGraphOutline, objects: ObjectGraph | None, callers: CallGraph) -> None:
        self._graph = outline.graph
        self._objects = objects
        self._callers = callers
        self._asset_count = len(outline.rest.asset_file_def)
        self._variables = _AssetVariables(outline.graph)
        self._fed = {
            PathSource.ASSET: {_with_port(asset.tensor_info.name) for asset in fed_assets_of(outline)},
            PathSource.SAVER: {_with_port(outline.rest.saver_def.filename_tensor_name)},
        }
        self._proven: dict[PathSource, set[Tensor]] = {source: set() for source in PathSource}
        self._free: dict[PathSource, set[Tensor]] = {source: set() for source in PathSource}
        self._inputs: dict[GraphBody, _Inputs] = {}
        self._calls: dict[tuple[GraphBody, str], list[NodeCall]] = {}
        self._nodes = _Nodes()
        self._steps, self._parsed_bytes = 0, 0

    def are_from(self, source: PathSource, body: GraphBody, node: Node, places: Iterable[int]) -> bool:
        """Whether the inputs of the node at those places can only be paths of that source."""
        tensors = node.sources
        return all(place < len(tensors) and self._is_from(source, (body, tensors[place])) for place in places)

    def _is_from(self, source: PathSource, tensor: Tensor) -> bool:
        """Walks from the tensor to all that it can come from, until something is not proven."""
        proven, free = self._proven[source], self._free[source]
        needed_by: dict[Tensor, Tensor | None] = {tensor: None}
        waiting = [tensor]
        while waiting:
            current: Tensor | None = waiting.pop()
            assert current is not None
            if current in proven:
                continue
            needed = None if current in free or self._is_exhausted() else self._needed(source, *current)
            if needed is None:
                while current is not None:  # The same is true of all tensors that need this one.
                    free.add(current)
                    current = needed_by[current]
                return False
            for need in needed:
                if need not in needed_by:
                    needed_by[need] = current
                    waiting.append(need)
        proven.update(needed_by)
        return True

    def _is_exhausted(self) -> bool:
        return (
            self._steps > _MAX_STEPS
            or self._parsed_bytes + self._nodes.parsed_bytes > _MAX_PARSED_BYTES
            or self._nodes.searched_bytes > _MAX_SEARCHED_BYTES
        )

    def _needed(self, source: PathSource, body: GraphBody, text: str) -> list[Tensor] | None:
        """The tensors that must be proven for this one to be; None if it can't be proven."""
        self._steps += 1
        if body.is_function:
            place = self._inputs_of(body).places.get(text.partition(":")[0])
            if place is not None:
                return self._needed_of_input(source, body, place)
        elif _with_port(text) in self._fed[source]:
            return []
        node = self._nodes.find(body, text.partition(":")[0])
        return None if node is None else self._needed_of_node(source, body, node)

    def _needed_of_node(self, source: PathSource, body: GraphBody, node: Node) -> list[Tensor] | None:
        op, inputs = node.op, [(body, text) for text in node.sources]
        if op in self._graph.functions or not inputs:
            return None  # A function of that name takes precedence over the op.
        if op in _PASSED_THROUGH:
            return inputs[:1]
        if source is PathSource.ASSET:
            # TensorFlow 2 passes assets to its graph through variables.
            if op != _READ or body.is_function:
                return None
            self._parsed_bytes += self._variables.unread_bytes
            values = self._variables.values(inputs[0][1])
            return None if not values else [(body, text) for text in values]
        if op == "ShardedFilename":
            return inputs[:1]
        if op == "Pack":
            return inputs
        if op == "StringJoin" and len(inputs) <= _MAX_PARTS and node.is_empty_text("separator"):
            parts = [self._constants(body, text) for _, text in inputs[1:]]
            return inputs[:1] if all(parts) and _are_harmless(parts) else None
        return None

    def _constants(self, body: GraphBody, text: str) -> list[str]:
        """The constants that the tensor can be; empty if it can be something else."""
        node = self._nodes.find(body, text.partition(":")[0])
        if node is None or node.op in self._graph.functions:
            return []
        if node.op not in ("Select", "SelectV2"):
            return _constant(node)
        choices = [self._nodes.find(body, choice.partition(":")[0]) for choice in node.sources[1:3]]
        texts = [
            _constant(choice)
            for choice in choices
            if choice is not None and choice.op not in self._graph.functions
        ]
        return [tensor for choice in texts for tensor in choice] if len(texts) == 2 and all(texts) else []

    def _needed_of_input(self, source: PathSource, body: GraphBody, place: int) -> list[Tensor] | None:
        """The tensors that all callers of the function pass at that place; None if they are unknown."""
        name = body.name
        if name in self._callers.free or self._inputs_of(body).is_unclear:
            return None
        is_held = self._callers.is_held(name)
        if is_held and not (source is PathSource.ASSET and self._is_captured_asset(body, place)):
            return None
        needed: dict[Tensor, None] = {}
        for caller in self._bodies_calling(name):
            calls = [] if self._is_exhausted() else self._calls_of(caller, name)
            self._steps += 1 + len(calls)
            for call in calls or [NodeCall([], None)]:
                given = call.source(place)
                result = None if call.loop_body is None else self._result(call.loop_body, place)
                if given is None or (result is None and call.loop_body is not None):
                    return None
                needed[(caller, given)] = None
                if result is not None:
                    needed[result] = None
        return list(needed) if needed or is_held else None

    def _bodies_calling(self, name: str) -> Iterator[GraphBody]:
        if self._callers.nodes_calling(name):
            yield self._graph.bodies[0]
        yield from self._callers.functions_calling(name)

    def _calls_of(self, body: GraphBody, function: str) -> list[NodeCall]:
        """How the nodes of the body call the function; empty if they are too many to examine."""
        key = body, function
        if key not in self._calls:
            self._calls[key] = self._find_calls(body, function)
        return self._calls[key]

    def _find_calls(self, body: GraphBody, function: str) -> list[NodeCall]:
        if body.is_function:
            self._parsed_bytes += 4 * body.size_bytes  # All of its nodes are looked at.
            nodes: Iterable[Node | None] = (
                node for node in body.nodes() if node.op == function or function in node.functions()
            )
        else:
            names = dict.fromkeys(self._callers.nodes_calling(function))
            nodes = (self._nodes.find(body, name) for name in names)
        calls: list[NodeCall] = []
        for node in nodes:
            self._steps += 1 if node is None else 1 + node.input_count
            if node is None or self._is_exhausted():
                return []
            calls += calls_by(node, function)
            self._steps += len(calls)
        return calls

    def _inputs_of(self, body: GraphBody) -> _Inputs:
        if body not in self._inputs:
            self._parsed_bytes += min(body.size_bytes, _PIECE_BYTES)
            objects = self._objects
            function = None if objects is None else objects.concrete_function(body.name)
            inputs = body.inputs()
            places = {argument.name: place for place, argument in enumerate(inputs)}
            stands_for_several = any(argument.number_attr or argument.type_list_attr for argument in inputs)
            is_unclear = len(places) < len(inputs) or stands_for_several
            captures = [] if function is None else list(function.bound_inputs)
            self._inputs[body] = _Inputs(places, is_unclear, captures)
        return self._inputs[body]

    def _result(self, function: str, place: int) -> Tensor | None:
        """The tensor that the function returns at that place; None if it is unknown."""
        body = self._graph.functions.get(function)
        if body is None or function in self._callers.free:
            return None
        self._parsed_bytes += body.size_bytes
        names, results = body.output_names(), body.results()
        text = results.get(names[place]) if place < len(names) else None
        return None if text is None else (body, text)

    def _is_captured_asset(self, body: GraphBody, place: int) -> bool:
        """Whether the object graph binds an asset to the input: captures are the last inputs."""
        objects, inputs = self._objects, self._inputs_of(body)
        captured = place - len(inputs.places) + len(inputs.captures)
        node = inputs.captures[captured] if 0 <= captured < len(inputs.captures) else -1
        return (
            objects is not None and 0 <= node < len(objects) and objects.is_asset_of(node, self._asset_count)
        )


def _with_port(name: str) -> str:
    """The full name of the tensor: that of a node's first output may lack its number."""
    return name if ":" in name else f"{name}:0"


def _constant(node: Node) -> list[str]:
    texts = (node.strings("value") or []) if node.op == "Const" else []
    return [text.decode("utf-8", "replace") for text in texts] if len(texts) == 1 else []


def _are_harmless(parts: list[list[str]]) -> bool:
    """Whether a file name with any of these suffixes stays in its directory or below."""
    texts = [""]
    for part in parts:
        texts = [before + text for before in texts for text in part]
        if len(texts) > _MAX_SUFFIXES or any(len(text) > _MAX_SUFFIX_CHARACTERS for text in texts):
            return False
    # The name may end in a dot itself.
    return not any(".." in text or text == "." or text.startswith("./") or "\0" in text for text in texts)
