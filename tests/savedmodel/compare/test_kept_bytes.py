"""The check of the rewrite: differences other than values and what follows from them are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hubcli.errors import TensorFlowError
from hubcli.savedmodel.compare.preservation import verify_only_values_changed
from tests import models
from tests.entries import SHARD
from tests.savedmodel.bundles import write_bundle_model


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Twice the same model."""
    first, other = (write_bundle_model(tmp_path / name, {"a": bytes(4), "b": bytes(8)}) for name in "xy")
    return first, other


def test_other_values_and_what_follows_from_them_may_differ(tmp_path: Path) -> None:
    first, other = (models.write_tree(tmp_path / name, models.example_files()) for name in "xy")
    (other / SHARD).write_bytes(bytes((other / SHARD).stat().st_size))
    (other / "fingerprint.pb").write_bytes(b"other")
    verify_only_values_changed(first, other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: (model / "saved_model.pb").write_bytes(b"x"), "saved_model.pb"),
        (lambda model: (model / "README").write_text("new"), "README"),
        (lambda model: (model / SHARD).unlink(), SHARD),
        (lambda model: write_bundle_model(model, {"a": bytes(4), "b": bytes(4)}), "variables.index: b"),
        (lambda model: write_bundle_model(model, {"a": bytes(4), "c": bytes(8)}), "variables.index: b"),
        (lambda model: write_bundle_model(model, {"a": bytes(4)}), "variables.index"),
    ],
    ids=["the graph", "a file more", "a shard less", "another shape", "another key", "a tensor less"],
)
def test_anything_else_is_refused_by_its_name(
    change: Callable[[Path], object], message: str, pair: tuple[Path, Path]
) -> None:
    change(pair[1])
    with pytest.raises(TensorFlowError, match=message):
        verify_only_values_changed(*pair)
