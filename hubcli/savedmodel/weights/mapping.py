"""Maps the values of weights to the variables of a model: one complete mapping, or an error."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterable
from collections.abc import Mapping as MappingType
from pathlib import Path
from typing import NamedTuple

from hubcli._moved import warn_of_old_name
from hubcli.errors import MappingError, NotFoundError, UsageError, ValuesError
from hubcli.formats.tensor_values import TensorValues
from hubcli.regular_file import read_regular
from hubcli.savedmodel.objects import LISTS
from hubcli.savedmodel.weights.assignable import VALUE_SUFFIX, AssignableVariable, AssignableVariables
from hubcli.savedmodel.weights.matching import (
    Candidate,
    MatchByGraph,
    candidates_by_lists,
    candidates_by_name,
    candidates_by_order,
)
from hubcli.savedmodel.weights.sources import Weights, WeightsKind
from hubcli.units import first_few, plural

__all__ = ["MatchedValue", "WeightMapping", "map_weights", "read_map"]

_MAX_LISTED = 5


class MatchedValue(NamedTuple):
    """A variable and the key of its new value. `found_by` is as in `WeightMapping`."""

    target_key: str
    target_path: str
    source_key: str
    dtype: str
    shape: tuple[int, ...]
    found_by: str


class WeightMapping(NamedTuple):
    """Every variable with its value, in the model's order.

    `root` is the object (or layer) of the weights that is the model, "" for their root; None if names alone
    decided. `found_by` of the pairs is `key`, `objects`, `name`, `order` (equal shapes can't be distinguished
    then) or `map`. `unassigned` are keys of the model without a new value, `unused` those of the weights
    without a variable.
    """

    pairs: tuple[MatchedValue, ...]
    root: str | None
    unassigned: tuple[str, ...]
    unused: tuple[str, ...]

    @property
    def kept(self) -> tuple[str, ...]:
        """The old name of `unassigned`."""
        warn_of_old_name(self, "kept", "unassigned")
        return self.unassigned

    def values(self, weights: Weights) -> dict[str, TensorValues]:
        """The new values by checkpoint key of the model, as `rewrite` takes them."""
        return {pair.target_key: weights.tensors[pair.source_key] for pair in self.pairs}


def map_weights(
    targets: AssignableVariables,
    weights: Weights,
    *,
    root: str | None = None,
    named: MappingType[str, str] | None = None,
) -> WeightMapping:
    """The one mapping of the weights onto the variables of the model.

    `root` chooses an object of a checkpoint, or a layer of a Keras file, by its path; `named` maps variables
    (by key or path) to keys of the weights, the rest must have equal keys. Raises MappingError if the user
    must choose, ValuesError for values that don't fit, UsageError for unknown names.
    """
    if named:
        return _by_map(targets, weights, named)
    by_key = _same_keys(targets, weights)
    if root is None and by_key is not None:
        return _mapping(targets, weights, by_key, "key", None)
    if weights.kind in (WeightsKind.NPZ, WeightsKind.SAFETENSORS):
        if root is not None:
            raise UsageError(
                f"{weights.path} has no objects or layers that --root could select",
                hint="Remove --root. To map values yourself: --map FILE.",
            )
        raise _unequal_keys(targets, weights)
    if weights.groups:
        found_by, candidates = "order", candidates_by_order(targets, weights)
    elif targets.graph is not None and weights.graph is not None:
        lockstep = MatchByGraph(targets, weights.graph, weights.tensors)
        listed = candidates_by_lists(targets, weights)
        if root is not None and root not in {candidate.root for candidate in listed}:
            return _at_root(targets, weights, lockstep, root)
        found_by, candidates = "objects", lockstep.candidates() if root is None else []
        if listed and not any(candidate.is_full for candidate in candidates):
            found_by, candidates = "order", listed
    else:
        found_by, candidates = "name", candidates_by_name(targets, weights)
    chosen = _the_one(targets, weights, candidates, root)
    return _mapping(targets, weights, chosen.pairs, found_by, chosen.root)


def _mapping(
    targets: AssignableVariables,
    weights: Weights,
    pairs: Iterable[tuple[str, str]],
    found_by: str,
    root: str | None,
) -> WeightMapping:
    sources = dict(pairs)
    return WeightMapping(
        pairs=tuple(
            MatchedValue(
                target.key, target.path, sources[target.key], target.dtype.name, target.shape, found_by
            )
            for target in targets.all
            if target.key in sources
        ),
        root=root,
        unassigned=tuple(target.key for target in targets.all if target.key not in sources),
        unused=tuple(sorted(weights.tensors.keys() - set(sources.values()))),
    )


def _at_root(
    targets: AssignableVariables, weights: Weights, lockstep: MatchByGraph, root: str
) -> WeightMapping:
    assert weights.graph is not None
    node = weights.graph.node_at(root)
    if node is None:
        raise UsageError(
            f"{weights.path} has no object {root}", hint="Remove --root to list the closest matches."
        )
    candidate = lockstep.at(node)
    if not candidate.is_full:
        # The root may be a user's layer, in which tensorflow_hub holds the loaded object.
        candidate = _the_one(targets, weights, lockstep.candidates(node) or [candidate], None)
    return _mapping(targets, weights, candidate.pairs, "objects", candidate.root)


def _the_one(
    targets: AssignableVariables, weights: Weights, candidates: list[Candidate], root: str | None
) -> Candidate:
    if root is not None:
        candidates = [candidate for candidate in candidates if candidate.root == root.strip("/")]
        if not candidates:
            raise UsageError(
                f"{weights.path} has nothing under {root} that matches a variable of {targets.model}",
                hint="Remove --root to list the closest matches.",
            )
    full = [candidate for candidate in candidates if candidate.is_full]
    if len(full) == 1:
        return full[0]
    if not full:
        raise _misfit(targets, weights, candidates)
    names = [_root_name(candidate.root) for candidate in full]
    # Two orders of the same piece have the same root.
    has_roots = len({candidate.root for candidate in full}) == len(full)
    raise MappingError(
        f"{len(full)} parts of {weights.path} match all {full[0].required} "
        f"variables of {targets.model}: {first_few(names, _MAX_LISTED)}",
        hint=f"Choose the one that was fine-tuned, such as --root {shlex.quote(full[0].root or '/')}"
        if has_roots
        else "Map the value of each variable: --map FILE.",
        candidates=tuple(full),
    )


def _misfit(
    targets: AssignableVariables, weights: Weights, candidates: list[Candidate]
) -> MappingError | ValuesError | UsageError:
    """The error for weights without a part that matches the whole model."""
    if not candidates:
        return MappingError(
            f"{weights.path} has nothing that matches a variable of {targets.model}",
            hint="Check that these are weights of this model. To map values yourself: --map FILE.",
        )
    best = candidates[0]
    reasons = "; ".join(best.misfits)
    more = best.required - best.fits - len(best.misfits)
    reasons += f"; and {more} more" if more > 0 else ""
    text = (
        f"No part of {weights.path} matches the {plural(best.required, 'variable')} of "
        f"{targets.model}. The closest, {_root_name(best.root)}, matches "
        f"{best.fits}: {reasons}"
    )
    return MappingError(
        text, hint="Map values yourself: --map FILE.", candidates=tuple(candidates[:_MAX_LISTED])
    )


def _root_name(root: str) -> str:
    return root or "/ (the root)"


def _same_keys(targets: AssignableVariables, weights: Weights) -> list[tuple[str, str]] | None:
    """Pairs of equal keys; None unless every variable has one and no value is left over."""
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


def _are_listed_otherwise(
    targets: AssignableVariables, weights: Weights, pairs: list[tuple[str, str]]
) -> bool:
    """Whether equal keys are only places in lists that have the same variables in another order."""
    listed = any(target.key.partition("/")[0] in LISTS for target in targets.required)
    return listed and weights.graph is not None and bool(targets.misplaced(pairs, weights.graph.full_names))


def _wrong_values(weights: Weights, misfit: str) -> ValuesError:
    return ValuesError(f"{weights.path}: {misfit}", hint="Use values with the shapes and types of the model.")


def _unequal_keys(targets: AssignableVariables, weights: Weights) -> MappingError:
    """The error for files of values by checkpoint keys that are not those of the model."""
    given = [key.removesuffix(VALUE_SUFFIX) for key in weights.tensors]
    twice = [key for key, count in Counter(given).items() if count > 1]
    required = {target.key.removesuffix(VALUE_SUFFIX): target.is_required for target in targets.all}
    missing = [key for key, is_required in required.items() if is_required and key not in set(given)]
    left = sorted(set(given) - required.keys())
    reasons = [
        f"{what} {', '.join(keys[:_MAX_LISTED])}{' …' if len(keys) > _MAX_LISTED else ''}"
        for what, keys in (("lacks", missing), ("also has", left), ("has twice", twice))
        if keys
    ]
    return MappingError(
        f"The keys of {weights.path} do not match the variables of "
        f"{targets.model}: it {'; it '.join(reasons)}",
        hint="List the keys: hubcli inspect --json. To map values yourself: --map FILE.",
    )


def _by_map(targets: AssignableVariables, weights: Weights, named: MappingType[str, str]) -> WeightMapping:
    """The pairs of the user's map; variables without one must have a value of their own key."""
    sources = {key.removesuffix(VALUE_SUFFIX): key for key in weights.tensors} | {
        key: key for key in weights.tensors
    }
    by_name: dict[str, AssignableVariable] = {}
    for target in targets.all:
        by_name.setdefault(target.path, target)
    for target in targets.all:  # A key is unique; variables of optimizers may share a path.
        by_name |= {target.key: target, target.key.removesuffix(VALUE_SUFFIX): target}
    pairs: dict[str, str] = {}
    for left, right in named.items():
        _require_one(targets, left)
        if left not in by_name:
            raise UsageError(
                f"{targets.model} has no variable {left}", hint="List them: hubcli inspect MODEL"
            )
        if right not in sources:
            raise UsageError(f"{weights.path} has no value {right}", hint="Use one of its keys.")
        target = by_name[left]
        if target.key in pairs:
            raise UsageError(f"The map assigns {target.path} twice", hint="Remove one of the lines.")
        misfit = target.misfit(weights.tensors[sources[right]])
        if misfit is not None:
            raise _wrong_values(weights, misfit)
        pairs[target.key] = sources[right]
    return _completed(targets, weights, pairs, sources)


