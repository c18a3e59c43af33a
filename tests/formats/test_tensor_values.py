"""The bytes of tensors against their checksums, and against bundles that TensorFlow wrote."""

from __future__ import annotations

import platform
import resource
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubcli.errors import BrokenModelError
from hubcli.formats.checksums import extend_crc32c, mask_crc32c, masked_crc32c
from hubcli.formats.tensor_bundle import BundleEntry, BundleIndex
from hubcli.formats.tensor_layout import DType
from hubcli.formats.tensor_values import check_size, check_tensor, return_freed_memory
from tests.cases import each_of
from tests.corpus import corpus_file, corpus_model
from tests.formats.tables import varint
from tests.formats.test_leveldb_table import WITH_VARIABLES
from tests.fuzz.damaged_archives import flipped

FLOAT, STRING, BOOL, RESOURCE, VARIANT = 1, 7, 10, 20, 21


def entry_of(data: bytes, crc: int, dtype: int, *shape: int) -> BundleEntry:
    return BundleEntry(b"t", DType.of(dtype), shape, 0, 0, len(data), crc)


def numeric(*values: int) -> tuple[bytes, BundleEntry]:
    data = b"".join(value.to_bytes(4, "little") for value in values)
    return data, entry_of(data, masked_crc32c(data), FLOAT, len(values))


def strings(*texts: bytes, order: Any = "little") -> tuple[bytes, BundleEntry]:
    """As WriteStringTensor lays them out."""
    crc = extend_crc32c(0, b"".join(len(text).to_bytes(4, order) for text in texts))
    stored = mask_crc32c(crc).to_bytes(4, order)
    body = b"".join(texts)
    data = b"".join(varint(len(text)) for text in texts) + stored + body
    return data, entry_of(data, mask_crc32c(extend_crc32c(crc, stored + body)), STRING, len(texts))


def variants(*elements: bytes) -> tuple[bytes, BundleEntry]:
    """As WriteVariantTensor lays them out."""
    data, crc = b"", 0
    for element in elements:
        crc = extend_crc32c(crc, len(element).to_bytes(8, "little") + element)
        stored = mask_crc32c(crc).to_bytes(4, "little")
        crc = extend_crc32c(crc, stored)
        data += varint(len(element)) + element + stored
    return data, entry_of(data, mask_crc32c(crc), VARIANT, len(elements))


def pieces(data: bytes, size: int = 1 << 20) -> Iterator[bytes]:
    return iter([data[start : start + size] for start in range(0, len(data), size)])


def fault(entry: BundleEntry, data: bytes) -> str:
    with pytest.raises(BrokenModelError) as caught:
        check_tensor(entry, pieces(data))
    return caught.value.message


SAMPLES = {
    "numbers": numeric(1, 2, 3, 4),
    "nothing": numeric(),
    "strings": strings(b"", b"word", b"x" * 127, b"y" * 128, b"z" * 20_000),
    "no strings": strings(),
    "variants": variants(b"", b"element" * 50, b"last"),
    "no variants": variants(),
    "of a type of the future": (b"abc", entry_of(b"abc", masked_crc32c(b"abc"), 99, 7)),
    "a resource": (b"abc", entry_of(b"abc", masked_crc32c(b"abc"), RESOURCE, 1)),
}
every_sample = pytest.mark.parametrize(("data", "entry"), SAMPLES.values(), ids=SAMPLES.keys())


@every_sample
@pytest.mark.parametrize("size", [1, 3, 1000, 1 << 20])
def test_whole_tensors_pass_however_they_are_cut_into_pieces(
    data: bytes, entry: BundleEntry, size: int
) -> None:
    check_tensor(entry, pieces(data, size))


@every_sample
def test_each_flipped_bit_is_found(data: bytes, entry: BundleEntry) -> None:
    for bit in range(min(len(data) * 8, 4000)):
        assert fault(entry, flipped(data, bit))


