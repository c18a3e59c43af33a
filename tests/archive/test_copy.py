"""A directory copied: the same files, with modes of new ones."""

from __future__ import annotations

import errno
import io
import os
import stat
import threading
from pathlib import Path

import pytest

from hubcli.archive import Limits
from hubcli.archive.tree import Tree, copy_tree, copying
from hubcli.concurrency import CancellationToken
from hubcli.errors import NotFoundError, TruncatedError
from tests import models
from tests.disks import pretend_file_system

FILES = {"saved_model.pb": b"graph" * 1000, "variables/shard": os.urandom(3 << 20), "assets/empty": b""}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    model = models.write_tree(tmp_path / "model", FILES)
    (model / "nothing").mkdir()
    (model / "saved_model.pb").chmod(0o4700)
    (model / "linked").symlink_to(model / "saved_model.pb")
    return Tree.read(model, Limits())


def test_files_directories_and_linked_files_are_there(tree: Tree, tmp_path: Path) -> None:
    progress_bytes: list[int] = []
    copy_tree(tree, tmp_path / "copy", progress_bytes.append)
    assert models.tree_files(tmp_path / "copy") == {**FILES, "linked": FILES["saved_model.pb"]}
    assert (tmp_path / "copy" / "nothing").is_dir()
    assert not (tmp_path / "copy" / "linked").is_symlink()
    assert sum(progress_bytes) == tree.size_bytes


def test_modes_are_those_of_new_files(tree: Tree, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        copy_tree(tree, tmp_path / "copy")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "copy" / "saved_model.pb").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "copy" / "variables").stat().st_mode) == 0o750


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system allocates no blocks ahead")
def test_large_files_have_their_blocks_before_they_are_copied(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_file_system(tmp_path, "ext4", monkeypatch)
    sizes: list[int] = []
    shard = tmp_path / "copy" / "variables" / "shard"
    monkeypatch.setattr("hubcli.archive.tree._COPY_BYTES", 1 << 20)
    copy_tree(
        tree, tmp_path / "copy", lambda size: sizes.append(shard.stat().st_size if shard.exists() else 0)
    )
    assert sizes[-3:] == [len(FILES["variables/shard"])] * 3
    assert models.tree_files(tmp_path / "copy") == {**FILES, "linked": FILES["saved_model.pb"]}


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system allocates no blocks ahead")
def test_where_no_blocks_can_be_allocated_the_copy_goes_on(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_arguments: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    pretend_file_system(tmp_path, "ext4", monkeypatch)
    monkeypatch.setattr(os, "posix_fallocate", failing)
    copy_tree(tree, tmp_path / "copy")
    assert models.tree_files(tmp_path / "copy") == {**FILES, "linked": FILES["saved_model.pb"]}


@pytest.mark.parametrize("copied", [0, 1000])
def test_what_the_file_system_can_not_copy_is_read_and_written(
    copied: int, tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at all, or only the first bytes."""
    real = getattr(os, "copy_file_range", None)
    if real is None:
        pytest.skip("this system has no copy_file_range")
    served: set[int] = set()

    def failing(source: int, target: int, size: int) -> int:
        if copied and source not in served:
            served.add(source)
            return int(real(source, target, copied))
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", failing)
    copy_tree(tree, tmp_path / "copy")
    assert models.tree_files(tmp_path / "copy")["variables/shard"] == FILES["variables/shard"]


def test_a_file_that_changed_since_is_told(tree: Tree, tmp_path: Path) -> None:
    (tree.top / "saved_model.pb").write_bytes(b"another")
    with pytest.raises(TruncatedError, match="changed"):
        copy_tree(tree, tmp_path / "copy")


def test_a_file_that_is_gone_is_told(tree: Tree, tmp_path: Path) -> None:
    (tree.top / "assets" / "empty").unlink()
    with pytest.raises(NotFoundError, match="empty"):
        copy_tree(tree, tmp_path / "copy")


def test_a_disk_that_fails_is_not_hidden(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_arguments: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "copy_file_range", failing, raising=False)
    with pytest.raises(OSError, match="No space"):
        copy_tree(tree, tmp_path / "copy")


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EIO])
def test_a_source_that_can_not_be_read_is_named(
    code: int, tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel doesn't say which of the two disks failed."""

    def failing(*_arguments: int) -> int:
        raise OSError(code, os.strerror(code))

    class Unreadable(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

        def fileno(self) -> int:
            return 0

    monkeypatch.setattr(os, "copy_file_range", failing, raising=False)
    monkeypatch.setattr("hubcli.archive.tree.open_regular", lambda path: Unreadable())
    with pytest.raises(NotFoundError, match=r"^Cannot read \S+: Input/output error$"):
        copy_tree(tree, tmp_path / "copy")


@pytest.mark.parametrize("by_kernel", [True, False])
def test_a_file_that_always_grows_is_copied_to_its_first_new_byte(
    by_kernel: bool, tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = tree.top / "variables" / "shard"
    if not by_kernel:
        monkeypatch.delattr(os, "copy_file_range", raising=False)

    def grow(size: int) -> None:
        with shard.open("ab") as file:
            file.write(bytes(1 << 20))

    grow(0)
    with pytest.raises(TruncatedError, match="shard changed"):
        copy_tree(tree, tmp_path / "copy", grow)
    assert (tmp_path / "copy" / "variables" / "shard").stat().st_size == len(FILES["variables/shard"]) + 1


def test_a_copy_runs_while_its_source_is_checked(tree: Tree, tmp_path: Path) -> None:
    with copying(tree, tmp_path / "copy"):
        pass
    assert models.tree_files(tmp_path / "copy") == {**FILES, "linked": FILES["saved_model.pb"]}


def test_a_copy_whose_source_fails_its_check_is_cancelled(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check fails while the first file is copied: the last of four is never begun."""
    is_copying, is_cancelled = threading.Event(), threading.Event()
    ask = CancellationToken.ask

    def ask_and_tell(token: CancellationToken) -> None:
        ask(token)
        is_cancelled.set()

    def wait(size: int) -> None:
        is_copying.set()
        is_cancelled.wait(60)

    def check() -> None:
        assert is_copying.wait(60)
        raise ValueError("unsound")

    monkeypatch.setattr(CancellationToken, "ask", ask_and_tell)

    with pytest.raises(ValueError, match="unsound"), copying(tree, tmp_path / "copy", wait):
        check()
    assert "variables" not in os.listdir(tmp_path / "copy")
