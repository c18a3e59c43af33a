"""Packages that are known not to go together, and what mends it: a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hubcli.diagnosing.check import Status
from hubcli.diagnosing.environments import Installed

__all__ = ["OWN_PAIRS", "PAIRS", "CompatibilityRule"]


@dataclass(frozen=True, slots=True)
class CompatibilityRule:
    """When it is there, what it breaks and how that is mended; `{name}` stands for that package's version."""

    name: str
    status: Status
    is_there: Callable[[Installed], bool]
    message: str
    hint: str


def _brings_two(one: Installed) -> bool:
    """On Windows and macOS `tensorflow` brings one of the others itself."""
    own = {"win32": "tensorflow-intel", "darwin": "tensorflow-macos"}.get(one.platform)
    return len([name for name in one.tensorflows if name != own]) > 1


_WITH_KERAS_3 = "2.16"

PAIRS = (
    CompatibilityRule(
        "hub-setuptools",
        Status.PROBLEM,
        lambda one: one.is_below("tensorflow_hub", "0.17") and one.is_from("setuptools", "82"),
        "import tensorflow_hub fails: setuptools {setuptools} has no pkg_resources any more",
        "pip install 'setuptools<82'",
    ),
    CompatibilityRule(
        "hub-setuptools",
        Status.PROBLEM,
        lambda one: one.is_below("tensorflow_hub", "0.17") and not one.has("setuptools"),
        "import tensorflow_hub fails: it needs pkg_resources, and there is no setuptools",
        "pip install 'setuptools<82'",
    ),
    CompatibilityRule(
        "hub-tensorflow",
        Status.PROBLEM,
        lambda one: one.has("tensorflow_hub") and not one.has("tensorflow"),
        "import tensorflow_hub fails: there is no TensorFlow",
        "pip install tensorflow",
    ),
    CompatibilityRule(
        "hub-keras",
        Status.PROBLEM,
        lambda one: (
            one.has("tensorflow_hub")
            and one.is_from("tensorflow", _WITH_KERAS_3)
            and not one.has("tf_keras")
            and not one.is_below("keras", "3")
        ),
        "tensorflow_hub {tensorflow_hub} needs Keras 2, and TensorFlow {tensorflow} comes with Keras 3",
        "pip install 'tf_keras~={tensorflow_minor}.0' and export TF_USE_LEGACY_KERAS=1; or hubcli.KerasLayer",
    ),
    CompatibilityRule(
        "hub-too-old",
        Status.PROBLEM,
        lambda one: one.is_below("tensorflow_hub", "0.16") and one.is_from("tensorflow", _WITH_KERAS_3),
        "hub.KerasLayer of tensorflow_hub {tensorflow_hub} fails with Keras 3 of TensorFlow {tensorflow}",
        "pip install 'tensorflow_hub>=0.16.1'",
    ),
    CompatibilityRule(
        "hub-layer",
        Status.INFO,
        lambda one: (
            one.has("tensorflow_hub", "tf_keras")
            and one.is_from("tensorflow", _WITH_KERAS_3)
            and one.is_from("tensorflow_hub", "0.16")
            and not one.uses_legacy_keras
        ),
        "hub.KerasLayer is a layer of tf_keras, which models of Keras 3 don't take",
        "Build on tf_keras, or export TF_USE_LEGACY_KERAS=1, or use hubcli.KerasLayer",
    ),
    CompatibilityRule(
        "tf-keras-minor",
        Status.PROBLEM,
        lambda one: one.has("tf_keras", "tensorflow") and one.minor("tf_keras") != one.minor("tensorflow"),
        "tf_keras {tf_keras} is for another TensorFlow than {tensorflow}",
        "pip install 'tf_keras~={tensorflow_minor}.0'",
    ),
    CompatibilityRule(
        "legacy-keras",
        Status.PROBLEM,
        lambda one: one.uses_legacy_keras and one.has("tensorflow") and not one.has("tf_keras"),
        "TF_USE_LEGACY_KERAS asks for tf_keras, which isn't there: tf.keras fails",
        "pip install 'tf_keras~={tensorflow_minor}.0', or unset TF_USE_LEGACY_KERAS",
    ),
    CompatibilityRule(
        "keras-backend",
        Status.WARNING,
        lambda one: one.is_from("keras", "3") and one.keras_backend != "tensorflow",
        "Keras 3 runs on {keras_backend}: layers with a SavedModel need TensorFlow",
        "export KERAS_BACKEND=tensorflow",
    ),
    CompatibilityRule(
        "two-tensorflows",
        Status.PROBLEM,
        _brings_two,
        "{tensorflows} write the same files: which of them is there can't be told",
        "pip uninstall -y {tensorflows_all} && pip install tensorflow",
    ),
    CompatibilityRule(
        "slow-protobuf",
        Status.WARNING,
        lambda one: one.has("protobuf") and one.protobuf_backend == "python",
        "protobuf {protobuf} parses in pure Python, many times slower",
        "unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION, or pip install --force-reinstall protobuf",
    ),
    CompatibilityRule(
        "protobuf-variable",
        Status.PROBLEM,
        lambda one: one.has("protobuf") and one.protobuf_backend not in ("python", "upb", "cpp"),
        "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION is no parser that protobuf {protobuf} knows",
        "unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION",
    ),
)

# Of the environment that hubcli itself runs in.
OWN_PAIRS = (
    CompatibilityRule(
        "own-protobuf",
        Status.PROBLEM,
        lambda one: one.is_below("protobuf", "4.25"),
        "hubcli needs protobuf 4.25, and finds {protobuf}",
        "pip install 'protobuf>=4.25'",
    ),
    CompatibilityRule(
        "own-typer",
        Status.WARNING,
        lambda one: one.is_from("typer", "0.29"),
        "typer {typer} makes every start of hubcli 100 ms slower",
        "pip install 'typer>=0.28,<0.29'",
    ),
)
