"""Models in the text format."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hubcli.errors import BrokenModelError
from hubcli.savedmodel.layout import ModelFormat, detect_format
from tests.cases import each_of
from tests.corpus import KINDS, corpus_file

TF1 = 'saved_model_schema_version: 1\nmeta_graphs {\n  meta_info_def { tags: "serve" }\n  graph_def { }\n}\n'
TF2 = "meta_graphs {\n  meta_info_def { }\n  object_graph_def { nodes { } }\n}\n"


def _kind(folder: Path, text: str) -> ModelFormat:
    (folder / "saved_model.pbtxt").write_text(text, encoding="utf-8")
    return detect_format(folder)


@pytest.mark.parametrize(("text", "kind"), [(TF1, ModelFormat.TF1), (TF2, ModelFormat.TF2)])
def test_field_names_tell_the_kind(tmp_path: Path, text: str, kind: ModelFormat) -> None:
    assert _kind(tmp_path, text) is kind


@each_of(
    "text",
    [
        "meta_graphs: <\n graph_def: <>\n>",
        "# A comment with an } and an apostrophe's sake\n" + TF1,
        TF1.replace('"serve"', '"}{\\"}\\\\"'),
        TF1.replace('"serve"', "'}\\''"),
        TF1.replace("\n", "\r\n"),
        "meta_graphs{}",
        "\n\n  meta_graphs { graph_def { node { name: 'object_graph_def' } } }",
    ],
)
def test_braces_count_where_they_are_no_text(tmp_path: Path, text: str) -> None:
    assert _kind(tmp_path, text) is ModelFormat.TF1


@each_of("lost", range(1, 12))
def test_a_text_that_is_cut_off_is_told(tmp_path: Path, lost: int) -> None:
    cut = TF1.rstrip()[:-lost]
    with pytest.raises(BrokenModelError, match="truncated or corrupt"):
        _kind(tmp_path, cut)


@each_of("text", ["}" + TF1, TF1 + "}", "graph_def { }", "hello", "'meta_graphs'", "\0\1\2"])
def test_a_text_that_is_no_model_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BrokenModelError):
        _kind(tmp_path, text)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pbtxt").write_bytes(bytes(range(256)) * 10)
    with pytest.raises(BrokenModelError):
        detect_format(tmp_path)


def test_quotes_that_never_close_are_refused_soon(tmp_path: Path) -> None:
    started = time.process_time()
    with pytest.raises(BrokenModelError):
        _kind(tmp_path, "graph_def { " + '\\"' * 15_000)
    assert time.process_time() - started < 4  # Twice that of an idle machine


@pytest.mark.tensorflow
@each_of("name, kind", KINDS.items())
def test_a_model_that_tensorflow_wrote_as_text_is_of_the_same_kind(
    tmp_path: Path, name: str, kind: str
) -> None:
    saved_model_pb2 = pytest.importorskip("tensorflow.core.protobuf.saved_model_pb2")
    text_format = pytest.importorskip("google.protobuf.text_format")
    parsed = saved_model_pb2.SavedModel.FromString(corpus_file(name, "saved_model.pb"))
    # The identifier of Keras's objects is no field name: the text form of such a model counts as TF2.
    expected = "TF2" if kind == "Keras" else kind
    assert _kind(tmp_path, text_format.MessageToString(parsed)).kind == expected


@pytest.mark.tensorflow
@each_of("percent", range(1, 100, 7))
def test_a_model_that_tensorflow_wrote_as_text_and_was_cut_off_is_told(tmp_path: Path, percent: int) -> None:
    saved_model_pb2 = pytest.importorskip("tensorflow.core.protobuf.saved_model_pb2")
    text_format = pytest.importorskip("google.protobuf.text_format")
    parsed = saved_model_pb2.SavedModel.FromString(corpus_file("tfx_tft_tf2", "saved_model.pb"))
    text = text_format.MessageToString(parsed)
    with pytest.raises(BrokenModelError):
        _kind(tmp_path, text[: len(text) * percent // 100])
