"""Edits of the example model and of the corpus, on the file alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hubcli.errors import HubcliError, UsageError
from hubcli.formats import HalfType
from hubcli.formats.protos import parse
from hubcli.formats.wire_message import WireMessage
from hubcli.savedmodel.edit.checkpoint import SourceCheckpoint
from hubcli.savedmodel.edit.editable import EditableModel, Loss
from hubcli.savedmodel.edit.half import half_weights
from hubcli.savedmodel.edit.serving import ServingEdit, clear_devices, keep_for_serving
from hubcli.savedmodel.edit.signatures import (
    add_defaults,
    chosen_signatures,
    keep_signatures,
    rename_signatures,
)
from tests.cases import each_of
from tests.corpus import KINDS, corpus_file, corpus_model
from tests.models import example_files, write_tree

EXAMPLE = example_files()["saved_model.pb"]
SIGNATURES = ["serving_default", "timestwo"]


def two_signatures() -> EditableModel:
    return EditableModel.parse(corpus_file("tfjs_multiple_signatures", "saved_model.pb"))


def names_in_objects(data: bytes) -> set[str]:
    """The names below the root's child `signatures`, as the loader of TensorFlow 2 finds them."""
    graph = parse("SavedModel", data).meta_graphs[0].object_graph_def
    holder = next(child.node_id for child in graph.nodes[0].children if child.local_name == "signatures")
    return {child.local_name for child in graph.nodes[holder].children}


def names_in_definitions(data: bytes) -> set[str]:
    definitions = parse("SavedModel", data).meta_graphs[0].signature_def
    return {name for name in definitions if not name.startswith("__saved_model")}


def test_a_model_that_is_not_edited_keeps_its_bytes() -> None:
    model = EditableModel.parse(EXAMPLE)
    assert model.encode() == EXAMPLE
    assert not model.is_edited


def test_a_signature_is_renamed_in_both_places() -> None:
    model = EditableModel.parse(EXAMPLE)
    data = rename_signatures(model, {"serving_default": "predict"}).model.encode()
    assert names_in_objects(data) == names_in_definitions(data) == {"predict"}
    assert "__saved_model_init_op" in parse("SavedModel", data).meta_graphs[0].signature_def
    assert model.encode() == EXAMPLE  # What was given stays as it is.


def test_a_signature_is_renamed_where_the_root_holds_it_and_numbers_of_no_object_are_left() -> None:
    saved = parse("SavedModel", EXAMPLE)
    root = saved.meta_graphs[0].object_graph_def.nodes[0]
    next(child for child in root.children if child.local_name == "signatures").node_id = 0
    root.children.add(node_id=1, local_name="serving_default")
    for number in (-1, 1000):
        root.children.add(node_id=number, local_name="signatures")
    model = EditableModel.parse(saved.SerializeToString())
    data = rename_signatures(model, {"serving_default": "predict"}).model.encode()
    names = names_in_objects(data)
    assert "predict" in names
    assert "serving_default" not in names


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300))
def test_a_renaming_and_its_inverse_give_the_bytes_back(name: str) -> None:
    model = EditableModel.parse(EXAMPLE)
    renamed = rename_signatures(model, {"serving_default": name}).model.encode()
    again = rename_signatures(EditableModel.parse(renamed), {name: "serving_default"}).model
    assert again.encode() == EXAMPLE


@each_of("name", KINDS)
def test_renaming_all_signatures_and_back_gives_the_bytes_of_a_real_model_back(name: str) -> None:
    data = corpus_file(name, "saved_model.pb")
    names = EditableModel.parse(data).signature_names
    renamed = rename_signatures(EditableModel.parse(data), {own: f"new {own}" for own in names}).model
    assert set(renamed.signature_names) == {f"new {own}" for own in names}
    assert rename_signatures(renamed, {f"new {own}": own for own in names}).model.encode() == data


