"""What a traced function uses beside its arguments, as tensors of the graph that TensorFlow loads.

A variable has a handle in the graph. Names don't tell which: several variables may have one. So the graph's
own restore function does, which assigns each key of the checkpoint to a handle. Source:
tensorflow/python/saved_model/save.py and tensorflow/python/training/saving/saveable_object_util.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from hubcli.errors import HubcliError
from hubcli.savedmodel.graph import GraphBody, MetaGraphOutline, fed_assets_of
from hubcli.savedmodel.layout import read_index
from hubcli.savedmodel.nodes import Node
from hubcli.savedmodel.objects import ObjectGraph
from hubcli.savedmodel.variables import Variable, model_variables

__all__ = ["CannotBindError", "Captures"]

_VARIABLES, _TABLES = frozenset({"VarHandleOp"}), frozenset({"HashTableV2", "MutableHashTableV2"})
_CALL = "StatefulPartitionedCall"
_RESTORE, _ASSIGN = "RestoreV2", "AssignVariableOp"
_PASSED_THROUGH = frozenset({"Identity", "Cast", "Reshape"})
_MAX_STEPS = 20


class CannotBindError(Exception):
    """A capture whose tensor in the graph is unknown."""


class Captures:
    """Finds the graph's tensors of objects, by their numbers, in the model at the path.

    `variables` are those of the model; they are read where they aren't given.
    """

    def __init__(
        self,
        outline: MetaGraphOutline,
        objects: ObjectGraph,
        model: Path,
        variables: Sequence[Variable] | None = None,
    ) -> None:
        self._variables = variables
        self._outline = outline
        self._objects = objects
        self._graph = outline.graph
        self._model = model

    def tensors(self, nodes: tuple[int, ...]) -> list[str]:
        """Their names. Raises CannotBindError."""
        return [self._tensor(node) for node in nodes]

    def unrestored(self, tensors: Iterable[str]) -> str | None:
        """A variable that the calls behind the tensors use, and that loading gives no value, if any.

        Keras 3 writes variables twice, and signatures that use the ones without values.
        """
        restored = set(self._restored.values())
        nodes = self._graph.bodies[0].by_name
        for tensor in tensors if restored else ():
            call = nodes.get(tensor.partition(":")[0])
            for source in call.sources if call is not None and call.op == _CALL else ():
                node = nodes.get(source.partition(":")[0])
                if node is not None and node.op in _VARIABLES and node.name not in restored:
                    return node.name
        return None

    def _tensor(self, node: int) -> str:
        kind, content = self._objects.kind(node), self._objects.content(node)
        if kind == "variable":
            return self._variable(node, str(content.name))
        if kind == "constant":
            return f"{content.operation}:0"
        if kind == "asset":
            assets = fed_assets_of(self._outline)
            number = content.asset_file_def_index
            if 0 <= number < len(assets):
                return str(assets[number].tensor_info.name)
        if kind == "resource":
            return self._table(node)
        raise CannotBindError(f"it uses a {kind or 'resource'} that cannot be located in the graph")

    def _variable(self, node: int, name: str) -> str:
        key = self._checkpoint_keys.get(node)
        handle = None if key is None else self._restored.get(key)
        if handle is not None:
            return f"{handle}:0"
        handles = self._handles.get(name, [])
        if self._restored or len(handles) != 1 or self._name_counts[name] != 1:
            raise CannotBindError(f"the variable '{name}' cannot be located in the graph")
        return f"{handles[0]}:0"

    @cached_property
    def _handles(self) -> dict[str, list[str]]:
        """The handles of variables and tables by their shared names."""
        found: dict[str, list[str]] = {}
        for node in self._graph.bodies[0].nodes_of_ops(_VARIABLES | _TABLES):
            found.setdefault(node.text("shared_name") or node.name, []).append(node.name)
        return found

    @cached_property
    def _name_counts(self) -> Counter[str]:
        """How many variables have each name."""
        return Counter(self._objects.content(node).name for node in self._objects.of_kind("variable"))

    @cached_property
    def _checkpoint_keys(self) -> dict[int, str]:
        """The key of each variable, by its number."""
        variables = self._variables
        if variables is None:
            try:
                index = read_index(self._model / "variables")
                variables, _ = model_variables((self._outline,), self._objects, index, self._model)
            except (HubcliError, OSError):
                return {}
        return {
            variable.node: variable.checkpoint_key
            for variable in variables
            if variable.node is not None and variable.checkpoint_key
        }

    @cached_property
    def _restored(self) -> dict[str, str]:
        """The handle that gets each key of the checkpoint, as the graph's restore function assigns it."""
        restore = self._graph.bodies[0].by_name.get(self._outline.rest.saver_def.restore_op_name)
        function = None if restore is None else restore.function("f")
        body = None if function is None else self._graph.functions.get(function)
        if restore is None or body is None:
            return {}
        handles = {
            argument.name: source.partition(":")[0]
            for argument, source in zip(body.inputs(), restore.sources, strict=False)
        }
        found: dict[str, str] = {}
        for node in body.nodes_of_ops({_ASSIGN}):
            sources = node.sources
            key = _restored_key(body, sources[1]) if len(sources) > 1 else None
            handle = handles.get(sources[0].partition(":")[0]) if sources else None
            if key is not None and handle is not None:
                found[key] = handle
        return found

    def _table(self, node: int) -> str:
        maker = self._objects.child(node, "_create_resource")
        names = [] if maker is None else self._objects.concrete_names(maker)
        bodies = [self._graph.functions.get(name) for name in names]
        shared = {
            table.text("shared_name")
            for body in bodies
            if body is not None
            for table in body.nodes_of_ops(_TABLES)
        }
        handles = self._handles.get(str(next(iter(shared))), []) if len(shared) == 1 else []
        if len(handles) != 1:
            raise CannotBindError("it uses a table that cannot be located in the graph")
        return f"{handles[0]}:0"


def _restored_key(body: GraphBody, source: str) -> str | None:
    """The key of the checkpoint that the tensor `node:output:number` in the restore function was read by."""
    for _ in range(_MAX_STEPS):
        name, _, place = source.partition(":")
        node = body.by_name.get(name)
        if node is None:
            return None
        if node.op == _RESTORE:
            keys = _keys_of(body, node)
            number = int(place.rpartition(":")[2]) if place.rpartition(":")[2].isdecimal() else 0
            return keys[number] if number < len(keys) else None
        if node.op not in _PASSED_THROUGH or not node.sources:
            return None
        source = node.sources[0]
    return None


def _keys_of(body: GraphBody, restore: Node) -> list[str]:
    """The keys that a RestoreV2 reads."""
    sources = restore.sources
    constant = body.by_name.get(sources[1].partition(":")[0]) if len(sources) > 1 else None
    texts = constant.strings("value") if constant is not None else None
    return [text.decode("utf-8", "replace") for text in texts or ()]
