"""Obstacles: what prevents a loader from loading or running a model, and the report of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from hubcli.issues import Issue, Location, Severity
from hubcli.savedmodel.graph import MetaGraphOutline
from hubcli.savedmodel.objects import ObjectGraph
from hubcli.savedmodel.targets.needs import GraphNeeds, Place
from hubcli.savedmodel.targets.target import Target

__all__ = ["CALL", "LOAD", "ConversionTrial", "ModelNeeds", "Obstacle", "TargetReport", "obstacle"]

LOAD, CALL = "load", "call"
_NO_PLACE = Place("", "")
_MAX_TEXT = 500  # Names of ops, nodes and functions in a hostile model may have millions of characters.


class ModelNeeds(NamedTuple):
    """What a model needs: `graph` of the MetaGraph that is served, `objects` where TensorFlow 2 wrote it.

    `meta_graphs` is how many there are. `has_values` says that it has a checkpoint, None if that is unknown
    because an archive was read in part.
    """

    outline: MetaGraphOutline
    objects: ObjectGraph | None
    graph: GraphNeeds
    meta_graphs: int
    has_values: bool | None

    @property
    def rest(self) -> Any:
        """The MetaGraphDef without its graph and objects."""
        return self.outline.rest

    @property
    def signatures(self) -> list[str]:
        """The names of the signatures that can be called."""
        definitions = self.rest.signature_def
        return sorted(name for name in definitions if definitions[name].outputs and name[:2] != "__")


class Obstacle(NamedTuple):
    """An obstacle; with an issue of the severity `error` the target fails, others are warnings and hints.

    `when` says whether loading or a call fails. `releases` are the affected releases of the target, empty for
    a target without releases; `nodes` is the number of affected nodes.
    """

    issue: Issue
    when: str
    releases: tuple[str, ...]
    nodes: int = 1

    @property
    def is_blocking(self) -> bool:
        """Whether it prevents the target from loading or running the model."""
        return self.issue.severity is Severity.ERROR


class ConversionTrial(NamedTuple):
    """The result of LiteRT's converter: whether it needed Select ops, or why it failed; the file's size."""

    is_done: bool
    needs_select_ops: bool
    reason: str
    size_bytes: int | None
    tensorflow_version: str


class TargetReport(NamedTuple):
    """What is known of a model and a target. It never says that a model will work."""

    target: Target
    obstacles: tuple[Obstacle, ...]
    conversion: ConversionTrial | None = None

    def with_conversion(self, conversion: ConversionTrial) -> TargetReport:
        """The report with the converter's result, which replaces obstacles of ops and of conversion.

        Obstacles of running the result remain.
        """
        left = tuple(
            found
            for found in self.obstacles
            if found.issue.code != "select-ops"
            and not (conversion.is_done and found.is_blocking and found.when == LOAD)
        )
        return self._replace(conversion=conversion, obstacles=left)

    @property
    def is_blocked(self) -> bool:
        """Whether an obstacle prevents the target from loading or running the model."""
        if self.conversion is not None and not self.conversion.is_done:
            return True
        return any(found.is_blocking for found in self.obstacles)

    @property
    def verdict(self) -> str:
        """`cannot-load`, `cannot-run` or `no-obstacle-found`; of several releases the worst."""
        if not self.is_blocked:
            return "no-obstacle-found"
        return (
            _verdict(self.obstacles) if any(found.is_blocking for found in self.obstacles) else "cannot-load"
        )

    def verdict_of(self, release: str) -> str:
        """The verdict for one of the target's releases."""
        return _verdict(found for found in self.obstacles if release in found.releases)


def _verdict(obstacles: Iterable[Obstacle]) -> str:
    whens = {found.when for found in obstacles if found.is_blocking}
    if LOAD in whens:
        return "cannot-load"
    return "cannot-run" if CALL in whens else "no-obstacle-found"


def obstacle(
    code: str,
    message: str,
    cure: str,
    *,
    severity: Severity = Severity.ERROR,
    when: str = LOAD,
    place: Place | None = None,
    part: str = "",
    releases: tuple[str, ...] = (),
    nodes: int = 1,
) -> Obstacle:
    """An obstacle at a node, or in another part of the model."""
    at = place or _NO_PLACE
    if place is not None:
        part = f"function {at.function}" if at.function else "graph"
    return Obstacle(
        Issue(
            severity,
            code,
            _clipped(message),
            Location(_clipped(part) or None, node=_clipped(at.node) or None),
            _clipped(cure),
        ),
        when,
        releases,
        nodes,
    )


def _clipped(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"
