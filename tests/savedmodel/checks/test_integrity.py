"""Whether models are whole: records, index, shards, tensors, assets; and that threads share the work."""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from hubcli.archive import FileRecord
from hubcli.concurrency import CancellationToken, running_beside
from hubcli.errors import BrokenModelError
from hubcli.formats.tensor_bundle import BundleEntry
from hubcli.formats.tensor_layout import DType, TensorSlice, slice_key
from hubcli.issues import Issue
from hubcli.savedmodel.checks import integrity, shard_chunks
from hubcli.savedmodel.checks.integrity import Integrity, ModelCheck
from hubcli.savedmodel.model import ModelFiles
from hubcli.savedmodel.reader import read_model
from tests.archives import read_tree
from tests.cases import each_of
from tests.corpus import KINDS, corpus_model
from tests.formats.tables import bundle_entry, delimited, index_of
from tests.formats.tables import number as number_field
from tests.models import write_tree
from tests.savedmodel.bundles import SHARD, floats, write_bundle_model
from tests.savedmodel.checks.test_assets import tf2_model

INDEX = "variables/variables.index"
# Its graph declares assets/foo.txt, which was moved to assets.extra.
WITHOUT_ITS_ASSET = "serving_half_plus_two_assets_extra"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of a real TF2 model to be damaged."""
    return write_tree(tmp_path / "model", read_tree(corpus_model("serving_half_plus_two_tf2")))


def records_of(model: Path) -> tuple[FileRecord, ...]:
    """The files as a fetch records them."""
    return tuple(
        FileRecord(path, len(content), hashlib.sha256(content).hexdigest())
        for path, content in sorted(read_tree(model).items())
    )


def check(model: Path, records: Sequence[FileRecord] = (), *, quick: bool = False) -> Integrity:
    return ModelCheck(model, records, quick=quick).run()


def faults(model: Path, records: Sequence[FileRecord] = (), *, quick: bool = False) -> list[Issue]:
    return list(check(model, records, quick=quick).faults)


def problems_of(model: Path, records: Sequence[FileRecord] = ()) -> list[tuple[str, str | None]]:
    return [(fault.code, fault.file) for fault in faults(model, records)]


def flip(path: Path, byte: int) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)


# Whole models ------------------------------------------------------------------------------------


@each_of("name", sorted(KINDS.keys() - {WITHOUT_ITS_ASSET}))
def test_each_real_model_is_whole_with_and_without_a_record(name: str) -> None:
    model = corpus_model(name)
    assert faults(model) == []
    assert faults(model, records_of(model)) == []
    assert ModelCheck(model, definitions=True).run() == check(model)


def test_the_real_model_whose_asset_was_moved_is_told() -> None:
    assert problems_of(corpus_model(WITHOUT_ITS_ASSET)) == [("missing", "assets/foo.txt")]


def test_files_tensors_and_bytes_are_counted(model: Path) -> None:
    sizes = {record.path: record.size_bytes for record in records_of(model)}
    alone, recorded = check(model), check(model, records_of(model))
    assert (alone.file_count, alone.tensor_count) == (4, 4)
    assert alone.size_bytes == sizes[INDEX] + sizes[SHARD]
    assert (recorded.file_count, recorded.size_bytes) == (len(sizes), sum(sizes.values()))


def test_every_byte_that_is_announced_is_heard_of_once(model: Path) -> None:
    for records in ((), records_of(model)):
        progress_bytes: list[int] = []
        planned = ModelCheck(model, records)
        planned.run(progress_bytes.append)
        assert sum(progress_bytes) == planned.size_bytes


# Damage ------------------------------------------------------------------------------------------


def test_a_tensor_s_damage_is_told_with_its_name_and_bytes(tmp_path: Path) -> None:
    model = write_bundle_model(tmp_path, {"a": bytes(100), "b": bytes(40), "c": bytes(8)})
    flip(model / SHARD, 110)
    assert faults(model) == [
        Issue.of_file("tensor", "checksum mismatch with the index", SHARD, "b", 104, 144)
    ]


def test_each_bit_that_a_tensor_covers_is_missed_by_no_check(tmp_path: Path) -> None:
    model = write_bundle_model(tmp_path, {"a": os.urandom(20), "b": os.urandom(12)})
    records, whole = records_of(model), (model / SHARD).read_bytes()
    for byte in range(len(whole)):
        covered = byte < 20 or 24 <= byte < 36
        flip(model / SHARD, byte)
        assert bool(faults(model)) is covered
        assert bool(faults(model, records, quick=True)) is covered
        assert {fault.code for fault in faults(model, records)} == {"sha256"} | (
            {"tensor"} if covered else set()
        )
        (model / SHARD).write_bytes(whole)


@pytest.mark.parametrize("path", ["saved_model.pb", INDEX, SHARD, "fingerprint.pb", "assets/foo.txt"])
def test_with_a_record_a_flip_in_any_file_is_found(path: str, model: Path) -> None:
    records = records_of(model)
    flip(model / path, (model / path).stat().st_size // 2)
    assert ("sha256", path) in problems_of(model, records)


@pytest.mark.parametrize("path", ["saved_model.pb", INDEX, SHARD, "fingerprint.pb", "assets/foo.txt"])
def test_with_a_record_a_missing_or_shorter_file_is_found_once(path: str, model: Path) -> None:
    records = records_of(model)
    os.truncate(model / path, (model / path).stat().st_size - 1)
    assert problems_of(model, records).count(("size", path)) == 1
    (model / path).unlink()
    assert problems_of(model, records) == [("missing", path)]


def test_a_file_beside_those_of_the_record_does_no_harm(model: Path) -> None:
    records = records_of(model)
    (model / "notes.txt").write_text("mine")
    assert faults(model, records) == []


def test_a_link_in_the_place_of_a_recorded_file_is_told(model: Path) -> None:
    records = records_of(model)
    (model / "fingerprint.pb").rename(model / "elsewhere")
    (model / "fingerprint.pb").symlink_to("elsewhere")
    assert faults(model, records) == [Issue.of_file("size", "is not a regular file", "fingerprint.pb")]


def test_a_recorded_file_that_cannot_be_looked_at_is_told(model: Path) -> None:
    records = records_of(model)
    # Longer than a file system takes: neither missing nor there.
    odd = FileRecord("x" * 5000, 1, None)
    found = faults(model, [*records, odd])
    assert [(fault.code, fault.file) for fault in found] == [("unreadable", odd.path)]
    assert "cannot be accessed" in str(found[0])


def test_a_record_without_hashes_compares_sizes(model: Path) -> None:
    records = [FileRecord(record.path, record.size_bytes, None) for record in records_of(model)]
    flip(model / "fingerprint.pb", 3)
    assert faults(model, records) == []
    flip(model / SHARD, 1)
    assert problems_of(model, records) == [("tensor", SHARD)]


@pytest.mark.parametrize("path", ["saved_model.pb", INDEX, "assets/foo.txt"])
def test_without_a_record_a_missing_file_is_told(path: str, model: Path) -> None:
    (model / path).unlink()
    assert [file for _, file in problems_of(model)] == [path]


def test_every_missing_shard_is_told(tmp_path: Path) -> None:
    data = bytes(8)
    entries = [(b"a", floats(data, 0)), (b"b", floats(data, 0, shard=1)), (b"c", floats(data, 0, shard=2))]
    model = write_bundle_model(tmp_path, {})
    (model / SHARD).unlink()
    (model / INDEX).write_bytes(index_of(entries, shards=3))
    (model / "variables/variables.data-00001-of-00003").write_bytes(data)
    lost = [f"variables/variables.data-0000{number}-of-00003" for number in (0, 2)]
    assert problems_of(model) == [("missing", path) for path in lost]


def test_a_shard_that_is_cut_names_the_tensors_that_were_lost(tmp_path: Path) -> None:
    model = write_bundle_model(tmp_path, {"a": bytes(100), "b": bytes(40), "c": bytes(8)})
    os.truncate(model / SHARD, 120)
    assert [(fault.code, fault.tensor) for fault in faults(model)] == [
        ("size", None),
        ("tensor", "b"),
        ("tensor", "c"),
    ]


def test_a_shard_that_is_a_git_lfs_pointer_is_told_as_one(model: Path) -> None:
    (model / SHARD).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "git-LFS pointer" in faults(model)[0].message


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("saved_model.pb", b"version https://git-lfs.github.com/spec/v1\n", "git-LFS pointer"),
        ("saved_model.pb", b"<!DOCTYPE html><html>", "web page"),
        ("saved_model.pb", b"", "empty"),
        ("saved_model.pb", b"\xff\xff", "cannot be read as a SavedModel"),
        ("saved_model.pbtxt", b'item { name: "cat" id: 1 }', "label map"),
    ],
)
def test_what_is_no_savedmodel_is_told_as_what_it_is(
    name: str, content: bytes, sentence: str, model: Path
) -> None:
    (model / "saved_model.pb").unlink()
    (model / name).write_bytes(content)
    found = faults(model)
    assert [(fault.code, fault.file) for fault in found] == [("model", name)]
    assert sentence in found[0].message
    assert not found[0].message.startswith(name)


def test_a_model_in_chunks_is_noted_and_its_tensors_checked(model: Path) -> None:
    (model / "saved_model.pb").rename(model / "saved_model.cpb")
    found = check(model)
    assert found.faults == ()
    assert "saved_model.cpb" in found.notes[0]
    flip(model / SHARD, 1)
    assert problems_of(model) == [("tensor", SHARD)]


def test_an_asset_that_climbs_out_is_a_fault_though_it_is_there(tmp_path: Path) -> None:
    model = write_tree(tmp_path / "m", {"saved_model.pb": tf2_model(b"../../outside"), "assets/x": b""})
    (tmp_path / "outside").write_text("")
    assert problems_of(model) == [("asset-path", "assets/../../outside")]


def test_assets_behind_one_that_climbs_out_are_looked_for_too(tmp_path: Path) -> None:
    model = write_tree(tmp_path / "m", {"saved_model.pb": tf2_model(b"../../outside", b"words")})
    assert problems_of(model) == [("asset-path", "assets/../../outside"), ("missing", "assets/words")]


def faults_of_definitions(folder: Path, content: bytes, name: str = "saved_model.pb") -> list[str]:
    """The faults that reading the definitions adds to those of the outline."""
    model = write_tree(folder / "m", {name: content})
    before = faults(model)
    return [str(fault) for fault in ModelCheck(model, definitions=True).run().faults if fault not in before]


@each_of(
    "meta_graph, sentence",
    [
        (delimited(2, delimited(1, b"\xff")), "cannot be read as a SavedModel: .* GraphDef: it is corrupt"),
        (
            delimited(2, delimited(2, delimited(1, b"\xff"))),
            "cannot be read as a SavedModel: .* it is corrupt",
        ),
        (delimited(5, delimited(1, b"\xff") + delimited(2, b"")), "cannot be read as a SavedModel"),
    ],
)
def test_definitions_that_inspect_refuses_are_a_fault(
    tmp_path: Path, meta_graph: bytes, sentence: str
) -> None:
    (found,) = faults_of_definitions(tmp_path, delimited(2, delimited(1, b"") + meta_graph))
    assert re.search(rf"saved_model\.pb: {sentence}", found)
    model = tmp_path / "m"
    with pytest.raises(BrokenModelError):
        read_model(ModelFiles.of_directory(model))


@each_of(
    "limit, sentence",
    [
        ("graph._MAX_OBJECT_BYTES", "its object graph has 14 bytes, more than 0 MiB"),
        ("graph.MAX_NODES", "More than 8 fields in one message"),
        ("definitions._MAX_BYTES", "its signatures and collections have more than 0 MiB"),
    ],
)
def test_a_model_that_exceeds_the_limits_of_inspect_is_noted_and_not_corrupt(
    tmp_path: Path, limit: str, sentence: str
) -> None:
    graph = delimited(1, delimited(2, b"NoOp")) * 9
    objects = delimited(1, b"") * 7
    content = delimited(
        2, delimited(1, delimited(4, b"serve!")) + delimited(2, graph) + delimited(7, objects)
    )
    model = write_tree(tmp_path / "m", {"saved_model.pb": content})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"hubcli.savedmodel.{limit}", 8 if "MAX_BYTES" not in limit else 7)
        found = ModelCheck(model, definitions=True).run()
    assert found.faults == ()
    assert found.notes == (f"saved_model.pb exceeds a limit of hubcli: {sentence}",)


def test_an_asset_without_a_file_name_is_a_fault(tmp_path: Path) -> None:
    nameless = delimited(6, delimited(1, delimited(1, b"Const:0")))
    found = faults_of_definitions(tmp_path, delimited(2, delimited(1, b"") + nameless))
    assert found == ["saved_model.pb: declares an asset without a file name"]


def test_definitions_are_not_read_where_the_outline_is_damaged_or_in_chunks(tmp_path: Path) -> None:
    assert faults_of_definitions(tmp_path, b"\xff") == []
    assert faults_of_definitions(tmp_path / "chunks", b"", "saved_model.cpb") == []


# Hostile bundles ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_index_that_names_the_same_bytes_again_and_again_is_not_followed(tmp_path: Path) -> None:
    model = write_bundle_model(tmp_path, {"a": bytes(4000)})
    entries = [(b"t%06d" % number, floats(bytes(4000), 0)) for number in range(20_000)]
    (model / INDEX).write_bytes(index_of(entries))
    planned = ModelCheck(model)
    assert planned.size_bytes == 4000
    assert len(planned.run().faults) == 19_999


def test_a_tensor_beyond_all_bounds_is_told(tmp_path: Path) -> None:
    model = write_bundle_model(tmp_path, {"a": bytes(8)})
    (model / INDEX).write_bytes(index_of([(b"a", bundle_entry(0, 2**64 - 1, 2**64 - 1))]))
    assert problems_of(model) == [("size", SHARD), ("tensor", SHARD)]


def test_a_slice_that_is_missing_is_told_and_the_rest_is_checked(tmp_path: Path) -> None:
    model = write_bundle_model(tmp_path, {"a": bytes(8)})
    half = delimited(1, b"\x08\x00\x10\x01")
    whole = floats(b"", 0) + delimited(7, half)
    (model / INDEX).write_bytes(index_of([(b"a", floats(bytes(8), 0)), (b"v", whole)]))
    flip(model / SHARD, 1)
    assert problems_of(model) == [("tensor", SHARD), ("index", INDEX)]
    assert "lacks 1 of 1 slices of v" in faults(model)[1].message


@each_of(
    "places, size, are_whole",
    [
        ([(0, 2), (2, 2)], 4, True),
        ([(0, 2), (1, 2)], 4, False),
        ([(0, 2), (2, 2)], 5, False),
        ([(0, 2), (0, 2)], 4, False),
        ([(0, 1), (1, 3)], 4, False),
    ],
)
def test_slices_that_do_not_make_up_their_tensor_are_a_fault(
    tmp_path: Path, places: list[tuple[int, int]], size: int, are_whole: bool
) -> None:
    """TensorFlow can't load them: they overlap, leave elements out, or have other sizes than they say."""
    data = write_bundle_model(tmp_path, {"a": bytes(8), "b": bytes(8)}) / SHARD
    data.write_bytes(bytes(16))
    entries, whole = (
        dict[bytes, bytes](),
        number_field(1, 1) + delimited(2, delimited(2, number_field(1, size))),
    )
    for offset, (start, length) in zip((0, 8), places, strict=True):
        whole += delimited(7, delimited(1, number_field(1, start) + number_field(2, length)))
        entries[slice_key(b"v", TensorSlice((start,), (length,)))] = floats(bytes(8), offset)
    (tmp_path / INDEX).write_bytes(index_of(sorted([*entries.items(), (b"v", whole)])))
    found = [fault.message for fault in faults(tmp_path)]
    assert found == ([] if are_whole else ["The index has slices of v that do not make up the tensor"])


