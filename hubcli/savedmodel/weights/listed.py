"""Values found in the lists of a SavedModel that has no other names, as Keras 3's `export()` writes it.

It holds `variables`, `trainable_variables` and `non_trainable_variables` of
the whole network, layer by layer. What a layer made of a loaded object lists
stands there in one piece: found by type and shape of its values, in order.
Source: keras/src/export/saved_model.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, product

from hubcli.savedmodel.weights.assignable import AssignableVariable, AssignableVariables
from hubcli.savedmodel.weights.checkpoint_graph import CheckpointGraph
from hubcli.savedmodel.weights.matching import Candidate
from hubcli.savedmodel.weights.sources import Weights, WeightsKind

__all__ = ["candidates_by_lists"]

_TRAINABLE, _OTHERS, _ALL = "trainable_variables", "non_trainable_variables", "variables"
_MAX_CANDIDATES = 1000

_Piece = tuple[str, tuple[str, ...]]


def candidates_by_lists(targets: AssignableVariables, weights: Weights) -> list[Candidate]:
    """Every way to find the model's variables in the lists; none where the weights aren't such a model.

    Trainable variables are looked for among the trainable ones, the others
    among the others; all of them in the one list where the layer was frozen.
    Those that differ in the values that equal variables get are told apart.
    """
    graph = weights.graph
    if weights.kind is not WeightsKind.SAVED_MODEL or graph is None:
        return []
    if not {_TRAINABLE, _OTHERS, _ALL} <= graph.children[0].keys():
        return []
    found: dict[tuple[tuple[str, str], ...], Candidate] = {}
    for trainable, others in _orders(targets):
        ways = list(islice(_apart(graph, weights, trainable, others), _MAX_CANDIDATES))
        for root, keys in ways or _pieces(graph, weights, _ALL, (*trainable, *others)):
            pairs = tuple(zip((one.key for one in (*trainable, *others)), keys, strict=True))
            found.setdefault(tuple(sorted(pairs)), Candidate(root, pairs, len(pairs), len(pairs)))
    return _by_names(targets, graph, list(found.values()))


def _orders(
    targets: AssignableVariables,
) -> Iterator[tuple[tuple[AssignableVariable, ...], tuple[AssignableVariable, ...]]]:
    """The trainable variables and the others, as the lists of the model have them, and by its other list."""
    required = targets.required
    places = {key: place for place, key in enumerate(targets.listed_keys)}
    by_list = sorted(required, key=lambda one: places.get(one.key, len(places)))
    for ordered in (required, tuple(by_list)):
        yield (
            tuple(one for one in ordered if one.trainable),
            tuple(one for one in ordered if not one.trainable),
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
    graph: CheckpointGraph, weights: Weights, name: str, wanted: Sequence[AssignableVariable]
) -> Iterator[_Piece]:
    """The pieces of the list in which each value fits its variable; one that is empty for none."""
    if not wanted:
        yield "", ()
        return
    items = graph.children[graph.children[0][name]]
    keys = [graph.keys[items[place]] for place in sorted(filter(str.isdecimal, items), key=int)]
    values = [None if key is None else weights.tensors.get(key) for key in keys]
    for start in range(len(keys) - len(wanted) + 1):
        piece = values[start : start + len(wanted)]
        if all(
            value is not None and one.misfit(value) is None for one, value in zip(wanted, piece, strict=True)
        ):
            end = start + len(wanted) - 1
            yield (
                f"{name}/{start}" + (f"-{end}" if end > start else ""),
                tuple(key for key in keys[start : end + 1] if key is not None),
            )


def _by_names(
    targets: AssignableVariables, graph: CheckpointGraph, found: list[Candidate]
) -> list[Candidate]:
    """Without those that give a variable the value of another one by its name, where names tell."""
    fits = [one for one in found if not targets.misplaced(one.pairs, graph.full_names)]
    named = [one for one in fits if _has_all_names(targets, graph, one)]
    return named if len(named) == 1 else fits


def _has_all_names(targets: AssignableVariables, graph: CheckpointGraph, candidate: Candidate) -> bool:
    names = {one.key: one.name.partition(":")[0] for one in targets.required}
    if len(set(names.values())) < len(names) or not all(names.values()):
        return False
    return all(
        graph.full_names.get(source, "").partition(":")[0] == names[key] for key, source in candidate.pairs
    )
