"""The index of a tensor bundle, against real ones and against TensorFlow."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from hubcli.errors import BrokenModelError
from hubcli.formats import tensor_bundle
from hubcli.formats.tensor_bundle import BundleIndex
from hubcli.formats.tensor_layout import TensorSlice, slice_key
from tests.cases import each_of
from tests.corpus import corpus_file, corpus_model
from tests.formats.tables import (
    bundle_entry,
    bundle_header,
    delimited,
    entries_block,
    index_of,
    number,
    table,
)
from tests.formats.test_leveldb_table import WITH_VARIABLES


def test_shards_and_entries_are_read() -> None:
    index = BundleIndex.read(
        index_of([(b"a", bundle_entry(0, 0, 8)), (b"b", bundle_entry(1, 16, 4))], shards=2)
    )
    assert index.shard_count == 2
    assert [(entry.key, entry.shard, entry.offset, entry.size_bytes) for entry in index.entries] == [
        (b"a", 0, 0, 8),
        (b"b", 1, 16, 4),
    ]
    assert index.shard_sizes_bytes() == [8, 20]


def test_shards_are_named_as_tensorflow_names_them() -> None:
    index = BundleIndex.read(index_of([], shards=12))
    assert index.shard_name(3) == "variables.data-00003-of-00012"


def test_a_shard_without_tensors_needs_no_bytes() -> None:
    index = BundleIndex.read(index_of([(b"a", bundle_entry(1, 0, 8))], shards=3))
    assert index.shard_sizes_bytes() == [0, 8, 0]


def test_the_furthest_tensor_decides_not_the_last() -> None:
    entries = [(b"a", bundle_entry(0, 100, 8)), (b"b", bundle_entry(0, 0, 8))]
    assert BundleIndex.read(index_of(entries)).shard_sizes_bytes() == [108]


@each_of(
    "index, fault",
    [
        (table([]), "no header"),
        (table([entries_block([(b"a", bundle_entry(0, 0, 1))])]), "no header"),
        (index_of([], shards=0), "0 shards"),
        (index_of([], shards=100_001), "100001 shards"),
        (index_of([], shards=2**64 - 1), "shards"),
        (table([entries_block([(b"", delimited(1, b"ab"))])]), "0 shards"),
        (index_of([(b"a", bundle_entry(1, 0, 1))]), "in shard 1 of 1"),
        (index_of([(b"a", bundle_entry(2**64 - 1, 0, 1))]), "in shard"),
        (index_of([(b"a", b"\xff")]), "truncated"),
        (index_of([(b"a", b"\x0b")]), "wire type"),
    ],
)
def test_a_damaged_index_is_refused(index: bytes, fault: str) -> None:
    with pytest.raises(BrokenModelError, match=fault):
        BundleIndex.read(index)


def test_sizes_beyond_64_bits_together_do_no_harm() -> None:
    index = BundleIndex.read(index_of([(b"a", bundle_entry(0, 2**64 - 1, 2**64 - 1))]))
    assert index.shard_sizes_bytes() == [2**65 - 2]


def test_a_field_that_is_given_twice_counts_as_its_last() -> None:
    index = BundleIndex.read(index_of([(b"a", bundle_entry(0, 0, 4) + number(5, 12))]))
    assert index.shard_sizes_bytes() == [12]


@each_of(
    "shape, read",
    [
        (delimited(2, delimited(2, number(1, 3))) + delimited(2, delimited(2, number(1, 4))), (3, 4)),
        (delimited(2, delimited(2, number(1, 3) + delimited(1, b""))), (3,)),
        (delimited(2, delimited(2, number(1, 3)) + number(2, 9)), (3,)),
        (number(2, 9) + delimited(2, b""), ()),
    ],
)
def test_a_shape_is_joined_and_read_by_its_types_as_protobuf_does(
    shape: bytes, read: tuple[int, ...]
) -> None:
    index = BundleIndex.read(index_of([(b"a", bundle_entry(0, 0, 12) + shape)]))
    assert index.entries[0].shape == read


def test_an_unknown_rank_is_no_shape_of_a_tensor() -> None:
    with pytest.raises(BrokenModelError, match="invalid shape"):
        BundleIndex.read(index_of([(b"a", bundle_entry(0, 0, 4) + delimited(2, number(3, 1)))]))


def test_numbers_of_32_bits_lose_what_is_above_as_in_protobuf() -> None:
    above = 1 << 32
    header = number(1, above + 2) + number(2, above + 1)
    entry = number(1, above + 3) + number(3, above + 1) + number(5, 4)
    index = BundleIndex.read(table([entries_block([(b"", header), (b"a", entry)])]))
    assert (index.shard_count, index.is_big_endian) == (2, True)
    assert (index.entries[0].dtype.name, index.entries[0].shard) == ("int32", 1)


def test_a_header_with_fields_of_the_future_is_read() -> None:
    block = entries_block([(b"", bundle_header(1) + delimited(99, b"new"))])
    assert BundleIndex.read(table([block])).shard_count == 1


@each_of("model", WITH_VARIABLES)
def test_each_shard_of_a_real_model_is_as_long_as_its_index_says(model: str) -> None:
    index = BundleIndex.read(corpus_file(model, "variables/variables.index"))
    folder = corpus_model(model) / "variables"
    shards = [folder / index.shard_name(shard) for shard in range(index.shard_count)]
    assert index.shard_sizes_bytes() == [shard.stat().st_size for shard in shards]
    assert sorted(folder.glob("variables.data-*")) == shards


@pytest.mark.tensorflow
@each_of("model", WITH_VARIABLES)
def test_tensorflow_reads_the_same_keys_and_sizes(model: str) -> None:
    tf = pytest.importorskip("tensorflow")
    checkpoint = tf.train.load_checkpoint(str(corpus_model(model) / "variables" / "variables"))
    shapes, types = checkpoint.get_variable_to_shape_map(), checkpoint.get_variable_to_dtype_map()
    index = BundleIndex.read(corpus_file(model, "variables/variables.index"))
    assert {entry.key.decode() for entry in index.entries} == shapes.keys()
    for entry in index.entries:
        kind = types[entry.key.decode()]
        if kind != tf.string:
            assert entry.size_bytes == math.prod(shapes[entry.key.decode()]) * kind.size
        assert (entry.dtype.name, list(entry.shape)) == (kind.name, shapes[entry.key.decode()])


@pytest.mark.tensorflow
def test_tensorflow_s_own_many_shards_are_understood(tmp_path: object) -> None:
    tf = pytest.importorskip("tensorflow")
    parts = [f"{tmp_path}/part-{place}" for place in range(3)]
    for place, part in enumerate(parts):
        names, values = [f"t{place}", f"s{place}"], [tf.zeros([place + 1, 7]), tf.constant(["a", "bc"])]
        tf.raw_ops.SaveV2(prefix=part, tensor_names=names, shape_and_slices=["", ""], tensors=values)
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=f"{tmp_path}/variables")
    index = BundleIndex.read(tf.io.gfile.GFile(f"{tmp_path}/variables.index", "rb").read())
    assert index.shard_count == 3
    assert index.shard_sizes_bytes() == [
        tf.io.gfile.stat(f"{tmp_path}/{index.shard_name(shard)}").length for shard in range(3)
    ]


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["v", "a\0b\xff", "scope/long name"])
def test_slices_of_a_partitioned_tensor_are_found_as_tensorflow_writes_them(
    name: str, tmp_path: object
) -> None:
    tf = pytest.importorskip("tensorflow")
    rows = [0, 63, 64, 9000]
    slices = [f"{rows[-1]} 3 {start},{end - start}:-" for start, end in pairwise(rows)]
    parts = [tf.fill([end - start, 3], float(start)) for start, end in pairwise(rows)]
    key = name.encode("latin-1")
    tf.raw_ops.SaveV2(
        prefix=f"{tmp_path}/variables", tensor_names=[key] * 3, shape_and_slices=slices, tensors=parts
    )
    index = BundleIndex.read(tf.io.gfile.GFile(f"{tmp_path}/variables.index", "rb").read())
    whole = next(entry for entry in index.entries if not entry.is_slice)
    assert (whole.key, whole.dtype.name, whole.shape, whole.size_bytes) == (key, "float32", (9000, 3), 0)
    assert [part.shape for part in index.parts(whole)] == [(63, 3), (1, 3), (8936, 3)]
    assert sum(part.size_bytes for part in index.parts(whole)) == 9000 * 3 * 4
    assert list(index.by_name) == [whole.name]


def test_slices_that_an_index_cannot_hold_are_refused_before_they_are_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten thousand copies of a slice in an index of 1 MB took 16 s, as each has a key as long as its name."""

    def index_with(name: bytes, parts: list[TensorSlice]) -> BundleIndex:
        shape = delimited(2, delimited(2, number(1, 200)))
        extents = (number(1, start) + number(2, length or 0) for (start,), (length,) in parts)
        whole = number(1, 1) + shape + b"".join(delimited(7, delimited(1, extent)) for extent in extents)
        stored = {slice_key(name, part): bundle_entry(0, 0, 4) for part in parts[:1]}
        return BundleIndex.read(index_of([*stored.items(), (name, whole)]))

    one_by_one = [TensorSlice((row,), (1,)) for row in range(200)]
    copies, long_names = index_with(b"v", one_by_one[:1] * 2), index_with(b"v" * 200_000, one_by_one)
    monkeypatch.setattr(tensor_bundle, "slice_key", None)  # What looks a slice up fails.
    for index in (copies, long_names):
        with pytest.raises(BrokenModelError, match="do not make up the tensor"):
            index.parts(index.entries[-1])
