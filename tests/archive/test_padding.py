"""Compressed streams with nothing in them, without an end: refused after a few megabytes."""

from __future__ import annotations

import bz2
import gzip
import itertools
import lzma
import random
import zlib
from collections.abc import Callable, Iterator

import pytest

from hubcli.archive.compression import decompressed
from hubcli.errors import IntegrityError, UnsafeArchiveError
from tests.archives import END, file, tar
from tests.cases import each_of

CONTENT = tar(file("saved_model.pb", random.Random(1).randbytes(100_000)))
_EMPTY_BLOCK = b"\0\0\0\xff\xff"  # Stored, of no bytes, and not the last.
# What has more is a few times the bound of 4 MiB.
MOST_BYTES = 24 << 20


def _unfinished() -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(CONTENT) + packer.flush(zlib.Z_SYNC_FLUSH)


PACKED, BZIP2, XZ = gzip.compress(CONTENT), bz2.compress(CONTENT), lzma.compress(CONTENT)
ENDLESS = {
    "gzip, then NULs": (PACKED, b"\0"),
    "gzip, then empty members": (PACKED, gzip.compress(b"")),
    "gzip, then members of one byte": (PACKED, gzip.compress(b"x")),
    "gzip, then NULs and empty members": (PACKED, bytes(512) + gzip.compress(b"")),
    "gzip with empty blocks": (_unfinished(), _EMPTY_BLOCK),
    "gzip of empty blocks alone": (PACKED[:10], _EMPTY_BLOCK),
    "a name without an end": (b"\x1f\x8b\x08\x08" + bytes(6), b"x"),
    "a comment without an end": (b"\x1f\x8b\x08\x10" + bytes(6), b"x"),
    "members with a comment of a megabyte": (
        PACKED,
        b"\x1f\x8b\x08\x10" + bytes(6) + b"x" * (1 << 20) + b"\0\3\0" + bytes(8),
    ),
    "bzip2, then NULs": (BZIP2, b"\0"),
    "bzip2, then empty streams": (BZIP2, bz2.compress(b"")),
    "xz, then padding": (XZ, bytes(4)),
    "xz, then empty streams": (XZ, lzma.compress(b"")),
    "xz, then streams and padding": (XZ, bytes(4000) + lzma.compress(b"")),
    "gzip, then rubbish": (PACKED, b"rubbish"),
    "bzip2, then rubbish": (BZIP2, b"rubbish"),
    "xz, then rubbish": (XZ, b"rubbish"),
    "NULs in gzip in gzip": (gzip.compress(PACKED), b"\0"),
}


@each_of("name", ENDLESS)
def test_padding_without_an_end_is_refused(name: str) -> None:
    head, piece = ENDLESS[name]
    taken = 0

    def chunks() -> Iterator[bytes]:
        nonlocal taken
        block = piece * (65536 // len(piece) or 1)
        for chunk in itertools.chain((head,), itertools.repeat(block)):
            taken += len(chunk)
            assert taken < MOST_BYTES
            yield chunk

    with pytest.raises(IntegrityError) as caught:
        for _ in decompressed(chunks()):
            pass
    assert int(caught.value.exit_status) == 6


@each_of("pad", [1, 512, 10_240, 1 << 20])
def test_padding_as_packers_write_it_is_passed_over(pad: int) -> None:
    assert b"".join(decompressed([PACKED + bytes(pad)])) == CONTENT


@each_of("pack, size", [(gzip.compress, 6 << 20), (bz2.compress, 1 << 20), (lzma.compress, 1 << 20)])
def test_what_cannot_be_compressed_comes_whole(pack: Callable[[bytes], bytes], size: int) -> None:
    noise = tar(file("noise", random.Random(2).randbytes(size)))
    whole = pack(noise)
    pieces = [whole[at : at + 65536] for at in range(0, len(whole), 65536)]
    assert b"".join(decompressed(pieces)) == noise


def test_flushed_after_every_few_bytes_it_comes_whole() -> None:
    packer = zlib.compressobj(wbits=31)
    data = tar(file("noise", random.Random(2).randbytes(1 << 20))) + END
    parts = [
        packer.compress(data[at : at + 64]) + packer.flush(zlib.Z_SYNC_FLUSH)
        for at in range(0, len(data), 64)
    ]
    assert b"".join(decompressed([b"".join(parts), packer.flush()])) == data


def test_the_error_says_how_much_padding() -> None:
    with pytest.raises(UnsafeArchiveError, match="The gzip stream has more than 4 MiB of padding"):
        list(decompressed(itertools.chain([PACKED], [bytes(1 << 20)] * 6)))
