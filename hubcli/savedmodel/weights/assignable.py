"""What fine-tuned values can be written to: the checkpoint keys of a SavedModel that are variables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from hubcli.errors import BrokenModelError, ValuesError
from hubcli.formats import INDEX_FILE
from hubcli.formats.bundles import Bundle
from hubcli.formats.tensor_bundle import OBJECT_GRAPH_KEY
from hubcli.formats.tensor_layout import DType
from hubcli.formats.tensor_values import TensorValues
from hubcli.savedmodel.graph import read_outline
from hubcli.savedmodel.objects import ObjectGraph
from hubcli.savedmodel.variables import Variable, VariableLists, model_variables
from hubcli.savedmodel.weights.checkpoint_graph import VALUE_SUFFIX, CheckpointGraph

__all__ = ["AssignableVariable", "AssignableVariables", "read_assignable"]

_SAVE_COUNTER = f"save_counter{VALUE_SUFFIX}"
# What Keras keeps for itself, and what optimizers keep.
_NOT_THE_MODELS = ("keras_api", "optimizer", "_optimizer")
_UNFIT = ("resource", "variant")
_HINT = "See what it holds: hubcli inspect MODEL --variables"


class AssignableVariable(NamedTuple):
    """A variable of the model that can get another value.

    `path` is where it hangs, `name` what its graph calls it. Those that aren't
    `is_required` keep their value where none is found: what an optimizer or a
    metric keeps, tables, and what no object of the model holds.
    """

    key: str
    path: str
    name: str
    dtype: DType
    shape: tuple[int, ...]
    trainable: bool
    is_required: bool

    def misfit(self, given: TensorValues) -> str | None:
        """What is wrong with these values for it, in a few words; None where they fit."""
        if given.dtype == self.dtype and given.shape == self.shape:
            return None
        return (
            f"{self.path} is {self.dtype.name} {list(self.shape)} in the model "
            f"and {given.dtype.name} {list(given.shape)} in the weights"
        )


@dataclass(frozen=True)
class AssignableVariables:
    """All of them: trainable ones as the root lists them, then its other variables, then the rest."""

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
        """Of target and source keys at the same places of a list: the targets that are other variables there.

        `names` are those of the weights, by their key; told is the name that stands
        in the place. Whoever lists the same variables anew may do so in another
        order. Names that aren't the same ones tell nothing, and nothing is told.
        """
        found = {target: names.get(source, "") for target, source in pairs}
        own = {target.key: target.name.partition(":")[0] for target in self.required if target.key in found}
        there = {key: found[key].partition(":")[0] for key in own}
        if len(set(own.values())) < len(own) or set(own.values()) != set(there.values()):
            return {}
        return {key: there[key] for key, name in own.items() if there[key] != name}


def read_assignable(model: Path) -> AssignableVariables:
    """What can be written in the SavedModel in that directory.

    Raises BrokenModelError where it can't be read, ValuesError where it has no variables.
    """
    try:
        if not (model / INDEX_FILE).is_file():
            raise ValuesError(f"{model.name} has no variables: there is nothing to write anew", hint=_HINT)
        bundle = Bundle.open(model / "variables", "variables")
        variables, lists = _variables(model, bundle)
    except OSError as error:
        raise BrokenModelError(f"{error.filename or model} can't be read: {error.strerror}") from error
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
        raise ValuesError(
            f"{model.name} has no variables of its own: there is nothing to write anew", hint=_HINT
        )
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
