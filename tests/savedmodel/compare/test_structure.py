"""Whether two models describe the same objects and functions: what may differ, and what may not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hubcli.formats.protos import parse
from hubcli.savedmodel.compare.structure import structural_difference
from hubcli.savedmodel.graph import read_outline
from tests import models
from tests.cases import each_of
from tests.formats.tables import delimited

Change = Callable[[Any], None]  # Of a MetaGraphDef.


def changed(folder: Path, change: Change) -> Path:
    """The built-in example, changed."""
    files = models.example_files()
    message = parse("SavedModel", files["saved_model.pb"])
    change(message.meta_graphs[0])
    return models.write_tree(folder, files | {"saved_model.pb": message.SerializeToString()})


def difference(tmp_path: Path, change: Change, before: Change = lambda graph: None) -> str:
    source, result = changed(tmp_path / "source", before), changed(tmp_path / "result", change)
    with read_outline(source) as (left,), read_outline(result) as (right,):
        return structural_difference(left, right)


def node(graph: Any, number: int) -> Any:
    return graph.object_graph_def.nodes[number]


def body(graph: Any, part: str) -> Any:
    return next(each for each in graph.graph_def.library.function if part in each.signature.name)


def operation(graph: Any, part: str = "_call_10") -> Any:
    """The second node of that function."""
    return body(graph, part).node_def[1]


def rename_functions(graph: Any) -> None:
    """As saving again does: all functions, wherever they are named."""
    names = [function.signature.name for function in graph.graph_def.library.function]
    for function in graph.graph_def.library.function:
        function.signature.name += "_again"
    objects = graph.object_graph_def
    for each in objects.nodes:
        if each.WhichOneof("kind") == "function":
            each.function.concrete_functions[:] = [
                f"{name}_again" for name in each.function.concrete_functions
            ]
        elif each.WhichOneof("kind") == "bare_concrete_function":
            each.bare_concrete_function.concrete_function_name += "_again"
    for name in names:
        if name in objects.concrete_functions:
            objects.concrete_functions[f"{name}_again"] = objects.concrete_functions.pop(name)


def change_trace(part: str, change: Change) -> Change:
    def apply(graph: Any) -> None:
        functions = graph.object_graph_def.concrete_functions
        name = next(name for name in functions if part in name)
        trace = parse("SavedConcreteFunction", functions[name])
        change(trace)
        functions[name] = trace.SerializeToString()

    return apply


def test_names_of_functions_and_what_tensorflow_writes_anew_may_differ(
    tmp_path: Path,
) -> None:
    def save_again(graph: Any) -> None:
        rename_functions(graph)
        node(graph, 0).children.add(local_name="_self_saveable_object_factories", node_id=4)
        node(graph, 6).children[0].local_name = "trace_1"
        node(graph, 7).children[0].local_name = "other_signature"

    assert difference(tmp_path, save_again) == ""


def test_a_keras_object_may_become_a_plain_one_but_no_other(tmp_path: Path) -> None:
    def be(identifier: str) -> Change:
        def apply(graph: Any) -> None:
            node(graph, 0).user_object.identifier = identifier

        return apply

    assert difference(tmp_path / "a", be("_generic_user_object"), be("_tf_keras_layer")) == ""
    found = difference(tmp_path / "b", be("_tf_keras_layer"), be("_generic_user_object"))
    assert found == "the user_object the root differs"


@each_of(
    "change, expected",
    [
        (lambda graph: setattr(node(graph, 1).variable, "trainable", False), "the variable v differs"),
        (lambda graph: setattr(node(graph, 1).variable, "dtype", 3), "the variable v differs"),
        (lambda graph: setattr(node(graph, 1).variable, "name", "w"), "the variable v differs"),
        (
            lambda graph: setattr(node(graph, 1), "registered_name", "My>Class"),
            "v is of the registered",
        ),
        (lambda graph: node(graph, 1).asset.SetInParent(), "v is of the kind asset, not variable"),
        (lambda graph: node(graph, 0).children.pop(1), "the root has other parts"),
        (lambda graph: setattr(node(graph, 0).children[5], "local_name", "call"), "the root has other parts"),
        (
            lambda graph: setattr(node(graph, 3).children[0], "node_id", 5),
            "trainable_variables.0 is not the same",
        ),
        (
            lambda graph: node(graph, 6).function.concrete_functions.pop(),
            "__call__ has 0 traces",
        ),
        (lambda graph: node(graph, 1).saveable_objects["table"].SetInParent(), "v is saved in another way"),
        (change_trace("call_10", lambda trace: trace.bound_inputs.pop()), "__call__ captures something else"),
        (
            change_trace("call_10", lambda trace: trace.bound_inputs.__setitem__(0, 5)),
            "capture 0 of __call__ is not the same object",
        ),
        (
            change_trace("call_10", lambda trace: trace.bound_inputs.__setitem__(0, 99)),
            "__call__ captures an object that is not there",
        ),
        (
            change_trace("call_10", lambda trace: trace.ClearField("canonicalized_input_signature")),
            "__call__ takes or gives something else",
        ),
        (lambda graph: graph.object_graph_def.concrete_functions.clear(), "a trace that is not described"),
        (lambda graph: setattr(body(graph, "_call_10").signature, "name", "x"), "is not in the library"),
        (
            lambda graph: setattr(operation(graph), "op", "AddV2"),
            "of __call__ has another op: AddV2",
        ),
        (
            lambda graph: operation(graph).input.reverse(),
            "mul of __call__ has other inputs",
        ),
        (
            lambda graph: operation(graph).attr.clear(),
            "has other attributes",
        ),
        (
            lambda graph: operation(graph, "_l2_").attr.update({"value": b"\x30\x01"}),
            "value of the node pow/y",
        ),
        (lambda graph: body(graph, "_call_10").node_def.pop(), "__call__ has other nodes: NoOp"),
        (lambda graph: body(graph, "_call_10").ret.update({"identity": "mul:z:0"}), "__call__ gives other"),
        (lambda graph: graph.ClearField("object_graph_def"), "a graph without objects"),
    ],
)
def test_anything_else_is_found(change: Change, expected: str, tmp_path: Path) -> None:
    assert expected in difference(tmp_path, change)


def test_what_the_attributes_of_a_function_have_in_their_first_piece_is_compared(tmp_path: Path) -> None:
    def naming(*names: bytes) -> Change:
        pieces = [delimited(2, delimited(10, delimited(1, name))) for name in names]
        entry = delimited(1, b"g") + b"".join(pieces) + delimited(2, b"")
        encoded = delimited(10, delimited(2, entry))
        return lambda graph: operation(graph).attr.update({"f": encoded})

    assert "f of the node mul" in difference(tmp_path, naming(b"evil"), naming())