def test_a_fifo_in_the_place_of_a_shard_is_no_file(model: Path) -> None:
    (model / SHARD).unlink()
    os.mkfifo(model / SHARD)
    assert problems_of(model) == [("missing", SHARD)]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_told(model: Path) -> None:
    (model / SHARD).chmod(0)
    assert problems_of(model) == [("unreadable", SHARD)]


def test_a_file_that_goes_away_or_is_cut_after_the_look_is_told(model: Path) -> None:
    records = records_of(model)
    planned = ModelCheck(model, records)
    (model / "fingerprint.pb").unlink()
    os.truncate(model / SHARD, 1)
    codes = {(fault.code, fault.file) for fault in planned.run().faults}
    assert ("unreadable", "fingerprint.pb") in codes
    assert SHARD in {file for _, file in codes}


# Threads -----------------------------------------------------------------------------------------


def test_tensors_are_shared_between_threads_and_told_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integrity, "usable_cores", lambda: 3)
    monkeypatch.setattr(shard_chunks, "_CHUNK_BYTES", 400)
    monkeypatch.setattr(shard_chunks, "_READ_BYTES", 64)
    monkeypatch.setattr(shard_chunks, "_SMALL_TENSOR_BYTES", 0)
    chance = random.Random(5)
    tensors = {f"t{number:03}": chance.randbytes(4 * chance.randrange(1, 60)) for number in range(300)}
    model = write_bundle_model(tmp_path, tensors)
    content = bytearray((model / SHARD).read_bytes())
    spoilt = sorted(chance.sample(range(300), 40))
    place = 0
    for number, data in enumerate(tensors.values()):
        if number in spoilt:
            content[place] ^= 1
        place += len(data) + 4
    (model / SHARD).write_bytes(content)
    threads: set[str] = set()
    found = ModelCheck(model).run(lambda size: threads.add(threading.current_thread().name))
    assert [fault.tensor for fault in found.faults] == [f"t{number:03}" for number in spoilt]
    assert found.tensor_count == 300
    assert len(threads) <= 3


