"""Prunes the object graph to what its signatures need: captured variables, tables, assets, and paths to them.

TensorFlow finds an object's values by the names on its path from the root, in saved_model.pb and in the
checkpoint's own object graph. So each kept object keeps one path that both have; the other objects on it
become plain objects. Sources: tensorflow/python/saved_model/load.py,
tensorflow/python/checkpoint/restore.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from hubcli.errors import BrokenModelError
from hubcli.formats.wire import encode_field
from hubcli.formats.wire_message import WireMessage
from hubcli.savedmodel.edit.editable import EditableMetaGraph, Loss, children_of

__all__ = ["KeptObjects", "prune_checkpoint_objects", "prune_objects"]

_CHILDREN, _SLOTS, _SAVEABLES, _DEPENDENCIES = 1, 3, 11, 15  # of SavedObject
_USER_OBJECT, _FUNCTION, _VARIABLE, _BARE, _CONSTANT, _CAPTURED = 4, 6, 7, 8, 9, 12
_NODES, _CONCRETE = 1, 2  # of SavedObjectGraph
_BOUND_INPUTS = 2  # of SavedConcreteFunction
_KEY, _VALUE = 1, 2
_ATTRIBUTES, _CHECKPOINT_SLOTS = 2, 3  # of TrackableObject
# A SavedUserObject: its identifier, and the version 1 that it has from the beginning.
_PLAIN = encode_field(1, "_generic_user_object") + encode_field(2, encode_field(1, 1) + encode_field(2, 1))


_Parents: TypeAlias = dict[int, tuple[int, str]]


@dataclass
class KeptObjects:
    """The kept objects by number: those `needed` unchanged, and the steps to them, as (parent, name, child).

    `functions` are concrete functions. `pairs` maps numbers to those of the checkpoint's objects with the
    same path. `unpaired` are needed variables without a path that the checkpoint has too.
    """

    needed: set[int] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    routes: list[tuple[int, str, int]] = field(default_factory=list)
    pairs: dict[int, int] = field(default_factory=dict)
    unpaired: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, graph: EditableMetaGraph, checkpoint: WireMessage | None) -> KeptObjects:
        """What the signatures of the graph need. Raises BrokenModelError for numbers of no object."""
        objects = graph.objects()
        retained = cls()
        if not objects:
            return retained
        concrete: dict[str, list[int]] = {}
        for part in graph.object_graphs():
            for entry in part.messages(_CONCRETE):
                for value in entry.messages(_VALUE):
                    concrete.setdefault(entry.text(_KEY), []).extend(value.integers(_BOUND_INPUTS))
        for name, number in children_of(objects[0]):
            if name == "signatures":
                retained.routes.append((0, name, number))
                retained._add(number, objects, concrete)
        retained._find_paths(objects, checkpoint)
        return retained

    @property
    def numbers(self) -> list[int]:
        """All objects that stay, the root first."""
        on_routes = (number for parent, _, child in self.routes for number in (parent, child))
        return sorted({0, *self.needed, *on_routes})

    def keep_variables(self, graph: EditableMetaGraph) -> None:
        """Keeps every variable, those of optimizers included, with its path from the root."""
        objects = graph.objects()
        parents = _walk(objects, None, {})
        for number, saved in enumerate(objects):
            if saved.has(_VARIABLE) and number in parents:
                self.needed.add(number)
        self._connect(parents, {})

    def _add(self, start: int, objects: list[WireMessage], concrete: dict[str, list[int]]) -> None:
        waiting = [start]
        while waiting:
            number = waiting.pop()
            if number in self.needed:
                continue
            if not 0 <= number < len(objects):
                raise BrokenModelError(f"its object graph names an object {number} of {len(objects)}")
            self.needed.add(number)
            waiting += _referred(objects[number])
            for name in _concrete_names(objects[number]):
                self.functions.add(name)
                waiting += concrete.get(name, ())

    def _find_paths(self, objects: list[WireMessage], checkpoint: WireMessage | None) -> None:
        saved = [] if checkpoint is None else list(checkpoint.messages(1))
        # The shortest paths that both graphs have; for other objects, any path.
        parents = _walk(objects, saved, self.pairs) if saved else {}
        self.unpaired = {
            number for number in self.needed if objects[number].has(_VARIABLE) and number not in self.pairs
        }
        others = _walk(objects, None, {}) if any(number not in parents for number in self.needed) else {}
        self._connect(parents, others)

    def _connect(self, parents: _Parents, others: _Parents) -> None:
        """Adds the paths from the root to needed objects; an object that only functions use may have none."""
        on_way = {child for _, _, child in self.routes} | {0}
        for needed in sorted(self.needed):
            number = needed
            while number not in on_way:
                step = parents.get(number) or others.get(number)
                if step is None:
                    break
                on_way.add(number)
                self.routes.append((step[0], step[1], number))
                number = step[0]


def _walk(objects: list[WireMessage], saved: list[WireMessage] | None, pairs: dict[int, int]) -> _Parents:
    """By number the parent and name of each object that is reached, and its pair in `saved`."""
    parents: _Parents = {}
    # Read once for each object: many objects of a hostile model may share one with many children.
    children: dict[int, dict[str, int]] = {}
    pairs[0] = 0
    waiting = deque([0])
    while waiting:
        number = waiting.popleft()
        pair = pairs[number]
        if saved is not None and pair not in children:
            children[pair] = dict(children_of(saved[pair]))
        for name, child in children_of(objects[number]):
            if child in pairs or not 0 <= child < len(objects):
                continue
            other = 0 if saved is None else children[pair].get(name, -1)
            if saved is not None and not 0 <= other < len(saved):
                continue
            pairs[child], parents[child] = other, (number, name)
            waiting.append(child)
    return parents


def _referred(saved: WireMessage) -> Iterator[int]:
    """The objects that an object needs."""
    for number in (_CHILDREN, _DEPENDENCIES):
        yield from (child.integer(1) for child in saved.messages(number))
    for entry in saved.messages(_SAVEABLES):
        for value in entry.messages(_VALUE):
            yield from (value.integer(number) for number in (2, 3) if value.has(number))


def _concrete_names(saved: WireMessage) -> Iterator[str]:
    """The concrete functions that an object is, or captures a tensor of."""
    for function in saved.messages(_FUNCTION):
        yield from function.texts(1)
    for function in saved.messages(_BARE):
        yield from function.texts(1)
    for captured in saved.messages(_CAPTURED):
        yield from captured.texts(2)


def prune_objects(graph: EditableMetaGraph, retained: KeptObjects) -> list[Loss]:
    """Removes all but the kept objects from the graph, and renumbers these."""
    objects = graph.objects()
    numbers = retained.numbers
    places = {number: place for place, number in enumerate(numbers)}
    callables = [
        name
        for name, child in children_of(objects[0])
        if child < len(objects) and objects[child].has(_FUNCTION)
    ]
    steps: dict[int, set[tuple[str, int]]] = {}
    for parent, name, child in retained.routes:
        steps.setdefault(parent, set()).add((name, places[child]))
    encoded = []
    for number in numbers:
        if number in retained.needed:
            encoded.append(_renumbered(objects[number], places))
        else:
            children = b"".join(
                encode_field(_CHILDREN, _reference(name, child))
                for name, child in sorted(steps.get(number, ()))
            )
            encoded.append(children + encode_field(_USER_OBJECT, _PLAIN))
    first = True
    for part in graph.object_graphs():
        part.replace(_NODES, b"".join(encode_field(_NODES, node) for node in encoded) if first else b"")
        first = False
        part.remove_messages(_CONCRETE, lambda entry: entry.text(_KEY) not in retained.functions)
        for entry in part.messages(_CONCRETE):
            for value in entry.messages(_VALUE):
                bound = [places[number] for number in value.integers(_BOUND_INPUTS)]
                value.put_integers(_BOUND_INPUTS, bound)
    losses = [Loss("objects", "object", len(objects) - len(numbers))]
    if callables:
        losses.append(Loss("callables", "callable function", len(callables), tuple(callables[:20])))
    return [loss for loss in losses if loss.count]


def _reference(name: str, child: int) -> bytes:
    number = encode_field(1, child) if child else b""
    return number + encode_field(2, name.encode("utf-8", "surrogateescape"))


def _renumbered(saved: WireMessage, places: dict[int, int]) -> bytes:
    copied = saved.copy()
    for number in (_CHILDREN, _DEPENDENCIES):
        for child in copied.messages(number):
            child.put_integer(1, places[child.integer(1)])
    for entry in copied.messages(_SAVEABLES):
        for value in entry.messages(_VALUE):
            for number in (2, 3):
                if value.has(number):
                    value.put_integer(number, places[value.integer(number)])
    copied.clear(_SLOTS)
    return copied.encode()


def prune_checkpoint_objects(checkpoint: WireMessage, retained: KeptObjects) -> bytes:
    """The checkpoint's object graph with only the kept objects, renumbered.

    Raises BrokenModelError if it has not even the root.
    """
    saved = list(checkpoint.messages(1))
    if not saved:
        raise BrokenModelError("the object graph of its checkpoint has no objects")
    numbers = sorted(
        {0, *(retained.pairs[number] for number in retained.numbers if number in retained.pairs)}
    )
    places = {number: place for place, number in enumerate(numbers)}
    encoded = []
    for number in numbers:
        node = saved[number].copy()
        node.clear(_CHECKPOINT_SLOTS)
        node.remove_messages(_CHILDREN, lambda child: child.integer(1) not in places)
        for child in node.messages(_CHILDREN):
            child.put_integer(1, places[child.integer(1)])
        encoded.append(encode_field(1, node.encode()))
    return b"".join(encoded)


def owned_keys(checkpoint: WireMessage) -> dict[str, set[int]]:
    """Which objects of the checkpoint each of its keys belongs to."""
    owners: dict[str, set[int]] = {}
    for number, node in enumerate(checkpoint.messages(1)):
        for attribute in node.messages(_ATTRIBUTES):
            owners.setdefault(attribute.text(3), set()).add(number)
    return owners
