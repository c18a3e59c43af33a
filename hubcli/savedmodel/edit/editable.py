"""saved_model.pb for edits: its MetaGraphs with signatures, objects, nodes, functions, and lists in nodes.

Each edit takes an `EditableModel` and returns another one, without a change of the first. Field numbers:
tensorflow/core/protobuf/meta_graph.proto and saved_object_graph.proto, tensorflow/core/framework/graph.proto,
function.proto, node_def.proto, attr_value.proto and tensor.proto.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from hubcli.errors import BrokenModelError
from hubcli.formats.wire import Bytes, encode_field
from hubcli.formats.wire_message import WireMessage
from hubcli.units import format_size, plural

__all__ = [
    "PRECISION",
    "RESERVED_SIGNATURES",
    "EditableMetaGraph",
    "EditableModel",
    "Edited",
    "Loss",
    "attribute",
    "called_function",
    "children_of",
    "drop_list_items",
    "function_name",
    "functions_named_by",
    "list_length",
    "map_types",
    "put_attribute",
    "source_of",
    "strings_of",
    "tensor_of_strings",
    "types_of",
]

_META_GRAPHS = 2  # of SavedModel
GRAPH_DEF, SIGNATURE_DEF, OBJECT_GRAPH_DEF = 2, 5, 7  # of MetaGraphDef
_NODE, _LIBRARY = 1, 2  # of GraphDef
_FUNCTION, _SIGNATURE, _NODE_DEF = 1, 1, 3  # of FunctionDefLibrary, of FunctionDef
_NODES = 1  # of SavedObjectGraph
_CHILDREN = 1  # of SavedObject
_NODE_ID, _LOCAL_NAME = 1, 2  # of ObjectReference
_ATTR = 5  # of NodeDef
_KEY, _VALUE = 1, 2  # of a map's entry
_FUNC, _LIST, _LIST_FUNC = 10, 1, 9  # of AttrValue, of its ListValue
_FUNC_ATTR = 2  # of NameAttrList
_MAX_META_GRAPHS, _MAX_OBJECTS = 100, 200_000
PRECISION = "precision"  # The kind of a loss of digits.
_SHOWN_NAMES = 3
# Entries of the map of signatures that TensorFlow uses itself.
RESERVED_SIGNATURES = frozenset({"__saved_model_init_op", "__saved_model_train_op"})
_TYPES, _SHAPES = 6, 7  # of ListValue
_STRING, _STRING_VAL = 7, 8  # DT_STRING; of TensorProto
_MAX_STRINGS = 1_000_000


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that an export lacks and its source has: a stable word, a noun for it, and its count.

    `names` are some or all of them, `size_bytes` is their size in the file, 0 if that isn't counted.
    """

    kind: str
    what: str
    count: int
    names: tuple[str, ...] = ()
    size_bytes: int = 0

    @property
    def text(self) -> str:
        """The loss in one line."""
        counted = plural(self.count, self.what)
        if self.kind == PRECISION:
            return f"Rounded {counted} to {self.names[0]}"
        size = f" ({format_size(self.size_bytes)})" if self.size_bytes else ""
        listed = ", ".join(self.names[:_SHOWN_NAMES])
        # Device strings are counted with repetitions, `names` has each once.
        count = len(self.names) if self.kind == "devices" else self.count
        more = f" and {count - _SHOWN_NAMES} more" if self.names and count > _SHOWN_NAMES else ""
        return f"Removed {counted}{size}" + (f": {listed}{more}" if listed else "")


@dataclass(frozen=True, slots=True)
class Edited:
    """A model after an edit, and what it lost; `notes` say what was not edited, and why."""

    model: EditableModel
    losses: tuple[Loss, ...] = ()
    notes: tuple[str, ...] = ()


