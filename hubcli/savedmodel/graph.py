"""The graph of a MetaGraph: its own nodes and those of its function library.

Source: tensorflow/core/framework/graph.proto, node_def.proto, function.proto.
A graph may hold gigabytes of constants and half a million nodes. So nodes are
found on the wire and parsed half a megabyte at a time, and constants are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Set
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from hubcli.errors import BrokenModelError
from hubcli.formats.protos import parse, parse_merged
from hubcli.formats.wire import Bytes, Field, encode_field, messages, scan
from hubcli.savedmodel.checks.known_ops import takes_functions

__all__ = ["FunctionReference", "Graph", "GraphBody", "Node"]

_NODE, _LIBRARY = 1, 2  # of GraphDef
_FUNCTION = 1  # of FunctionDefLibrary
_GRADIENTS = {2: "GradientDef", 3: "RegisteredGradient"}
_SIGNATURE, _NODE_DEF = 1, 3  # of FunctionDef
_OP, _ATTR = 2, 5  # of NodeDef
_CONSTANTS = (b"Const", b"HostConst")
_STRING = 7  # of DataType
_MAX_NODES, _MAX_OP_TYPES = 400_000, 20_000
_MAX_FUNCTIONS = 40_000
_BATCH_BYTES = 1 << 19
_LARGE_NODE_BYTES = 1 << 18
_LARGE_ATTR_BYTES, _SHORT_ATTR_BYTES = 1 << 12, 1 << 8


class Node:
    """An operation in a graph or function."""

    __slots__ = ("_message",)

    def __init__(self, message: Any) -> None:
        self._message = message

    @property
    def name(self) -> str:
        """Its name, unique within its body."""
        name: str = self._message.name
        return name

    @property
    def op(self) -> str:
        """The type of operation, or the name of the function that it calls."""
        op: str = self._message.op
        return op

    @property
    def inputs(self) -> list[str]:
        """Names of the nodes or arguments that it depends on, without output numbers and `^`."""
        # Most have neither, and a call for each of a million takes a second.
        return [
            text.lstrip("^").split(":", 1)[0] if ":" in text or text[:1] == "^" else text
            for text in self._message.input
        ]

    @property
    def input_count(self) -> int:
        """How many inputs it has."""
        return len(self._message.input)

    @property
    def sources(self) -> list[str]:
        """The tensors that go into it, as `node:output:number` (in a function) or `node:number`."""
        return [text for text in self._message.input if text[:1] != "^"]

    def functions(self) -> list[str]:
        """Names of the functions that its attributes name, such as the branches of an If."""
        return _functions_of(self._message) if takes_functions(self.op) else []

    def mentions(self, function: str) -> list[FunctionReference]:
        """Where its attributes name the function, in the order of their names."""
        attributes = self._message.attr
        return [
            FunctionReference(key, is_nested)
            for key in sorted(attributes)
            for name, is_nested in _functions_in(attributes[key])
            if name == function
        ]

    def function(self, attribute: str) -> str | None:
        """The function that the attribute is, None where it is none or something else."""
        if attribute not in self._message.attr:
            return None
        value = parse("AttrValue", self._message.attr[attribute])
        return value.func.name if value.HasField("func") else None

    def strings(self, attribute: str) -> list[bytes] | None:
        """The texts of the attribute's tensor; None where it is no tensor of texts, or was left out."""
        if attribute not in self._message.attr:
            return None
        value = parse("AttrValue", self._message.attr[attribute])
        tensor = parse("TensorProto", value.tensor) if value.HasField("tensor") else None
        return list(tensor.string_val) if tensor is not None and tensor.dtype == _STRING else None

    def has(self, attribute: str) -> bool:
        """Whether the attribute is there, of whatever kind."""
        return attribute in self._message.attr

    def is_empty_text(self, attribute: str) -> bool:
        """Whether the attribute isn't there, or is a text without a character."""
        return not self.has(attribute) or self.text(attribute) == ""

    def text(self, attribute: str) -> str | None:
        """The attribute as text, None where it is no string."""
        if attribute not in self._message.attr:
            return None
        value = parse("AttrValue", self._message.attr[attribute])
        return value.s.decode("utf-8", "replace") if value.HasField("s") else None


def _functions_of(node: Any) -> list[str]:
    """Names of the functions in the attributes of a NodeDef."""
    names: list[str] = []
    attributes = node.attr
    for key in sorted(attributes):
        value = attributes[key]
        names += _few_functions_in(value) if len(value) < _SHORT_ATTR_BYTES else _names_in(value)
    return names


def _names_in(attribute: bytes) -> tuple[str, ...]:
    """As `_functions_in`, the names alone, and for a list of many thousands too."""
    value = parse("AttrValue", attribute)
    functions = [value.func] if value.HasField("func") else value.list.func
    names = [function.name for function in functions]
    for function in functions:
        if function.attr:
            names += [name for key in sorted(function.attr) for name in _names_in(function.attr[key])]
    return tuple(names)


# Most calls have attributes that others have too.
_few_functions_in = lru_cache(maxsize=4096)(_names_in)


