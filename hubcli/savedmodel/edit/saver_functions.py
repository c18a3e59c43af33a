"""The functions that save and restore a SavedModel's variables, without some of their keys.

TensorFlow traces both when it saves: `traced_restore` reads the tensors of all keys by RestoreV2 and assigns
each to an argument, `traced_save` reads each variable and writes all by SaveV2. The nodes to remove are
followed from the key; if another pattern is found, nothing is removed. Sources:
tensorflow/python/checkpoint/functional_saver.py, tensorflow/core/framework/function.proto.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Set
from functools import partial

from hubcli.errors import BrokenModelError
from hubcli.formats.wire_message import WireMessage
from hubcli.savedmodel.edit.editable import (
    attribute,
    drop_list_items,
    list_length,
    source_of,
    strings_of,
    tensor_of_strings,
)

__all__ = ["SaverPatternError", "drop_call_inputs", "drop_restored", "drop_saved"]

_NAME, _OP, _INPUT = 1, 2, 3  # of NodeDef
_SIGNATURE, _NODE_DEF, _RET, _ATTR, _CONTROL_RET, _ARG_ATTR, _ARG_IDS = 1, 3, 4, 5, 6, 7, 8  # of FunctionDef
_INPUT_ARG, _CONTROL_OUTPUT = 2, 20  # of OpDef
_KEY, _VALUE = 1, 2
_SAVE_INPUTS = 3  # SaveV2: prefix, names, slices, then the tensors.
_TENSOR = 8  # of AttrValue
_MAX_DIGITS = 10
_PER_ARGUMENT = ("_input_shapes",)
_PER_INPUT = ("Tin", "_input_shapes")
_READING = frozenset({"Identity", "ReadVariableOp", "Cast"})
_INPUT_PLACES = "_read_only_resource_inputs"


class SaverPatternError(Exception):
    """The function isn't as TensorFlow writes it; the message says how it differs."""


class _Body:
    """The nodes of a function by name, some of which are removed.

    `inputs` are those of each remaining node, `users` the nodes that read an output of each node or argument;
    "" stands for a result of the function.
    """

    def __init__(self, function: WireMessage) -> None:
        self.function = function
        self.nodes = {node.text(_NAME): node for node in function.messages(_NODE_DEF)}
        self.ops = {name: node.text(_OP) for name, node in self.nodes.items()}
        self.inputs = {name: node.texts(_INPUT) for name, node in self.nodes.items()}
        self.removed: set[str] = set()
        self.users: dict[str, set[str]] = {}
        for name, sources in self.inputs.items():
            for source in sources:
                if source[:1] != "^":
                    self.users.setdefault(source_of(source), set()).add(name)
        for entry in function.messages(_RET):
            self.users.setdefault(source_of(entry.text(_VALUE)), set()).add("")
        signatures = list(function.messages(_SIGNATURE))
        if len(signatures) != 1:
            raise SaverPatternError("the function has no signature, or one in several pieces")
        self.arguments = [arg.text(_NAME) for arg in signatures[0].messages(_INPUT_ARG)]
        self._read_arguments = self.users.keys() & set(self.arguments)

    def remove(self, name: str) -> list[str]:
        """Removes a node; returns the nodes and arguments that it read."""
        self.removed.add(name)
        sources = {source_of(source) for source in self.inputs.pop(name) if source[:1] != "^"}
        for source in sources:
            self.users[source].discard(name)
        return sorted(sources)

    def finish(self) -> list[int]:
        """Edits the function, without arguments that are no longer read; returns the places of these."""
        if not self.removed:
            return []
        removed_ids = {id(self.nodes[name]) for name in self.removed}
        self.function.remove_messages(_NODE_DEF, lambda node: id(node) in removed_ids)
        waits = {f"^{name}" for name in self.removed}
        for name, sources in self.inputs.items():
            if not waits.isdisjoint(sources):
                self.nodes[name].remove_texts(_INPUT, waits.__contains__)
        self._drop_control_results()
        places = [
            place
            for place, name in enumerate(self.arguments)
            if name in self._read_arguments and not self.users[name]
        ]
        _drop_arguments(self.function, places)
        return places

    def _drop_control_results(self) -> None:
        function = self.function
        names = {
            entry.text(_KEY)
            for entry in function.messages(_CONTROL_RET)
            if entry.text(_VALUE) in self.removed
        }
        function.remove_messages(_CONTROL_RET, lambda entry: entry.text(_KEY) in names)
        for signature in function.messages(_SIGNATURE):
            signature.remove_texts(_CONTROL_OUTPUT, names.__contains__)


