"""LiteRT's converter, tried in a process of its own: builtin ops, Select TensorFlow ops, what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubcli.exporting.conversion_job import try_conversion
from tests.savedmodel.targets.recorded import unpack

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("models"))


def test_builtin_ops_are_enough_for_most_models(models: Path) -> None:
    found = try_conversion("the model", models / "pinned_to_gpu")
    assert (found.is_done, found.needs_select_ops, found.reason) == (True, False, "")
    assert found.size_bytes is not None
    assert found.size_bytes > 100
    assert found.tensorflow_version.startswith("2.")


def test_text_needs_select_ops_which_are_named(models: Path) -> None:
    found = try_conversion("the model", models / "keras2_text")
    assert (found.is_done, found.needs_select_ops) == (True, True)
    assert "StringLower" in found.reason


def test_an_op_that_tensorflow_lacks_is_the_reason(models: Path) -> None:
    found = try_conversion("the model", models / "nobodys_op")
    assert not found.is_done
    assert "OpOfNobody" in found.reason
    assert "\n" not in found.reason


def test_a_conversion_that_takes_too_long_is_ended(models: Path) -> None:
    found = try_conversion("the model", models / "pinned_to_gpu", timeout_s=0.2)
    assert not found.is_done
    assert found.reason.startswith("Timed out after 0.2 s")
