"""Headers of an archive are bounded on their own: in bytes, in records, for a member and for all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from hubcli.archive import Limits
from hubcli.errors import IntegrityError, UnsafeArchiveError
from tests import archives
from tests.archive.conftest import Sandbox
from tests.archives import file, tar

MIB = 1 << 20


def headers(data: bytes, count: int, kind: bytes = b"x", member: bytes = b"") -> bytes:
    """That many extension headers, a member behind each."""
    return (archives.raw_pax(data, kind=kind) + member) * count


def record(size_bytes: int) -> bytes:
    """One record of that many bytes, seven digits of which tell its length."""
    return b"%07d comment=" % size_bytes + b"x" * (size_bytes - 17) + b"\n"


def long_name(name: bytes) -> bytes:
    return archives.header("././@LongLink", kind=b"L", size=len(name)) + name + bytes(-len(name) % 512)


HOSTILE: dict[str, Callable[[], Iterator[bytes]]] = {
    "100 headers of 1 MiB, of short records": lambda: iter(
        [headers(b"6 a=b\n" * (MIB // 6), 1, member=file(str(number))) for number in range(100)]
    ),
    "100 headers of 1 MiB, of one record": lambda: iter(
        [headers(record(MIB), 1, member=file(str(number))) for number in range(100)]
    ),
    "global headers of 1 MiB": lambda: iter(
        [headers(record(MIB), 1, b"g", member=file(str(number))) for number in range(100)]
    ),
    "global headers of 1 MiB before one member": lambda: iter([headers(record(MIB), 100, b"g"), file("a")]),
    "long names of 1 MiB before one member": lambda: iter([long_name(b"a" * MIB) * 100, file("a")]),
    "headers of 1 KiB before each of many members": lambda: iter(
        [headers(b"6 a=b\n" * 170, 1, member=file(str(number), b"")) for number in range(3000)]
    ),
    "a record without an end": lambda: iter([headers(b"1048576 " + b"x" * (MIB - 8), 1), file("a")]),
    "a length of a megabyte of digits": lambda: iter([headers(b"9" * MIB, 1), file("a")]),
    "a size of a megabyte of digits": lambda: iter([archives.pax({"size": "1" * (MIB - 100)}), file("a")]),
    "empty headers without end": lambda: iter([headers(b"", 1100), file("a")]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers_are_refused_in_little_time(name: str, sandbox: Sandbox) -> None:
    archive = tar(*HOSTILE[name]())
    started_at_s = time.process_time()
    is_damage = name.startswith(("a record", "a length", "a size"))
    error = sandbox.refusal(
        archive,
        IntegrityError if is_damage else UnsafeArchiveError,
        Limits(members=1000 if "empty" in name else 100_000),
    )
    assert time.process_time() - started_at_s < 4
    assert error.exit_status == 6


def test_the_headers_of_one_member_are_a_mebibyte_together(sandbox: Sandbox) -> None:
    half = record(MIB // 2)
    sandbox.unpack(tar(headers(half, 2), file("a")))
    error = sandbox.refusal(tar(headers(half, 2), headers(b"6 a=b\n", 1), file("a")), UnsafeArchiveError)
    assert "for one member" in error.message


def test_the_headers_of_all_members_have_a_limit_that_can_be_raised(sandbox: Sandbox) -> None:
    archive = tar(*(headers(record(1000), 1, member=file(str(number))) for number in range(11)))
    error = sandbox.refusal(archive, UnsafeArchiveError, Limits(header_bytes=10_000))
    assert "more than 10.0 kB of extension headers" in error.message
    assert error.hint == "If you trust the archive, add --max-headers SIZE."


def test_as_many_header_bytes_as_allowed_are_read(sandbox: Sandbox) -> None:
    archive = tar(*(headers(record(1000), 1, member=file(str(number))) for number in range(11)))
    sandbox.unpack(archive, Limits(header_bytes=11_000))
    assert len(sandbox.files) == 11


def test_records_are_counted_however_short(sandbox: Sandbox) -> None:
    archive = tar(headers(b"6 a=b\n" * 101, 1, member=file("a")))
    error = sandbox.refusal(archive, UnsafeArchiveError, Limits(header_bytes=10_000))
    assert "more than 100 records" in error.message


def test_an_archive_of_many_members_with_times_and_long_names_is_unpacked(sandbox: Sandbox) -> None:
    """What Python's tarfile and libarchive write before each member: far from the limits."""
    times = dict.fromkeys(("mtime", "atime", "ctime"), "1700000000.123456789")
    names = ["d/" * 20 + "n" * 150 + str(number) for number in range(300)]
    sandbox.unpack(tar(*(archives.pax({**times, "path": name}) + file("x", b"") for name in names)))
    assert sorted(sandbox.files) == sorted(names)
    assert sum(len(name) + 110 for name in names) * 333 < Limits().header_bytes  # 100,000 entries of them
