"""Bundles written: byte for byte what TensorFlow's own writer makes of the same tensors."""

from __future__ import annotations

from collections import Counter
from itertools import product
from operator import add
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubcli.errors import BrokenModelError
from hubcli.formats.bundles import Bundle, ShardWriter, write_index
from hubcli.formats.tensor_bundle import BundleEntry, BundleIndex
from hubcli.formats.tensor_layout import DType, TensorBox, TensorSlice, fill_exactly, picked
from tests.cases import each_of
from tests.corpus import KINDS, corpus_model

COMPRESSED = {"serving_half_plus_two_tf2", "serving_half_plus_two_assets_extra"}
WITHOUT = {"serving_matrix_half_plus_two"}
FLOAT = DType.of(1)


def rewritten(index: bytes, path: Path) -> bytes:
    read = BundleIndex.read(index)
    write_index(path, read.shard_count, read.entries)
    return path.read_bytes()


@each_of("name", sorted(KINDS.keys() - COMPRESSED - WITHOUT))
def test_indexes_of_real_models_are_written_as_they_were(name: str, tmp_path: Path) -> None:
    index = (corpus_model(name) / "variables/variables.index").read_bytes()
    assert rewritten(index, tmp_path / "index") == index


@pytest.mark.parametrize("name", sorted(COMPRESSED))
def test_a_compressed_index_is_written_plain_and_says_the_same(name: str, tmp_path: Path) -> None:
    index = (corpus_model(name) / "variables/variables.index").read_bytes()
    assert BundleIndex.read(rewritten(index, tmp_path / "index")) == BundleIndex.read(index)


@pytest.mark.tensorflow
@pytest.mark.parametrize("keys", [1, 16, 17, 33, 9000])
def test_indexes_of_several_blocks_are_tensorflows(keys: int, tmp_path: Path) -> None:
    """9000 keys fill three blocks of 256 KiB."""
    tf = pytest.importorskip("tensorflow")
    chosen = [f"{'ab' * (number % 50)}/{number:05d}/\u00fc" for number in range(keys)]
    tensors = [tf.fill([number % 3], float(number)) for number in range(min(keys, 99))]
    values = [tensors[number % 99] for number in range(keys)]
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "x"), tensor_names=chosen, shape_and_slices=[""] * keys, tensors=values
    )
    index = (tmp_path / "x.index").read_bytes()
    assert rewritten(index, tmp_path / "index") == index


@pytest.mark.tensorflow
@pytest.mark.parametrize("slices", [["4 6 0,2:-", "4 6 2,2:-"], ["4 6 -:0,1", "4 6 -:1,5"], ["4 6 0,4:0,6"]])
def test_partitioned_tensors_are_read_whole_and_cut_again(slices: list[str], tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    whole = tf.reshape(tf.range(24.0), [4, 6])
    sizes = [
        [part.partition(",")[2] for part in tensor_slice.split()[2].split(":")] for tensor_slice in slices
    ]
    starts = [
        [part.partition(",")[0] for part in tensor_slice.split()[2].split(":")] for tensor_slice in slices
    ]
    pieces = [
        tf.slice(
            whole,
            [0 if start == "-" else int(start) for start in first],
            [-1 if not size else int(size) for size in lengths],
        )
        for first, lengths in zip(starts, sizes, strict=True)
    ]
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "x"),
        tensor_names=["t"] * len(slices),
        shape_and_slices=slices,
        tensors=pieces,
    )
    bundle = Bundle.open(tmp_path, "x")
    values = bundle.values()["t"]
    data = whole.numpy().tobytes()
    assert b"".join(values.pieces()) == data
    assert b"".join(values.pieces(8, 60)) == data[8:60]
    values.verify()
    entry = bundle.index.by_name["t"]
    for tensor_slice, part in zip(entry.slices, bundle.index.parts(entry), strict=bool(entry.slices)):
        runs = TensorBox.of(tensor_slice, (4, 6), 4).runs()
        assert b"".join(picked(iter([data[:7], data[7:]]), 0, runs)) == b"".join(bundle.part_pieces(part))


def test_slices_that_leave_their_tensor_are_refused() -> None:
    for starts, lengths in (((0, 3), (4, 4)), ((-1, 0), (1, 1)), ((0,), (1,)), ((5, 0), (None, 1))):
        with pytest.raises(BrokenModelError):
            TensorBox.of(TensorSlice(starts, lengths), (4, 6), 4)


@given(st.data())
def test_boxes_fill_a_tensor_if_each_element_is_in_one_of_them(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(0, 3), max_size=3)))
    boxes = []
    for _ in range(data.draw(st.integers(0, 5))):
        starts = tuple(data.draw(st.integers(0, size)) for size in shape)
        lengths = tuple(
            data.draw(st.integers(0, size - start)) for start, size in zip(starts, shape, strict=True)
        )
        boxes.append(TensorBox.of(TensorSlice(starts, lengths), shape, 1))
    counts = Counter(
        place
        for box in boxes
        for place in product(*map(range, box.starts, map(add, box.starts, box.lengths)))
    )
    expected = all(counts[place] == 1 for place in product(*map(range, shape)))
    assert fill_exactly(shape, boxes) == expected


def test_boxes_along_seven_axes_are_not_counted() -> None:
    half = TensorBox.of(TensorSlice((0,) * 7, (1,) * 7), (2,) * 7, 1)
    assert not fill_exactly((2,) * 7, [half])


def test_a_scalar_is_one_run() -> None:
    assert list(TensorBox.of(TensorSlice((), ()), (), 4).runs()) == [(0, 4)]


def test_tensors_of_another_size_than_they_say_are_refused(tmp_path: Path) -> None:
    entry = BundleEntry(b"t", FLOAT, (2,), 0, 0, 8, 0)
    for pieces in ([b"1234"], [b"12345678", b"9"], [b"123456789"]):
        with ShardWriter(tmp_path / "shard") as writer, pytest.raises(BrokenModelError):
            writer.add(entry, iter(pieces))
