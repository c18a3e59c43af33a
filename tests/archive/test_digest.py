"""The digest of a tree: the same wherever it is computed, and another where a byte differs."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path

import pytest

from hubcli.archive import FileRecord
from hubcli.archive.tree import hashed_files, tree_digest
from hubcli.errors import UnsafeArchiveError
from tests import models
from tests.cases import each_of
from tests.documentation import command_page

FILES = {
    "saved_model.pb": b"graph",
    "variables/variables.index": b"",
    "variables-1/a": b"a",
    "variables!": b"b",
    "assets/é 日 \U0001f600": b"c",
    "assets/\uff21": b"d",
    "assets/a\nb": b"e",
    "assets/ ": b"f",
}


def digest_of(folder: Path) -> str:
    return tree_digest(hashed_files(folder))


def test_the_shell_of_the_documentation_gives_the_same(tmp_path: Path) -> None:
    folder = models.write_tree(tmp_path / "model", FILES)
    shell = re.search(r"```sh\n(find .+?)```", command_page("fetch"), re.DOTALL)
    assert shell is not None
    result = subprocess.run(["bash", "-c", shell[1]], cwd=folder, capture_output=True, text=True, check=True)
    assert result.stdout.split()[0] == digest_of(folder)


def test_it_is_a_hash_over_sorted_records() -> None:
    files = (FileRecord("b", 1, "1" * 64), FileRecord("a/c", 20, "2" * 64))
    assert tree_digest(files) == tree_digest(reversed(files))
    records = f"{'2' * 64} 20 a/c\0{'1' * 64} 1 b\0"
    assert tree_digest(files) == hashlib.sha256(records.encode()).hexdigest()


@each_of(
    "change",
    [
        {"saved_model.pb": b"grapH"},
        {"saved_model.pb": b"graph\0"},
        {"assets/g": b""},
        {"variables!": None},
        {"variables!": None, "variables?": b"b"},
        {"variables-1/a": b"b", "variables!": b"a"},
    ],
)
def test_every_change_gives_another(change: dict[str, bytes | None], tmp_path: Path) -> None:
    before = digest_of(models.write_tree(tmp_path / "before", FILES))
    changed = {path: content for path, content in {**FILES, **change}.items() if content is not None}
    assert digest_of(models.write_tree(tmp_path / "after", changed)) != before


def test_modes_times_and_empty_folders_do_not_count(tmp_path: Path) -> None:
    folder = models.write_tree(tmp_path / "model", FILES)
    before = digest_of(folder)
    (folder / "saved_model.pb").chmod(0o600)
    os.utime(folder / "saved_model.pb", (1, 1))
    (folder / "empty").mkdir()
    assert digest_of(folder) == before


def test_a_link_to_a_file_is_that_file_and_one_to_a_folder_is_refused(tmp_path: Path) -> None:
    folder = models.write_tree(tmp_path / "model", {"a": b"a", "b": b"a"})
    before = digest_of(folder)
    (folder / "b").unlink()
    (folder / "b").symlink_to("a")
    assert digest_of(folder) == before
    (folder / "c").symlink_to(".")
    with pytest.raises(UnsafeArchiveError):
        hashed_files(folder)


def test_each_piece_that_is_read_is_told(tmp_path: Path) -> None:
    progress_bytes: list[int] = []
    folder = models.write_tree(tmp_path / "model", FILES)
    hashed_files(folder, progress_bytes.append)
    assert sum(progress_bytes) == sum(map(len, FILES.values()))
