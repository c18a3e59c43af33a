"""A model, read for a run: the endpoint that is meant, what loading it takes, what the scan finds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from hubcli.errors import BrokenModelError, NotFoundError, TensorFlowError, UnsafeModelError, UsageError
from hubcli.issues import Issue, Severity
from hubcli.running.captures import Captures
from hubcli.running.endpoints import Endpoint, choose_signature, described, signature_endpoint
from hubcli.running.traces import choose_function, function_endpoints
from hubcli.savedmodel.checks.scan import find, scan_ops
from hubcli.savedmodel.functions import INIT_OP, op_name, read_functions, read_signatures
from hubcli.savedmodel.graph import MetaGraphOutline, declared_assets_of, fed_assets_of, read_outline
from hubcli.savedmodel.model import ModelFiles
from hubcli.savedmodel.nodes import is_known
from hubcli.savedmodel.objects import ObjectGraph
from hubcli.savedmodel.targets.releases import module_of, package_by_op

__all__ = ["RunnableModel", "Selection", "read_runnable", "read_signatures_of", "refuse_unsafe"]

_BROKEN = "Fetch or export the model again."
_CALL = "__call__"
_SERVE = frozenset({"serve"})
_PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2", "PlaceholderWithDefault"})
_TABLE_INITIALIZERS = "table_initializer"
# Packages whose ops do more than compute: their libraries aren't loaded for an untrusted model.
_RISKY_PACKAGES = {
    "tensorflow-io": "read files and use the network",
    "tensorflow-decision-forests": "write the models that they train",
}


class Selection(NamedTuple):
    """What to run: a signature, or a function with literal arguments; and of which MetaGraph."""

    signature: str | None = None
    function: str | None = None
    arguments: Mapping[str, Any] = {}
    tag_set: frozenset[str] | None = None


class OpPackage(NamedTuple):
    """A package that registers ops: `requirement` for pip, the `module` that its libraries are in."""

    requirement: str
    module: str
    ops: tuple[str, ...]


class RunnableModel(NamedTuple):
    """What a run must know of a model.

    `endpoints` are the ones that could be meant: one signature, or the traces of a function that differ in
    their tensors alone, the first preferred. `assets` are the files that TensorFlow feeds while it loads,
    by the tensor; `initializers` are ops to run where the graph names no op for that. `packages` register
    ops of the model that TensorFlow itself hasn't; `unknown_ops` are those of no package that is known.
    `obstacle` says why only Python can load it, "" if nothing is in the way. `inner_feeds` are the
    signatures of a graph of TensorFlow 1 that feed tensors which other nodes than placeholders compute.
    """

    name: str
    path: Path
    tags: tuple[str, ...]
    tensorflow_version: str | None
    endpoints: tuple[Endpoint, ...]
    assets: Mapping[str, str]
    initializers: tuple[str, ...]
    packages: tuple[OpPackage, ...]
    unknown_ops: tuple[str, ...]
    findings: tuple[Issue, ...]
    note: str = ""
    obstacle: str = ""
    inner_feeds: frozenset[str] = frozenset()


def read_runnable(
    name: str, path: Path, selection: Selection, *, is_scanned: bool = True, is_dry: bool = False
) -> RunnableModel:
    """The model in the directory, and the endpoint that the selection means. Needs no TensorFlow.

    With `is_dry` nothing is read that only loading needs, and nothing is scanned.

    Raises BrokenModelError, NotFoundError, UsageError for a selection that the model doesn't have.
    """
    with _reader(name, path, selection) as reader:
        return reader.read(*reader.endpoints(), is_scanned=is_scanned, is_dry=is_dry)


def read_signatures_of(
    name: str, path: Path, tag_set: frozenset[str] | None = None, *, is_scanned: bool = False
) -> RunnableModel:
    """The model in the directory, with all its signatures that have outputs; scanned if `is_scanned`.

    Raises BrokenModelError, NotFoundError, UsageError.
    """
    with _reader(name, path, Selection(tag_set=tag_set)) as reader:
        return reader.read(reader.signature_endpoints(), is_scanned=is_scanned)


@contextmanager
def _reader(name: str, path: Path, selection: Selection) -> Iterator[_Reader]:
    try:
        with read_outline(path) as outlines:
            yield _Reader(name, path, selection, outlines)
    except BrokenModelError as error:
        raise BrokenModelError(f"{name}: {error.message}", hint=error.hint or _BROKEN) from error
    except OSError as error:
        raise NotFoundError(
            f"Cannot read {error.filename or path}: {error.strerror}", hint="Check its permissions."
        ) from error


def refuse_unsafe(model: RunnableModel, verb: str = "run") -> None:
    """Raises UnsafeModelError if the scan found what is `high` or worse.

    `verb` says what is not done with the model.
    """
    grave = [finding for finding in model.findings if finding.severity >= Severity.HIGH]
    if not grave:
        return
    listed = "; ".join(
        f"{finding.severity.value}: {finding.message} ({finding.where})" for finding in grave[:3]
    )
    more = f"; and {len(grave) - 3} more" if len(grave) > 3 else ""
    raise UnsafeModelError(
        f"Refusing to {verb} {model.name}: the scan found {listed}{more}",
        hint=f"List all: hubcli inspect --scan {model.name}. If you trust the author, add --unsafe",
    )


class _Reader:
    """Reads one model."""

    def __init__(
        self, name: str, path: Path, selection: Selection, outlines: tuple[MetaGraphOutline, ...]
    ) -> None:
        self._name = name
        self._path = path
        self._selection = selection
        self._outlines = outlines
        self._outline = _meta_graph(outlines, selection, name)
        objects = self._outline.objects
        self._objects = None if objects is None else ObjectGraph(objects)

    def read(
        self, endpoints: list[Endpoint], note: str = "", *, is_scanned: bool, is_dry: bool = False
    ) -> RunnableModel:
        """The model with these endpoints."""
        rest = self._outline.rest
        ops = () if is_dry else self._outline.graph.op_counts
        unknown = tuple(sorted(op for op in ops if self._is_foreign(op)))
        packages = packages_of(unknown)
        of_packages = {op for package in packages for op in package.ops}
        tables = _TABLE_INITIALIZERS
        has_initializers = op_name(rest, INIT_OP) is None and tables in rest.collection_def
        return RunnableModel(
            name=self._name,
            path=self._path,
            tags=tuple(rest.meta_info_def.tags),
            tensorflow_version=rest.meta_info_def.tensorflow_version or None,
            endpoints=tuple(endpoints),
            assets={
                asset.tensor_info.name: str(self._path / "assets" / asset.filename)
                for asset in fed_assets_of(self._outline)
            },
            initializers=tuple(rest.collection_def[tables].node_list.value) if has_initializers else (),
            packages=packages,
            unknown_ops=tuple(op for op in unknown if op not in of_packages),
            findings=(*risks_of(packages), *self._findings()) if is_scanned and not is_dry else (),
            note=note,
            obstacle="" if is_dry else self._obstacle(endpoints),
            inner_feeds=frozenset() if is_dry else self._inner_feeds(endpoints),
        )

    def _inner_feeds(self, endpoints: list[Endpoint]) -> frozenset[str]:
        if self._objects is not None:
            return frozenset()
        placeholders = {f"{name}:0" for name in self._placeholders}
        fed = ((each.name, part) for each in endpoints for port in each.inputs for part in port.parts)
        return frozenset(name for name, tensor in fed if tensor not in placeholders)

    def _obstacle(self, endpoints: list[Endpoint]) -> str:
        """Why the C API can't run it: it restores variables by the graph's saver alone."""
        signatures = [endpoint for endpoint in endpoints if endpoint.binding is None]
        if self._objects is not None and signatures:
            parts = [part for signature in signatures for port in signature.outputs for part in port.parts]
            missing = Captures(self._outline, self._objects, self._path).unrestored(parts)
            if missing is not None:
                return f"the graph gives its variable {missing} no value"
        has_saver = bool(self._outline.rest.saver_def.restore_op_name)
        has_variables = (self._path / "variables" / "variables.index").is_file()
        has_handles = "VarHandleOp" in self._outline.graph.op_counts
        return "the graph has no saver" if has_variables and has_handles and not has_saver else ""

    def _is_foreign(self, op: str) -> bool:
        return not is_known(op) and op not in self._outline.graph.functions

    def signature_endpoints(self) -> list[Endpoint]:
        """All signatures that give something."""
        definitions = self._outline.rest.signature_def
        return [
            signature_endpoint(signature, definitions[signature.name], self._placeholders)
            for signature in read_signatures(definitions)
            if signature.outputs
        ]

    def endpoints(self) -> tuple[list[Endpoint], str]:
        """The endpoints that the selection means, and a note for the user, "" for none."""
        selection = self._selection
        if selection.function is not None:
            return self._of_function(selection.function), ""
        definitions = self._outline.rest.signature_def
        signatures = tuple(signature for signature in read_signatures(definitions) if signature.outputs)
        signature = choose_signature(signatures, selection.signature, self._name)
        if signature is not None:
            return [signature_endpoint(signature, definitions[signature.name], self._placeholders)], ""
        if self._objects is not None and self._objects.child(0, _CALL) is not None:
            return self._of_function(_CALL), "The model has no signature: running its function __call__"
        raise UsageError(
            f"{self._name} has no signature to run",
            hint="List its functions: hubcli inspect MODEL --functions; then: hubcli run --function PATH",
        )

    @cached_property
    def _placeholders(self) -> dict[str, int]:
        """The types of the placeholders of a graph of TensorFlow 1, by their names."""
        if self._objects is not None:
            return {}
        nodes = self._outline.graph.bodies[0].nodes_of_ops(_PLACEHOLDERS)
        types = ((node.name, node.dtype("dtype")) for node in nodes)
        return {name: number for name, number in types if number is not None}

    def _of_function(self, path: str) -> list[Endpoint]:
        if self._objects is None:
            raise UsageError(
                f"{self._name} is a graph of TensorFlow 1, which has no functions to call",
                hint="Choose a signature: --signature NAME",
            )
        functions = read_functions(self._objects, submodules="." in path)
        function = choose_function(functions, path, self._name)
        return function_endpoints(
            function, self._selection.arguments, self._outline, self._objects, self._path
        )

    def _findings(self) -> tuple[Issue, ...]:
        """What `hubcli inspect --scan` finds of the files and of every MetaGraph: loading reads them all."""
        files = ModelFiles.of_directory(self._path)
        names = {asset.filename for outline in self._outlines for asset in declared_assets_of(outline)}
        assets = tuple(files.asset(f"assets/{name}") for name in sorted(names))
        findings = list(find(files, None, assets, ()))
        for outline in self._outlines:
            objects = self._objects if outline is self._outline else None
            if objects is None and outline.objects is not None:
                objects = ObjectGraph(outline.objects)
            findings += scan_ops(outline, objects)
        return tuple(sorted(findings, key=lambda finding: -finding.severity.rank))


def _meta_graph(outlines: tuple[MetaGraphOutline, ...], selection: Selection, name: str) -> MetaGraphOutline:
    """The MetaGraph of those tags; without tags the only one, else the one that serves, else untagged."""
    sets = [frozenset(outline.rest.meta_info_def.tags) for outline in outlines]
    listed = " or ".join(f"--tag-set {','.join(sorted(tags)) or repr('')}" for tags in sets)
    if selection.tag_set is not None:
        if selection.tag_set in sets:
            return outlines[sets.index(selection.tag_set)]
        raise UsageError(
            f"No MetaGraph of {name} has the tags '{','.join(sorted(selection.tag_set))}'",
            hint=f"Use {listed}.",
        )
    for tags in (_SERVE, frozenset[str]()):
        if tags in sets:
            return outlines[sets.index(tags)]
    if len(outlines) > 1:
        raise UsageError(f"{name} has {len(outlines)} MetaGraphs", hint=f"Choose one: {listed}.")
    return outlines[0]


def packages_of(ops: tuple[str, ...]) -> tuple[OpPackage, ...]:
    """The packages that register some of the ops, by name."""
    found: dict[str, list[str]] = {}
    for op in ops:
        package = package_by_op().get(op)
        if package is not None:
            found.setdefault(package.split()[0], []).append(op)
    return tuple(OpPackage(name, module_of(name), tuple(own)) for name, own in sorted(found.items()))


def risks_of(packages: tuple[OpPackage, ...]) -> tuple[Issue, ...]:
    """A finding for each package whose ops reach beyond the graph, which the scan itself doesn't know."""
    findings = []
    for package in packages:
        risk = _RISKY_PACKAGES.get(package.requirement)
        if risk is not None:
            message = f"{', '.join(package.ops[:3])} of {package.requirement}, whose ops {risk}"
            findings.append(Issue.of_part(Severity.HIGH, "foreign-ops", message, "graph"))
    return tuple(findings)


def require_packages(model: RunnableModel, installed: Mapping[str, bool]) -> None:
    """Raises TensorFlowError if a package with ops of the model isn't `installed`, by module."""
    missing = [package for package in model.packages if not installed[package.module]]
    if missing:
        ops = ", ".join(op for package in missing for op in package.ops[:3])
        raise TensorFlowError(
            f"{model.name} needs ops that TensorFlow does not have: {ops}",
            hint=f"Install them: pip install {' '.join(package.requirement for package in missing)}",
        )


def listed_endpoint(endpoint: Endpoint) -> str:
    """The endpoint in one line: title, inputs and outputs."""
    return f"{endpoint.title}: ({described(endpoint.inputs)}) -> ({described(endpoint.outputs)})"