@every_sample
def test_bytes_that_end_early_are_found(data: bytes, entry: BundleEntry) -> None:
    for size in range(min(len(data), 300)):
        assert fault(entry, data[:size])


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_strings_of_any_lengths_pass(texts: list[bytes]) -> None:
    data, entry = strings(*texts)
    check_tensor(entry, pieces(data, 64))


def test_a_bundle_of_a_big_endian_machine_sums_up_its_own_order() -> None:
    data, entry = strings(b"a", b"bc", order="big")
    check_tensor(entry, pieces(data), "big")
    assert "lengths" in fault(entry, data)


def test_one_piece_of_a_tensor_at_a_time_is_in_memory() -> None:
    count, piece_bytes = 4, 1 << 20
    entry = entry_of(b"", 0, FLOAT, count * piece_bytes // 4)
    entry = entry._replace(size_bytes=count * piece_bytes, crc32c=masked_crc32c(bytes(count * piece_bytes)))
    tracemalloc.start()
    try:
        check_tensor(entry, (bytes(piece_bytes) for _ in range(count)))
        assert tracemalloc.get_traced_memory()[1] < 1.5 * piece_bytes
    finally:
        tracemalloc.stop()


def test_an_old_bundle_may_have_no_bytes_for_no_strings() -> None:
    check_tensor(entry_of(b"", masked_crc32c(b""), STRING, 0), pieces(b""))


@each_of(
    "entry, message",
    [
        (entry_of(b"12345", 0, FLOAT, 1), "1 elements of float32 require 4"),
        (entry_of(b"", 0, BOOL, 2), "2 elements of bool require 2"),
        (entry_of(b"", 0, STRING, 1), "too few for 1 elements"),
        (entry_of(b"1234567", 0, STRING, 1 << 30, 1 << 30), "too few"),
        (entry_of(b"1234", 0, VARIANT, 1), "too few"),
        (entry_of(b"", 0, FLOAT, *[(1 << 63) - 1] * 254), "invalid shape"),
    ],
)
def test_a_size_that_no_such_tensor_has_is_refused_at_once(entry: BundleEntry, message: str) -> None:
    with pytest.raises(BrokenModelError, match=message):
        check_size(entry)


@each_of(
    "data, dtype, message",
    [
        (varint(1 << 62) + bytes(10), STRING, "lengths"),
        (b"\xff" * 30, STRING, "more than 64 bits"),
        (varint(1 << 62) + bytes(10), VARIANT, "claim"),
        (varint(0) + bytes(10), VARIANT, "element 0"),
    ],
)
def test_absurd_lengths_are_refused(data: bytes, dtype: int, message: str) -> None:
    assert message in fault(entry_of(data, 0, dtype, 1), data)


def test_lengths_with_a_good_checksum_must_still_add_up() -> None:
    data, entry = strings(b"word")
    assert "together" in fault(entry_of(data + b"!", entry.crc32c, STRING, 1), data + b"!")
    lying = varint(9) + mask_crc32c(extend_crc32c(0, b"\x09\0\0\0")).to_bytes(4, "little") + b"word"
    assert "9 bytes together, but there are 4" in fault(entry_of(lying, 0, STRING, 1), lying)


def test_what_follows_the_last_variant_is_found() -> None:
    data, entry = variants(b"one")
    assert "1 bytes follow" in fault(entry_of(data + b"!", entry.crc32c, VARIANT, 1), data + b"!")


@pytest.mark.slow
def test_a_million_strings_take_seconds_at_most() -> None:
    data, entry = strings(*[b"ab"] * 1_000_000)
    started = time.process_time()
    check_tensor(entry, pieces(data))
    assert time.process_time() - started < 4  # Twice that of an idle machine


@each_of("model", WITH_VARIABLES)
def test_every_tensor_of_a_real_model_has_its_checksum(model: str) -> None:
    index = BundleIndex.read(corpus_file(model, "variables/variables.index"))
    shards = [
        (corpus_model(model) / "variables" / index.shard_name(shard)).read_bytes()
        for shard in range(index.shard_count)
    ]
    for entry in index.entries:
        check_tensor(entry, pieces(shards[entry.shard][entry.offset : entry.offset + entry.size_bytes], 999))


def _check_bundle(prefix: Path) -> BundleIndex:
    """The index of the bundle, after each of its tensors passed."""
    index = BundleIndex.read(prefix.with_name(f"{prefix.name}.index").read_bytes())
    for entry in index.entries:
        if not entry.slices:
            suffix = index.shard_name(entry.shard).removeprefix("variables")
            data = prefix.with_name(prefix.name + suffix).read_bytes()
            check_tensor(entry, pieces(data[entry.offset : entry.offset + entry.size_bytes], 1000))
    return index


def _save(prefix: Path, tensors: dict[str, Any], slices: list[str] | None = None) -> None:
    tf = pytest.importorskip("tensorflow")
    names = [name.rstrip("'") for name in tensors]  # A partitioned tensor has one name for several.
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=slices or [""] * len(names),
        tensors=list(tensors.values()),
    )


