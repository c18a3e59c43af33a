"""Keras models on the disk that are refused before Keras sees them; none of these needs TensorFlow."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from hubcli.errors import BrokenModelError, DiskFullError
from hubcli.savedmodel.layout import KERAS_METADATA
from hubcli.tf.keras import source

_CENTRAL_ENTRY = b"PK\x01\x02"  # The uncompressed size stands 24 bytes behind its start.


def test_metadata_of_keras_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_METADATA_BYTES", 3)
    (tmp_path / KERAS_METADATA).write_bytes(b"1234")
    with pytest.raises(BrokenModelError, match="larger than 256 MiB"):
        source._of_directory(tmp_path, tmp_path)
    (tmp_path / KERAS_METADATA).write_bytes(b"")
    with pytest.raises(BrokenModelError, match="names no Keras object"):
        source._of_directory(tmp_path, tmp_path)


def test_an_archive_that_would_fill_the_disk_is_not_unpacked(tmp_path: Path) -> None:
    """A few hundred bytes for each 4 GB: Keras, and the check of the weights, would write them all."""
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("config.json", "metadata.json", *(f"assets/{number}" for number in range(20_000))):
            archive.writestr(name, "{}")
    content = bytearray(path.read_bytes())
    place = content.find(_CENTRAL_ENTRY)
    while place >= 0:
        content[place + 24 : place + 28] = (0xFFFFFFF0).to_bytes(4, "little")
        place = content.find(_CENTRAL_ENTRY, place + 4)
    path.write_bytes(content)
    with pytest.raises(DiskFullError, match="it needs 85.9 TB"), source.KerasSource.opened(path):
        pass
