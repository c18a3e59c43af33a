"""The variables of a SavedModel, from its objects or its collections, joined with the checkpoint's index.

Source: tensorflow/python/checkpoint/graph_view.py and trackable_utils.py (how keys are made of paths),
tensorflow/core/framework/variable.proto (TensorFlow 1), tensorflow/core/protobuf/trackable_object_graph.proto
(the object graph of a checkpoint, which ties paths to keys).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from hubcli.errors import BrokenModelError
from hubcli.formats.protos import parse
from hubcli.formats.tensor_bundle import OBJECT_GRAPH_KEY, BundleEntry, BundleIndex
from hubcli.formats.tensor_layout import DType
from hubcli.formats.wire import read_varint
from hubcli.regular_file import open_regular
from hubcli.savedmodel.graph import MetaGraphOutline
from hubcli.savedmodel.objects import ObjectGraph, path_order
from hubcli.savedmodel.types import Shape, element_count, shape_of

__all__ = [
    "ATTRIBUTE",
    "Variable",
    "VariableLists",
    "encoded_object_graph",
    "escaped",
    "keys_by_lockstep",
    "model_variables",
    "saved_objects",
]

_MAX_BYTES = 1 << 28
ATTRIBUTE = "VARIABLE_VALUE"
_CHECKSUM_BYTES = 4


def keys_by_lockstep(objects: ObjectGraph, index: BundleIndex, model: Path) -> dict[int, str]:
    """The checkpoint key of each object that has one, by its number in `objects`.

    Both graphs are walked together from their roots, along the names that both have. Empty if the checkpoint
    has no object graph, or its shard is missing.
    """
    nodes = saved_objects(index, model / "variables")
    if not nodes:
        return {}
    pairs, waiting = {0: 0}, [0]
    while waiting:
        node = waiting.pop()
        saved = {child.local_name: child.node_id for child in nodes[pairs[node]].children}
        for child in objects.children(node):
            other = saved.get(child.name)
            if other is not None and 0 <= other < len(nodes) and child.node not in pairs:
                pairs[child.node] = other
                waiting.append(child.node)
    return {
        node: attribute.checkpoint_key
        for node, other in pairs.items()
        for attribute in nodes[other].attributes
        if attribute.name == ATTRIBUTE
    }


def saved_objects(index: BundleIndex, folder: Path, prefix: str = "variables") -> Sequence[Any]:
    """The TrackableObjects of the bundle in `folder`, the root first; empty if they are missing or truncated.

    Raises BrokenModelError if they can't be read.
    """
    encoded = encoded_object_graph(index, folder, prefix)
    nodes: Sequence[Any] = () if encoded is None else parse("TrackableObjectGraph", encoded).nodes
    return nodes


def encoded_object_graph(index: BundleIndex, folder: Path, prefix: str) -> bytes | None:
    """The TrackableObjectGraph in the bundle in `folder`; None if it is missing or truncated.

    It is the single string of its tensor: length, checksum of the length, and the message.
    """
    entry = index.by_name.get(OBJECT_GRAPH_KEY)
    if entry is None or entry.size_bytes > _MAX_BYTES or entry.shape:
        return None
    try:
        with open_regular(folder / index.shard_name(entry.shard, prefix), is_buffered=True) as shard:
            shard.seek(entry.offset)
            data = shard.read(entry.size_bytes)
    except (OSError, OverflowError, ValueError):
        return None
    try:
        length, start = read_varint(data, 0)
    except BrokenModelError:
        return None
    start += _CHECKSUM_BYTES
    return data[start : start + length] if start + length == len(data) else None


_MAX_VARIABLES = 50_000
_LOSSES = "regularization_losses"
_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"


class Variable(NamedTuple):
    """A variable of the model.

    `path` is its dotted path from the root, `node` its number in the object graph. `is_listed` says that the
    root's `variables` has it; then the list `trainable_variables` decides whether it is trainable.
    `size_bytes` is the size of its values, None if unknown. `is_slot` says that it belongs to an optimizer.
    `dtype` is None for a variable of TensorFlow 1 that the checkpoint doesn't have, such as a local one.
    """

    name: str
    path: str
    checkpoint_key: str | None
    dtype: str | None
    shape: Shape
    trainable: bool
    is_listed: bool
    size_bytes: int | None
    node: int | None = None
    is_slot: bool = False

    @property
    def parameters(self) -> int | None:
        """How many numbers it holds."""
        return element_count(self.shape)


class VariableLists(NamedTuple):
    """Paths of the variables in the root's lists, in their order; None if the root has no such list.

    `losses` is the number of functions in its `regularization_losses`.
    """

    variables: tuple[str, ...] | None
    trainable_variables: tuple[str, ...] | None
    losses: int


def model_variables(
    outlines: Sequence[MetaGraphOutline], objects: ObjectGraph | None, index: BundleIndex | None, model: Path
) -> tuple[tuple[Variable, ...], VariableLists]:
    """The variables of the model in that directory, and what its root lists.

    They are those of its objects, or of its collections if TensorFlow 1 wrote it. Raises BrokenModelError for
    a corrupt part.
    """
    if objects is not None:
        return _object_variables(objects, index, model)
    return _collected_variables([outline.rest.collection_def for outline in outlines], index)


def _object_variables(
    objects: ObjectGraph, index: BundleIndex | None, model: Path
) -> tuple[tuple[Variable, ...], VariableLists]:
    """The variables of the object graph: those of the root's list in its order, then the rest by path."""
    listed, trainable = (_variables_in(objects, name) for name in ("variables", "trainable_variables"))
    count = len(objects.of_kind("variable"))
    if count > _MAX_VARIABLES:
        raise BrokenModelError(f"it has {count} variables")
    reader = _ObjectVariables(objects, index, model, listed or [], trainable)
    in_list = set(listed or [])
    rest = sorted(
        (reader.variable(node) for node in objects.of_kind("variable") if node not in in_list),
        key=lambda variable: (variable.is_slot, path_order(variable.path)),
    )
    first = [reader.variable(node) for node in listed or []]
    paths = {variable.node: variable.path for variable in (*first, *rest)}
    losses = objects.items(0, "regularization_losses") or []
    lists = VariableLists(
        variables=None if listed is None else tuple(paths[node] for node in listed),
        trainable_variables=None if trainable is None else tuple(paths[node] for node in trainable),
        losses=len(losses),
    )
    return (*first, *rest), lists