def drop_restored(function: WireMessage, keys: Set[str]) -> list[int]:
    """Removes the keys from a restore function; returns the places of the arguments removed with them.

    Raises SaverPatternError with the function partly edited: pass a copy.
    """
    body = _Body(function)
    for name, gone_places, is_all in _affected(body, "RestoreV2", keys):
        _remove_readers(body, name, set(gone_places))
        if is_all:
            _remove_unread(body, [name], None)
            if name not in body.removed:
                raise SaverPatternError(f"{name} gives more than its tensors")
        else:
            _drop_keys(body, name, gone_places)
            _renumber(body, name, gone_places)
    return body.finish()


def _affected(body: _Body, op: str, keys: Set[str]) -> Iterator[tuple[str, list[int], bool]]:
    """The nodes of the op that name some of the keys: name, their places, whether it names only them."""
    for name in [name for name, found in body.ops.items() if found == op]:
        names = _names_of(body, name)
        places = [place for place, key in enumerate(names) if key in keys]
        if places:
            yield name, places, len(places) == len(names)


def _remove_readers(body: _Body, restore: str, gone_places: set[int]) -> None:
    """Removes the nodes that depend on these outputs; none may depend on others too."""
    waiting = sorted(
        name
        for name in body.users.get(restore, ())
        if name and any(_is_output(source, restore, gone_places) for source in body.inputs[name])
    )
    while waiting:
        name = waiting.pop()
        if name in body.removed:
            continue
        if any(_is_other_output(source, restore, gone_places) for source in body.inputs[name]):
            raise SaverPatternError(f"{name} restores several variables at once")
        if "" in body.users.get(name, ()):
            raise SaverPatternError(f"the function returns {name}")
        waiting += sorted(body.users.get(name, ()))
        body.remove(name)


def _place_of(source: str, node: str) -> int | None:
    """The place of the output among those of the node; None for an output of another node."""
    name, _, output = source.partition(":")
    place = output.rpartition(":")[2]
    # For a number of thousands of digits, int() raises ValueError.
    is_place = name == node and output.count(":") == 1 and place.isdecimal() and len(place) < _MAX_DIGITS
    return int(place) if is_place else None


def _is_output(source: str, node: str, places: Set[int]) -> bool:
    return _place_of(source, node) in places


def _is_other_output(source: str, node: str, places: Set[int]) -> bool:
    return source[:1] != "^" and source_of(source) == node and not _is_output(source, node, places)


def _renumber(body: _Body, restore: str, gone_places: list[int]) -> None:
    """Changes inputs to the new places of the remaining outputs."""
    for name in body.users.get(restore, ()):
        node = body.nodes.get(name)
        if node is None:
            raise SaverPatternError(f"the function returns an output of {restore}")
        node.map_texts(_INPUT, partial(_renumbered, restore=restore, gone_places=gone_places))
        body.inputs[name] = node.texts(_INPUT)


def _renumbered(source: str, restore: str, gone_places: list[int]) -> str:
    place = _place_of(source, restore)
    if place is None:
        return source
    return f"{source.rpartition(':')[0]}:{place - bisect_left(gone_places, place)}"


def drop_saved(function: WireMessage, keys: Set[str]) -> list[int]:
    """Removes the keys from a save function; returns the places of the arguments removed with them.

    Raises SaverPatternError with the function partly edited: pass a copy.
    """
    body = _Body(function)
    for name, gone_places, is_all in _affected(body, "SaveV2", keys):
        if is_all:
            raise SaverPatternError("a shard would be left without tensors")
        _remove_unread(body, _take_inputs(body, name, gone_places), _READING)
        _drop_keys(body, name, gone_places)
    return body.finish()


def _take_inputs(body: _Body, name: str, gone_places: list[int]) -> list[str]:
    """Removes the tensors at these places from a SaveV2; returns the nodes and arguments that give them."""
    node = body.nodes[name]
    inputs, places = node.texts(_INPUT), [_SAVE_INPUTS + place for place in gone_places]
    if len(inputs) <= places[-1]:
        raise SaverPatternError(f"{name} has fewer tensors than keys")
    sources = [source_of(inputs[place]) for place in places]
    node.remove_places(_INPUT, places)
    body.inputs[name] = node.texts(_INPUT)
    left = {source_of(source) for source in body.inputs[name]}
    for source in sources:
        if source not in left:
            body.users[source].discard(name)
    return sources


