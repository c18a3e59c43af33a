"""What is kept for serving of unusual and of hostile models, on the file alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubcli.errors import HubcliError
from hubcli.formats import HalfType
from hubcli.formats.protos import parse
from hubcli.formats.wire import encode_field
from hubcli.formats.wire_message import WireMessage, map_entry
from hubcli.savedmodel.edit.checkpoint import SourceCheckpoint
from hubcli.savedmodel.edit.editable import (
    EditableMetaGraph,
    EditableModel,
    drop_list_items,
    list_length,
    strings_of,
)
from hubcli.savedmodel.edit.graph_pruning import GraphNodes, prune_functions
from hubcli.savedmodel.edit.half import half_weights
from hubcli.savedmodel.edit.object_pruning import owned_keys
from hubcli.savedmodel.edit.saver_functions import SaverPatternError, drop_restored
from hubcli.savedmodel.edit.serving import keep_for_serving
from tests.models import example_files, write_tree

EXAMPLE = example_files()["saved_model.pb"]
Objects = tuple[bytes, list[str]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    """Object graph and keys of the example's checkpoint."""
    source = SourceCheckpoint.of(write_tree(tmp_path_factory.mktemp("example") / "model", example_files()))
    assert source is not None
    objects = source.objects()
    assert objects is not None
    return objects, source.keys


def changed(change: Callable[[Any], None]) -> EditableModel:
    """The example with its only MetaGraph changed."""
    model = parse("SavedModel", EXAMPLE)
    change(model)
    return EditableModel.parse(model.SerializeToString())


def test_the_variables_of_several_meta_graphs_stay(checkpoint: Objects) -> None:
    def double(model: Any) -> None:
        model.meta_graphs.add().CopyFrom(model.meta_graphs[0])
        del model.meta_graphs[1].meta_info_def.tags[:]

    edit = keep_for_serving(changed(double), *checkpoint)
    assert (edit.dropped_keys, edit.checkpoint_objects) == (frozenset(), None)
    assert edit.notes == ("All variables were kept: the model has several MetaGraphs",) * 2


def test_a_key_of_two_objects_belongs_to_both() -> None:
    node = encode_field(1, encode_field(2, encode_field(3, "key")))
    assert owned_keys(WireMessage(node + node)) == {"key": {0, 1}}


def _no_objects(model: Any) -> None:
    model.meta_graphs[0].object_graph_def.Clear()
    model.meta_graphs[0].object_graph_def.SetInParent()


def _a_child_that_is_none(model: Any) -> None:
    model.meta_graphs[0].object_graph_def.nodes[0].children.add(node_id=1000, local_name="absent")


@pytest.mark.parametrize("change", [_no_objects, _a_child_that_is_none])
def test_objects_that_are_not_there_are_not_followed(
    change: Callable[[Any], None], checkpoint: Objects
) -> None:
    keep_for_serving(changed(change), *checkpoint)


def test_an_object_graph_in_two_pieces_is_read_and_written_as_one(checkpoint: Objects) -> None:
    meta_graph = parse("SavedModel", EXAMPLE).meta_graphs[0]
    first, second = type(meta_graph.object_graph_def)(), meta_graph.object_graph_def
    first.nodes.extend(second.nodes[:2])
    del second.nodes[:2]
    data = encode_field(7, first.SerializeToString()) + meta_graph.SerializeToString()
    models = EditableModel.parse(EXAMPLE), EditableModel.parse(encode_field(2, data))
    whole, split = (
        parse("SavedModel", keep_for_serving(model, *checkpoint).model.encode()) for model in models
    )
    assert len(list(models[1].meta_graphs[0].object_graphs())) == 2
    assert split.meta_graphs[0].object_graph_def == whole.meta_graphs[0].object_graph_def


def test_a_name_that_is_no_text_is_kept_as_it_is(checkpoint: Objects) -> None:
    objects, keys = checkpoint
    # A name of one letter, on the way to the variable, in both graphs.
    old, new = encode_field(2, b"v"), encode_field(2, b"\xff")
    assert old in EXAMPLE
    assert old in objects
    edit = keep_for_serving(EditableModel.parse(EXAMPLE.replace(old, new)), objects.replace(old, new), keys)
    assert new in edit.model.encode()


def test_outputs_of_thousands_of_digits_are_outputs_of_nothing() -> None:
    texts = encode_field(8, "key")
    shape = encode_field(2, encode_field(2, encode_field(1, 1)))
    value = map_entry("value", encode_field(8, encode_field(1, 7) + shape + texts))
    keys = encode_field(1, "keys") + encode_field(2, "Const") + encode_field(5, value)
    restore = encode_field(1, "r") + encode_field(2, "RestoreV2")
    restore += b"".join(encode_field(3, name) for name in ("prefix", "keys:output:0", "keys:output:0"))
    reader = encode_field(1, "x") + encode_field(2, "Identity") + encode_field(3, "r:tensors:" + "9" * 5000)
    function = encode_field(1, encode_field(1, "f"))
    function += b"".join(encode_field(3, node) for node in (keys, restore, reader))
    with pytest.raises(SaverPatternError, match="r gives more than its tensors"):
        drop_restored(WireMessage(function + encode_field(4, map_entry("y", b"r:tensors:0"))), {"key"})


def test_a_shape_of_a_million_large_sizes_is_read_at_once() -> None:
    size = encode_field(2, encode_field(1, (1 << 63) - 1))
    assert strings_of(WireMessage(encode_field(2, size * 100_000) + encode_field(8, "x"))) == [b"x"]


