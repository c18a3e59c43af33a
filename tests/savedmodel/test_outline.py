"""saved_model.pb taken apart, and the sentences for what is something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubcli.errors import BrokenModelError, UsageError
from hubcli.savedmodel.graph import read_outline
from hubcli.savedmodel.model import ModelFiles
from hubcli.savedmodel.reader import read_model
from tests.cases import each_of
from tests.formats.tables import delimited
from tests.savedmodel.protos import Objects, graph, meta_graph, node, read, write_model

SENTENCES = {
    "git-lfs": (
        "saved_model.pb",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "git-LFS pointer",
    ),
    "html": ("saved_model.pb", b"<!DOCTYPE html><html></html>", "is a web page"),
    "html-with-a-mark": ("saved_model.pb", b"\xef\xbb\xbf\n <html>", "is a web page"),
    "empty": ("saved_model.pb", b"", "is empty"),
    "no-meta-graph": ("saved_model.pb", b"\x08\x01", "has no MetaGraph"),
    "noise": ("saved_model.pb", bytes(range(1, 200)), "saved_model.pb cannot be read as a SavedModel"),
    "label-map": ("saved_model.pbtxt", b"item {\n  id: 1\n  name: 'cat'\n}\n", "is a label map"),
    "other-text": ("saved_model.pbtxt", b"node { name: 'a' }", "has no meta_graphs"),
    "cut-text": ("saved_model.pbtxt", b"meta_graphs { graph_def {", "unbalanced braces"),
    "chunks": ("saved_model.cpb", b"whatever", "in chunks"),
    "nothing": ("readme.txt", b"", "neither saved_model.pb nor saved_model.pbtxt"),
}


@each_of("which", SENTENCES)
def test_what_is_no_model_gets_the_right_sentence(tmp_path: Path, which: str) -> None:
    name, content, sentence = SENTENCES[which]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BrokenModelError) as caught:
        read_model(ModelFiles.of_directory(tmp_path))
    assert sentence in caught.value.message
    if which in ("git-lfs", "chunks", "nothing"):
        assert caught.value.hint


def test_a_model_in_text_is_read_as_the_same_in_binary(tmp_path: Path) -> None:
    from google.protobuf import text_format

    objects = Objects()
    objects.traced("__call__")
    objects.variable("v")
    encoded = meta_graph(graph(node("a", "Const")), objects)
    binary = read(tmp_path / "binary", encoded)
    text = text_format.MessageToString(encoded)
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "saved_model.pbtxt").write_text(f"meta_graphs {{ {text} }}")
    read_back = read_model(ModelFiles.of_directory(folder))
    assert read_back.functions == binary.functions
    assert read_back.meta_graphs == binary.meta_graphs
    assert read_back.variables == binary.variables


def test_an_object_graph_in_two_pieces_is_joined(tmp_path: Path) -> None:
    objects = Objects()
    objects.variable("v")
    whole = objects.message.SerializeToString()
    first = Objects().message
    first.nodes[0].CopyFrom(objects.message.nodes[0])
    second = objects.message.__class__()
    second.nodes.add().CopyFrom(objects.message.nodes[1])
    pieces = [first.SerializeToString(), second.SerializeToString()]
    assert sum(map(len, pieces)) == len(whole)
    encoded = delimited(2, b"") + b"".join(delimited(7, piece) for piece in pieces)
    assert [variable.path for variable in read(tmp_path, encoded).variables] == ["v"]


def test_an_object_graph_without_a_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenModelError, match="no root"):
        read(tmp_path, delimited(2, b"") + delimited(7, b""))


def test_a_hundred_meta_graphs_and_no_more(tmp_path: Path) -> None:
    assert len(read(tmp_path, *[b""] * 100).meta_graphs) == 100
    with pytest.raises(BrokenModelError, match="101 MetaGraphs"):
        read(tmp_path, *[b""] * 101)


def test_tags_choose_a_meta_graph(tmp_path: Path) -> None:
    graphs = [meta_graph(tags=tags) for tags in (("serve",), ("gpu", "serve"), ())]
    for tags in ({"serve"}, {"serve", "gpu"}, set[str]()):
        info = read(tmp_path, *graphs, tag_set=frozenset(tags))
        assert [set(meta_graph.tags) for meta_graph in info.meta_graphs] == [tags]
    with pytest.raises(UsageError) as caught:
        read(tmp_path, *graphs, tag_set=frozenset({"train"}))
    assert "'train'" in caught.value.message
    assert caught.value.hint == "Use --tag-set serve or gpu,serve or '' (none)."


@pytest.mark.slow
def test_a_large_file_is_mapped_and_read_alike(tmp_path: Path) -> None:
    write_model(tmp_path, meta_graph(graph(node("a", "Const", value=bytes(65 << 20)), node("b", "X"))))
    with read_outline(tmp_path) as outlines:
        assert [node.name for node in outlines[0].graph.bodies[0].nodes()] == ["a", "b"]


def test_the_fault_of_the_index_is_not_blamed_on_the_main_file(tmp_path: Path) -> None:
    with pytest.raises(BrokenModelError) as caught:
        read(tmp_path, meta_graph(), index_bytes=b"broken")
    assert caught.value.message.startswith("variables/variables.index")


def test_a_damaged_fingerprint_is_left_out(tmp_path: Path) -> None:
    assert read(tmp_path, meta_graph(), files={"fingerprint.pb": b"\xff"}).fingerprint is None
