"""Prunes a graph to what its signatures need: nodes that compute their tensors, functions that these call.

The saver, the assets' placeholders and the initializers of used resources are kept, too; gradients are
removed, since a served model isn't trained. Source: tensorflow/cc/saved_model/loader.cc (what a load runs).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from hubcli.formats.wire_message import WireMessage
from hubcli.savedmodel.edit.editable import (
    EditableMetaGraph,
    Loss,
    attribute,
    function_name,
    functions_named_by,
    source_of,
)

__all__ = ["GraphNodes", "prune_functions"]

_NAME, _OP, _INPUT = 1, 2, 3  # of NodeDef
_NODE, _ATTR, _KEY, _VALUE = 1, 5, 1, 2
_INPUTS, _OUTPUTS = 1, 2  # of SignatureDef
_SIGNATURE_DEF, _COLLECTION_DEF, _ASSET_FILE_DEF, _SAVER_DEF = 5, 4, 6, 3  # of MetaGraphDef
_FUNCTION, _GRADIENT, _REGISTERED_GRADIENT = 1, 2, 3  # of FunctionDefLibrary
_META_INFO, _ALIASES = 1, 8
_MAX_NAMES = 20
_MAX_ROUNDS = 100
_SYMBOLIC_GRADIENT = "SymbolicGradient"
# Attributes of a function that TensorFlow made for a gradient tape.
_TRAINING = ("forward_function_name", "backward_function_name")


class GraphNodes:
    """The nodes of a MetaGraph's graph by name, and what each of them reads."""

    def __init__(self, graph: EditableMetaGraph) -> None:
        self._graph = graph
        self.by_name = {node.text(_NAME): node for node in graph.nodes()}
        self.ops = {name: node.text(_OP) for name, node in self.by_name.items()}
        self._sources = {name: list(_sources(node)) for name, node in self.by_name.items()}

    def needed_by(self, roots: Iterable[str]) -> set[str]:
        """The nodes that these need, themselves included; names without a node are ignored."""
        found: set[str] = set()
        waiting = [name for name in roots if name in self.by_name]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += [source for source in self._sources[name] if source in self.by_name]
        return found

    def signature_roots(self) -> set[str]:
        """The nodes that signatures name as inputs and outputs."""
        return {source_of(name) for _, entry in self._graph.signature_entries() for name in _tensors(entry)}

    def prune(self, constants: Collection[str]) -> Loss | None:
        """Removes the nodes that nothing kept needs; `constants` are those that objects name."""
        needed, spare = self._needed_and_spare()
        needed |= self._without_initializers(spare)
        needed |= self.needed_by(self.other_roots())
        return self.keep(needed | self.needed_by(constants))

    def keep(self, needed: Collection[str]) -> Loss | None:
        """Removes the nodes of other names."""
        count = sum(
            graph.remove_messages(_NODE, lambda node: node.text(_NAME) not in needed)
            for graph in self._graph.graphs
        )
        return Loss("nodes", "graph node", count) if count else None

    def needed_to_serve(self) -> set[str]:
        """The nodes that signatures need, and those that initialize them."""
        return self._needed_and_spare()[0]

    def _needed_and_spare(self) -> tuple[set[str], set[str]]:
        """The nodes that signatures need, with initializers; and initializers of other resources only."""
        groups = self._groups()
        waiting = {source for name in groups for source in self._sources[name]}
        needed = self.needed_by(self.signature_roots())
        needed |= self.needed_by(set(self._initializing()) - set(groups))
        # In a chain of initializers each round finds one; after the last round, all others are needed.
        for number in range(_MAX_ROUNDS):
            is_last = number == _MAX_ROUNDS - 1
            chosen = {name for name in waiting if is_last or self._initializes(name, needed)}
            needed |= self.needed_by(chosen)
            waiting -= chosen
            if not chosen:
                break
        return needed, waiting

    def _groups(self) -> list[str]:
        """The nodes that wait for all initializers."""
        return [name for name in self._initializing() if self.ops.get(name) == "NoOp"]

    def _without_initializers(self, spare: set[str]) -> set[str]:
        """Removes these from the groups of initializers; returns what the groups still need."""
        dropped, groups = {f"^{name}" for name in spare}, self._groups()
        for name in groups:
            node = self.by_name[name]
            node.remove_texts(_INPUT, dropped.__contains__)
            self._sources[name] = list(_sources(node))
        return self.needed_by(groups)

    def _initializes(self, name: str, needed: set[str]) -> bool:
        """Whether the node may initialize something needed: it reads that, or neither variable nor table."""
        sources = [source for source in self._sources.get(name, ()) if self.ops.get(source, "") != "Const"]
        own = [self.ops.get(source, "") for source in sources]
        has_resource = any(op == "VarHandleOp" or "Table" in op for op in own)
        return not has_resource or not needed.isdisjoint(sources)

    def _initializing(self) -> Iterator[str]:
        """The ops that a load runs."""
        yield from self.run_by_signatures()
        message = self._graph.message
        for entry in message.messages(_COLLECTION_DEF):
            for collection in entry.messages(_VALUE):
                for nodes in collection.messages(1):
                    yield from (name for text in nodes.texts(1) if (name := source_of(text)) in self.by_name)

    def run_by_signatures(self) -> Iterator[str]:
        """The nodes of signatures that are never called, which initialize the model."""
        names = {name for name, _ in self._graph.signature_entries()}
        for entry in self._graph.message.messages(_SIGNATURE_DEF):
            if entry.text(_KEY) not in names:
                yield from (source_of(name) for name in _tensors(entry) if source_of(name) in self.by_name)

    def other_roots(self) -> Iterator[str]:
        """The nodes of savers, and the assets' placeholders."""
        message = self._graph.message
        for saver in message.messages(_SAVER_DEF):
            yield from (source_of(saver.text(number)) for number in (1, 2, 3))
        for asset in message.messages(_ASSET_FILE_DEF):
            yield from (source_of(info.text(1)) for info in asset.messages(1))


