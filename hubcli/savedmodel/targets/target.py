"""Targets: what loads a model, as `hubcli inspect --for` names it.

A target is a name, and for some a comparison with a release: `tensorflow>=2.12`. The grammar is the part of
PEP 440 for releases of two numbers; anything else is refused.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from hubcli.errors import UsageError, did_you_mean
from hubcli.savedmodel.targets.releases import op_releases, release_key

__all__ = ["Target", "TargetKind", "parse_targets", "target_names"]

_MAX_TARGETS, _MAX_CHARACTERS = 20, 1000
_TARGET = re.compile(
    r"(?a)([A-Za-z][A-Za-z0-9._-]*)\s*(?:(==|>=|<=|>|<)\s*(\d{1,4}\.\d{1,4})(?:\.(?:\d{1,6}|\*))?)?"
)
_COMPARISONS: dict[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    "==": operator.eq,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


class TargetKind(str, Enum):
    """What loads the model."""

    TENSORFLOW = "tensorflow"
    SERVING = "serving"
    SESSION = "session"
    LITERT = "litert"
    CPU = "cpu"
    KERAS_LAYER = "keras3-layer"
    HUB_LAYER = "hub.KerasLayer"

    @property
    def has_releases(self) -> bool:
        """Whether a release may be named."""
        return self in (TargetKind.TENSORFLOW, TargetKind.SERVING, TargetKind.SESSION)


class Target(NamedTuple):
    """What loads the model; `text` is as the user wrote it, `releases` are the releases of TensorFlow."""

    text: str
    kind: TargetKind
    releases: tuple[str, ...]


def target_names() -> list[str]:
    """The names that a target may have."""
    return [kind.value for kind in TargetKind]


def parse_targets(text: str) -> tuple[Target, ...]:
    """The targets of a list with commas, each once. Raises UsageError for an invalid one."""
    parts = [part.strip() for part in text[: _MAX_CHARACTERS + 1].split(",")]
    if len(text) > _MAX_CHARACTERS or len(parts) > _MAX_TARGETS:
        raise UsageError(
            f"--for takes up to {_MAX_TARGETS} targets in {_MAX_CHARACTERS} characters",
            hint="Run hubcli inspect several times.",
        )
    return tuple({part: _parse(part) for part in parts}.values())


def _parse(text: str) -> Target:
    match = _TARGET.fullmatch(text)
    name = match[1] if match is not None else re.split(r"[=<>!~\s]", text, maxsplit=1)[0]
    if not name and text:
        raise UsageError(
            f"Invalid target '{text}': it has no name",
            hint="Use one comparison for each target, such as tensorflow==2.12,tensorflow==2.15",
        )
    kind = next((kind for kind in TargetKind if kind.value.lower() == name.lower()), None)
    if kind is None:
        raise UsageError(
            f"Unknown target '{text}'{did_you_mean(name, target_names())}",
            hint=f"Use one of {', '.join(target_names())}.",
        )
    if match is None:
        raise UsageError(
            f"Invalid target '{text}': expected {kind.value}, ==, >=, <=, > or <, and a release such as 2.12",
            hint=f"Use a target like --for '{kind.value}>=2.12'",
        )
    if match[2] is None:
        return Target(text, kind, op_releases().releases[-1:])
    if not kind.has_releases:
        raise UsageError(f"The target {kind.value} takes no release", hint=f"Use --for {kind.value}")
    return Target(text, kind, _releases(text, match[2], match[3]))


def _releases(text: str, comparison: str, release: str) -> tuple[str, ...]:
    """The releases that the comparison holds for, oldest first; 2.15.1 counts as 2.15."""
    known = op_releases().releases
    bound, holds = release_key(release), _COMPARISONS[comparison]
    found = tuple(name for name in known if holds(release_key(name), bound))
    if not found:
        raise UsageError(
            f"No known release fits '{text}': hubcli knows TensorFlow {known[0]} to {known[-1]}",
            hint=f"Use a release from {known[0]} to {known[-1]}.",
        )
    return found
