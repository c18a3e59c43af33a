"""The scan: ops anywhere in a model that run code, or access files or the network.

Why the classes of ops matter: tensorflow/SECURITY.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from hubcli.errors import BrokenModelError
from hubcli.formats import INDEX_FILE, MAIN_FILES
from hubcli.formats.tensor_bundle import BundleIndex
from hubcli.issues import Issue, Severity
from hubcli.savedmodel.checks.call_graph import CallGraph, ExecutionPhase
from hubcli.savedmodel.checks.path_origins import PathOrigins, PathSource
from hubcli.savedmodel.graph import GraphBody, MetaGraphOutline
from hubcli.savedmodel.layout import KERAS_METADATA, climbs_out, shards_of
from hubcli.savedmodel.model import Asset
from hubcli.savedmodel.nodes import Node, class_of, is_known, op_classes
from hubcli.savedmodel.objects import ObjectGraph
from hubcli.units import plural

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hubcli.savedmodel.model import ModelFiles
    from hubcli.savedmodel.variables import Variable

__all__ = [
    "CONDITIONAL_OPS",
    "SAVER_OPS",
    "TABLE_OPS",
    "Risk",
    "find",
    "risk_of",
    "risk_of_print",
    "risky_ops",
    "scan_ops",
]

_MAX_OF_A_SEVERITY, _MAX_RISKY_NODES = 1000, 50_000
# Beginnings of the paths of files that `file_scan` reads.
_MAY_HOLD_CODE = ("assets/", "assets.extra/", KERAS_METADATA)


def scan_ops(outline: MetaGraphOutline, objects: ObjectGraph | None) -> Iterator[Issue]:
    """What the ops of a MetaGraph can do beyond their tensors, by function.

    Without what every model needs: ops that save and restore its variables, and that fill its tables from
    its assets.
    """
    yield from _Scan(outline, objects).findings()


class _Scan:
    """The scan of one MetaGraph."""

    def __init__(self, outline: MetaGraphOutline, objects: ObjectGraph | None) -> None:
        self._graph = outline.graph
        self._callers = CallGraph(outline, objects)
        self._origins = PathOrigins(outline, objects, self._callers)

    def findings(self) -> Iterator[Issue]:
        """The risks by body, then unknown ops; at most 1,000 of each severity."""
        counts: Counter[Severity] = Counter()
        for finding in (*self._risks(), *self._unknown()):
            counts[finding.severity] += 1
            if counts[finding.severity] <= _MAX_OF_A_SEVERITY:
                yield finding
        if max(counts.values(), default=0) > _MAX_OF_A_SEVERITY:
            message = f"Of {counts.total()} findings, {_MAX_OF_A_SEVERITY} of each severity are listed"
            yield Issue.of_part(Severity.INFO, "more-findings", message, "graph")

    def _unknown(self) -> Iterator[Issue]:
        graph = self._graph
        unknown = {op for op in graph.op_counts if not is_known(op) and op not in graph.functions}
        for body in graph.bodies if unknown else ():
            for op in sorted(unknown.intersection(body.op_counts)):
                yield Issue.of_part(Severity.LOW, "unknown-op", _unknown_op(op), _place(body))

    def _risks(self) -> Iterator[Issue]:
        counts = self._graph.op_counts
        risky = {op for op in counts if risk_of(op) is not None}
        if sum(counts[op] for op in risky) > _MAX_RISKY_NODES:
            raise BrokenModelError(f"its graph has more than {_MAX_RISKY_NODES} ops that access files")
        for body in self._graph.bodies if risky else ():
            if not risky.isdisjoint(body.op_counts):
                yield from self._risks_in(body, risky)

    def _risks_in(self, body: GraphBody, risky: set[str]) -> Iterator[Issue]:
        """One finding for each op, risk and phase in the body."""
        found: set[tuple[str, frozenset[ExecutionPhase], str]] = set()
        for node in body.nodes_of_ops(risky):
            risk = risk_of(node.op)
            if risk is None or (node.op in CONDITIONAL_OPS and node.is_empty_text(CONDITIONAL_OPS[node.op])):
                continue
            if node.op == "PrintV2":
                # An attribute that is not a text is set by the caller: it may be any text.
                stream = node.text("output_stream")
                risk = risk_of_print(stream, is_unknown=stream is None and node.has("output_stream"))
            phases = self._callers.phases(body, node)
            key = (node.op, phases, risk.code)
            if key not in found and not self._is_expected(node, risk, phases, body):
                found.add(key)
                yield _finding(node, risk, phases, body)

    def _is_expected(
        self, node: Node, risk: Risk, phases: frozenset[ExecutionPhase], body: GraphBody
    ) -> bool:
        """Whether every model has it at that place, with a path that TensorFlow itself gives."""
        if node.op in TABLE_OPS:
            # Assets are fed while the model is loaded; later, the op reads the graph's own constant.
            is_loading = phases <= {ExecutionPhase.LOAD}
            return is_loading and self._origins.are_from(PathSource.ASSET, body, node, TABLE_OPS[node.op])
        if node.op not in SAVER_OPS or not _is_in_savers_phase(risk, phases):
            return False
        # Unreachable nodes of the graph itself are leftovers of TensorFlow 1's savers. An unreachable
        # function is not accepted: a graph doesn't show every way to call one.
        if not phases:
            return not body.is_function
        return self._origins.are_from(PathSource.SAVER, body, node, SAVER_OPS[node.op])


def _is_in_savers_phase(risk: Risk, phases: frozenset[ExecutionPhase]) -> bool:
    """Whether the op runs in its own phase alone: writing on save, reading on save or restore."""
    return phases <= (
        {ExecutionPhase.SAVE}
        if risk.code == "writes-files"
        else {ExecutionPhase.SAVE, ExecutionPhase.RESTORE}
    )


def _finding(node: Node, risk: Risk, phases: frozenset[ExecutionPhase], body: GraphBody) -> Issue:
    when = ", ".join(sorted(phases)) or "but unreachable"
    return Issue.of_part(risk.severity, risk.code, f"{node.op} {risk.sentence}, {when}", _place(body))


def _unknown_op(op: str) -> str:
    from hubcli.savedmodel.targets.releases import described_unknown_op  # Most models have no such op.

    known = described_unknown_op(op)
    return f"TensorFlow 2.21 has no op {op}" + (f"; {known}" if known else "")


def _place(body: GraphBody) -> str:
    return f"function {body.name or '(no name)'}" if body.is_function else "graph"


def find(
    files: ModelFiles, index: BundleIndex | None, assets: tuple[Asset, ...], variables: tuple[Variable, ...]
) -> Iterator[Issue]:
    """The findings about files, in the order of the model's parts, then code in them."""
    yield from _about_parts(files, index, assets, variables)
    if any(path.startswith(_MAY_HOLD_CODE) for path in files.sizes_bytes):
        # Imported here: it takes readers of archives and pickles, which most models don't need.
        from hubcli.savedmodel.checks.file_scan import scan_files

        yield from scan_files(files)


