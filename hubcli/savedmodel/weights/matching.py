"""Matches variables with values: by names, by order, by the object graphs of model and checkpoint, by lists.

A layer that holds the loaded object keeps the names of its children, so that the model is the object from
which the same names lead to values of the same shapes. A SavedModel of Keras 3's `export()` has only the
lists `variables`, `trainable_variables` and `non_trainable_variables` of the whole network: the variables of
a layer with a loaded object are one piece of them, found by types and shapes in order. Source:
keras/src/export/saved_model.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product
from typing import NamedTuple

from hubcli._moved import warn_of_old_name
from hubcli.errors import MappingError
from hubcli.formats.tensor_values import TensorValues
from hubcli.savedmodel.objects import LISTS
from hubcli.savedmodel.weights.assignable import AssignableVariable, AssignableVariables, CheckpointGraph
from hubcli.savedmodel.weights.sources import WeightGroup, Weights, WeightsKind
from hubcli.units import plural

__all__ = ["Candidate", "MatchByGraph", "candidates_by_lists", "candidates_by_name", "candidates_by_order"]

_MAX_STEPS = 20_000_000
_TOLD_MISFITS = 3


class Candidate(NamedTuple):
    """An object of the checkpoint, by its path, that may be the model: `pairs` are target and source keys.

    `fits` is how many of the `required` variables it has with their shape and type; `misfits` are sentences
    about the first of the others.
    """

    root: str
    pairs: tuple[tuple[str, str], ...]
    fits: int
    required: int
    misfits: tuple[str, ...] = ()

    @property
    def wanted(self) -> int:
        """The old name of `required`."""
        warn_of_old_name(self, "wanted", "required")
        return self.required

    @property
    def is_full(self) -> bool:
        """Whether every variable that must have a value has one here."""
        return self.fits == self.required


class MatchByGraph:
    """Matches one model with one checkpoint by walks over both object graphs."""

    def __init__(
        self, targets: AssignableVariables, graph: CheckpointGraph, tensors: Mapping[str, TensorValues]
    ) -> None:
        assert targets.graph is not None
        self._targets = targets
        self._own = targets.graph
        self._other = graph
        self._tensors = tensors
        self._by_key = {target.key: target for target in targets.all}
        required = {target.key for target in targets.required}
        self._useful = self._own.leading_to(required)
        self._needs_lists = not required <= self._own.keys_without(LISTS)
        self._steps = 0

    def candidates(self, below: int = 0) -> list[Candidate]:
        """Every object with a variable that fits; those with the most first, then the nearest to the root.

        The object `below` and its descendants are tried. Of those with the same values, only the nearest is
        returned. Raises MappingError if the graphs are too large to try every object.
        """
        found: dict[object, Candidate] = {}
        for node in self._other.below(below):
            if self._may_be_root(node):
                candidate = self.at(node)
                if candidate.fits:
                    required = frozenset(
                        pair for pair in candidate.pairs if self._by_key[pair[0]].is_required
                    )
                    found.setdefault(required, candidate)
        return sorted(found.values(), key=lambda candidate: -candidate.fits)

    def _may_be_root(self, node: int) -> bool:
        """Whether it has a child with the name of a useful child of the model's root."""
        there = self._other.children[node]
        return any(
            name in there and child in self._useful and (self._needs_lists or name not in LISTS)
            for name, child in self._own.children[0].items()
        )

    def at(self, root: int) -> Candidate:
        """The object of that number as the model."""
        partners = dict(self._partners(root))
        misplaced = self._targets.misplaced(partners.items(), self._other.full_names)
        pairs, misfits, fits = list[tuple[str, str]](), list[str](), 0
        for target in self._targets.all:
            misfit = self._misfit(target, partners.get(target.key))
            if self._needs_lists and (other := misplaced.get(target.key)):
                misfit = f"{target.path} is {target.name} in the model and {other} in the weights"
            if misfit is None:
                pairs.append((target.key, partners[target.key]))
                fits += target.is_required
            elif target.is_required and len(misfits) < _TOLD_MISFITS:
                misfits.append(misfit)
        return Candidate(
            self._other.path(root), tuple(pairs), fits, len(self._targets.required), tuple(misfits)
        )

    def _partners(self, root: int) -> Iterator[tuple[str, str]]:
        """Keys of values to which the same names lead, the shortest path first."""
        seen, level = {0}, [(0, root)]
        while level:
            below = []
            for own, other in level:
                key, partner = self._own.keys[own], self._other.keys[other]
                if key is not None and partner is not None:
                    yield key, partner
                children = self._other.children[other]
                for name, child in self._own.children[own].items():
                    if child not in seen and name in children and self._is_alike(own, name, children[name]):
                        seen.add(child)
                        below.append((child, children[name]))
                self._count(len(self._own.children[own]))
            level = below

    def _is_alike(self, own: int, name: str, other: int) -> bool:
        """Whether children of that name may be the same object.

        A place in a list of all variables is not a name: every network has a first variable. If the model has
        no other names, the lists must be equally long.
        """
        if own or name not in LISTS:
            return True
        ours = self._own.children[self._own.children[0][name]]
        return self._needs_lists and len(ours) == len(self._other.children[other])

    def _count(self, steps: int) -> None:
        self._steps += steps + 1
        if self._steps > _MAX_STEPS:
            raise MappingError(
                "The checkpoint has too many objects to find the model in it",
                hint="Select it: --root PATH.",
            )

    def _misfit(self, target: AssignableVariable, key: str | None) -> str | None:
        """What is wrong with that value for the variable, None if it fits."""
        given = None if key is None else self._tensors.get(key)
        if given is None:
            return f"{target.path} is missing"
        return target.misfit(given)