def _require_one(targets: AssignableVariables, name: str) -> None:
    """Raises UsageError for a path that several variables have, none of which has it as its key."""
    short = {target.key.removesuffix(VALUE_SUFFIX) for target in targets.all}
    keys = [target.key for target in targets.all if target.path == name]
    if len(keys) > 1 and name not in short:
        raise UsageError(
            f"{len(keys)} variables of {targets.model} have the path {name}: {', '.join(keys[:_MAX_LISTED])}",
            hint="Use the key of the variable instead.",
        )


def _completed(
    targets: AssignableVariables, weights: Weights, pairs: dict[str, str], sources: dict[str, str]
) -> WeightMapping:
    """The mapping of these pairs, and of variables without one to values of their own keys."""
    missing, every = [], dict(pairs)
    for target in targets.required:
        key = sources.get(target.key.removesuffix(VALUE_SUFFIX))
        if target.key in pairs:
            continue
        if key is None or target.misfit(weights.tensors[key]) is not None:
            missing.append(target.path)
        else:
            every[target.key] = key
    if missing:
        raise MappingError(
            f"The map has no value for {len(missing)} of the variables: {', '.join(missing[:_MAX_LISTED])}",
            hint="Add a line for each: target = source.",
        )
    mapping = _mapping(targets, weights, every.items(), "key", None)
    by_map = tuple(
        pair._replace(found_by="map") if pair.target_key in pairs else pair for pair in mapping.pairs
    )
    return mapping._replace(pairs=by_map)


