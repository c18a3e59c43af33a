"""Whole models, under cuts and flips: `verify` finds all of them that a checksum covers, and soon."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hubcli.errors import BrokenModelError
from hubcli.formats.tensor_bundle import BundleIndex
from hubcli.formats.tensor_values import check_tensor
from hubcli.savedmodel.checks.integrity import ModelCheck
from hubcli.savedmodel.layout import declared_assets
from tests.archives import read_tree
from tests.corpus import corpus_file, corpus_model
from tests.formats.test_leveldb_table import WITH_VARIABLES
from tests.formats.test_tensor_values import entry_of, pieces
from tests.fuzz.damaged_archives import every_share, flipped, random_flips
from tests.models import write_tree

INDEX = "variables/variables.index"
FLIPS = 300
LONGEST_S = 2.0


@pytest.fixture(params=WITH_VARIABLES)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of each real model with variables."""
    return write_tree(tmp_path / "model", read_tree(corpus_model(request.param)))


def _shards(model: Path) -> Iterator[tuple[Path, list[range]]]:
    """Each shard, and the bytes of its tensors."""
    index = BundleIndex.read((model / INDEX).read_bytes())
    for shard in range(index.shard_count):
        ours = [entry for entry in index.entries if entry.shard == shard and entry.size_bytes]
        path = model / "variables" / index.shard_name(shard)
        yield path, [range(entry.offset, entry.offset + entry.size_bytes) for entry in ours]


def _finds(model: Path) -> bool:
    """Whether anything is found; it must not take long."""
    started = time.process_time()
    found = bool(ModelCheck(model).run().faults)
    assert time.process_time() - started < LONGEST_S
    return found


@every_share
def test_every_flip_of_a_bit_in_a_tensor_is_found(model: Path, share: int) -> None:
    already = _finds(model)
    for path, covered in _shards(model):
        whole, chance = path.read_bytes(), random.Random(31)
        for _ in range(FLIPS // share):
            byte = chance.choice(chance.choice(covered))
            path.write_bytes(flipped(whole, byte * 8 + chance.randrange(8)))
            found = ModelCheck(model).run().faults
            assert any(
                fault.code == "tensor" and fault.start is not None and fault.start <= byte < (fault.end or 0)
                for fault in found
            ), byte
        path.write_bytes(whole)
    assert _finds(model) is already


@every_share
def test_every_flip_in_an_index_is_found(model: Path, share: int) -> None:
    """But for the footer's padding and the handle of a block that nobody reads."""
    index = model / INDEX
    whole = index.read_bytes()
    for bit, damaged in random_flips(whole[:-48], FLIPS // share, seed=32):
        index.write_bytes(damaged + whole[-48:])
        assert _finds(model) or _names_the_same(damaged + whole[-48:], whole), bit


def _names_the_same(damaged: bytes, whole: bytes) -> bool:
    return BundleIndex.read(damaged) == BundleIndex.read(whole)


@every_share
def test_every_cut_of_a_shard_is_found(model: Path, share: int) -> None:
    for path, _ in _shards(model):
        whole = path.read_bytes()
        for percent in range(0, 100, 5 * min(share, 4)):
            os.truncate(path, len(whole) * percent // 100)
            assert _finds(model), percent
            path.write_bytes(whole)


@every_share
def test_flips_and_cuts_of_the_graph_end_soon(tmp_path: Path, share: int) -> None:
    whole = corpus_file("tfx_tft_tf2", "saved_model.pb")
    for _, damaged in random_flips(whole, 1000 // share, seed=33):
        with suppress(BrokenModelError):
            declared_assets(damaged)
    for percent in range(0, 100, min(share, 10)):
        with suppress(BrokenModelError):
            declared_assets(whole[: len(whole) * percent // 100])


@every_share
@pytest.mark.parametrize("dtype", [7, 21])
def test_random_bytes_are_no_tensor_of_strings_or_variants(dtype: int, share: int) -> None:
    chance = random.Random(34)
    for _ in range(3000 // share):
        data = chance.randbytes(chance.randrange(1, 60))
        entry = entry_of(data, chance.randrange(2**32), dtype, chance.choice([0, 1, 2, 2**40, 2**63]))
        with pytest.raises(BrokenModelError):
            check_tensor(entry, pieces(data, chance.randrange(1, 20)))
