"""Prunes a graph of TensorFlow 1 to what its signatures need: the nodes that a session runs for them.

The saver with all that it restores, initializers, and the assets' tensors are kept, too, so that the
checkpoint stays unchanged. Training nodes are removed: gradients, optimizers, input queues, summaries.
Collections name nodes, and a loader that imports the graph looks each of them up. Sources:
`import_scoped_meta_graph` of tensorflow/python/framework/meta_graph.py; meta_graph.proto, control_flow.proto
and queue_runner.proto in tensorflow/core/protobuf, variable.proto in tensorflow/core/framework.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from hubcli.errors import BrokenModelError
from hubcli.formats.wire_message import WireMessage
from hubcli.savedmodel.edit.editable import EditableMetaGraph, Loss, source_of
from hubcli.savedmodel.edit.graph_pruning import GraphNodes, prune_functions

__all__ = ["prune_session_graph"]

_COLLECTION_DEF, _KEY, _VALUE = 4, 1, 2  # of MetaGraphDef, of a map's entry
_NODE_LIST, _BYTES_LIST, _INTEGERS, _FLOATS, _ANY_LIST = 1, 2, 3, 4, 5  # of CollectionDef
_ITEM = 1  # of each of these lists
_ANY_VALUE = 2  # of google.protobuf.Any
_MAX_DEPTH = 20
# Each round reads all collections: a long chain of variables would take hours. Real graphs need two or three.
_MAX_ROUNDS = 100
# Collections whose ops a loader runs.
_INITIALIZERS = frozenset(
    {"legacy_init_op", "saved_model_main_op", "saved_model_init_op", "table_initializer", "local_init_op"}
)
_VARIABLES = frozenset(
    {
        "variables",
        "trainable_variables",
        "local_variables",
        "model_variables",
        "moving_average_variables",
        "metric_variables",
        "global_step",
    }
)
_ASSETS = "saved_model_assets"


def prune_session_graph(graph: EditableMetaGraph) -> tuple[list[Loss], str]:
    """Removes the nodes that no signature needs; returns the losses, or why nothing was removed.

    Raises BrokenModelError.
    """
    unknown = _unknown_collection(graph)
    if unknown is not None:
        return [], f"the collection '{unknown}' may name any node"
    nodes = GraphNodes(graph)
    needed = nodes.needed_by(nodes.signature_roots() | set(nodes.other_roots()))
    needed |= nodes.needed_by(nodes.run_by_signatures())
    needed |= nodes.needed_by(_initializers(graph))
    # Kept items of collections may name further nodes, which are needed then.
    for _ in range(_MAX_ROUNDS):
        more = nodes.needed_by(_named_by_kept(graph, nodes, needed)) - needed
        if not more:
            break
        needed |= more
    else:
        return [], "its collections depend on one another in too many steps"
    for name, collection in _collections(graph):
        _forget_others(name, collection, nodes, needed)
    lost = nodes.keep(needed)
    losses = prune_functions(graph, ())
    return losses + ([lost] if lost else []), ""


def _collections(graph: EditableMetaGraph) -> Iterator[tuple[str, WireMessage]]:
    for entry in graph.message.messages(_COLLECTION_DEF):
        value = entry.only(_VALUE)
        if value is not None:
            yield entry.text(_KEY), value


def _unknown_collection(graph: EditableMetaGraph) -> str | None:
    """The name of a collection whose messages may name any node, which may be ""; None without one."""
    for name, collection in _collections(graph):
        for field in collection.fields:
            is_known = (
                field.number in (_NODE_LIST, _INTEGERS, _FLOATS)
                or (field.number == _BYTES_LIST and name in _MESSAGES)
                or (field.number == _ANY_LIST and name == _ASSETS)
            )
            if not is_known:
                return name
    return None


def _initializers(graph: EditableMetaGraph) -> Iterator[str]:
    for name, collection in _collections(graph):
        for items in collection.messages(_NODE_LIST):
            if name in _INITIALIZERS:
                yield from map(source_of, items.texts(_ITEM))
        for items in collection.messages(_ANY_LIST):
            for packed in items.messages(_ITEM):
                for asset in packed.messages(_ANY_VALUE):
                    yield from (source_of(info.text(1)) for info in asset.messages(1))


def _named_by_kept(graph: EditableMetaGraph, nodes: GraphNodes, needed: set[str]) -> Iterator[str]:
    """The nodes that a loader looks up for kept variables, and for kept control flow contexts."""
    for name, collection in _collections(graph):
        for items in collection.messages(_BYTES_LIST):
            for item in items.messages(_ITEM):
                if _is_kept(name, item, nodes, needed):
                    yield from _known(_MESSAGES[name].looked_up(item), nodes)


def _is_kept(collection: str, item: WireMessage, nodes: GraphNodes, needed: set[str]) -> bool:
    """Whether the item is kept: a needed variable, a context with a needed node, or no other nodes in it."""
    if collection in _VARIABLES:
        return source_of(item.text(1)) in needed
    named = set(_known(_MESSAGES[collection].named(item), nodes))
    return not named.isdisjoint(needed) if collection in _CONTEXTS else named <= needed


def _known(tensors: Iterable[str], nodes: GraphNodes) -> Iterator[str]:
    return (name for tensor in tensors if (name := source_of(tensor)) in nodes.by_name)


def _forget_others(name: str, collection: WireMessage, nodes: GraphNodes, needed: set[str]) -> None:
    """Removes what names other nodes from the collection of that name."""

    def is_lost(text: str) -> bool:
        node = source_of(text)
        return node in nodes.by_name and node not in needed

    for items in collection.messages(_NODE_LIST):
        items.remove_texts(_ITEM, is_lost)
    for items in collection.messages(_BYTES_LIST):
        items.remove_messages(_ITEM, lambda item: not _is_kept(name, item, nodes, needed))
        for item in items.messages(_ITEM) if name in _CONTEXTS else ():
            _CONTEXTS[name].forget(item, is_lost)


@dataclass(frozen=True, slots=True)
class _Message:
    """A message of a collection, by the fields that name tensors: a loader looks each of them up.

    Of a context of control flow, `lists` are those from which a tensor can be taken, `values` is its
    ValuesDef, and `nested` has the contexts in it. Field numbers.
    """

    fields: tuple[int, ...]
    lists: tuple[int, ...] = ()
    values: int = 0
    nested: int = 0

    def looked_up(self, item: WireMessage, depth: int = 0) -> Iterator[str]:
        """The tensors that are needed if the item is kept."""
        for number in self.fields:
            yield from item.texts(number)
        for message, inner in self._nested(item, depth):
            yield from message.looked_up(inner, depth + 1)

    def named(self, item: WireMessage, depth: int = 0) -> Iterator[str]:
        """All tensors that it names."""
        for number in (*self.fields, *self.lists):
            yield from item.texts(number)
        for values in item.messages(self.values) if self.values else ():
            yield from values.texts(1)
            for pair in values.messages(2):  # Of a tensor in the context, that outside of it.
                yield from (pair.text(number) for number in (1, 2))
        for message, inner in self._nested(item, depth):
            yield from message.named(inner, depth + 1)

    def forget(self, item: WireMessage, is_lost: Callable[[str], bool], depth: int = 0) -> None:
        """Removes the lost tensors from its lists."""
        for number in self.lists:
            item.remove_texts(number, is_lost)
        for values in item.messages(self.values):
            values.remove_texts(1, is_lost)
            values.remove_messages(2, lambda pair: any(map(is_lost, map(pair.text, (1, 2)))))
        for message, inner in self._nested(item, depth):
            message.forget(inner, is_lost, depth + 1)

    def _nested(self, item: WireMessage, depth: int) -> Iterator[tuple[_Message, WireMessage]]:
        """The contexts in it: ControlFlowContextDef has a cond or a while."""
        for context in item.messages(self.nested) if self.nested else ():
            if depth >= _MAX_DEPTH:
                raise BrokenModelError(f"control flow contexts are nested deeper than {_MAX_DEPTH}")
            for number, message in ((1, _COND), (2, _WHILE)):
                yield from ((message, inner) for inner in context.messages(number))


# Predicate and pivots first; those of a loop, and how often it may run.
_COND = _Message((2, 3), values=5, nested=6)
_WHILE = _Message((5, 6, 7, 11), (8, 10), values=9, nested=12)
_CONTEXTS = {"cond_context": _COND, "while_context": _WHILE}
_MESSAGES = {
    # Variable, initializer, snapshot and initial value.
    **dict.fromkeys(_VARIABLES, _Message((1, 2, 3, 6))),
    **_CONTEXTS,
    "savers": _Message((1, 2, 3)),
    "queue_runners": _Message((1, 2, 3, 4)),
}