def _variables_in(objects: ObjectGraph, name: str) -> list[int] | None:
    nodes = objects.items(0, name)
    return None if nodes is None else [node for node in nodes if objects.kind(node) == "variable"]


class _ObjectVariables:
    """Makes variables of nodes."""

    def __init__(
        self,
        objects: ObjectGraph,
        index: BundleIndex | None,
        model: Path,
        listed: list[int],
        trainable: list[int] | None,
    ) -> None:
        self._objects = objects
        self._entries = index.by_name if index is not None else {}
        self._listed = set(listed)
        self._trainable = None if trainable is None else set(trainable)
        self._slots = objects.slots
        self._keys = _keys(objects, self._entries, index, model)

    def variable(self, node: int) -> Variable:
        message = self._objects.content(node)
        dtype, shape = DType.of(message.dtype), shape_of(message.shape)
        key = self._keys.get(node)
        is_listed = node in self._listed
        trainable = bool(message.trainable)
        if is_listed and self._trainable is not None:
            trainable = node in self._trainable
        path = self._objects.path(node) or message.name
        return Variable(
            name=message.name,
            path=path,
            checkpoint_key=key,
            dtype=dtype.name,
            shape=shape,
            trainable=trainable,
            is_listed=is_listed,
            size_bytes=_size_bytes(dtype, shape, self._entries.get(key) if key is not None else None),
            node=node,
            is_slot=node in self._slots or (not is_listed and shape != () and _is_optimizer_s(path)),
        )


