"""The object as a tree, and the files of a model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hubcli.errors import BrokenModelError
from hubcli.savedmodel.files import ModelFiles
from hubcli.savedmodel.tree import Branch, model_tree
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


# Files -------------------------------------------------------------------------------------------


def test_the_files_of_a_directory_are_known_by_path(tmp_path: Path) -> None:
    (tmp_path / "variables").mkdir()
    (tmp_path / "variables" / "variables.index").write_bytes(b"1")
    (tmp_path / "nowhere").symlink_to("gone")
    (tmp_path / "pipe").mkdir()
    files = ModelFiles.of_directory(tmp_path)
    assert files.sizes_bytes == {"variables/variables.index": 1}
    assert files.has("variables/variables.index")
    assert not files.has("nowhere")


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="gone"):
        ModelFiles.of_directory(tmp_path / "gone")


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert ModelFiles.of_directory(tmp_path).sizes_bytes == {}


def test_a_model_without_an_index_has_none(tmp_path: Path) -> None:
    assert ModelFiles.of_directory(tmp_path).index() is None


def test_a_huge_index_is_refused(tmp_path: Path) -> None:
    (tmp_path / "variables").mkdir()
    with (tmp_path / "variables" / "variables.index").open("wb") as file:
        file.truncate((1 << 28) + 1)
    with pytest.raises(BrokenModelError, match="larger than 256 MiB"):
        ModelFiles.of_directory(tmp_path).index()


def test_of_an_archive_that_was_not_read_to_its_end_some_things_are_unknown(tmp_path: Path) -> None:
    files = ModelFiles(tmp_path, {"saved_model.pb": 5, "assets/a": 1}, is_complete=False)
    assert files.asset("assets/a").is_present is True
    assert files.asset("assets/b").is_present is None
    assert files.sizes().total is None
    assert files.sizes().graph == 5
