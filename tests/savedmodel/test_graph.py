"""The graph and its library, read in pieces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hubcli.errors import BrokenModelError
from hubcli.savedmodel.graph import Graph, read_outline
from hubcli.savedmodel.nodes import parse_merged
from tests.cases import each_of
from tests.formats.tables import delimited
from tests.savedmodel.protos import Func, Funcs, function, graph, meta_graph, node, read, write_model


def names_of(folder: Path, *nodes: Any) -> tuple[list[str], list[str]]:
    """Names of the nodes in the graph itself and in a function, as they are read."""
    write_model(folder, meta_graph(graph(*nodes, functions=[function("f", *nodes)])))
    with read_outline(folder) as outlines:
        bodies = outlines[0].graph.bodies
        main, inner = ([node.name for node in body.nodes()] for body in bodies)
        return main, inner


@each_of(
    "sizes",
    [
        [],
        [0],
        [0, 0, 0],
        [300_000],
        [0, 300_000, 0],
        [300_000, 300_000],
        [0] * 10 + [2_000_000] + [0] * 10,
        [200_000] * 12,
        [262_100, 262_144, 262_150],
        [1 << 20, 0, 1 << 20],
        [4_000] * 600,
    ],
)
def test_every_node_is_read_once_whatever_its_size(tmp_path: Path, sizes: list[int]) -> None:
    nodes = [node(f"n{place}", "Const", value=bytes(size)) for place, size in enumerate(sizes)]
    expected = [f"n{place}" for place in range(len(sizes))]
    assert names_of(tmp_path, *nodes) == (expected, expected)


def test_a_large_constant_loses_its_value_and_nothing_else(tmp_path: Path) -> None:
    large = node("n", "Const", "a", "^b", value=bytes(1 << 20), short=b"kept")
    write_model(tmp_path, meta_graph(graph(large)))
    with read_outline(tmp_path) as outlines:
        (read_back,) = outlines[0].graph.bodies[0].nodes()
        assert (read_back.name, read_back.op, read_back.inputs) == ("n", "Const", ["a", "b"])
        assert read_back.text("short") == "kept"
        assert read_back.text("value") is None
        assert read_back.sources == ["a"]


def test_a_library_between_nodes_is_no_part_of_the_graph_itself(tmp_path: Path) -> None:
    first, second = graph(node("a", "A")), graph(node("b", "B"), functions=[function("f", node("c", "C"))])
    third = graph(node("d", "D"))
    whole = b"".join(part.SerializeToString() for part in (first, second, third))
    read_back = meta_graph()
    read_back.graph_def.ParseFromString(whole)
    write_model(tmp_path, read_back)
    with read_outline(tmp_path) as outlines:
        bodies = outlines[0].graph.bodies
        assert [[node.name for node in body.nodes()] for body in bodies] == [["a", "b", "d"], ["c"]]
        assert set(outlines[0].graph.functions) == {"f"}


def test_ops_are_counted_over_all_bodies(tmp_path: Path) -> None:
    encoded = graph(node("a", "X"), node("b", "X"), functions=[function("f", node("c", "X"), node("d", "Y"))])
    assert read(tmp_path, meta_graph(encoded)).meta_graphs[0].ops == {"X": 3, "Y": 1}


def test_a_node_names_the_functions_in_its_attributes(tmp_path: Path) -> None:
    encoded = graph(
        node("a", "If", then_branch=Func("t"), else_branch=Func("e"), Tin="x"),
        node("b", "Case", branches=Funcs(("p", "q"))),
        node("c", "Const", f=Func("never")),  # An op that takes none.
    )
    write_model(tmp_path, meta_graph(encoded))
    with read_outline(tmp_path) as outlines:
        assert [node.functions() for node in outlines[0].graph.bodies[0].nodes()] == [
            ["e", "t"],
            ["p", "q"],
            [],
        ]


def _branches(*values: bytes, entries_without_value: int = 0) -> bytes:
    """A function with a Case, whose list of branches comes in as many pieces as there are names.

    Each of the other entries is two bytes longer where protobuf writes it, which a piece has ten of.
    """
    pieces = b"".join(delimited(2, delimited(1, delimited(9, delimited(1, value)))) for value in values)
    case = node("c", "Case").SerializeToString() + delimited(5, delimited(1, b"branches") + pieces)
    others = (delimited(5, delimited(1, b"%d" % place)) for place in range(entries_without_value))
    return bytes(function("f").SerializeToString() + delimited(3, case + b"".join(others)))


@pytest.mark.parametrize("stored_names", [50_000, 4, -1])
def test_a_function_names_what_its_nodes_name_whether_that_was_kept_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored_names: int
) -> None:
    monkeypatch.setattr("hubcli.savedmodel.graph._MAX_STORED_NAMES", stored_names)
    many = function("g", node("b", "Case", branches=Funcs(("p", "q"))), node("d", "Mul"), node("e", "f"))
    plain = function("h", node("d", "Mul"))
    functions = (many.SerializeToString(), _branches(b"r"), plain.SerializeToString())
    in_pieces = (_branches(b"s", b"t"), _branches(b"uu", b"vv", entries_without_value=5))
    names = [["Case", "p", "q", "f"], ["Case", "r"], []]
    assert _names_of(tmp_path / "whole", *functions) == names
    assert _names_of(tmp_path / "pieces", *functions, *in_pieces) == [
        *names,
        ["Case", "s", "t"],
        ["Case", "uu", "vv"],
    ]


def _names_of(folder: Path, *functions: bytes) -> list[list[str]]:
    """What each function of the library names."""
    folder.mkdir()
    library = b"".join(delimited(1, encoded) for encoded in functions)
    write_model(folder, delimited(2, delimited(2, library)))
    with read_outline(folder) as outlines:
        return [body.named_functions() for body in outlines[0].graph.bodies[1:]]


def test_functions_nested_deeper_than_protobuf_reads_are_refused(tmp_path: Path) -> None:
    value = delimited(10, delimited(1, b"f"))
    for _ in range(1000):
        value = delimited(10, delimited(1, b"f") + delimited(2, delimited(1, b"g") + delimited(2, value)))
    call = node("c", "PartitionedCall").SerializeToString() + delimited(
        5, delimited(1, b"f") + delimited(2, value)
    )
    with pytest.raises(BrokenModelError, match="nested too deeply"):
        _names_of(tmp_path / "m", bytes(function("f").SerializeToString() + delimited(3, call)))


def test_the_results_and_outputs_of_a_function(tmp_path: Path) -> None:
    big = node("n", "Const", value=bytes(1 << 20))
    for nodes in ([], [big, big]):
        encoded = graph(functions=[function("f", *nodes, results={"b": "n:o:0", "a": "n:o:1"})])
        write_model(tmp_path, meta_graph(encoded))
        with read_outline(tmp_path) as outlines:
            body = outlines[0].graph.functions["f"]
            assert body.results() == {"a": "n:o:1", "b": "n:o:0"}
            assert body.output_names() == ["b", "a"]


@pytest.mark.parametrize("pad_bytes", [0, 1 << 20])
def test_a_signature_that_comes_in_pieces_is_joined(tmp_path: Path, pad_bytes: int) -> None:
    first = function("f", node("n", "Const", value=bytes(pad_bytes)), inputs=["a"]).SerializeToString()
    last = function("g", inputs=["b"], results={"r": "n:o:0"}).SerializeToString()
    write_model(tmp_path, delimited(2, delimited(2, delimited(1, first + last))))
    with read_outline(tmp_path) as outlines:
        body = outlines[0].graph.functions["g"]
        assert ([argument.name for argument in body.inputs()], body.output_names()) == (["a", "b"], ["r"])


def test_a_name_is_searched_for_in_the_bytes_of_a_body(tmp_path: Path) -> None:
    small, large = function("f", node("needle", "X")), function("g", node("pin", "X", pad=bytes(1 << 20)))
    write_model(tmp_path, meta_graph(graph(functions=[small, large])))
    with read_outline(tmp_path) as outlines:
        bodies = outlines[0].graph.bodies
        assert [body.may_hold("needle") for body in bodies] == [False, True, False]
        assert [body.may_hold("pin") for body in bodies] == [False, False, True]


def test_a_node_that_is_no_message_is_refused(tmp_path: Path) -> None:
    data = b"\x0a\x03\x0a\xff\xff"
    with pytest.raises(BrokenModelError):
        list(_graph_of(data).bodies[0].nodes())


@pytest.mark.parametrize(("count", "parsings"), [(1, 1), (2, 4)])
def test_only_a_graph_without_others_beside_it_stores_its_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, parsings: int
) -> None:
    """A hundred graphs of half a megabyte took 2 GB."""
    parsed: list[str] = []

    def counted(name: str, data: bytes) -> object:
        parsed.append(name)
        return parse_merged(name, data)

    monkeypatch.setattr("hubcli.savedmodel.graph.parse_merged", counted)
    write_model(tmp_path, *[meta_graph(graph(node("n", "NoOp")))] * count)
    with read_outline(tmp_path) as outlines:
        for outline in outlines * 2:
            assert [found.name for found in outline.graph.bodies[0].nodes()] == ["n"]
    assert len(parsed) == parsings


def _graph_of(data: bytes) -> Graph:
    from hubcli.formats.wire import LENGTH_DELIMITED, Field

    return Graph(data, (Field(2, LENGTH_DELIMITED, 0, len(data)),))
