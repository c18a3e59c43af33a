"""Which value of the weights is for which variable of the model: one full mapping, or a refusal."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable
from collections.abc import Mapping as MappingType
from typing import NamedTuple

from hubcli.errors import MappingError, UsageError, ValuesError
from hubcli.formats.tensor_values import TensorValues
from hubcli.savedmodel.checkpoint_graph import VALUE_SUFFIX
from hubcli.savedmodel.listed import candidates_by_lists
from hubcli.savedmodel.lockstep import Candidate, Lockstep
from hubcli.savedmodel.names import candidates_by_name
from hubcli.savedmodel.objects import LISTS
from hubcli.savedmodel.order import candidates_by_order
from hubcli.savedmodel.targets import Target, Targets
from hubcli.savedmodel.weights import Weights, WeightsKind

__all__ = ["Mapping", "Pair", "map_weights"]

_TOLD = 5


class Pair(NamedTuple):
    """A variable and the key of its new value. `found_by` is one of the words of `Mapping`."""

    target_key: str
    target_path: str
    source_key: str
    dtype: str
    shape: tuple[int, ...]
    found_by: str


class Mapping(NamedTuple):
    """Every variable with its value, in the model's order.

    `root` is the object (or layer) of the weights that is the model, "" for
    their root; None where names alone decided. `found_by` of the pairs is
    `key`, `objects`, `name`, `order` (where equal shapes can't be told apart)
    or `map`. `kept` are keys of the model without a new value, `unused` those
    of the weights that are for none of its variables.
    """

    pairs: tuple[Pair, ...]
    root: str | None
    kept: tuple[str, ...]
    unused: tuple[str, ...]

    def values(self, weights: Weights) -> dict[str, TensorValues]:
        """The new values by checkpoint key of the model, as `rewrite` takes them."""
        return {pair.target_key: weights.tensors[pair.source_key] for pair in self.pairs}


def map_weights(
    targets: Targets,
    weights: Weights,
    *,
    root: str | None = None,
    named: MappingType[str, str] | None = None,
) -> Mapping:
    """The one mapping of the weights onto the variables of the model.

    `root` chooses an object of a checkpoint, or a layer of a Keras file, by
    its path; `named` pairs variables (by key or path) with keys of the weights,
    the rest must have equal keys. Raises MappingError where the user must
    choose, ValuesError where values don't fit, UsageError for names of nothing.
    """
    if named:
        return _by_map(targets, weights, named)
    by_key = _same_keys(targets, weights)
    if root is None and by_key is not None:
        return _mapping(targets, weights, by_key, "key", None)
    if weights.kind in (WeightsKind.NPZ, WeightsKind.SAFETENSORS):
        if root is not None:
            raise UsageError(
                f"{weights.path} has no objects or layers, of which --root could choose one",
                hint="Leave --root out. To name the pairs yourself: --map FILE.",
            )
        raise _unequal_keys(targets, weights)
    if weights.groups:
        found_by, candidates = "order", candidates_by_order(targets, weights)
    elif targets.graph is not None and weights.graph is not None:
        lockstep = Lockstep(targets, weights.graph, weights.tensors)
        listed = candidates_by_lists(targets, weights)
        if root is not None and root not in {one.root for one in listed}:
            return _at_root(targets, weights, lockstep, root)
        found_by, candidates = "objects", lockstep.candidates() if root is None else []
        if listed and not any(one.is_full for one in candidates):
            found_by, candidates = "order", listed
    else:
        found_by, candidates = "name", candidates_by_name(targets, weights)
    chosen = _the_one(targets, weights, candidates, root)
    return _mapping(targets, weights, chosen.pairs, found_by, chosen.root)


def _mapping(
    targets: Targets, weights: Weights, pairs: Iterable[tuple[str, str]], found_by: str, root: str | None
) -> Mapping:
    sources = dict(pairs)
    return Mapping(
        pairs=tuple(
            Pair(one.key, one.path, sources[one.key], one.dtype.name, one.shape, found_by)
            for one in targets.all
            if one.key in sources
        ),
        root=root,
        kept=tuple(one.key for one in targets.all if one.key not in sources),
        unused=tuple(sorted(weights.tensors.keys() - set(sources.values()))),
    )


def _at_root(targets: Targets, weights: Weights, lockstep: Lockstep, root: str) -> Mapping:
    assert weights.graph is not None
    node = weights.graph.node_at(root)
    if node is None:
        raise UsageError(
            f"{weights.path} has no object {root}", hint="Without --root, hubcli names those that come close."
        )
    candidate = lockstep.at(node)
    if not candidate.is_full:
        # A layer is named by those who made it, the object in it by tensorflow_hub.
        candidate = _the_one(targets, weights, lockstep.candidates(node) or [candidate], None)
    return _mapping(targets, weights, candidate.pairs, "objects", candidate.root)


def _the_one(targets: Targets, weights: Weights, candidates: list[Candidate], root: str | None) -> Candidate:
    if root is not None:
        candidates = [one for one in candidates if one.root == root.strip("/")]
        if not candidates:
            raise UsageError(
                f"{weights.path} has nothing under {root} that fits a variable of {targets.model}",
                hint="Without --root, hubcli names what comes close.",
            )
    full = [candidate for candidate in candidates if candidate.is_full]
    if len(full) == 1:
        return full[0]
    if not full:
        raise _misfit(targets, weights, candidates)
    names = ", ".join(_told(one.root) for one in full[:_TOLD])
    more = f" and {len(full) - _TOLD} more" if len(full) > _TOLD else ""
    # Two orders of the same piece can't be told apart by where it stands.
    has_roots = len({one.root for one in full}) == len(full)
    raise MappingError(
        f"{len(full)} parts of {weights.path} fit all {full[0].wanted} variables of {targets.model}: "
        f"{names}{more}",
        hint=f"Choose the one that was fine-tuned, such as --root {shlex.quote(full[0].root or '/')}"
        if has_roots
        else "Name the value of each variable: --map FILE.",
        candidates=tuple(full),
    )


def _misfit(
    targets: Targets, weights: Weights, candidates: list[Candidate]
) -> MappingError | ValuesError | UsageError:
    """The error for weights of which no part is the whole model."""
    if not candidates:
        return MappingError(
            f"{weights.path} holds nothing that fits a variable of {targets.model}",
            hint="Are they weights of another model? To name the pairs yourself: --map FILE.",
        )
    best = candidates[0]
    reasons = "; ".join(best.misfits)
    more = best.wanted - best.fits - len(best.misfits)
    reasons += f"; and {more} more" if more > 0 else ""
    text = (
        f"No part of {weights.path} fits all {best.wanted} variables of {targets.model}. "
        f"The closest, {_told(best.root)}, fits {best.fits}: {reasons}"
    )
    return MappingError(
        text, hint="To name the pairs yourself: --map FILE.", candidates=tuple(candidates[:_TOLD])
    )


def _told(root: str) -> str:
    return root or "/ (the root)"


def _same_keys(targets: Targets, weights: Weights) -> list[tuple[str, str]] | None:
    """Pairs of equal keys, where every variable has one and no other value is left over."""
    by_key = {key.removesuffix(VALUE_SUFFIX): key for key in weights.tensors}
    if len(by_key) < len(weights.tensors):
        return None
    known = {target.key.removesuffix(VALUE_SUFFIX): target for target in targets.all}
    required = {short for short, target in known.items() if target.is_required}
    if not required <= by_key.keys() or (by_key.keys() - known.keys() - {"save_counter"}):
        return None
    pairs = []
    for short, target in known.items():
        if short not in by_key:
            continue
        misfit = target.misfit(weights.tensors[by_key[short]])
        if misfit is None:
            pairs.append((target.key, by_key[short]))
        elif target.is_required:
            raise _wrong_values(weights, misfit)
    return None if _are_listed_otherwise(targets, weights, pairs) else pairs


def _are_listed_otherwise(targets: Targets, weights: Weights, pairs: list[tuple[str, str]]) -> bool:
    """Whether equal keys are but places in lists, which hold the same variables in another order."""
    listed = any(target.key.partition("/")[0] in LISTS for target in targets.required)
    return listed and weights.graph is not None and bool(targets.misplaced(pairs, weights.graph.full_names))


def _wrong_values(weights: Weights, misfit: str) -> ValuesError:
    return ValuesError(
        f"{weights.path}: {misfit}", hint="Fine-tuned values have the shapes and types of the model's own."
    )


def _unequal_keys(targets: Targets, weights: Weights) -> MappingError:
    """The error for files that name each value by its checkpoint key, and name another."""
    given = [key.removesuffix(VALUE_SUFFIX) for key in weights.tensors]
    twice = [key for key, count in Counter(given).items() if count > 1]
    wanted = {target.key.removesuffix(VALUE_SUFFIX): target.is_required for target in targets.all}
    missing = [key for key, is_required in wanted.items() if is_required and key not in set(given)]
    left = sorted(set(given) - wanted.keys())
    told = [
        f"{what} {', '.join(keys[:_TOLD])}{' …' if len(keys) > _TOLD else ''}"
        for what, keys in (("lacks", missing), ("has beside them", left), ("has twice", twice))
        if keys
    ]
    return MappingError(
        f"The keys of {weights.path} aren't those of {targets.model}'s variables: it {'; it '.join(told)}",
        hint="`hubcli inspect --json` lists the keys. To name the pairs yourself: --map FILE.",
    )


def _by_map(targets: Targets, weights: Weights, named: MappingType[str, str]) -> Mapping:
    """The pairs that the user names; variables that aren't named must have a value of their own key."""
    sources = {key.removesuffix(VALUE_SUFFIX): key for key in weights.tensors} | {
        key: key for key in weights.tensors
    }
    by_name: dict[str, Target] = {}
    for target in targets.all:
        by_name.setdefault(target.path, target)
    for target in targets.all:  # A key is one variable's; a path of what an optimizer keeps may be several's.
        by_name |= {target.key: target, target.key.removesuffix(VALUE_SUFFIX): target}
    pairs: dict[str, str] = {}
    for left, right in named.items():
        _require_one(targets, left)
        if left not in by_name:
            raise UsageError(f"{targets.model} has no variable {left}", hint="`hubcli inspect` lists them.")
        if right not in sources:
            raise UsageError(f"{weights.path} has no value {right}", hint="Name one by its key there.")
        target = by_name[left]
        if target.key in pairs:
            raise UsageError(f"The map names {target.path} twice", hint="Leave one of the lines.")
        misfit = target.misfit(weights.tensors[sources[right]])
        if misfit is not None:
            raise _wrong_values(weights, misfit)
        pairs[target.key] = sources[right]
    return _completed(targets, weights, pairs, sources)


def _require_one(targets: Targets, name: str) -> None:
    """Raises UsageError for a path that several variables have, none of which has it as its key."""
    short = {target.key.removesuffix(VALUE_SUFFIX) for target in targets.all}
    keys = [target.key for target in targets.all if target.path == name]
    if len(keys) > 1 and name not in short:
        raise UsageError(
            f"{len(keys)} variables of {targets.model} have the path {name}: {', '.join(keys[:_TOLD])}",
            hint="Name the one that is meant by its key.",
        )


def _completed(targets: Targets, weights: Weights, pairs: dict[str, str], sources: dict[str, str]) -> Mapping:
    mapping = _mapping(targets, weights, pairs.items(), "map", None)
    missing = []
    rest: dict[str, str] = {}
    for target in targets.required:
        key = sources.get(target.key.removesuffix(VALUE_SUFFIX))
        if target.key in pairs:
            continue
        if key is None or target.misfit(weights.tensors[key]) is not None:
            missing.append(target.path)
        else:
            rest[target.key] = key
    if missing:
        raise MappingError(
            f"The map names no value for {len(missing)} of the variables: {', '.join(missing[:_TOLD])}",
            hint="Add a line for each: target = source.",
        )
    by_key = {pair.target_key: pair for pair in _mapping(targets, weights, rest.items(), "key", None).pairs}
    by_key |= {pair.target_key: pair for pair in mapping.pairs}
    every = tuple(by_key[target.key] for target in targets.all if target.key in by_key)
    used = {pair.source_key for pair in every}
    return Mapping(
        every,
        None,
        tuple(target.key for target in targets.all if target.key not in by_key),
        tuple(key for key in mapping.unused if key not in used),
    )
