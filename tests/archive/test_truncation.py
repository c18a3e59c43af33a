"""Tar streams that end too early, too late, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubcli.errors import IntegrityError, TruncatedError, UnsafeArchiveError
from tests import archives
from tests.archive.conftest import Sandbox
from tests.archives import END, file, gzipped, tar
from tests.cases import each_of

MEMBERS = (file("a", b"a" * 700), archives.pax_named_file("b" * 120, b"b" * 100), file("c", b"c" * 512))
WHOLE = tar(*MEMBERS)
DATA_ENDS = len(WHOLE) - len(END)


@each_of("count", [0, 1, 2, 3])
def test_a_missing_end_marker_is_found(tmp_path: Path, count: int) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    archive = gzipped(tar(*MEMBERS[:count], end=b""))
    sandbox.refusal(archive, TruncatedError)


@each_of("end", range(512, DATA_ENDS, 97))
def test_a_plain_tar_that_is_cut_off_is_found(tmp_path: Path, end: int) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    sandbox.refusal(WHOLE[:end], TruncatedError)


@each_of("end", range(0, DATA_ENDS, 97))
def test_a_tar_that_was_cut_off_before_it_was_compressed_is_found(tmp_path: Path, end: int) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    with pytest.raises(IntegrityError):
        sandbox.unpack(gzipped(WHOLE[:end]))
    sandbox.require_untouched_surroundings()


def test_a_header_that_is_cut_off_behind_whole_members_is_found(sandbox: Sandbox) -> None:
    sandbox.refusal(tar(MEMBERS[0], end=b"") + file("b")[:300], TruncatedError)


def test_the_padding_of_the_last_member_may_not_be_missing(sandbox: Sandbox) -> None:
    sandbox.refusal(file("a", b"x" * 700)[: 512 + 700], TruncatedError)


def test_an_extension_header_that_is_cut_off_is_found(sandbox: Sandbox) -> None:
    sandbox.refusal(archives.pax({"path": "a" * 600})[:1000], TruncatedError)


@each_of("end", [bytes(512), END, bytes(10240), bytes(1 << 20)])
def test_one_block_of_zeros_ends_the_archive_and_more_do_no_harm(tmp_path: Path, end: bytes) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    assert len(sandbox.unpack(tar(*MEMBERS, end=end))) == 3


@each_of(
    "trailing",
    [b"x", bytes(600) + b"x", file("d"), file("d") + END],
)
def test_bytes_behind_the_end_marker_are_refused(tmp_path: Path, trailing: bytes) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    error = sandbox.refusal(WHOLE + trailing, UnsafeArchiveError)
    assert "after its end marker" in error.message


def test_a_padding_without_end_is_refused(sandbox: Sandbox) -> None:
    error = sandbox.refusal(tar(end=bytes(65 << 20)), UnsafeArchiveError)
    assert "has no end" in error.message


def test_a_file_of_zeros_is_no_end_marker(sandbox: Sandbox) -> None:
    sandbox.unpack(tar(file("zeros", bytes(4096)), file("after")))
    assert sandbox.files == {"zeros": bytes(4096), "after": b"content"}
