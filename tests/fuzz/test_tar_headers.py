"""Tar streams of any making: members, or an error of ours."""

from __future__ import annotations

import io
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hubcli.archive import Limits
from hubcli.archive.compression import decompressed
from hubcli.archive.tar import ChunkReader, walk_tar
from hubcli.archive.unpack import unpack
from hubcli.errors import IntegrityError
from tests import archives
from tests.archives import chunked, seal, tar

LIMITS = Limits(unpacked_bytes=1 << 20, members=20, path_bytes=200, path_depth=6)

_SIZES = st.one_of(
    st.integers(0, 2000).map(lambda size: b"%011o\0" % size),
    st.integers(0, 2**88 - 1).map(lambda size: b"\x80" + size.to_bytes(11, "big")),
    st.binary(min_size=12, max_size=12),
)
_KINDS = st.one_of(
    st.sampled_from([b"0", b"\0", b"5", b"x", b"g", b"L", b"K", b"1", b"S"]),
    st.binary(min_size=1, max_size=1),
)
_NAMES = st.one_of(
    st.sampled_from([b"a", b"a/", b"a/b", b"A", b".", b"..", b"../a", b"/a", b"a//b/", b"nul", b"\xff"]),
    st.binary(max_size=100),
)
_HEADERS = st.builds(
    lambda name, kind, size, magic, prefix: archives.header(
        name, kind=kind, size_field=size, magic=magic, prefix=prefix
    ),
    _NAMES,
    _KINDS,
    _SIZES,
    st.sampled_from([b"ustar\x0000", b"ustar  \0", bytes(8)]),
    st.one_of(st.just(b""), st.binary(max_size=155)),
)
_PAX_RECORDS = st.dictionaries(
    st.sampled_from(["path", "size", "mtime", "linkpath", "GNU.sparse.major", "comment"]),
    st.one_of(st.binary(max_size=60), st.integers().map(lambda number: str(number).encode())),
    max_size=3,
)
_PIECES = st.one_of(
    _HEADERS,
    st.builds(archives.file, _NAMES.filter(lambda name: len(name) < 100), st.binary(max_size=700)),
    st.builds(archives.pax, _PAX_RECORDS),
    st.builds(archives.raw_pax, st.binary(max_size=100)),
    st.builds(archives.gnu_long_named_file, _NAMES),
    st.binary(min_size=512, max_size=512),
    st.binary(min_size=512, max_size=512).map(seal),
    st.just(bytes(512)),
)


def _unpack(archive: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder).resolve()
        destination = top / "destination"
        destination.mkdir()
        with suppress(IntegrityError):
            unpack(walk_tar(ChunkReader(chunked(archive, 700)), LIMITS), destination, LIMITS)
        assert list(top.iterdir()) == [destination]
        for path in destination.rglob("*"):
            assert not path.is_symlink()
            assert path.is_dir() or path.is_file()


@given(st.lists(_PIECES, max_size=6))
def test_members_of_any_making_are_unpacked_below_the_destination_or_refused(pieces: list[bytes]) -> None:
    _unpack(tar(*pieces))


@given(st.binary(max_size=3000))
def test_any_bytes_at_all_are_refused_or_unpacked(data: bytes) -> None:
    _unpack(data)


@given(st.binary(max_size=2000))
def test_any_data_in_a_pax_header_is_understood_or_refused(data: bytes) -> None:
    _unpack(tar(archives.raw_pax(data), archives.file("a")))


@given(
    st.dictionaries(
        st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=150),
        st.binary(max_size=1500),
        max_size=5,
    ),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_what_the_standard_library_reads_is_what_is_read(files: dict[str, bytes], form: int) -> None:
    archive = archives.packed_by_tarfile(files, form)
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        expected = [(member.name, member.size) for member in opened]
    members = walk_tar(ChunkReader(decompressed(chunked(archive))), Limits())
    assert [(member.name, member.size_bytes) for member, _ in members] == expected
