"""The weights-only rewrite: unchanged values give the same bytes, new ones a model that TensorFlow loads."""

from __future__ import annotations

import platform
import resource
import shutil
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from hubcli.errors import BrokenModelError, ChecksumError, HubcliError, IntegrityError, ValuesError
from hubcli.formats.bundles import Bundle
from hubcli.formats.checksums import fingerprint64
from hubcli.formats.tensor_layout import DType
from hubcli.formats.tensor_values import TensorValues
from hubcli.savedmodel.checks.integrity import ModelCheck
from hubcli.savedmodel.compare.diff import Distance
from hubcli.savedmodel.weights.rewrite import RewriteOptions, RewriteReport, rewrite
from tests.cases import each_of
from tests.conftest import ROOT
from tests.corpus import KINDS, corpus_model
from tests.models import tree_files
from tests.savedmodel.bundles import SHARD, write_bundle_model
from tests.savedmodel.conftest import Zoo
from tests.savedmodel.zoo import SPECIMENS

INDEX = "variables/variables.index"
# Written with a compressed index, which hubcli writes plain.
COMPRESSED = {"serving_half_plus_two_tf2", "serving_half_plus_two_assets_extra"}
SAME = RewriteOptions(allow_unchanged=True, allow_nan=True)


class Given(TensorValues):
    """Values out of memory."""

    def __init__(self, key: str, data: bytes, dtype: int = 1, shape: tuple[int, ...] | None = None) -> None:
        self._data = data
        super().__init__(key, DType.of(dtype), (len(data) // 4,) if shape is None else shape)

    def pieces(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        yield self._data[start:end]


def own_values(model: Path) -> dict[str, TensorValues]:
    return Bundle.open(model / "variables", "variables").values()


def floats(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    tensors = {"a": floats(1, 2, 3), "b": floats(), "c": floats(4, 5)}
    return write_bundle_model(tmp_path / "model", tensors)


# The same values ---------------------------------------------------------------------------------


def require_same(model: Path, out: Path, but: frozenset[str] = frozenset()) -> None:
    before, after = tree_files(model), tree_files(out)
    assert before.keys() == after.keys()
    assert {path for path in before if before[path] != after[path]} <= but


# serving_matrix_half_plus_two has no variables.
@each_of("name", sorted(KINDS.keys() - {"serving_matrix_half_plus_two"}))
def test_real_models_with_their_own_values_are_the_same_to_the_byte(name: str, tmp_path: Path) -> None:
    source = corpus_model(name)
    report = rewrite(source, tmp_path / "out", own_values(source), SAME)
    assert report.changed == ()
    recoded = frozenset({INDEX, "fingerprint.pb"} if name in COMPRESSED else ())
    require_same(source, tmp_path / "out", recoded)
    assert [fault for fault in ModelCheck(tmp_path / "out").run().faults if fault.code != "missing"] == []


@pytest.mark.tensorflow
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SPECIMENS))
def test_models_of_the_zoo_with_their_own_values_are_the_same_to_the_byte(
    name: str, zoo: Zoo, tmp_path: Path
) -> None:
    pytest.importorskip("tensorflow")
    source = zoo(name)
    if not (source / INDEX).is_file():
        with pytest.raises(ValuesError, match="has no variables"):
            rewrite(source, tmp_path / "out", {}, SAME)
        return
    rewrite(source, tmp_path / "out", own_values(source), SAME)
    # Its index was written after its fingerprint.
    require_same(
        source, tmp_path / "out", frozenset({"fingerprint.pb"} if name == "unclaimed_tensors" else ())
    )


# Other values ------------------------------------------------------------------------------------


def test_a_value_is_written_and_all_else_stays(model: Path, tmp_path: Path) -> None:
    report = rewrite(model, tmp_path / "out", {"a": Given("x", floats(1, 2.5, 3)), "b": Given("y", b"")})
    assert [(change.key, change.dtype, change.shape, change.largest) for change in report.changed] == [
        ("a", "float32", (3,), 0.5)
    ]
    assert (report.unchanged, report.unassigned) == (("b",), ("c",))
    before, after = tree_files(model), tree_files(tmp_path / "out")
    assert after[SHARD] == before[SHARD].replace(floats(2), floats(2.5))
    assert after["saved_model.pb"] == before["saved_model.pb"]
    assert ModelCheck(tmp_path / "out").run().faults == ()


def test_every_written_byte_is_heard(model: Path, tmp_path: Path) -> None:
    progress_bytes: list[int] = []
    report = rewrite(model, tmp_path / "out", {"a": Given("x", floats(9, 9, 9))}, None, progress_bytes.append)
    assert sum(progress_bytes) == report.size_bytes == 20


@pytest.mark.tensorflow
@pytest.mark.slow
@pytest.mark.parametrize(("name", "shards"), [("two_shards", 2), ("split_variables", 7)])
def test_shards_and_slices_stay_and_tensorflow_reads_them(
    name: str, shards: int, zoo: Zoo, tmp_path: Path
) -> None:
    tf = pytest.importorskip("tensorflow")
    source = zoo(name)
    values = {
        key: Given(key, bytes(variable.size_bytes), variable.dtype.number, variable.shape)
        for key, variable in own_values(source).items()
        if variable.dtype.name == "float32"
    }
    rewrite(source, tmp_path / "out", values, RewriteOptions(allow_unchanged=True))
    assert len(list((tmp_path / "out/variables").glob("*.data-*"))) == shards
    reader = tf.train.load_checkpoint(str(tmp_path / "out/variables/variables"))
    before = tf.train.load_checkpoint(str(source / "variables/variables"))
    for key in reader.get_variable_to_shape_map():
        if key in values:
            assert not reader.get_tensor(key).any()
        elif key != "_CHECKPOINTABLE_OBJECT_GRAPH":
            assert (reader.get_tensor(key) == before.get_tensor(key)).all()
    tf.saved_model.load(str(tmp_path / "out"))


@pytest.mark.tensorflow
@pytest.mark.slow
def test_a_partitioned_variable_gives_and_takes_values(zoo: Zoo, tmp_path: Path) -> None:
    """One table in three parts: read as a whole out of one model, cut again for the other."""
    tf = pytest.importorskip("tensorflow")
    source = zoo("tf1_partitioned")
    before = tf.train.load_checkpoint(str(source / "variables/variables")).get_tensor("emb/table")
    own = own_values(source)["emb/table"]
    assert b"".join(own.pieces()) == before.tobytes()
    assert b"".join(own.pieces(8, 100)) == before.tobytes()[8:100]
    rewrite(source, tmp_path / "out", {"emb/table": Given("t", (before + 1).tobytes(), 1, before.shape)})
    after = tf.train.load_checkpoint(str(tmp_path / "out/variables/variables")).get_tensor("emb/table")
    assert (after == before + 1).all()
    again = rewrite(source, tmp_path / "again", {"emb/table": own_values(tmp_path / "out")["emb/table"]})
    assert [change.key for change in again.changed] == ["emb/table"]
    require_same(tmp_path / "out", tmp_path / "again")


@pytest.mark.tensorflow
@pytest.mark.slow
def test_strings_of_other_lengths_move_what_follows(zoo: Zoo, tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    source = zoo("two_shards")
    loaded = tf.saved_model.load(str(source))
    loaded.words.assign(tf.fill(loaded.words.shape, "a much longer string than before"))
    tf.saved_model.save(loaded, str(tmp_path / "tuned"))
    key = "words/.ATTRIBUTES/VARIABLE_VALUE"
    report: RewriteReport = rewrite(source, tmp_path / "out", {key: own_values(tmp_path / "tuned")[key]})
    assert [(change.key, change.largest) for change in report.changed] == [(key, None)]
    after = tf.saved_model.load(str(tmp_path / "out"))
    assert (after.words.numpy() == loaded.words.numpy()).all()
    assert (after.left.numpy() == loaded.left.numpy()).all()


# Refusals ----------------------------------------------------------------------------------------


def test_values_that_do_not_fit_are_refused_before_anything_is_written(model: Path, tmp_path: Path) -> None:
    for values in ({"a": Given("x", floats(1))}, {"a": Given("x", bytes(12), 3)}, {"z": Given("x", b"")}):
        with pytest.raises(ValuesError):
            rewrite(model, tmp_path / "out", values)
        assert not (tmp_path / "out").exists()


def test_damaged_bytes_are_not_given_a_good_checksum(model: Path, tmp_path: Path) -> None:
    shard = model / SHARD
    good = shard.read_bytes()
    shard.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    with pytest.raises(ChecksumError, match="a: checksum mismatch of its bytes in the model"):
        rewrite(model, tmp_path / "out", {"c": Given("x", floats(1, 1))})
    shutil.copytree(model, tmp_path / "tuned")
    shard.write_bytes(good)
    with pytest.raises(ChecksumError, match="a: checksum mismatch of its bytes in the weights"):
        rewrite(model, tmp_path / "two", {"a": own_values(tmp_path / "tuned")["a"]})


def test_values_that_end_early_or_late_are_refused(model: Path, tmp_path: Path) -> None:
    for number, data in enumerate((floats(1), floats(1, 2, 3, 4))):
        with pytest.raises(BrokenModelError):
            rewrite(model, tmp_path / str(number), {"a": Given("x", data, 1, (3,))})


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_refused(number: float, model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValuesError, match="c contains NaN or infinity"):
        rewrite(model, tmp_path / "out", {"c": Given("x", floats(1, number))})


def test_what_was_no_number_before_may_stay(tmp_path: Path) -> None:
    mask = struct.pack("<2f", float("-inf"), 0.0)
    source = write_bundle_model(tmp_path / "masked", {"a": floats(1), "mask": mask})
    values = {"a": Given("x", floats(2)), "mask": Given("y", mask)}
    assert rewrite(source, tmp_path / "out", values).unchanged == ("mask",)
    values["mask"] = Given("y", mask[:4] + floats(1))
    with pytest.raises(ValuesError, match="mask contains NaN or infinity"):
        rewrite(source, tmp_path / "other", values)


def test_cut_shards_are_refused(model: Path, tmp_path: Path) -> None:
    shard = model / SHARD
    good = shard.read_bytes()
    for size in range(0, 24, 3):
        shard.write_bytes(good[:size])
        with pytest.raises(HubcliError) as caught:
            rewrite(model, tmp_path / str(size), {"a": Given("x", floats(1, 2, 4))})
        assert isinstance(caught.value, IntegrityError)


# Memory and hashes -------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    data = bytes(32 << 20)
    source = write_bundle_model(tmp_path / "model", {"large": data})
    tuned = write_bundle_model(tmp_path / "tuned", {"large": data[:-4] + floats(1)})
    del data
    values = own_values(tuned)
    options = RewriteOptions(measure=lambda dtype, new, old: Distance(None))
    tracemalloc.start()
    try:
        rewrite(source, tmp_path / "out", values, options)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


FAULTS = """
import resource, sys
from pathlib import Path
from hubcli.savedmodel.compare.diff import Distance
from hubcli.savedmodel.weights.rewrite import RewriteOptions, rewrite
from hubcli.savedmodel.weights.sources import open_weights

model, tuned, out = map(Path, sys.argv[1:])
values = dict(open_weights(tuned).tensors)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
rewrite(model, out, values, RewriteOptions(measure=lambda dtype, new, old: Distance(None)))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries keep memory as they like")
def test_the_memory_of_a_piece_is_taken_again_for_the_next(tmp_path: Path) -> None:
    """Pages that come and go with each piece took a third of the time."""
    data = bytes(64 << 20)
    source = write_bundle_model(tmp_path / "model", {"large": data})
    tuned = write_bundle_model(tmp_path / "tuned", {"large": data[:-4] + floats(1)})
    arguments = map(str, (source, tuned, tmp_path / "out"))
    result = subprocess.run(
        [sys.executable, "-c", FAULTS, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(result.stdout) < len(data) / resource.getpagesize() / 8


@pytest.mark.tensorflow
def test_the_fingerprint_is_tensorflows() -> None:
    tf = pytest.importorskip("tensorflow")
    data = bytes(number * 7 % 251 for number in range(1000))
    for size in (*range(140), 999, 1000):
        expected = tf.fingerprint([data[:size]]).numpy().tobytes()
        assert fingerprint64(data[:size]) == int.from_bytes(expected, "little")
