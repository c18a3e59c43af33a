"""Compares an export with the trained object: by the file, and by a session that runs it.

`tf.saved_model.load` takes as long as the first load of the model did. It would find nothing more if all of
this holds; otherwise the export is loaded by it:

- The export describes the same objects and the same functions, node by node, as the model that this process
  has loaded: loading it would do the same again.
- Each variable of the object has its value in the checkpoint, bit by bit.
- Each signature calls the function that the object graph has for it, with the same captures.
- TensorFlow's session loader, which restores variables, fills tables and reads assets, gives a graph whose
  signatures and traces return the same as those of the object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hubcli.concurrency import CancellationToken, running_beside
from hubcli.durability import UNSYNCED, Durability
from hubcli.finetuning import Method
from hubcli.finetuning.result import (
    ChangedValues,
    LostPart,
    StagedModel,
    require_same_interface,
    require_same_outputs,
)
from hubcli.formats.tensor_layout import DType
from hubcli.progress import ProgressListener
from hubcli.running.captures import Captures
from hubcli.running.endpoints import Endpoint, signature_endpoint
from hubcli.running.model_process import prepare_order
from hubcli.running.traces import all_traces
from hubcli.savedmodel.compare.structure import structural_difference
from hubcli.savedmodel.functions import FunctionVariant, read_signatures
from hubcli.savedmodel.graph import MetaGraphOutline, fed_assets_of, read_outline
from hubcli.savedmodel.model import ModelFiles, SavedModelInfo
from hubcli.savedmodel.objects import ObjectGraph
from hubcli.savedmodel.reader import read_model
from hubcli.savedmodel.types import Fields, Items, Structure, TensorSpec, decode
from hubcli.tf.compare import CallableModel, Comparison, Outputs, equal_outputs
from hubcli.tf.live_model import LiveModel
from hubcli.tf.loading import live_variables
from hubcli.tf.saved_session import SavedSession, flat_tensors, is_registered, read_argument_list

__all__ = ["ExportComparison", "save_and_compare"]

_CALL, _SIGNATURES, _SIGNATURE_MAP = "__call__", "signatures", "signature_map"


class ExportComparison:
    """Compares the object with the export in `saved`; a context manager, since a session is loading it.

    Without `may_use_session`, as after a training on several devices, TensorFlow's Python package loads it.
    After `run`, `reason_to_load` says why Python loaded it; "" if it did not.
    """

    def __init__(self, live: LiveModel, saved: Path, *, may_use_session: bool = True) -> None:
        self._live = live
        self._saved = saved
        self.reason_to_load = ""
        self._is_called = False  # A call may change the object's variables.
        self._stack = ExitStack()
        self._session: SavedSession | None = None
        # Models of several graphs, and of TensorFlow 1, are loaded differently.
        graphs = live.info.meta_graphs
        if may_use_session and len(graphs) == 1:
            self._session = SavedSession.start(saved, graphs[0].tags)

    def __enter__(self) -> ExportComparison:
        if self._session is not None:
            self._stack.enter_context(self._session)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def run(self, info: SavedModelInfo) -> Comparison:
        """The comparison, given the export as it was read. Raises TensorFlowError if it can't be loaded."""
        given: Outputs = {}
        try:
            return self._by_session(info, given)
        # Any error: loading the export by Python reports it in TensorFlow's words.
        except Exception as error:  # noqa: BLE001
            self.reason_to_load = str(error) or type(error).__name__
        self._stack.close()  # Frees its memory for the load that follows.
        return self._live.compare(self._saved, given, info if self._is_called else None)

    def _by_session(self, info: SavedModelInfo, given: Outputs) -> Comparison:
        """The comparison, if all is equal. Raises _UndecidedError if loading the export may find more."""
        session, live = self._session, self._live
        if session is None:
            raise _UndecidedError("a session cannot be used")
        with read_outline(live.directory) as (source,), read_outline(self._saved) as (saved,):
            difference = structural_difference(source, saved)
            if difference:
                raise _UndecidedError(difference)
            _require_readable(saved)
            endpoints = _endpoints(saved, info, self._saved)
            assets = {
                asset.tensor_info.name: str(self._saved / "assets" / asset.filename)
                for asset in fed_assets_of(saved)
            }
        path = live.unlike_saved(self._saved, info)
        if path is not None:
            raise _UndecidedError(f"the variable {path} has another value in the checkpoint")
        orders = {name: prepare_order(endpoint) for name, endpoint in endpoints.items()}
        callees = _callees(live.info, endpoints, session.prepared(orders, assets))
        self._is_called = True
        outputs = equal_outputs(CallableModel.of(live.obj), callees, live.info, self._saved, given)
        if outputs is None:
            raise _UndecidedError("a call fails or returns other values")
        return replace(outputs, variables=len(live_variables(live.obj, live.info)))


def save_and_compare(
    live: LiveModel,
    staged: Path,
    values_of: Callable[[SavedModelInfo], ChangedValues],
    listener: ProgressListener,
    durability: Durability = UNSYNCED,
    *,
    may_use_session: bool = True,
) -> StagedModel:
    """The object as TensorFlow saves it to `staged`, compared with its source and with the object itself.

    `values_of` gets the export as it was read, and may raise an error about its values. Raises
    TensorFlowError for what differs.
    """
    report = live.save(staged)
    # Written to the disk while the export is compared: the sync at its end finds little left to do.
    syncing = running_beside(partial(durability.tree, staged), CancellationToken())
    with syncing, ExportComparison(live, staged, may_use_session=may_use_session) as comparison:
        saved = read_model(ModelFiles.of_directory(staged), hash_assets=True)
        preserved, differing = require_same_interface(saved, live.info)
        values = values_of(saved)
        listener.step("Loading the export and comparing it")
        found = comparison.run(saved)
    return StagedModel(
        values,
        preserved=preserved,
        compared=found.calls,
        skipped=require_same_outputs(found),
        carried=report.carried,
        not_kept=(*differing, *(LostPart(part.path, part.reason) for part in report.dropped)),
        method=Method.RESAVE,
    )