def test_two_signatures_change_places() -> None:
    first, second = SIGNATURES
    model = rename_signatures(two_signatures(), {first: second, second: first}).model
    assert set(model.signature_names) == set(SIGNATURES)
    assert model.encode() != two_signatures().encode()


@each_of(
    "names, words",
    [
        ({"serving_default": "timestwo"}, "Two signatures would have the name 'timestwo'"),
        ({"serving_defualt": "x"}, "no signature 'serving_defualt'"),
        ({"serving_default": ""}, "cannot have the name ''"),
        ({"serving_default": "__saved_model_init_op"}, "cannot have the name '__saved_model_init_op'"),
    ],
)
def test_a_renaming_that_cannot_be_is_refused(names: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        rename_signatures(two_signatures(), names)


def test_a_signature_is_dropped_in_both_places() -> None:
    edited = keep_signatures(two_signatures(), ["timestwo"])
    data = edited.model.encode()
    assert names_in_objects(data) == names_in_definitions(data) == {"timestwo"}
    assert edited.losses == (Loss("signatures", "signature", 1, ("serving_default",)),)


def test_an_unknown_signature_is_refused_with_those_that_are_there() -> None:
    with pytest.raises(UsageError, match="no signature 'timestow'. Did you mean 'timestwo'") as caught:
        chosen_signatures(two_signatures(), ["timestow"], [])
    assert caught.value.hint == "Its signatures: timestwo, serving_default"


def test_a_model_is_not_left_without_signatures_unless_that_is_allowed() -> None:
    with pytest.raises(UsageError, match="No signature would remain"):
        chosen_signatures(two_signatures(), [], SIGNATURES)
    assert chosen_signatures(two_signatures(), [], SIGNATURES, allow_none=True) == []


def test_a_default_is_added_or_takes_the_place_of_another() -> None:
    model = EditableModel.parse(EXAMPLE)
    for value in (b"\x08\x01", b"\x08\x03"):
        model = add_defaults(model, {("serving_default", "x"): value}).model
    definition = parse("SavedModel", model.encode()).meta_graphs[0].signature_def["serving_default"]
    assert {name: value.dtype for name, value in definition.defaults.items()} == {"x": 3}


def test_a_default_is_added_where_the_input_is() -> None:
    """Another MetaGraph may have a signature of the same name with other inputs."""
    model = parse("SavedModel", EXAMPLE)
    model.meta_graphs.add().CopyFrom(model.meta_graphs[0])
    model.meta_graphs[1].signature_def["serving_default"].inputs.clear()
    edited = add_defaults(
        EditableModel.parse(model.SerializeToString()), {("serving_default", "x"): b"\x08\x01"}
    )
    graphs = parse("SavedModel", edited.model.encode()).meta_graphs
    assert [list(graph.signature_def["serving_default"].defaults) for graph in graphs] == [["x"], []]


@each_of("name", KINDS)
def test_devices_are_cleared_and_nothing_else(name: str) -> None:
    data = corpus_file(name, "saved_model.pb")
    edited = clear_devices(EditableModel.parse(data))
    cleared = edited.model.encode()
    assert clear_devices(EditableModel.parse(cleared)).losses == ()
    if not edited.losses:
        assert cleared == data
        return
    before, after = parse("SavedModel", data), parse("SavedModel", cleared)
    for old, new in zip(before.meta_graphs, after.meta_graphs, strict=True):
        for variable in (node.variable for node in old.object_graph_def.nodes if node.HasField("variable")):
            assert variable.name
        assert len(old.graph_def.node) == len(new.graph_def.node)
        assert [node.attr for node in old.graph_def.node] == [node.attr for node in new.graph_def.node]


def served(name: str) -> tuple[bytes, ServingEdit]:
    """A model of the corpus for serving alone."""
    model, data = corpus_model(name), corpus_file(name, "saved_model.pb")
    checkpoint = SourceCheckpoint.of(model)
    objects = None if checkpoint is None else checkpoint.objects()
    keys = () if checkpoint is None else checkpoint.keys
    return data, keep_for_serving(EditableModel.parse(data), objects, keys)


def test_a_keras_model_for_serving_has_no_traces_slots_and_optimizer() -> None:
    data, edit = served("tfx_keras_serving")
    assert {loss.kind: loss.count for loss in edit.losses}["functions"] == 30
    assert all("optimizer" in key.lower() or "/metrics/" in key for key in edit.dropped_keys)
    assert len(edit.dropped_keys) == 21
    graph = parse("SavedModel", edit.model.encode()).meta_graphs[0]
    assert len(graph.graph_def.library.function) < 10
    assert len(edit.model.encode()) < len(data) / 3
    names = {node.name for node in graph.graph_def.node}
    for node in graph.graph_def.node:
        assert {source.removeprefix("^").partition(":")[0] for source in node.input} <= names


@each_of("name", KINDS)
def test_pruning_twice_is_pruning_once(name: str) -> None:
    _, edit = served(name)
    if edit.checkpoint_objects is None:
        again = keep_for_serving(edit.model, None, ())
    else:
        checkpoint = SourceCheckpoint.of(corpus_model(name))
        assert checkpoint is not None
        keys = [key for key in checkpoint.keys if key not in edit.dropped_keys]
        again = keep_for_serving(edit.model, edit.checkpoint_objects, keys)
        assert again.checkpoint_objects == edit.checkpoint_objects
    assert again.model.encode() == edit.model.encode()
    assert again.losses == ()


def test_a_model_without_signatures_is_not_pruned() -> None:
    bare = keep_signatures(EditableModel.parse(EXAMPLE), []).model
    with pytest.raises(UsageError, match="the model has none"):
        keep_for_serving(bare, None, ())


def test_half_weights_change_types_and_add_casts(tmp_path: Path) -> None:
    checkpoint = SourceCheckpoint.of(write_tree(tmp_path / "model", example_files()))
    assert checkpoint is not None
    keys = checkpoint.float_keys()
    halved = half_weights(EditableModel.parse(EXAMPLE), checkpoint.objects(), keys, HalfType.FLOAT16)
    assert halved.keys == {"v/.ATTRIBUTES/VARIABLE_VALUE"}
    graph = parse("SavedModel", halved.model.encode()).meta_graphs[0]
    variables = [node.variable for node in graph.object_graph_def.nodes if node.HasField("variable")]
    assert {variable.dtype for variable in variables} == {9, 19}
    count = 0
    for body in graph.graph_def.library.function:
        casts = {node.name: list(node.input) for node in body.node_def if node.op == "Cast"}
        for node in body.node_def:
            if node.op == "ReadVariableOp" and node.name.endswith("/half"):
                assert casts[node.name.removesuffix("/half")] == [f"{node.name}:value:0"]
                count += 1
    assert count > 1


def damaged(data: bytes, place: int, byte: int) -> bytes:
    place %= len(data)
    return data[:place] + bytes([byte]) + data[place + 1 :]


@given(st.integers(0, 1 << 20), st.integers(0, 255), st.integers(0, 1 << 20))
@example(13120, 0, 0)  # A checkpoint without objects, where nothing needs one.
def test_damaged_models_give_our_errors(place: int, byte: int, cut: int) -> None:
    for data in (damaged(EXAMPLE, place, byte), EXAMPLE[: cut % len(EXAMPLE)]):
        try:
            model = EditableModel.parse(data)
            names = chosen_signatures(model, [], [], allow_none=True)
            model = rename_signatures(model, {name: f"{name}_" for name in names}).model
            model = clear_devices(model).model
            objects = WireMessage(b"").encode()
            keep_for_serving(model, objects, ("v/.ATTRIBUTES/VARIABLE_VALUE",))
            half_weights(model, objects, frozenset(), HalfType.FLOAT16)
        except HubcliError:  # noqa: PERF203 - each damage has its error
            continue
