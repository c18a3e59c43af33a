"""Graphs of TensorFlow 1 pruned for serving, on the file alone: what collections name, and hostile ones."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from hubcli.errors import BrokenModelError
from hubcli.formats.wire import encode_field
from hubcli.formats.wire_message import WireMessage, map_entry
from hubcli.savedmodel.edit.editable import EditableMetaGraph, EditableModel
from hubcli.savedmodel.edit.serving import keep_for_serving
from tests.cases import each_of

WHILE, COND = "while_context", "cond_context"


def node(name: str, op: str = "Identity", *inputs: str) -> bytes:
    encoded = encode_field(1, name) + encode_field(2, op)
    return encode_field(1, encoded + b"".join(encode_field(3, source) for source in inputs))


def collection(name: str, number: int, *items: bytes | str) -> bytes:
    return encode_field(
        4, map_entry(name, encode_field(number, b"".join(encode_field(1, item) for item in items)))
    )


def model(*collections: bytes, nodes: Iterable[bytes] = ()) -> EditableModel:
    """`x` gives `y`; `gradient` reads `y`, and `variable` with its initializer is read by `y`."""
    graph = b"".join(
        [
            node("x", "Placeholder"),
            node("variable", "VariableV2"),
            node("variable/Assign", "Assign", "variable", "zeros"),
            node("zeros", "Const"),
            node("y", "Add", "x", "variable"),
            node("gradient", "Mul", "y"),
            *nodes,
        ]
    )
    info = map_entry("value", encode_field(1, "x:0"))
    outputs = map_entry("value", encode_field(1, "y:0"))
    signature = map_entry("serving_default", encode_field(1, info) + encode_field(2, outputs))
    meta = encode_field(2, graph) + b"".join(collections) + encode_field(5, signature)
    return EditableModel.parse(encode_field(2, meta))


def served(source: EditableModel) -> tuple[EditableMetaGraph, set[str], tuple[str, ...]]:
    edit = keep_for_serving(source, None, ())
    graph = EditableModel.parse(edit.model.encode()).meta_graphs[0]
    return graph, {own.text(1) for own in graph.nodes()}, edit.notes


def items_of(graph: EditableMetaGraph, name: str) -> list[WireMessage]:
    for entry in graph.message.messages(4):
        if entry.text(1) == name:
            return [
                item for items in entry.messages(2) for part in items.messages(2) for item in part.messages(1)
            ]
    return []


def texts_of(graph: EditableMetaGraph, name: str) -> list[str]:
    for entry in graph.message.messages(4):
        if entry.text(1) == name:
            return [
                text for value in entry.messages(2) for items in value.messages(1) for text in items.texts(1)
            ]
    return []


def test_what_no_signature_reads_goes() -> None:
    graph, names, notes = served(model(collection("train_op", 1, "gradient"), collection("losses", 1, "y:0")))
    assert names == {"x", "variable", "y"}
    assert (texts_of(graph, "train_op"), texts_of(graph, "losses"), notes) == ([], ["y:0"], ())


def test_what_initializes_the_model_stays() -> None:
    nodes = [node("init", "NoOp", "^fill"), node("fill", "Assign", "variable", "gradient")]
    for name in ("legacy_init_op", "saved_model_main_op"):
        _, names, _ = served(model(collection(name, 1, "init"), nodes=nodes))
        assert names >= {"init", "fill", "gradient"}


def test_a_variable_stays_with_all_that_a_loader_looks_up() -> None:
    needed = encode_field(1, "variable:0") + encode_field(2, "variable/Assign") + encode_field(6, "zeros:0")
    dropped = encode_field(1, "gradient:0") + encode_field(2, "gradient")
    graph, names, _ = served(model(collection("trainable_variables", 2, needed, dropped)))
    assert names == {"x", "variable", "variable/Assign", "zeros", "y"}
    assert [item.text(1) for item in items_of(graph, "trainable_variables")] == ["variable:0"]


def test_a_chain_of_variables_is_followed_to_a_bound() -> None:
    """Each variable is initialized by the next one: each step looks at all of them."""
    for count, is_followed in ((10, True), (120, False)):
        nodes, items = [node("init", "NoOp", "^v0")], []
        for number in range(count):
            nodes += [
                node(f"v{number}", "VariableV2"),
                node(f"i{number}", "Assign", f"v{number}", f"v{number + 1}"),
            ]
            items.append(encode_field(1, f"v{number}:0") + encode_field(2, f"i{number}"))
        collections = collection("saved_model_main_op", 1, "init"), collection("variables", 2, *items)
        _, names, notes = served(model(*collections, nodes=nodes))
        assert {f"i{number}" for number in range(count)} <= names
        assert ("gradient" in names) is not is_followed
        assert bool(notes) is not is_followed


def test_a_loop_stays_without_what_a_gradient_added_to_it() -> None:
    values = encode_field(1, "y:0") + encode_field(1, "gradient:0")
    values += encode_field(2, encode_field(1, "gradient:0") + encode_field(2, "x:0"))
    values += encode_field(2, encode_field(1, "y:0") + encode_field(2, "x:0"))
    needed = encode_field(5, "pivot:0") + encode_field(8, "gradient:0") + encode_field(8, "y:0")
    needed += encode_field(9, values)
    dropped = encode_field(5, "gradient:0") + encode_field(9, encode_field(1, "gradient:0"))
    graph, names, _ = served(model(collection(WHILE, 2, needed, dropped), nodes=[node("pivot", "LoopCond")]))
    assert names == {"x", "variable", "y", "pivot"}
    (item,) = items_of(graph, WHILE)
    assert item.texts(8) == ["y:0"]
    own = item.only(9)
    assert own is not None
    assert own.texts(1) == ["y:0"]
    assert [pair.text(1) for pair in own.messages(2)] == ["y:0"]


@pytest.mark.parametrize("name", ["savers", "queue_runners"])
def test_what_names_nodes_that_go_goes_too(name: str) -> None:
    needed, dropped = (
        encode_field(1, "x:0") + encode_field(2, "y"),
        encode_field(1, "x:0") + encode_field(2, "gradient"),
    )
    graph, _, _ = served(model(collection(name, 2, needed, dropped)))
    assert [item.text(2) for item in items_of(graph, name)] == ["y"]


@each_of("name", ["of_somebody", ""])
@each_of("number", [2, 5, 9])
def test_a_graph_whose_collections_may_name_anything_is_left_as_it_is(number: int, name: str) -> None:
    source = model(collection(name, number, b"\x0a\x01x"))
    edit = keep_for_serving(source, None, ())
    assert edit.model.encode() == source.encode()
    note = f"A graph of TensorFlow 1 was not pruned: the collection '{name}' may name any node"
    assert edit.notes == (note,)


def test_a_graph_without_signatures_beside_another_is_left_as_it_is() -> None:
    both = EditableModel.parse(model().encode() + encode_field(2, encode_field(2, node("alone"))))
    edit = keep_for_serving(both, None, ())
    assert edit.notes == ("A graph of TensorFlow 1 was not pruned: it has no signature",)
    assert [own.text(1) for own in edit.model.meta_graphs[1].nodes()] == ["alone"]


def test_contexts_within_contexts_are_followed_to_a_bound() -> None:
    for depth, is_broken in ((10, False), (1000, True)):
        context = encode_field(2, "y:0")
        for _ in range(depth):
            context = encode_field(2, "y:0") + encode_field(6, encode_field(1, context))
        source = model(collection(COND, 2, context))
        if is_broken:
            with pytest.raises(BrokenModelError, match="control flow contexts are nested deeper than 20"):
                served(source)
        else:
            assert served(source)[1] == {"x", "variable", "y"}


def test_damaged_collections_end_in_our_errors() -> None:
    for damage in (b"\xff", b"\x0a\x05y", b"\x08"):
        for name in ("variables", WHILE, COND, "savers"):
            with pytest.raises(BrokenModelError):
                served(model(collection(name, 2, damage)))


def test_what_parts_of_a_sparse_or_composite_output_read_stays() -> None:
    def entry(name: str, info: bytes) -> bytes:
        return encode_field(2, map_entry(name, info))

    sparse = encode_field(4, b"".join(encode_field(number, f"part{number}:0") for number in (1, 2, 3)))
    component = encode_field(2, encode_field(1, "part4:0"))
    outputs = entry("sparse", sparse) + entry("composite", encode_field(5, component))
    graph = b"".join(node(f"part{number}", "Const") for number in (1, 2, 3, 4, 5))
    meta = encode_field(2, graph) + encode_field(5, map_entry("serving_default", outputs))
    _, names, _ = served(EditableModel.parse(encode_field(2, meta)))
    assert names == {"part1", "part2", "part3", "part4"}