class _UndecidedError(Exception):
    """Why the export has to be loaded."""


def _require_readable(outline: MetaGraphOutline) -> None:
    """Raises _UndecidedError for errors in parts of the file that only TensorFlow's Python package reads.

    Errors in an argument list are those that TensorFlow raises.
    """
    library, objects = outline.graph.functions, ObjectGraph(outline.objects)
    for name, body in library.items():
        for op in body.op_counts:
            if op not in library and not is_registered(op):
                raise _UndecidedError(f"the function {name} has an unknown op: {op}")
    specs: set[bytes] = set()  # Many functions share an argument list.
    for node in range(len(objects)):
        if objects.kind(node) is None:
            raise _UndecidedError(f"the object {node} is of an unknown kind")
        for name in objects.concrete_names(node):
            if name not in library or objects.concrete_function(name) is None:
                raise _UndecidedError(f"the object {node} names a missing trace: {name}")
        if objects.kind(node) in ("function", "bare_concrete_function"):
            specs.add(objects.content(node).function_spec)
    for spec in specs - {b""}:  # Older releases have none on a function with one trace.
        read_argument_list(spec)


def _endpoints(outline: MetaGraphOutline, info: SavedModelInfo, model: Path) -> dict[str, Endpoint]:
    """The signatures by name, and the traces of `__call__` by their places.

    Raises _UndecidedError if Python would call others: for signatures, it calls the functions of the object
    graph, a session those of the graph.
    """
    assert outline.objects is not None
    objects = ObjectGraph(outline.objects)
    captures = Captures(outline, objects, model, info.variables)
    definitions = outline.rest.signature_def
    found: dict[str, Endpoint] = {}
    for signature in read_signatures(definitions):
        definition, name = definitions[signature.name], signature.name
        if not _is_signature_of_objects(name, definition, outline, objects, captures):
            raise _UndecidedError(f"the signature {name} does not call the function of its object")
        found[f"signature {name}"] = signature_endpoint(signature, definition, {})
    for function in info.functions:
        if function.path == _CALL:
            for place, endpoint in enumerate(all_traces(function, outline, captures)):
                if endpoint.binding is None or endpoint.binding.obstacle:
                    raise _UndecidedError("a capture of __call__ is not found in the graph")
                found[f"trace {place}"] = endpoint
    return found


def _is_signature_of_objects(
    name: str, definition: Any, outline: MetaGraphOutline, objects: ObjectGraph, captures: Captures
) -> bool:
    """Whether the signature calls its function in the object graph, with the same names."""
    signatures = objects.child(0, _SIGNATURES)
    if signatures is None or objects.identifier(signatures) != _SIGNATURE_MAP:
        return False
    held = objects.child(signatures, name)
    names = [] if held is None else objects.concrete_names(held)
    trace = objects.concrete_function(names[0]) if len(names) == 1 else None
    if trace is None:
        return False
    # Python calls it by the names in these; a session doesn't use them.
    given, outputs = decode(trace.canonicalized_input_signature), decode(trace.output_signature)
    by_name = given.items[1] if isinstance(given, Items) and len(given.items) == 2 else given
    if not _is_of_names(by_name, definition.inputs) or not _is_of_names(outputs, definition.outputs):
        return False
    tensors = [definition.inputs[name].name for name in sorted(definition.inputs)]
    tensors += captures.tensors(tuple(trace.bound_inputs))
    nodes = outline.graph.bodies[0].by_name
    for place, name in enumerate(sorted(definition.outputs)):
        operation, _, number = definition.outputs[name].name.partition(":")
        call = nodes.get(operation)
        if call is None or call.function("f") != names[0] or number != str(place):
            return False
        if [source if ":" in source else f"{source}:0" for source in call.sources] != tensors:
            return False
    return True


def _is_of_names(structure: Structure, tensors: Mapping[str, Any]) -> bool:
    """Whether it is a dict of tensors with the names and types of these TensorInfos."""
    return (
        isinstance(structure, Fields)
        and [key for key, _ in structure.items] == sorted(tensors)
        and all(
            isinstance(part, TensorSpec) and part.dtype == DType.of(int(tensors[key].dtype)).name
            for key, part in structure.items
        )
    )


def _callees(
    live: SavedModelInfo,
    endpoints: Mapping[str, Endpoint],
    calls: Mapping[str, Callable[[Sequence[Any]], list[Any]]],
) -> CallableModel:
    """The endpoints of the export, to be called as the live object is."""

    def signature(name: str) -> Callable[..., Any]:
        endpoint, call = endpoints[name], calls[name]

        def run(**inputs: Any) -> dict[str, Any]:
            results = call(flat_tensors([inputs[port.name] for port in endpoint.inputs]))
            return {
                port.name: parts[0] if port.kind == "dense" else parts
                for port, parts in endpoint.parts_of_outputs(results)
            }

        return run

    def trace(variant: FunctionVariant) -> Callable[..., Any]:
        ours = next(function for function in live.functions if function.path == _CALL)
        call = calls[f"trace {ours.variants.index(variant)}"]
        return lambda *args, **kwargs: call(flat_tensors((args, kwargs)))

    names = [name for name in endpoints if name.startswith("signature ")]
    signatures = {name.removeprefix("signature "): signature(name) for name in names}
    return CallableModel(None, signatures, trace)
