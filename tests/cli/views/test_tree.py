"""The object as a tree, and the files of a model."""

from __future__ import annotations

from pathlib import Path

from hubcli.cli.views.tree import Branch, model_tree
from tests.savedmodel.protos import Objects, Spec, meta_graph, read


def tree_of(folder: Path, objects: Objects, *, in_full: bool = False) -> Branch:
    return model_tree(read(folder, meta_graph(None, objects), submodules=in_full), in_full=in_full)


def names(branch: Branch) -> dict[str, object]:
    """The names below, nested."""
    return {name: names(child) for name, child in branch.children.items()}


def test_parameters_are_summed_up_on_every_branch(tmp_path: Path) -> None:
    objects = Objects()
    layer = objects.user("layer")
    objects.variable("kernel", layer, shape=(2, 3))
    objects.variable("bias", layer, shape=(3,))
    root = tree_of(tmp_path, objects)
    assert names(root) == {"layer": {"bias": {}, "kernel": {}}}
    assert (root.parameters, root.children["layer"].parameters) == (9, 9)
    assert root.children["layer"].children["kernel"].variable is not None


def test_what_the_list_holds_is_shown_alone_unless_all_is_asked_for(tmp_path: Path) -> None:
    objects = Objects()
    kernel = objects.variable("kernel")
    objects.variable("other")
    objects.list_of("variables", [kernel])
    assert set(tree_of(tmp_path / "a", objects).children) == {"kernel"}
    assert set(tree_of(tmp_path / "b", objects, in_full=True).children) == {"kernel", "other"}


def test_functions_have_branches_too(tmp_path: Path) -> None:
    objects = Objects()
    objects.traced("serve", Spec())
    layer = objects.user("layer")
    objects.function("__call__", objects.concrete("c", Spec()), parent=layer)
    assert names(tree_of(tmp_path / "a", objects)) == {"serve": {}}
    assert names(tree_of(tmp_path / "b", objects, in_full=True)) == {"serve": {}, "layer": {"__call__": {}}}


def test_what_names_have_in_common_labels_a_branch(tmp_path: Path) -> None:
    objects = Objects()
    layer = objects.user("layer")
    objects.variable("a", layer, full_name="dense/kernel")
    objects.variable("b", layer, full_name="dense/bias")
    root = tree_of(tmp_path, objects)
    assert root.children["layer"].label == "dense"
    assert Branch("empty").label == ""


def test_a_model_without_anything_is_a_root(tmp_path: Path) -> None:
    root = tree_of(tmp_path, Objects())
    assert (root.name, root.parameters, root.children) == ("obj", 0, {})
