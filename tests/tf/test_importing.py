"""What an import of TensorFlow leaves of this process as it was."""

from __future__ import annotations

import os

import pytest

from hubcli.tf.importing import _quiet_file_descriptor


def test_what_is_written_to_standard_error_is_lost_during_the_import_alone(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with _quiet_file_descriptor():
        os.write(2, b"noise of C++")
    os.write(2, b"said")
    assert capfd.readouterr().err == "said"