class FunctionReference(NamedTuple):
    """The attribute of a node that names a function; `is_nested` where it names it within another one."""

    attribute: str
    is_nested: bool


def _functions_in(attribute: bytes, *, is_nested: bool = False) -> Iterator[tuple[str, bool]]:
    """Functions that an AttrValue names, and those that are attributes of these."""
    value = parse("AttrValue", attribute)
    for function in [value.func] if value.HasField("func") else value.list.func:
        yield function.name, is_nested
        for key in sorted(function.attr) if function.attr else ():
            yield from _functions_in(function.attr[key], is_nested=True)


class GraphBody:
    """The graph itself (`name` is "") or one function of its library, which may have no name either.

    `message` is the type of the message that stands in `data` at `pieces`: in
    each of them whole nodes. A function in several pieces has its OpDef in `signature`.
    """

    def __init__(
        self,
        name: str,
        message: str,
        data: Bytes,
        pieces: tuple[FieldRun, ...],
        ops: Counter[str] | None = None,
        signature: bytes | None = None,
    ) -> None:
        self.name = name
        self.message = message
        self.data = data
        self.pieces = pieces
        self._ops = ops
        self._encoded_signature = signature

    @property
    def is_function(self) -> bool:
        """Whether it is a function, and not the graph itself."""
        return self.message == "FunctionDef"

    def nodes(self) -> Iterator[Node]:
        """The nodes in file order; constants have lost their values."""
        for piece in self.pieces:
            yield from map(Node, self._parsed(piece))

    def nodes_of_ops(self, ops: Set[str]) -> Iterator[Node]:
        """The nodes of those types, in file order."""
        for piece in self.pieces if not ops.isdisjoint(self.op_counts) else ():
            yield from [Node(message) for message in self._parsed(piece) if message.op in ops]

    def named_functions(self) -> list[str]:
        """What its nodes name that may be a function: in attributes, or as their op. As often as they do."""
        calling = {op for op in self.op_counts if takes_functions(op)}
        names: list[str] = []
        for piece in self.pieces if calling else ():
            for message in self._parsed(piece):
                op = message.op
                if op in calling:
                    names.append(op)
                    names += _functions_of(message)
        return names

    @cached_property
    def by_name(self) -> dict[str, Node]:
        """The nodes by their names."""
        return {node.name: node for node in self.nodes()}

    @property
    def op_counts(self) -> Counter[str]:
        """How often each op stands in it."""
        if self._ops is None:
            self._ops = Counter()
            for piece in self.pieces:
                self._ops.update([message.op for message in self._parsed(piece)])
        return self._ops

    def may_hold(self, name: str) -> bool:
        """Whether the name stands in its bytes, in whatever place."""
        encoded = name.encode()
        return any(piece.holds(encoded, self.data) for piece in self.pieces)

    def results(self) -> dict[str, str]:
        """Of a function: the tensor behind each of its outputs, by the output's name, sorted."""
        found: dict[str, str] = {}
        for piece in self.pieces:
            found |= dict(parse(self.message, piece.read(self.data)).ret)
        return dict(sorted(found.items()))

    def nodes_of(self, piece: FieldRun) -> Iterator[Node]:
        """The nodes in one of its pieces."""
        return map(Node, self._parsed(piece))

    def has_list_inputs(self) -> bool:
        """Of a function: whether an input stands for several tensors, so that places don't tell which."""
        args = (parse("ArgDef", encoded) for encoded in self.signature().input_arg)
        return any(arg.number_attr or arg.type_list_attr for arg in args)

    @property
    def size_bytes(self) -> int:
        """How many bytes it takes in the file."""
        return sum(piece.end - piece.start for piece in self.pieces)

    def input_names(self) -> list[str]:
        """Of a function: the names of its inputs in their order, what it captures last."""
        return [parse("ArgDef", encoded).name for encoded in self.signature().input_arg]

    def output_names(self) -> list[str]:
        """Of a function: the names of its outputs in their order."""
        return [parse("ArgDef", encoded).name for encoded in self.signature().output_arg]

    def signature(self) -> Any:
        """Of a function: its OpDef."""
        if self._encoded_signature is not None:
            return parse("OpDef", self._encoded_signature)
        return parse(self.message, self.pieces[0].read(self.data)).signature

    def _parsed(self, piece: FieldRun) -> Any:
        message = parse_merged(self.message, piece.read(self.data))
        return message.node if self.message == "GraphDef" else message.node_def


class FieldRun(NamedTuple):
    """A run of whole fields: start and end in bytes. One with a large node is slimmed when it is read."""

    start: int
    end: int
    large_node: Field | None = None

    def holds(self, text: bytes, data: Bytes) -> bool:
        """Whether the text stands in its bytes; large constants are not searched."""
        if self.large_node is None:
            return data.find(text, self.start, self.end) >= 0
        return text in self.read(data)

    def read(self, data: Bytes) -> bytes:
        """Its bytes, without large constants."""
        if self.large_node is None:
            return data[self.start : self.end]
        number, start, end = self.large_node.number, self.large_node.start, self.large_node.end
        fields = list(scan(data, start, end))
        ops = [data[field.start : field.end] for field in fields if field.number == _OP]
        # Attributes of other ops may name functions and files, however long they are.
        if not ops or ops[-1] not in _CONSTANTS:
            return encode_field(number, data[start:end])
        slim, position = bytearray(), start
        for field in fields:
            if field.number != _ATTR or field.end - field.start < _LARGE_ATTR_BYTES:
                slim += data[position : field.end]
            position = field.end
        return encode_field(number, bytes(slim))


