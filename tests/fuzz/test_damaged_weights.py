"""Readers of weights under cuts, flips and lies: values, or an error of ours, soon and in little memory."""

from __future__ import annotations

import io
import json
import random
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from hubcli.errors import BrokenModelError, HubcliError
from hubcli.formats.array_files import read_npz, read_safetensors
from hubcli.formats.tensor_values import TensorValues
from hubcli.savedmodel.weights.assignable import read_assignable
from hubcli.savedmodel.weights.mapping import map_weights, read_map
from hubcli.savedmodel.weights.sources import open_weights
from tests.cases import each_of
from tests.corpus import corpus_model
from tests.fuzz.damaged_archives import every_share, random_flips
from tests.models import tree_files, write_tree

FLIPS = 1500
LONGEST_S = 2.0


def npy(descr: str, shape: str, data: bytes, *, order: str = "False", version: int = 1) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    layout = "<H" if version == 1 else "<I"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack(layout, len(text)) + text + data


def npz(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in members:
            archive.writestr(f"{name}.npy", content)
    return packed.getvalue()


def safetensors(header: object, data: bytes = b"") -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


GOOD_NPZ = npz(("a", npy("'<f4'", "(2, 3)", bytes(24))), ("b", npy("'|V2'", "()", b"xx", version=2)))
PACKED_NPZ = npz(("a", npy("'<f4'", "(2, 300)", bytes(2400))), method=zipfile.ZIP_DEFLATED)
GOOD_SAFETENSORS = safetensors(
    {
        "__metadata__": {"format": "tf"},
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "BF16", "shape": [], "data_offsets": [24, 26]},
    },
    bytes(26),
)
Reader = Callable[[Path], dict[str, TensorValues]]
READERS: dict[str, tuple[Reader, bytes]] = {
    "npz": (read_npz, GOOD_NPZ),
    "packed npz": (read_npz, PACKED_NPZ),
    "safetensors": (read_safetensors, GOOD_SAFETENSORS),
}
every_reader = pytest.mark.parametrize(("read", "good"), READERS.values(), ids=READERS.keys())


def attempt(read: Reader, path: Path, data: bytes) -> bool:
    """Whether the file was read to its end; only our own errors may escape."""
    path.write_bytes(data)
    started = time.process_time()
    try:
        for values in read(path).values():
            assert sum(map(len, values.pieces())) == values.size_bytes
    except HubcliError:
        return False
    finally:
        assert time.process_time() - started < LONGEST_S
    return True


@every_reader
def test_the_good_ones_are_read(read: Reader, good: bytes, tmp_path: Path) -> None:
    assert attempt(read, tmp_path / "w", good)


@every_share
@every_reader
def test_every_cut_is_refused(read: Reader, good: bytes, tmp_path: Path, share: int) -> None:
    for size in range(0, len(good), min(share, 7)):
        assert not attempt(read, tmp_path / "w", good[:size]), size


