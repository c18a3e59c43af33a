"""The objects of a checkpoint, by the names under which they hold each other, and the keys of their values.

Source: tensorflow/core/protobuf/trackable_object_graph.proto.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from hubcli.errors import BrokenModelError
from hubcli.formats.bundles import Bundle
from hubcli.savedmodel.variables import ATTRIBUTE, escaped, saved_objects

__all__ = ["VALUE_SUFFIX", "CheckpointGraph"]

VALUE_SUFFIX = f"/.ATTRIBUTES/{ATTRIBUTE}"
_SLOT = "/.OPTIMIZER_SLOT/"


class CheckpointGraph:
    """The objects, numbered; 0 is the root. What optimizers keep for a variable is left out."""

    def __init__(self, nodes: Any) -> None:
        """Raises BrokenModelError where an object that isn't there is named."""
        self.children = [{child.local_name: child.node_id for child in node.children} for node in nodes]
        for children in self.children:
            if any(not 0 <= node < len(self.children) for node in children.values()):
                raise BrokenModelError("the checkpoint's object graph names an object that isn't there")
        self.keys: list[str | None] = []
        self.full_names: dict[str, str] = {}
        """The variable's name in its graph by checkpoint key, as far as the checkpoint tells it."""
        for node in nodes:
            self.keys.append(self._key(node))

    def _key(self, node: Any) -> str | None:
        for attribute in node.attributes:
            if attribute.name == ATTRIBUTE and _SLOT not in attribute.checkpoint_key:
                key = str(attribute.checkpoint_key)
                if attribute.full_name:
                    self.full_names[key] = attribute.full_name
                return key
        return None

    @classmethod
    def of(cls, bundle: Bundle) -> CheckpointGraph | None:
        """The objects of that bundle; None where it has none, as TensorFlow 1 writes it.

        Raises BrokenModelError where they can't be read.
        """
        nodes = saved_objects(bundle.index, bundle.folder, bundle.prefix)
        return cls(nodes) if nodes else None

    def __len__(self) -> int:
        return len(self.children)

    @cached_property
    def _holders(self) -> dict[int, tuple[int, str]]:
        """Who holds each object on its shortest path from the root, and under which name; nearest first."""
        holders: dict[int, tuple[int, str]] = {0: (0, "")}
        waiting = deque([0])
        while waiting:
            node = waiting.popleft()
            for name, child in self.children[node].items():
                if child not in holders:
                    holders[child] = (node, name)
                    waiting.append(child)
        return holders

    def below(self, node: int) -> Iterable[int]:
        """That object and those that a path from it leads to, the nearest first."""
        found, waiting = {node: None}, deque([node])
        while waiting:
            for child in self.children[waiting.popleft()].values():
                if child not in found:
                    found[child] = None
                    waiting.append(child)
        return found

    def path(self, node: int) -> str:
        """The names on its shortest path from the root, with slashes between them; "" is the root."""
        names = []
        while node:
            node, name = self._holders[node]
            names.append(escaped(name))
        return "/".join(reversed(names))

    def node_at(self, path: str) -> int | None:
        """The object that is reached from the root by these names, with slashes between them."""
        node = 0
        for name in filter(None, path.split("/")):
            children = {escaped(name): child for name, child in self.children[node].items()}
            if name not in children:
                return None
            node = children[name]
        return node

    def keys_without(self, names: Iterable[str]) -> set[str]:
        """The keys of values that are reached without those children of the root."""
        left_out = set(names)
        waiting = [child for name, child in self.children[0].items() if name not in left_out]
        seen = {0, *waiting}
        while waiting:
            for child in self.children[waiting.pop()].values():
                if child not in seen:
                    seen.add(child)
                    waiting.append(child)
        return {key for node in seen if (key := self.keys[node]) is not None}

    def leading_to(self, keys: set[str]) -> set[int]:
        """The objects from which a value of one of the keys can be reached."""
        holders: list[list[int]] = [[] for _ in self.children]
        for node, children in enumerate(self.children):
            for child in children.values():
                holders[child].append(node)
        waiting = [node for node, key in enumerate(self.keys) if key in keys]
        found = set(waiting)
        while waiting:
            for holder in holders[waiting.pop()]:
                if holder not in found:
                    found.add(holder)
                    waiting.append(holder)
        return found
