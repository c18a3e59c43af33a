"""A loaded model, saved again: what is kept, what goes along, what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from hubcli.errors import TensorFlowError
from hubcli.savedmodel.compare.diff import compare
from hubcli.tf.compare import compare_models
from hubcli.tf.importing import import_tensorflow
from hubcli.tf.loading import ListAttributes, load_model, restore_lists
from hubcli.tf.resave import resave
from tests.conftest import ROOT
from tests.forkserver import run_python
from tests.tf.conftest import Zoo, read

pytestmark = pytest.mark.tensorflow

PRESERVED = [
    "reusable", "reusable_with_tuples", "plain_module", "submodules", "signature_only", "several_signatures",
    "control_flow", "custom_gradient", "many_options", "without_saver", "resaved", "resaved_from_tf1",
    "python_values", "unknown_shapes", "ragged", "sparse_signature", "every_dtype", "narrow_dtypes",
    "variables_of_unknown_shape", "static_vocabulary", "mutable_table", "odd_names", "containers",
    "keras3_export", "keras3_frozen", "tf2_text", "mirrored",
]  # fmt: skip
REFUSED = {
    "signature_defaults": "defaults of signature inputs",
    "tf1_hub": "its TF1 Hub format",
    "tf1_tag_sets": "all graphs but one of 3",
    "tf1_resources": "its TensorFlow 1 graph",
    "two_meta_graphs": "all graphs but one of 2",
    "unclaimed_tensors": "tensors that no object holds",
}


# Those that TensorFlow changes in ways of their own; the others repeat them.
QUICK = {
    "reusable", "reusable_with_tuples", "submodules", "several_signatures", "custom_gradient", "ragged",
    "static_vocabulary", "mutable_table", "keras3_frozen", "tf2_text",
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in PRESERVED]
)
def test_nothing_is_lost_of_what_can_be_saved_again(name: str, zoo: Zoo, tmp_path: Path) -> None:
    source, target = zoo(name), tmp_path / "out"
    info, obj = read(source), load_model(source)
    lists = ListAttributes.of(obj)
    restore_lists(obj, info)
    lists.put_back(obj)
    resave(obj, source, target, info)
    again = read(target)
    assert compare(info, again) == ()
    assert [meta_graph.tags for meta_graph in again.meta_graphs] == [
        meta_graph.tags for meta_graph in info.meta_graphs
    ]
    comparison = compare_models(obj, load_model(target), again, target)
    assert comparison.is_equal, comparison.difference
    assert comparison.variables == len(info.variables)


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_lost_is_refused_and_the_way_out_named(name: str, zoo: Zoo, tmp_path: Path) -> None:
    source = zoo(name)
    with pytest.raises(TensorFlowError, match=REFUSED[name]) as caught:
        resave(object(), source, tmp_path / "out", read(source))
    assert "--method rewrite" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_files_beside_the_model_go_along_where_they_still_hold(zoo: Zoo, tmp_path: Path) -> None:
    source = shutil.copytree(zoo("keras2_functional"), tmp_path / "source")
    (source / "README.md").write_text("hello")
    (source / "assets.extra").mkdir()
    (source / "assets.extra" / "labels.txt").write_text("cat")
    report = resave(load_model(source), source, tmp_path / "out", read(source))
    assert report.carried == ("README.md", "assets.extra/labels.txt")
    assert (tmp_path / "out" / "assets.extra" / "labels.txt").read_text() == "cat"
    assert [part.path for part in report.dropped] == ["fingerprint.pb", "keras_metadata.pb"]
    assert not (tmp_path / "out" / "keras_metadata.pb").exists()


def test_another_value_of_a_variable_is_found_to_the_bit(zoo: Zoo, tmp_path: Path) -> None:
    source, target = zoo("reusable"), tmp_path / "out"
    obj = load_model(source)
    resave(obj, source, target, read(source))
    obj.variables[1].assign(obj.variables[1] * (1 + 2**-23))
    found = compare_models(obj, load_model(target), read(target), target)
    assert found.difference == "the variable kernel holds other values"


def test_another_output_is_found_and_a_random_one_is_not_compared(tmp_path: Path) -> None:
    tf = import_tensorflow()

    def model(place: Path, factor: float) -> Path:
        root = tf.Module()
        spec = [tf.TensorSpec([None, 3], tf.float32)]
        root.__call__ = tf.function(lambda x: x * factor, input_signature=spec)
        noise = tf.function(lambda x: x + tf.random.uniform([]), input_signature=spec)
        tf.saved_model.save(root, str(place), signatures={"noise": noise})
        return place

    first, other = model(tmp_path / "one", 1.0), model(tmp_path / "other", 1.5)
    info = read(first)
    same = compare_models(load_model(first), load_model(first), info, first)
    assert [(name.call, name.reason) for name in same.skipped] == [
        ("signature noise", "its output is different each time")
    ]
    assert same.calls == ("__call__(float32[?, 3]) -> float32[?, 3]",)
    changed = compare_models(load_model(first), load_model(other), info, first)
    assert "__call__" in changed.difference
    assert "output 0 differs by up to" in changed.difference


def save_signature(function: Any, place: Path) -> Path:
    """A model of one signature that takes a text and a number."""
    tf = import_tensorflow()
    root = tf.Module()
    spec = [tf.TensorSpec([], tf.string, name="path"), tf.TensorSpec([], name="x")]
    tf.saved_model.save(root, str(place), signatures={"run": tf.function(function, input_signature=spec)})
    return place


def test_a_model_that_writes_files_is_not_called_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tf = import_tensorflow()

    def write(path: Any, x: Any) -> Any:
        tf.io.write_file(path, tf.strings.as_string(x))
        return x

    place = save_signature(write, tmp_path / "writes")
    monkeypatch.chdir(tmp_path)
    found = compare_models(load_model(place), load_model(place), read(place), place)
    assert found.calls == ()
    assert found.difference == ""
    assert "WriteFile writes files" in found.skipped[0].reason
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.slow
def test_a_call_that_never_ends_is_left_behind(tmp_path: Path) -> None:
    """In a process of its own: the call goes on for as long as that does."""
    tf = import_tensorflow()

    def spin(path: Any, x: Any) -> Any:
        return tf.while_loop(lambda i: i > -1.0, lambda i: (i * 0.5,), (x,))[0]

    place = save_signature(spin, tmp_path / "spins")
    program = (
        "import sys; from pathlib import Path; from hubcli.tf import compare; compare._TIMEOUT_S = 1\n"
        "from hubcli.tf.loading import load_model; from tests.tf.conftest import read\n"
        "place = Path(sys.argv[1]); one = load_model(place)\n"
        "print(compare.compare_models(one, load_model(place), read(place), place).skipped[0].reason)"
    )
    result = run_python(["-c", program, str(place)], cwd=ROOT, check=True, with_tensorflow=True)
    assert result.stdout == "it did not end within 1 s on generated inputs\n"


def test_text_inputs_are_words_that_the_tables_of_the_model_know(zoo: Zoo, tmp_path: Path) -> None:
    source, target = zoo("static_vocabulary"), tmp_path / "out"
    obj = load_model(source)
    resave(obj, source, target, read(source))
    assert compare_models(obj, load_model(target), read(target), target).calls


def test_a_model_that_tensorflow_cannot_load_is_told_so(zoo: Zoo) -> None:
    with pytest.raises(TensorFlowError, match="TensorFlow cannot load") as caught:
        load_model(zoo("without_checkpoint"))
    assert "hubcli verify" in caught.value.hint


def test_what_is_missing_is_named_where_the_graph_asks_for_it(zoo: Zoo, tmp_path: Path) -> None:
    source = shutil.copytree(zoo("static_vocabulary"), tmp_path / "source")
    for asset in (source / "assets").iterdir():
        asset.unlink()
    with pytest.raises(TensorFlowError, match=r"assets/vocab\S*; No such file"):
        load_model(source)