class Graph:
    """The graph that stands in those fields of `data`; it is read when it is walked."""

    def __init__(self, data: Bytes, fields: tuple[Field, ...]) -> None:
        self._data = data
        self._fields = fields
        self._gradients: list[tuple[str, Field]] = []

    @cached_property
    def bodies(self) -> tuple[GraphBody, ...]:
        """The graph itself first, then every function of the library in file order.

        Raises BrokenModelError for a damaged one and an absurdly large one.
        """
        main = [piece for field in self._fields for piece in _pieces(self._data, field, _NODE)]
        return (GraphBody("", "GraphDef", self._data, tuple(main)), *self._functions())

    @cached_property
    def functions(self) -> dict[str, GraphBody]:
        """The functions of the library by name."""
        return {body.name: body for body in self.bodies[1:]}

    @cached_property
    def gradient_functions(self) -> frozenset[str]:
        """Names of the functions that are gradients: TensorFlow calls them without a node that names them."""
        assert self.bodies  # The library has been read.
        return frozenset(
            parse(message, self._data[field.start : field.end]).gradient_func
            for message, field in self._gradients
        )

    @cached_property
    def op_counts(self) -> Counter[str]:
        """How often each op stands in the graph and its functions."""
        total: Counter[str] = Counter()
        for body in self.bodies:
            total.update(body.op_counts)
            if total.total() > _MAX_NODES:
                raise BrokenModelError(f"its graph has more than {_MAX_NODES} nodes")
        if len(total) > _MAX_OP_TYPES:
            raise BrokenModelError(f"its graph has nodes of {len(total)} types")
        return total

    def may_hold(self, name: str) -> bool:
        """Whether the name stands anywhere in it."""
        encoded = name.encode()
        return any(self._data.find(encoded, field.start, field.end) >= 0 for field in self._fields)

    def _functions(self) -> Iterator[GraphBody]:
        libraries = [
            library
            for field in self._fields
            for library in messages(self._data, _LIBRARY, field.start, field.end, max_fields=_MAX_NODES)
        ]
        for library in libraries:
            batch: list[Field] = []
            start = position = library.start
            for field in scan(self._data, library.start, library.end, max_fields=_MAX_FUNCTIONS):
                is_large = field.end - field.start > _BATCH_BYTES
                if is_large or field.end - start > _BATCH_BYTES:
                    yield from self._small_functions(start, position, batch)
                    start, batch = position, []
                if field.is_message(_FUNCTION):
                    if is_large:
                        yield self._large_function(field)
                    else:
                        batch.append(field)
                elif field.number in _GRADIENTS:
                    self._gradients.append((_GRADIENTS[field.number], field))
                position = field.end
                if is_large:
                    start = position
            yield from self._small_functions(start, position, batch)

    def _small_functions(self, start: int, end: int, fields: list[Field]) -> Iterator[GraphBody]:
        """The functions in that piece of a library, parsed together: one by one takes three times longer."""
        functions = parse("FunctionDefLibrary", self._data[start:end]).function
        for field, function in zip(fields, functions, strict=True):
            ops = Counter([node.op for node in function.node_def])
            pieces = (FieldRun(field.start, field.end),)
            yield GraphBody(function.signature.name, "FunctionDef", self._data, pieces, ops)

    def _large_function(self, field: Field) -> GraphBody:
        signatures = list[Field]()
        pieces = tuple(_pieces(self._data, field, _NODE_DEF, signatures))
        # Protobuf's rule for a message that comes in several parts is to join them.
        joined = b"".join(self._data[part.start : part.end] for part in signatures)
        name: str = parse("OpDef", joined).name
        return GraphBody(name, "FunctionDef", self._data, pieces, signature=joined)


def _pieces(
    data: Bytes, message: Field, node_number: int, signatures: list[Field] | None = None
) -> Iterator[FieldRun]:
    """The message in pieces of about half a megabyte; large nodes stand alone, the library is left out.

    The signatures of a function are appended to that list.
    """
    start = position = message.start
    for field in scan(data, message.start, message.end, max_fields=_MAX_NODES):
        is_large = field.number == node_number and field.end - field.start > _LARGE_NODE_BYTES
        is_left_out = field.number == _LIBRARY and node_number == _NODE
        if is_large or is_left_out or field.end - start > _BATCH_BYTES:
            if position > start:
                yield FieldRun(start, position)
            start = position
        if is_large:
            yield FieldRun(position, field.end, field)
        if is_large or is_left_out:
            start = field.end
        if signatures is not None and field.is_message(_SIGNATURE):
            signatures.append(field)
        position = field.end
    if position > start:
        yield FieldRun(start, position)
