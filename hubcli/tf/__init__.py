"""The one door to TensorFlow: models loaded, traced, trained, saved again, compared.

The kinds of strategies stand here: options need them before TensorFlow is loaded, which takes seconds.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["StrategyKind"]


class StrategyKind(str, Enum):
    """The kinds of `tf.distribute` strategies that training may run under."""

    MIRRORED = "mirrored"
    MULTI_WORKER = "multiworker"
