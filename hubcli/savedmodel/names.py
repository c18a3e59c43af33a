"""Values found by the names of variables, as TensorFlow 1's Saver writes them: no objects tell more."""

from __future__ import annotations

from collections import Counter

from hubcli.savedmodel.lockstep import Candidate
from hubcli.savedmodel.targets import Target, Targets
from hubcli.savedmodel.weights import Weights

__all__ = ["candidates_by_name"]

_TOLD_MISFITS = 3


def candidates_by_name(targets: Targets, weights: Weights) -> list[Candidate]:
    """The scopes of the weights below which the model's variables have their names; the fullest first.

    A model that was loaded into a larger graph has its names below a scope of
    that graph. Names that two variables share are no names.
    """
    sources = _sources(weights)
    wanted = {name: target for target in targets.required if (name := _name(targets, target))}
    counts = Counter(_name(targets, target) for target in targets.required)
    scopes = dict.fromkeys(
        source.removesuffix(name) for source in sources for name in wanted if _is_scoped(source, name)
    )
    found = []
    for scope in scopes:
        pairs, misfits = [], []
        for target in targets.required:
            name = _name(targets, target)
            key = sources.get(scope + name) if counts[name] == 1 else None
            misfit = (
                f"{target.path} isn't there by its name"
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
    """Keys by the names of variables, as far as a name is one variable's."""
    if weights.graph is None:
        return {key: key for key in weights.tensors}
    names = weights.graph.full_names
    counts = Counter(names.values())
    return {name: key for key, name in names.items() if counts[name] == 1 and key in weights.tensors}


def _name(targets: Targets, target: Target) -> str:
    """What the graph calls it; TensorFlow 1 has no other key."""
    return target.key if targets.graph is None else target.name.partition(":")[0]
