"""The object graph of a TensorFlow 2 SavedModel: the objects below the root, and their names.

Source: tensorflow/core/protobuf/saved_object_graph.proto and
tensorflow/python/saved_model/load.py.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

from hubcli.errors import BrokenModelError
from hubcli.formats.protos import parse

__all__ = ["LISTS", "Child", "HeldFunction", "ObjectGraph", "path_order"]

_MAX_DEPTH, _MAX_FUNCTION_BYTES = 200, 4 << 20
_MAX_NODES, _MAX_CHILDREN, _MAX_PATH = 200_000, 400_000, 4096
_FUNCTIONS = ("function", "bare_concrete_function")
# Identifiers of objects whose items are reached by brackets.
_SEQUENCES = ("trackable_list_wrapper", "trackable_tuple_wrapper")
_MAPPINGS = ("trackable_dict_wrapper",)
LISTS = ("variables", "trainable_variables", "regularization_losses")
# An object that has another name, too, is known by that one.
_SECOND_NAMES = frozenset(
    {
        *LISTS,
        "keras_api",
        "signatures",
        "layers",
        "non_trainable_variables",
        "_all_variables",
        "_trainable_variables",
        "_non_trainable_variables",
        "_tracked",
    }
)


class Child(NamedTuple):
    """An object with the name of the attribute, key or place that holds it."""

    name: str
    node: int


class Slot(NamedTuple):
    """What an optimizer keeps for a variable: the slot's name, the variable's and the optimizer's number."""

    name: str
    variable: int
    optimizer: int


class HeldFunction(NamedTuple):
    """A function that an object holds: its path from the root, how Python reaches it, its number."""

    path: str
    access: str
    node: int


