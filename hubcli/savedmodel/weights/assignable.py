"""The variables of a SavedModel to which fine-tuned values can be written, by their checkpoint keys.

The keys are those of the checkpoint's object graph, whose objects hold each other by names.
Source: tensorflow/core/protobuf/trackable_object_graph.proto.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from hubcli.errors import BrokenModelError, ValuesError
from hubcli.formats import INDEX_FILE
from hubcli.formats.bundles import Bundle
from hubcli.formats.tensor_bundle import OBJECT_GRAPH_KEY
from hubcli.formats.tensor_layout import DType
from hubcli.formats.tensor_values import TensorValues
from hubcli.savedmodel.graph import read_outline
from hubcli.savedmodel.objects import ObjectGraph
from hubcli.savedmodel.variables import (
    ATTRIBUTE,
    Variable,
    VariableLists,
    escaped,
    model_variables,
    saved_objects,
)

__all__ = ["VALUE_SUFFIX", "AssignableVariable", "AssignableVariables", "CheckpointGraph", "read_assignable"]

VALUE_SUFFIX = f"/.ATTRIBUTES/{ATTRIBUTE}"
_SLOT = "/.OPTIMIZER_SLOT/"


class CheckpointGraph:
    """The objects of a checkpoint, numbered; 0 is the root. Slots of optimizers are left out."""

    def __init__(self, nodes: Any) -> None:
        """Raises BrokenModelError if a child doesn't exist."""
        self.children = [{child.local_name: child.node_id for child in node.children} for node in nodes]
        for children in self.children:
            if any(not 0 <= node < len(self.children) for node in children.values()):
                raise BrokenModelError("the checkpoint's object graph names a missing object")
        self.keys: list[str | None] = []
        self.full_names: dict[str, str] = {}
        """The variable's name in its graph by checkpoint key, if the checkpoint has it."""
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
        """The objects of that bundle; None if it has none, as TensorFlow 1 writes it.

        Raises BrokenModelError if they can't be read.
        """
        nodes = saved_objects(bundle.index, bundle.folder, bundle.prefix)
        return cls(nodes) if nodes else None

    def __len__(self) -> int:
        return len(self.children)

    @cached_property
    def _holders(self) -> dict[int, tuple[int, str]]:
        """Parent and name of each object on its shortest path from the root; the nearest first."""
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


_SAVE_COUNTER = f"save_counter{VALUE_SUFFIX}"
# Children of the root that are Keras's own objects and optimizers.
_NOT_THE_MODELS = ("keras_api", "optimizer", "_optimizer")
_UNFIT = ("resource", "variant")
_HINT = "List its variables: hubcli inspect MODEL --variables"


class AssignableVariable(NamedTuple):
    """A variable of the model that can get another value.

    `path` is that from the root, `name` the name in its graph. One that isn't `is_required` keeps its value
    if none is found for it: those of optimizers and metrics, tables, and values that belong to no object.
    """

    key: str
    path: str
    name: str
    dtype: DType
    shape: tuple[int, ...]
    trainable: bool
    is_required: bool

    def misfit(self, given: TensorValues) -> str | None:
        """What is wrong with these values for it, in a few words; None if they fit."""
        if given.dtype == self.dtype and given.shape == self.shape:
            return None
        return (
            f"{self.path} is {self.dtype.name} {list(self.shape)} in the model "
            f"and {given.dtype.name} {list(given.shape)} in the weights"
        )


