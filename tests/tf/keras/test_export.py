"""A Keras model goes out as a Reusable SavedModel that is called, served and trained."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path
from typing import Any

import pytest

from hubcli.errors import BrokenModelError, NotFoundError, TensorFlowError, UsageError
from hubcli.tf.importing import KerasGeneration, import_keras, import_tensorflow, load_module
from hubcli.tf.keras.export import KerasExportReport, export_keras
from hubcli.tf.loading import load_model
from tests.tf import keras_models
from tests.tf.conftest import Build, read

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

FORMS = [
    (KerasGeneration.KERAS_3, ".keras"),
    (KerasGeneration.KERAS_3, ".h5"),
    (KerasGeneration.KERAS_2, ".keras"),
    (KerasGeneration.KERAS_2, ".h5"),
    (KerasGeneration.KERAS_2, ""),
]
IDS = ["keras3-keras", "keras3-h5", "keras2-keras", "keras2-h5", "keras2-savedmodel"]
BOTH = pytest.mark.parametrize("generation", list(KerasGeneration), ids=["keras2", "keras3"])


@dataclass(frozen=True)
class Exported:
    """A model of Keras, the file it was saved as, and its export in a directory."""

    model: Any
    source: Path
    directory: Path
    report: KerasExportReport


Features = Callable[..., Exported]


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Features:
    """`keras_models.features` of a generation and its export, made once, which no test changes."""

    @once
    def export(generation: KerasGeneration, ending: str = ".keras") -> Exported:
        folder, model = tmp_path_factory.mktemp("features"), keras_models.features(import_keras(generation))
        source = keras_models.save(model, folder, ending)
        return Exported(model, source, folder / "out", export_keras(source, folder / "out"))

    return export


@pytest.mark.parametrize(("generation", "ending"), FORMS, ids=IDS)
def test_every_form_of_both_generations_becomes_reusable(
    generation: KerasGeneration, ending: str, features: Features
) -> None:
    exported = features(generation, ending)
    report, info = exported.report, read(exported.directory)
    assert info.reusable.problems == ()
    assert (report.inputs, report.outputs) == (("features",), ("score",))
    assert report.comparison.is_equal
    assert len(report.comparison.calls) == 3
    assert report.trainable_variables == 6 == len(info.lists.trainable_variables or ())
    assert not any("frozen" in path for path in info.lists.trainable_variables or ())
    assert info.lists.losses == report.regularization_losses == 1
    assert not any(variable.is_slot for variable in info.variables)


@BOTH
@pytest.mark.parametrize("build", [keras_models.named, keras_models.listed, keras_models.sequential])
def test_nests_of_inputs_and_outputs_are_kept(
    generation: KerasGeneration, build: Build, tmp_path: Path
) -> None:
    tf = import_tensorflow()
    model = build(import_keras(generation))
    export_keras(keras_models.save(model, tmp_path, ".keras"), tmp_path / "out")
    loaded = load_model(tmp_path / "out")
    inputs = {
        "named": {"words": tf.constant([[1, 2, 4]]), "age": tf.ones([1, 2])},
        "listed": [tf.ones([1, 2]), tf.zeros([1, 2])],
        "sequential": tf.ones([1, 3]),
    }[build.__name__]
    expected, found = model(inputs), loaded(inputs)
    assert type(expected) is type(found) or isinstance(found, (list, dict))
    tf.nest.map_structure(lambda a, b: tf.debugging.assert_near(a, b), expected, found)
    assert read(tmp_path / "out").reusable.problems == ()


@BOTH
def test_text_goes_in_with_its_vocabulary(generation: KerasGeneration, tmp_path: Path) -> None:
    tf = import_tensorflow()
    model = keras_models.text(import_keras(generation))
    export_keras(keras_models.save(model, tmp_path, ".keras"), tmp_path / "out")
    words = tf.constant(["the cat", "a mat"])
    tf.debugging.assert_near(model(words), load_model(tmp_path / "out")(words))
    assert read(tmp_path / "out").reusable.conforms


@BOTH
def test_training_mode_drops_out_and_moves_the_statistics(
    generation: KerasGeneration, features: Features
) -> None:
    tf = import_tensorflow()
    loaded = load_model(features(generation).directory)
    inputs = tf.reshape(tf.range(256, dtype=tf.float32), [64, 4])
    moving = loaded.weights["norm/moving_mean"]
    before = moving.numpy()
    assert (loaded(inputs).numpy() == loaded(inputs, training=False).numpy()).all()
    assert (loaded(inputs, training=None).numpy() == loaded(inputs).numpy()).all()
    assert (moving.numpy() == before).all()
    first, second = loaded(inputs, training=True), loaded(inputs, training=True)
    assert (first.numpy() != second.numpy()).any()
    assert (moving.numpy() != before).all()


@pytest.mark.slow
@BOTH
def test_the_export_trains_in_the_layer_of_tensorflow_hub(
    generation: KerasGeneration, tmp_path: Path
) -> None:
    """By `fit`, saved by hand, and again: the second generation trains as the first."""
    hub = pytest.importorskip("tensorflow_hub")
    tf, tf_keras = import_tensorflow(), import_keras(KerasGeneration.KERAS_2)
    source = keras_models.save(keras_models.features(import_keras(generation)), tmp_path, ".keras")
    export_keras(source, tmp_path / "0")
    for number in range(2):
        loaded = load_model(tmp_path / str(number))
        layer = hub.KerasLayer(loaded, trainable=True)
        model = tf_keras.Sequential([tf_keras.Input([4]), layer])
        assert len(layer.trainable_weights) == 6
        kernel = loaded.weights["hidden/kernel"]
        assert float(sum(model.losses)) == pytest.approx(0.01 * float(tf.reduce_sum(kernel**2)))
        held = {path: variable.numpy() for path, variable in loaded.weights.items()}
        model.compile(tf_keras.optimizers.SGD(0.1), "mse")
        model.fit(tf.random.stateless_uniform([32, 4], [1, 2]), tf.ones([32, 1]), epochs=2, verbose=0)
        moved = {path for path, old in held.items() if (old != loaded.weights[path].numpy()).any()}
        trained = {"hidden/kernel", "hidden/bias", "norm/gamma", "norm/beta", "score/kernel", "score/bias"}
        assert trained - {"hidden/bias"} <= moved  # Batch norm takes away what a bias before it adds.
        assert not any(path.startswith("frozen") for path in moved)
        tf.saved_model.save(loaded, str(tmp_path / str(number + 1)), signatures=loaded.signatures)


@BOTH
def test_an_output_layer_cuts_off_the_head(
    generation: KerasGeneration, features: Features, tmp_path: Path
) -> None:
    tf = import_tensorflow()
    keras, exported = import_keras(generation), features(generation)
    model = exported.model
    report = export_keras(exported.source, tmp_path / "out", output_layers=("norm",))
    assert report.variables == 6
    inputs = tf.ones([2, 4])
    expected = keras.Model(model.inputs, model.get_layer("norm").output)(inputs)
    tf.debugging.assert_near(expected, load_model(tmp_path / "out")(inputs))
    assert read(tmp_path / "out").reusable.problems == ()


# The guide's own form, `Sequential([piece, head])`, and the functional one.
@pytest.mark.parametrize("is_sequential", [True, False], ids=["sequential", "functional"])
@pytest.mark.parametrize(
    ("generation", "ending"),
    [
        pytest.param(KerasGeneration.KERAS_2, "", marks=pytest.mark.slow),
        (KerasGeneration.KERAS_3, ".keras"),
    ],
)
def test_a_model_within_the_model_is_a_layer_to_cut_at(
    generation: KerasGeneration, ending: str, is_sequential: bool, tmp_path: Path
) -> None:
    tf, keras = import_tensorflow(), import_keras(generation)
    piece = keras_models.sequential(keras) if is_sequential else keras_models.features(keras)
    width = 3 if is_sequential else 4
    inputs, head = keras.Input([width]), keras.layers.Dense(5, name="head")
    whole = keras.Sequential([piece, head]) if is_sequential else keras.Model(inputs, head(piece(inputs)))
    x = tf.reshape(tf.range(2.0 * width), [2, width])
    expected = piece(x)
    whole(x)
    source = keras_models.save(whole, tmp_path, ending)
    report = export_keras(source, tmp_path / "out", output_layers=(piece.name,))
    assert report.variables == len(piece.variables)
    tf.debugging.assert_near(load_model(tmp_path / "out")(x), expected)
    export_keras(source, tmp_path / "body", output_layers=("head",), input_layers=(piece.name,))
    tf.debugging.assert_near(load_model(tmp_path / "body")(x), whole(x))


@BOTH
def test_a_layer_that_is_used_twice_is_none_to_cut_at(generation: KerasGeneration, tmp_path: Path) -> None:
    keras = import_keras(generation)
    piece = keras_models.sequential(keras)
    ends = [keras.Input([3]), keras.Input([3])]
    source = keras_models.save(keras.Model(ends, [piece(end) for end in ends]), tmp_path, ".keras")
    with pytest.raises(UsageError, match="uses it 2 times"):
        export_keras(source, tmp_path / "out", output_layers=(piece.name,))


@BOTH
def test_several_output_layers_make_a_dict_and_an_input_layer_a_new_beginning(
    generation: KerasGeneration, features: Features, tmp_path: Path
) -> None:
    tf = import_tensorflow()
    report = export_keras(
        features(generation).source,
        tmp_path / "out",
        output_layers=("frozen", "score"),
        input_layers=("frozen",),
    )
    assert report.outputs == ("frozen", "score")
    assert report.variables == 4
    found = load_model(tmp_path / "out")(tf.ones([2, 3]))
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {
        "frozen": (2, 2),
        "score": (2, 1),
    }


def test_a_layer_that_is_not_there_is_answered_by_near_misses(tmp_path: Path) -> None:
    model = keras_models.features(import_keras(KerasGeneration.KERAS_3))
    source = keras_models.save(model, tmp_path, ".keras")
    with pytest.raises(UsageError, match="has no layer hiden") as caught:
        export_keras(source, tmp_path / "out", output_layers=("hiden",))
    assert "hidden" in caught.value.hint
    with pytest.raises(UsageError, match="No part of .* leads from score to hidden"):
        export_keras(source, tmp_path / "out", output_layers=("hidden",), input_layers=("score",))


@pytest.mark.parametrize(("generation", "ending"), FORMS, ids=IDS)
def test_python_code_in_the_file_runs_only_if_it_is_trusted(
    generation: KerasGeneration, ending: str, tmp_path: Path
) -> None:
    model = keras_models.with_lambda(import_keras(generation))
    source = keras_models.save(model, tmp_path, ending)
    with pytest.raises(TensorFlowError, match="layer double: a Lambda layer runs Python code") as caught:
        export_keras(source, tmp_path / "out")
    assert "--unsafe" in caught.value.hint
    export_keras(source, tmp_path / "out", unsafe=True)
    tf = import_tensorflow()
    assert load_model(tmp_path / "out")(tf.ones([1, 3])).numpy().tolist() == [[2.0, 2.0, 2.0]]


CUSTOM = """
import {module} as keras