def _remove_unread(body: _Body, names: list[str], ops: Set[str] | None) -> None:
    """Removes those nodes and what they read, unless another node reads it. The ops must be among `ops`."""
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in body.removed or name not in body.nodes:
            # An argument: DisableCopyOnRead only marks it as read.
            users = sorted(body.users.get(name, ()))
            if users and all(body.ops.get(user) == "DisableCopyOnRead" for user in users):
                for user in users:
                    body.remove(user)
            continue
        if body.users.get(name):
            continue
        if ops is not None and body.ops[name] not in ops:
            raise SaverPatternError(f"{name} is a {body.ops[name]}")
        waiting += body.remove(name)


def _names_of(body: _Body, name: str) -> list[str]:
    """The keys of a RestoreV2 or SaveV2."""
    return [text.decode("utf-8", "backslashreplace") for text in strings_of(_constant(body, name, 1))]


def _constant(body: _Body, name: str, place: int) -> WireMessage:
    """The TensorProto of the constant at that place of the inputs."""
    sources = body.inputs[name]
    constant = source_of(sources[place]) if len(sources) > place else ""
    value = attribute(body.nodes[constant], "value") if body.ops.get(constant) == "Const" else None
    tensor = None if value is None else value.only(_TENSOR)
    if tensor is None:
        raise SaverPatternError(f"the keys of {name} are not constants")
    return tensor


def _drop_keys(body: _Body, name: str, gone_places: list[int]) -> None:
    """Removes the places from the keys, slices and types of a RestoreV2 or SaveV2."""
    count, left_out = 0, set(gone_places)
    for place in (1, 2):
        texts = strings_of(_constant(body, name, place))
        if place == 2 and len(texts) != count:
            raise SaverPatternError(f"{name} has {count} keys and {len(texts)} slices")
        count = len(texts)
        constant = source_of(body.inputs[name][place])
        if body.users[constant] != {name}:
            raise SaverPatternError("two nodes share a list of keys")
        retained = [text for number, text in enumerate(texts) if number not in left_out]
        value = attribute(body.nodes[constant], "value")
        assert value is not None
        value.put(_TENSOR, tensor_of_strings(retained))
        # The constant no longer has the shape that this attribute gives.
        body.nodes[constant].remove_messages(_ATTR, lambda entry: entry.text(_KEY) == "_output_shapes")
    node = body.nodes[name]
    dtypes = attribute(node, "dtypes")
    if dtypes is None or list_length(dtypes) != count:
        raise SaverPatternError(f"{name} has {count} keys, and another number of types")
    drop_list_items(dtypes, left_out)
    shapes = attribute(node, "_output_shapes")
    if shapes is not None and list_length(shapes) == count:
        drop_list_items(shapes, left_out)


def _drop_arguments(function: WireMessage, places: list[int]) -> None:
    """Removes the arguments at these places from the signature, and from attributes that list arguments."""
    if not places:
        return
    for signature in function.messages(_SIGNATURE):
        signature.remove_places(_INPUT_ARG, places)
    for entry in function.messages(_ATTR):
        if entry.text(_KEY) in _PER_ARGUMENT:
            value = entry.only(_VALUE)
            if value is not None and list_length(value) > max(places):
                drop_list_items(value, frozenset(places))
    for number in (_ARG_ATTR, _ARG_IDS):
        _shift_keys(function, number, places)


def _shift_keys(function: WireMessage, number: int, places: list[int]) -> None:
    """Renumbers a map whose keys are places of arguments."""
    gone_places = set(places)
    function.remove_messages(number, lambda entry: entry.integer(_KEY) in gone_places)
    for entry in function.messages(number):
        place = entry.integer(_KEY)
        entry.put_integer(_KEY, place - bisect_left(places, place))


def drop_call_inputs(node: WireMessage, places: list[int]) -> None:
    """Removes the inputs at these places, in ascending order, from a call of a function."""
    if not places:
        return
    count, left_out = len(node.texts(_INPUT)), frozenset(places)
    if max(places) >= count:
        raise BrokenModelError(f"{node.text(_NAME)} has {count} inputs, fewer than its function")
    node.remove_places(_INPUT, left_out)
    for name in _PER_INPUT:
        value = attribute(node, name)
        if value is not None and list_length(value) > max(places):
            drop_list_items(value, left_out)
    value = attribute(node, _INPUT_PLACES)
    values = None if value is None else value.only(1)
    if values is not None:
        retained = [place for place in values.integers(3) if place not in left_out]
        values.put_integers(3, [place - bisect_left(places, place) for place in retained])
