"""Writes that happen whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubcli.cache import atomic_files as disk
from hubcli.errors import CacheError, DiskFullError


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
    assert disk.file_sizes(tmp_path) == {"a/b": 7, "link": 0}
    assert disk.directory_size_bytes(tmp_path / "absent") == 0


@pytest.mark.parametrize(
    ("error", "expected"),
    [(OSError(28, "No space left"), DiskFullError), (OSError(13, "Permission denied"), CacheError)],
)
def test_the_systems_words_become_errors_of_ours(error: OSError, expected: type[CacheError]) -> None:
    with pytest.raises(expected) as caught, disk.cache_errors(Path("/cache")):
        raise error
    assert caught.value.exit_status == 8
    assert "--cache-dir" in caught.value.hint