def _sources(node: WireMessage) -> Iterator[str]:
    """The nodes that the node reads, waits for, or must stand beside."""
    yield from (source_of(source) for source in node.texts(_INPUT))
    placed = attribute(node, "_class")
    for values in placed.messages(1) if placed is not None else ():
        yield from (text[5:] for text in values.texts(2) if text[:5] == "loc:@")


def _tensors(entry: WireMessage) -> Iterator[str]:
    """The tensors that a signature names, those of composite ones too."""
    for signature in entry.messages(_VALUE):
        for number in (_INPUTS, _OUTPUTS):
            for item in signature.messages(number):
                for info in item.messages(_VALUE):
                    yield from _tensor_names(info)


def _tensor_names(info: WireMessage) -> Iterator[str]:
    yield from info.texts(1)
    for sparse in info.messages(4):
        yield from (text for number in (1, 2, 3) for text in sparse.texts(number))
    for composite in info.messages(5):
        for component in composite.messages(2):
            yield from component.texts(1)


def prune_functions(graph: EditableMetaGraph, names: Collection[str]) -> list[Loss]:
    """Removes the functions that neither the graph's nodes nor those of these names call, and gradients.

    A gradient is kept if an op `SymbolicGradient` computes it, and so are other implementations of a called
    function, between which Grappler chooses by device.
    """
    functions = {function_name(function): function for function in graph.functions() if function.has(1)}
    needed = _called(graph, functions, names)
    removed = tuple(name for name in functions if name not in needed)
    removed_ids = {id(functions[name]) for name in removed}
    for library in graph.libraries:
        library.remove_messages(_FUNCTION, lambda function: id(function) in removed_ids)
    has_symbolic = any(node.text(_OP) == _SYMBOLIC_GRADIENT for node in graph.all_nodes())
    gradients = 0
    for library in graph.libraries:
        gradients += library.remove_messages(_REGISTERED_GRADIENT, lambda gradient: True)
        gradients += library.remove_messages(
            _GRADIENT, lambda gradient: not (has_symbolic and gradient.text(1) in needed)
        )
    for node in graph.all_nodes():  # A loader would warn that the gradients they name are missing.
        node.remove_messages(_ATTR, _names_custom_gradient)
    for info in graph.message.messages(_META_INFO):
        info.remove_messages(
            _ALIASES, lambda alias: (name := alias.text(_KEY)) in functions and name not in needed
        )
    losses = [Loss("functions", "traced function", len(removed), removed[:_MAX_NAMES])] if removed else []
    return losses + ([Loss("gradients", "custom gradient", gradients)] if gradients else [])


def _called(graph: EditableMetaGraph, functions: dict[str, WireMessage], names: Collection[str]) -> set[str]:
    """The functions of these names, and what they, the graph and gradients that are computed call."""
    forms: dict[str, list[str]] = {}
    for name, function in functions.items():
        forms.setdefault(_implemented(function), []).append(name)
    gradients = {
        gradient.text(1): gradient.text(2)
        for library in graph.libraries
        for gradient in library.messages(_GRADIENT)
    }
    waiting = [name for node in graph.nodes() for name in functions_named_by(node)]
    waiting += names
    needed: set[str] = set()
    computed: dict[str, str] = {}
    while waiting:
        name = waiting.pop()
        if name == _SYMBOLIC_GRADIENT and not computed:
            computed = gradients
            waiting += [gradients[own] for own in needed if own in gradients]
        if name in functions and name not in needed:
            needed.add(name)
            for node in functions[name].messages(3):
                waiting += functions_named_by(node)
            interface = _implemented(functions[name])
            waiting += forms.pop(interface, ()) if interface else ()
            waiting += [computed[name]] if name in computed else ()
    return needed


def _implemented(function: WireMessage) -> str:
    """The interface that the function implements for inference; "" for most functions."""
    interface = attribute(function, "api_implements")
    is_of_training = any(attribute(function, name) is not None for name in _TRAINING)
    return "" if interface is None or is_of_training else interface.text(2)


def _names_custom_gradient(entry: WireMessage) -> bool:
    value = entry.only(_VALUE) if entry.text(_KEY) == "_gradient_op_type" else None
    return value is not None and value.text(2).startswith("CustomGradient")