_MAX_BYTES = 16 << 20
_HINT = 'Use {"target": "source", …}, or lines such as: kernel = model/dense/kernel'


def read_map(path: Path) -> dict[str, str]:
    """Keys or paths of the model's variables with keys of the weights. Raises UsageError, NotFoundError."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError(f"{path} is too large for a map", hint=_HINT)
        text = read_regular(path, _MAX_BYTES).decode("utf-8")
    except OSError as error:
        raise NotFoundError(f"Cannot read {path}: {error.strerror}", hint="Check the path.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text", hint=_HINT) from error
    pairs = _of_json(path, text) if text.lstrip().startswith("{") else _of_lines(path, text)
    if not pairs:
        raise UsageError(f"{path} has no pairs", hint=_HINT)
    return pairs


def _of_json(path: Path, text: str) -> dict[str, str]:
    try:
        found = json.loads(text, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"Cannot read {path} as JSON: {error}", hint=_HINT) from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise UsageError(f"{path} must contain only pairs of text", hint=_HINT)
    return found


def _without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a variable appears twice in it")
    return found


def _of_lines(path: Path, text: str) -> dict[str, str]:
    """One pair a line; empty lines and those that begin with # are left out."""
    pairs: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        # A name may have an equals sign, but no spaces around it.
        target, middle, source = line.partition(" = ")
        if not middle or not target.strip() or not source.strip():
            raise UsageError(f"{path}, line {number}: not a pair", hint=_HINT)
        if target.strip() in pairs:
            raise UsageError(f"{path}, line {number}: {target.strip()} appears twice", hint=_HINT)
        pairs[target.strip()] = source.strip()
    return pairs
