"""What tests of finding and publishing share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hubcli.config.settings import Settings
from hubcli.publishing import blobs
from tests import models
from tests.fake_kaggle import FakeKaggle
from tests.fake_kaggle_uploads import FakeKaggleUploads
from tests.publishing.publisher import PIECE, Publisher


@pytest.fixture
def kaggle() -> Iterator[FakeKaggle]:
    with FakeKaggle().running() as server:
        yield server


@pytest.fixture
def publisher(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(blobs, "PIECE_BYTES", PIECE)
    model = models.write_tree(tmp_path / "mul", models.example_files())
    with FakeKaggleUploads().running() as kaggle:
        assert isinstance(kaggle, FakeKaggleUploads)
        yield Publisher(kaggle, replace(settings, retries=3), model)
