"""Keras models on the disk that are refused before Keras sees them; none of these needs TensorFlow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hubcli.errors import BrokenModelError
from hubcli.savedmodel.checks.file_scan import MAX_METADATA_BYTES
from hubcli.savedmodel.layout import KERAS_METADATA
from hubcli.tf.keras.source import _of_directory


def test_metadata_of_keras_has_a_largest_size(tmp_path: Path) -> None:
    file = tmp_path / KERAS_METADATA
    file.touch()
    os.truncate(file, MAX_METADATA_BYTES + 1)  # Takes no room.
    with pytest.raises(BrokenModelError, match="larger than 256 MiB"):
        _of_directory(tmp_path, tmp_path)
    os.truncate(file, 0)
    with pytest.raises(BrokenModelError, match="names no Keras object"):
        _of_directory(tmp_path, tmp_path)
