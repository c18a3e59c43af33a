"""Which members of an archive become files, and which get it refused."""

from __future__ import annotations

import os
import stat
import tarfile
from pathlib import Path

import pytest

from hubcli.archive import Limits
from hubcli.errors import IntegrityError, UnsafeArchiveError
from tests import archives
from tests.archive.conftest import Sandbox
from tests.archives import directory, file, tar
from tests.cases import each_of


def test_files_and_directories_are_unpacked(sandbox: Sandbox) -> None:
    records = sandbox.unpack(tar(directory("a"), file("a/b", b"one"), file("c", b"two!")))
    assert sandbox.files == {"a/b": b"one", "c": b"two!"}
    assert [(record.path, record.size_bytes) for record in records] == [("a/b", 3), ("c", 4)]
    sandbox.require_untouched_surroundings()


def test_an_empty_directory_is_made(sandbox: Sandbox) -> None:
    sandbox.unpack(tar(directory("assets")))
    assert (sandbox.destination / "assets").is_dir()


def test_an_empty_file_is_made(sandbox: Sandbox) -> None:
    sandbox.unpack(tar(file("empty", b"")))
    assert sandbox.files == {"empty": b""}


def test_an_archive_of_nothing_gives_no_files(sandbox: Sandbox) -> None:
    assert sandbox.unpack(tar()) == ()


def test_parents_without_entries_of_their_own_are_made(sandbox: Sandbox) -> None:
    sandbox.unpack(tar(file("a/b/c/d", b"deep")))
    assert sandbox.files == {"a/b/c/d": b"deep"}


def test_a_directory_entry_may_come_behind_its_files(sandbox: Sandbox) -> None:
    sandbox.unpack(tar(file("a/b"), directory("a")))
    assert sandbox.files == {"a/b": b"content"}


def test_a_directory_may_be_there_twice(sandbox: Sandbox) -> None:
    sandbox.unpack(tar(directory("a"), directory("./a"), file("a/b")))
    assert sandbox.files == {"a/b": b"content"}


def test_dots_and_double_slashes_in_names_mean_nothing(sandbox: Sandbox) -> None:
    records = sandbox.unpack(tar(directory("."), file("./a//b/./c")))
    assert [record.path for record in records] == ["a/b/c"]


