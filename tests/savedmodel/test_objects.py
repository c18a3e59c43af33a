"""The object graph: names, paths, lists, slots."""

from __future__ import annotations

import pytest

from hubcli.errors import BrokenModelError
from hubcli.formats.protos import parse
from hubcli.savedmodel.objects import Child, ObjectGraph
from tests.cases import each_of
from tests.savedmodel.protos import Objects, message


def graph_of(objects: Objects) -> ObjectGraph:
    return ObjectGraph(parse("SavedObjectGraph", objects.message.SerializeToString()))


def test_objects_have_kinds_children_and_identifiers() -> None:
    objects = Objects("_tf_keras_model")
    variable, user = objects.variable("v"), objects.user("u")
    objects.hang(variable, "w", user)
    objects.message.nodes.add()  # Of a kind that nobody knows.
    graph = graph_of(objects)
    assert len(graph) == 4
    assert [graph.kind(node) for node in range(4)] == ["user_object", "variable", "user_object", None]
    assert graph.content(3) is None
    assert (graph.identifier(0), graph.identifier(1)) == ("_tf_keras_model", "")
    assert graph.children(user) == [Child("w", variable)]
    assert graph.child(0, "u") == user
    assert graph.child(0, "gone") is None
    assert graph.of_kind("variable") == [variable]


@each_of("child", [7, -1, 2**31 - 1])
def test_a_child_that_is_not_there_is_refused(child: int) -> None:
    objects = Objects()
    objects.hang(child, "x")
    with pytest.raises(BrokenModelError, match=f"names object {child} of 1"):
        graph_of(objects)


def test_a_graph_without_objects_is_refused() -> None:
    with pytest.raises(BrokenModelError, match="no root"):
        ObjectGraph(message("SavedObjectGraph"))


def test_a_list_is_sorted_by_number_and_leaves_other_names_out() -> None:
    objects = Objects()
    nodes = [objects.variable(None) for _ in range(12)]
    listing = objects.user("variables", identifier="trackable_list_wrapper")
    for place in (10, 2, 0, 1):
        objects.hang(nodes[place], str(place), listing)
    objects.hang(nodes[5], "non_append_mutation", listing)
    assert graph_of(objects).items(0, "variables") == [nodes[0], nodes[1], nodes[2], nodes[10]]


def test_what_is_no_list_has_no_items() -> None:
    objects = Objects()
    objects.variable("variables")
    graph = graph_of(objects)
    assert graph.items(0, "variables") is None
    assert graph.items(0, "gone") is None


def test_a_path_is_the_shortest_that_needs_no_list() -> None:
    objects = Objects()
    layer = objects.user("layer", objects.user("deep"))
    kernel = objects.variable("kernel", layer)
    objects.list_of("variables", [kernel])
    graph = graph_of(objects)
    assert graph.path(kernel) == "deep.layer.kernel"
    assert graph.shortest_path(kernel) == ("variables", "0")
    assert graph.path(0) == ""


def test_what_hangs_in_a_list_alone_has_its_path_there() -> None:
    objects = Objects()
    kernel = objects.variable(None)
    objects.list_of("variables", [kernel])
    assert graph_of(objects).path(kernel) == "variables.0"


def test_what_hangs_nowhere_has_no_path() -> None:
    objects = Objects()
    lost = objects.variable(None)
    graph = graph_of(objects)
    assert graph.path(lost) is None
    assert graph.shortest_path(lost) is None


def test_circles_end() -> None:
    objects = Objects()
    first = objects.user("a")
    second = objects.user("b", first)
    objects.hang(first, "back", second)
    objects.hang(0, "root", second)
    assert graph_of(objects).path(second) == "a.b"


def test_objects_nested_200_deep_have_paths_and_deeper_ones_are_refused() -> None:
    for depth in (199, 201):
        objects = Objects()
        node = 0
        for _ in range(depth):
            node = objects.user("x", node)
        graph = graph_of(objects)
        if depth < 200:
            assert graph.path(node) == ".".join("x" * depth)
        else:
            with pytest.raises(BrokenModelError, match="more than 200 deep"):
                graph.path(node)


def test_slots_belong_to_a_variable_and_an_optimizer() -> None:
    objects = Objects()
    kernel, optimizer, slot = objects.variable("k"), objects.user("o"), objects.variable(None)
    objects.message.nodes[optimizer].slot_variables.add(
        original_variable_node_id=kernel, slot_name="m", slot_variable_node_id=slot
    )
    found = graph_of(objects).slots
    assert {node: tuple(slot) for node, slot in found.items()} == {slot: ("m", kernel, optimizer)}


def test_functions_of_the_root_come_with_the_call_first() -> None:
    objects = Objects()
    for name in ("zeta", "__call__", "alpha"):
        objects.function(name, f"fn_{name}")
    objects.bare("alpha.trace_7", "fn_alpha")
    objects.bare("alone", "fn_alone")
    objects.bare("odd.trace_x", "fn_odd")
    objects.variable("v")
    functions = list(graph_of(objects).functions(submodules=False))
    assert [function.path for function in functions] == ["__call__", "alone", "alpha", "odd.trace_x", "zeta"]


def test_functions_of_submodules_come_on_demand_without_signatures() -> None:
    objects = Objects()
    layer = objects.user("layer")
    objects.function("__call__", "f", parent=layer)
    signatures = objects.user("signatures", identifier="signature_map")
    objects.bare("serving_default", "g", signatures)
    objects.function("call", "h", parent=objects.user(None))  # Hangs nowhere.
    graph = graph_of(objects)
    assert list(graph.functions(submodules=False)) == []
    assert [function.path for function in graph.functions(submodules=True)] == ["layer.__call__"]


def test_functions_have_concrete_ones() -> None:
    objects = Objects()
    function, bare, variable = objects.function("f", "a", "b"), objects.bare("g", "c"), objects.variable("v")
    objects.concrete("a")
    graph = graph_of(objects)
    assert [graph.concrete_names(node) for node in (function, bare, variable)] == [["a", "b"], ["c"], []]
    assert graph.concrete_function("b") is None
    assert graph.concrete_function("a") is not None


def test_savers_that_are_not_there_are_left_out() -> None:
    objects = Objects()
    saveable = objects.message.nodes[0].saveable_objects["x"]
    saveable.save_function, saveable.restore_function = 99, -1
    assert graph_of(objects).saver_functions() == ([], [])


def test_savers_are_found_by_their_nodes_from_the_first_to_the_last() -> None:
    objects = Objects()
    saveable = objects.message.nodes[0].saveable_objects["x"]
    saveable.save_function, saveable.restore_function = 0, len(objects.message.nodes) - 1
    assert graph_of(objects).saver_functions() == ([0], [len(objects.message.nodes) - 1])
