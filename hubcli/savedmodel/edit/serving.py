"""A model for serving alone: what its signatures need, without traces, slots and gradients; for any machine.

TensorFlow writes device strings with `SaveOptions(experimental_variable_policy=…)`, and for graphs built
below `tf.device`. Source: tensorflow/python/saved_model/save.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from hubcli.errors import UsageError
from hubcli.formats.tensor_bundle import OBJECT_GRAPH_KEY
from hubcli.formats.wire_message import WireMessage
from hubcli.savedmodel.edit.editable import (
    EditableMetaGraph,
    EditableModel,
    Edited,
    Loss,
    called_function,
    function_name,
    source_of,
)
from hubcli.savedmodel.edit.graph_pruning import GraphNodes, prune_functions
from hubcli.savedmodel.edit.object_pruning import (
    KeptObjects,
    owned_keys,
    prune_checkpoint_objects,
    prune_objects,
)
from hubcli.savedmodel.edit.saver_functions import (
    SaverPatternError,
    drop_call_inputs,
    drop_restored,
    drop_saved,
)
from hubcli.savedmodel.edit.session_pruning import prune_session_graph

__all__ = ["ServingEdit", "clear_devices", "keep_for_serving"]

_SAVER_DEF, _SAVE, _RESTORE = 3, 2, 3
_CONSTANT = 9  # of SavedObject
_FUNCTION = 1
# The suffixes of the keys of a table's tensors.
_TABLE_ENDINGS = ("", "-keys", "-values")
_NODE_DEVICE = 4  # of NodeDef
_VARIABLE, _VARIABLE_DEVICE, _COMPONENTS = 7, 7, 8  # of SavedObject, of SavedVariable
_RESOURCE, _RESOURCE_DEVICE = 10, 1  # of SavedObject, of SavedResource
_MAX_NAMES = 20


@dataclass(frozen=True, slots=True)
class ServingEdit:
    """The model, its losses, the keys to drop from its checkpoint, and the checkpoint's new object graph."""

    model: EditableModel
    losses: tuple[Loss, ...]
    notes: tuple[str, ...]
    dropped_keys: frozenset[str] = frozenset()
    checkpoint_objects: bytes | None = None


def keep_for_serving(model: EditableModel, checkpoint: bytes | None, keys: Collection[str]) -> ServingEdit:
    """The model with what its signatures need, given the object graph and the keys of its checkpoint.

    If variables can't be removed safely, all are kept, and a note says why. Raises UsageError for a model
    without signatures, BrokenModelError.
    """
    if not model.signature_names:
        raise UsageError("--serving requires a signature, and the model has none", hint="Remove --serving.")
    edited, losses, notes = model.copy(), list[Loss](), list[str]()
    dropped: frozenset[str] = frozenset()
    objects: bytes | None = None
    graphs = edited.meta_graphs
    for graph in graphs:
        if not graph.has_objects:
            lost, problem = (
                prune_session_graph(graph) if graph.signature_names else ([], "it has no signature")
            )
            losses += lost
            if problem:
                notes.append(f"A graph of TensorFlow 1 was not pruned: {problem}")
            continue
        saved = None if checkpoint is None else WireMessage(checkpoint)
        retained = KeptObjects.of(graph, saved)
        if saved is not None:
            chosen = _droppable(saved, retained, keys)
            # MetaGraphs share one checkpoint: another one may need the variables.
            problem = "the model has several MetaGraphs" if len(graphs) > 1 else ""
            problem = problem or _drop_variables(graph, retained, chosen)
            if problem:
                notes.append(f"All variables were kept: {problem}")
                retained.keep_variables(graph)
            else:
                dropped, objects = chosen, prune_checkpoint_objects(saved, retained)
        losses += _prune(graph, retained)
    return ServingEdit(edited, tuple(losses), tuple(notes), dropped, objects)


