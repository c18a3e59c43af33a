"""Models written by TensorFlow: each is built once a run, when a test asks for it first."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.savedmodel.zoo import build, builders

# What the tests are built on: nothing to collect, and imported only where TensorFlow is.
collect_ignore = ["object_graph.py", "oracle.py", "structs.py", "trainings.py", "zoo"]

Zoo = Callable[[str], Path]


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Zoo:
    """The directory of the model of that name (see `tests.savedmodel.zoo.SPECIMENS`), which no test changes.

    All workers of a run share the directories: a third of the work, with three of them.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if hasattr(request.config, "workerinput") else base) / "zoo"
    folder.mkdir(exist_ok=True)

    def model(name: str) -> Path:
        builders(name)  # Another worker may have built it: its classes must be known to TensorFlow here, too.
        place, mark = folder / name, folder / f"{name}.built"
        if not mark.exists():
            with (folder / f"{name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not mark.exists():
                    shutil.rmtree(place, ignore_errors=True)  # A worker ended while it built.
                    build(name, place)
                    mark.touch()
        return place

    return model
