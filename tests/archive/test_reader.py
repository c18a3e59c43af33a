"""Exact reads over chunks: an early end is never taken for an end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubcli.archive.tar import ChunkReader
from hubcli.errors import TruncatedError

_CHUNKS = st.lists(st.binary(max_size=20), max_size=10)


def test_reads_go_across_chunks() -> None:
    reader = ChunkReader([b"ab", b"", b"c", b"defg"])
    assert (reader.read(3), reader.read(2), reader.read(2)) == (b"abc", b"de", b"fg")
    assert reader.at_end()


def test_a_read_beyond_the_end_is_an_error() -> None:
    reader = ChunkReader([b"abc"])
    with pytest.raises(TruncatedError, match="after 3 bytes"):
        reader.read(4)


def test_a_read_of_nothing_is_no_error_at_the_end() -> None:
    assert ChunkReader([]).read(0) == b""


def test_the_position_counts_what_was_taken() -> None:
    reader = ChunkReader([b"abcd", b"efgh"])
    assert reader.at_end() is False
    assert reader.position == 0
    reader.read(5)
    assert reader.position == 5


def test_empty_chunks_are_no_end() -> None:
    reader = ChunkReader([b"", b"", b"a"])
    assert not reader.at_end()
    assert reader.read(1) == b"a"


def test_a_stream_that_is_left_early_goes_on_where_it_was_left() -> None:
    reader = ChunkReader([b"ab", b"cd", b"ef"])
    assert bytes(next(reader.stream(6))) == b"ab"
    assert reader.read(4) == b"cdef"


def test_pieces_of_a_stream_are_views_of_the_chunks() -> None:
    chunk = b"abcdef"
    assert next(ChunkReader([chunk]).stream(4)).obj is chunk


def test_the_rest_is_all_that_was_not_read() -> None:
    reader = ChunkReader([b"abc", b"", b"de"])
    reader.read(2)
    assert b"".join(reader.rest()) == b"cde"
    assert b"".join(reader.rest()) == b""


@given(_CHUNKS, st.lists(st.integers(0, 30), max_size=20))
def test_however_it_is_chunked_the_bytes_are_the_same(chunks: list[bytes], sizes: list[int]) -> None:
    whole, reader, position = b"".join(chunks), ChunkReader(chunks), 0
    for size in sizes:
        if position + size > len(whole):
            with pytest.raises(TruncatedError):
                reader.read(size)
            return
        assert reader.read(size) == whole[position : position + size]
        position += size
    assert reader.position == position
    assert b"".join(reader.rest()) == whole[position:]
