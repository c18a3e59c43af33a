"""When a function of the library runs: as the model is loaded, called or saved.

Found backwards, from a function to whoever names it: most functions are never asked about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple

from hubcli.errors import BrokenModelError
from hubcli.formats.schema import parse
from hubcli.savedmodel.graph import Body, Node
from hubcli.savedmodel.known_ops import takes_functions
from hubcli.savedmodel.objects import ObjectGraph
from hubcli.savedmodel.outline import MetaGraphOutline
from hubcli.savedmodel.signatures import INIT_OP

__all__ = ["Callers", "Moment"]

_LOADERS = frozenset({"_create_resource", "_initialize", "_destroy_resource", "_initializer"})
_INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op", "table_initializer")
# After so many looks into functions, one pass over all nodes takes less.
_MAX_LOOKS, _LOOKS_OF_A_PARSE = 50_000, 50
_MAX_EDGES = 1_000_000


class Moment(str, Enum):
    """When something runs."""

    LOAD = "when it is loaded"
    CALL = "when it is called"
    SAVE = "when it saves its variables"
    RESTORE = "when it restores its variables"


class _MainGraph(NamedTuple):
    """The graph itself: the inputs of each node, and the nodes that name each function as `callers` of it."""

    inputs: dict[str, list[str]]
    callers: dict[str, list[str]]


class Callers:
    """Who calls what in a MetaGraph."""

    def __init__(self, outline: MetaGraphOutline, objects: ObjectGraph | None) -> None:
        self._outline = outline
        self._objects = objects
        self._moments: dict[str, frozenset[Moment]] = {}
        self._looks = 0

    def moments(self, body: Body, node: Node) -> frozenset[Moment]:
        """When the node of that body runs, in a function with all of it; empty where nothing reaches it."""
        if body.is_function:
            return self._moments_of_function(body.name)
        return self._moments_of_nodes.get(node.name, frozenset())

    def _moments_of_function(self, name: str) -> frozenset[Moment]:
        """Walks up from the function through all that names it."""
        if name not in self._moments:
            found, seen, waiting = set[Moment](), {name}, [name]
            while waiting:
                if self._looks > _MAX_LOOKS:
                    return self._moments_of_all.get(name, frozenset())
                function = waiting.pop()
                if self._outline.objects_may_name(function):
                    found |= self._moments_of_objects.get(function, set())
                for node in self._main.callers.get(function, ()):
                    found |= self._moments_of_nodes.get(node, frozenset())
                callers = [body for body in self._callers_of(function) if body not in seen]
                seen.update(callers)
                waiting += callers
            self._moments[name] = frozenset(found)
        return self._moments[name]

    def _callers_of(self, function: str) -> list[str]:
        """The functions with a node that names the function, as its op or in an attribute."""
        bodies = self._outline.graph.bodies[1:]
        held = [body for body in bodies if body.name != function and body.may_hold(function)]
        self._looks += len(bodies) + _LOOKS_OF_A_PARSE * len(held)
        return [body.name for body in held if function in _named(body.nodes())]

    @cached_property
    def _moments_of_all(self) -> dict[str, frozenset[Moment]]:
        """When each function runs, found forwards, in one pass: for models where many are asked about."""
        callees = {body.name: _named(body.nodes()) for body in self._outline.graph.bodies[1:]}
        starts: dict[str, set[Moment]] = {
            name: set(found) for name, found in self._moments_of_objects.items()
        }
        for function, nodes in self._main.callers.items():
            for node in nodes:
                starts.setdefault(function, set()).update(self._moments_of_nodes.get(node, ()))
        reached: dict[str, set[Moment]] = {}
        for moment in Moment:
            waiting = [name for name, moments in starts.items() if moment in moments]
            while waiting:
                name = waiting.pop()
                if name in callees and moment not in reached.setdefault(name, set()):
                    reached[name].add(moment)
                    waiting += callees[name]
        return {name: frozenset(moments) for name, moments in reached.items()}

    @cached_property
    def _main(self) -> _MainGraph:
        inputs: dict[str, list[str]] = {}
        callers: dict[str, list[str]] = {}
        edges = 0
        for node in self._outline.graph.bodies[0].nodes():
            edges += node.input_count
            if edges > _MAX_EDGES:
                raise BrokenModelError(f"its graph has more than {_MAX_EDGES} edges")
            inputs[node.name] = node.inputs
            if takes_functions(node.op):
                for function in (node.op, *node.functions()):
                    callers.setdefault(function, []).append(node.name)
        return _MainGraph(inputs, callers)

    @cached_property
    def _moments_of_objects(self) -> dict[str, set[Moment]]:
        """When functions run that the object graph names: those of resources on load, others when called."""
        moments: dict[str, set[Moment]] = {}
        objects = self._objects
        if objects is None:
            return moments
        for child in objects.held_functions():
            moment = Moment.LOAD if child.name in _LOADERS else Moment.CALL
            for name in objects.concrete_names(child.node):
                moments.setdefault(name, set()).add(moment)
        for moment, savers in zip((Moment.SAVE, Moment.RESTORE), objects.saver_functions(), strict=True):
            for name in (name for saver in savers for name in objects.concrete_names(saver)):
                moments.setdefault(name, set()).add(moment)
        for name in objects.concrete_names(0):  # The root may be a function itself.
            moments.setdefault(name, set()).add(Moment.CALL)
        return moments

    @cached_property
    def _moments_of_nodes(self) -> dict[str, frozenset[Moment]]:
        """When each node of the graph itself runs: with everything that its inputs lead to."""
        inputs = self._main.inputs
        moments: dict[str, set[Moment]] = {}
        for moment, ends in self._ends().items():
            waiting = [end.lstrip("^").partition(":")[0] for end in ends]
            while waiting:
                name = waiting.pop()
                if name in inputs and moment not in moments.setdefault(name, set()):
                    moments[name].add(moment)
                    waiting += inputs[name]
        return {name: frozenset(found) for name, found in moments.items()}

    def _ends(self) -> dict[Moment, list[str]]:
        """The nodes that TensorFlow asks for, by the moment."""
        rest = self._outline.rest
        saver, definitions = rest.saver_def, rest.signature_def
        loading = [
            name
            for key in _INIT_COLLECTIONS
            if key in rest.collection_def
            for name in rest.collection_def[key].node_list.value
        ]
        init_ops = _tensors(definitions[INIT_OP].outputs.values()) if INIT_OP in definitions else []
        outputs = [
            name
            for key in definitions
            if key != INIT_OP
            for name in _tensors(definitions[key].outputs.values())
        ]
        return {
            Moment.SAVE: [saver.save_tensor_name, saver.filename_tensor_name],
            Moment.RESTORE: [saver.restore_op_name],
            Moment.LOAD: [*loading, *init_ops, *_initializers(rest.collection_def)],
            Moment.CALL: outputs,
        }


def _named(nodes: Iterable[Node]) -> set[str]:
    """What may be functions among the ops and attributes of the nodes."""
    return {name for node in nodes if takes_functions(node.op) for name in (node.op, *node.functions())}


def _tensors(infos: Iterable[Any]) -> list[str]:
    """Names of the tensors of outputs, of every kind."""
    names: list[str] = []
    for info in infos:
        sparse = info.coo_sparse
        names += [info.name, sparse.values_tensor_name, sparse.indices_tensor_name]
        names += [sparse.dense_shape_tensor_name, *_tensors(info.composite_tensor.components)]
    return [name for name in names if name]


def _initializers(collections: Any) -> Iterator[str]:
    """What sets variables to their first values: some of it runs when TensorFlow 2 loads a TF1 model."""
    for key in collections:
        if "variables" in key:
            for encoded in collections[key].bytes_list.value:
                yield parse("VariableDef", encoded).initializer_name