def _is_optimizer_s(path: str) -> bool:
    """Whether the path is in an optimizer: Keras's newer ones have no slots in the file."""
    return path.partition(".")[0] in ("optimizer", "_optimizer")


def _size_bytes(dtype: DType, shape: Shape, entry: BundleEntry | None) -> int | None:
    if entry is not None and not entry.slices and dtype.item_bytes is None:
        return entry.size_bytes
    count = entry.element_count if entry is not None else element_count(shape)
    return None if count is None or dtype.item_bytes is None else count * dtype.item_bytes


def _keys(
    objects: ObjectGraph, entries: dict[str, BundleEntry], index: BundleIndex | None, model: Path
) -> dict[int, str]:
    """The checkpoint key of each variable, by number.

    A key is the shortest path of the variable; if it isn't in the index, the checkpoint's own object graph
    has the key, if its shard was read.
    """
    keys: dict[int, str] = {}
    missing = False
    for node in objects.of_kind("variable"):
        key = _key(objects, node)
        if key in entries:
            keys[node] = key
        else:
            missing = True
    if missing and index is not None:
        keys |= {node: key for node, key in keys_by_lockstep(objects, index, model).items() if key in entries}
    return keys


def _key(objects: ObjectGraph, node: int) -> str:
    slot = objects.slots.get(node)
    if slot is None:
        return _joined(objects.shortest_path(node)) + _SUFFIX
    variable, optimizer = objects.shortest_path(slot.variable), objects.shortest_path(slot.optimizer)
    return f"{_joined(variable)}/.OPTIMIZER_SLOT/{_joined(optimizer)}/{escaped(slot.name)}{_SUFFIX}"


def _joined(names: tuple[str, ...] | None) -> str:
    return "/".join(map(escaped, names or ()))


def escaped(name: str) -> str:
    """The name as a part of a checkpoint key."""
    return name.replace(".", "..").replace("/", ".S")


def _collected_variables(
    graphs: list[Any], index: BundleIndex | None
) -> tuple[tuple[Variable, ...], VariableLists]:
    """The variables that TensorFlow 1 wrote into the collections of its MetaGraphs, in their order."""
    entries = index.by_name if index is not None else {}
    every = dict(_definitions(graphs, ("variables", "global_variables", "trainable_variables")))
    trainable = dict(_definitions(graphs, ("trainable_variables",)))
    variables = tuple(
        _collected(name, definition, name in trainable, entries) for name, definition in every.items()
    )
    return variables, VariableLists(tuple(every), tuple(trainable), max(map(_losses, graphs)))


def _definitions(graphs: list[Any], names: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Names and VariableDefs, each name once; the parts of a partitioned variable count as one."""
    for collections, name in product(graphs, names):
        if name not in collections:
            continue
        for encoded in collections[name].bytes_list.value:
            definition = parse("VariableDef", encoded)
            full_name = definition.save_slice_info_def.full_name
            yield full_name or definition.variable_name.partition(":")[0], definition


def _collected(name: str, definition: Any, trainable: bool, entries: dict[str, BundleEntry]) -> Variable:
    entry = entries.get(name)
    sliced = tuple(definition.save_slice_info_def.full_shape) or None
    dtype = entry.dtype if entry is not None else None
    shape = entry.shape if entry is not None else sliced
    return Variable(
        name=name,
        path=name,
        checkpoint_key=name if entry is not None else None,
        dtype=dtype.name if dtype is not None else None,
        shape=shape,
        trainable=trainable,
        is_listed=True,
        size_bytes=None if dtype is None else _size_bytes(dtype, shape, entry),
    )


def _losses(collections: Any) -> int:
    if _LOSSES not in collections:
        return 0
    collection = collections[_LOSSES]
    return len(collection.node_list.value) or len(collection.bytes_list.value)
