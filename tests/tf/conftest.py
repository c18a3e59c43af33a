"""What the tests of this room share: the zoo, Keras models of both generations, the reader of `inspect`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hubcli.savedmodel.model import ModelFiles, SavedModelInfo
from hubcli.savedmodel.reader import read_model
from tests.savedmodel.conftest import Zoo, zoo

__all__ = ["Build", "Saved", "Zoo", "read", "zoo"]

# Built on TensorFlow when it is imported.
collect_ignore = ["layer_cases.py"]

Build = Callable[[Any], Any]
Saved = Callable[[str], str]


def read(model: Path) -> SavedModelInfo:
    """The model, as `inspect` reads it."""
    return read_model(ModelFiles.of_directory(model))


@pytest.fixture(autouse=True)
def _needs_tensorflow() -> None:
    pytest.importorskip("tensorflow", reason="TensorFlow isn't installed: pip install '.[dev]'")
    pytest.importorskip("tf_keras", reason="tf_keras isn't installed: pip install '.[dev]'")


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """Handles of the models of `layer_cases` by their names, each written once."""
    from tests.tf.layer_cases import save

    folder = tmp_path_factory.mktemp("models")
    return lambda name: save(name, folder)
