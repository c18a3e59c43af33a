"""The readers of formats, under cuts and flips: a value, or an error of ours, soon."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hubcli.errors import BrokenModelError, HubcliError
from hubcli.formats.tensor_bundle import BundleIndex, decompress, read_table
from hubcli.formats.wire import scan
from hubcli.savedmodel.layout import check_structure
from tests.corpus import corpus_file
from tests.formats.tables import PLAIN, SNAPPY, snappy_literal, table
from tests.fuzz.damaged_archives import every_share, flipped, random_flips

FLIPS = 2000
LONGEST_S = 2.0


def _read_all_fields(data: bytes) -> None:
    for field in scan(data):
        if field.wire_type == 2:
            with suppress(BrokenModelError):
                list(scan(data, field.start, field.end))


READERS: dict[str, tuple[Callable[[bytes], object], tuple[str, str]]] = {
    "bundle index": (BundleIndex.read, ("basic_pitch_nmp", "variables/variables.index")),
    "compressed bundle index": (BundleIndex.read, ("serving_half_plus_two_tf2", "variables/variables.index")),
    "table": (lambda data: list(read_table(data)), ("tfx_keras_serving", "variables/variables.index")),
    "wire": (_read_all_fields, ("tfjs_int64_multiply", "saved_model.pb")),
    "large wire": (_read_all_fields, ("basic_pitch_nmp", "saved_model.pb")),
}
every_reader = pytest.mark.parametrize(("read", "file"), READERS.values(), ids=READERS.keys())


@contextmanager
def _in_time(label: object) -> Iterator[None]:
    started = time.process_time()
    with suppress(HubcliError):
        yield
    assert time.process_time() - started < LONGEST_S, label


def _data_block(model: str) -> bytes:
    """The first block of the model's index, as it lies in the file: up to the index of blocks."""
    data = corpus_file(model, "variables/variables.index")
    metaindex, position, shift = 0, len(data) - 48, 0
    while True:
        metaindex |= (data[position] & 0x7F) << shift
        if data[position] < 0x80:
            break
        position, shift = position + 1, shift + 7
    return data[: metaindex - 5]


@every_reader
def test_a_file_that_is_cut_at_each_percent(read: Callable[[bytes], object], file: tuple[str, str]) -> None:
    whole = corpus_file(*file)
    read(whole)
    for percent in range(100):
        with _in_time(percent):
            read(whole[: len(whole) * percent // 100])


@every_share
@every_reader
def test_flipped_bits(read: Callable[[bytes], object], file: tuple[str, str], share: int) -> None:
    for bit, damaged in random_flips(corpus_file(*file), FLIPS // share, seed=11):
        with _in_time(bit):
            read(damaged)


@every_share
@pytest.mark.parametrize("model", ["basic_pitch_nmp", "tfx_keras_serving"])
def test_flipped_bits_under_a_checksum_that_is_good(model: str, share: int) -> None:
    for bit, damaged in random_flips(_data_block(model), FLIPS // share, seed=12):
        with _in_time(bit):
            BundleIndex.read(table([damaged], kind=PLAIN)).shard_sizes_bytes()


@every_share
@pytest.mark.parametrize("model", ["serving_half_plus_two_tf2", "serving_half_plus_two_assets_extra"])
def test_flipped_bits_in_a_compressed_block_under_a_checksum_that_is_good(model: str, share: int) -> None:
    block = _data_block(model)
    assert BundleIndex.read(table([block], kind=SNAPPY)).entries
    for bit in range(0, len(block) * 8, share):
        with _in_time(bit):
            BundleIndex.read(table([flipped(block, bit)], kind=SNAPPY)).shard_sizes_bytes()


@every_share
def test_flipped_bits_in_snappy_data(share: int) -> None:
    block = _data_block("serving_half_plus_two_tf2")
    for bit, damaged in random_flips(block, FLIPS // share, seed=13):
        with _in_time(bit):
            decompress(damaged)
    literal = snappy_literal(bytes(range(256)) * 10)
    for bit, damaged in random_flips(literal, FLIPS // share, seed=14):
        with _in_time(bit):
            decompress(damaged)


@every_share
def test_flipped_bits_in_the_footer_and_the_index_of_blocks(share: int) -> None:
    whole = corpus_file("basic_pitch_nmp", "variables/variables.index")
    for bit in range((len(whole) - 100) * 8, len(whole) * 8, share):
        with _in_time(bit):
            BundleIndex.read(flipped(whole, bit))


@every_share
@pytest.mark.parametrize("name", ["serving_counter", "tfx_keras_serving"])
def test_flipped_bits_in_the_main_file_of_a_model(tmp_path: Path, name: str, share: int) -> None:
    for bit, damaged in random_flips(corpus_file(name, "saved_model.pb"), 500 // share, seed=15):
        (tmp_path / "saved_model.pb").write_bytes(damaged)
        with _in_time(bit):
            check_structure(tmp_path)


@every_share
def test_flipped_bits_in_the_first_bytes_of_the_main_file(tmp_path: Path, share: int) -> None:
    whole = corpus_file("basic_pitch_nmp", "saved_model.pb")[:20_000]
    for bit in range(0, 64 * 8, share):
        (tmp_path / "saved_model.pb").write_bytes(flipped(whole, bit))
        with _in_time(bit):
            check_structure(tmp_path)


@every_share
def test_flipped_bytes_in_a_text_model(tmp_path: Path, share: int) -> None:
    text = (
        b'meta_graphs {\n  meta_info_def { tags: "serve" }\n  object_graph_def { nodes { } } # end\n}\n' * 20
    )
    chance = random.Random(16)
    for _ in range(500 // share):
        damaged = bytearray(text)
        damaged[chance.randrange(len(text))] = chance.randrange(256)
        (tmp_path / "saved_model.pbtxt").write_bytes(damaged)
        with _in_time(bytes(damaged)):
            check_structure(tmp_path)
