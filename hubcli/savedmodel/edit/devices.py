"""Removes device strings, so that a model that was traced for a GPU or a remote worker runs on any machine.

TensorFlow writes them with `SaveOptions(experimental_variable_policy=…)`, and for graphs built below
`tf.device`. Source: tensorflow/python/saved_model/save.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from hubcli.formats.wire_message import WireMessage
from hubcli.savedmodel.edit.editable import EditableMetaGraph, EditableModel, Edited, Loss

__all__ = ["clear_devices"]

_NODE_DEVICE = 4  # of NodeDef
_VARIABLE, _VARIABLE_DEVICE, _COMPONENTS = 7, 7, 8  # of SavedObject, of SavedVariable
_RESOURCE, _RESOURCE_DEVICE = 10, 1  # of SavedObject, of SavedResource
_MAX_NAMES = 20


def clear_devices(model: EditableModel) -> Edited:
    """The model without device strings in nodes, variables and resources."""
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
