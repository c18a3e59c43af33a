"""What a model needs of its loader: ops, element types, attributes and devices, each with its places.

One walk over all nodes. A place is in the graph itself, in a function that the graph calls, or in one that
the graph doesn't reach: loaders differ in which of these they load.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from hubcli.errors import BrokenModelError
from hubcli.formats.wire import VARINT, read_varint, scan
from hubcli.savedmodel.graph import GraphBody, MetaGraphOutline
from hubcli.savedmodel.nodes import Node
from hubcli.savedmodel.targets.releases import OpReleases

__all__ = ["VARIABLE_OPS", "GraphNeeds", "Place", "Reach", "Uses", "read_needs"]

_TYPE, _LIST, _TYPE_OF_LIST = 6, 1, 6  # of AttrValue and its ListValue
_TYPE_TAGS = (b"\x30", b"\x0a")  # The first byte of an AttrValue with a type, or with a list.
_OLDEST_LATER_TYPE = 24  # float8_e5m2; all before are in every release
_MAX_TYPES = 1000
_MAX_DEVICES, _MAX_TYPE_USES = 1000, 10_000
VARIABLE_OPS = frozenset({"VarHandleOp", "VariableV2", "Variable"})


class Reach(IntEnum):
    """Where a node stands, as seen from the graph itself."""

    GRAPH = 0
    CALLED = 1
    UNREACHED = 2


class Place(NamedTuple):
    """A node; `function` is "" for one of the graph itself."""

    function: str
    node: str


class Uses:
    """How often something is used, and its first place of each reach."""

    __slots__ = ("count", "places")

    def __init__(self) -> None:
        self.count = 0
        self.places: list[Place | None] = [None, None, None]

    def add(self, reach: Reach, body: GraphBody, node: str) -> None:
        """One more use."""
        self.count += 1
        if self.places[reach] is None:
            self.places[reach] = Place(body.name, node)

    def first(self, *reaches: Reach) -> Place | None:
        """The first place within those reaches, or within all if none is given."""
        return next(
            (place for reach in reaches or Reach if (place := self.places[reach]) is not None),
            None,
        )


class GraphNeeds(NamedTuple):
    """What a MetaGraph uses.

    `types` are element types that some release lacks, by number; `narrowed` has op, attribute and type where
    releases differ in the allowed types; `attributes` has op and attribute that some release lacks, with a
    value that isn't the default. `devices` are those that nodes request, and `variable_devices` those that
    variables of the graph itself request.
    """

    ops: dict[str, Uses]
    types: dict[int, Uses]
    narrowed: dict[tuple[str, str, int], Uses]
    attributes: dict[tuple[str, str], Uses]
    devices: dict[str, Uses]
    variable_devices: set[str]


def read_needs(outline: MetaGraphOutline, table: OpReleases) -> GraphNeeds:
    """What the MetaGraph uses. Raises BrokenModelError for one that is damaged or absurdly large."""
    graph = outline.graph
    assert graph.op_counts  # Bounds the number of nodes and ops.
    called = _called(outline)
    walk = _Walk(table, frozenset(graph.functions))
    for body in graph.bodies:
        reach = Reach.GRAPH
        if body.is_function:
            reach = Reach.CALLED if body.name in called else Reach.UNREACHED
        walk.add(body, reach)
    return walk.needs


def _called(outline: MetaGraphOutline) -> set[str]:
    """The functions that the graph itself reaches."""
    functions = outline.graph.functions
    waiting, called = [outline.graph.bodies[0]], set[str]()
    while waiting:
        for name in waiting.pop().named_functions():
            if name in functions and name not in called:
                called.add(name)
                waiting.append(functions[name])
    return called


class _Walk:
    """The walk over the nodes of one MetaGraph."""

    def __init__(self, table: OpReleases, functions: frozenset[str]) -> None:
        self.needs = GraphNeeds({}, {}, {}, {}, {}, set())
        self._table = table
        self._functions = functions
        self._later = dict[str, dict[str, bytes]]()
        self._changed = dict[str, frozenset[str]]()

    def add(self, body: GraphBody, reach: Reach) -> None:
        """Notes what the nodes of that body use."""
        needs = self.needs
        for node in body.nodes():
            op, name = node.op, node.name
            if op in self._functions:
                continue
            if op not in self._later:
                self._look_up(op)
            needs.ops[op].add(reach, body, name)
            if node.device:
                self._add_device(node, reach, body)
            later, changed = self._later[op], self._changed[op]
            for key, value in node.attributes():
                # An empty value is of a kind that hubcli doesn't read from the text format.
                if key in later and value and value != later[key]:
                    needs.attributes.setdefault((op, key), Uses()).add(reach, body, name)
                for number in _types_in(value) if value[:1] in _TYPE_TAGS else ():
                    if number >= _OLDEST_LATER_TYPE:
                        needs.types.setdefault(number, Uses()).add(reach, body, name)
                    if key in changed:
                        needs.narrowed.setdefault((op, key, number), Uses()).add(reach, body, name)
            if len(needs.types) + len(needs.narrowed) > _MAX_TYPE_USES:
                raise BrokenModelError(f"its graph uses element types in more than {_MAX_TYPE_USES} ways")

    def _add_device(self, node: Node, reach: Reach, body: GraphBody) -> None:
        devices = self.needs.devices
        if node.device not in devices and len(devices) >= _MAX_DEVICES:
            raise BrokenModelError(f"its graph names more than {_MAX_DEVICES} devices")
        devices.setdefault(node.device, Uses()).add(reach, body, node.name)
        if reach is Reach.GRAPH and node.op in VARIABLE_OPS:
            self.needs.variable_devices.add(node.device)

    def _look_up(self, op: str) -> None:
        self.needs.ops[op] = Uses()
        later = self._table.later_attributes(op)
        self._later[op] = {name: attribute.default for name, attribute in later.items()}
        self._changed[op] = frozenset(self._table.allowed_types(op))


@lru_cache(maxsize=4096)
def _types_in(value: bytes) -> tuple[int, ...]:
    """The numbers of the element types in an AttrValue: one, or a list; a reference has that of its type."""
    # A model with many variables is saved by one node that lists the type of each: few types, many times.
    numbers = dict[int, None]()
    for number in _numbers_in(value):
        numbers[number - 100 if 100 < number < 200 else number] = None
        if len(numbers) > _MAX_TYPES:
            raise BrokenModelError(f"An attribute lists more than {_MAX_TYPES} types")
    return tuple(numbers)


def _numbers_in(value: bytes) -> Iterator[int]:
    for field in scan(value):
        if field.number == _TYPE and field.wire_type == VARINT:
            yield field.value
        elif field.is_message(_LIST):
            yield from _listed_types(value[field.start : field.end])


def _listed_types(value: bytes) -> Iterator[int]:
    for field in scan(value):
        if field.number != _TYPE_OF_LIST:
            continue
        if field.wire_type == VARINT:
            yield field.value
        else:
            position = field.start
            while position < field.end:
                number, position = read_varint(value, position)
                yield number