class Scale(keras.layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(name="scale", shape=[], initializer="ones")

    def call(self, x):
        return x * self.scale

@keras.saving.register_keras_serializable("mine")
class Shift(keras.layers.Layer):
    def call(self, x):
        return x + 1.0

def model():
    inputs = keras.Input([2], name="x")
    return keras.Model(inputs, Shift(name="shift")(Scale(name="scale")(inputs)))
"""


@BOTH
def test_classes_of_a_file_are_known_to_the_model(
    generation: KerasGeneration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keras = import_keras(generation)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "layers_of_mine.py").write_text(CUSTOM.format(module=generation.module))
    registered = keras.saving.get_custom_objects()
    others = set(registered)
    source = keras_models.save(load_module("layers_of_mine.py").model(), tmp_path, ".keras")

    def forget() -> None:
        del sys.modules["layers_of_mine"]
        for name in set(registered) - others:
            del registered[name]

    forget()
    with pytest.raises(TensorFlowError) as caught:
        export_keras(source, tmp_path / "out")
    assert "--custom-objects" in caught.value.hint
    report = export_keras(source, tmp_path / "out", custom_objects="layers_of_mine.py")
    assert report.trainable_variables == 1
    tf = import_tensorflow()
    assert load_model(tmp_path / "out")(tf.ones([1, 2])).numpy().tolist() == [[2.0, 2.0]]
    forget()


@BOTH
def test_layers_in_mixed_precision_share_their_variables_once(
    generation: KerasGeneration, tmp_path: Path
) -> None:
    keras = import_keras(generation)
    inputs = keras.Input([3], name="x")
    model = keras.Model(inputs, keras.layers.Dense(2, dtype="mixed_float16", kernel_regularizer="l2")(inputs))
    report = export_keras(keras_models.save(model, tmp_path, ".keras"), tmp_path / "out")
    assert (report.variables, report.trainable_variables, report.notes) == (2, 2, ())
    assert report.comparison.calls
    assert read(tmp_path / "out").reusable.problems == ()


@pytest.mark.parametrize(
    "generation", [pytest.param(KerasGeneration.KERAS_2, marks=pytest.mark.slow), KerasGeneration.KERAS_3]
)
def test_a_state_for_each_place_in_the_batch_fixes_its_size(
    generation: KerasGeneration, tmp_path: Path
) -> None:
    keras = import_keras(generation)
    inputs = keras.Input(batch_shape=[4, 5, 3], name="x")
    layer = keras.layers.LSTM(2, stateful=True, activity_regularizer="l2")
    model = keras.Model(inputs, layer(inputs))
    report = export_keras(keras_models.save(model, tmp_path, ".keras"), tmp_path / "out")
    assert len(report.comparison.calls) == 3
    assert report.trainable_variables == 3
    assert any("only one batch size" in note for note in report.notes)
    assert any("losses on activations are omitted (lstm" in note for note in report.notes)
    assert [problem.code for problem in read(tmp_path / "out").reusable.problems] == ["batch-fixed"]


def test_what_is_no_keras_model_is_refused_in_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        export_keras(tmp_path / "absent.keras", tmp_path / "out")
    (tmp_path / "text.keras").write_text("hello")
    with pytest.raises(UsageError, match="neither a .keras archive nor an HDF5 file"):
        export_keras(tmp_path / "text.keras", tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "zip.keras", "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(UsageError, match="config.json is missing"):
        export_keras(tmp_path / "zip.keras", tmp_path / "out")
    model: Any = keras_models.sequential(import_keras(KerasGeneration.KERAS_3))
    model.save_weights(str(tmp_path / "some.weights.h5"))
    with pytest.raises(UsageError, match="only weights"):
        export_keras(tmp_path / "some.weights.h5", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_keras_file_is_a_broken_model(tmp_path: Path) -> None:
    model = keras_models.sequential(import_keras(KerasGeneration.KERAS_3))
    source = keras_models.save(model, tmp_path, ".keras")
    cut = tmp_path / "cut.keras"
    cut.write_bytes(source.read_bytes()[:1000])
    with pytest.raises(BrokenModelError, match="is corrupt"):
        export_keras(cut, tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "odd.keras", "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.0"}))
        archive.writestr("config.json", "{")
    with pytest.raises(BrokenModelError, match="not JSON"):
        export_keras(tmp_path / "odd.keras", tmp_path / "out")
