"""Keras models on the disk that are refused before Keras sees them; none of these needs TensorFlow."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubcli.errors import BrokenModelError
from hubcli.savedmodel.layout import KERAS_METADATA
from hubcli.tf.keras import source


def test_metadata_of_keras_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_METADATA_BYTES", 3)
    (tmp_path / KERAS_METADATA).write_bytes(b"1234")
    with pytest.raises(BrokenModelError, match="larger than 256 MiB"):
        source._of_directory(tmp_path, tmp_path)
    (tmp_path / KERAS_METADATA).write_bytes(b"")
    with pytest.raises(BrokenModelError, match="names no Keras object"):
        source._of_directory(tmp_path, tmp_path)
