"""Writes that happen whole or not at all."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hubcli import atomic_files as disk
from hubcli.cache.disk_usage import directory_size_bytes, file_sizes
from hubcli.cache.layout import CacheName, NameKind, cache_errors
from hubcli.errors import CacheError, DiskFullError, OutputError


def test_two_directories_change_places(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    for path in (new, old):
        path.mkdir()
        (path / "name").write_text(path.name)
    disk.exchange(new, old)
    assert (old / "name").read_text() == "new"
    assert (new / "name").read_text() == "old"


def test_they_change_places_by_renaming_where_the_system_can_not_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "exchange_at_once", lambda _new, _old: False)
    test_two_directories_change_places(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]


def test_the_old_directory_is_back_where_the_new_one_can_not_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, replaced = tmp_path / "old", tmp_path / "aside"
    old.mkdir()
    monkeypatch.setattr(disk, "exchange_at_once", lambda _new, _old: False)

    with pytest.raises(FileNotFoundError):
        disk.exchange(tmp_path / "missing", old, replaced)

    assert (old.is_dir(), replaced.exists()) == (True, False)


def refuse_links(*_paths: object) -> None:
    raise PermissionError(errno.EPERM, "not permitted")


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir])
@pytest.mark.parametrize("has_links", [True, False])
def test_what_is_new_takes_the_place_of_an_empty_directory_and_of_nothing_else(
    has_links: bool, make: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_links:
        monkeypatch.setattr(os, "link", refuse_links)
    staged, file, folder, empty = (tmp_path / name for name in ("staged", "file", "folder", "empty"))
    folder.mkdir()
    empty.mkdir()
    make(staged)
    for taken, content in ((file, file), (folder, folder / "file")):
        content.write_text("another's")
        with pytest.raises(OutputError, match="^named was created by another process"):
            disk.move_new(staged, taken, Path("named"))
        assert content.read_text() == "another's"
    disk.move_new(staged, empty, empty)
    assert (empty.is_dir(), staged.exists()) == (make is Path.mkdir, False)


def test_a_temporary_name_is_one_that_a_collection_or_the_doctor_knows(tmp_path: Path) -> None:
    lock = tmp_path / f"{'a' * 40}.lock"
    assert CacheName.parse(disk.temporary_beside(lock).name).kind is NameKind.LEFTOVER
    hidden = disk.hidden_beside(tmp_path / ("m" * 60))
    match = re.fullmatch(disk.HIDDEN_NAME, hidden.name)
    assert match is not None
    assert match[1] == "m" * disk.SHOWN_CHARACTERS
    assert re.fullmatch(disk.HIDDEN_NAME, disk.hidden_beside(hidden).name)[1] == match[1]  # type: ignore[index]
    assert disk.hidden_beside(hidden, "0" * 32).name.endswith(".000000000000.hubcli-tmp")


def test_a_file_is_replaced_whole_and_nothing_is_left(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    disk.write_whole(target, "new")
    assert target.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        disk.write_whole(target, "\udcff")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_tree_is_removed_without_following_its_links(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("keep me")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "link").symlink_to(precious)
    disk.remove_tree(tree)
    assert not tree.exists()
    assert (precious / "file").read_text() == "keep me"


def test_a_link_is_removed_itself(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    link = tmp_path / "link"
    link.symlink_to(precious)
    disk.remove_tree(link)
    assert not link.is_symlink()
    assert precious.is_dir()


def test_sizes_are_those_of_regular_files(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(bytes(7))
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert file_sizes(tmp_path) == {"a/b": 7, "link": 0}
    assert directory_size_bytes(tmp_path / "absent") == 0


@pytest.mark.parametrize(
    ("error", "expected"),
    [(OSError(28, "No space left"), DiskFullError), (OSError(13, "Permission denied"), CacheError)],
)
def test_the_systems_words_become_errors_of_ours(error: OSError, expected: type[CacheError]) -> None:
    with pytest.raises(expected) as caught, cache_errors(Path("/cache")):
        raise error
    assert caught.value.exit_status == 8
    assert "--cache-dir" in caught.value.hint
