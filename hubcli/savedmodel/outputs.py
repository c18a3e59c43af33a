"""Which ops the outputs of a function come from, through the functions that it calls."""

from __future__ import annotations

from hubcli.savedmodel.graph import Graph, GraphBody

__all__ = ["final_ops"]

_PASSED_THROUGH = frozenset({"Identity", "IdentityN", "StopGradient", "Cast", "EnsureShape"})
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_MAX_STEPS = 100


def final_ops(graph: Graph, function: str) -> list[str]:
    """The op behind each output of the function, identities and calls seen through."""
    body = graph.functions.get(function)
    if body is None:
        return []
    ops = (_op_behind(graph, body, source) for source in body.results().values())
    return [op for op in ops if op is not None]


def _op_behind(graph: Graph, body: GraphBody, source: str) -> str | None:
    """The op of the tensor `node:output:number`, or None where it is an argument."""
    for _ in range(_MAX_STEPS):
        node = body.by_name.get(source.partition(":")[0])
        if node is None:
            return None
        if node.op in _PASSED_THROUGH and node.sources:
            number = _number(source) if node.op == "IdentityN" else 0
            source = node.sources[min(number, len(node.sources) - 1)]
            continue
        inner = graph.functions.get(next(iter(node.functions()), "")) if node.op in _CALLS else None
        if inner is None:
            return node.op
        results, order = inner.results(), inner.output_names()
        number = _number(source)
        if number >= len(order) or order[number] not in results:
            return node.op
        body, source = inner, results[order[number]]
    return None


def _number(source: str) -> int:
    """The number of an output in `node:output:number`."""
    last = source.rpartition(":")[2]
    return int(last) if last.isdecimal() and ":" in source else 0
