"""What the tests of `finetune-export` share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests import models

TRAINING_FUNCTIONS = Path(__file__).with_name("training_functions.py")


@pytest.fixture
def needs_tensorflow() -> None:
    pytest.importorskip("tensorflow", reason="TensorFlow isn't installed: pip install '.[dev]'")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The built-in example: one variable, 2.0, by which it multiplies."""
    return models.write_tree(tmp_path / "model", models.example_files())


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where exports go, and where nothing else may be left."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A file with the functions of `training_functions`."""
    return Path(shutil.copy(TRAINING_FUNCTIONS, tmp_path / "tuning.py"))
