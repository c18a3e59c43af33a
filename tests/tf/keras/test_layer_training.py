"""A model of Keras 3 around `hubcli.KerasLayer`, trained in every way that Keras has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import hubcli
from tests.forkserver import ROOT, run_python
from tests.tf.conftest import Saved

pytestmark = [pytest.mark.tensorflow, pytest.mark.filterwarnings("ignore::UserWarning")]


def classifier(handle: str, *, trainable: bool = True) -> Any:
    import keras

    layer = hubcli.KerasLayer(handle, trainable=trainable, name="hub")
    head = keras.layers.Dense(1, kernel_initializer="ones")
    return keras.Sequential([keras.Input([4]), layer, head])


def fit(model: Any, **options: Any) -> list[Any]:
    """The weights of the layer after three steps on the same numbers."""
    import keras
    import numpy

    rows = numpy.random.default_rng(0).uniform(-1, 1, [8, 4]).astype("float32")
    model.compile(keras.optimizers.SGD(0.1), "mse", **options)
    model.fit(rows, numpy.ones([8, 1], "float32"), batch_size=8, epochs=3, shuffle=False, verbose=0)
    return [weight.numpy() for weight in model.get_layer("hub").weights]


def test_graph_eager_and_xla_train_the_same(saved: Saved) -> None:
    import numpy

    graph = fit(classifier(saved("regularizers")), jit_compile=False)
    for options in ({"run_eagerly": True}, {"jit_compile": True}):
        model = classifier(saved("regularizers"))
        trained = fit(model, **options)
        assert model.jit_compile == bool(options.get("jit_compile"))
        assert all(numpy.allclose(loss, other, atol=1e-6) for loss, other in zip(graph, trained, strict=True))


def test_losses_count_for_as_long_as_the_layer_trains(saved: Saved) -> None:
    model = classifier(saved("regularizers"))
    layer = model.get_layer("hub")
    assert len(model.losses) == 2
    before = [weight.numpy() for weight in layer.weights]
    layer.trainable = False
    assert model.losses == []
    assert all((loss == other).all() for loss, other in zip(before, fit(model), strict=True))
    layer.trainable = True
    assert len(model.losses) == 2
    trained = fit(model)
    assert [bool((weight != other).any()) for weight, other in zip(before, trained, strict=True)] == [
        True,
        True,
        False,
    ]


def test_batch_norm_moves_in_training_and_only_where_it_trains(saved: Saved) -> None:
    for trainable in (True, False):
        model = classifier(saved("seeded dropout"), trainable=trainable)
        mean = model.get_layer("hub").resolved_object.mean
        model.predict(_rows(), verbose=0)
        assert not mean.numpy().any()
        fit(model)
        assert bool(mean.numpy().any()) is trainable


def test_mixed_precision_leaves_the_model_alone(saved: Saved) -> None:
    import keras

    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = classifier(saved("regularizers"))
        before = [weight.numpy() for weight in model.get_layer("hub").weights]
        after = fit(model)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert {variable.dtype.name for variable in after} == {"float32"}
    assert (before[0] != after[0]).any()
    assert model.layers[-1].compute_dtype == "float16"


def test_a_loop_of_ones_own_trains_it_too(saved: Saved) -> None:
    import tensorflow as tf

    layer = hubcli.KerasLayer(saved("tf.Module"), trainable=True)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(tf.ones([2, 4]), training=True) ** 2)
    gradients = tape.gradient(loss, layer.trainable_weights)
    assert all(float(tf.reduce_sum(tf.abs(gradient))) > 0 for gradient in gradients)


TWO_DEVICES = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import numpy
from tests.tf.keras.test_layer_training import classifier, fit
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    model = classifier(sys.argv[1])
    trained = fit(model)
    assert strategy.num_replicas_in_sync == 2
numpy.savez(sys.argv[2], *trained)
"""


@pytest.mark.slow
def test_a_mirrored_strategy_trains_the_same_on_two_devices(saved: Saved, tmp_path: Path) -> None:
    import numpy

    alone = fit(classifier(saved("regularizers")))
    command = ["-c", TWO_DEVICES, str(saved("regularizers")), str(tmp_path / "trained.npz")]
    run_python(command, cwd=ROOT, check=True, with_tensorflow=True)
    with numpy.load(tmp_path / "trained.npz") as mirrored:
        assert all(
            numpy.allclose(weight, mirrored[f"arr_{place}"], atol=1e-6) for place, weight in enumerate(alone)
        )


def _rows() -> Any:
    import numpy

    return numpy.ones([2, 4], "float32")