@pytest.mark.tensorflow
def test_tensors_of_every_type_pass_as_tensorflow_writes_them(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    numbers = tf.reshape(tf.range(12.0), [3, 4])
    tensors = {name: tf.cast(numbers, name) for name in NUMERIC}
    tensors |= {"complex64": tf.complex(1.0, 2.0), "bool": tf.constant([True, False])}
    tensors |= {"empty": tf.zeros([0, 3]), "scalar": tf.constant(2.5)}
    _save(tmp_path / "all", tensors)
    assert len(_check_bundle(tmp_path / "all").entries) == len(tensors)


NUMERIC = ["float16", "bfloat16", "float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32"]
NUMERIC += ["int64", "uint64", "float8_e5m2", "float8_e4m3fn", "complex128"]


@pytest.mark.tensorflow
def test_strings_pass_as_tensorflow_writes_them(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    tensors = {
        "words": tf.constant([["", "a"], ["b" * 127, "c" * 128]]),
        "long": tf.constant(b"\0\xff" * 100_000),
        "none": tf.zeros([0], tf.string),
    }
    _save(tmp_path / "strings", tensors)
    assert len(_check_bundle(tmp_path / "strings").entries) == 3


@pytest.mark.tensorflow
def test_variants_pass_as_tensorflow_writes_them(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    items = tf.raw_ops.TensorListFromTensor(tensor=tf.random.normal([3, 100]), element_shape=[100])
    tensors = {"list": items, "lists": tf.stack([items, items]), "none": tf.stack([items])[:0]}
    _save(tmp_path / "variants", tensors)
    assert [entry.dtype.name for entry in _check_bundle(tmp_path / "variants").entries] == ["variant"] * 3


@pytest.mark.tensorflow
def test_partitioned_tensors_in_several_shards_pass_as_tensorflow_writes_them(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    parts = {"v": tf.ones([2, 2]), "v'": tf.zeros([2, 2])}
    _save(tmp_path / "one", parts, ["4 2 0,2:-", "4 2 2,2:-"])
    _save(tmp_path / "two", {"w": tf.constant(["text"]), "x": tf.ones([5])})
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[f"{tmp_path}/one", f"{tmp_path}/two"], destination_prefix=f"{tmp_path}/merged"
    )
    index = _check_bundle(tmp_path / "merged")
    assert (index.shard_count, sorted(index.by_name)) == (2, ["v", "w", "x"])


def resident_bytes() -> int:
    words = Path("/proc/self/statm").read_text().split()
    return int(words[1]) * resource.getpagesize()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc_trim is glibc's")
def test_freed_memory_that_glibc_keeps_is_given_back_to_the_system() -> None:
    blocks = [bytes(range(256)) * 256 for _ in range(640)]  # 64 KiB each, below what is mapped by itself.
    del blocks[::2], blocks[1::2]  # What is left keeps the heap from shrinking at its end.
    before = resident_bytes()

    return_freed_memory()

    assert before - resident_bytes() > 15 << 20
    assert blocks[0] == bytes(range(256)) * 256
