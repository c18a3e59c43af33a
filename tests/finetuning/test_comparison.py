"""An export beside the trained object: a session finds what loading it by TensorFlow's Python finds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hubcli.errors import HubcliError
from hubcli.finetuning.comparison import ExportComparison
from hubcli.formats.bundles import write_index
from hubcli.formats.protos import parse
from hubcli.formats.tensor_bundle import BundleIndex
from hubcli.savedmodel.model import ModelFiles
from hubcli.savedmodel.reader import read_model
from hubcli.tf import compare
from hubcli.tf.compare import Comparison
from hubcli.tf.importing import import_tensorflow
from hubcli.tf.live_model import LiveModel
from tests.cases import each_of
from tests.finetuning.conftest import model, needs_tensorflow
from tests.savedmodel.conftest import Zoo, zoo

__all__ = ["model", "needs_tensorflow", "zoo"]

pytestmark = [pytest.mark.tensorflow, pytest.mark.usefixtures("needs_tensorflow")]

Plant = Callable[[Path], None]


def exported(source: Path, out: Path) -> LiveModel:
    """The model, loaded and saved again to `out`."""
    live = LiveModel.load(source, read_model(ModelFiles.of_directory(source), hash_assets=True), "the model")
    live.save(out)
    return live


def compared(live: LiveModel, saved: Path) -> tuple[object, str]:
    """The comparison, or the error, and why the export was loaded by TensorFlow's Python."""
    with ExportComparison(live, saved) as comparison:
        try:
            found: object = comparison.run(read_model(ModelFiles.of_directory(saved)))
        except HubcliError as error:
            found = error.message
        return found, comparison.reason_to_load


def loaded(live: LiveModel, saved: Path) -> object:
    """What loading the export finds."""
    try:
        return live.compare(saved)
    except HubcliError as error:
        return error.message


def test_an_export_that_is_the_object_is_not_loaded_again(model: Path, tmp_path: Path) -> None:
    live = exported(model, tmp_path / "out")
    found, reason = compared(live, tmp_path / "out")
    assert reason == ""
    assert found == loaded(live, tmp_path / "out")
    assert found.calls == (  # type: ignore[attr-defined]
        "signature serving_default",
        "__call__(float32[?, 1]) -> float32[?, 1]",
    )