@each_of("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_the_standard_library_packs_is_unpacked(tmp_path: Path, form: int) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    files = {"a": b"1", "b/c": b"22" * 600, f"{'d' * 60}/{'e' * 70}": b"long", "f": b""}
    sandbox.unpack(archives.packed_by_tarfile(files, form))
    assert sandbox.files == files


# Member kinds ------------------------------------------------------------------------------------


def test_a_hard_link_is_refused(sandbox: Sandbox) -> None:
    error = sandbox.refusal(tar(file("a"), archives.hard_link("b", "a")), UnsafeArchiveError)
    assert "'b' is a hard link" in error.message


def test_a_hard_link_to_a_file_outside_is_refused(sandbox: Sandbox) -> None:
    victim = sandbox.outside / "victim"
    sandbox.refusal(tar(archives.hard_link("b", str(victim)), file("b", b"pwned")), UnsafeArchiveError)
    assert victim.stat().st_nlink == 1


def test_a_symbolic_link_is_refused(sandbox: Sandbox) -> None:
    error = sandbox.refusal(tar(archives.symbolic_link("b", "a")), UnsafeArchiveError)
    assert "'b' is a symbolic link" in error.message


def test_a_symbolic_link_to_write_through_is_refused(sandbox: Sandbox) -> None:
    archive = tar(archives.symbolic_link("out", "../.."), file("out/victim", b"pwned"))
    sandbox.refusal(archive, UnsafeArchiveError)
    assert (sandbox.outside / "victim").read_bytes() == b"untouched"


def test_a_chain_of_links_past_the_length_of_a_path_is_refused(sandbox: Sandbox) -> None:
    # CVE-2025-4517: realpath gives up on the long path, and the filter lets the last link pass.
    step = "d" * 247
    chain = [archives.pax({"path": "/".join([step] * depth)}) + directory("short") for depth in range(1, 5)]
    links = [archives.long_link("escape", "/".join([step] * 16) + "/../../../etc")]
    sandbox.refusal(tar(*chain, *links, file("escape/canary")), UnsafeArchiveError)


@each_of("make", [archives.character_device, archives.block_device, archives.fifo])
def test_a_device_or_a_fifo_is_refused(tmp_path: Path, make: archives.MakeMember) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    sandbox.refusal(tar(make("a")), UnsafeArchiveError)
    assert not (sandbox.destination / "a").exists()


@pytest.mark.parametrize("make", [archives.gnu_sparse, archives.pax_sparse_file])
def test_a_sparse_file_is_refused(sandbox: Sandbox, make: archives.MakeMember) -> None:
    error = sandbox.refusal(tar(make("a")), UnsafeArchiveError)
    assert "sparse" in error.message


def test_a_link_with_a_long_target_is_refused(sandbox: Sandbox) -> None:
    sandbox.refusal(tar(archives.long_link("a", "b" * 200)), UnsafeArchiveError)


@each_of("kind", [b"7", b"A", b"D", b"M", b"N", b"V", b"X", b"\xff"])
def test_a_member_of_another_type_is_refused(tmp_path: Path, kind: bytes) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    error = sandbox.refusal(tar(archives.header("a", kind=kind)), UnsafeArchiveError)
    assert "unknown type" in error.message


def test_a_directory_that_claims_to_have_bytes_is_refused(sandbox: Sandbox) -> None:
    sandbox.refusal(tar(archives.header("a/", kind=b"5", size=512) + bytes(512)), UnsafeArchiveError)


# Modes and owners --------------------------------------------------------------------------------


@each_of("mode", [0o000, 0o777, 0o4755, 0o2755, 0o1777, 0o6000])
def test_stored_modes_are_ignored(tmp_path: Path, mode: int) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    before = os.umask(0o022)
    try:
        sandbox.unpack(tar(directory("d", mode=mode), file("d/a", mode=mode)))
    finally:
        os.umask(before)
    assert stat.S_IMODE((sandbox.destination / "d" / "a").stat().st_mode) == 0o644
    assert stat.S_IMODE((sandbox.destination / "d").stat().st_mode) == 0o755


def test_stored_owners_are_ignored(sandbox: Sandbox) -> None:
    sandbox.unpack(tar(file("a", owner=4321)))
    status = (sandbox.destination / "a").stat()
    assert (status.st_uid, status.st_gid) == (os.geteuid(), sandbox.destination.stat().st_gid)


def test_stored_times_are_ignored(sandbox: Sandbox) -> None:
    sandbox.unpack(tar(archives.pax({"mtime": "1.5"}) + file("a")))
    assert (sandbox.destination / "a").stat().st_mtime > 1_700_000_000


# Headers -----------------------------------------------------------------------------------------


def test_a_long_name_in_a_pax_header_is_taken(sandbox: Sandbox) -> None:
    name = "/".join(["n" * 90] * 4)
    sandbox.unpack(tar(archives.pax_named_file(name, b"pax")))
    assert sandbox.files == {name: b"pax"}


def test_a_long_name_in_a_gnu_header_is_taken(sandbox: Sandbox) -> None:
    name = "/".join(["n" * 90] * 4)
    sandbox.unpack(tar(archives.gnu_long_named_file(name, b"gnu")))
    assert sandbox.files == {name: b"gnu"}


@each_of("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@each_of("content", [b"", b"content"])
def test_a_file_stays_one_where_its_shortened_name_ends_with_a_slash(
    tmp_path: Path, form: int, content: bytes
) -> None:
    # The 100 bytes of the name field end right behind a directory of the real name.
    sandbox = Sandbox(tmp_path / "sandbox")
    name = "d" * 99 + "/variables.index"
    sandbox.unpack(archives.packed_by_tarfile({name: content}, form))
    assert sandbox.files == {name: content}


def test_a_name_over_a_prefix_is_joined(sandbox: Sandbox) -> None:
    sandbox.unpack(tar(file("b", prefix="a/aa")))
    assert sandbox.files == {"a/aa/b": b"content"}


def test_a_long_name_holds_for_one_member_alone(sandbox: Sandbox) -> None:
    sandbox.unpack(tar(archives.pax_named_file("first"), file("second")))
    assert sorted(sandbox.files) == ["first", "second"]


def test_a_base_256_size_is_understood(sandbox: Sandbox) -> None:
    sandbox.unpack(tar(archives.base256_file("a", b"large")))
    assert sandbox.files == {"a": b"large"}


@each_of("size", [1 << 40, 1 << 63, (1 << 88) - 1])
def test_a_base_256_size_beyond_all_limits_is_refused(tmp_path: Path, size: int) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    archive = tar(archives.base256_file("a", b"", claimed_size=size))
    sandbox.refusal(archive, UnsafeArchiveError)


@each_of("field", [b"\xff" * 12, b"-0000000001\0", b"0x00000000\0", b"00000000009\0", b"1 2"])
def test_a_size_that_is_no_number_is_damage(tmp_path: Path, field: bytes) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    sandbox.refusal(tar(archives.header("a", size_field=field)), IntegrityError)


def test_a_pax_size_stands_above_the_header_s(sandbox: Sandbox) -> None:
    content = b"x" * 700
    member = archives.pax({"size": "700"}) + archives.header("a") + content + bytes(324)
    sandbox.unpack(tar(member))
    assert sandbox.files == {"a": content}


@each_of("size", ["-1", "1e3", "", "9" * 20, "٣"])
def test_a_pax_size_that_is_no_number_is_damage(tmp_path: Path, size: str) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    sandbox.refusal(tar(archives.pax({"size": size}) + file("a")), IntegrityError)


def test_a_file_of_the_format_before_posix_is_unpacked(sandbox: Sandbox) -> None:
    sandbox.unpack(tar(archives.old_directory("d"), archives.old_file("d/a", b"old")))
    assert sandbox.files == {"d/a": b"old"}


def test_a_global_comment_is_passed_over(sandbox: Sandbox) -> None:
    # As `git archive` writes it.
    sandbox.unpack(tar(archives.pax_global({"comment": "4b825dc642cb6eb9"}), file("a")))
    assert sandbox.files == {"a": b"content"}


@pytest.mark.parametrize("key", ["path", "size"])
def test_a_global_path_or_size_is_refused(sandbox: Sandbox, key: str) -> None:
    sandbox.refusal(tar(archives.pax_global({key: "7"}), file("a")), UnsafeArchiveError)


@each_of(
    "data",
    [b"x", b"5 a=b\n", b"7 a=b\n", b"0 a=b\n", b"99 a=b\n", b"6 ab=c", b"-6 a=b\n", b"6 a=b\0", b"5 =b\n"],
)
def test_a_pax_header_that_makes_no_sense_is_damage(tmp_path: Path, data: bytes) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    sandbox.refusal(tar(archives.raw_pax(data), file("a")), IntegrityError)


def test_an_extension_header_of_many_megabytes_is_refused(sandbox: Sandbox) -> None:
    sandbox.refusal(tar(archives.raw_pax(b"6 a=b\n" * 200_000), file("a")), UnsafeArchiveError)


def test_a_header_with_a_wrong_checksum_is_damage(sandbox: Sandbox) -> None:
    damaged = bytearray(tar(file("a"), file("b")))
    damaged[1024] ^= 1
    error = sandbox.refusal(bytes(damaged), IntegrityError)
    assert "checksum" in error.message


# Twins -------------------------------------------------------------------------------------------


@each_of("other", [b"2", b"", b"11"])
def test_a_file_that_is_there_twice_with_different_bytes_is_refused(other: bytes, tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    error = sandbox.refusal(tar(file("a", b"1"), file("./a", other)), UnsafeArchiveError)
    assert "twice, with different content" in error.message


def test_a_file_that_is_there_again_with_the_same_bytes_is_one(sandbox: Sandbox) -> None:
    records = sandbox.unpack(tar(file("a", b"1"), file("b", b"2"), file("./a", b"1"), file("a", b"1")))
    assert [record.path for record in records] == ["a", "b"]
    assert sandbox.files == {"a": b"1", "b": b"2"}


def test_the_last_of_many_copies_may_not_differ(sandbox: Sandbox) -> None:
    sandbox.refusal(tar(file("a", b"1"), file("a", b"1"), file("a", b"2")), UnsafeArchiveError)


def test_copies_count_among_the_unpacked_bytes(sandbox: Sandbox) -> None:
    archive = tar(*(file("a", b"x" * 600) for _ in range(3)))
    sandbox.refusal(archive, UnsafeArchiveError, Limits(unpacked_bytes=1500))


@each_of(
    "name, other",
    [
        ("a", "A"),
        ("d/a", "D/b"),
        ("straße", "STRASSE"),
        ("caf\u00e9", "cafe\u0301"),
        ("CAF\u00c9", "cafe\u0301"),
        ("\u212b", "\u00e5"),
        ("ﬁle", "file"),
        ("\u03c3", "\u03c2"),
    ],
)
def test_names_that_some_systems_take_for_one_are_refused(tmp_path: Path, name: str, other: str) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    error = sandbox.refusal(tar(file(name), file(other)), UnsafeArchiveError)
    assert "only in case or accents" in error.message


def test_directories_that_differ_by_case_alone_are_refused(sandbox: Sandbox) -> None:
    sandbox.refusal(tar(directory("assets"), directory("Assets")), UnsafeArchiveError)


@each_of(
    "archive",
    [
        tar(file("a"), directory("a")),
        tar(directory("a"), file("a")),
        tar(file("a"), file("a/b")),
        tar(file("a/b"), file("a")),
        tar(file("a"), directory("a/b")),
    ],
)
def test_a_name_for_both_a_file_and_a_directory_is_refused(tmp_path: Path, archive: bytes) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    error = sandbox.refusal(archive, UnsafeArchiveError)
    assert "both a file and a directory" in error.message


def test_what_already_stands_in_the_destination_is_not_written_over(sandbox: Sandbox, tmp_path: Path) -> None:
    (sandbox.destination / "a").symlink_to(sandbox.outside / "victim")
    with pytest.raises(FileExistsError):
        sandbox.unpack(tar(file("a", b"pwned")))
    assert (sandbox.outside / "victim").read_bytes() == b"untouched"


# Limits ------------------------------------------------------------------------------------------


def test_more_members_than_allowed_are_refused(sandbox: Sandbox) -> None:
    archive = tar(*(file(str(number)) for number in range(11)))
    error = sandbox.refusal(archive, UnsafeArchiveError, Limits(members=10))
    assert "more than 10 members" in error.message
    assert "--max-members" in error.hint


def test_as_many_members_as_allowed_are_unpacked(sandbox: Sandbox) -> None:
    sandbox.unpack(tar(*(file(str(number)) for number in range(10))), Limits(members=10))
    assert len(sandbox.files) == 10


def test_extension_headers_without_end_are_refused(sandbox: Sandbox) -> None:
    archive = tar(*(archives.pax_global({"comment": "again"}) for _ in range(20)))
    sandbox.refusal(archive, UnsafeArchiveError, Limits(members=10))


def test_directories_without_entries_count_as_members(sandbox: Sandbox) -> None:
    # 20 members make 600 directories, and 3.1 million of them with the default limits.
    archive = tar(*(archives.pax_named_file("/".join([str(number)] * 31)) for number in range(20)))
    sandbox.refusal(archive, UnsafeArchiveError, Limits(members=100))


def test_extension_headers_count_among_the_unpacked_bytes(sandbox: Sandbox) -> None:
    # 64 MiB in 64 headers: with the default limits it would be 100 GB that one archive of 100 MB inflates to.
    data = bytes(1 << 20)
    long_name = archives.header("././@LongLink", kind=b"L", size=len(data)) + data
    sandbox.refusal(
        archives.gzipped(long_name * 64), UnsafeArchiveError, Limits(members=100, unpacked_bytes=1)
    )


def test_more_bytes_than_allowed_are_refused_before_the_member_is_written(sandbox: Sandbox) -> None:
    archive = tar(file("a", b"x" * 600), file("b", b"y" * 600))
    error = sandbox.refusal(archive, UnsafeArchiveError, Limits(unpacked_bytes=1000))
    assert "unpacks to more than 1.0 kB" in error.message
    assert "--max-unpacked" in error.hint
    assert sorted(sandbox.files) == ["a"]


def test_as_many_bytes_as_allowed_are_unpacked(sandbox: Sandbox) -> None:
    sandbox.unpack(tar(file("a", b"x" * 600), file("b", b"y" * 400)), Limits(unpacked_bytes=1000))
    assert len(sandbox.files) == 2
