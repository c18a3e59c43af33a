"""A local directory takes the same path as an archive."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hubcli.archive import Limits
from hubcli.archive.tree import Tree, walk_tree
from hubcli.archive.unpack import unpack
from hubcli.errors import HubcliError, NotFoundError, UnsafeArchiveError
from tests.archive.conftest import Sandbox

as_a_user = pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A directory with two files, and one beside it."""
    top = tmp_path / "model"
    (top / "variables").mkdir(parents=True)
    (top / "saved_model.pb").write_bytes(b"graph")
    (top / "variables" / "a").write_bytes(b"values")
    (tmp_path / "beside").write_bytes(b"beside")
    return top


def _copy(top: Path, sandbox: Sandbox, limits: Limits | None = None) -> list[str]:
    records = unpack(walk_tree(top), sandbox.destination, limits or Limits())
    return [record.path for record in records]


def test_a_file_has_a_stamp_and_a_directory_has_none(top: Path) -> None:
    stamps = {node.name: node.stamp for node in Tree.read(top, Limits()).nodes}
    assert stamps["variables"] == (0, 0)
    status = (top / "saved_model.pb").stat()
    assert stamps["saved_model.pb"] == (status.st_ino, status.st_mtime_ns)


def test_files_and_directories_are_copied(top: Path, sandbox: Sandbox) -> None:
    (top / "assets").mkdir()
    assert _copy(top, sandbox) == ["saved_model.pb", "variables/a"]
    assert sandbox.files == {"saved_model.pb": b"graph", "variables/a": b"values"}
    assert (sandbox.destination / "assets").is_dir()


def test_each_directory_comes_before_what_it_holds(top: Path) -> None:
    assert [member.name for member, _ in walk_tree(top)] == ["saved_model.pb", "variables", "variables/a"]


def test_a_link_to_a_file_becomes_the_file(top: Path, sandbox: Sandbox) -> None:
    # As a clone of the Hugging Face cache has it: every file a link to a blob.
    (top / "linked").symlink_to(top.parent / "beside")
    _copy(top, sandbox)
    assert sandbox.files["linked"] == b"beside"
    assert not (sandbox.destination / "linked").is_symlink()


def test_a_link_to_a_directory_is_refused(top: Path, sandbox: Sandbox) -> None:
    (top / "loop").symlink_to(top, target_is_directory=True)
    with pytest.raises(UnsafeArchiveError, match="loop"):
        _copy(top, sandbox)


def test_a_broken_link_is_refused(top: Path, sandbox: Sandbox) -> None:
    (top / "gone").symlink_to(top / "nowhere")
    with pytest.raises(UnsafeArchiveError, match="gone"):
        _copy(top, sandbox)


def test_a_link_to_itself_is_refused(top: Path, sandbox: Sandbox) -> None:
    (top / "self").symlink_to(top / "self")
    with pytest.raises(UnsafeArchiveError, match="self"):
        _copy(top, sandbox)


def test_a_link_to_a_device_is_refused(top: Path, sandbox: Sandbox) -> None:
    (top / "zero").symlink_to("/dev/zero")
    with pytest.raises(UnsafeArchiveError, match="zero"):
        _copy(top, sandbox)


def test_a_fifo_is_refused_without_waiting_for_a_writer(top: Path, sandbox: Sandbox) -> None:
    os.mkfifo(top / "pipe")
    with pytest.raises(UnsafeArchiveError, match="pipe"):
        _copy(top, sandbox)


def test_names_of_the_directory_obey_the_rules_of_archives(top: Path, sandbox: Sandbox) -> None:
    (top / "a\\b").write_bytes(b"")
    with pytest.raises(UnsafeArchiveError, match="backslash"):
        _copy(top, sandbox)


@pytest.mark.skipif(os.name == "nt", reason="names are text on Windows")
@pytest.mark.parametrize("is_directory", [False, True])
def test_a_name_that_is_no_utf_8_is_refused(top: Path, sandbox: Sandbox, is_directory: bool) -> None:
    path = top / os.fsdecode(b"caf\xe9")
    try:
        path.mkdir() if is_directory else path.write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes no such names")
    with pytest.raises(UnsafeArchiveError):
        _copy(top, sandbox)


def test_limits_hold_for_directories_too(top: Path, sandbox: Sandbox) -> None:
    with pytest.raises(UnsafeArchiveError, match="unpacks to more"):
        _copy(top, sandbox, Limits(unpacked_bytes=3))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs a file whose size is a lie")
def test_a_file_that_is_longer_than_its_size_is_refused(top: Path, sandbox: Sandbox) -> None:
    (top / "status").symlink_to("/proc/self/status")
    with pytest.raises(HubcliError):
        _copy(top, sandbox)


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        list(walk_tree(tmp_path / "nowhere"))


@as_a_user
def test_a_file_that_may_not_be_read_is_told(top: Path, sandbox: Sandbox) -> None:
    (top / "saved_model.pb").chmod(0)
    with pytest.raises(NotFoundError, match="mode"):
        _copy(top, sandbox)
