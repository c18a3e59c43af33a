"""Keras's files as anybody may have made them: nothing but their own values is read."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hubcli.errors import BrokenModelError, DiskFullError, HubcliError
from hubcli.tf.keras.h5_weights import open_keras_weights
from tests.cases import each_of

h5py = pytest.importorskip("h5py")


def refused(path: Path) -> HubcliError:
    with pytest.raises(HubcliError) as caught, open_keras_weights(path):
        pass
    return caught.value


def _external_link(group: Any, _folder: Path) -> None:
    group["0"] = h5py.ExternalLink("other.h5", "/x")


def _soft_link(group: Any, _folder: Path) -> None:
    group.file["beside"] = h5py.ExternalLink("other.h5", "/x")
    group["0"] = h5py.SoftLink("/beside")


def _external_storage(group: Any, folder: Path) -> None:
    group.create_dataset("0", shape=(2,), dtype="f4", external=[(str(folder / "secret"), 0, 8)])


def _virtual(group: Any, folder: Path) -> None:
    layout = h5py.VirtualLayout(shape=(2,), dtype="f4")
    layout[:] = h5py.VirtualSource(folder / "other.h5", "x", shape=(2,))
    group.create_virtual_dataset("0", layout)


@each_of("refer", [_external_link, _soft_link, _external_storage, _virtual])
def test_values_that_stand_in_other_files_are_refused(
    refer: Callable[[Any, Path], None], tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"passwd: ")
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = [1.0, 2.0]
    with h5py.File(tmp_path / "w.weights.h5", "w") as file:
        refer(file.create_group("layers/dense/vars"), tmp_path)
    error = refused(tmp_path / "w.weights.h5")
    assert isinstance(error, BrokenModelError)
    assert "layers/dense/vars/0 is not a value" in error.message
    assert error.hint


@each_of("names", [5, [b"/absent"], [b"\xff\xfe"], h5py.Empty("S1")])
def test_names_of_weights_that_are_no_names_are_refused(names: Any, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_group("dense").attrs["weight_names"] = names
    assert isinstance(refused(tmp_path / "w.h5"), BrokenModelError)


def test_a_value_without_a_shape_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.weights.h5", "w") as file:
        file["dense/vars/0"] = h5py.Empty("f4")
    assert "has no shape" in refused(tmp_path / "w.weights.h5").message


def test_a_group_that_holds_itself_is_walked_once(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.weights.h5", "w") as file:
        file["dense/vars/0"] = [1.0]
        file["dense/vars/loop"] = file["/"]
    with open_keras_weights(tmp_path / "w.weights.h5") as weights:
        assert [(weight.name, weight.keys) for weight in weights.groups] == [("dense", ("dense/vars/0",))]


def test_an_archive_that_would_fill_the_disk_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(20 << 20))
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1 << 20}))
    error = refused(tmp_path / "bomb.keras")
    assert isinstance(error, DiskFullError)
    assert "TMPDIR" in error.hint


def test_an_error_of_whoever_reads_is_not_taken_for_one_of_the_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.weights.h5", "w") as file:
        file["dense/vars/0"] = [1.0]
    with pytest.raises(KeyError, match="elsewhere"), open_keras_weights(tmp_path / "w.weights.h5"):
        raise KeyError("elsewhere")
