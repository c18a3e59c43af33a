"""Two object graphs walked in lockstep: which object of a training's checkpoint is the model that was loaded.

A layer that holds the loaded object keeps its children's names, so that the
object is the one from which the same names lead to values of the same shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from hubcli.errors import MappingError
from hubcli.formats.tensor_values import TensorValues
from hubcli.savedmodel.checkpoint_graph import CheckpointGraph
from hubcli.savedmodel.objects import LISTS
from hubcli.savedmodel.targets import Target, Targets

__all__ = ["Candidate", "Lockstep"]

_MAX_STEPS = 20_000_000
_TOLD_MISFITS = 3


class Candidate(NamedTuple):
    """An object of the checkpoint, by its path, as the model: `pairs` are target and source keys.

    `fits` is how many of the `wanted` variables it has with their shape and
    type; `misfits` are sentences about the first of the others.
    """

    root: str
    pairs: tuple[tuple[str, str], ...]
    fits: int
    wanted: int
    misfits: tuple[str, ...] = ()

    @property
    def is_full(self) -> bool:
        """Whether every variable that must have a value has one here."""
        return self.fits == self.wanted


class Lockstep:
    """The walks over one model and one checkpoint."""

    def __init__(self, targets: Targets, graph: CheckpointGraph, tensors: Mapping[str, TensorValues]) -> None:
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
        """Every object with a variable that fits; the fullest first, then the nearest to the root.

        Looked at are the object `below`, and what it leads to.
        Of those that lead to the same values one is told, the nearest. Raises
        MappingError where the graphs are too large to try every object.
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
        """Whether one of the names that lead on from the model's root leads on from there, too."""
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
        """Whether what stands there under the name tells anything.

        A place in a list of all variables is no name: any network has a first
        one. Where the model has no other names, the lists must be as long.
        """
        if own or name not in LISTS:
            return True
        ours = self._own.children[self._own.children[0][name]]
        return self._needs_lists and len(ours) == len(self._other.children[other])

    def _count(self, steps: int) -> None:
        self._steps += steps + 1
        if self._steps > _MAX_STEPS:
            raise MappingError(
                "The checkpoint has too many objects to try each of them as the model",
                hint="Name the one that is it: --root PATH.",
            )

    def _misfit(self, target: Target, key: str | None) -> str | None:
        """What is wrong with that value for the variable, None where it fits."""
        given = None if key is None else self._tensors.get(key)
        if given is None:
            return f"{target.path} isn't there"
        return target.misfit(given)
