"""What the tests of this room share: the zoo, Keras models of both generations, the reader of `inspect`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hubcli.savedmodel.files import ModelFiles
from hubcli.savedmodel.info import SavedModelInfo
from hubcli.savedmodel.reader import read_model
from tests.savedmodel.conftest import Zoo, zoo

__all__ = ["Build", "Zoo", "read", "zoo"]

Build = Callable[[Any], Any]


def read(model: Path) -> SavedModelInfo:
    """The model, as `inspect` reads it."""
    return read_model(ModelFiles.of_directory(model))


@pytest.fixture(autouse=True)
def _needs_tensorflow() -> None:
    pytest.importorskip("tensorflow", reason="TensorFlow isn't installed: pip install '.[dev]'")
    pytest.importorskip("tf_keras", reason="tf_keras isn't installed: pip install '.[dev]'")
