"""Kinds of files with weights: detected by content, by the first bytes, else by the suffix."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from hubcli.errors import NotFoundError, UsageError
from hubcli.savedmodel.weights.sources import WeightsKind, weights_kind
from tests.cases import each_of

HDF5 = b"\x89HDF\r\n\x1a\n"


@each_of(
    "name, content, kind",
    [
        ("a.npz", b"", WeightsKind.NPZ),
        ("a.safetensors", b"", WeightsKind.SAFETENSORS),
        ("a.weights.h5", b"", WeightsKind.KERAS_WEIGHTS),
        ("a.keras", b"", WeightsKind.KERAS_ARCHIVE),
        ("a.bin", HDF5, WeightsKind.KERAS_WEIGHTS),
        ("a.npz", HDF5, WeightsKind.KERAS_WEIGHTS),
        ("checkpoint", b"", WeightsKind.CHECKPOINT),
    ],
)
def test_the_kind_of_a_file(tmp_path: Path, name: str, content: bytes, kind: WeightsKind) -> None:
    (tmp_path / name).write_bytes(content)
    assert weights_kind(tmp_path / name) is kind


def test_an_archive_is_of_keras_by_what_is_in_it(tmp_path: Path) -> None:
    for member, kind in (("x.npy", WeightsKind.NPZ), ("model.weights.h5", WeightsKind.KERAS_ARCHIVE)):
        with zipfile.ZipFile(tmp_path / "weights", "w") as archive:
            archive.writestr(member, "{}")
        assert weights_kind(tmp_path / "weights") is kind


def test_a_directory_is_a_model_or_has_a_checkpoint(tmp_path: Path) -> None:
    assert weights_kind(tmp_path) is WeightsKind.CHECKPOINT
    (tmp_path / "saved_model.pb").touch()
    assert weights_kind(tmp_path) is WeightsKind.SAVED_MODEL


def test_the_prefix_of_a_checkpoint_is_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "ckpt-1.index").touch()
    assert weights_kind(tmp_path / "ckpt-1") is WeightsKind.CHECKPOINT


def test_what_has_no_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.txt").write_text("1 2 3")
    with pytest.raises(UsageError, match=r"Unknown weights format: weights\.txt"):
        weights_kind(tmp_path / "weights.txt")
    with pytest.raises(NotFoundError, match=r"no such file, and no checkpoint a\.index"):
        weights_kind(tmp_path / "a")