def candidates_by_name(targets: AssignableVariables, weights: Weights) -> list[Candidate]:
    """The scopes of the weights with names of the model's variables; those with the most first.

    A model that was loaded into a larger graph has its names in a scope of that graph. Names that two
    variables share are ignored.
    """
    sources = _sources(weights)
    by_name = {name: target for target in targets.required if (name := _name(targets, target))}
    counts = Counter(_name(targets, target) for target in targets.required)
    scopes = dict.fromkeys(
        source.removesuffix(name) for source in sources for name in by_name if _is_scoped(source, name)
    )
    found = []
    for scope in scopes:
        pairs, misfits = [], []
        for target in targets.required:
            name = _name(targets, target)
            key = sources.get(scope + name) if counts[name] == 1 else None
            misfit = (
                f"{target.path} is missing under that name"
                if key is None
                else target.misfit(weights.tensors[key])
            )
            if misfit is None and key is not None:
                pairs.append((target.key, key))
            elif misfit is not None:
                misfits.append(misfit)
        if pairs:
            found.append(
                Candidate(
                    scope.rstrip("/"),
                    tuple(pairs),
                    len(pairs),
                    len(targets.required),
                    tuple(misfits[:_TOLD_MISFITS]),
                )
            )
    return sorted(found, key=lambda candidate: (-candidate.fits, len(candidate.root)))


def _is_scoped(source: str, name: str) -> bool:
    return source == name or source.endswith(f"/{name}")


def _sources(weights: Weights) -> dict[str, str]:
    """Keys by the names of variables, if the name is unique."""
    if weights.graph is None:
        return {key: key for key in weights.tensors}
    names = weights.graph.full_names
    counts = Counter(names.values())
    return {name: key for key, name in names.items() if counts[name] == 1 and key in weights.tensors}


def _name(targets: AssignableVariables, target: AssignableVariable) -> str:
    """The variable's name in the graph; in TensorFlow 1, its key."""
    return target.key if targets.graph is None else target.name.partition(":")[0]


def candidates_by_order(targets: AssignableVariables, weights: Weights) -> list[Candidate]:
    """Each layer with a value that fits, matched by order; those with the most first."""
    found = [_candidate(targets, weights, group) for group in weights.groups]
    return sorted((root for root in found if root.fits), key=lambda candidate: -candidate.fits)


def _candidate(targets: AssignableVariables, weights: Weights, group: WeightGroup) -> Candidate:
    required = targets.required
    pairs, misfits = [], []
    for target, key in zip(required, group.keys, strict=False):
        misfit = target.misfit(weights.tensors[key])
        if misfit is None:
            pairs.append((target.key, key))
        else:
            misfits.append(misfit)
    fits = len(pairs)
    if len(group.keys) != len(required):
        misfits.insert(0, f"the layer has {plural(len(group.keys), 'value')}")
        fits = min(fits, len(required) - 1)
    return Candidate(group.name, tuple(pairs), fits, len(required), tuple(misfits[:_TOLD_MISFITS]))


