"""A model of Keras 3 around `hubcli.KerasLayer`, saved and made again in every way that Keras has."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import hubcli
from hubcli.errors import ArgumentError
from hubcli.finetuning import FinetuneOptions
from tests.cases import each_of
from tests.forkserver import run_python
from tests.tf.conftest import Saved

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

SENTENCES = ["the cat sat", "a dog ran", "zebra"]


@dataclass(frozen=True)
class Trained:
    """A text classifier after its training, and what it says of the sentences."""

    model: Any
    scores: Any

    @property
    def layer(self) -> Any:
        return self.model.layers[0]

    def require_same(self, given: Any) -> None:
        import numpy

        numpy.testing.assert_allclose(numpy.asarray(given), self.scores, rtol=1e-6)


def sentences() -> Any:
    import tensorflow as tf

    return tf.constant(SENTENCES)


@pytest.fixture(scope="module")
def trained(saved: Saved) -> Trained:
    """As the tutorial builds it, without an Input; the layer learns what it takes from the model."""
    import keras
    import numpy

    layer = hubcli.KerasLayer(saved("text"), input_shape=[], dtype="string", trainable=True)
    model = keras.Sequential([layer, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.5), "mse")
    before = layer.resolved_object.embeddings.numpy()
    model.fit(sentences(), numpy.ones([3, 1], "float32"), epochs=3, verbose=0)
    assert (layer.resolved_object.embeddings.numpy() != before).any()
    return Trained(model, model.predict(sentences(), verbose=0))


def test_a_keras_file_holds_the_handle_and_the_weights(trained: Trained, tmp_path: Path) -> None:
    import keras

    trained.model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again.layers[0]) is hubcli.KerasLayer
    trained.require_same(again.predict(sentences(), verbose=0))


def test_a_new_process_loads_it_once_it_has_named_the_layer(trained: Trained, tmp_path: Path) -> None:
    trained.model.save(tmp_path / "model.keras")
    (tmp_path / "model.pickle").write_bytes(pickle.dumps(trained.model))
    program = (
        "import sys, pickle, hubcli, keras, tensorflow as tf\n"
        "model = keras.models.load_model(sys.argv[1] + '/model.keras', "
        "custom_objects={'KerasLayer': hubcli.KerasLayer})\n"
        "pickled = pickle.load(open(sys.argv[1] + '/model.pickle', 'rb'))\n"
        "words = tf.constant(sys.argv[2:])\n"
        "for one in (model, pickled): print(*one.predict(words, verbose=0).ravel())"
    )
    result = run_python(["-c", program, str(tmp_path), *SENTENCES], check=True, with_tensorflow=True)
    for line in result.stdout.splitlines():
        trained.require_same([[float(value)] for value in line.split()])
    assert len(result.stdout.splitlines()) == 2


def test_weights_files_are_read_back_and_checkpoints_too(
    trained: Trained, saved: Saved, tmp_path: Path
) -> None:
    import keras
    import tensorflow as tf

    def untrained() -> Any:
        model = keras.Sequential(
            [keras.Input([], dtype="string"), hubcli.KerasLayer(saved("text")), keras.layers.Dense(1)]
        )
        assert (model.predict(sentences(), verbose=0) != trained.scores).any()
        return model

    trained.model.save_weights(tmp_path / "one.weights.h5")
    model = untrained()
    model.load_weights(tmp_path / "one.weights.h5")
    trained.require_same(model.predict(sentences(), verbose=0))
    prefix = tf.train.Checkpoint(model=trained.model).save(str(tmp_path / "checkpoint"))
    model = untrained()
    tf.train.Checkpoint(model=model).restore(prefix).expect_partial()
    trained.require_same(model.predict(sentences(), verbose=0))


def test_a_clone_begins_with_what_the_handle_holds(trained: Trained) -> None:
    import keras

    clone = keras.models.clone_model(trained.model)
    fresh = hubcli.load(trained.layer.get_config()["handle"]).embeddings.numpy()
    assert (clone.layers[0].resolved_object.embeddings.numpy() == fresh).all()
    assert clone.layers[0].trainable
    clone.set_weights(trained.model.get_weights())
    trained.require_same(clone.predict(sentences(), verbose=0))


def test_an_export_serves_without_keras_and_without_the_source(
    trained: Trained, saved: Saved, tmp_path: Path
) -> None:
    import tensorflow as tf

    handle = Path(saved("text"))
    trained.model.export(str(tmp_path / "export"), verbose=False)
    moved = handle.rename(handle.with_name("moved"))
    try:
        again = tf.saved_model.load(str(tmp_path / "export"))
        trained.require_same(again.serve(sentences()))
    finally:
        moved.rename(handle)


def test_the_object_is_saved_for_the_next_who_trains_it(trained: Trained, tmp_path: Path) -> None:
    import tensorflow as tf

    obj = trained.layer.resolved_object
    tf.saved_model.save(obj, str(tmp_path / "tuned"), signatures=obj.signatures)
    again = hubcli.KerasLayer(str(tmp_path / "tuned"), trainable=True)
    assert (again(SENTENCES).numpy() == trained.layer(SENTENCES).numpy()).all()
    assert len(again.trainable_weights) == 1


def test_a_trained_module_is_exported_by_its_weights_file(tmp_path: Path) -> None:
    """Its lists come from its graph: the file has its values in the order that finetune-export expects."""
    import keras
    import numpy
    import tensorflow as tf

    class Plain(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.z, self.inner = tf.Variable([1.0, 2.0]), tf.Module()
            self.inner.a, self.inner.count = tf.Variable([3.0, 4.0]), tf.Variable([0.0, 0.0], trainable=False)

        @tf.function(input_signature=[tf.TensorSpec([None, 2])])  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> Any:
            return x * self.z + self.inner.a + self.inner.count

    source, file = tmp_path / "source", tmp_path / "tuned.weights.h5"
    tf.saved_model.save(Plain(), str(source))
    model = keras.Sequential([keras.Input([2]), hubcli.KerasLayer(str(source), trainable=True)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(2 * numpy.ones([4, 2], "float32"), numpy.ones([4, 2], "float32"), verbose=0)
    model.save_weights(file)
    hubcli.finetune_export(str(source), tmp_path / "tuned", options=FinetuneOptions(weights=file))
    tuned, own = hubcli.load(str(tmp_path / "tuned")), model.layers[0].resolved_object
    assert tuned.z.numpy().tolist() == own.z.numpy().tolist() != [1.0, 2.0]
    assert tuned.inner.a.numpy().tolist() == own.inner.a.numpy().tolist() != [3.0, 4.0]


@each_of(
    "name, options",
    [
        ("text", {"trainable": True, "output_shape": [4], "name": "words"}),
        ("nests", {"arguments": {"factor": 3.0}}),
        ("signature, one output", {"signature": "serving_default", "output_key": "first", "tags": ["serve"]}),
        ("signature, one output", {"signature": "serving_default", "signature_outputs_as_dict": True}),
        ("TF1 Hub format", {"output_key": "outputs"}),
        ("double", {}),
    ],
)
def test_a_config_makes_the_same_layer(name: str, options: dict[str, Any], saved: Saved) -> None:
    layer = hubcli.KerasLayer(saved(name), **options)
    config = layer.get_config()
    assert config.items() >= {"handle": saved(name), **options}.items()
    again = hubcli.KerasLayer.from_config(config)
    assert again.get_config() == config
    assert again.compute_dtype == layer.compute_dtype


def test_what_is_no_text_has_no_config(saved: Saved) -> None:
    with pytest.raises(NotImplementedError, match="that uses a string `handle`"):
        hubcli.KerasLayer(hubcli.load(saved("text"))).get_config()
    with pytest.raises(ArgumentError, match="contains non json-serializable"):
        hubcli.KerasLayer(saved("nests"), arguments={"factor": object()}).get_config()


def test_the_class_is_pickled_by_its_public_name() -> None:
    assert pickle.loads(pickle.dumps(hubcli.KerasLayer)) is hubcli.KerasLayer
    assert (hubcli.KerasLayer.__module__, hubcli.KerasLayer.__name__) == ("hubcli", "KerasLayer")


def test_a_model_whose_handle_is_gone_says_so_when_it_is_loaded(saved: Saved, tmp_path: Path) -> None:
    import keras

    copy = shutil.copytree(saved("regularizers"), tmp_path / "copy")
    keras.Sequential([keras.Input([4]), hubcli.KerasLayer(str(copy))]).save(tmp_path / "model.keras")
    shutil.rmtree(copy)
    with pytest.raises(Exception, match="copy does not exist"):
        keras.models.load_model(tmp_path / "model.keras")
