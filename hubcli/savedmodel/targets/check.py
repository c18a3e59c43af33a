"""The check of `hubcli inspect --for`: whether targets support a model, without TensorFlow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from hubcli.issues import Severity
from hubcli.savedmodel.graph import MetaGraphOutline
from hubcli.savedmodel.layout import TF1_HUB_MARKER
from hubcli.savedmodel.model import ModelFiles
from hubcli.savedmodel.objects import ObjectGraph
from hubcli.savedmodel.targets.loader_rules import (
    cluster_obstacles,
    cpu_obstacles,
    hub_layer_obstacles,
    keras_layer_obstacles,
    litert_obstacles,
    session_obstacles,
)
from hubcli.savedmodel.targets.needs import read_needs
from hubcli.savedmodel.targets.object_rules import object_obstacles
from hubcli.savedmodel.targets.obstacle import ModelNeeds, Obstacle, TargetReport
from hubcli.savedmodel.targets.release_rules import release_obstacles
from hubcli.savedmodel.targets.releases import op_releases
from hubcli.savedmodel.targets.target import Target, TargetKind

__all__ = ["check_targets"]

_SERVE = frozenset({"serve"})
_INDEX = "variables/variables.index"
_MAX_OBSTACLES, _MAX_OF_CODE = 200, 50


def check_targets(
    files: ModelFiles,
    outlines: tuple[MetaGraphOutline, ...],
    targets: tuple[Target, ...],
) -> tuple[TargetReport, ...]:
    """A report for each target, on the MetaGraph that loaders use by default; others are not checked.

    Call it within the context of `read_outline`, in which the outlines can be read. Raises BrokenModelError
    for a graph that is corrupt or too large.
    """
    outline = _served(outlines)
    has_values = True if files.has(_INDEX) else False if files.is_complete else None
    needs = ModelNeeds(
        outline=outline,
        objects=None if outline.objects is None else ObjectGraph(outline.objects),
        graph=read_needs(outline, op_releases()),
        meta_graphs=len(outlines),
        has_values=has_values,
    )
    is_hub_format = files.has(TF1_HUB_MARKER)
    return tuple(
        TargetReport(target, _listed(_obstacles(needs, target, is_hub_format=is_hub_format)))
        for target in targets
    )


def _served(outlines: tuple[MetaGraphOutline, ...]) -> MetaGraphOutline:
    """The MetaGraph that loaders use by default: the one tagged `serve`, else untagged, else the first."""
    sets = [frozenset(outline.rest.meta_info_def.tags) for outline in outlines]
    for tags in (_SERVE, frozenset[str]()):
        if tags in sets:
            return outlines[sets.index(tags)]
    return outlines[0]


def _obstacles(needs: ModelNeeds, target: Target, *, is_hub_format: bool) -> Iterator[Obstacle]:
    kind, releases = target.kind, target.releases
    if kind is TargetKind.CPU:
        yield from cpu_obstacles(needs)
    elif kind is TargetKind.LITERT:
        yield from litert_obstacles(needs)
    elif kind in (TargetKind.SERVING, TargetKind.SESSION):
        in_serving = kind is TargetKind.SERVING
        yield from release_obstacles(needs, releases, in_session=True, in_serving=in_serving)
        yield from cluster_obstacles(needs, releases, in_session=True)
        yield from session_obstacles(needs, releases, in_serving=in_serving)
    else:
        yield from release_obstacles(needs, releases, in_session=False)
        yield from cluster_obstacles(needs, releases, in_session=False)
        yield from object_obstacles(needs, releases, has_keras_2=kind is TargetKind.HUB_LAYER)
        if kind is TargetKind.KERAS_LAYER:
            yield from keras_layer_obstacles(needs)
        elif kind is TargetKind.HUB_LAYER:
            yield from hub_layer_obstacles(needs, is_hub_format=is_hub_format)


def _listed(obstacles: Iterator[Obstacle]) -> tuple[Obstacle, ...]:
    """The most severe first, each kind in the order in which it was found; at most 200.

    Those that decide the verdict of a release are always among them.
    """
    listed, counts = list[Obstacle](), Counter[tuple[str, Severity]]()
    decided = set[tuple[str, str]]()
    for found in sorted(obstacles, key=lambda found: -found.issue.severity.rank):
        kind = found.issue.code, found.issue.severity
        verdicts = {(release, found.when) for release in found.releases or ("",) if found.is_blocking}
        has_room = counts[kind] < _MAX_OF_CODE and len(listed) < _MAX_OBSTACLES
        if has_room or not verdicts <= decided:
            listed.append(found)
            counts[kind] += 1
            decided |= verdicts
    return tuple(listed)
