"""The names of the strategies that training may run under; apart, since the command line lists them."""

from __future__ import annotations

from enum import Enum

__all__ = ["StrategyKind"]


class StrategyKind(str, Enum):
    """The kinds of `tf.distribute` strategies that training may run under."""

    MIRRORED = "mirrored"
    MULTI_WORKER = "multiworker"