class EditableMetaGraph:
    """One MetaGraphDef. A part in several pieces is read as protobuf merges them."""

    def __init__(self, message: WireMessage) -> None:
        self.message = message

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags."""
        return tuple(tag for info in self.message.messages(1) for tag in info.texts(4))

    def signature_entries(self) -> Iterator[tuple[str, WireMessage]]:
        """The entries of the map of signatures that are called, with their names."""
        for entry in self.message.messages(SIGNATURE_DEF):
            name = entry.text(_KEY)
            if name not in RESERVED_SIGNATURES:
                yield name, entry

    @property
    def signature_names(self) -> list[str]:
        """The names of its signatures, each once, in file order."""
        return list(dict.fromkeys(name for name, _ in self.signature_entries()))

    @property
    def graphs(self) -> list[WireMessage]:
        """The pieces of its graph: one, except in unusual files."""
        return list(self.message.messages(GRAPH_DEF))

    def nodes(self) -> Iterator[WireMessage]:
        """The nodes of the graph itself."""
        for graph in self.graphs:
            yield from graph.messages(_NODE)

    @property
    def libraries(self) -> list[WireMessage]:
        """The pieces of its library of functions."""
        return [library for graph in self.graphs for library in graph.messages(_LIBRARY)]

    def functions(self) -> Iterator[WireMessage]:
        """The functions of the library."""
        for library in self.libraries:
            yield from library.messages(_FUNCTION)

    def all_nodes(self) -> Iterator[WireMessage]:
        """The nodes of the graph and of its functions."""
        yield from self.nodes()
        for function in self.functions():
            yield from function.messages(_NODE_DEF)

    @property
    def has_objects(self) -> bool:
        """Whether it has an object graph, as those of TensorFlow 2 have."""
        return any(graph.has(_NODES) for graph in self.object_graphs())

    def objects(self) -> list[WireMessage]:
        """The SavedObjects by their numbers."""
        found = [node for graph in self.message.messages(OBJECT_GRAPH_DEF) for node in graph.messages(_NODES)]
        if len(found) > _MAX_OBJECTS:
            raise BrokenModelError(f"its object graph has {len(found)} objects")
        return found

    def object_graphs(self) -> Iterator[WireMessage]:
        """The pieces of its object graph."""
        yield from self.message.messages(OBJECT_GRAPH_DEF)


class EditableModel:
    """saved_model.pb. Raises BrokenModelError, as do its parts, where it is damaged."""

    def __init__(self, message: WireMessage) -> None:
        self.message = message

    @classmethod
    def parse(cls, data: Bytes) -> EditableModel:
        """The model in the bytes of the file."""
        model = cls(WireMessage(data))
        count = sum(1 for _ in model.message.messages(_META_GRAPHS))
        if not 0 < count <= _MAX_META_GRAPHS:
            raise BrokenModelError(f"it holds {count or 'no'} MetaGraph{'s' if count > 1 else ''}")
        return model

    @property
    def meta_graphs(self) -> list[EditableMetaGraph]:
        """Its MetaGraphs in file order."""
        return [EditableMetaGraph(message) for message in self.message.messages(_META_GRAPHS)]

    @property
    def signature_names(self) -> list[str]:
        """The names of the signatures of all MetaGraphs, each once."""
        return list(dict.fromkeys(name for graph in self.meta_graphs for name in graph.signature_names))

    @property
    def is_edited(self) -> bool:
        """Whether it differs from the file."""
        return self.message.is_edited

    def copy(self) -> EditableModel:
        """The same model, to be edited on its own."""
        return EditableModel(self.message.copy())

    def encode(self) -> bytes:
        """The bytes of the file."""
        return self.message.encode()


def children_of(node: WireMessage) -> Iterator[tuple[str, int]]:
    """Names and numbers of the children of a SavedObject, or of a TrackableObject."""
    for child in node.messages(_CHILDREN):
        yield child.text(_LOCAL_NAME), child.integer(_NODE_ID)


def attribute(node: WireMessage, name: str, number: int = _ATTR) -> WireMessage | None:
    """The AttrValue of that name of a NodeDef, to be edited, or None."""
    found = None
    for entry in node.messages(number):
        if entry.text(_KEY) == name:
            found = entry.only(_VALUE)
    return found


def put_attribute(node: WireMessage, name: str, value: bytes) -> None:
    """Puts the encoded AttrValue into the attribute, which the node has."""
    for entry in node.messages(_ATTR):
        if entry.text(_KEY) == name:
            entry.put(_VALUE, value)


def function_name(function: WireMessage) -> str:
    """The name of a FunctionDef; "" if it has no signature."""
    signature = function.only(_SIGNATURE)
    return "" if signature is None else signature.text(1)


def called_function(node: WireMessage) -> str:
    """The function that a PartitionedCall calls; "" for a node that calls none."""
    value = attribute(node, "f")
    function = None if value is None else value.only(_FUNC)
    return "" if function is None else function.text(1)


def functions_named_by(node: WireMessage) -> Iterator[str]:
    """The functions that the node's attributes name, and its op, which may be one too."""
    yield node.text(2)
    # Functions have attributes of their own, in which others may be named, at any depth.
    waiting = [entry.bytes_at(_VALUE) for entry in node.messages(_ATTR)]
    while waiting:
        value = waiting.pop()
        # Most attributes are types and shapes: a tag of field 1 or 10 begins those that can name functions.
        if value[:1] not in (b"\x52", b"\x0a"):
            continue
        attr = WireMessage(value)
        named = [*attr.messages(_FUNC)]
        for values in attr.messages(_LIST):
            named += values.messages(_LIST_FUNC)
        for function in named:
            yield function.text(1)
            waiting += [inner.bytes_at(_VALUE) for inner in function.messages(_FUNC_ATTR)]


