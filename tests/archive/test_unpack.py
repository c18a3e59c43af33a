"""Members become files, each hashed on its way; one folder around them all is taken off."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from hubcli.archive import FileRecord, Limits, Member, MemberStream
from hubcli.archive.unpack import lift_wrapping_folder, unpack
from hubcli.errors import TruncatedError
from tests.archive.conftest import Sandbox
from tests.archives import directory, file, read_tree, tar
from tests.cases import each_of


def _lift(sandbox: Sandbox, archive: bytes) -> tuple[str | None, list[str]]:
    wrapping, records = lift_wrapping_folder(sandbox.destination, sandbox.unpack(archive))
    paths = [record.path for record in records]
    assert sorted(paths) == sorted(sandbox.files)
    sandbox.require_untouched_surroundings()
    return wrapping, paths


def test_each_file_has_its_size_and_its_sha_256(sandbox: Sandbox) -> None:
    content = bytes(range(256)) * 9000
    records = sandbox.unpack(tar(file("b", content), file("a", b"")))
    assert records == (
        FileRecord("a", 0, hashlib.sha256(b"").hexdigest()),
        FileRecord("b", len(content), hashlib.sha256(content).hexdigest()),
    )


def test_the_progress_adds_up_to_what_was_written(tmp_path: Path) -> None:
    progress_bytes: list[int] = []

    def members() -> MemberStream:
        yield Member("d", is_directory=True, size_bytes=0), iter(())
        yield Member("d/a", is_directory=False, size_bytes=5), iter([memoryview(b"123"), memoryview(b"45")])

    unpack(members(), tmp_path, Limits(), progress_bytes.append)
    assert progress_bytes == [3, 2]


@pytest.mark.parametrize("pieces", [[b"12"], [b"1234", b"567"]])
def test_a_file_that_is_not_as_long_as_promised_is_refused(tmp_path: Path, pieces: list[bytes]) -> None:
    def members() -> Iterator[tuple[Member, Iterator[memoryview]]]:
        yield Member("a", is_directory=False, size_bytes=5), map(memoryview, pieces)

    with pytest.raises(TruncatedError):
        unpack(members(), tmp_path, Limits())


def test_a_folder_around_everything_is_taken_off(sandbox: Sandbox) -> None:
    archive = tar(directory("model"), file("model/saved_model.pb"), file("model/variables/a"))
    assert _lift(sandbox, archive) == ("model", ["saved_model.pb", "variables/a"])


def test_a_folder_without_an_entry_of_its_own_is_taken_off(sandbox: Sandbox) -> None:
    assert _lift(sandbox, tar(file("./m/a"), file("m/b"))) == ("m", ["a", "b"])


def test_one_folder_alone_is_taken_off(sandbox: Sandbox) -> None:
    assert _lift(sandbox, tar(file("a/b/c"))) == ("a", ["b/c"])


def test_a_folder_that_holds_its_own_name_is_taken_off(sandbox: Sandbox) -> None:
    assert _lift(sandbox, tar(file("m/m/a"), file("m/b"))) == ("m", ["b", "m/a"])


def test_a_folder_that_holds_a_file_of_its_own_name_is_taken_off(sandbox: Sandbox) -> None:
    assert _lift(sandbox, tar(file("m/m"))) == ("m", ["m"])


def test_an_empty_folder_around_nothing_is_taken_off(sandbox: Sandbox) -> None:
    assert _lift(sandbox, tar(directory("m"))) == ("m", [])
    assert list(sandbox.destination.iterdir()) == []


def test_hidden_files_are_lifted_too(sandbox: Sandbox) -> None:
    assert _lift(sandbox, tar(file("m/.hidden"), file("m/a"))) == ("m", [".hidden", "a"])


@each_of(
    "archive",
    [tar(), tar(file("a")), tar(file("d/a"), file("b")), tar(file("d/a"), directory("e"))],
)
def test_without_a_common_top_directory_nothing_is_moved(tmp_path: Path, archive: bytes) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    records = sandbox.unpack(archive)
    before = read_tree(sandbox.destination)
    assert lift_wrapping_folder(sandbox.destination, records) == (None, records)
    assert sandbox.files == before
