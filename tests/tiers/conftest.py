"""A fleet with an empty tier."""

from __future__ import annotations

from pathlib import Path

import pytest

from hubcli.config.settings import Settings
from tests.server import HubServer
from tests.tiers.fleet import Fleet


@pytest.fixture
def fleet(tmp_path: Path, server: HubServer, settings: Settings) -> Fleet:
    return Fleet(tmp_path / "tier", server, settings)
