"""saved_model.pb: the parts of each MetaGraph, and its graph with the functions of its library.

Source: tensorflow/core/protobuf/saved_model.proto and meta_graph.proto, tensorflow/core/framework/graph.proto
and function.proto. Each part is read only as far as it is needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from hubcli.errors import BrokenModelError, ModelLimitError
from hubcli.formats.protos import parse
from hubcli.formats.wire import Bytes, Field, messages, scan
from hubcli.regular_file import contents
from hubcli.savedmodel.definitions import DefinitionReader
from hubcli.savedmodel.layout import HEAD_BYTES, binary_of_text, main_file, refuse_look_alike
from hubcli.savedmodel.nodes import (
    BATCH_BYTES,
    LIBRARY,
    MAX_NODES,
    NODE,
    FieldRun,
    Node,
    field_runs,
    functions_of,
    parse_entries,
    parse_merged,
    takes_functions,
)

__all__ = ["Graph", "GraphBody", "MetaGraphOutline", "declared_assets_of", "fed_assets_of", "read_outline"]

_META_GRAPHS = 2
_ASSETS_COLLECTION = "saved_model_assets"
_GRAPH_DEF, _OBJECT_GRAPH_DEF = 2, 7
_MAX_META_GRAPHS = 100
_MAX_OBJECT_BYTES, _LEAST_NODE_BYTES = 1 << 26, 2
_FUNCTION = 1  # of FunctionDefLibrary
_GRADIENTS = {2: "GradientDef", 3: "RegisteredGradient"}
_NODE_DEF = 3  # of FunctionDef
_MAX_OP_TYPES = 20_000
_MAX_FUNCTIONS, _MAX_STORED_NAMES = 40_000, 50_000
# Functions are parsed together up to this size: what protobuf allocates for more is new memory each time.
_TOGETHER_BYTES = 1 << 16


class MetaGraphOutline(NamedTuple):
    """A MetaGraph: `rest` is its MetaGraphDef without graph and objects, which stand beside it.

    `objects` is its SavedObjectGraph, None if TensorFlow 1 wrote it.
    """

    rest: Any
    graph: Graph
    objects: Any | None


@contextmanager
def read_outline(model: Path) -> Iterator[tuple[MetaGraphOutline, ...]]:
    """The MetaGraphs of the model in that directory, in file order; at least one.

    The graphs are read from the open file when they are walked: only within
    the context. Raises BrokenModelError with the file and its fault, ModelLimitError for a model that may be
    intact, OSError.
    """
    main = main_file(model)
    if main.suffix == ".cpb":
        raise BrokenModelError(
            f"{main.name} is a SavedModel in chunks, as TensorFlow writes models of "
            "more than 2 GB, which hubcli does not support yet",
            hint="Load it with TensorFlow: tf.saved_model.load(…).",
        )
    with contents(main) as raw:
        refuse_look_alike(main.name, raw[:HEAD_BYTES])
        data = binary_of_text(main.name, raw) if main.suffix == ".pbtxt" else raw
        try:
            yield _outlines(data)
        except ModelLimitError as error:
            raise ModelLimitError(
                f"{main.name} exceeds a limit of hubcli: {error.message}", hint=error.hint
            ) from error
        except BrokenModelError as error:
            raise BrokenModelError(
                f"{main.name} cannot be read as a SavedModel: {error.message}", hint=error.hint
            ) from error


def _outlines(data: Bytes) -> tuple[MetaGraphOutline, ...]:
    fields = list(messages(data, _META_GRAPHS))
    if not fields:
        raise BrokenModelError(f"it has no MetaGraph ({len(data)} bytes)")
    if len(fields) > _MAX_META_GRAPHS:
        raise ModelLimitError(f"it holds {len(fields)} MetaGraphs")
    reader = DefinitionReader()
    if len(fields) == 1:
        return (_outline(data, fields[0], reader, stores_nodes=True),)
    # The stored nodes of a hundred graphs would take gigabytes; TensorFlow 2 writes one graph.
    outlines = tuple(_outline(data, field, reader, stores_nodes=False) for field in fields)
    if len(data) > _LEAST_NODE_BYTES * MAX_NODES:
        _require_few_nodes(outlines)
    return outlines


def _require_few_nodes(outlines: tuple[MetaGraphOutline, ...]) -> None:
    """Raises BrokenModelError if several graphs have more nodes and functions than a graph may have."""
    total = 0
    for outline in outlines:
        total += outline.graph.op_counts.total() + len(outline.graph.bodies)
        if total > MAX_NODES:
            raise ModelLimitError(f"its graphs have more than {MAX_NODES} nodes and functions in all")


def _outline(
    data: Bytes, meta_graph: Field, reader: DefinitionReader, *, stores_nodes: bool
) -> MetaGraphOutline:
    graphs, objects, rest = list[Field](), list[Field](), bytearray()
    position = meta_graph.start
    for field in scan(data, meta_graph.start, meta_graph.end):
        if field.is_message(_GRAPH_DEF):
            graphs.append(field)
        elif field.is_message(_OBJECT_GRAPH_DEF):
            objects.append(field)
        else:
            reader.count(field.end - position)
            rest += data[position : field.end]
        position = field.end
    return MetaGraphOutline(
        rest=reader.read(bytes(rest)),
        graph=Graph(data, tuple(graphs), stores_nodes=stores_nodes),
        objects=_objects(data, objects) if objects else None,
    )


def _objects(data: Bytes, pieces: list[Field]) -> Any:
    size_bytes = sum(piece.end - piece.start for piece in pieces)
    if size_bytes > _MAX_OBJECT_BYTES:  # It takes five times that in memory.
        raise ModelLimitError(
            f"its object graph has {size_bytes} bytes, more than {_MAX_OBJECT_BYTES >> 20} MiB"
        )
    # Protobuf's rule for a message that comes in several pieces is to join them.
    return parse_merged("SavedObjectGraph", b"".join([data[piece.start : piece.end] for piece in pieces]))


def declared_assets_of(outline: MetaGraphOutline) -> list[Any]:
    """Every AssetFileDef of the MetaGraph, those of TensorFlow 1's collection too.

    `layout.declared_assets` finds the same in a file that isn't parsed.
    """
    rest = outline.rest
    declared = list(rest.asset_file_def)
    if _ASSETS_COLLECTION in rest.collection_def:
        wrapped = rest.collection_def[_ASSETS_COLLECTION].any_list.value
        declared += [parse("AssetFileDef", wrapper.value) for wrapper in wrapped]
    return declared


def fed_assets_of(outline: MetaGraphOutline) -> list[Any]:
    """Every AssetFileDef that TensorFlow feeds: those of the collection only if there is no other."""
    return list(outline.rest.asset_file_def) or declared_assets_of(outline)


class GraphBody:
    """The graph itself (`name` is "") or one function of its library, which may have no name either.

    `message` is the type of the message in `data` at `pieces`, each of which has whole nodes. A function in
    several pieces has its OpDef in `signature`. With `stores_nodes`, a small body is parsed once, and its
    nodes stay in memory.
    """

    def __init__(
        self,
        name: str,
        message: str,
        data: Bytes,
        pieces: tuple[FieldRun, ...],
        ops: Counter[str] | None = None,
        signature: bytes | None = None,
        *,
        stores_nodes: bool = False,
    ) -> None:
        self.name = name
        self.message = message
        self.data = data
        self.pieces = pieces
        self._ops = ops
        self._encoded_signature = signature
        self.stored_names: list[str] | None = None  # Of its functions, while it was parsed.
        is_stored = stores_nodes and self.size_bytes <= BATCH_BYTES
        self._nodes_by_piece: dict[FieldRun, Any] | None = {} if is_stored else None

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
        """What its nodes name that may be a function, in attributes or as their op, with repetitions."""
        if self.stored_names is not None:
            return self.stored_names
        calling = {op for op in self.op_counts if takes_functions(op)}
        names: list[str] = []
        for piece in self.pieces if calling else ():
            nodes = self._parsed(piece)
            names += _named_by([(message.op, message.attr) for message in nodes if message.op in calling])
        return names

    @cached_property
    def by_name(self) -> dict[str, Node]:
        """The nodes by their names."""
        return {node.name: node for node in self.nodes()}

    @property
    def op_counts(self) -> Counter[str]:
        """How often each op occurs in it."""
        if self._ops is None:
            self._ops = Counter()
            for piece in self.pieces:
                self._ops.update([message.op for message in self._parsed(piece)])
        return self._ops

    def may_hold(self, name: str) -> bool:
        """Whether the name occurs anywhere in its bytes."""
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

    @property
    def size_bytes(self) -> int:
        """How many bytes it takes in the file."""
        return sum(piece.end - piece.start for piece in self.pieces)

    def inputs(self) -> list[Any]:
        """Of a function: the ArgDefs of its inputs in their order, what it captures last."""
        return [parse("ArgDef", encoded) for encoded in self.signature().input_arg]

    def output_names(self) -> list[str]:
        """Of a function: the names of its outputs in their order."""
        return [parse("ArgDef", encoded).name for encoded in self.signature().output_arg]

    def signature(self) -> Any:
        """Of a function: its OpDef."""
        if self._encoded_signature is not None:
            return parse("OpDef", self._encoded_signature)
        return parse(self.message, self.pieces[0].read(self.data)).signature

    def _parsed(self, piece: FieldRun) -> Any:
        if self._nodes_by_piece is not None and piece in self._nodes_by_piece:
            return self._nodes_by_piece[piece]
        message = parse_merged(self.message, piece.read(self.data))
        nodes = message.node if self.message == "GraphDef" else message.node_def
        if self._nodes_by_piece is not None:
            self._nodes_by_piece[piece] = nodes
        return nodes


def _named_by(calls: Iterable[tuple[str, Mapping[str, bytes]]]) -> list[str]:
    """What nodes of those ops and attributes name that may be a function."""
    names: list[str] = []
    for op, attributes in calls:
        names.append(op)
        names += functions_of(attributes)
    return names


class Graph:
    """The graph in those fields of `data`; it is read when it is walked."""

    def __init__(self, data: Bytes, fields: tuple[Field, ...], *, stores_nodes: bool = False) -> None:
        self._data = data
        self._fields = fields
        self._stores_nodes = stores_nodes
        self._gradients: list[tuple[str, Field]] = []
        self._names_left = _MAX_STORED_NAMES

    @cached_property
    def bodies(self) -> tuple[GraphBody, ...]:
        """The graph itself first, then every function of the library in file order.

        Raises BrokenModelError for a damaged one and an absurdly large one.
        """
        main = [piece for field in self._fields for piece in field_runs(self._data, field, NODE)]
        # Each check walks the graph itself, of which TensorFlow 2 has little beside its functions.
        graph = GraphBody("", "GraphDef", self._data, tuple(main), stores_nodes=self._stores_nodes)
        return (graph, *self._functions())

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
        """How often each op occurs in the graph and its functions."""
        total: Counter[str] = Counter()
        nodes = 0
        for body in self.bodies:
            for op, count in body.op_counts.items():
                total[op] += count
                nodes += count
            if nodes > MAX_NODES:
                raise ModelLimitError(f"its graph has more than {MAX_NODES} nodes")
        if len(total) > _MAX_OP_TYPES:
            raise ModelLimitError(f"its graph has nodes of {len(total)} types")
        return total

    def may_hold(self, name: str) -> bool:
        """Whether the name occurs anywhere in it."""
        encoded = name.encode()
        return any(self._data.find(encoded, field.start, field.end) >= 0 for field in self._fields)

    def _functions(self) -> Iterator[GraphBody]:
        libraries = [
            library
            for field in self._fields
            for library in messages(self._data, LIBRARY, field.start, field.end, max_fields=MAX_NODES)
        ]
        for library in libraries:
            batch: list[Field] = []
            start = position = library.start
            for field in scan(self._data, library.start, library.end, max_fields=_MAX_FUNCTIONS):
                is_large = field.end - field.start > BATCH_BYTES
                if is_large or field.end - start > _TOGETHER_BYTES:
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
        library, is_whole = parse_entries("FunctionDefLibrary", self._data[start:end])
        for field, function in zip(fields, library.function, strict=True):
            # Each node is made once, and asked for its op once.
            nodes = list(function.node_def)
            ops = [node.op for node in nodes]
            counts = Counter(ops)
            calling = {op for op in counts if takes_functions(op)}
            pieces = (FieldRun(field.start, field.end),)
            body = GraphBody(function.signature.name, "FunctionDef", self._data, pieces, counts)
            # Where a field that is left as bytes comes in pieces, `parse_merged` has to look at it.
            if not calling:
                body.stored_names = []
            elif self._names_left >= 0 and (is_whole or function.ByteSize() == body.size_bytes):
                body.stored_names = _named_by(
                    (op, {entry.key: entry.value for entry in message.attr})
                    for op, message in zip(ops, nodes, strict=True)
                    if op in calling
                )
                self._names_left -= len(body.stored_names)
            yield body

    def _large_function(self, field: Field) -> GraphBody:
        signatures = list[Field]()
        pieces = tuple(field_runs(self._data, field, _NODE_DEF, signatures))
        # Protobuf's rule for a message that comes in several parts is to join them.
        joined = b"".join(self._data[part.start : part.end] for part in signatures)
        name: str = parse("OpDef", joined).name
        return GraphBody(name, "FunctionDef", self._data, pieces, signature=joined)
