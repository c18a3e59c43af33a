"""The object graph of a SavedModel, through TensorFlow's own protos and decoders."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow.python.saved_model import nested_structure_coder

from tests.savedmodel.structs import Json, dtype_name, python_parameters, shape_list, variant

__all__ = ["ObjectGraph"]


class ObjectGraph:
    """The saved object graph, its values decoded by TensorFlow."""

    def __init__(self, proto: Any) -> None:
        self._proto = proto

    def kind(self, node: int) -> str:
        """Which kind of object the node is: "variable", "function" and so on."""
        kind: str = self._proto.nodes[node].WhichOneof("kind")
        return kind

    def children(self, node: int) -> list[tuple[str, int]]:
        return [(child.local_name, child.node_id) for child in self._proto.nodes[node].children]

    def is_function(self, node: int) -> bool:
        return self.kind(node) in ("function", "bare_concrete_function")

    def nodes_of(self, kind: str) -> list[int]:
        return [node for node in range(len(self._proto.nodes)) if self.kind(node) == kind]

    def items(self, name: str) -> list[int] | None:
        """The nodes of the root's list or tuple of that name, in order."""
        node = dict(self.children(0)).get(name)
        if node is None or self.kind(node) != "user_object":
            return None
        numbered = [(int(name), child) for name, child in self.children(node) if name.isdigit()]
        return [child for _, child in sorted(numbered)]

    def at(self, path: str) -> set[int]:
        """The nodes that a dotted path may mean: names of children may have dots themselves."""
        found, open_ends = set(), [(0, path)]
        while open_ends:
            node, rest = open_ends.pop()
            if not rest:
                found.add(node)
            for name, child in self.children(node):
                if rest == name:
                    found.add(child)
                elif rest.startswith(f"{name}."):
                    open_ends.append((child, rest[len(name) + 1 :]))
        return found

    def variable(self, node: int) -> Json:
        variable_proto = self._proto.nodes[node].variable
        shape = shape_list(tf.TensorShape(variable_proto.shape))
        return {
            "name": variable_proto.name,
            "dtype": dtype_name(variable_proto.dtype),
            "shape": shape,
            "trainable": variable_proto.trainable,
        }

    def function(self, node: int) -> Json:
        """Python parameters and variants of a polymorphic or a concrete function."""
        if self.kind(node) == "bare_concrete_function":
            names = [self._proto.nodes[node].bare_concrete_function.concrete_function_name]
            return {"parameters": None, "variants": [self._variant(name) for name in names]}
        function_proto = self._proto.nodes[node].function
        spec = nested_structure_coder.decode_proto(function_proto.function_spec.fullargspec)
        return {
            "parameters": python_parameters(spec),
            "variants": [self._variant(name) for name in function_proto.concrete_functions],
        }

    def _variant(self, name: str) -> Json:
        concrete = self._proto.concrete_functions[name]
        decode = nested_structure_coder.decode_proto
        return variant(
            name, decode(concrete.canonicalized_input_signature), decode(concrete.output_signature)
        )

    def beside(self, tracked: Any) -> dict[int, int]:
        """The node of a checkpoint's object graph for each node here that is in both."""
        pairs, waiting = {0: 0}, [(0, 0)]
        while waiting:
            saved, other = waiting.pop()
            here = dict(self.children(saved))
            for child in tracked.nodes[other].children:
                node = here.get(child.local_name)
                if node is not None and node not in pairs:
                    pairs[node] = child.node_id
                    waiting.append((node, child.node_id))
        back = {other: saved for saved, other in pairs.items()}
        for saved, other in list(pairs.items()):
            slots = {
                (slot.original_variable_node_id, slot.slot_name): slot.slot_variable_node_id
                for slot in self._proto.nodes[saved].slot_variables
            }
            for slot_proto in tracked.nodes[other].slot_variables:
                slot = slots.get((back.get(slot_proto.original_variable_node_id), slot_proto.slot_name))
                if slot is not None:
                    pairs[slot] = slot_proto.slot_variable_node_id
        return pairs
