"""When functions of the library run: when the model is loaded, called, saved or restored.

Found in one pass over all nodes that name functions, however densely they call each other.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple

from hubcli.errors import BrokenModelError
from hubcli.formats.protos import parse
from hubcli.savedmodel.functions import INIT_OP
from hubcli.savedmodel.graph import GraphBody, MetaGraphOutline
from hubcli.savedmodel.nodes import Node, is_known, takes_functions
from hubcli.savedmodel.objects import ObjectGraph

__all__ = ["CallGraph", "ExecutionPhase", "NodeCall", "calls_by"]

_LOADERS = frozenset({"_create_resource", "_initialize", "_destroy_resource", "_initializer"})
_INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op", "table_initializer")
_MAX_EDGES, _MAX_MENTIONS = 1_000_000, 200_000
# Functions of one `api_implements` stand for each other (grappler's implementation_selector).
_IMPLEMENTS = "api_implements"


class ExecutionPhase(str, Enum):
    """When something runs."""

    LOAD = "when it is loaded"
    CALL = "when it is called"
    SAVE = "when it saves its variables"
    RESTORE = "when it restores its variables"


# A set of phases as a number, with a bit for each, and the sets by their numbers: many nodes have equal ones.
_BITS = {phase: 1 << place for place, phase in enumerate(ExecutionPhase)}
_PHASES = [
    frozenset(phase for phase, bit in _BITS.items() if mask & bit) for mask in range(1 << len(ExecutionPhase))
]


class _MainGraph(NamedTuple):
    """The graph itself: the inputs of each node, and for each function the nodes that name it (`callers`)."""

    inputs: dict[str, tuple[str, ...]]
    callers: dict[str, list[str]]


class _Calls(NamedTuple):
    """Calls between functions of the library.

    Each name has a number, bodies of one name share it. `callees` are the numbers of the functions that a
    function names, `callers` the places in the library of the bodies that name it.
    """

    numbers: dict[str, int]
    callees: list[array[int]]
    callers: list[array[int]]


class CallGraph:
    """Which functions call which in a MetaGraph."""

    def __init__(self, outline: MetaGraphOutline, objects: ObjectGraph | None) -> None:
        self._outline = outline
        self._objects = objects

    def phases(self, body: GraphBody, node: Node) -> frozenset[ExecutionPhase]:
        """When the node of that body runs, in a function when that does; empty for never."""
        masks, name = (
            (self._masks_of_functions, body.name) if body.is_function else (self._masks_of_nodes, node.name)
        )
        return _PHASES[masks.get(name, 0)]

    def nodes_calling(self, function: str) -> list[str]:
        """The nodes of the graph itself that name the function, each as often as it does."""
        return self._main.callers.get(function, [])

    def functions_calling(self, function: str) -> Iterator[GraphBody]:
        """The functions with a node that names the function, in file order."""
        bodies, calls = self._outline.graph.bodies, self._calls
        number = calls.numbers.get(function)
        for place in () if number is None else calls.callers[number]:
            yield bodies[1 + place]

    def is_held(self, function: str) -> bool:
        """Whether an object holds the function, so that Python or the loader may call it."""
        return function in self._masks_of_objects

    @cached_property
    def free(self) -> frozenset[str]:
        """Functions that TensorFlow may call without a node that names them, with any inputs.

        These are functions of gradients, functions that implement one interface, several of one name, and
        those named like an op, whose calls look like that op.
        """
        graph = self._outline.graph
        bodies = graph.bodies[1:]
        free = set(graph.gradient_functions)
        if graph.may_hold(_IMPLEMENTS):
            free |= {body.name for body in bodies if body.may_hold(_IMPLEMENTS)}
        seen = set[str]()
        for body in bodies:
            if body.name in seen or is_known(body.name):
                free.add(body.name)
            seen.add(body.name)
        return frozenset(free)

    @cached_property
    def _calls(self) -> _Calls:
        bodies = self._outline.graph.bodies[1:]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(body.name for body in bodies))}
        callees = [array("i") for _ in numbers]
        callers = [array("i") for _ in numbers]
        mentions = 0
        for place, body in enumerate(bodies):
            named = [numbers[name] for name in body.named_functions() if name in numbers]
            found, mentions = set(named), mentions + len(named)
            if mentions > _MAX_MENTIONS:
                raise BrokenModelError(f"its functions call others at more than {_MAX_MENTIONS} places")
            callees[numbers[body.name]].extend(sorted(found))
            for number in found:
                callers[number].append(place)
        return _Calls(numbers, callees, callers)

    @cached_property
    def _masks_of_functions(self) -> dict[str, int]:
        """When each function runs: those that objects and the graph name, and their transitive callees."""
        numbers, callees, _ = self._calls
        reached = [0] * len(numbers)
        for name, mask in self._starts().items():
            if name in numbers:
                reached[numbers[name]] |= mask
        waiting = [number for number, mask in enumerate(reached) if mask]
        while waiting:
            # A function comes here again only when a phase was added: four times at most.
            number = waiting.pop()
            mask = reached[number]
            for callee in callees[number]:
                if mask & ~reached[callee]:
                    reached[callee] |= mask
                    waiting.append(callee)
        return {name: reached[number] for name, number in numbers.items()}

    def _starts(self) -> dict[str, int]:
        """The phases of functions that nodes of the graph itself, objects or TensorFlow call directly."""
        starts = dict(self._masks_of_objects)
        for function, nodes in self._main.callers.items():
            for node in nodes:
                starts[function] = starts.get(function, 0) | self._masks_of_nodes.get(node, 0)
        for function in self.free:
            starts[function] = starts.get(function, 0) | _BITS[ExecutionPhase.CALL]
        return starts

    @cached_property
    def _main(self) -> _MainGraph:
        inputs: dict[str, tuple[str, ...]] = {}
        callers: dict[str, list[str]] = {}
        edges = 0
        for node in self._outline.graph.bodies[0].nodes():
            edges += node.input_count
            if edges > _MAX_EDGES:
                raise BrokenModelError(f"its graph has more than {_MAX_EDGES} edges")
            # A tuple of texts, unlike a list, costs the garbage collector nothing.
            inputs[node.name] = tuple(node.inputs)
            if takes_functions(node.op):
                for function in (node.op, *node.functions()):
                    callers.setdefault(function, []).append(node.name)
        return _MainGraph(inputs, callers)

    @cached_property
    def _masks_of_objects(self) -> dict[str, int]:
        """The phases of functions that objects hold: on load for those of resources, on call for others."""
        masks: dict[str, int] = {}
        objects = self._objects
        if objects is None:
            return masks
        load, call = _BITS[ExecutionPhase.LOAD], _BITS[ExecutionPhase.CALL]
        for held_as, names in objects.held_functions():
            bit = load if held_as in _LOADERS else call
            for name in names:
                masks[name] = masks.get(name, 0) | bit
        for phase, savers in zip(
            (ExecutionPhase.SAVE, ExecutionPhase.RESTORE), objects.saver_functions(), strict=True
        ):
            for name in (name for saver in savers for name in objects.concrete_names(saver)):
                masks[name] = masks.get(name, 0) | _BITS[phase]
        for name in objects.concrete_names(0):  # The root may be a function itself.
            masks[name] = masks.get(name, 0) | call
        return masks

    @cached_property
    def _masks_of_nodes(self) -> dict[str, int]:
        """The phases of each node of the graph itself: those of all nodes that depend on it."""
        inputs = self._main.inputs
        masks: dict[str, int] = {}
        for phase, ends in self._ends().items():
            bit, waiting = _BITS[phase], [end.lstrip("^").partition(":")[0] for end in ends]
            while waiting:
                name = waiting.pop()
                if name in inputs and not masks.get(name, 0) & bit:
                    masks[name] = masks.get(name, 0) | bit
                    waiting += inputs[name]
        return masks

    def _ends(self) -> dict[ExecutionPhase, list[str]]:
        """The tensors and ops that TensorFlow runs directly, by phase."""
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
            ExecutionPhase.SAVE: [saver.save_tensor_name, saver.filename_tensor_name],
            ExecutionPhase.RESTORE: [saver.restore_op_name],
            ExecutionPhase.LOAD: [*loading, *init_ops, *_initializers(rest.collection_def)],
            ExecutionPhase.CALL: outputs,
        }


def _tensors(infos: Iterable[Any]) -> list[str]:
    """Names of the tensors in these TensorInfos: dense, sparse and composite ones."""
    names: list[str] = []
    for info in infos:
        sparse = info.coo_sparse
        names += [info.name, sparse.values_tensor_name, sparse.indices_tensor_name]
        names += [sparse.dense_shape_tensor_name, *_tensors(info.composite_tensor.components)]
    return [name for name in names if name]


def _initializers(collections: Any) -> Iterator[str]:
    """The initializers of variables, some of which run when TensorFlow 2 loads a TF1 model."""
    for key in collections:
        if "variables" in key:
            for encoded in collections[key].bytes_list.value:
                yield parse("VariableDef", encoded).initializer_name


# The place of the input that is the first argument of the function, by op and attribute.
_INPUTS_FROM = {
    ("PartitionedCall", "f"): 0,
    ("StatefulPartitionedCall", "f"): 0,
    ("If", "then_branch"): 1,
    ("If", "else_branch"): 1,
    ("StatelessIf", "then_branch"): 1,
    ("StatelessIf", "else_branch"): 1,
    ("Case", "branches"): 1,
    ("StatelessCase", "branches"): 1,
}
_LOOPS = {("While", "cond"), ("While", "body"), ("StatelessWhile", "cond"), ("StatelessWhile", "body")}


class NodeCall(NamedTuple):
    """A call of a function by a node: `first` is the place of its first argument among the node's sources.

    It is None if the arguments are unknown. `loop_body` is the function whose results are the next arguments.
    """

    sources: list[str]
    first: int | None = 0
    loop_body: str | None = None

    def source(self, place: int) -> str | None:
        """The tensor that is the argument at that place; None if it is unknown."""
        if self.first is None or self.first + place >= len(self.sources):
            return None
        return self.sources[self.first + place]


def calls_by(node: Node, function: str) -> Iterator[NodeCall]:
    """How the node calls the function, once for each time that it names it."""
    sources = node.sources
    if node.op == function:
        yield NodeCall(sources)
    for mention in node.mentions(function):
        key = node.op, mention.attribute
        body = node.function("body") if key in _LOOPS else None
        if mention.is_nested:
            yield NodeCall(sources, None)
        elif body is not None:
            yield NodeCall(sources, 0, body)
        else:
            yield NodeCall(sources, _INPUTS_FROM.get(key))
