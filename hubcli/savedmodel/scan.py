"""The scan: ops that run code, touch files or the network, wherever they stand in a model."""

from __future__ import annotations

from collections.abc import Iterator

from hubcli.savedmodel.callers import Callers, Moment
from hubcli.savedmodel.graph import Body, Node
from hubcli.savedmodel.info import Finding, Severity
from hubcli.savedmodel.known_ops import is_known
from hubcli.savedmodel.objects import ObjectGraph
from hubcli.savedmodel.op_risks import SAVER_OPS, TABLE_OPS, Risk, risk_of, risk_of_print
from hubcli.savedmodel.outline import MetaGraphOutline, declared_assets_of

__all__ = ["scan_ops"]

_FED = ("Placeholder", "_Arg")
_PASSED_THROUGH = ("Identity", "StopGradient")


def scan_ops(outline: MetaGraphOutline, objects: ObjectGraph | None) -> Iterator[Finding]:
    """What the ops of a MetaGraph can do beyond their tensors, by function.

    Left out is what every model needs: to save and restore its variables, and
    to fill its tables from its assets.
    """
    graph, callers = outline.graph, Callers(outline, objects)
    risky = {op for op in graph.op_counts if risk_of(op) is not None}
    unknown = {op for op in graph.op_counts if not is_known(op) and op not in graph.functions}
    for body in graph.bodies:
        if not risky.isdisjoint(body.op_counts):
            yield from _risks_in(body, callers, outline, objects)
        for op in sorted(unknown.intersection(body.op_counts)):
            yield Finding(Severity.LOW, "unknown-op", f"TensorFlow 2.21 has no op {op}", _place(body))


def _risks_in(
    body: Body, callers: Callers, outline: MetaGraphOutline, objects: ObjectGraph | None
) -> Iterator[Finding]:
    """One finding for each op and moment in the body."""
    found: dict[tuple[str, str, str], Finding] = {}
    for node in body.nodes():
        risk = risk_of(node.op)
        if risk is None:
            continue
        moments = callers.moments(body, node)
        if node.op in SAVER_OPS and _is_savers_own(risk, moments, body):
            continue
        if node.op in TABLE_OPS and not _reads_fixed_path(node, body, outline, objects):
            continue
        if node.op == "PrintV2":
            # What is no text is an attribute of the call: any text at all.
            stream = node.text("output_stream")
            risk = risk_of_print(stream, is_unknown=stream is None and node.has("output_stream"))
        when = ", ".join(sorted(moments)) or "though nothing reaches it"
        found.setdefault((node.op, when, risk.code), _finding(node, risk, when, body))
    yield from found.values()


def _is_savers_own(risk: Risk, moments: frozenset[Moment], body: Body) -> bool:
    """Whether the op runs at its own moment alone: writing on save, reading on save or restore.

    Nodes of the graph itself that nothing reaches are what TensorFlow 1's savers
    leave behind. A function has no such excuse: there are ways to call one that
    a graph doesn't show.
    """
    allowed = {Moment.SAVE} if risk.code == "writes-files" else {Moment.SAVE, Moment.RESTORE}
    return moments <= allowed and (bool(moments) or body.name == "")


def _finding(node: Node, risk: Risk, when: str, body: Body) -> Finding:
    return Finding(risk.severity, risk.code, f"{node.op} {risk.sentence}, {when}", _place(body))


def _place(body: Body) -> str:
    return f"function {body.name}" if body.name else "graph"


def _reads_fixed_path(node: Node, body: Body, outline: MetaGraphOutline, objects: ObjectGraph | None) -> bool:
    """Whether the table's file is a constant that is no asset, rather than what TensorFlow passes in."""
    sources = {one.name: one for one in body.nodes()}
    name = node.inputs[1] if len(node.inputs) > 1 else ""
    for _ in range(len(sources)):
        source = sources.get(name)
        if source is None or source.op not in _PASSED_THROUGH or not source.inputs:
            break
        name = source.inputs[0]
    if body.name == "" and name in _asset_nodes(outline):
        return False
    if name in sources:
        return sources[name].op not in _FED  # What is fed is the caller's.
    return objects is not None and _captured_kind(name, body, objects) == "constant"


def _captured_kind(argument: str, body: Body, objects: ObjectGraph) -> str | None:
    """The kind of object that stands for the argument: captured ones come behind those of the caller."""
    function, names = objects.concrete_function(body.name), body.input_names()
    if function is None or argument not in names:
        return None
    place = names.index(argument) - len(names) + len(function.bound_inputs)
    node = function.bound_inputs[place] if place >= 0 else -1
    return objects.kind(node) if 0 <= node < len(objects) else None


def _asset_nodes(outline: MetaGraphOutline) -> set[str]:
    """The nodes that TensorFlow feeds with paths of assets."""
    return {asset.tensor_info.name.partition(":")[0] for asset in declared_assets_of(outline)}
