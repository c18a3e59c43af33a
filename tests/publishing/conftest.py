"""What tests of finding and publishing share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fake_kaggle import FakeKaggle


@pytest.fixture
def kaggle() -> Iterator[FakeKaggle]:
    with FakeKaggle().running() as server:
        yield server