def path_order(path: str) -> tuple[bool, list[tuple[bool, int, str]]]:
    """A key that sorts paths for people: numbers by value, and Keras's own objects last.

    >>> sorted(["b.10", "b.9", "keras_api.a"], key=path_order)
    ['b.9', 'b.10', 'keras_api.a']
    """
    parts = path.split(".")
    return parts[0] == "keras_api", [
        (part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts
    ]


class ObjectGraph:
    """The objects, numbered; 0 is the root, which `tf.saved_model.load` returns."""

    def __init__(self, message: Any) -> None:
        """Raises BrokenModelError if there is no root, or a child that doesn't exist."""
        count = len(message.nodes)
        if not count:
            raise BrokenModelError("its object graph has no root")
        if count > _MAX_NODES:
            raise BrokenModelError("its object graph is too large")
        self._nodes = list(message.nodes)
        self._concrete_functions = message.concrete_functions
        # Read once: each access makes a Python object of the message. Plain pairs: a named tuple takes twice
        # as long to make, and a model of 300 variables has 17,000 children.
        self._kinds: list[str | None] = []
        self._children: list[list[tuple[str, int]]] = []
        total = 0
        for node in self._nodes:
            children = node.children
            total += len(children)
            if total > _MAX_CHILDREN:
                raise BrokenModelError("its object graph is too large")
            self._kinds.append(node.WhichOneof("kind"))
            self._children.append([(child.local_name, child.node_id) for child in children])
        outside = [node for held in self._children for _, node in held if not 0 <= node < count]
        if outside:
            raise BrokenModelError(f"its object graph names object {outside[0]} of {count}")

    def __len__(self) -> int:
        return len(self._nodes)

    def kind(self, node: int) -> str | None:
        """The kind of the object: `user_object`, `variable`, `function`, `asset`, `resource`, ….

        None for a kind that this schema doesn't have.
        """
        return self._kinds[node]

    def content(self, node: int) -> Any:
        """The message of the object's kind."""
        kind = self.kind(node)
        return None if kind is None else getattr(self._nodes[node], kind)

    def identifier(self, node: int) -> str:
        """The identifier of a user object's class, such as `_tf_keras_model`; "" for other kinds."""
        return str(self._nodes[node].user_object.identifier) if self.kind(node) == "user_object" else ""

    def registered_name(self, node: int) -> str:
        """The name under which the object's class is registered with TensorFlow; "" for most objects."""
        return str(self._nodes[node].registered_name)

    def saveables(self, node: int) -> dict[str, tuple[int, int]]:
        """The functions that save and restore the parts of an object that is not a variable, by name."""
        found = self._nodes[node].saveable_objects.items()
        saveables = {name: (part.save_function, part.restore_function) for name, part in found}
        for pair in saveables.values():
            if not all(0 <= function < len(self) for function in pair):
                raise BrokenModelError(f"its object graph names object {max(pair)} of {len(self)}")
        return saveables

    def is_asset_of(self, node: int, count: int) -> bool:
        """Whether the object is one of the `count` declared assets, made by TensorFlow's own class."""
        if self.kind(node) != "asset" or self._nodes[node].registered_name:
            return False
        return bool(0 <= self._nodes[node].asset.asset_file_def_index < count)

    def children(self, node: int) -> list[Child]:
        """The objects that the object holds, in the order of the file."""
        return [Child(*child) for child in self._children[node]]

    def child(self, node: int, name: str) -> int | None:
        """The object that the object holds under the name."""
        return next((child for held, child in self._children[node] if held == name), None)

    def items(self, node: int, name: str) -> list[int] | None:
        """The objects in the list that the object holds under the name; None if there is no list."""
        holder = self.child(node, name)
        if holder is None or self.kind(holder) != "user_object":
            return None
        places = [(int(name), item) for name, item in self._children[holder] if name.isdecimal()]
        return [item for _, item in sorted(places, key=lambda place: place[0])]

    def of_kind(self, kind: str) -> list[int]:
        """The objects of the kind, by number."""
        return [number for number, field in enumerate(self._kinds) if field == kind]

    @cached_property
    def slots(self) -> dict[int, Slot]:
        """The variables that optimizers keep beside the model's, by number."""
        return {
            slot.slot_variable_node_id: Slot(slot.slot_name, slot.original_variable_node_id, optimizer)
            for optimizer in self.of_kind("user_object")
            for slot in self._nodes[optimizer].slot_variables
        }

    def path(self, node: int) -> str | None:
        """The object's path from the root, dotted: the shortest that needs no list of all variables.

        None if no path leads there.
        """
        names = self._names(self._parents_by_name, node) or self.shortest_path(node)
        return None if names is None else ".".join(names)

    def shortest_path(self, node: int) -> tuple[str, ...] | None:
        """The names on its shortest path from the root, the first in file order; None without one.

        They make up its key in the checkpoint.
        """
        return self._names(self._parents, node)

    @cached_property
    def _parents_by_name(self) -> dict[int, tuple[str, int]]:
        return self._walk(_SECOND_NAMES)

    @cached_property
    def _parents(self) -> dict[int, tuple[str, int]]:
        return self._walk(frozenset())

    def _walk(self, left_out: frozenset[str]) -> dict[int, tuple[str, int]]:
        """Name and parent of each object on a shortest path, by a breadth-first walk from the root."""
        parents: dict[int, tuple[str, int]] = {}
        level, depth = [0], 0
        while level:
            if depth > _MAX_DEPTH:
                raise BrokenModelError(f"its objects are nested more than {_MAX_DEPTH} deep")
            below = []
            for node in level:
                for name, child in self._children[node]:
                    if child and child not in parents and name not in left_out:
                        parents[child] = name, node
                        below.append(child)
            level, depth = below, depth + 1
        return parents

    @staticmethod
    def _names(parents: dict[int, tuple[str, int]], node: int) -> tuple[str, ...] | None:
        names = []
        size = 0
        while node:
            if node not in parents:
                return None
            name, node = parents[node]
            names.append(name)
            size += len(name)
        if size > _MAX_PATH:
            raise BrokenModelError(f"its objects have paths of more than {_MAX_PATH} characters")
        return tuple(reversed(names))

    def concrete_function(self, name: str) -> Any | None:
        """The SavedConcreteFunction of that name, or None."""
        if name not in self._concrete_functions:
            return None
        encoded = self._concrete_functions[name]
        if len(encoded) > _MAX_FUNCTION_BYTES:
            raise BrokenModelError(f"its function {name} is described in {len(encoded)} bytes")
        return parse("SavedConcreteFunction", encoded)

    def concrete_names(self, node: int) -> list[str]:
        """Names of the concrete functions of a function; none for another kind of object."""
        return self._concrete_names.get(node, [])

    @cached_property
    def _concrete_names(self) -> dict[int, list[str]]:
        """Names of the concrete functions of every function, by its number."""
        names: dict[int, list[str]] = {}
        for number, (kind, node) in enumerate(zip(self._kinds, self._nodes, strict=True)):
            if kind == "function":
                names[number] = list(node.function.concrete_functions)
            elif kind == "bare_concrete_function":
                names[number] = [node.bare_concrete_function.concrete_function_name]
        return names

    def held_functions(self) -> Iterator[tuple[str, list[str]]]:
        """Every function that an object holds: its name there, and those of its concrete functions.

        Without the traces that are children of their own function, which names them already.
        """
        functions = self._concrete_names
        for holder, children in enumerate(self._children):
            traces = set(functions[holder]) if self._kinds[holder] == "function" else None
            for name, node in children:
                if node in functions and not (traces and traces.issuperset(functions[node])):
                    yield name, functions[node]

    def saver_functions(self) -> tuple[list[int], list[int]]:
        """The functions that save, and those that restore, objects that are not variables."""
        holders = (self._nodes[node] for node, kind in enumerate(self._kinds) if kind not in _FUNCTIONS)
        maps = [holder.saveable_objects for holder in holders]
        saveables = [saveable for by_name in maps if by_name for saveable in by_name.values()]
        saving = [saveable.save_function for saveable in saveables if 0 <= saveable.save_function < len(self)]
        restoring = [
            saveable.restore_function for saveable in saveables if 0 <= saveable.restore_function < len(self)
        ]
        return saving, restoring

    def functions(self, *, submodules: bool) -> Iterator[HeldFunction]:
        """The functions that can be called: those of the root, then of everything below it, each once.

        Without signatures, and traces that are held beside their function.
        """
        held = list(self._functions_of(0, "", "obj"))
        yield from held
        seen = {function.node for function in held}
        for path, node in self._objects_below() if submodules else ():
            for function in self._functions_of(node, f"{path}.", self._access(node)):
                if function.node not in seen:
                    seen.add(function.node)
                    yield function

    def _functions_of(self, node: int, prefix: str, access: str) -> Iterator[HeldFunction]:
        for child in sorted(self.children(node), key=lambda child: (child.name != "__call__", child.name)):
            if self._is_function(child):
                own = access if child.name == "__call__" else self._step(access, node, child.name)
                yield HeldFunction(prefix + child.name, own, child.node)

    def _access(self, node: int) -> str:
        """How Python reaches the object from the loaded root `obj`."""
        parents = self._parents_by_name if node in self._parents_by_name else self._parents
        steps = []
        while node:
            name, parent = parents[node]
            steps.append((parent, name))
            node = parent
        access = "obj"
        for parent, name in reversed(steps):
            access = self._step(access, parent, name)
        return access

    def _step(self, access: str, node: int, name: str) -> str:
        """The Python expression for the child of that name, given the one for the object."""
        holder = self.identifier(node)
        if name.isdecimal() and holder in _SEQUENCES:
            return f"{access}[{name}]"
        if holder in _MAPPINGS:
            return f"{access}[{name!r}]"
        if name.isidentifier() and not keyword.iskeyword(name):
            return f"{access}.{name}"
        return f"getattr({access}, {name!r})"

    def _objects_below(self) -> list[tuple[str, int]]:
        """Path and number of every user object below the root that has a path, but for signatures."""
        found = [(self.path(node), node) for node in self.of_kind("user_object") if node]
        below = [(path, node) for path, node in found if path and path.split(".")[0] != "signatures"]
        return sorted(below, key=lambda item: path_order(item[0]))

    def _is_function(self, child: Child) -> bool:
        kind = self.kind(child.node)
        if kind == "bare_concrete_function":
            name, _, number = child.name.rpartition(".trace_")
            return not (name and number.isdecimal())
        return kind == "function"
