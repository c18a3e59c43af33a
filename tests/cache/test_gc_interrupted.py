"""However late a collection is killed: models are whole or gone, and the next one takes what is left."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.forkserver import run_python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")


@pytest.mark.slow
def test_a_collection_that_is_killed_at_any_line_leaves_nothing_wrong(cache: Path) -> None:
    result = run_python(["-m", "tests.cache.interrupted_gc", str(cache), "100"], cwd=ROOT, timeout=280)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert len({case["lines"] for case in found if case["killed"]}) == 100
    assert [case for case in found if case["wrong"]] == []
