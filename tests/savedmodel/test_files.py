"""The files of a model that is to be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hubcli.errors import BrokenModelError
from hubcli.savedmodel.model import ModelFiles


def test_the_files_of_a_directory_are_known_by_path(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").touch()
    (tmp_path / "variables").mkdir()
    (tmp_path / "variables" / "variables.index").write_bytes(b"1")
    (tmp_path / "nowhere").symlink_to("gone")
    (tmp_path / "pipe").mkdir()
    files = ModelFiles.of_directory(tmp_path)
    assert files.sizes_bytes == {"saved_model.pb": 0, "variables/variables.index": 1}
    assert files.has("variables/variables.index")
    assert not files.has("nowhere")


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="gone"):
        ModelFiles.of_directory(tmp_path / "gone")


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").touch()
    os.mkfifo(tmp_path / "fifo")
    assert ModelFiles.of_directory(tmp_path).sizes_bytes == {"saved_model.pb": 0}


def test_a_model_without_an_index_has_none(tmp_path: Path) -> None:
    assert ModelFiles.of_directory(tmp_path).index() is None


def test_a_huge_index_is_refused(tmp_path: Path) -> None:
    (tmp_path / "variables").mkdir()
    with (tmp_path / "variables" / "variables.index").open("wb") as file:
        file.truncate((1 << 28) + 1)
    with pytest.raises(BrokenModelError, match="larger than 256 MiB"):
        ModelFiles.of_directory(tmp_path).index()


def test_of_an_archive_that_was_not_read_to_its_end_some_things_are_unknown(tmp_path: Path) -> None:
    files = ModelFiles(tmp_path, {"saved_model.pb": 5, "assets/a": 1}, is_complete=False)
    assert files.asset("assets/a").is_present is True
    assert files.asset("assets/b").is_present is None
    assert files.sizes().total is None
    assert files.sizes().graph == 5


def test_a_directory_that_is_no_model_is_not_searched(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "saved_model.pb").write_bytes(b"")
    assert ModelFiles.of_directory(tmp_path).sizes_bytes == {}
