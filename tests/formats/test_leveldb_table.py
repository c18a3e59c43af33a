"""LevelDB's tables: every block sealed, every handle in bounds."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubcli.errors import BrokenModelError
from hubcli.formats.tensor_bundle import read_table
from hubcli.formats.wire import read_varint
from tests.cases import each_of
from tests.corpus import KINDS, corpus_file
from tests.formats.tables import SNAPPY, entries_block, snappy_literal, table, varint

ENTRIES = [(b"", b"header"), (b"a", b"1"), (b"ab", b""), (b"b/c", b"3" * 300)]
WITH_VARIABLES = [name for name in KINDS if name != "serving_matrix_half_plus_two"]


def _read(data: bytes) -> list[tuple[bytes, bytes]]:
    return list(read_table(data))


def test_entries_come_back_in_order() -> None:
    assert _read(table([entries_block(ENTRIES)])) == ENTRIES


def test_entries_of_several_blocks_come_back_in_order() -> None:
    assert _read(table([entries_block(ENTRIES[:2]), entries_block(ENTRIES[2:])])) == ENTRIES


def test_compressed_blocks_are_read() -> None:
    assert _read(table([snappy_literal(entries_block(ENTRIES))], kind=SNAPPY)) == ENTRIES


@given(st.dictionaries(st.binary(max_size=20), st.binary(max_size=20), max_size=30), st.integers(1, 5))
def test_any_keys_and_values_come_back(content: dict[bytes, bytes], size: int) -> None:
    entries = sorted(content.items())
    blocks = [entries_block(entries[start : start + size]) for start in range(0, len(entries), size)]
    assert _read(table(blocks)) == entries


@each_of(
    "damaged, fault",
    [
        (b"", "no valid footer"),
        (bytes(48), "no valid footer"),
        (b"<html>" * 20, "no valid footer"),
        (table([entries_block(ENTRIES)])[:-1], "no valid footer"),
        (table([entries_block(ENTRIES)])[10:], "beyond its end|checksum"),
        (table([entries_block(ENTRIES)], kind=7), "unknown type 7"),
        (table([entries_block(ENTRIES[::-1])]), "out of order"),
        (table([entries_block([*ENTRIES, ENTRIES[-1]])]), "out of order"),
        (table([entries_block(ENTRIES[2:]), entries_block(ENTRIES[:2])]), "out of order"),
        (table([b""]), "without an end"),
        (table([b"\xff\xff\xff\xff"]), "without an end"),
        (
            table([varint(1) + varint(1) + varint(0) + b"a" + entries_block([])]),
            "beyond the end",
        ),
        (
            table([varint(0) + varint(9) + varint(0) + b"a" + entries_block([])]),
            "beyond the end",
        ),
        (
            table([varint(0) + varint(1) + varint(2**60) + b"a" + entries_block([])]),
            "beyond the end",
        ),
        (table([], index=entries_block([(b"k", varint(2**63) + varint(2**63))])), "beyond its end"),
        (table([], index=entries_block([(b"k", b"\xff")])), "truncated"),
        (table([], index=entries_block([(b"k", b"")])), "truncated"),
    ],
)
def test_a_damaged_table_is_refused(damaged: bytes, fault: str) -> None:
    with pytest.raises(BrokenModelError, match=fault):
        _read(damaged)


@each_of("position", range(0, 40, 3))
def test_a_flipped_bit_in_a_block_is_found_by_its_checksum(position: int) -> None:
    damaged = bytearray(table([entries_block(ENTRIES)]))
    damaged[position] ^= 4
    with pytest.raises(BrokenModelError, match="checksum"):
        _read(bytes(damaged))


def test_a_block_that_is_named_again_and_again_is_refused() -> None:
    # A block without entries passes the check of the order: 1.2 MB of index made 20,000 checksums of 1 MB.
    empty = entries_block([], restarts=1000)
    with pytest.raises(BrokenModelError):
        _read(table([entries_block(ENTRIES), empty], order=[0, 1, 1, 1]))


def _stored(key: bytes, value: bytes) -> bytes:
    return varint(0) + varint(len(key)) + varint(len(value)) + key + value


def test_a_table_in_which_a_look_up_finds_another_value_is_refused() -> None:
    """TensorFlow looks a key up from the restarts: one within a value would show it entries of that value."""
    hidden = _stored(b"v", b"") + _stored(b"w", b"evil")
    first = _stored(b"a", b"text" + hidden)
    entries = first + _stored(b"w", b"good")
    place = len(first) - len(hidden)
    for restarts in [(0, place), (place,), (), (0, len(entries)), (0, 0)]:
        block = entries + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))
        with pytest.raises(BrokenModelError, match="restarts"):
            _read(table([block]))


def test_a_table_whose_index_leads_past_a_key_is_refused() -> None:
    blocks = [entries_block([(b"b", b""), (b"d", b"")]), entries_block([(b"f", b"")])]
    handles = [varint(0) + varint(len(blocks[0])), varint(len(blocks[0]) + 5) + varint(len(blocks[1]))]
    for names in [(b"c", b"f"), (b"d", b"e"), (b"f", b"g")]:
        index = entries_block(list(zip(names, handles, strict=True)))
        with pytest.raises(BrokenModelError, match="out of order"):
            _read(table(blocks, index=index))
    assert len(_read(table(blocks, index=entries_block(list(zip((b"e", b"z"), handles, strict=True)))))) == 3


@each_of("model", WITH_VARIABLES)
def test_the_index_of_a_real_model_has_its_header_first(model: str) -> None:
    entries = _read(corpus_file(model, "variables/variables.index"))
    assert entries[0][0] == b""
    assert len(entries) > 1


@pytest.mark.parametrize("model", ["serving_half_plus_two_tf2", "serving_half_plus_two_assets_extra"])
def test_the_real_indices_with_snappy_are_compressed_indeed(model: str) -> None:
    data = corpus_file(model, "variables/variables.index")
    kinds = [data[offset + size] for offset, size in _data_blocks(data)]
    assert kinds == [SNAPPY]
    assert len(_read(data)) > 1


def _data_blocks(data: bytes) -> list[tuple[int, int]]:
    """Offset and size of the first block, which starts the file and ends before the next one's."""
    position, footer = 0, data[-48:]
    numbers = []
    for _ in range(4):  # Handles of the metaindex and the index: offset and size each.
        value, position = read_varint(footer, position)
        numbers.append(value)
    return [(0, numbers[0] - 5)]
