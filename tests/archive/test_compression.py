"""Compressed streams: told by their first bytes, read to their last, every checksum verified."""

from __future__ import annotations

import lzma
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubcli.archive import compression
from hubcli.archive.compression import ARCHIVE_FORMATS, ARCHIVE_SUFFIXES, archive_format, decompressed
from hubcli.errors import HubcliError, IntegrityError, TruncatedError, UnsafeArchiveError
from hubcli.providers.handle import Handle
from tests import archives
from tests.archive.conftest import Sandbox
from tests.archives import (
    bzipped,
    chunked,
    file,
    gzip_members,
    gzipped,
    gzipped_twice,
    tar,
    xzipped,
)
from tests.cases import each_of

TAR = tar(file("a", bytes(range(256)) * 8), file("b", b"b" * 1300))
FILES = {"a": bytes(range(256)) * 8, "b": b"b" * 1300}
PACKED = {
    "plain": TAR,
    "gzip": gzipped(TAR),
    "several gzip streams": gzip_members([TAR[:700], TAR[700:1024], TAR[1024:]]),
    "padded gzip": gzipped(TAR) + bytes(1000),
    "bzip2": bzipped(TAR),
    "several bzip2 streams": bzipped(TAR[:700]) + bzipped(TAR[700:]),
    "xz": xzipped(TAR),
    "several xz streams": xzipped(TAR[:700]) + bytes(4) + xzipped(TAR[700:]),
    "gzip within gzip": gzipped_twice(TAR),
    "xz within gzip": gzipped(xzipped(TAR)),
}
every_compression = pytest.mark.parametrize("packed", PACKED.values(), ids=PACKED.keys())
LOOK_ALIKES = {
    "a zip file": b"PK\x03\x04\x14\0\0\0\x08\0" + b"z" * 600,
    "a web page or XML": b"\n <!DOCTYPE html>\n<html><head><title>Sign in</title>" + b" " * 600,
    "JSON": b'{"error": {"code": 403, "message": "Permission denied"}}',
    "a git-LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:"
    + b"0" * 64
    + b"\nsize 12\n",
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(600),
    "a Zstandard file": b"\x28\xb5\x2f\xfd" + b"z" * 600,
    # A FlatBuffers file begins with the offset of its root; the identifier follows at byte 4.
    "a TF Lite model": b"\x1c\0\0\0TFL3" + b"\1" * 600,
    "something else": b"\x0a\x05hello" * 100,
}


@every_compression
@pytest.mark.parametrize("chunk_bytes", [1, 2, 7, 500, 1 << 20])
def test_each_compression_is_undone(sandbox: Sandbox, packed: bytes, chunk_bytes: int) -> None:
    sandbox.unpack(chunked(packed, chunk_bytes))
    assert sandbox.files == FILES


def test_the_format_is_told_by_the_first_bytes() -> None:
    packed = {"tar": TAR, "tar.gz": gzipped(TAR), "tar.bz2": bzipped(TAR), "tar.xz": xzipped(TAR)}
    assert {name: archive_format(body[:512]) for name, body in packed.items()} == {
        name: name for name in packed
    }
    assert archive_format(b"") == "tar"
    # Shared tiers keep these words: one that goes makes their manifests unreadable.
    assert tuple(packed) == ARCHIVE_FORMATS


def test_more_than_two_layers_are_refused(sandbox: Sandbox) -> None:
    error = sandbox.refusal(gzipped(gzipped_twice(TAR)), UnsafeArchiveError)
    assert "compressed more than 2 times" in error.message


@pytest.mark.parametrize(
    "old", [archives.old_file("a"), archives.old_directory("d") + archives.old_file("d/a")]
)
def test_the_format_before_posix_is_known_by_its_checksum(sandbox: Sandbox, old: bytes) -> None:
    sandbox.unpack(tar(old))
    assert list(sandbox.files.values()) == [b"content"]


@each_of("what, head", LOOK_ALIKES.items())
def test_what_is_no_archive_is_named(tmp_path: Path, what: str, head: bytes) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    assert f"but {what}" in sandbox.refusal(head, UnsafeArchiveError).message


@each_of("what, head", LOOK_ALIKES.items())
def test_what_is_no_archive_is_named_below_gzip_too(tmp_path: Path, what: str, head: bytes) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    assert f"but {what}" in sandbox.refusal(gzipped(head), UnsafeArchiveError).message


@each_of("empty", [b"", gzipped(b""), bzipped(b""), gzipped_twice(b"")])
def test_an_empty_file_is_a_truncated_archive(tmp_path: Path, empty: bytes) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    assert "empty" in sandbox.refusal(empty, TruncatedError).message


@each_of("name", sorted(PACKED.keys() - {"plain", "padded gzip"}))
def test_a_stream_that_is_cut_off_is_never_taken_for_a_whole_one(name: str) -> None:
    packed = PACKED[name]
    for end in range(len(packed)):
        try:
            got = b"".join(decompressed(chunked(packed[:end])))
        except IntegrityError:
            continue
        # A cut between two of several streams: the missing end marker will tell.
        assert TAR.startswith(got)
        assert len(got) < len(TAR)


