"""The tool that shows the way of a command through the package; the ways are short, and go down."""

from __future__ import annotations

import os
from pathlib import Path

from tests import models
from tests.forkserver import ROOT, run_python
from tools.call_path import layers

# Calls to a higher room that it handed down itself: a listener or a job. Nothing else goes up.
CALLBACKS = {
    ("archive/unpack.py", "fetching/unpacking.py"),  # Bytes that were unpacked.
    ("commands/fetch.py", "cli/progress.py"),  # The listener of the terminal.
    ("concurrency.py", "archive/compression.py"),  # A stage of the stream.
    ("concurrency.py", "cli/fetch.py"),  # A model of several.
    ("concurrency.py", "fetching/sources.py"),  # A stage of the stream.
    ("concurrency.py", "savedmodel/checks/integrity.py"),  # A shard of several.
    ("concurrency.py", "savedmodel/checks/shard_chunks.py"),  # A stage of the check of a shard.
    ("fetching/options.py", "cli/fetch.py"),  # What is to be done with the handle.
    ("fetching/sources.py", "commands/fetch.py"),  # Bytes that were received.
    ("fetching/unpacking.py", "cli/progress.py"),  # The listener of the terminal.
    ("formats/tensor_values.py", "savedmodel/checks/integrity.py"),  # Whether the check is cancelled.
    ("formats/tensor_values.py", "savedmodel/checks/shard_chunks.py"),  # The same, of a shard.
}


def call_path(*words: str, **variables: str) -> tuple[list[str], set[tuple[str, str]]]:
    """The files that the command enters, in order, and the calls that go up, by caller and callee."""
    environment = {**os.environ, **variables}
    result = run_python(["-m", "tools.call_path", *words], cwd=ROOT, env=environment, check=True)
    rows = [line.split() for line in result.stderr.splitlines() if line.split()[0].isdigit()]
    entered = [row[1] for row in rows if "->" not in row and row[1:] != ["calls", "upward"]]
    return entered, {(row[1], row[3]) for row in rows if "->" in row}


def test_the_way_of_inspect_is_short_and_goes_down(tmp_path: Path) -> None:
    model = tmp_path / "model"
    models.write_tree(model, models.example_files())
    entered, upward = call_path("inspect", str(model))
    first = ["main.py", "entrypoint.py", "app.py", "options.py", "inspect.py"]
    assert entered[:5] == [f"cli/{name}" for name in first]
    assert "commands/inspect.py" in entered
    assert len(entered) <= 34, entered
    assert not upward


def test_the_way_of_fetch_is_short_and_goes_up_by_callbacks_alone(cache: Path) -> None:
    entered, upward = call_path("fetch", "example://mul/1", HUBCLI_CACHE_DIR=str(cache))
    assert entered[0] == "cli/main.py"
    assert "commands/fetch.py" in entered
    # What a module does when it is imported is not a call; the limits of an archive check themselves.
    packages = {file for file in entered if file.endswith("__init__.py")}
    assert packages <= {"archive/__init__.py"}
    assert len(entered) <= 45, entered
    assert upward <= CALLBACKS


def test_a_cached_model_needs_nothing_of_a_download(cache: Path) -> None:
    call_path("fetch", "example://mul/1", HUBCLI_CACHE_DIR=str(cache))
    entered, upward = call_path("fetch", "example://mul/1", HUBCLI_CACHE_DIR=str(cache))
    assert len(entered) <= 25, entered
    assert not [file for file in entered if file.startswith(("archive/tar", "archive/unpack", "net/"))]
    assert upward <= CALLBACKS


def test_layers_are_those_of_the_import_contract() -> None:
    levels = layers()
    assert levels["cli"] < levels["commands"] < levels["cache"] < levels["savedmodel"] < levels["errors"]
