"""Models of common kinds, written by TensorFlow and Keras: nothing grave is found in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hubcli.issues import Issue, Severity
from hubcli.savedmodel.model import ModelFiles
from hubcli.savedmodel.reader import read_model
from tests.cases import each_of
from tests.installed import Late, require_installed
from tests.savedmodel.zoo import SPECIMENS

require_installed("tensorflow")
tf = Late("tensorflow")
pytestmark = pytest.mark.tensorflow

# Specimens of the zoo that are made to hold what the scan is for, or lack files.
_FOUND = {"python_op": {"runs-python"}, "without_checkpoint": {"variables-missing"}}


def grave_findings(model: Path) -> list[Issue]:
    found = read_model(ModelFiles.of_directory(model)).findings
    return [finding for finding in found if finding.severity >= Severity.MEDIUM]


@pytest.mark.parametrize("name", SPECIMENS)
def test_a_model_of_the_zoo_has_no_grave_finding(zoo: Callable[[str], Path], name: str) -> None:
    assert {finding.code for finding in grave_findings(zoo(name))} == _FOUND.get(name, set())


def _vocabulary(folder: Path) -> str:
    file = folder / "vocabulary.txt"
    file.write_text("one\ntwo\nthree\n", encoding="utf-8")
    return str(file)


def _table(folder: Path) -> Any:
    index = tf.lookup.TextFileIndex
    initializer = tf.lookup.TextFileInitializer(
        _vocabulary(folder), tf.string, index.WHOLE_LINE, tf.int64, index.LINE_NUMBER
    )
    return tf.lookup.StaticHashTable(initializer, -1)


def _of_function(table: Any, call: Callable[[Any], Any], spec: Any = None) -> Any:
    root = tf.Module()
    root.table = table
    root.__call__ = tf.function(call, input_signature=[spec or tf.TensorSpec([None], tf.string)])
    return root


def hash_table(folder: Path) -> Any:
    table = _table(folder)
    return _of_function(table, table.lookup)


def lookup_in_map_fn(folder: Path) -> Any:
    table = _table(folder)
    return _of_function(table, lambda words: tf.map_fn(table.lookup, words, fn_output_signature=tf.int64))


def lookup_in_a_branch(folder: Path) -> Any:
    table = _table(folder)
    return _of_function(
        table,
        lambda words: tf.cond(
            tf.size(words) > 2, lambda: table.lookup(words), lambda: table.lookup(words[::-1])
        ),
    )


def lookup_in_a_loop(folder: Path) -> Any:
    table = _table(folder)

    def call(words: Any) -> Any:
        total = tf.constant(0, tf.int64)
        for word in words:
            total += table.lookup(word)
        return total

    return _of_function(table, call)


def lookup_in_a_dataset(folder: Path) -> Any:
    table = _table(folder)

    def call(words: Any) -> Any:
        data = tf.data.Dataset.from_tensor_slices(words).map(table.lookup)
        return data.reduce(tf.constant(0, tf.int64), lambda total, other: total + other)

    return _of_function(table, call)


def two_tables_of_one_file(folder: Path) -> Any:
    first = _table(folder)
    second = tf.lookup.StaticVocabularyTable(
        tf.lookup.TextFileInitializer(
            _vocabulary(folder), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER, vocab_size=3,
        ), 2,
    )  # fmt: skip
    root = _of_function(first, lambda words: first.lookup(words) + second.lookup(words))
    root.second = second
    return root


def text_preprocessing(_: Path) -> Any:
    def call(texts: Any) -> Any:
        clean = tf.strings.regex_replace(tf.strings.lower(texts), r"[^a-z ]", "")
        words = tf.strings.split(tf.strings.unicode_transcode(clean, "UTF-8", "UTF-8"))
        return tf.strings.to_hash_bucket_fast(words, 1000).to_tensor()

    return _of_function(None, call)


def image_decoding(_: Path) -> Any:
    def call(encoded: Any) -> Any:
        def decode(encoded_image: Any) -> Any:
            image = tf.io.decode_image(encoded_image, channels=3, expand_animations=False)
            return tf.image.resize(tf.ensure_shape(image, [None, None, 3]), [8, 8])

        return tf.map_fn(decode, encoded, fn_output_signature=tf.float32)

    return _of_function(None, call)


def examples(_: Path) -> Any:
    features = {
        "x": tf.io.FixedLenFeature([], tf.float32, 0.0),
        "image": tf.io.FixedLenFeature([], tf.string, ""),
    }
    return _of_function(None, lambda encoded: tf.io.parse_example(encoded, features)["x"])


def audio_decoding(_: Path) -> Any:
    return _of_function(
        None, lambda encoded: tf.audio.decode_wav(encoded).audio, tf.TensorSpec([], tf.string)
    )


COMMON = [
    hash_table, lookup_in_map_fn, lookup_in_a_branch, lookup_in_a_loop, lookup_in_a_dataset,
    two_tables_of_one_file, text_preprocessing, image_decoding, examples, audio_decoding,
]  # fmt: skip


@pytest.mark.parametrize("build", COMMON, ids=lambda function: function.__name__)
def test_a_model_of_a_common_kind_has_no_grave_finding(tmp_path: Path, build: Callable[[Path], Any]) -> None:
    root = build(tmp_path)
    tf.saved_model.save(root, str(tmp_path / "model"), signatures=root.__call__)
    assert grave_findings(tmp_path / "model") == []
    # As a library that wraps models does it: loaded, and saved again.
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    tf.saved_model.save(loaded, str(tmp_path / "again"), signatures=loaded.signatures)
    assert grave_findings(tmp_path / "again") == []


@pytest.mark.parametrize("name", ["tf1_assets", "tf1_partitioned", "tf1_hub"])
def test_a_model_of_tensorflow_1_that_is_saved_again_has_no_grave_finding(
    tmp_path: Path, zoo: Callable[[str], Path], name: str
) -> None:
    tags: list[str] | None = [] if name == "tf1_hub" else None
    loaded = tf.saved_model.load(str(zoo(name)), tags=tags)
    tf.saved_model.save(loaded, str(tmp_path / "again"), signatures=loaded.signatures)
    assert grave_findings(tmp_path / "again") == []


def _keras_layers(module: str, folder: Path) -> list[Any]:
    keras = pytest.importorskip(module)
    layers, words = keras.layers, _vocabulary(folder)
    return [layers.StringLookup(vocabulary=words), layers.TextVectorization(vocabulary=words)]


@each_of("module", ["keras", "tf_keras"])
@each_of("place", [0, 1])
def test_a_layer_with_a_file_of_words_has_no_grave_finding(tmp_path: Path, module: str, place: int) -> None:
    layer = _keras_layers(module, tmp_path)[place]
    root = _of_function(layer, lambda words: layer(words))
    tf.saved_model.save(root, str(tmp_path / "model"), signatures=root.__call__)
    assert grave_findings(tmp_path / "model") == []


def test_a_saver_of_many_shards_has_no_grave_finding(tmp_path: Path) -> None:
    v1 = tf.compat.v1
    builder = v1.saved_model.Builder(str(tmp_path / "model"))
    with tf.Graph().as_default(), v1.Session() as session:
        for place in range(3):
            with tf.device("/cpu:0" if place else "/job:localhost/replica:0/task:0/cpu:0"):
                v1.get_variable(f"v{place}", initializer=1.0)
        session.run(v1.global_variables_initializer())
        savers = [v1.train.Saver(sharded=True), v1.train.Saver(sharded=False, write_version=1)]
        assert len(savers) == 2  # What a graph holds of savers that nobody asks for is left in it.
        builder.add_meta_graph_and_variables(session, ["serve"], saver=savers[0])
    builder.save()
    assert grave_findings(tmp_path / "model") == []
