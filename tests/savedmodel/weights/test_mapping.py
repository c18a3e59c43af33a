"""Which value is for which variable: weights as trainings leave them, judged by the model that results."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hubcli.errors import HubcliError, MappingError, NotFoundError, UnchangedError, UsageError, ValuesError
from hubcli.savedmodel.weights.assignable import read_assignable
from hubcli.savedmodel.weights.mapping import WeightMapping, map_weights, read_map
from hubcli.savedmodel.weights.rewrite import RewriteOptions, rewrite
from hubcli.savedmodel.weights.sources import Weights, open_weights, weights_kind
from hubcli.tf.keras.h5_weights import open_keras_weights
from tests.installed import require_installed

require_installed("tensorflow", "tensorflow_hub")

if TYPE_CHECKING:
    from types import ModuleType

pytestmark = pytest.mark.tensorflow

TRAININGS = (
    "keras_2_weights",
    "keras_2_fitted_and_checkpointed",
    "keras_2_h5",
    "keras_2_old_h5",
    "keras_2_saved_model",
    "object_itself",
    "gradient_tape",
    "nested_deeper",
    "keras_3_checkpoint",
    "keras_3_h5",
    "keras_3_archive",
    "keras_3_export",
    "saved_again",
    "npz",
    "npz_compressed",
    "safetensors",
    "tf1_saver",
)


@pytest.fixture(scope="module")
def trainings() -> ModuleType:
    from tests.savedmodel import trainings as module

    return module


@pytest.fixture(scope="module")
def model(trainings: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mapping") / "model"
    trainings.save_model(folder)
    return folder


@contextmanager
def opened(path: Path) -> Iterator[Weights]:
    if weights_kind(path).needs_h5py:
        with open_keras_weights(path) as weights:
            yield weights
    else:
        yield open_weights(path)


def mapped(model: Path, path: Path, **options: Any) -> WeightMapping:
    with opened(path) as weights:
        return map_weights(read_assignable(model), weights, **options)


def refused(model: Path, path: Path, **options: Any) -> HubcliError:
    with pytest.raises(HubcliError) as caught:
        mapped(model, path, **options)
    assert caught.value.hint
    return caught.value


def written(value: Any, path: Path) -> Path:
    """A checkpoint of the object."""
    import tensorflow as tf

    return Path(tf.train.Checkpoint(value).write(str(path)))


# What fits ---------------------------------------------------------------------------------------


def test_every_training_is_tried(trainings: ModuleType) -> None:
    assert set(TRAININGS) == set(trainings.TRAININGS)


@pytest.mark.parametrize("training", TRAININGS)
def test_weights_of_every_kind_find_their_variables(
    training: str, trainings: ModuleType, model: Path, tmp_path: Path
) -> None:
    source = trainings.TRAININGS[training](model, tmp_path)
    with opened(source) as weights:
        mapping = map_weights(read_assignable(model), weights)
        report = rewrite(model, tmp_path / "out", mapping.values(weights))
    assert [pair.target_path for pair in mapping.pairs] == ["kernel", "bias", "steps"]
    assert [(change.key.partition("/")[0], change.largest) for change in report.changed] == [
        ("bias", trainings.STEP),
        ("kernel", trainings.STEP),
    ]
    before, after = trainings.load(model), trainings.load(tmp_path / "out")
    assert (after.kernel.numpy() == before.kernel.numpy() + trainings.STEP).all()
    assert (after.bias.numpy() == before.bias.numpy() + trainings.STEP).all()
    assert after.steps.numpy() == 7
    assert (tmp_path / "out/saved_model.pb").read_bytes() == (model / "saved_model.pb").read_bytes()


def test_the_fingerprint_tells_of_the_new_checkpoint(
    trainings: ModuleType, model: Path, tmp_path: Path
) -> None:
    import tensorflow as tf

    with opened(trainings.npz(model, tmp_path)) as weights:
        rewrite(model, tmp_path / "out", map_weights(read_assignable(model), weights).values(weights))
    before, after = (
        tf.saved_model.experimental.read_fingerprint(str(directory))
        for directory in (model, tmp_path / "out")
    )
    index = (tmp_path / "out/variables/variables.index").read_bytes()
    assert after.checkpoint_hash == int.from_bytes(tf.fingerprint([index]).numpy().tobytes(), "little")
    assert after.checkpoint_hash != before.checkpoint_hash
    assert after.saved_model_checksum == before.saved_model_checksum


def test_a_model_of_tensorflow_1_finds_its_names_in_the_checkpoint_of_its_loaded_object(
    trainings: ModuleType, tmp_path: Path
) -> None:
    from tests.savedmodel.zoo import build

    build("tf1_resources", tmp_path / "model")
    loaded = trainings.load(tmp_path / "model")
    for variable in loaded.variables:
        variable.assign(variable + 1)
    source = written(loaded, tmp_path / "ckpt")
    mapping = mapped(tmp_path / "model", source)
    assert {pair.target_key for pair in mapping.pairs} == {"scope/a", "b", "count"}
    assert {pair.found_by for pair in mapping.pairs} == {"name"}


def test_models_that_keep_their_variables_in_lists_alone_are_found(
    trainings: ModuleType, tmp_path: Path
) -> None:
    import tensorflow as tf

    from tests.savedmodel.zoo import build

    build("keras3_export", tmp_path / "model")
    holder = tf.Module()
    holder.inner = trainings.load(tmp_path / "model")
    mapping = mapped(tmp_path / "model", written(holder, tmp_path / "ckpt"))
    assert mapping.root == "inner"


def test_a_list_of_the_same_variables_in_another_order_is_no_mapping(tmp_path: Path) -> None:
    import tensorflow as tf

    checkpoint = tf.train.Checkpoint()
    checkpoint.variables = [
        tf.Variable(float(place), name=name) for place, name in enumerate(("gamma", "mean", "beta"))
    ]
    tf.saved_model.save(checkpoint, str(tmp_path / "model"))
    # As a layer around it lists them: first what trains, then the rest.
    layer = tf.train.Checkpoint()
    layer.variables = [checkpoint.variables[place] for place in (0, 2, 1)]
    tf.saved_model.save(layer, str(tmp_path / "tuned"))
    for source in (tmp_path / "tuned", written(layer, tmp_path / "ckpt")):
        error = refused(tmp_path / "model", source)
        assert "variables.1 is mean in the model and beta in the weights" in error.message
        assert "--map" in error.hint
    pairs = {"variables/0": "variables/0", "variables/1": "variables/2", "variables/2": "variables/1"}
    assert len(mapped(tmp_path / "model", tmp_path / "tuned", named=pairs).pairs) >= 3


# What the user must choose -----------------------------------------------------------------------


def two_copies(trainings: ModuleType, model: Path, folder: Path) -> Path:
    import tensorflow as tf

    pair = tf.Module()
    pair.left, pair.right = trainings.load(model), trainings.load(model)
    pair.right.bias.assign([9.0, 9.0])
    return written(pair, folder / "pair")


def test_two_copies_of_the_model_are_named_and_refused(
    trainings: ModuleType, model: Path, tmp_path: Path
) -> None:
    error = refused(model, two_copies(trainings, model, tmp_path))
    assert isinstance(error, MappingError)
    assert error.exit_status == 2
    assert "left, right" in error.message
    assert "--root" in error.hint
    assert [candidate.root for candidate in error.candidates] == ["left", "right"]


def test_a_root_chooses_one_of_the_copies(trainings: ModuleType, model: Path, tmp_path: Path) -> None:
    mapping = mapped(model, two_copies(trainings, model, tmp_path), root="right")
    assert {pair.source_key.partition("/")[0] for pair in mapping.pairs} == {"right"}


def test_a_root_may_be_the_layer_around_the_object(
    trainings: ModuleType, model: Path, tmp_path: Path
) -> None:
    import tensorflow as tf
    import tensorflow_hub as hub

    query, document = (hub.KerasLayer(trainings.load(model), trainable=True) for _ in range(2))
    towers = written(tf.train.Checkpoint(query=query, towers=[query, document]), tmp_path / "towers")
    for root in ("query", "towers/1"):
        assert (mapped(model, towers, root=root).root or "").rpartition("/")[0] == root
    assert isinstance(refused(model, towers, root="towers"), MappingError)


def test_a_root_that_is_not_there_is_refused(trainings: ModuleType, model: Path, tmp_path: Path) -> None:
    error = refused(model, two_copies(trainings, model, tmp_path), root="middle")
    assert isinstance(error, UsageError)
    assert "middle" in error.message


def test_two_layers_of_a_keras_file_that_fit_are_refused_until_one_is_named(
    trainings: ModuleType, model: Path, tmp_path: Path
) -> None:
    import tensorflow_hub as hub
    import tf_keras

    layers = [hub.KerasLayer(trainings.load(model), trainable=True, name=name) for name in ("one", "two")]
    entry = tf_keras.Input([3])
    network = tf_keras.Model(entry, [layer(entry) for layer in layers])
    network.save_weights(str(tmp_path / "two.weights.h5"))
    error = refused(model, tmp_path / "two.weights.h5")
    assert isinstance(error, MappingError)
    root = error.candidates[1].root
    assert mapped(model, tmp_path / "two.weights.h5", root=root).root == root


def test_an_export_of_keras_3_with_several_layers_that_fit_is_refused_until_one_is_named(
    trainings: ModuleType, model: Path, tmp_path: Path
) -> None:
    import keras
    import tensorflow as tf

    layers = [trainings._KerasThreeLayer(trainings.load(model), name=name) for name in ("one", "two")]
    inputs = keras.Input([3])
    network = keras.Model(inputs, [layer(inputs) for layer in layers])
    network(tf.ones([1, 3]))
    network.export(str(tmp_path / "two"), verbose=False)
    error = refused(model, tmp_path / "two")
    assert isinstance(error, MappingError)
    assert "4 parts of" in error.message
    roots = [candidate.root for candidate in error.candidates]
    assert roots[0] == "trainable_variables/0-1 and non_trainable_variables/0"
    assert shlex.quote(roots[0]) in error.hint
    mapping = mapped(model, tmp_path / "two", root=roots[3])
    sources = [pair.source_key.rpartition("/.ATT")[0] for pair in mapping.pairs]
    assert (mapping.root, sources) == (roots[3], ["variables/3", "variables/4", "variables/5"])


def test_values_of_equal_shapes_that_two_lists_order_differently_are_no_mapping(tmp_path: Path) -> None:
    import tensorflow as tf

    names = ("one", "two", "three")
    checkpoint = tf.train.Checkpoint(**{name: tf.Variable([1.0]) for name in names})
    checkpoint.variables = [checkpoint.three, checkpoint.two, checkpoint.one]
    checkpoint.trainable_variables = [checkpoint.one, checkpoint.two, checkpoint.three]
    tf.saved_model.save(checkpoint, str(tmp_path / "model"))
    exported = tf.train.Checkpoint()
    exported.variables = exported.trainable_variables = [tf.Variable([float(number)]) for number in range(3)]
    exported.non_trainable_variables = []
    tf.saved_model.save(exported, str(tmp_path / "exported"))
    error = refused(tmp_path / "model", tmp_path / "exported")
    assert isinstance(error, MappingError)
    assert "2 parts of" in error.message
    assert "--map" in error.hint


def test_an_export_of_keras_3_of_another_network_matches_nothing(model: Path, tmp_path: Path) -> None:
    import keras
    import tensorflow as tf

    network = keras.Sequential([keras.layers.Dense(5)])
    network(tf.ones([1, 3]))
    network.export(str(tmp_path / "other"), verbose=False)
    assert "has nothing that matches" in refused(model, tmp_path / "other").message


def test_a_map_pairs_what_has_other_names(model: Path, tmp_path: Path) -> None:
    import numpy as np

    np.savez(
        tmp_path / "other.npz", w=np.zeros([3, 2], "float32"), b=np.zeros([2], "float32"), steps=np.int64(1)
    )
    assert "lacks kernel, bias" in refused(model, tmp_path / "other.npz").message
    (tmp_path / "map").write_text("# ours = theirs\nkernel = w\nbias = b\n", encoding="utf-8")
    mapping = mapped(model, tmp_path / "other.npz", named=read_map(tmp_path / "map"))
    assert [(pair.source_key, pair.found_by) for pair in mapping.pairs] == [
        ("w", "map"),
        ("b", "map"),
        ("steps", "key"),
    ]
    error = refused(model, tmp_path / "other.npz", named={"kernel": "w"})
    assert "bias" in error.message
    assert "nothing" in refused(model, tmp_path / "other.npz", named={"nothing": "w"}).message
    error = refused(model, tmp_path / "other.npz", named={"kernel": "stepz"})
    assert error.message.endswith("no value stepz. Did you mean 'steps'?")
    assert error.hint == "Its keys: b, steps, w"
    error = refused(model, tmp_path / "other.npz", named={"kernal": "w"})
    assert error.message.endswith("no variable kernal. Did you mean 'kernel'?")
    assert isinstance(refused(model, tmp_path / "other.npz", named={"kernel": "b"}), ValuesError)


# What doesn't fit --------------------------------------------------------------------------------


def test_an_unrelated_checkpoint_matches_nothing(model: Path, tmp_path: Path) -> None:
    import tf_keras

    network = tf_keras.Sequential([tf_keras.layers.Dense(7, input_shape=[5]), tf_keras.layers.Dense(3)])
    network.save_weights(str(tmp_path / "weights"), save_format="tf")
    error = refused(model, tmp_path / "weights")
    assert isinstance(error, MappingError)
    assert "has nothing that matches" in error.message


def test_an_unrelated_network_is_not_matched_by_its_list_of_variables(model: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    other = tf.Module()
    other.variables_of_others = 0
    root = tf.train.Checkpoint()
    root.variables = [
        tf.Variable(tf.ones([3, 2])),
        tf.Variable([1.0, 2.0]),
        tf.Variable(3, dtype=tf.int64),
    ]
    assert isinstance(refused(model, written(root, tmp_path / "list")), MappingError)


def test_a_dense_layer_of_the_same_shapes_fits_but_in_part(model: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    part = tf.train.Checkpoint(kernel=tf.Variable(tf.ones([3, 2])), bias=tf.Variable([1.0, 2.0]))
    error = refused(model, written(part, tmp_path / "part"))
    assert "matches 2" in error.message
    assert "steps is missing" in error.message


def test_a_keras_model_of_several_layers_is_converted_first(model: Path, tmp_path: Path) -> None:
    import keras

    keras.Sequential([keras.Input([3]), keras.layers.Dense(2)]).save(tmp_path / "my model.keras")
    error = refused(model, tmp_path / "my model.keras")
    assert f"hubcli export '{tmp_path}/my model.keras' DIR, then --weights DIR" in error.hint


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [([4, 2], "float32", "float32 [4, 2]"), ([3, 2], "float64", "float64 [3, 2]")],
)
def test_other_shapes_and_types_are_told(
    shape: list[int], dtype: str, message: str, model: Path, tmp_path: Path
) -> None:
    import numpy as np
    import tensorflow as tf

    values = {
        "kernel": np.ones(shape, dtype),
        "bias": np.ones([2], "float32"),
        "steps": np.asarray(1, "int64"),
    }
    np.savez(tmp_path / "mis.npz", **values)  # type: ignore[arg-type]
    error = refused(model, tmp_path / "mis.npz")
    assert isinstance(error, ValuesError)
    assert error.exit_status == 6
    assert "kernel is float32 [3, 2] in the model" in error.message
    assert message in error.message
    holder = tf.train.Checkpoint(**{name: tf.Variable(value) for name, value in values.items()})
    assert message in refused(model, written(tf.train.Checkpoint(x=holder), tmp_path / "mis")).message


def test_a_file_without_objects_has_no_root(trainings: ModuleType, model: Path, tmp_path: Path) -> None:
    error = refused(model, trainings.npz(model, tmp_path), root="layer")
    assert isinstance(error, UsageError)
    assert "no objects or layers" in error.message


def test_left_over_keys_are_refused(model: Path, tmp_path: Path) -> None:
    import numpy as np

    np.savez(tmp_path / "more.npz", kernel=1, bias=1, steps=1, head=1)
    assert "also has head" in refused(model, tmp_path / "more.npz").message


def test_nan_and_no_change_are_refused_until_they_are_allowed(
    trainings: ModuleType, model: Path, tmp_path: Path
) -> None:
    source = written(trainings.load(model), tmp_path / "same")
    with opened(source) as weights:
        values = map_weights(read_assignable(model), weights).values(weights)
        with pytest.raises(UnchangedError, match="Nothing changed"):
            rewrite(model, tmp_path / "one", values)
        assert rewrite(model, tmp_path / "two", values, RewriteOptions(allow_unchanged=True)).changed == ()
    loaded = trainings.load(model)
    loaded.bias.assign([float("nan"), 1.0])
    with opened(written(loaded, tmp_path / "nan")) as weights:
        values = map_weights(read_assignable(model), weights).values(weights)
        with pytest.raises(ValuesError, match="NaN or infinity"):
            rewrite(model, tmp_path / "three", values)
        assert rewrite(model, tmp_path / "four", values, RewriteOptions(allow_nan=True)).changed


def test_what_is_not_there_is_told(model: Path, tmp_path: Path) -> None:
    assert isinstance(refused(model, tmp_path / "nowhere"), NotFoundError)
    assert isinstance(refused(model, tmp_path), NotFoundError)
    (tmp_path / "notes.txt").write_text("no weights", encoding="utf-8")
    assert isinstance(refused(model, tmp_path / "notes.txt"), UsageError)