def _prune(graph: EditableMetaGraph, retained: KeptObjects) -> list[Loss]:
    found = graph.objects()
    constants = [
        name
        for number in retained.needed
        for part in found[number].messages(_CONSTANT)
        for name in part.texts(1)
    ]
    losses = prune_objects(graph, retained)
    lost_nodes = GraphNodes(graph).prune(constants)
    return prune_functions(graph, retained.functions) + losses + ([lost_nodes] if lost_nodes else [])


def _droppable(saved: WireMessage, retained: KeptObjects, keys: Collection[str]) -> frozenset[str]:
    """The keys of objects that aren't kept; a key without an object is kept."""
    pairs = {retained.pairs[number] for number in retained.numbers if number in retained.pairs}
    owners = owned_keys(saved)
    dropped = {
        key + ending for key, own in owners.items() if own.isdisjoint(pairs) for ending in _TABLE_ENDINGS
    }
    stay = {
        key + ending for key, own in owners.items() if not own.isdisjoint(pairs) for ending in _TABLE_ENDINGS
    }
    return frozenset(key for key in keys if key in dropped and key not in stay and key != OBJECT_GRAPH_KEY)


def _drop_variables(graph: EditableMetaGraph, retained: KeptObjects, keys: frozenset[str]) -> str:
    """Removes the keys from the functions that save and restore; returns why not if that isn't possible."""
    if retained.unpaired:
        return "the checkpoint does not name a variable that a signature uses"
    if not keys:
        return ""
    nodes = GraphNodes(graph)
    savers = list(graph.message.messages(_SAVER_DEF))
    if len(savers) != 1:
        return "" if not savers else "the graph has several savers"
    functions = {
        name: (library, item)
        for library in graph.libraries
        for item in library.fields
        if item.is_message(_FUNCTION) and (name := function_name(library.message(item)))
    }
    changes = []
    for number, drop in ((_RESTORE, drop_restored), (_SAVE, drop_saved)):
        node = nodes.by_name.get(source_of(savers[0].text(number)))
        if node is None or (name := called_function(node)) not in functions:
            return "the graph saves and restores them in an unknown way"
        library, item = functions[name]
        copied = library.message(item).copy()
        try:
            places = drop(copied, keys)
        except SaverPatternError as error:
            return str(error)
        changes.append((node, library, item, copied, places))
    needed = nodes.needed_to_serve()
    restore, *_, places = changes[0]
    sources = [source_of(source) for source in restore.texts(3)]
    lost = [sources[place] for place in places if place < len(sources) and sources[place] in needed]
    if lost:
        return f"the graph needs {lost[0]} to serve, and the object graph does not"
    for node, _, item, copied, dropped in changes:
        drop_call_inputs(node, dropped)
        item.child = copied
    return ""


def clear_devices(model: EditableModel) -> Edited:
    """The model without device strings in nodes, variables and resources.

    One that was traced for a GPU or a remote worker then runs on any machine.
    """
    edited = model.copy()
    devices: dict[str, int] = {}
    for graph in edited.meta_graphs:
        for message, number in _holders(graph):
            device = message.text(number)
            if device:
                message.clear(number)
                devices[device] = devices.get(device, 0) + 1
    if not devices:
        return Edited(model, notes=("The model has no device strings",))
    names = tuple(sorted(devices))[:_MAX_NAMES]
    return Edited(edited, (Loss("devices", "device string", sum(devices.values()), names),))


def _holders(graph: EditableMetaGraph) -> Iterator[tuple[WireMessage, int]]:
    """Each message that may have a device, with the number of the field."""
    for node in graph.all_nodes():
        yield node, _NODE_DEVICE
    for saved in graph.objects() if graph.has_objects else ():
        for variable in saved.messages(_VARIABLE):
            yield variable, _VARIABLE_DEVICE
            for component in variable.messages(_COMPONENTS):
                yield component, _VARIABLE_DEVICE
        for resource in saved.messages(_RESOURCE):
            yield resource, _RESOURCE_DEVICE