def test_of_a_list_of_shapes_those_at_the_places_are_dropped() -> None:
    shapes = [encode_field(7, encode_field(2, encode_field(1, size))) for size in (1, 2, 3)]
    listed = WireMessage(encode_field(1, b"".join(shapes)))
    assert list_length(listed) == 3
    drop_list_items(listed, {1})
    assert listed.encode() == encode_field(1, shapes[0] + shapes[2])
    assert list_length(listed) == 2


def _library(*functions: bytes, rest: bytes = b"") -> EditableMetaGraph:
    """A MetaGraph whose graph calls the first function."""
    call = encode_field(1, "call") + encode_field(2, "first")
    library = b"".join(encode_field(1, function) for function in functions) + rest
    graph = encode_field(1, call) + encode_field(2, library)
    return EditableModel.parse(encode_field(2, encode_field(2, graph))).meta_graphs[0]


def _function(name: str, op: str = "NoOp", node: bytes = b"", rest: bytes = b"") -> bytes:
    own = encode_field(1, "n") + encode_field(2, op) + node
    return encode_field(1, encode_field(1, name)) + encode_field(3, own) + rest


def _attribute(name: str, value: bytes) -> bytes:
    return encode_field(5, map_entry(name, value))


def _named(name: str, rest: bytes = b"") -> bytes:
    """An AttrValue with a function."""
    return encode_field(10, encode_field(1, name) + rest)


def _left(graph: EditableMetaGraph) -> list[str]:
    prune_functions(graph, ())
    return [part.text(1) for function in graph.functions() for part in function.messages(1)]


def test_an_initializer_stays_if_one_of_its_resources_is_needed() -> None:
    def node(name: str, op: str, *inputs: str) -> bytes:
        return encode_field(
            1, encode_field(1, name) + encode_field(2, op) + b"".join(encode_field(3, own) for own in inputs)
        )

    def signature(name: str, output: str) -> bytes:
        tensor = encode_field(2, map_entry("y", encode_field(1, f"{output}:0")))
        return encode_field(5, map_entry(name, tensor))

    graph = (
        node("variable", "VarHandleOp"),
        node("forest", "ForestResource"),
        node("load", "Fill", "variable", "forest"),
        node("other", "Fill", "variable"),
        node("spare", "VarHandleOp"),
        node("last", "Fill", "spare"),
        node("init", "NoOp", "^load", "^other", "^last"),
        node("out", "Infer", "forest"),
    )
    definitions = signature("s", "out") + signature("__saved_model_init_op", "init")
    data = encode_field(2, encode_field(2, b"".join(graph)) + definitions)
    meta_graph = EditableModel.parse(data).meta_graphs[0]
    assert GraphNodes(meta_graph).needed_to_serve() == {"variable", "forest", "load", "other", "out"}
    GraphNodes(meta_graph).prune(())
    # The other one fills the variable, which stays since the first reads it.
    assert [own.text(1) for own in meta_graph.nodes()] == [
        "variable", "forest", "load", "other", "init", "out",
    ]  # fmt: skip


def test_functions_named_in_attributes_of_functions_stay_at_any_depth() -> None:
    nested = _named(
        "b", encode_field(2, map_entry("f", _named("c", encode_field(2, map_entry("f", _named("d"))))))
    )
    listed = encode_field(1, encode_field(9, nested.removeprefix(nested[:2])))
    functions = [_function(name) for name in "bcde"]
    for value in (nested, listed):
        assert _left(_library(_function("first", "Op", _attribute("f", value)), *functions)) == [
            "first",
            *"bcd",
        ]


def test_a_gradient_stays_where_an_op_computes_it() -> None:
    gradient = encode_field(2, encode_field(1, "b") + encode_field(2, "b_gradient"))
    functions = [_function("b"), _function("b_gradient")]
    for op, left in (("SymbolicGradient", ["first", "b", "b_gradient"]), ("Op", ["first", "b"])):
        graph = _library(_function("first", op, _attribute("f", _named("b"))), *functions, rest=gradient)
        assert _left(graph) == left
        assert sum(library.has(2) for library in graph.libraries) == (op == "SymbolicGradient")


def test_other_forms_of_a_function_stay_but_those_for_training() -> None:
    interface = _attribute("api_implements", encode_field(2, "lstm"))
    training = _attribute("backward_function_name", encode_field(2, "backward"))
    functions = [
        _function("first", rest=interface),
        _function("gpu", rest=interface),
        _function("forward", rest=interface + training),
        _function("other", rest=_attribute("api_implements", encode_field(2, "gru"))),
    ]
    assert _left(_library(*functions)) == ["first", "gpu"]


def test_a_function_whose_signature_is_a_number_is_removed() -> None:
    number = encode_field(1, encode_field(1, 5))  # A FunctionDef in which field 1 is a varint.
    graph = _library(_function("first"), rest=number)
    prune_functions(graph, ["first"])
    assert [function.integer(1) for function in graph.functions()] == [0]


@given(st.integers(0, 1 << 20), st.integers(0, 255), st.integers(0, 1 << 20), st.integers(0, 255))
def test_damaged_models_and_checkpoints_give_our_errors(
    checkpoint: Objects, place: int, byte: int, other: int, another: int
) -> None:
    objects, keys = checkpoint
    damaged = bytearray(EXAMPLE), bytearray(objects)
    damaged[0][place % len(EXAMPLE)] = byte
    damaged[1][other % len(objects)] = another
    for data, there in ((bytes(damaged[0]), objects), (EXAMPLE, bytes(damaged[1]))):
        try:
            keep_for_serving(EditableModel.parse(data), there, keys).model.encode()
            half_weights(EditableModel.parse(data), there, keys, HalfType.FLOAT16).model.encode()
        except HubcliError:  # noqa: PERF203 - each damage has its error
            continue
