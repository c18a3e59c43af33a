"""`hubcli inspect` for a person: sections with what matters first, which `in_full` doesn't shorten."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import NamedTuple

from hubcli.cli.main import LazyImports
from hubcli.cli.output import printable
from hubcli.cli.tables import Column, Style, render_table
from hubcli.commands.inspect import Inspection
from hubcli.savedmodel.functions import Function, FunctionVariant, Signature, SignatureTensor
from hubcli.savedmodel.model import MetaGraph
from hubcli.savedmodel.nodes import is_known
from hubcli.savedmodel.types import holds_tensors, shape_text
from hubcli.savedmodel.variables import Variable
from hubcli.units import format_size, plural

with LazyImports():
    from hubcli.cli.views.targets import target_lines
    from hubcli.cli.views.tree import tree_lines

__all__ = ["Part", "inspection_text"]


class Part(Enum):
    """A section that can be shown alone."""

    FUNCTIONS = auto()
    SIGNATURES = auto()
    VARIABLES = auto()
    ASSETS = auto()
    OPS = auto()
    FINDINGS = auto()
    REUSABLE = auto()
    TREE = auto()
    TARGETS = auto()


_FEW_VARIABLES, _FEW_VARIANTS, _FEW_OPS, _FEW_FINDINGS = 10, 4, 12, 8
_NARROW = 70
_VARIABLE_COLUMNS = (
    Column("PATH", stretches=True),
    Column("DTYPE"),
    Column("SHAPE"),
    Column("TRAINABLE", min_width=_NARROW, styles={"yes": "green"}),
    Column("SIZE", right=True),
    Column("CHECKPOINT KEY", min_width=160),
)
_SEVERITY_STYLES = {"critical": "red", "high": "red", "medium": "yellow", "error": "red", "warning": "yellow"}


_OVERVIEW = tuple(part for part in Part if part not in (Part.TREE, Part.TARGETS))


def inspection_text(
    inspection: Inspection,
    parts: tuple[Part, ...],
    style: Style,
    *,
    in_full: bool,
    depth: int | None = None,
) -> str:
    """The head and an overview, or the parts in full; the tree down to `depth` levels below the root."""
    view = _View(inspection, style, in_full or bool(parts), in_full, depth)
    sections = ["\n".join(view.head())]
    for part in Part:
        if part in (parts or _OVERVIEW):
            lines = list(_SECTIONS[part](view))
            if lines:
                sections.append("\n".join(lines))
    text = "\n\n".join(sections)
    return text if style.has_unicode else text.replace("…", "...")


class _View(NamedTuple):
    """One model, as it is shown."""

    inspection: Inspection
    style: Style
    in_full: bool
    is_deep: bool
    depth: int | None = None

    def head(self) -> Iterator[str]:
        info, style = self.inspection.info, self.style
        yield style.paint(printable(self.inspection.target), "bold")
        facts = [info.format.label]
        if info.tensorflow_version:
            facts.append(f"TensorFlow {info.tensorflow_version}")
        tags = [", ".join(graph.tags) or "none" for graph in info.meta_graphs]
        facts.append(f"tags {' | '.join(tags)}")
        if info.fingerprint is not None and info.fingerprint.uuid:
            facts.append(f"fingerprint {info.fingerprint.uuid}")
        yield from style.fold(printable(", ".join(facts)), 2)
        yield from style.fold(self._sizes(), 2)

    def _sizes(self) -> str:
        sizes = self.inspection.info.sizes
        if sizes.total is None:
            received = format_size(self.inspection.received_bytes or 0)
            return f"graph {format_size(sizes.graph)}; read from the first {received} of the archive"
        parts = {
            "graph": sizes.graph,
            "variables": sizes.variables,
            "assets": sizes.assets,
            "other": sizes.other,
        }
        named = ", ".join(f"{name} {format_size(size)}" for name, size in parts.items() if size)
        return f"{format_size(sizes.total)}: {named}"

    def functions(self) -> Iterator[str]:
        functions = self.inspection.info.functions
        if not functions:
            return
        yield self._heading("Functions", "")
        for function in functions:
            yield from self._function(function)

    def _function(self, function: Function) -> Iterator[str]:
        name = printable(f"{function.path}{function.python_signature}")
        yield from (self.style.paint(line, "cyan") for line in self.style.fold(name, 2))
        # Keras traces the same twice, under other names of tensors.
        texts = Counter(self._variant(function, variant) for variant in function.variants)
        variants = list(texts) if self.in_full else list(texts)[:_FEW_VARIANTS]
        for text in variants:
            times = f"  x{texts[text]}" if texts[text] > 1 else ""
            yield from self.style.fold(printable(text + times), 4)
        hidden = len(texts) - len(variants)
        if hidden:
            yield f"    {hidden} more: --functions"
        if function.variants:
            yield from self._call(function.call)
        else:
            yield "    never traced: not callable"

    def _variant(self, function: Function, variant: FunctionVariant) -> str:
        names = function.parameters or ()
        arguments = []
        for place, value in enumerate(variant.args):
            name = names[place] if place < len(names) else f"#{place + 1}"
            arguments.append(f"{name}: {value}" if holds_tensors(value) else f"{name}={value}")
        arguments += [
            f"{name}: {value}" if holds_tensors(value) else f"{name}={value}"
            for name, value in variant.kwargs
        ]
        result = "" if variant.outputs is None else f" {self.style.arrow} {variant.outputs}"
        return f"({', '.join(arguments)}){result}"

    def _call(self, call: str) -> Iterator[str]:
        text = call if self.style.has_unicode else call.replace("…", "...")
        yield from (self.style.paint(line, "dim") for line in self.style.fold(f">>> {printable(text)}", 4, 4))

    def signatures(self) -> Iterator[str]:
        graphs = self.inspection.info.meta_graphs
        for graph in graphs:
            if not graph.signatures and not self.in_full:
                continue
            tags = f"tags {', '.join(graph.tags) or 'none'}" if len(graphs) > 1 else ""
            yield self._heading("Signatures", tags)
            for signature in graph.signatures:
                yield from self._signature(signature)
            yield from self._ops_to_run(graph)

    def _ops_to_run(self, graph: MetaGraph) -> Iterator[str]:
        for what, name in (("run on load", graph.init_op), ("train op", graph.train_op)):
            if name and name != "NoOp":
                yield f"  {what}: {printable(name)}"

    def _signature(self, signature: Signature) -> Iterator[str]:
        method = f"  {signature.method}" if signature.method else ""
        head = printable(signature.name)
        if self.style.width is not None and 2 + len(head) + len(method) > self.style.width:
            method = ""
        yield "  " + self.style.paint(head, "cyan") + printable(method)
        rows = [("in", tensor) for tensor in signature.inputs] + [
            ("out", tensor) for tensor in signature.outputs
        ]
        texts = [f"{tensor.dtype}{shape_text(tensor.shape)}" for _, tensor in rows]
        name_width = max((len(tensor.name) for _, tensor in rows), default=0)
        text_width = max(map(len, texts), default=0)
        for (direction, tensor), text in zip(rows, texts, strict=True):
            line = f"    {direction:<3}  {printable(tensor.name):<{name_width}}  {text:<{text_width}}"
            more = f"  {printable(self._origin(tensor))}"
            fits = self.style.width is None or len(line) + len(more) <= self.style.width
            yield (line + more if fits else line).rstrip()
        yield from self._call(signature.call)

    def _origin(self, tensor: SignatureTensor) -> str:
        where = tensor.tensor or f"{tensor.kind} ({', '.join(tensor.components)})"
        if tensor.default is None:
            return where
        value = "…" if tensor.default.value is None else repr(tensor.default.value)
        return f"{where}, default {value}"

    def variables(self) -> Iterator[str]:
        info = self.inspection.info
        every = (
            info.variables
            if self.in_full
            else tuple(variable for variable in info.variables if not variable.is_slot)
        )
        if not every:
            return
        yield self._heading("Variables", self._counts())
        listed = every if self.in_full else every[:_FEW_VARIABLES]
        table = render_table(_VARIABLE_COLUMNS, [_row(variable) for variable in listed], self._narrower())
        yield from (f"  {line}" for line in table.splitlines())
        hidden = len(info.variables) - len(listed)
        if hidden:
            yield f"  {hidden} more: --variables"

    def _narrower(self) -> Style:
        """The style for what is indented by two columns."""
        style = self.style
        width = None if style.width is None else style.width - 2
        return Style(width, style.is_styled, style.has_color, style.has_unicode)

    def _counts(self) -> str:
        info = self.inspection.info
        counts = info.parameters
        words = [plural(counts.total, "parameter", ","), f"{counts.trainable:,} trainable"]
        if counts.in_file != counts.total:
            words.append(f"{counts.in_file:,} in the file")
        if info.lists.losses:
            words.append(plural(info.lists.losses, "regularization loss", ","))
        if info.checkpoint is not None and info.checkpoint.shards > 1:
            words.append(plural(info.checkpoint.shards, "shard", ","))
        if info.checkpoint is not None:
            cut = sum(tensor.parts > 1 for tensor in info.checkpoint.tensors)
            words += [f"{cut} partitioned"] if cut else []
        return ", ".join(words)

    def assets(self) -> Iterator[str]:
        assets = self.inspection.info.assets
        if not assets:
            return
        yield self._heading("Assets", "")
        width = max(len(printable(asset.path)) for asset in assets)
        for asset in assets:
            if asset.is_present:
                state = format_size(asset.size_bytes or 0)
            else:
                state = self.style.paint("missing", "red") if asset.is_present is False else "not checked"
            yield f"  {printable(asset.path):<{width}}  {state}"

    def ops(self) -> Iterator[str]:
        for graph in self.inspection.info.meta_graphs:
            by_count = sorted(graph.ops.items(), key=lambda item: (-item[1], item[0]))
            listed = by_count if self.in_full else by_count[:_FEW_OPS]
            if not listed:
                continue
            tags = (
                f", tags {', '.join(graph.tags) or 'none'}"
                if len(self.inspection.info.meta_graphs) > 1
                else ""
            )
            nodes = plural(sum(graph.ops.values()), "node", ",")
            yield self._heading("Ops", f"{nodes} of {plural(len(graph.ops), 'type', ',')}{tags}")
            names = [
                f"{op} {count}" + ("" if is_known(op) else " (not TensorFlow's)") for op, count in listed
            ]
            hidden = len(by_count) - len(listed)
            more = f"; {plural(hidden, 'more type')}: --ops" if hidden else ""
            yield from self.style.fold(printable(", ".join(names) + more), 2, 0)

    def findings(self) -> Iterator[str]:
        findings = self.inspection.info.findings
        if not findings and not self.in_full:
            return
        listed = findings if self.in_full else findings[:_FEW_FINDINGS]
        yield self._heading("Findings", "" if findings else "none")
        for finding in listed:
            yield from self._graded(
                finding.severity.value, f"{finding.message} [{finding.code}] in {finding.where}"
            )
        if len(findings) > len(listed):
            yield f"  {len(findings) - len(listed)} more: --scan"

    def reusable(self) -> Iterator[str]:
        reusable = self.inspection.info.reusable
        verdict = "conforms" if reusable.conforms else "does not conform"
        style = "green" if reusable.conforms else "yellow"
        yield self._heading("Reusable SavedModel", self.style.paint(verdict, style))
        for problem in reusable.problems:
            yield from self._graded(problem.severity.value, f"{problem.message} [{problem.code}]")
            if self.in_full:
                yield from self.style.hang_hint(" " * 12, printable(problem.hint))

    def _graded(self, severity: str, text: str) -> Iterator[str]:
        lines = self.style.fold(f"{severity:<8}  {printable(text)}", 2, 10)
        word = self.style.paint(severity, _SEVERITY_STYLES.get(severity, "dim"))
        yield lines[0].replace(severity, word, 1)
        yield from lines[1:]

    def tree(self) -> Iterator[str]:
        yield from tree_lines(self.inspection.info, self.style, in_full=self.is_deep, depth=self.depth)

    def targets(self) -> Iterator[str]:
        yield from target_lines(self.inspection.info.compatibility or (), self.style)

    def _heading(self, title: str, summary: str) -> str:
        bold = self.style.paint(title, "bold")
        if not summary or self.style.width is None or len(title) + 2 + len(summary) <= self.style.width:
            return bold + (f"  {summary}" if summary else "")
        return "\n".join((bold, *self.style.fold(summary, 2)))


_SECTIONS: dict[Part, Callable[[_View], Iterator[str]]] = {
    Part.FUNCTIONS: _View.functions,
    Part.SIGNATURES: _View.signatures,
    Part.VARIABLES: _View.variables,
    Part.ASSETS: _View.assets,
    Part.OPS: _View.ops,
    Part.FINDINGS: _View.findings,
    Part.REUSABLE: _View.reusable,
    Part.TREE: _View.tree,
    Part.TARGETS: _View.targets,
}


def _row(variable: Variable) -> tuple[str, ...]:
    return (
        printable(variable.path),
        variable.dtype or "-",
        shape_text(variable.shape),
        ("yes" if variable.trainable else "no") if not variable.is_slot else "slot",
        "-" if variable.size_bytes is None else format_size(variable.size_bytes),
        printable(variable.checkpoint_key or "-"),
    )