def test_freed_memory_is_returned_before_each_call(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, returns = exported(model, tmp_path / "out"), list[None]()
    monkeypatch.setattr(compare, "return_freed_memory", lambda: returns.append(None))

    compared(live, tmp_path / "out")

    assert len(returns) == 4  # Two calls, each of the object and of the export.


@pytest.mark.slow
@each_of(
    "name, is_loaded",
    [
        ("reusable", False),
        ("several_signatures", False),
        ("control_flow", False),
        ("python_values", False),
        ("every_dtype", False),
        ("keras2_functional", False),
        ("keras3_export", False),
        # What saving again writes in another way, or has parts that a session gives in another way.
        ("custom_gradient", True),
        ("ragged", True),
        ("sparse_signature", True),
        ("static_vocabulary", True),
        ("mutable_table", True),
    ],
)
def test_both_ways_find_the_same(name: str, is_loaded: bool, zoo: Zoo, tmp_path: Path) -> None:
    live = exported(zoo(name), tmp_path / "out")
    found, reason = compared(live, tmp_path / "out")
    assert bool(reason) == is_loaded, reason
    assert found == loaded(exported(zoo(name), tmp_path / "again"), tmp_path / "out")


def in_graph(change: Callable[[Any], object]) -> Plant:
    """A change of the MetaGraphDef of the built-in example, as TensorFlow saves it again."""

    def apply(saved: Path) -> None:
        path = saved / "saved_model.pb"
        message = parse("SavedModel", path.read_bytes())
        change(message.meta_graphs[0])
        path.write_bytes(message.SerializeToString())

    return apply


def node(graph: Any, kind: str, name: str) -> Any:
    """The object of that kind that the root has under the name."""
    nodes = graph.object_graph_def.nodes
    found = nodes[next(child.node_id for child in nodes[0].children if child.local_name == name)]
    assert found.WhichOneof("kind") == kind
    return found


def body(graph: Any) -> Any:
    """The function that `__call__` has been traced to."""
    (name,) = node(graph, "function", "__call__").function.concrete_functions
    return next(each for each in graph.graph_def.library.function if each.signature.name == name)


def trace(graph: Any, change: Callable[[Any], object]) -> None:
    (name,) = node(graph, "function", "__call__").function.concrete_functions
    described = graph.object_graph_def.concrete_functions
    message = parse("SavedConcreteFunction", described[name])
    change(message)
    described[name] = message.SerializeToString()


def rename_input(graph: Any) -> None:
    """In what Python knows of the signature, whose graph stays as it is."""
    signatures = graph.object_graph_def.nodes[call(graph, "signatures").node_id]
    held = graph.object_graph_def.nodes[signatures.children[0].node_id]
    described = graph.object_graph_def.concrete_functions
    name = held.bare_concrete_function.concrete_function_name
    message = parse("SavedConcreteFunction", described[name])
    fields = message.canonicalized_input_signature.tuple_value.values[1].dict_value.fields
    (key,) = fields
    fields["other"].CopyFrom(fields[key])
    del fields[key]
    described[name] = message.SerializeToString()


def add_uncalled(graph: Any) -> None:
    """A function that nothing calls, with an op that nobody knows."""
    added = graph.graph_def.library.function.add()
    added.CopyFrom(body(graph))
    added.signature.name = "uncalled"
    added.node_def[1].op = "NoSuchOp"


def clear_argument_lists(graph: Any) -> None:
    """Those of the traces, which are objects too."""
    for each in graph.object_graph_def.nodes:
        if each.WhichOneof("kind") == "bare_concrete_function":
            each.bare_concrete_function.function_spec = b"\x0a\x00"


def call(graph: Any, name: str) -> Any:
    """The root's part of that name."""
    return next(child for child in graph.object_graph_def.nodes[0].children if child.local_name == name)


def drop_variable(saved: Path) -> None:
    path = saved / "variables" / "variables.index"
    index = BundleIndex.read(path.read_bytes())
    write_index(path, 1, [entry for entry in index.entries if not entry.name.startswith("v/")])


def cut_shard(saved: Path) -> None:
    path = saved / "variables" / "variables.data-00000-of-00001"
    path.write_bytes(path.read_bytes()[:2])


def other_value(saved: Path) -> None:
    path = saved / "variables" / "variables.data-00000-of-00001"
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\0\0\0\x40", b"\0\0\x40\x40", 1))


@pytest.mark.slow
@each_of(
    "plant, is_found",
    [
        (drop_variable, True),
        (cut_shard, True),
        (other_value, True),
        (in_graph(lambda graph: setattr(node(graph, "variable", "v").variable, "dtype", 3)), True),
        (in_graph(lambda graph: setattr(call(graph, "v"), "local_name", "w")), True),
        (in_graph(lambda graph: setattr(call(graph, "__call__"), "local_name", "call")), True),
        (in_graph(lambda graph: setattr(call(graph, "signatures"), "local_name", "other")), True),
        (in_graph(lambda graph: node(graph, "function", "__call__").function.Clear()), True),
        (in_graph(lambda graph: graph.object_graph_def.concrete_functions.clear()), True),
        (in_graph(lambda graph: trace(graph, lambda each: each.bound_inputs.pop())), True),
        (in_graph(lambda graph: setattr(body(graph).node_def[1], "op", "AddV2")), True),
        (in_graph(lambda graph: setattr(body(graph).node_def[1], "op", "NoSuchOp")), True),
        (in_graph(lambda graph: setattr(body(graph).signature, "name", "gone")), True),
        (in_graph(rename_input), True),
        (in_graph(add_uncalled), True),
        (in_graph(clear_argument_lists), True),
        # TensorFlow loads these as they are: what holds the export against its source finds them before.
        (in_graph(lambda graph: setattr(node(graph, "variable", "v").variable, "trainable", False)), False),
        (in_graph(lambda graph: setattr(node(graph, "variable", "v"), "registered_name", "A>B")), False),
        (in_graph(lambda graph: setattr(call(graph, "regularization_losses"), "local_name", "x")), False),
    ],
)
def test_what_loading_an_export_finds_is_found(
    plant: Plant, is_found: bool, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    live = exported(model, out)
    shutil.copytree(out, tmp_path / "before")
    plant(out)
    expected = loaded(live, out)
    assert (isinstance(expected, str) or not expected.is_equal) == is_found  # type: ignore[attr-defined]
    found, reason = compared(live, out)
    assert reason
    assert found == expected


@pytest.mark.slow
def test_a_missing_asset_is_found(zoo: Zoo, tmp_path: Path) -> None:
    live = exported(zoo("static_vocabulary"), tmp_path / "out")
    for path in (tmp_path / "out" / "assets").iterdir():
        path.unlink()
    found, _ = compared(live, tmp_path / "out")
    assert isinstance(found, str)
    assert found == loaded(live, tmp_path / "out")
    assert "No such file" in found


@pytest.mark.slow
def test_a_call_that_changes_a_variable_leaves_the_export_as_it_was_saved(tmp_path: Path) -> None:
    """One that is random, so that the export is loaded after the object was called."""
    tf = import_tensorflow()
    root = tf.Module()
    root.calls = tf.Variable(0.0, trainable=False)

    def count(x: Any) -> Any:
        root.calls.assign_add(1.0)
        return {"random": x + tf.random.uniform([]), "nothing": None}

    root.__call__ = tf.function(count, input_signature=[tf.TensorSpec([None, 3])])
    tf.saved_model.save(root, str(tmp_path / "model"))
    found, reason = compared(exported(tmp_path / "model", tmp_path / "out"), tmp_path / "out")
    assert reason == "a call fails or returns other values"
    assert isinstance(found, Comparison)
    assert found.is_equal, found.difference
    assert [each.reason for each in found.skipped] == ["its output is different each time"]
