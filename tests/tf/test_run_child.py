"""The process of a run, started before anything else: a run takes it, or it is ended."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hubcli.tf import run_child
from hubcli.tf.run_child import LIBRARY_NAMES, Child, library_in, start_ahead, start_child


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """What the variable names: no library, which ends the process once it tries to load it."""
    path = tmp_path / "libtensorflow_cc.so.2"
    path.write_bytes(b"")
    monkeypatch.setenv("HUBCLI_TENSORFLOW_LIB", str(tmp_path))
    yield str(path)
    run_child._end()
    run_child._ahead.clear()


def ended(child: Child) -> int:
    child.connection.close()
    with child.process as process:
        return process.wait(timeout=120)


def test_a_run_takes_the_process_that_was_started_ahead(library: str) -> None:
    start_ahead(["example://mul/1"])
    (ahead,) = run_child._ahead
    try:
        assert start_child("c", library) is ahead
        assert not run_child._ahead
    finally:
        ahead.process.kill()
        ended(ahead)


def test_a_process_of_another_library_is_ended(library: str, tmp_path: Path) -> None:
    start_ahead(["example://mul/1"])
    (ahead,) = run_child._ahead
    child = start_child("c", str(tmp_path / "other"))
    try:
        assert child is not ahead
        assert ended(ahead)
    finally:
        child.process.kill()
        ended(child)


@pytest.mark.parametrize(
    "words", [[], ["m", "--dry-run"], ["--help"], ["m", "--runner", "python"], ["m", "--runner=python"]]
)
def test_nothing_is_started_ahead_that_no_run_takes(library: str, words: list[str]) -> None:
    start_ahead(words)
    assert not run_child._ahead


def test_without_a_library_nothing_is_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HUBCLI_TENSORFLOW_LIB", str(tmp_path))
    start_ahead(["m"])
    assert not run_child._ahead
    assert library_in(str(tmp_path)) is None


def test_a_library_is_named_by_itself_or_by_its_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / LIBRARY_NAMES[0]
    file.touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert library_in(str(file)) == library_in(str(tmp_path)) == library_in("~") == str(file)


def test_a_process_that_nobody_takes_ends_with_this_one(library: str) -> None:
    code = "from hubcli.tf import run_child as c; c.start_ahead(['m']); print(c._ahead[0].process.pid)"
    command = [sys.executable, "-c", code]
    pid = subprocess.run(command, check=True, capture_output=True, text=True, timeout=250).stdout.strip()
    state = Path(f"/proc/{pid}/stat")
    # The system ends it with its parent, but a moment later.
    for _ in range(600):
        with suppress(FileNotFoundError, ProcessLookupError):
            if state.read_text().rpartition(")")[2].split()[0] not in "ZX":
                time.sleep(0.1)
                continue
        return
    raise AssertionError(f"{pid} is still there")
