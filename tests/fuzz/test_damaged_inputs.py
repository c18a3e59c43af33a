"""Damaged files of inputs: any content ends in an error of hubcli."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubcli.errors import HubcliError, InputError
from hubcli.formats.npy import npy_header
from hubcli.running.batching import batches_of_columns, batches_of_rows
from hubcli.running.endpoints import Endpoint
from hubcli.running.inputs import InputReader, RowStream
from hubcli.running.media import image_size
from hubcli.running.serving import PredictRequest
from tests.cases import each_of
from tests.running.ports import dtype_named, port, signature
from tests.running.test_inputs import example, record

ENDPOINTS = (
    signature(port("x", "float32", (None, 2))),
    signature(port("x", "string", (None,))),
    signature(port("x", "uint8", (None, None, None, 3))),
    signature(port("a", "float32", (None,)), port("b", "int64", (None, 2))),
    signature(port("x", "float32", (None,)), port("x_1", "int64", (None,))),
)


def _npz() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", npy_header(dtype_named("float32"), (2,)) + bytes(8))
        archive.writestr("b.npy", npy_header(dtype_named("int64"), (2, 2)) + bytes(32))
    return out.getvalue()


PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0)
WHOLE = {
    "npy": npy_header(dtype_named("float32"), (2, 2)) + bytes(16),
    "npz": _npz(),
    "png": PNG,
    "jpeg": b"\xff\xd8\xff\xe0\0\x10" + bytes(14) + b"\xff\xc0\0\x11\x08\0\x04\0\x04" + bytes(20),
    "webp": b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + bytes(30),
    "wav": b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt " + bytes(30),
    "records": record(example(a=[0.5], b=[1, 2])) * 2,
    "json": json.dumps({"a": [1.5], "b": [[1, 2]]}).encode(),
    "lines": b'{"a": 1, "b": [1, 2]}\n{"a": 2, "b": [3, 4]}\n',
    "table": b"a,b.0,b.1\n1,2,3\n4,5,6\n",
    "text": "one\ntwo\nthree ü\n".encode(),
}


def read(endpoint: Endpoint, path: Path) -> None:
    """Reads the file as inputs, and makes batches of them."""
    with suppress(HubcliError):
        given_ = InputReader(endpoint).of_texts([f"@{path}"])
        if isinstance(given_, RowStream):
            try:
                list(batches_of_rows(endpoint, given_, 2))
            finally:
                given_.file.close()
        else:
            list(batches_of_columns(endpoint, given_, None))


@each_of("name", WHOLE)
def test_files_that_are_cut_off_anywhere(name: str, tmp_path: Path) -> None:
    data = WHOLE[name]
    path = tmp_path / "file"
    for end in range(0, len(data), max(1, len(data) // 40)):
        path.write_bytes(data[:end])
        for endpoint in ENDPOINTS:
            read(endpoint, path)


@pytest.mark.parametrize("name", WHOLE)
@given(place=st.integers(0, 10_000), bits=st.integers(1, 255), more=st.binary(max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_files_with_other_bits(name: str, tmp_path: Path, place: int, bits: int, more: bytes) -> None:
    data = bytearray(WHOLE[name])
    data[place % len(data)] ^= bits
    path = tmp_path / "file"
    path.write_bytes(bytes(data) + more)
    for endpoint in ENDPOINTS:
        read(endpoint, path)


@given(st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_files_of_any_bytes(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    for endpoint in ENDPOINTS:
        read(endpoint, path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abx"), inner, max_size=3),
    max_leaves=12,
)


@given(JSON)
def test_values_of_any_json(value: object) -> None:
    for endpoint in ENDPOINTS:
        for port_ in endpoint.inputs:
            with suppress(InputError):
                InputReader(endpoint).of_texts([f"{port_.name}={json.dumps(value)}"])


@given(JSON | st.fixed_dictionaries({"instances": JSON}) | st.fixed_dictionaries({"inputs": JSON}))
def test_requests_of_any_json(document: object) -> None:
    for endpoint in ENDPOINTS:
        with suppress(InputError):
            PredictRequest.parse(document).columns(endpoint)


@given(st.sampled_from([b"\xff\xd8\xff", b"\x89PNG", b"GIF89a", b"BM", b"RIFF"]), st.binary(max_size=80))
def test_headers_of_images(start: bytes, rest: bytes) -> None:
    with suppress(InputError):
        height, width = image_size(start + rest, "image")
        assert 0 < height * width <= 100_000_000
