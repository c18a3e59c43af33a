"""Object graphs whose messages come in pieces, as protobuf joins them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from hubcli.formats.protos import _message_class
from hubcli.formats.wire import LENGTH_DELIMITED, scan
from hubcli.savedmodel.nodes import parse_merged
from tests.cases import each_of
from tests.corpus import KINDS, corpus_file
from tests.formats.tables import delimited

_SEEDS = range(4)
_MAX_DEPTH = 6
_FUNCTIONS = ("function", "bare_concrete_function")


def _fields(data: bytes) -> Iterator[tuple[Any, bytes]]:
    """The fields of the message, and how each stands there."""
    position = 0
    for field in scan(data):
        yield field, data[position : field.end]
        position = field.end


def _divided(data: bytes, descriptor: Any, chance: random.Random, share: float, depth: int = 0) -> bytes:
    """The message with some messages in pieces, or with entries of maps twice or without a value."""
    written = []
    for field, encoded in _fields(data):
        known = descriptor.fields_by_number.get(field.number)
        if known is None or known.message_type is None or field.wire_type != LENGTH_DELIMITED:
            written.append(encoded)
            continue
        body = data[field.start : field.end]
        if depth < _MAX_DEPTH:
            body = _divided(body, known.message_type, chance, share, depth + 1)
        parts = [body]
        if chance.random() < share:
            parts = _parts(body, known, chance)
        written += [delimited(field.number, part) for part in parts]
    return b"".join(written)


def _parts(body: bytes, field: Any, chance: random.Random) -> list[bytes]:
    inner = [encoded for _, encoded in _fields(body)]
    if field.message_type.GetOptions().map_entry:
        key = b"".join(encoded for each, encoded in _fields(body) if each.number == 1)
        lacking = [key] * chance.randrange(8)
        found = [[body, key], [*lacking, body]]
        if field.name != "concrete_functions":  # Of which one with an unknown field is refused.
            found.append([body, body + delimited(3, b"unknown")])
        return chance.choice(found)
    if not field.has_presence:
        return [body]
    cut = chance.randrange(len(inner) + 1)
    return [b"".join(inner[:cut]), b"".join(inner[cut:])]


def _full(name: str) -> Any:
    return _message_class(name, is_lean=False)


@each_of("name", KINDS)
@each_of("seed", _SEEDS)
def test_functions_and_traces_in_pieces_are_read_as_protobuf_joins_them(name: str, seed: int) -> None:
    chance = random.Random(seed)
    for meta_graph in _full("SavedModel").FromString(corpus_file(name, "saved_model.pb")).meta_graphs:
        graph = meta_graph.object_graph_def
        share = chance.choice([0.02, 0.2, 0.6])
        data = _divided(graph.SerializeToString(), graph.DESCRIPTOR, chance, share)
        ours, theirs = parse_merged("SavedObjectGraph", data), _full("SavedObjectGraph").FromString(data)
        assert ours.concrete_functions.keys() == theirs.concrete_functions.keys()
        for key, trace in theirs.concrete_functions.items():
            assert _full("SavedConcreteFunction").FromString(ours.concrete_functions[key]) == trace
        for node, other in zip(ours.nodes, theirs.nodes, strict=True):
            kind = other.WhichOneof("kind")
            assert node.WhichOneof("kind") == kind
            if kind in _FUNCTIONS:
                spec = getattr(node, kind).function_spec
                assert _full("FunctionSpec").FromString(spec) == getattr(other, kind).function_spec