@dataclass(frozen=True)
class AssignableVariables:
    """All variables: trainable ones as the root lists them, then its other variables, then the rest."""

    model: str
    all: tuple[AssignableVariable, ...]
    bundle: Bundle
    listed_keys: tuple[str, ...] = ()
    """The keys of the root's list `variables`, in its order."""

    @cached_property
    def graph(self) -> CheckpointGraph | None:
        """The objects of the checkpoint, None in TensorFlow 1. Raises BrokenModelError."""
        return CheckpointGraph.of(self.bundle)

    @property
    def required(self) -> tuple[AssignableVariable, ...]:
        """Those that must get a value."""
        return tuple(target for target in self.all if target.is_required)

    def misplaced(self, pairs: Iterable[tuple[str, str]], names: Mapping[str, str]) -> dict[str, str]:
        """The targets whose source, at the same place of a list, has the name of another variable.

        `pairs` are target and source keys; `names` are those of the weights, by their key. Each target comes
        with that other name. The lists may have the same variables in different orders. If the sets of names
        differ, nothing is known, and the result is empty.
        """
        found = {target: names.get(source, "") for target, source in pairs}
        own = {target.key: target.name.partition(":")[0] for target in self.required if target.key in found}
        there = {key: found[key].partition(":")[0] for key in own}
        if len(set(own.values())) < len(own) or set(own.values()) != set(there.values()):
            return {}
        return {key: there[key] for key, name in own.items() if there[key] != name}


def read_assignable(model: Path) -> AssignableVariables:
    """The assignable variables of the SavedModel in that directory.

    Raises BrokenModelError if it can't be read, ValuesError if it has no variables.
    """
    try:
        if not (model / INDEX_FILE).is_file():
            raise ValuesError(f"{model.name} has no variables to rewrite", hint=_HINT)
        bundle = Bundle.open(model / "variables", "variables")
        variables, lists = _variables(model, bundle)
    except OSError as error:
        raise BrokenModelError(f"Cannot read {error.filename or model}: {error.strerror}") from error
    variables = tuple(
        variable for variable in variables if variable.checkpoint_key not in (None, _SAVE_COUNTER)
    )
    by_key = {variable.checkpoint_key: variable for variable in variables}
    ordered = _ordered(variables, lists)
    targets = [
        _target(bundle, key, by_key[key], is_required=_is_required(by_key[key], lists)) for key in ordered
    ]
    left = bundle.index.by_name.keys() - set(ordered) - {OBJECT_GRAPH_KEY, _SAVE_COUNTER}
    targets += [_target(bundle, key, None, is_required=False) for key in sorted(left)]
    fit = tuple(target for target in targets if target.dtype.name not in _UNFIT)
    if not any(target.is_required for target in fit):
        raise ValuesError(f"{model.name} has no variables to rewrite", hint=_HINT)
    listed = tuple(
        variable.checkpoint_key for variable in variables if variable.is_listed and variable.checkpoint_key
    )
    return AssignableVariables(model.name, fit, bundle, listed)


def _variables(model: Path, bundle: Bundle) -> tuple[tuple[Variable, ...], VariableLists]:
    with read_outline(model) as outlines:
        objects = next((outline.objects for outline in outlines if outline.objects is not None), None)
        graph = None if objects is None else ObjectGraph(objects)
        return model_variables(outlines, graph, bundle.index, model)


def _ordered(variables: tuple[Variable, ...], lists: VariableLists) -> list[str]:
    """The keys of trainable variables, as Keras orders the weights of a layer, then of the others."""
    places = {path: place for place, path in enumerate(lists.trainable_variables or ())}
    ordered = sorted(
        (variable for variable in variables if variable.checkpoint_key is not None),
        key=lambda variable: (
            not variable.is_listed,
            not variable.trainable,
            places.get(variable.path, len(places)),
        ),
    )
    return list(
        dict.fromkeys(variable.checkpoint_key for variable in ordered if variable.checkpoint_key is not None)
    )


def _is_required(variable: Variable, lists: VariableLists) -> bool:
    if lists.variables:
        return variable.is_listed
    return not variable.is_slot and variable.path.partition(".")[0] not in _NOT_THE_MODELS


def _target(bundle: Bundle, key: str, variable: Variable | None, *, is_required: bool) -> AssignableVariable:
    entry = bundle.index.by_name[key]
    return AssignableVariable(
        key=key,
        path=key.removesuffix(VALUE_SUFFIX) if variable is None else variable.path,
        name="" if variable is None else variable.name,
        dtype=entry.dtype,
        shape=entry.shape,
        trainable=variable is not None and variable.trainable,
        is_required=is_required,
    )