@each_of("position", range(-8, 0))
def test_a_wrong_checksum_or_length_behind_gzip_is_found(tmp_path: Path, position: int) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    damaged = bytearray(gzipped(TAR))
    damaged[position] ^= 0x10
    sandbox.refusal(bytes(damaged), IntegrityError)


def test_a_wrong_checksum_in_the_first_of_several_gzip_streams_is_found(sandbox: Sandbox) -> None:
    first = bytearray(gzipped(TAR[:1024]))
    first[-6] ^= 1
    sandbox.refusal(bytes(first) + gzipped(TAR[1024:]), IntegrityError)


def test_a_wrong_checksum_behind_the_inner_gzip_is_found(sandbox: Sandbox) -> None:
    inner = bytearray(gzipped(TAR))
    inner[-8] ^= 1
    sandbox.refusal(gzipped(bytes(inner)), IntegrityError)


@pytest.mark.parametrize("pack", [bzipped, xzipped])
def test_a_flipped_bit_in_bzip2_and_xz_is_found(sandbox: Sandbox, pack: archives.Pack) -> None:
    damaged = bytearray(pack(TAR))
    damaged[len(damaged) // 2] ^= 1
    sandbox.refusal(bytes(damaged), IntegrityError)


def test_bytes_behind_the_gzip_stream_are_refused(sandbox: Sandbox) -> None:
    with pytest.raises(IntegrityError):
        sandbox.unpack(gzipped(TAR) + b"and one more thing, longer than a header")
    sandbox.require_untouched_surroundings()


@each_of(
    "flag, extra",
    [
        (4, struct.pack("<H", 65535) + b"x" * 65535),
        (8, b"n" * 100_000 + b"\0"),
        (16, b"c" * 100_000 + b"\0"),
    ],
)
@each_of("chunk_bytes", [1, 1 << 16])
def test_the_optional_parts_of_a_gzip_header_are_passed_over(
    tmp_path: Path, flag: int, extra: bytes, chunk_bytes: int
) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    deflate = zlib.compressobj(wbits=-15)
    body = deflate.compress(TAR) + deflate.flush()
    packed = b"\x1f\x8b\x08" + bytes([flag]) + bytes(6) + extra + body
    packed += struct.pack("<II", zlib.crc32(TAR), len(TAR))
    sandbox.unpack(chunked(packed, chunk_bytes))
    assert sandbox.files == FILES


@pytest.mark.slow
def test_an_xz_stream_that_asks_for_a_gigabyte_of_memory_is_unsafe_rather_than_damaged(
    sandbox: Sandbox,
) -> None:
    # Written by hand, since a compressor takes as much memory itself. The block's header follows 12 bytes
    # of the stream's; 36 stands for 1 GiB, and a checksum is at the end.
    packed = bytearray(lzma.compress(TAR))
    header = packed[12 : 12 + 4 * (packed[12] + 1)]
    assert header[1:4] == bytes([0, 0x21, 1])
    header[4] = 36
    packed[12 : 12 + len(header)] = header[:-4] + zlib.crc32(header[:-4]).to_bytes(4, "little")
    error = sandbox.refusal(bytes(packed), UnsafeArchiveError)
    assert "memory" in error.message


@given(
    st.sampled_from(
        [b"", b"\x1f\x8b\x08", b"\x1f\x8b\x08\0\0\0\0\0\0\xff", b"BZh9", b"\xfd7zXZ\0", b"BZh91AY&SY"]
    ),
    st.binary(max_size=2000),
)
def test_any_bytes_behind_any_magic_raise_nothing_foreign(magic: bytes, noise: bytes) -> None:
    try:
        for _ in decompressed(chunked(magic + noise, 300)):
            pass
    except HubcliError:
        pass


def test_a_compression_of_the_table_is_read_named_in_errors_and_known_by_suffix(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert set(ARCHIVE_SUFFIXES) == {".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"}
    for suffix in ARCHIVE_SUFFIXES:  # A name that isn't there yet is an archive's by its suffix alone.
        handle = Handle.parse(str(tmp_path / f"model{suffix}"))
        assert handle.provider.name == "archive"
    mine = compression._Compression("rot", b"ROT!", (".tar.rot",), _Rot)
    monkeypatch.setattr(compression, "_COMPRESSIONS", (*compression._COMPRESSIONS, mine))
    assert b"".join(decompressed([b"ROT!" + bytes(255 - byte for byte in TAR)])) == TAR
    with pytest.raises(UnsafeArchiveError, match="plain, gzip, bzip2, xz or rot"):
        list(decompressed([b"neither"]))


class _Rot:
    """A decompressor of bytes that are turned around, behind four that name it."""

    def __init__(self) -> None:
        self._head, self.eof, self.needs_input, self.unused_data = 4, False, True, b""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        body, self._head = data[self._head :], 0
        self.eof = True
        return bytes(255 - byte for byte in body)
