"""Models written by TensorFlow: each is built once, when a test asks for it first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.savedmodel.zoo import build

# What the tests are built on: nothing to collect, and imported only where TensorFlow is.
collect_ignore = ["object_graph.py", "oracle.py", "structs.py", "trainings.py", "zoo"]

Zoo = Callable[[str], Path]


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    """The directory of the model of that name (see `tests.savedmodel.zoo.SPECIMENS`)."""
    folder = tmp_path_factory.mktemp("zoo")
    built: dict[str, Path] = {}

    def model(name: str) -> Path:
        if name not in built:
            build(name, folder / name)
            built[name] = folder / name
        return built[name]

    return model