def _about_parts(
    files: ModelFiles, index: BundleIndex | None, assets: tuple[Asset, ...], variables: tuple[Variable, ...]
) -> Iterator[Issue]:
    for path in files.links_out:
        yield Issue.of_part(Severity.MEDIUM, "link-out", "It is a link to a file outside of the model", path)
    mains = [name for name in MAIN_FILES if files.has(name)]
    if len(mains) > 1:
        message = f"Which of {', '.join(mains)} is read depends on the loader; this is about {mains[0]}"
        yield Issue.of_part(Severity.MEDIUM, "several-main-files", message, mains[1])
    yield from _about_assets(assets)
    if index is None:
        if variables:
            message = f"The model has {plural(len(variables), 'variable')} and no {INDEX_FILE}"
            yield Issue.of_part(Severity.MEDIUM, "variables-missing", message, "variables")
        return
    yield from _about_shards(files, index)
    for variable in variables:
        if variable.checkpoint_key is None and variable.is_listed and variable.node is not None:
            where = f"variable {variable.path}"
            yield Issue.of_part(Severity.MEDIUM, "value-missing", "The checkpoint has no value for it", where)


def _about_shards(files: ModelFiles, index: BundleIndex) -> Iterator[Issue]:
    if not files.is_complete:
        return
    for path, size, needed in shards_of(index, files.sizes_bytes.get):
        if size is None:
            yield Issue.of_part(Severity.MEDIUM, "shard-missing", "The index names a missing shard", path)
        elif size < needed:
            message = f"It has {size} bytes; the index needs {needed}"
            yield Issue.of_part(Severity.MEDIUM, "shard-cut", message, path)


