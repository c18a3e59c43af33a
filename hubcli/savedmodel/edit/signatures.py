"""Keeps, renames and drops signatures in both places that name them, and sets defaults of their inputs.

TensorFlow's session loader and Serving read the map `signature_def`, the loader of TensorFlow 2 the children
of the root's child `signatures`. Sources: tensorflow/python/saved_model/signature_serialization.py and
load.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from hubcli.errors import UsageError, did_you_mean
from hubcli.formats.wire_message import WireMessage, map_entry
from hubcli.savedmodel.edit.editable import (
    RESERVED_SIGNATURES,
    SIGNATURE_DEF,
    EditableMetaGraph,
    EditableModel,
    Edited,
    Loss,
    children_of,
)

__all__ = ["add_defaults", "chosen_signatures", "keep_signatures", "rename_signatures"]

_KEY, _VALUE = 1, 2
_INPUTS, _DEFAULTS = 1, 4  # of SignatureDef
_REFERENCES = (1, 15)  # of SavedObject: children, dependencies
_LOCAL_NAME = 2


def chosen_signatures(
    model: EditableModel, keep: Sequence[str], drop: Sequence[str], *, allow_none: bool = False
) -> list[str]:
    """The names that stay: those to keep, or all, without those to drop.

    Raises UsageError for an unknown name, and if none stays, unless that is allowed.
    """
    names = model.signature_names
    for name in (*keep, *drop):
        _require_known(name, names)
    retained = [name for name in names if (not keep or name in keep) and name not in drop]
    if not retained and names and not allow_none:
        raise UsageError(
            f"No signature would remain: the model has {_listed(names)}",
            hint="Keep one: --signature NAME; or allow it: --allow-none",
        )
    return retained


def keep_signatures(model: EditableModel, names: Sequence[str]) -> Edited:
    """The model with only those signatures."""
    edited, retained = model.copy(), frozenset(names)
    dropped = [name for name in model.signature_names if name not in retained]
    if not dropped:
        return Edited(model)
    dropped_names = frozenset(dropped)
    for graph in edited.meta_graphs:
        graph.message.remove_messages(SIGNATURE_DEF, lambda entry: entry.text(_KEY) in dropped_names)
        for holder in _signature_holders(graph):
            for number in _REFERENCES:
                holder.remove_messages(number, lambda child: child.text(_LOCAL_NAME) in dropped_names)
    return Edited(edited, (Loss("signatures", "signature", len(dropped), tuple(dropped)),))


def rename_signatures(model: EditableModel, names: Mapping[str, str]) -> Edited:
    """The model with signatures renamed, all at once, so that two may swap their names.

    Raises UsageError for an unknown name, and if two would have the same name.
    """
    there = model.signature_names
    for old in names:
        _require_known(old, there)
    for new in names.values():
        if not new or new in RESERVED_SIGNATURES:
            raise UsageError(
                f"A signature cannot have the name '{new}'", hint="Use --rename-signature OLD=NEW."
            )
    counts = Counter(names.get(name, name) for name in there)
    twice = next((name for name, count in counts.items() if count > 1), None)
    if twice is not None:
        raise UsageError(
            f"Two signatures would have the name '{twice}'",
            hint=f"Drop one: --drop-signature NAME. The signatures are {_listed(there)}.",
        )
    edited = model.copy()
    for graph in edited.meta_graphs:
        for name, entry in graph.signature_entries():
            entry.set_text(_KEY, names.get(name, name))
        for holder in _signature_holders(graph):
            for number in _REFERENCES:
                for child in holder.messages(number):
                    name = child.text(_LOCAL_NAME)
                    child.set_text(_LOCAL_NAME, names.get(name, name))
    return Edited(edited)


def add_defaults(model: EditableModel, defaults: Mapping[tuple[str, str], bytes]) -> Edited:
    """The model with defaults: encoded TensorProtos by signature and input, which must exist."""
    edited = model.copy()
    for graph in edited.meta_graphs:
        for name, entry in graph.signature_entries():
            signature = entry.only(_VALUE)
            if signature is None:
                continue
            # Another MetaGraph may have a signature of that name with other inputs.
            inputs = {entry.text(_KEY) for entry in signature.messages(_INPUTS)}
            for (own, default_input), value in defaults.items():
                if own == name and default_input in inputs:
                    _put_default(signature, default_input, value)
    return Edited(edited)


def _put_default(signature: WireMessage, name: str, value: bytes) -> None:
    for entry in signature.messages(_DEFAULTS):
        if entry.text(_KEY) == name:
            entry.put(_VALUE, value)
            return
    signature.add(_DEFAULTS, map_entry(name, value))


def _signature_holders(graph: EditableMetaGraph) -> list[WireMessage]:
    """The objects that hold the signatures' functions by their names."""
    if not graph.has_objects:
        return []
    objects = graph.objects()
    numbers = {number for name, number in children_of(objects[0]) if name == "signatures"} if objects else ()
    return [objects[number] for number in numbers if 0 <= number < len(objects)]


def _require_known(name: str, there: Sequence[str]) -> None:
    if name not in there:
        raise UsageError(
            f"The model has no signature '{name}'{did_you_mean(name, list(there))}",
            hint=f"Its signatures: {_listed(there)}",
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
