"""The scan: ops that run code, touch files or the network, wherever they stand in a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from hubcli.errors import BrokenModelError
from hubcli.savedmodel.callers import Callers, Moment
from hubcli.savedmodel.graph import Body, Node
from hubcli.savedmodel.info import Finding, Severity
from hubcli.savedmodel.known_ops import is_known
from hubcli.savedmodel.objects import ObjectGraph
from hubcli.savedmodel.op_risks import SAVER_OPS, TABLE_OPS, Risk, risk_of, risk_of_print
from hubcli.savedmodel.outline import MetaGraphOutline, declared_assets_of

__all__ = ["scan_ops"]

_FED = ("Placeholder", "_Arg")
_MAX_STEPS, _MAX_OF_A_SEVERITY, _MAX_RISKY_NODES = 100, 1000, 50_000
_PASSED_THROUGH = ("Identity", "StopGradient")


def scan_ops(outline: MetaGraphOutline, objects: ObjectGraph | None) -> Iterator[Finding]:
    """What the ops of a MetaGraph can do beyond their tensors, by function.

    Left out is what every model needs: to save and restore its variables, and
    to fill its tables from its assets.
    """
    yield from _Scan(outline, objects).findings()


class _Scan:
    """The scan of one MetaGraph."""

    def __init__(self, outline: MetaGraphOutline, objects: ObjectGraph | None) -> None:
        self._graph = outline.graph
        self._objects = objects
        self._callers = Callers(outline, objects)
        # The nodes that TensorFlow feeds with paths of assets.
        self._assets = {asset.tensor_info.name.partition(":")[0] for asset in declared_assets_of(outline)}

    def findings(self) -> Iterator[Finding]:
        """The risks by body, then ops that nobody knows; of each severity no more than a person can read."""
        told: Counter[Severity] = Counter()
        for finding in (*self._risks(), *self._unknown()):
            told[finding.severity] += 1
            if told[finding.severity] <= _MAX_OF_A_SEVERITY:
                yield finding
        if max(told.values(), default=0) > _MAX_OF_A_SEVERITY:
            message = f"Of {told.total()} findings, {_MAX_OF_A_SEVERITY} of each severity are told"
            yield Finding(Severity.INFO, "more-findings", message, "graph")

    def _unknown(self) -> Iterator[Finding]:
        graph = self._graph
        unknown = {op for op in graph.op_counts if not is_known(op) and op not in graph.functions}
        for body in graph.bodies if unknown else ():
            for op in sorted(unknown.intersection(body.op_counts)):
                yield Finding(Severity.LOW, "unknown-op", f"TensorFlow 2.21 has no op {op}", _place(body))

    def _risks(self) -> Iterator[Finding]:
        counts = self._graph.op_counts
        risky = {op for op in counts if risk_of(op) is not None}
        if sum(counts[op] for op in risky) > _MAX_RISKY_NODES:
            raise BrokenModelError(f"its graph has more than {_MAX_RISKY_NODES} ops that touch files")
        for body in self._graph.bodies if risky else ():
            if not risky.isdisjoint(body.op_counts):
                yield from self._risks_in(body)

    def _risks_in(self, body: Body) -> Iterator[Finding]:
        """One finding for each op, risk and moment in the body."""
        found: set[tuple[str, frozenset[Moment], str]] = set()
        for node in body.nodes():
            risk = risk_of(node.op)
            if risk is None:
                continue
            if node.op == "PrintV2":
                # What is no text is an attribute of the call: any text at all.
                stream = node.text("output_stream")
                risk = risk_of_print(stream, is_unknown=stream is None and node.has("output_stream"))
            moments = self._callers.moments(body, node)
            key = (node.op, moments, risk.code)
            if key not in found and not self._is_expected(node, risk, moments, body):
                found.add(key)
                yield _finding(node, risk, moments, body)

    def _is_expected(self, node: Node, risk: Risk, moments: frozenset[Moment], body: Body) -> bool:
        """Whether every model has it at that place."""
        if node.op in SAVER_OPS:
            return _is_savers_own(risk, moments, body)
        return node.op in TABLE_OPS and not self._reads_fixed_path(node, body)

    def _reads_fixed_path(self, node: Node, body: Body) -> bool:
        """Whether the table's file is a constant that is no asset, rather than what TensorFlow passes in."""
        sources = body.by_name
        name = node.inputs[1] if len(node.inputs) > 1 else ""
        for _ in range(_MAX_STEPS):
            source = sources.get(name)
            if source is None or source.op not in _PASSED_THROUGH or not source.inputs:
                break
            name = source.inputs[0]
        if not body.is_function and name in self._assets:
            return False
        if name in sources:
            return sources[name].op not in _FED  # What is fed is the caller's.
        return self._captured_kind(name, body) == "constant"

    def _captured_kind(self, argument: str, body: Body) -> str | None:
        """The kind of object that stands for the argument: captured ones come behind those of the caller."""
        objects = self._objects
        function = objects.concrete_function(body.name) if objects is not None and body.is_function else None
        names = body.input_names() if function is not None else []
        if objects is None or function is None or argument not in names:
            return None
        place = names.index(argument) - len(names) + len(function.bound_inputs)
        node = function.bound_inputs[place] if place >= 0 else -1
        return objects.kind(node) if 0 <= node < len(objects) else None


def _is_savers_own(risk: Risk, moments: frozenset[Moment], body: Body) -> bool:
    """Whether the op runs at its own moment alone: writing on save, reading on save or restore.

    Nodes of the graph itself that nothing reaches are what TensorFlow 1's savers
    leave behind. A function has no such excuse: there are ways to call one that
    a graph doesn't show.
    """
    allowed = {Moment.SAVE} if risk.code == "writes-files" else {Moment.SAVE, Moment.RESTORE}
    return moments <= allowed and (bool(moments) or not body.is_function)


def _finding(node: Node, risk: Risk, moments: frozenset[Moment], body: Body) -> Finding:
    when = ", ".join(sorted(moments)) or "though nothing reaches it"
    return Finding(risk.severity, risk.code, f"{node.op} {risk.sentence}, {when}", _place(body))


def _place(body: Body) -> str:
    return f"function {body.name or '(no name)'}" if body.is_function else "graph"
