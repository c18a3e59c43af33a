"""Nodes of a graph: how they are found, what they contain, and what their ops can do beyond their tensors.

Source: tensorflow/core/framework/graph.proto and node_def.proto. A graph may hold gigabytes of constants and
half a million nodes. So they are found on the wire and parsed half a megabyte at a time, and constants are
left out. Every op that TensorFlow 2.21 registers has a class in op_classes.tsv: name, class, `f` where an
attribute names functions, a few words on what the op does. They were assigned by hand;
tools/make_op_list.py adds the ops of a new release and asks for theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from hubcli.errors import BrokenModelError
from hubcli.formats.protos import parse, parse_uncounted, require_few_messages
from hubcli.formats.wire import Bytes, Field, encode_field, scan

__all__ = [
    "BATCH_BYTES",
    "LIBRARY",
    "MAX_NODES",
    "NODE",
    "SIGNATURE",
    "FieldRun",
    "FunctionReference",
    "Node",
    "OpClass",
    "class_of",
    "field_runs",
    "functions_of",
    "is_known",
    "op_classes",
    "parse_entries",
    "parse_merged",
    "takes_functions",
]

NODE, LIBRARY = 1, 2  # of GraphDef
SIGNATURE = 1  # of FunctionDef
_OP, _ATTR = 2, 5  # of NodeDef
_CONSTANTS = (b"Const", b"HostConst")
_STRING = 7  # of DataType
MAX_NODES = 400_000
BATCH_BYTES = 1 << 19
_LARGE_NODE_BYTES = 1 << 18
_LARGE_ATTR_BYTES = 1 << 12
_SHORT_ATTR_BYTES = 1 << 8
_NAME_HEAD_BYTES = 4  # At most, of tag and length.
# protobuf reads a hundred messages in each other, of which a function in a function takes three.
_MAX_NESTED = 100


class OpClass(NamedTuple):
    """What an op can do: `name` is its class, `reason` a few words, "" for most of the class `none`."""

    name: str
    takes_functions: bool
    reason: str


@cache
def _lines() -> dict[str, str]:
    """What stands behind each op in op_classes.tsv: taken apart for the ops of a model alone."""
    lines = Path(__file__).with_name("op_classes.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return dict([line.split("\t", 1) for line in lines])


def _op_class(op: str) -> OpClass | None:
    if op not in _lines():
        return None
    name, functions, reason = f"{_lines()[op]}\t\t".split("\t")[:3]
    return OpClass(name, functions == "f", reason)


def op_classes() -> dict[str, OpClass]:
    """The class of every op that TensorFlow 2.21 registers, by the op's name."""
    return {op: known for op in _lines() if (known := _op_class(op)) is not None}


def is_known(op: str) -> bool:
    """Whether plain TensorFlow has the op; others come with a library such as tensorflow_text."""
    return op in _lines()


def class_of(op: str) -> str | None:
    """The op's class, None for an unknown op."""
    known = _op_class(op)
    return None if known is None else known.name


@lru_cache(maxsize=4096)  # The functions of a model use the same few ops.
def takes_functions(op: str) -> bool:
    """Whether the op may name functions in its attributes; True for an unknown one."""
    known = _op_class(op)
    return known is None or known.takes_functions


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
    def device(self) -> str:
        """The device that it requests, such as `/device:GPU:0`; "" for any."""
        device: str = self._message.device
        return device

    def attributes(self) -> Iterator[tuple[str, bytes]]:
        """Its attributes with their values as encoded AttrValues; large ones of constants are left out."""
        yield from self._message.attr.items()

    @property
    def inputs(self) -> list[str]:
        """Names of the nodes or arguments that it depends on, without output numbers and `^`."""
        # Most have neither, and a call for each of a million takes a second.
        return [
            text.lstrip("^").split(":", 1)[0] if ":" in text or text[:1] == "^" else text
            for text in self._message.input
        ]

    @property
    def operands(self) -> list[str]:
        """Its inputs as in the file, with output numbers and `^`."""
        return list(self._message.input)

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
        return functions_of(self._message.attr) if takes_functions(self.op) else []

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
        """The name of the function in the attribute; None if it is absent or not a function."""
        if attribute not in self._message.attr:
            return None
        value = parse("AttrValue", self._message.attr[attribute])
        return value.func.name if value.HasField("func") else None

    def strings(self, attribute: str) -> list[bytes] | None:
        """The texts of the attribute's tensor; None if it is not a tensor of texts, or was left out."""
        if attribute not in self._message.attr:
            return None
        value = parse_merged("AttrValue", self._message.attr[attribute])
        tensor = parse("TensorProto", value.tensor) if value.HasField("tensor") else None
        if tensor is None or tensor.dtype != _STRING or tensor.tensor_content:
            return None  # With content, TensorFlow reads that alone, which it never writes for texts.
        return list(tensor.string_val)

    def has(self, attribute: str) -> bool:
        """Whether the attribute is there, of any kind."""
        return attribute in self._message.attr

    def is_empty_text(self, attribute: str) -> bool:
        """Whether the attribute is absent or an empty text."""
        return not self.has(attribute) or self.text(attribute) == ""

    def dtype(self, attribute: str) -> int | None:
        """The number of the type that the attribute is, None if it is not a type."""
        if attribute not in self._message.attr:
            return None
        value = parse("AttrValue", self._message.attr[attribute])
        return int(value.type) if value.HasField("type") else None

    def text(self, attribute: str) -> str | None:
        """The attribute as text, None if it is not a string."""
        if attribute not in self._message.attr:
            return None
        value = parse("AttrValue", self._message.attr[attribute])
        return value.s.decode("utf-8", "replace") if value.HasField("s") else None


class FunctionReference(NamedTuple):
    """The attribute of a node that names a function; `is_nested` if in an attribute of another function."""

    attribute: str
    is_nested: bool


