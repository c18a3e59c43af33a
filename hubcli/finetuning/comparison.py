"""Whether an export is the object that was trained, as saved: by the file, and by a session that runs it.

`tf.saved_model.load` takes as long as the first load of the model did. What it would find of an export is
found without it, as long as all of this holds; where something doesn't, the export is loaded by it:

- The export describes the same objects and the same functions, node by node, as the model that this process
  has loaded: to load it does the same once more.
- Each variable of the object has its value in the checkpoint, bit by bit.
- Each signature calls the function that the object graph has for it, with the same captures.
- TensorFlow's session loader, which restores variables, fills tables and reads assets, gives a graph whose
  signatures and traces give what the object gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from hubcli.formats.tensor_layout import DType
from hubcli.running.captures import Captures
from hubcli.running.endpoints import Endpoint, signature_endpoint
from hubcli.running.model_process import prepare_order
from hubcli.running.traces import all_traces
from hubcli.savedmodel.compare.structure import structural_difference
from hubcli.savedmodel.functions import FunctionVariant, read_signatures
from hubcli.savedmodel.graph import MetaGraphOutline, fed_assets_of, read_outline
from hubcli.savedmodel.model import SavedModelInfo
from hubcli.savedmodel.objects import ObjectGraph
from hubcli.savedmodel.types import Fields, Items, Structure, TensorSpec, decode
from hubcli.tf.compare import CallableModel, Comparison, Outputs, equal_outputs
from hubcli.tf.live_model import LiveModel
from hubcli.tf.loading import live_variables
from hubcli.tf.saved_session import SavedSession, flat_tensors, is_registered, read_argument_list

__all__ = ["ExportComparison"]

_CALL, _SIGNATURES, _SIGNATURE_MAP = "__call__", "signatures", "signature_map"


class ExportComparison:
    """Compares the object with what was just written to `saved`; a context, since a session is loading it.

    Without `may_use_session` TensorFlow's Python package loads it, as after a training of several devices.
    `reason_to_load` says, once it ran, why it was loaded so; "" where it wasn't.
    """

    def __init__(self, live: LiveModel, saved: Path, *, may_use_session: bool = True) -> None:
        self._live = live
        self._saved = saved
        self.reason_to_load = ""
        self._is_called = False  # Once it was, the object's variables may have other values.
        self._stack = ExitStack()
        self._session: SavedSession | None = None
        # Models of several graphs, and of TensorFlow 1, are loaded by it in ways of their own.
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
        # For any reason: loading it tells what the user has to know.
        except Exception as error:  # noqa: BLE001
            self.reason_to_load = str(error) or type(error).__name__
        self._stack.close()  # Its memory is needed for what follows.
        return self._live.compare(self._saved, given, info if self._is_called else None)

    def _by_session(self, info: SavedModelInfo, given: Outputs) -> Comparison:
        """The comparison, if all is equal. Raises _UndecidedError where loading the export may show more."""
        session, live = self._session, self._live
        if session is None:
            raise _UndecidedError("a session is not the way that it is loaded")
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
            raise _UndecidedError(f"the variable {path} is not in the checkpoint as the object has it")
        orders = {name: prepare_order(endpoint) for name, endpoint in endpoints.items()}
        callees = _callees(live.info, endpoints, session.prepared(orders, assets))
        self._is_called = True
        outputs = equal_outputs(CallableModel.of(live.obj), callees, live.info, self._saved, given)
        if outputs is None:
            raise _UndecidedError("a call fails or gives something else")
        return replace(outputs, variables=len(live_variables(live.obj, live.info)))


class _UndecidedError(Exception):
    """Why the export has to be loaded."""


def _require_readable(outline: MetaGraphOutline) -> None:
    """Raises _UndecidedError for what Python reads of every model, and neither a session nor a call does.

    What is wrong with an argument list is raised as TensorFlow raises it.
    """
    library, objects = outline.graph.functions, ObjectGraph(outline.objects)
    for name, body in library.items():
        for op in body.op_counts:
            if op not in library and not is_registered(op):
                raise _UndecidedError(f"the function {name} has an unknown op: {op}")
    specs: set[bytes] = set()  # Most functions have the argument list of another.
    for node in range(len(objects)):
        if objects.kind(node) is None:
            raise _UndecidedError(f"the object {node} is of an unknown kind")
        for name in objects.concrete_names(node):
            if name not in library or objects.concrete_function(name) is None:
                raise _UndecidedError(f"the object {node} has a trace that is not there: {name}")
        if objects.kind(node) in ("function", "bare_concrete_function"):
            specs.add(objects.content(node).function_spec)
    for spec in specs - {b""}:  # Older releases have none on a function with one trace.
        read_argument_list(spec)


def _endpoints(outline: MetaGraphOutline, info: SavedModelInfo, model: Path) -> dict[str, Endpoint]:
    """The signatures by name, and the traces of `__call__` by their places.

    Raises _UndecidedError where Python has others: it calls the functions that the object graph has for
    signatures, a session those of the graph.
    """
    assert outline.objects is not None
    objects = ObjectGraph(outline.objects)
    captures = Captures(outline, objects, model)
    definitions = outline.rest.signature_def
    found: dict[str, Endpoint] = {}
    for signature in read_signatures(definitions):
        definition, name = definitions[signature.name], signature.name
        if not _is_signature_of_objects(name, definition, outline, objects, captures):
            raise _UndecidedError(f"the signature {name} does not call the function of its object")
        found[f"signature {name}"] = signature_endpoint(signature, definition, {})
    for function in info.functions:
        if function.path == _CALL:
            for place, endpoint in enumerate(all_traces(function, outline, objects, model)):
                if endpoint.binding is None or endpoint.binding.obstacle:
                    raise _UndecidedError("a capture of __call__ is not found in the graph")
                found[f"trace {place}"] = endpoint
    return found


def _is_signature_of_objects(
    name: str, definition: Any, outline: MetaGraphOutline, objects: ObjectGraph, captures: Captures
) -> bool:
    """Whether the signature calls the function that the object graph has for it, with the same names."""
    signatures = objects.child(0, _SIGNATURES)
    if signatures is None or objects.identifier(signatures) != _SIGNATURE_MAP:
        return False
    held = objects.child(signatures, name)
    names = [] if held is None else objects.concrete_names(held)
    trace = objects.concrete_function(names[0]) if len(names) == 1 else None
    if trace is None:
        return False
    # Python calls it by the names in these, which a session doesn't know.
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
            outputs, place = {}, 0
            for port in endpoint.outputs:
                own = results[place : place + port.part_count]
                outputs[port.name] = own[0] if port.kind == "dense" else own
                place += port.part_count
            return outputs

        return run

    def trace(variant: FunctionVariant) -> Callable[..., Any]:
        ours = next(function for function in live.functions if function.path == _CALL)
        call = calls[f"trace {ours.variants.index(variant)}"]
        return lambda *args, **kwargs: call(flat_tensors((args, kwargs)))

    names = [name for name in endpoints if name.startswith("signature ")]
    signatures = {name.removeprefix("signature "): signature(name) for name in names}
    return CallableModel(None, signatures, trace)
