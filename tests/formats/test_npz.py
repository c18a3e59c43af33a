"""Arrays of an .npz: the bytes from any place to any other, stored or deflated."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from hubcli.formats.array_files import read_npz
from tests.fuzz.test_damaged_weights import npy, npz

DATA = bytes(range(240))


@pytest.fixture(params=[zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "w.npz"
    path.write_bytes(npz(("a", npy("'<f4'", "(60,)", DATA)), method=request.param))
    return path


@pytest.mark.parametrize(("start", "end"), [(0, None), (100, None), (0, 8), (100, 140), (239, 240), (7, 7)])
def test_a_part_is_what_stands_there(start: int, end: int | None, file: Path) -> None:
    assert b"".join(read_npz(file)["a"].pieces(start, end)) == DATA[start:end]
