"""Values found by their order: Keras's weights files say of a layer no more than that.

Keras writes the trainable weights of a layer first, then the others, each as
the layer lists them; what a layer made of a loaded object lists are the
object's `trainable_variables`, then the rest of its `variables`.
"""

from __future__ import annotations

from hubcli.savedmodel.lockstep import Candidate
from hubcli.savedmodel.targets import Targets
from hubcli.savedmodel.weights import WeightGroup, Weights

__all__ = ["candidates_by_order"]

_TOLD_MISFITS = 3


def candidates_by_order(targets: Targets, weights: Weights) -> list[Candidate]:
    """Each layer with as many values as the model has variables, or any that fits; the fullest first."""
    found = [_candidate(targets, weights, group) for group in weights.groups]
    return sorted((one for one in found if one.fits), key=lambda candidate: -candidate.fits)


def _candidate(targets: Targets, weights: Weights, group: WeightGroup) -> Candidate:
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
        misfits.insert(0, f"the layer has {len(group.keys)} values")
        fits = min(fits, len(required) - 1)
    return Candidate(group.name, tuple(pairs), fits, len(required), tuple(misfits[:_TOLD_MISFITS]))