def _about_assets(assets: tuple[Asset, ...]) -> Iterator[Issue]:
    for asset in assets:
        if climbs_out(asset.path.removeprefix("assets/")):
            yield Issue.of_part(
                Severity.HIGH,
                "asset-path",
                "TensorFlow would read a file outside of the model",
                f"asset {asset.path}",
            )
        elif asset.is_present is False:
            yield Issue.of_part(
                Severity.MEDIUM,
                "asset-missing",
                "The model declares a missing file",
                f"asset {asset.path}",
            )


class Risk(NamedTuple):
    """What an op can do: a code for scripts, its severity, and the predicate of a sentence."""

    code: str
    severity: Severity
    sentence: str


_WRITE = Risk("writes-files", Severity.HIGH, "writes files")
_NETWORK = Risk("uses-network", Severity.HIGH, "connects to other machines")
_CONFIGURE = Risk("configures-files", Severity.MEDIUM, "sets up access to file systems")
_PRINT = Risk("prints", Severity.LOW, "prints")
# The risk of each class of op_classes.tsv but `none`.
_RISKS = {
    "python": Risk("runs-python", Severity.CRITICAL, "runs Python code of the process that loads it"),
    "file-write": _WRITE,
    "file-read": Risk("reads-files", Severity.HIGH, "reads files"),
    "process": Risk("ends-process", Severity.HIGH, "ends the process that runs it"),
    "native": Risk("runs-native-code", Severity.MEDIUM, "calls native code by its registered name"),
    "network": _NETWORK,
    "program": Risk("carries-program", Severity.HIGH, "runs a program that the scan cannot read"),
    "descriptor": Risk("reads-files", Severity.MEDIUM, "may read its message type from a file"),
    "file-system": _CONFIGURE,
    "print": _PRINT,
    "cluster": Risk("uses-cluster", Severity.LOW, "exchanges data with other workers of its cluster"),
    "decoder": Risk("decodes-bytes", Severity.INFO, "decodes bytes that it is given"),
}
# Ops of older releases and other libraries, which TensorFlow 2.21 doesn't have.
_FORMER = {
    "BigQueryReader": _NETWORK,
    "GcsConfigureBlockCache": _CONFIGURE,
    "GcsConfigureCredentials": _CONFIGURE,
}

# The ops that save and restore a model's variables, with the places of the inputs that are paths.
SAVER_OPS = {
    "SaveV2": (0,),
    "RestoreV2": (0,),
    "MergeV2Checkpoints": (0, 1),
    "Save": (0,),
    "SaveSlices": (0,),
    "Restore": (0,),
    "RestoreSlice": (0,),
}
# The ops that fill a vocabulary from an asset, with the places of the inputs that are paths.
TABLE_OPS = {"InitializeTableFromTextFile": (1,), "InitializeTableFromTextFileV2": (1,)}
# Ops that touch files only where the attribute names one.
CONDITIONAL_OPS = {"FixedUnigramCandidateSampler": "vocab_file"}


def risk_of(op: str) -> Risk | None:
    """What the op can do beyond its tensors; None for most."""
    name = class_of(op)
    return _FORMER.get(op) if name is None else _RISKS.get(name)


def risky_ops() -> list[str]:
    """Every op that has a risk, sorted."""
    return sorted([op for op, known in op_classes().items() if known.name in _RISKS] + [*_FORMER])


def risk_of_print(output_stream: str | None, *, is_unknown: bool = False) -> Risk:
    """What PrintV2 does with that stream: `file://` ones are files that it appends to."""
    return _WRITE if is_unknown or (output_stream or "").startswith("file://") else _PRINT