def source_of(tensor: str) -> str:
    """The node that an input names: `^node`, `node`, `node:1` or, in a function, `node:output:1`."""
    return tensor.removeprefix("^").partition(":")[0]


def strings_of(tensor: WireMessage) -> list[bytes]:
    """The strings of a TensorProto, which may store equal ones at its end once."""
    values = tensor.all_bytes(_STRING_VAL)
    count = 1
    for shape in tensor.messages(2):
        for dimension in shape.messages(2):
            # A product of a million large sizes would take hours.
            count = min(count * dimension.integer(1), _MAX_STRINGS + 1)
    if values and len(values) < count <= _MAX_STRINGS:
        values += values[-1:] * (count - len(values))
    return values[:count]


def tensor_of_strings(values: Sequence[bytes]) -> bytes:
    """The encoded TensorProto of a vector of strings."""
    shape = encode_field(2, encode_field(1, len(values)))
    texts = b"".join(encode_field(_STRING_VAL, value) for value in values)
    return encode_field(1, _STRING) + encode_field(2, shape) + texts


def list_length(value: WireMessage) -> int:
    """How many types or shapes the AttrValue lists."""
    return sum(
        len(values.integers(_TYPES)) or sum(1 for _ in values.messages(_SHAPES))
        for values in value.messages(_LIST)
    )


def drop_list_items(value: WireMessage, places: Collection[int]) -> None:
    """Removes the types or shapes at these places from the AttrValue."""
    for values in value.messages(_LIST):
        types = values.integers(_TYPES)
        if types:
            values.put_integers(_TYPES, [number for place, number in enumerate(types) if place not in places])
            continue
        values.remove_places(_SHAPES, places)


def types_of(value: WireMessage) -> list[int]:
    """The types that the AttrValue lists."""
    return [number for values in value.messages(_LIST) for number in values.integers(_TYPES)]


def map_types(value: WireMessage, types: Sequence[int]) -> None:
    """Replaces the types in the AttrValue's list."""
    for values in value.messages(_LIST):
        values.put_integers(_TYPES, list(types))
