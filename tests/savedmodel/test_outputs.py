"""Which op stands behind an output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hubcli.savedmodel.checks.reusable import final_ops
from hubcli.savedmodel.graph import read_outline
from tests.cases import each_of
from tests.savedmodel.protos import Func, function, graph, meta_graph, node, write_model


def ops_of(folder: Path, *functions: Any) -> list[str]:
    """The ops behind the outputs of the first function."""
    write_model(folder, meta_graph(graph(functions=functions)))
    with read_outline(folder) as outlines:
        return final_ops(outlines[0].graph, functions[0].signature.name)


def test_the_op_of_each_output_in_the_order_of_their_names(tmp_path: Path) -> None:
    body = function("f", node("a", "Add"), node("b", "Mul"), results={"z": "a:z:0", "y": "b:z:0"})
    assert ops_of(tmp_path, body) == ["Mul", "Add"]


def test_an_unknown_function_has_none(tmp_path: Path) -> None:
    write_model(tmp_path, meta_graph())
    with read_outline(tmp_path) as outlines:
        assert final_ops(outlines[0].graph, "f") == []


def test_an_output_that_is_an_argument_has_none(tmp_path: Path) -> None:
    assert ops_of(tmp_path, function("f", results={"o": "x"}, inputs=("x",))) == []
    assert ops_of(tmp_path, function("f", node("i", "Identity", "x"), results={"o": "i:output:0"})) == []


@each_of("op", ["Identity", "StopGradient", "Cast", "EnsureShape"])
def test_ops_that_change_nothing_are_seen_through(tmp_path: Path, op: str) -> None:
    body = function("f", node("s", "Softmax"), node("i", op, "s:s:0", "^s"), results={"o": "i:o:0"})
    assert ops_of(tmp_path, body) == ["Softmax"]


def test_an_identity_of_several_is_seen_through_by_number(tmp_path: Path) -> None:
    nodes = [node("a", "Add"), node("s", "Softmax"), node("i", "IdentityN", "a:z:0", "s:s:0")]
    assert ops_of(tmp_path, function("f", *nodes, results={"o": "i:output:1"})) == ["Softmax"]
    assert ops_of(tmp_path, function("f", *nodes, results={"o": "i:output:9"})) == ["Softmax"]


def test_an_identity_of_nothing_stands_for_itself(tmp_path: Path) -> None:
    assert ops_of(tmp_path, function("f", node("i", "Identity"), results={"o": "i:o:0"})) == ["Identity"]


@pytest.mark.parametrize("op", ["PartitionedCall", "StatefulPartitionedCall"])
def test_a_call_is_entered_at_the_output_of_that_number(tmp_path: Path, op: str) -> None:
    outer = function("f", node("c", op, f=Func("g")), results={"o": "c:output:1"})
    inner = function("g", node("a", "Add"), node("s", "Softmax"), results={"one": "a:z:0", "two": "s:s:0"})
    assert ops_of(tmp_path, outer, inner) == ["Softmax"]


def test_a_call_of_what_is_not_there_stands_for_itself(tmp_path: Path) -> None:
    for callee in ("gone", ""):
        outer = function("f", node("c", "PartitionedCall", f=Func(callee)), results={"o": "c:output:0"})
        assert ops_of(tmp_path, outer) == ["PartitionedCall"]
    bare = function("f", node("c", "PartitionedCall"), results={"o": "c:output:0"})
    assert ops_of(tmp_path, bare) == ["PartitionedCall"]


def test_a_call_of_an_output_that_is_not_there_stands_for_itself(tmp_path: Path) -> None:
    outer = function("f", node("c", "PartitionedCall", f=Func("g")), results={"o": "c:output:7"})
    assert ops_of(tmp_path, outer, function("g", results={"a": "x"})) == ["PartitionedCall"]


def test_circles_end(tmp_path: Path) -> None:
    circle = function(
        "f", node("i", "Identity", "j:o:0"), node("j", "Identity", "i:o:0"), results={"o": "i:o:0"}
    )
    assert ops_of(tmp_path, circle) == []
    itself = function("f", node("c", "PartitionedCall", f=Func("f")), results={"o": "c:output:0"})
    assert ops_of(tmp_path, itself) == []
