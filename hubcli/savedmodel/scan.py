"""The scan: ops that run code, touch files or the network, wherever they stand in a model."""

from __future__ import annotations

from collections.abc import Iterator

from hubcli.savedmodel.callers import Callers, Moment
from hubcli.savedmodel.graph import Body, Node
from hubcli.savedmodel.info import Finding, Severity
from hubcli.savedmodel.known_ops import is_known
from hubcli.savedmodel.objects import ObjectGraph
from hubcli.savedmodel.op_risks import SAVER_OPS, TABLE_OPS, Risk, risk_of, risk_of_print
from hubcli.savedmodel.outline import MetaGraphOutline

__all__ = ["scan_ops"]

_CONSTANTS = ("Const", "HostConst")
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
            yield from _risks_in(body, callers, outline)
        for op in sorted(unknown.intersection(body.op_counts)):
            yield Finding(Severity.LOW, "unknown-op", f"TensorFlow 2.21 has no op {op}", _place(body))


def _risks_in(body: Body, callers: Callers, outline: MetaGraphOutline) -> Iterator[Finding]:
    """One finding for each op and moment in the body."""
    found: dict[tuple[str, str], Finding] = {}
    for node in body.nodes():
        risk = risk_of(node.op)
        if risk is None:
            continue
        moments = callers.moments(body, node)
        if node.op in SAVER_OPS and moments <= {Moment.SAVE}:
            continue
        if node.op in TABLE_OPS and not _reads_fixed_path(node, body, outline):
            continue
        if node.op == "PrintV2":
            risk = risk_of_print(node.text("output_stream"))
        when = ", ".join(sorted(moments)) or "though nothing reaches it"
        found.setdefault((node.op, when), _finding(node, risk, when, body))
    yield from found.values()


def _finding(node: Node, risk: Risk, when: str, body: Body) -> Finding:
    return Finding(risk.severity, risk.code, f"{node.op} {risk.sentence}, {when}", _place(body))


def _place(body: Body) -> str:
    return f"function {body.name}" if body.name else "graph"


def _reads_fixed_path(node: Node, body: Body, outline: MetaGraphOutline) -> bool:
    """Whether the table's file is a constant that is no asset, rather than what TensorFlow passes in."""
    sources = {one.name: one for one in body.nodes()}
    name = node.inputs[1] if len(node.inputs) > 1 else ""
    for _ in range(len(sources)):
        source = sources.get(name)
        if source is None or source.op not in _PASSED_THROUGH or not source.inputs:
            break
        name = source.inputs[0]
    assets = {asset.tensor_info.name.partition(":")[0] for asset in outline.rest.asset_file_def}
    return name in sources and sources[name].op in _CONSTANTS and (body.name != "" or name not in assets)