def functions_of(attributes: Mapping[str, bytes]) -> list[str]:
    """Names of the functions in the attributes of a node, which are encoded AttrValues."""
    names: list[str] = []
    for key in sorted(attributes):
        value = attributes[key]
        names += _few_functions_in(value) if len(value) < _SHORT_ATTR_BYTES else _names_in(value)
    return names


def _names_in(attribute: bytes, depth: int = 0) -> tuple[str, ...]:
    """The names that `_functions_in` yields, faster: a list may have thousands."""
    functions = _functions_of_value(attribute, depth)
    names = [function.name for function in functions]
    for function in functions:
        if function.attr:
            nested = (_names_in(function.attr[key], depth + 1) for key in sorted(function.attr))
            names += chain.from_iterable(nested)
    return tuple(names)


# Most calls have the same attributes as others.
_few_functions_in = lru_cache(maxsize=4096)(_names_in)


def _functions_in(attribute: bytes, depth: int = 0) -> Iterator[tuple[str, bool]]:
    """Functions that an AttrValue names, and those that are attributes of these, which are nested."""
    for function in _functions_of_value(attribute, depth):
        yield function.name, depth > 0
        for key in sorted(function.attr) if function.attr else ():
            yield from _functions_in(function.attr[key], depth + 1)


def _functions_of_value(attribute: bytes, depth: int) -> Sequence[Any]:
    """The NameAttrLists of an AttrValue. Raises BrokenModelError for one nested as no reader accepts it."""
    if depth > _MAX_NESTED:
        raise BrokenModelError("the attributes of its functions are nested too deeply")
    value = parse("AttrValue", attribute)
    functions = [value.func] if value.HasField("func") else value.list.func
    # Which is rare. What is beyond the name may be an attribute that only C++'s protobuf reads.
    if any(function.ByteSize() > len(function.name) + _NAME_HEAD_BYTES for function in functions):
        value = parse_merged("AttrValue", attribute)
        functions = [value.func] if value.HasField("func") else value.list.func
    return functions


class FieldRun(NamedTuple):
    """A run of whole fields, by start and end in bytes.

    A `large_node` is alone in its run, and is read without the value of a large constant.
    """

    start: int
    end: int
    large_node: Field | None = None

    def holds(self, text: bytes, data: Bytes) -> bool:
        """Whether the text occurs in its bytes; large constants are not searched."""
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


def field_runs(
    data: Bytes, message: Field, node_number: int, signatures: list[Field] | None = None
) -> Iterator[FieldRun]:
    """The message in pieces of about half a megabyte; large nodes stand alone, the library is left out.

    The signatures of a function are appended to that list.
    """
    start = position = message.start
    for field in scan(data, message.start, message.end, max_fields=MAX_NODES):
        is_large = field.number == node_number and field.end - field.start > _LARGE_NODE_BYTES
        is_left_out = field.number == LIBRARY and node_number == NODE
        if is_large or is_left_out or field.end - start > BATCH_BYTES:
            if position > start:
                yield FieldRun(start, position)
            start = position
        if is_large:
            yield FieldRun(position, field.end, field)
        if is_large or is_left_out:
            start = field.end
        if signatures is not None and field.is_message(SIGNATURE):
            signatures.append(field)
        position = field.end
    if position > start:
        yield FieldRun(start, position)


# Maps as they stand in the file: values in pieces, and entries that readers differ in ----------------


def parse_merged(message: str, data: bytes) -> Any:
    """As `parse`; where a field that is left as bytes comes in pieces, they are joined.

    Otherwise only the last piece of such a field would be read. TensorFlow writes none in pieces: a file
    that has them may hide something. It is for messages that have a message `…Entries`.
    """
    lean = parse(message, data)
    # A piece that is lost makes the message shorter. The lean one itself could be as long for all that: of a
    # map, protobuf writes a value for each key, which the entries of a hostile file may lack. The message of
    # entries has no more messages than the lean one, which have been counted.
    entries, is_whole = parse_entries(message, data)
    if message == "SavedObjectGraph" and len(entries.concrete_functions) > len(lean.concrete_functions):
        _require_known_entries(entries)
    return lean if is_whole else parse(message, _joined(message, data))


def parse_entries(message: str, data: bytes) -> tuple[Any, bool]:
    """The message `…Entries` in data whose messages have been counted, and whether it has all of the data.

    Raises BrokenModelError for a field in an entry of a map of a graph that is neither key nor value.
    Readers differ in such an entry: protobuf in Python leaves it out, that in C++ reads it, and TensorFlow
    uses one after the other.
    """
    entries = parse_uncounted(f"{message}Entries", data)
    if message == "SavedObjectGraph":  # Its only map of such values has no entry more than keys.
        return entries, entries.ByteSize() == len(data)
    entries.DiscardUnknownFields()
    if entries.ByteSize() == len(data):
        return entries, True
    entries = parse_uncounted(f"{message}Entries", data)
    is_whole = entries.ByteSize() == len(data)
    _require_known_entries(entries)
    return entries, is_whole


def _require_known_entries(message: Any) -> None:
    for field, value in message.ListFields():
        for inner in () if field.message_type is None else [value] if field.has_presence else value:
            size_bytes = inner.ByteSize() if field.message_type.name in ("Entry", "TextEntry") else None
            if size_bytes is None:
                _require_known_entries(inner)
                continue
            inner.DiscardUnknownFields()
            if inner.ByteSize() != size_bytes:
                raise BrokenModelError("an attribute or trace has fields that protobuf does not have")


def _joined(message: str, data: bytes) -> bytes:
    require_few_messages(message, data, is_lean=False)
    return bytes(parse_uncounted(message, data, is_lean=False).SerializeToString())