def _damage(shard: Path, kind: str) -> None:
    if kind == "tensor":
        flip(shard, 100)
    elif kind == "gap":
        flip(shard, 80)
    elif kind == "both":
        flip(shard, 0)
        flip(shard, 241)


@each_of("kind", ["none", "tensor", "gap", "both", "cut in a tensor", "cut in a gap", "cut to nothing"])
def test_a_file_hashed_in_stages_is_judged_as_in_one_thread_and_read_once(tmp_path: Path, kind: str) -> None:
    found = []
    for is_staged in (False, True):
        tensors = {f"t{number}": bytes([number]) * 80 for number in range(3)}  # With 4 bytes between them.
        model = write_bundle_model(tmp_path / str(is_staged), tensors)
        records = records_of(model)
        _damage(model / SHARD, kind)
        planned = ModelCheck(model, records)
        if kind.startswith("cut"):
            os.truncate(model / SHARD, {"tensor": 100, "gap": 82, "nothing": 0}[kind.split()[-1]])
        counts: list[int] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(integrity, "usable_cores", lambda: 8)
            patch.setattr(integrity, "_STAGED_BYTES", 0 if is_staged else 1 << 40)
            patch.setattr(shard_chunks, "_BLOCK_BYTES", 32)
            found.append((planned.run(counts.append).faults, sorted(counts)))
        if not kind.startswith("cut"):
            assert sum(counts) == sum(record.size_bytes for record in records)
    assert found[0] == found[1]
    codes = [fault.code for fault in found[0][0]]
    assert codes == {
        "none": [],
        "tensor": ["sha256", "tensor"],
        "gap": ["sha256"],
        "both": ["sha256", "tensor", "tensor"],
    }.get(kind, ["size"])
    assert not _hashing_threads()


