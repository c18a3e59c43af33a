"""Weights in half the bytes: float32 variables become float16 or bfloat16, and are cast where they are used.

Variables keep their names, and every name of a node still gives a float32: a node that read one from a
variable reads a half under a new name, and a Cast gets the old name. Nodes that restore and initialize
variables cast the other way. So no other node changes, and the checkpoint has half the bytes. Source:
tensorflow/core/ops/resource_variable_ops.cc.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from hubcli.errors import BrokenModelError, UsageError, ValuesError
from hubcli.formats import HalfType
from hubcli.formats.wire import encode_field
from hubcli.formats.wire_message import WireMessage, map_entry
from hubcli.savedmodel.edit.editable import (
    PRECISION,
    EditableMetaGraph,
    EditableModel,
    Loss,
    attribute,
    called_function,
    function_name,
    map_types,
    put_attribute,
    source_of,
    strings_of,
    types_of,
)

__all__ = ["HalvedModel", "half_weights"]

_NAME, _OP, _INPUT, _ATTR = 1, 2, 3, 5  # of NodeDef
_NODE, _NODE_DEF, _RET = 1, 3, 4  # of GraphDef, of FunctionDef
_KEY, _VALUE = 1, 2
_TYPE, _TENSOR = 6, 8  # of AttrValue
_VARIABLE, _DTYPE = 7, 1  # of SavedObject, of SavedVariable
_FLOAT, _RESOURCE = 1, 20
_SAVER_DEF, _RESTORE_OP = 3, 3
_SAVE_INPUTS = 3
# Ops that read a variable, by the name of what they give within a function.
_READERS = {"ReadVariableOp": "value", "ResourceGather": "output", "ResourceGatherNd": "output"}
_ASSIGN = "AssignVariableOp"
_WRITER = re.compile(
    r"Assign\w*VariableOp|Resource(Sparse)?Apply\w+|ResourceScatter\w+|ResourceStridedSliceAssign"
)
# Ops with "Variable" or "Resource" in their names that neither read nor write values.
_HARMLESS = frozenset(
    {
        "DestroyResourceOp", "DisableCopyOnRead", "VarHandleOp", "VarIsInitializedOp", "VariableShape",
        "_ResourceVariable",
    }
)  # fmt: skip
_OF_VARIABLES = re.compile(r"Variable|^Resource|VarHandle")


@dataclass(frozen=True, slots=True)
class HalvedModel:
    """The edited model, the keys of its checkpoint that must be halved, and the losses."""

    model: EditableModel
    keys: frozenset[str]
    losses: tuple[Loss, ...]


def half_weights(
    model: EditableModel, checkpoint: bytes | None, float_keys: Collection[str], half: HalfType
) -> HalvedModel:
    """The model with its float32 variables in half the bytes.

    `checkpoint` is the object graph of its checkpoint, `float_keys` the keys there of float32 tensors.
    Raises ValuesError if a function assigns to such a variable, UsageError for a model without objects
    or without float32 variables.
    """
    edited = model.copy()
    if checkpoint is None or not all(graph.has_objects for graph in edited.meta_graphs):
        raise UsageError("--half requires a model of TensorFlow 2 with variables", hint="Remove --half.")
    keys = frozenset(key for key in _variable_keys(checkpoint) if key in float_keys)
    count = sum(_Halving(graph, half, keys).run() for graph in edited.meta_graphs)
    if not count or not keys:
        raise UsageError("The model has no float32 variables to halve", hint="Remove --half.")
    return HalvedModel(edited, keys, (Loss(PRECISION, "float32 variable", count, (half.value,)),))


def _variable_keys(checkpoint: bytes) -> Iterator[str]:
    for node in WireMessage(checkpoint).messages(1):
        for saved in node.messages(2):
            if saved.text(1) == "VARIABLE_VALUE":
                yield saved.text(3)


class _Halving:
    """Halves the variables of one MetaGraph."""

    def __init__(self, graph: EditableMetaGraph, half: HalfType, keys: frozenset[str]) -> None:
        self._graph = graph
        self._half = half.number
        self._keys = keys

    def run(self) -> int:
        """Edits the MetaGraph; returns how many variables were halved."""
        restoring = self._restore_function()
        for graph in self._graph.graphs:
            _Body(graph, _NODE, "the graph", self._half, self._keys, may_assign=True).run()
        for function in self._graph.functions():
            name = function_name(function)
            _Body(function, _NODE_DEF, name, self._half, self._keys, may_assign=name == restoring).run()
            self._retype_arguments(function.only(1))
        return self._retype_variables()

    def _restore_function(self) -> str:
        for saver in self._graph.message.messages(_SAVER_DEF):
            name = source_of(saver.text(_RESTORE_OP))
            for node in self._graph.nodes():
                if node.text(_NAME) == name:
                    return called_function(node)
        return ""

    def _retype_variables(self) -> int:
        count = 0
        for saved in self._graph.objects():
            for variable in saved.messages(_VARIABLE):
                for part in (variable, *variable.messages(8)):  # Those of a distributed one, too.
                    if part.integer(_DTYPE) == _FLOAT:
                        part.put_integer(_DTYPE, self._half)
                        count += part is variable
        return count

    def _retype_arguments(self, signature: WireMessage | None) -> None:
        """Changes the types that a function declares of the variables it takes."""
        for arg in signature.messages(2) if signature is not None else ():
            handles = list(arg.messages(7))
            if arg.integer(3) == _RESOURCE and len(handles) == 1 and handles[0].integer(1) == _FLOAT:
                handles[0].put_integer(1, self._half)


class _Body:
    """The nodes of the graph or of a function; `number` is that of the field that holds them."""

    def __init__(
        self,
        holder: WireMessage,
        number: int,
        name: str,
        half: int,
        keys: frozenset[str],
        *,
        may_assign: bool,
    ) -> None:
        self._holder = holder
        self._number = number
        self._name = name
        self._title = f"The function {name}" if number == _NODE_DEF else "The graph"
        self._half = half
        self._keys = keys
        self._may_assign = may_assign
        self._is_function = number == _NODE_DEF
        self._nodes = list(holder.messages(number))
        self._names = {node.text(_NAME) for node in self._nodes}
        self._constants = {node.text(_NAME): node for node in self._nodes if node.text(_OP) == "Const"}
        # New names of outputs that other nodes read, and nodes to add.
        self._moved: dict[str, str] = {}
        self._added: list[bytes] = []
        # Casts to the half type: name and source, which may still get a new name.
        self._rounded: list[tuple[str, str]] = []

    def run(self) -> None:
        own = list(self._nodes)
        for node in own:
            self._edit(node, node.text(_OP))
        for name, source in self._rounded:
            self._added.append(_cast(name, self._moved.get(source, source), _FLOAT, self._half))
        if not self._added:
            return
        for node in own:
            node.map_texts(_INPUT, lambda source: self._moved.get(source, source))
        for entry in self._holder.messages(_RET) if self._is_function else ():
            target = entry.text(_VALUE)
            if target in self._moved:
                entry.set_text(_VALUE, self._moved[target])
        self._holder.add(self._number, *self._added)

    def _edit(self, node: WireMessage, op: str) -> None:
        if op == "VarHandleOp":
            if _type_of(node, "dtype") == _FLOAT:
                if self._is_function:
                    raise ValuesError(f"{self._title} creates its own variable", hint=_HINT)
                put_attribute(node, "dtype", _type(self._half))
        elif op in _READERS:
            if _type_of(node, "dtype") == _FLOAT:
                self._read_half(node, _READERS[op])
        elif op == _ASSIGN and self._may_assign:
            if _type_of(node, "dtype") == _FLOAT:
                put_attribute(node, "dtype", _type(self._half))
                self._cast_input(node, 1)
        elif op in ("RestoreV2", "SaveV2"):
            (self._restore_half if op == "RestoreV2" else self._save_half)(node)
        else:
            self._refuse(node, op)

    def _refuse(self, node: WireMessage, op: str) -> None:
        """Raises ValuesError for a node that changes a float32 variable, or may."""
        if _WRITER.fullmatch(op) and _FLOAT in (_type_of(node, "dtype"), _type_of(node, "T")):
            raise ValuesError(
                f"{self._title} assigns to a float32 variable ({op} {node.text(_NAME)})",
                hint=_HINT,
            )
        if _OF_VARIABLES.search(op) and op not in _HARMLESS and not _WRITER.fullmatch(op):
            raise ValuesError(f"The op {op} in {self._name} may use a float32 variable", hint=_HINT)

    def _read_half(self, node: WireMessage, output: str) -> None:
        """Renames the node, which reads a half then, and adds a Cast with its old name."""
        name = node.text(_NAME)
        new = self._new_name(f"{name}/half")
        node.set_text(_NAME, new)
        put_attribute(node, "dtype", _type(self._half))
        source = f"{new}:{output}:0" if self._is_function else new
        self._added.append(_cast(name, source, self._half, _FLOAT))
        if self._is_function:
            self._moved[f"{name}:{output}:0"] = f"{name}:y:0"

    def _cast_input(self, node: WireMessage, place: int) -> None:
        """Casts an input of the node to the half type."""
        fields = [field for field in node.fields if field.is_message(_INPUT)]
        if place >= len(fields):
            raise BrokenModelError(f"{node.text(_NAME)} in {self._name} has only {len(fields)} inputs")
        source = node.text_of(fields[place])
        name = self._new_name(f"{node.text(_NAME)}/half_{place}")
        self._rounded.append((name, source))
        output = f"{name}:y:0" if self._is_function else name
        node.set_bytes(fields[place], output.encode("utf-8", "surrogateescape"))

    def _restore_half(self, node: WireMessage) -> None:
        """Makes the node read halves from the checkpoint, and adds a Cast to float32 for each."""
        name, places = node.text(_NAME), self._places(node)
        for place in places:
            cast = self._new_name(f"{name}/float_{place}")
            source = f"{name}:tensors:{place}" if self._is_function else f"{name}:{place}" if place else name
            self._added.append(_cast(cast, source, self._half, _FLOAT))
            self._moved[source] = f"{cast}:y:0" if self._is_function else cast
            if not self._is_function and not place:
                self._moved[f"{name}:0"] = cast

    def _save_half(self, node: WireMessage) -> None:
        for place in self._places(node):
            self._cast_input(node, _SAVE_INPUTS + place)

    def _places(self, node: WireMessage) -> list[int]:
        """Changes the types of the keys to halve; returns the places of these keys."""
        sources = node.texts(_INPUT)
        constant = self._constants.get(source_of(sources[1])) if len(sources) > 1 else None
        value = None if constant is None else attribute(constant, "value")
        tensor = None if value is None else value.only(_TENSOR)
        dtypes = attribute(node, "dtypes")
        if tensor is None or dtypes is None:
            raise ValuesError(f"The keys of {node.text(_NAME)} in {self._name} are not constants", hint=_HINT)
        keys = [text.decode("utf-8", "backslashreplace") for text in strings_of(tensor)]
        types = types_of(dtypes)
        if len(types) != len(keys):
            raise ValuesError(f"{node.text(_NAME)} in {self._name} has more types than keys", hint=_HINT)
        places = [place for place, key in enumerate(keys) if key in self._keys and types[place] == _FLOAT]
        for place in places:
            types[place] = self._half
        map_types(dtypes, types)
        return places

    def _new_name(self, name: str) -> str:
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name


_HINT = "Export only what serving needs: --serving"


def _type_of(node: WireMessage, name: str) -> int:
    value = attribute(node, name)
    return 0 if value is None else value.integer(_TYPE)


def _type(number: int) -> bytes:
    return encode_field(_TYPE, number)


def _cast(name: str, source: str, from_type: int, to_type: int) -> bytes:
    """A Cast node."""
    attributes = (("SrcT", from_type), ("DstT", to_type))
    encoded = encode_field(_NAME, name.encode("utf-8", "surrogateescape")) + encode_field(_OP, "Cast")
    encoded += encode_field(_INPUT, source.encode("utf-8", "surrogateescape"))
    return encoded + b"".join(
        encode_field(_ATTR, map_entry(key, _type(number))) for key, number in attributes
    )