_TRAINABLE, _OTHERS, _ALL = "trainable_variables", "non_trainable_variables", "variables"
_MAX_CANDIDATES = 1000

_Piece = tuple[str, tuple[str, ...]]


def candidates_by_lists(targets: AssignableVariables, weights: Weights) -> list[Candidate]:
    """Every way to find the model's variables in the lists; empty if the weights aren't such a model.

    Trainable variables are found in the list of trainable ones, the others in that of the others; if the
    layer was frozen, all in the one list. Ways that assign different values are separate candidates.
    """
    graph = weights.graph
    if weights.kind is not WeightsKind.SAVED_MODEL or graph is None:
        return []
    if not {_TRAINABLE, _OTHERS, _ALL} <= graph.children[0].keys():
        return []
    found: dict[tuple[tuple[str, str], ...], Candidate] = {}
    for trainable, others in _orders(targets):
        candidate_pairs = list(islice(_apart(graph, weights, trainable, others), _MAX_CANDIDATES))
        for root, keys in candidate_pairs or _pieces(graph, weights, _ALL, (*trainable, *others)):
            pairs = tuple(zip((variable.key for variable in (*trainable, *others)), keys, strict=True))
            found.setdefault(tuple(sorted(pairs)), Candidate(root, pairs, len(pairs), len(pairs)))
    return _by_names(targets, graph, list(found.values()))


def _orders(
    targets: AssignableVariables,
) -> Iterator[tuple[tuple[AssignableVariable, ...], tuple[AssignableVariable, ...]]]:
    """The trainable variables and the others, as the lists of the model have them, and by its other list."""
    required = targets.required
    places = {key: place for place, key in enumerate(targets.listed_keys)}
    by_list = sorted(required, key=lambda variable: places.get(variable.key, len(places)))
    for ordered in (required, tuple(by_list)):
        yield (
            tuple(variable for variable in ordered if variable.trainable),
            tuple(variable for variable in ordered if not variable.trainable),
        )


def _apart(
    graph: CheckpointGraph,
    weights: Weights,
    trainable: Sequence[AssignableVariable],
    others: Sequence[AssignableVariable],
) -> Iterator[_Piece]:
    pieces = (_pieces(graph, weights, _TRAINABLE, trainable), _pieces(graph, weights, _OTHERS, others))
    for (root, keys), (other_root, other_keys) in product(*map(list, pieces)):
        yield " and ".join(filter(None, (root, other_root))), (*keys, *other_keys)


def _pieces(
    graph: CheckpointGraph, weights: Weights, name: str, variables: Sequence[AssignableVariable]
) -> Iterator[_Piece]:
    """The pieces of the list in which each value fits its variable; an empty one for no variables."""
    if not variables:
        yield "", ()
        return
    items = graph.children[graph.children[0][name]]
    keys = [graph.keys[items[place]] for place in sorted(filter(str.isdecimal, items), key=int)]
    values = [None if key is None else weights.tensors.get(key) for key in keys]
    for start in range(len(keys) - len(variables) + 1):
        piece = values[start : start + len(variables)]
        if all(
            value is not None and variable.misfit(value) is None
            for variable, value in zip(variables, piece, strict=True)
        ):
            end = start + len(variables) - 1
            yield (
                f"{name}/{start}" + (f"-{end}" if end > start else ""),
                tuple(key for key in keys[start : end + 1] if key is not None),
            )


def _by_names(
    targets: AssignableVariables, graph: CheckpointGraph, found: list[Candidate]
) -> list[Candidate]:
    """Without candidates that assign a variable the value of another name, if names are known."""
    fits = [piece for piece in found if not targets.misplaced(piece.pairs, graph.full_names)]
    named = [piece for piece in fits if _has_all_names(targets, graph, piece)]
    return named if len(named) == 1 else fits


def _has_all_names(targets: AssignableVariables, graph: CheckpointGraph, candidate: Candidate) -> bool:
    names = {target.key: target.name.partition(":")[0] for target in targets.required}
    if len(set(names.values())) < len(names) or not all(names.values()):
        return False
    return all(
        graph.full_names.get(source, "").partition(":")[0] == names[key] for key, source in candidate.pairs
    )
