"""However late a collection is killed: models are whole or gone, and the next one takes what is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")


@pytest.mark.slow
def test_a_hundred_moments(cache: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.cache.interrupted_gc", str(cache), "100"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert len({case["lines"] for case in found if case["killed"]}) == 100
    assert [case for case in found if case["wrong"]] == []