@every_share
@every_reader
def test_flips_are_read_or_refused(read: Reader, good: bytes, tmp_path: Path, share: int) -> None:
    for _, data in random_flips(good, FLIPS // share, seed=11):
        attempt(read, tmp_path / "w", data)


@every_share
@every_reader
def test_noise_is_refused(read: Reader, good: bytes, tmp_path: Path, share: int) -> None:
    chance = random.Random(3)
    for _ in range(300 // share):
        assert not attempt(read, tmp_path / "w", chance.randbytes(chance.randrange(200)))


@each_of(
    "member, message",
    [
        (npy("'|O'", "(1,)", b"cos\nsystem\n."), "pickle"),
        (npy("'<U4'", "(1,)", bytes(16)), "no variable has"),
        (npy("[('a', '<f4')]", "(1,)", bytes(4)), "records"),
        (npy("'>f4'", "(1,)", bytes(4)), "big-endian"),
        (npy("'<f4'", "(2, 3)", bytes(24), order="True"), "Fortran"),
        (npy("'<f4'", "(9,)", bytes(4)), "has 4 bytes"),
        (npy("'<f4'", "(-1,)", b""), "invalid shape"),
        (npy("'<f4'", "(True,)", bytes(4)), "invalid shape"),
        (npy("'<f4'", f"({2**62}, 4)", b""), "invalid shape"),
        (npy("'<f4'", f"({'9' * 5000},)", b""), "header"),
        (npy("'<f4'", "(" * 3000 + ")" * 3000, b""), "header"),
        (npy("'<f4'", "[1]", bytes(4)), "invalid shape"),
        (npy("__import__('os')", "(1,)", bytes(4)), "header"),
        (b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 31), "header of"),
        (b"no array", "not a .npy"),
    ],
)
def test_arrays_that_are_no_tensors_are_told(member: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "w.npz").write_bytes(npz(("a", member)))
    with pytest.raises(BrokenModelError, match=message):
        read_npz(tmp_path / "w.npz")


def test_a_bomb_is_no_larger_than_what_it_claims(tmp_path: Path) -> None:
    """The shape of each array is known before a byte of it is unpacked: 64 MiB stand here in 64 KiB."""
    content = npy("'<f4'", "(2,)", bytes(64 << 20))
    (tmp_path / "w.npz").write_bytes(npz(("a", content), method=zipfile.ZIP_DEFLATED))
    with pytest.raises(BrokenModelError, match="requires 8"):
        read_npz(tmp_path / "w.npz")


def test_a_damaged_array_is_told_by_the_checksum_of_the_zip(tmp_path: Path) -> None:
    data = bytearray(GOOD_NPZ)
    place = GOOD_NPZ.index(bytes(24))
    data[place + 3] ^= 4
    assert zlib.crc32(data) != zlib.crc32(GOOD_NPZ)
    assert not attempt(read_npz, tmp_path / "w", bytes(data))


@each_of(
    "header",
    [
        [],
        {"a": 1},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
        {"a": {"dtype": "X", "shape": [2], "data_offsets": [0, 8]}},
        {"a": {"dtype": ["F32"], "shape": [2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [True, 2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]}},
        {name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for name in "ab"},
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "a": 1}',
        b'{"a": {"dtype": "F32", "shape": [' + b"9" * 5000 + b'], "data_offsets": [0, 8]}}',
        b"[" * 100_000,
    ],
)
def test_headers_that_lie_are_refused(header: object, tmp_path: Path) -> None:
    assert not attempt(read_safetensors, tmp_path / "w", safetensors(header, bytes(8)))


@each_of(
    "text", ["", "{", "{}", '{"a": 1}', '{"a": "b", "a": "c"}', "[]", "a", "a = b\na = c", "{" * 100_000]
)
def test_maps_that_are_none_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "map").write_text(text, encoding="utf-8")
    with pytest.raises(HubcliError):
        read_map(tmp_path / "map")


def test_maps_in_both_forms_are_read(tmp_path: Path) -> None:
    for text in ('{"a": "b=c", "d e": "f"}', "# pairs\na = b=c\n\nd e = f\n"):
        (tmp_path / "map").write_text(text, encoding="utf-8")
        assert read_map(tmp_path / "map") == {"a": "b=c", "d e": "f"}


@pytest.mark.parametrize("root", ["", None])
def test_checkpoints_with_damaged_objects_are_mapped_or_refused(root: str | None, tmp_path: Path) -> None:
    model = corpus_model("tfx_keras_serving")
    files = tree_files(model / "variables")
    shard = "variables.data-00000-of-00001"
    start = files[shard].index(b"layer_with_weights") - 100
    chance = random.Random(5)
    targets = read_assignable(model)
    for _ in range(150):
        data = bytearray(files[shard])
        for _ in range(4):
            data[chance.randrange(start, len(data))] ^= 1 << chance.randrange(8)
        tuned = write_tree(tmp_path / "tuned", {**files, shard: bytes(data)}) / "variables"
        started = time.process_time()
        with suppress(HubcliError):
            map_weights(targets, open_weights(tuned), root=root)
        assert time.process_time() - started < LONGEST_S
