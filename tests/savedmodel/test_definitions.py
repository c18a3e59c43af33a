"""What a MetaGraph has beside graph and objects: bounded, and refused where readers of protobuf differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubcli.errors import BrokenModelError
from hubcli.savedmodel import definitions, graph
from tests.cases import each_of
from tests.formats.tables import delimited, number
from tests.savedmodel.protos import Objects, meta_graph, node, read, saved_model
from tests.savedmodel.protos import graph as graph_of

UNKNOWN = delimited(7, b"")


def _entry(key: bytes, value: bytes) -> bytes:
    return delimited(1, key) + delimited(2, value)


TENSOR = delimited(1, b"a:0") + number(2, 1)
INPUTS = delimited(1, _entry(b"x", TENSOR))
HIDDEN = {
    "input": delimited(5, _entry(b"serving", INPUTS + delimited(1, _entry(b"x", TENSOR) + UNKNOWN))),
    "output": delimited(5, _entry(b"serving", INPUTS + delimited(2, UNKNOWN + _entry(b"x", TENSOR)))),
    "default": delimited(5, _entry(b"serving", INPUTS + delimited(4, _entry(b"x", b"") + UNKNOWN))),
    "signature": delimited(5, _entry(b"serving", INPUTS) + UNKNOWN),
    "collection": delimited(4, _entry(b"legacy_init_op", delimited(1, delimited(1, b"init"))) + UNKNOWN),
    "key of another type": delimited(4, number(1, 5) + _entry(b"c", b"")),
    "value of another type": delimited(4, _entry(b"c", b"") + number(2, 5)),
}


@each_of("where", HIDDEN)
def test_an_entry_that_readers_of_protobuf_differ_in_is_refused(tmp_path: Path, where: str) -> None:
    """Python's protobuf leaves it out: what C++ feeds, runs first and returns would not be shown."""
    with pytest.raises(BrokenModelError, match="fields that protobuf does not have"):
        read(tmp_path, delimited(2, b"") + HIDDEN[where])


def test_an_entry_in_any_order_twice_and_in_pieces_is_read_as_protobuf_does(tmp_path: Path) -> None:
    turned = delimited(2, INPUTS) + delimited(1, b"turned")
    twice = delimited(1, b"x") + delimited(2, delimited(1, b"b:0")) + delimited(2, number(2, 3))
    signatures = delimited(5, turned) + delimited(5, _entry(b"p", INPUTS + delimited(1, twice)))
    found = read(tmp_path, delimited(2, b"") + signatures).meta_graphs[0].signatures
    assert [(each.name, each.inputs[0].tensor, each.inputs[0].dtype) for each in found] == [
        ("p", "b:0", "int32"),
        ("turned", "a:0", "float32"),
    ]


def test_a_function_of_the_object_graph_that_readers_differ_in_is_refused(tmp_path: Path) -> None:
    objects = Objects().message.SerializeToString()
    for entry in (_entry(b"f", b"") + UNKNOWN, UNKNOWN + delimited(1, b"f")):
        with pytest.raises(BrokenModelError, match="fields that protobuf does not have"):
            read(tmp_path, delimited(2, b"") + delimited(7, objects + delimited(2, entry)))


def test_a_function_within_an_attribute_that_readers_differ_in_is_refused(tmp_path: Path) -> None:
    """A call whose only attribute Python's protobuf leaves out."""
    inner = _entry(b"g", delimited(10, delimited(1, b"evil"))) + UNKNOWN
    value = delimited(10, delimited(1, b"f") + delimited(2, inner))
    call = node("c", "PartitionedCall").SerializeToString() + delimited(5, _entry(b"f", value))
    function = delimited(1, delimited(1, b"h")) + delimited(3, call)
    with pytest.raises(BrokenModelError, match="fields that protobuf does not have"):
        read(tmp_path, delimited(2, delimited(2, delimited(1, function))))


def test_several_graphs_have_no_more_nodes_than_one_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred graphs of as many empty nodes as one may have took a minute."""
    monkeypatch.setattr(graph, "MAX_NODES", 5)
    body = meta_graph(graph_of(node("a", "Const"), node("b", "Const")))
    with pytest.raises(BrokenModelError, match="more than 5 nodes and functions in all"):
        read(tmp_path, body, body)
    assert read(tmp_path, body).meta_graphs[0].ops == {"Const": 2}


def test_limits_hold_for_all_meta_graphs_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph_def, asset = delimited(2, b""), delimited(6, delimited(2, b"a"))
    halves = {
        "tags": delimited(1, delimited(4, b"a")) * 2,
        "signatures": b"".join(delimited(5, delimited(1, name)) for name in (b"a", b"b")),
        "inputs": delimited(5, _entry(b"s", INPUTS + delimited(2, _entry(b"y", TENSOR)))),
        "collections": delimited(4, _entry(b"c", b"")) + delimited(4, _entry(b"d", b"")),
        "values of collections": delimited(4, _entry(b"c", delimited(1, delimited(1, b"a") * 2))),
        "assets": asset * 2,
    }
    monkeypatch.setattr(definitions, "_LIMITS", (3,) * len(halves))
    for half in halves.values():
        assert read(tmp_path, graph_def + half).meta_graphs
        with pytest.raises(BrokenModelError, match="too many tags"):
            read(tmp_path, graph_def + half, graph_def + half)


def test_entries_of_one_key_in_all_meta_graphs_together_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To protobuf they are a single one: looking through 16 million in 32 MB took 20 s."""
    monkeypatch.setattr(definitions, "_MAX_FIELDS", 40)
    body = delimited(2, b"") + delimited(5, _entry(b"s", delimited(1, b"") * 30))
    assert read(tmp_path, body).meta_graphs
    with pytest.raises(BrokenModelError, match="more than 40 fields"):
        read(tmp_path, body, body)


def test_a_vocabulary_in_a_collection_of_each_meta_graph_is_read(tmp_path: Path) -> None:
    """TensorFlow 1 writes all collections with each MetaGraph, such as those to serve, train and evaluate."""
    words = delimited(1, b"word") * 70_000
    body = delimited(2, b"") + delimited(4, _entry(b"vocabulary", delimited(2, words)))
    assert len(read(tmp_path, body, body, body).meta_graphs) == 3


def test_what_would_fill_the_memory_is_not_parsed(tmp_path: Path) -> None:
    """200 MB of objects took 1.2 GB, and as many texts of two bytes 2 GB."""
    zeros = bytes(34_000_000)
    for large, fault in (
        (delimited(7, delimited(2, delimited(2, zeros * 2))), "its object graph has 68000010 bytes"),
        (delimited(1, delimited(99, zeros)), "more than 32 MiB"),
        (delimited(4, _entry(b"c", delimited(1, b"\x0a\x00" * 3_000_000))), "more than 300000 messages"),
    ):
        (tmp_path / "saved_model.pb").write_bytes(saved_model(delimited(2, b"") + large))
        with pytest.raises(BrokenModelError, match=fault), graph.read_outline(tmp_path):
            pass