def _hashing_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "hubcli-beside"]


def test_an_interrupt_ends_the_thread_that_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integrity, "_STAGED_BYTES", 0)
    monkeypatch.setattr(shard_chunks, "_BLOCK_BYTES", 32)
    model = write_bundle_model(tmp_path, {"a": bytes(4000)})
    planned, counts = ModelCheck(model, records_of(model)), list[int]()

    def interrupt(size: int) -> None:
        counts.append(size)
        if len(counts) == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        planned.run(interrupt)
    assert not _hashing_threads()


def test_an_interrupt_as_the_thread_that_hashes_begins_ends_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def interrupted(job: Callable[[], None], stop: CancellationToken) -> Iterator[None]:
        with running_beside(job, stop):
            assert _hashing_threads()
            raise KeyboardInterrupt
        yield

    monkeypatch.setattr(integrity, "_STAGED_BYTES", 0)
    monkeypatch.setattr(integrity, "usable_cores", lambda: 8)
    monkeypatch.setattr(shard_chunks, "running_beside", interrupted)
    model = write_bundle_model(tmp_path, {"a": bytes(4000)})
    with pytest.raises(KeyboardInterrupt):
        ModelCheck(model, records_of(model)).run()
    assert not _hashing_threads()


def test_a_shard_is_shared_between_threads_unless_most_of_it_is_in_small_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_chunks, "_CHUNK_BYTES", 400)
    monkeypatch.setattr(shard_chunks, "_SMALL_TENSOR_BYTES", 100)

    def part_count(*sizes: int) -> int:
        entries = [BundleEntry(b"t", DType.of(1), (size // 4,), 0, 0, size, 0) for size in sizes]
        tensors = tuple(shard_chunks.StoredTensor("t", entry) for entry in entries)
        return len(list(shard_chunks.ShardChunk(tmp_path, SHARD, sum(sizes), tensors).cut()))

    assert part_count(*[96] * 20) == 1
    assert part_count(*[100] * 20) == 5
    assert part_count(*[96] * 20, 2000) == 5
    assert part_count(*[96] * 20, 1000) == 1
    assert part_count(0, 0) == 1
    assert part_count() == 0


def test_small_tensors_of_a_hashed_file_are_cut_from_one_block(tmp_path: Path) -> None:
    model = write_bundle_model(tmp_path, {f"t{number:03}": bytes(8) for number in range(300)})
    counts: list[int] = []
    assert not ModelCheck(model, records_of(model)).run(counts.append).faults
    assert (model / SHARD).stat().st_size in counts


def test_files_are_hashed_in_stages_where_cores_would_idle(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = [
        shard_chunks.ShardChunk(model, f"shard-{number}", 1 << 30, sha256="0" * 64) for number in range(2)
    ]
    small = shard_chunks.ShardChunk(model, "small", 1 << 20, sha256="0" * 64)
    unhashed = shard_chunks.ShardChunk(model, "unhashed", 1 << 30)

    assert [part.is_staged for part in integrity._staged([*hashed, small, unhashed], 3)] == [
        True,
        True,
        False,
        False,
    ]
    assert not any(part.is_staged for part in integrity._staged(hashed, 2))


def test_a_model_without_variables_or_assets_needs_only_its_graph(model: Path) -> None:
    shutil.rmtree(model / "variables")
    assert faults(model) == []
