"""The sections of what `hubcli inspect` shows."""

from __future__ import annotations

from enum import Enum, auto

__all__ = ["Part"]


class Part(Enum):
    """A section that can be asked for alone."""

    FUNCTIONS = auto()
    SIGNATURES = auto()
    VARIABLES = auto()
    ASSETS = auto()
    OPS = auto()
    FINDINGS = auto()
    REUSABLE = auto()
    TREE = auto()
