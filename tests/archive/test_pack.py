"""The same directory makes the same archive, wherever, whenever and by whomever it is packed."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tracemalloc
import zlib
from pathlib import Path

import pytest

from hubcli.archive import Limits
from hubcli.archive.compression import decompressed
from hubcli.archive.pack import PackedArchive, _header, archive_size_bytes, pack
from hubcli.archive.tar import ChunkReader, walk_tar
from hubcli.archive.tree import Tree, TreeNode
from hubcli.archive.unpack import unpack
from hubcli.errors import NotFoundError, TruncatedError, UnsafeArchiveError
from tests import models
from tests.cases import each_of

FILES = {
    "saved_model.pb": b"graph" * 300,
    "variables/variables.index": b"index",
    "variables/variables.data-00000-of-00001": bytes(range(256)) * 1000,
    "assets/vocabulary.txt": b"der\ndie\ndas\n",
    "assets.extra/Ünïcode": b"name",
    "assets.extra/" + "long" * 20 + "/" + "path" * 20: b"in the prefix",
    "assets.extra/" + "n" * 200: b"in a pax header",
    "empty": b"",
}
# What FILES make. No release, machine or locale may change it.
TAR_GZ = "732c1d83f996ab9558615e318dc9cd3bbe522d4f15fd5c30daa10a47c91346d7"
TAR = "04594aaf05adf72445007f3dccf9621a9fcc8ecbc8c464667774ebae1fc2d802"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return models.write_tree(tmp_path / "model", FILES)


def packed(model: Path, archive: Path, *, compress: bool = True) -> PackedArchive:
    return pack(Tree.read(model, Limits()), archive, compress=compress)


def unpacked(archive: bytes, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    unpack(walk_tar(ChunkReader(decompressed([archive])), Limits()), folder, Limits())
    return models.tree_files(folder)


@pytest.mark.parametrize(("compress", "sha256"), [(True, TAR_GZ), (False, TAR)], ids=["tar.gz", "tar"])
def test_the_bytes_are_these_for_ever(model: Path, tmp_path: Path, compress: bool, sha256: str) -> None:
    archive = packed(model, tmp_path / "archive", compress=compress)
    content = (tmp_path / "archive").read_bytes()
    assert archive == PackedArchive(len(content), hashlib.sha256(content).hexdigest())
    assert archive.sha256 == sha256
    assert archive.size_bytes == archive_size_bytes(Tree.read(model, Limits()), compress=compress)


def test_what_a_look_at_the_model_needs_comes_first(model: Path, tmp_path: Path) -> None:
    for name in ("keras_metadata.pb", "fingerprint.pb", "variables/variables.index", "variables/a", "a/b"):
        models.write_tree(model, {name: b"x"})
    packed(model, tmp_path / "archive")
    with tarfile.open(tmp_path / "archive") as archive:
        names = [member.name for member in archive]
    first = ["saved_model.pb", "fingerprint.pb", "keras_metadata.pb", "variables"]
    first = [name for name in first if f"./{name}" in names]
    assert names[: len(first) + 2] == [".", *(f"./{name}" for name in first), "./variables/variables.index"]
    assert {"./variables/a", "./a/b"} <= set(names[len(first) + 2 :])


def test_times_modes_and_the_order_of_creation_change_nothing(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    models.write_tree(other, dict(reversed(FILES.items())))
    for number, path in enumerate(sorted(other.rglob("*"))):
        path.chmod(0o700 + number % 8 * 8)
        os.utime(path, (number * 1e6, number * 2e6))
    if os.geteuid() == 0:
        os.chown(other / "saved_model.pb", 1234, 5678)
    assert packed(other, tmp_path / "a") == packed(model, tmp_path / "b")


def test_empty_directories_change_nothing(model: Path, tmp_path: Path) -> None:
    """An archive may not have had them, and what is unpacked from it must be the same model."""
    before = packed(model, tmp_path / "a")
    (model / "assets" / "none" / "at all").mkdir(parents=True)
    assert packed(model, tmp_path / "b") == before
    assert archive_size_bytes(Tree.read(model, Limits())) == before.size_bytes


def test_links_to_files_are_packed_as_the_files(model: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    shutil.copytree(model, linked)
    (linked / "saved_model.pb").unlink()
    (linked / "saved_model.pb").symlink_to(model / "saved_model.pb")
    assert packed(linked, tmp_path / "a") == packed(model, tmp_path / "b")


PACK = """
import sys, locale
from pathlib import Path
from hubcli.archive.tar import Limits
from hubcli.archive.pack import pack
from hubcli.archive.tree import Tree
print(pack(Tree.read(Path(sys.argv[1]), Limits()), Path(sys.argv[2])).sha256)
"""


@pytest.mark.parametrize(
    "variables",
    [
        {"TZ": "Asia/Tokyo"},
        {"LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "7"},
        {"LC_ALL": "tr_TR.UTF-8", "PYTHONOPTIMIZE": "2"},
        {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"},
    ],
    ids=str,
)
def test_zone_locale_and_umask_change_nothing(variables: dict[str, str], model: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", PACK, str(model), str(tmp_path / "archive")],
        env={**os.environ, **variables},
        umask=0o077,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.strip() == TAR_GZ, result.stderr


@pytest.mark.parametrize("compress", [True, False])
def test_our_reader_pythons_and_tar_unpack_the_same(model: Path, tmp_path: Path, compress: bool) -> None:
    archive = tmp_path / "archive"
    packed(model, archive, compress=compress)
    assert unpacked(archive.read_bytes(), tmp_path / "ours") == FILES
    with tarfile.open(archive) as file:
        members = file.getmembers()
        file.extractall(tmp_path / "pythons", filter="data")
    assert models.tree_files(tmp_path / "pythons") == FILES
    assert {(member.mtime, member.uid, member.gid, member.uname, member.gname) for member in members} == {
        (0, 0, 0, "", "")
    }
    assert {member.mode for member in members} == {0o644, 0o755}
    if shutil.which("tar"):
        (tmp_path / "tar").mkdir()
        subprocess.run(["tar", "-xf", archive, "-C", tmp_path / "tar"], check=True)
        assert models.tree_files(tmp_path / "tar") == FILES


def test_each_directory_has_an_entry_before_what_it_holds(model: Path, tmp_path: Path) -> None:
    packed(model, tmp_path / "archive")
    with tarfile.open(tmp_path / "archive") as file:
        names = [member.name for member in file]
    assert names[0] == "."
    for number, name in enumerate(names[1:], start=1):
        parent = name.rpartition("/")[0]
        assert parent in names[:number]


def test_the_gzip_stream_has_no_name_and_no_time(model: Path, tmp_path: Path) -> None:
    packed(model, tmp_path / "archive")
    content = (tmp_path / "archive").read_bytes()
    assert content[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    packed(model, tmp_path / "plain", compress=False)
    assert zlib.decompress(content, wbits=31) == (tmp_path / "plain").read_bytes()


@each_of("size", [0, 1, 511, 512, 513, 65_535, 65_536, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_every_size_comes_back(size: int, tmp_path: Path) -> None:
    model = models.write_tree(tmp_path / "model", {"a": os.urandom(size), "b": b"next"})
    archive = packed(model, tmp_path / "archive")
    content = (tmp_path / "archive").read_bytes()
    assert archive.size_bytes == len(content) == archive_size_bytes(Tree.read(model, Limits()))
    assert unpacked(content, tmp_path / "back") == models.tree_files(model)
    assert len(zlib.decompress(content, wbits=31)) % 10_240 == 0


@each_of("length", range(85, 110))
def test_names_of_every_length_come_back(length: int, tmp_path: Path) -> None:
    files = {"d" * 90 + "/" + "n" * length: b"1", "n" * length: b"2", "d" * length + "/f": b"3"}
    model = models.write_tree(tmp_path / "model", files)
    packed(model, tmp_path / "archive")
    assert unpacked((tmp_path / "archive").read_bytes(), tmp_path / "back") == models.tree_files(model)
    with tarfile.open(tmp_path / "archive") as file:
        assert {member.name for member in file if member.isfile()} == {f"./{name}" for name in files}


def test_a_file_of_more_than_8_gib_has_its_size_in_a_pax_header() -> None:
    from hubcli.archive.pack import _header

    head = _header(TreeNode(Path("large"), "large", is_directory=False, size_bytes=8**11))
    assert tarfile.TarInfo.frombuf(head[:512], "utf-8", "strict").type == b"x"
    assert b"18 size=8589934592\n" not in head
    assert b"19 size=8589934592\n" in head
    assert tarfile.TarInfo.frombuf(head[1024:], "utf-8", "strict").name == "./large"


@pytest.mark.slow
def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    with (model / "large").open("wb") as file:
        file.truncate(200 << 20)
    tracemalloc.start()
    try:
        packed(model, tmp_path / "archive")
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("content", [b"shorter", b"longer" * 1000])
@pytest.mark.parametrize("when", ["before it is read", "while it is read"])
def test_a_file_that_changes_is_told(content: bytes, when: str, model: Path, tmp_path: Path) -> None:
    tree = Tree.read(model, Limits())
    if when == "before it is read":
        (model / "saved_model.pb").write_bytes(content)
        with pytest.raises(TruncatedError, match=r"saved_model.pb changed"):
            pack(tree, tmp_path / "archive")
    else:
        (model / "saved_model.pb").write_bytes(content[:1] * 1500)  # As long as before.
        assert Tree.read(model, Limits()) != tree


def test_of_a_small_file_that_has_grown_by_a_byte_nothing_is_packed(tmp_path: Path) -> None:
    file = models.write_tree(tmp_path / "model", {"saved_model.pb": b"graph"}) / "saved_model.pb"
    tree, counts = Tree.read(file.parent, Limits()), list[int]()
    file.write_bytes(b"graphs")
    with pytest.raises(TruncatedError, match=r"saved_model.pb changed"):
        pack(tree, tmp_path / "archive", on_bytes=counts.append)
    assert counts == []


def test_a_file_that_is_gone_is_told(model: Path, tmp_path: Path) -> None:
    tree = Tree.read(model, Limits())
    (model / "empty").unlink()
    with pytest.raises(NotFoundError, match="empty"):
        pack(tree, tmp_path / "archive")


def test_an_archive_is_never_written_over_a_file(model: Path, tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        packed(model, tmp_path / "archive")
    assert (tmp_path / "archive").read_bytes() == b"old"


@pytest.mark.parametrize(
    "name", ["a\\b", "con", "a:b", "line\nfeed", "ends with.", "x" * 200 + "/" + "y" * 200]
)
def test_what_a_fetch_would_refuse_is_not_packed(name: str, model: Path) -> None:
    models.write_tree(model, {name: b""})
    limits = Limits(path_bytes=300) if len(name) > 200 else Limits()
    with pytest.raises(UnsafeArchiveError, match="Cannot pack"):
        Tree.read(model, limits)


def test_names_that_differ_by_case_alone_are_not_packed(model: Path) -> None:
    (model / "Saved_Model.pb").write_bytes(b"")
    with pytest.raises(UnsafeArchiveError, match="only in case"):
        Tree.read(model, Limits())


def test_a_tree_that_would_not_be_unpacked_again_is_not_packed(model: Path) -> None:
    with pytest.raises(UnsafeArchiveError, match="more than the limit for archives"):
        Tree.read(model, Limits(unpacked_bytes=1000))


@pytest.mark.parametrize("size_bytes", [8**11 - 1, 8**11])
def test_the_largest_size_in_eleven_octal_digits_needs_no_other_header(size_bytes: int) -> None:
    header = _header(TreeNode(Path("large"), "large", is_directory=False, size_bytes=size_bytes))
    assert (len(header) == 512) is (size_bytes == 8**11 - 1)
    with tarfile.open(fileobj=io.BytesIO(header + bytes(1024))) as archive:
        member = archive.next()
    assert member is not None
    assert (member.name, member.size) == ("./large", size_bytes)
