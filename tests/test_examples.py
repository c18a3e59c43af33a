"""The scripts in `examples/`, each run as it is; a mirror has stand-ins for the models that they name."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hubcli
from tests import models
from tests.forkserver import run_python
from tests.installed import require_installed
from tests.server import HubServer

require_installed("tensorflow", "tf_keras")
pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

EXAMPLES = Path(__file__).parent.parent / "examples"
TEXT = "https://tfhub.dev/google/nnlm-en-dim50/2"
IMAGE = "https://tfhub.dev/google/imagenet/mobilenet_v2_100_224/feature_vector/5"


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    """Small models with the interface of those on TF Hub."""
    import tensorflow as tf

    from tests.interop import hub_models

    folder = tmp_path_factory.mktemp("stand-ins")
    hub_models.save_text(folder / "text")
    features = hub_models.ImageFeatures()
    for training in (True, False):
        features.__call__.get_concrete_function(tf.TensorSpec([None, 224, 224, 3]), training=training)
    tf.saved_model.save(features, str(folder / "image"))
    with HubServer().running() as server:
        for name, handle in (("text", TEXT), ("image", IMAGE)):
            packed = models.pack(models.tree_files(folder / name))
            server.serve(handle.removeprefix("https://tfhub.dev"), packed)
        yield server


@pytest.fixture(autouse=True)
def _through_the_mirror(mirror: HubServer, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBCLI_MIRRORS", f"https://tfhub.dev={mirror.url}")
    monkeypatch.setenv("HUBCLI_CACHE_DIR", str(cache))


def run(script: str) -> dict[str, Any]:
    """What the script's names stand for when it is done."""
    return runpy.run_path(str(EXAMPLES / script))


@pytest.mark.slow
def test_a_text_classifier_learns_its_embedding_too() -> None:
    results = run("text_classification.py")
    assert len(results["results"]) == 2
    fresh = hubcli.load(TEXT).embeddings.numpy()
    assert (results["hub_layer"].resolved_object.embeddings.numpy() != fresh).any()


def test_an_image_classifier_is_fine_tuned_and_saved() -> None:
    results = run("image_fine_tuning.py")
    layer, fresh = results["model"].layers[0], hubcli.load(IMAGE)
    moved = [
        (variable.numpy() != other.numpy()).any()
        for variable, other in zip(layer.resolved_object.variables, fresh.variables, strict=True)
    ]
    assert moved == [True] * 7
    assert results["output"].numpy() == pytest.approx(
        results["model"].predict(results["images"], verbose=0), abs=1e-5
    )


def test_a_model_of_ones_own_has_its_weights_and_losses_in_the_layer() -> None:
    results = run("my_mul_model.py")
    assert results["product"].numpy().tolist() == [20.0, 40.0]
    assert [float(weight) for weight in results["layer"].trainable_weights] == [2.0]
    assert [float(loss) for loss in results["layer"].losses] == [pytest.approx(0.004)]


def test_a_fine_tuned_object_is_exported_as_it_was_trained(capsys: pytest.CaptureFixture[str]) -> None:
    results = run("reexport.py")
    assert "As trained: True" in capsys.readouterr().out
    assert (results["after"].numpy() != results["before"].numpy()).any()


@pytest.mark.slow
def test_one_command_trains_and_exports(tmp_path: Path) -> None:
    place, training = tmp_path / "tuned", f"--train={EXAMPLES / 'finetune_export.py'}:train"
    command = ["-m", "hubcli", "finetune-export", TEXT, str(place), training, "--arg=epochs=2"]
    result = run_python(command, timeout=200, with_tensorflow=True)
    assert (result.returncode, result.stdout.strip()) == (0, str(place)), result.stderr
    tuned, fresh = hubcli.load(str(place)), hubcli.load(TEXT)
    assert (tuned.embeddings.numpy() != fresh.embeddings.numpy()).any()
    assert len(hubcli.KerasLayer(tuned, trainable=True).trainable_weights) == 1


def test_the_readme_of_the_examples_names_each() -> None:
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert all(f"`{script.name}`" in readme for script in EXAMPLES.glob("*.py"))
