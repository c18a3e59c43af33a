"""Variables of the graph itself that hold nothing but what is assigned to them there.

TensorFlow 2 writes a variable for each asset: the init op assigns the path that
is fed, then reads it (tensorflow/python/saved_model/save.py).
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property

from hubcli.savedmodel.graph import Graph
from hubcli.savedmodel.nodes import Node

__all__ = ["AssetVariables"]

_HANDLES = frozenset({"VarHandleOp", "_VarHandlesOp", "_XlaAotOnlyVarHandleOp"})
_MAX_VALUES = 10
_ASSIGN, _HARMLESS = "AssignVariableOp", ("ReadVariableOp", "VarIsInitializedOp")
_OPS = _HANDLES | {_ASSIGN, *_HARMLESS}


class AssetVariables:
    """The variables of a graph, by the nodes that are handles of them; read when the first is asked about."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._is_read = False

    @property
    def unread_bytes(self) -> int:
        """How many bytes the next question will have parsed."""
        return 0 if self._is_read else 2 * self._graph.bodies[0].size_bytes

    def values(self, handle: str) -> list[str]:
        """All tensors that are assigned to the variable of that handle; empty where it isn't sure."""
        if not _OPS.isdisjoint(self._graph.functions):
            return []  # A function of that name goes before the op, and may assign what it likes.
        self._is_read = True
        name = handle.removesuffix(":0")
        variable = self._handles.get(name)
        if not variable or self._handle_counts[variable] > 1 or variable in self._named_in_functions:
            return []
        return self._assigned.get(name) or []

    @cached_property
    def _handles(self) -> dict[str, str]:
        """The variable of each handle of the graph itself; "" where it isn't known."""
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
            # As for any other op: it may do what it likes with the handles that it gets.
            assigned.update((name, None) for name in names[is_assigned:] if name in handles)
        return assigned

    @cached_property
    def _named_in_functions(self) -> frozenset[str]:
        """The variables that functions name themselves; every one where that can't be told of a function."""
        nodes = (node for body in self._graph.bodies[1:] for node in body.nodes_of_ops(_HANDLES))
        names = {_variable_of(node) if node.text("shared_name") else "" for node in nodes}
        return frozenset(names if "" not in names else {*names, *self._handles.values()})


def _variable_of(node: Node) -> str:
    """The name under which TensorFlow finds the variable; "" where it may be several or in a container."""
    if node.op != "VarHandleOp" or not node.is_empty_text("container"):
        return ""
    if node.is_empty_text("shared_name"):
        return node.name
    return node.text("shared_name") or ""
