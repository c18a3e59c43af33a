"""However late an export is interrupted: the destination is as it was, or whole, and nothing is beside it."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests import models
from tests.conftest import ROOT
from tests.forkserver import run_python

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork"),
]


def interrupted(number: str, step: int, place: Path, *command: str, cache: Path) -> list[dict[str, Any]]:
    result = run_python(
        ["-m", "tests.commands.interrupted_commands", number, str(step), str(place), *command],
        cwd=ROOT,
        env={**os.environ, "HUBCLI_CACHE_DIR": str(cache)},
        timeout=280,
    )
    assert result.returncode == 0, result.stderr
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def require_all_or_nothing(found: list[dict[str, Any]], number: str, step: int, *, old: bool) -> None:
    whole = found[-1]["content"]
    assert len(found) > 50 // step
    assert (found[-1]["state"], found[-1]["beside"]) == ("new", [])
    for case in found[:-1]:
        assert case["state"] == ("as before" if old else "absent") or case["content"] == whole, case
        if number == "SIGKILL":
            assert os.waitstatus_to_exitcode(case["status"]) == -9, case
            assert all(name.endswith(".hubcli-tmp") for name in case["beside"]), case
        else:
            assert os.waitstatus_to_exitcode(case["status"]) == 130, case
            assert case["beside"] == [], case
    assert {case["state"] for case in found} == {"as before" if old else "absent", "new"}


NOTHING, OLD = False, True
# Kills come at each line, interrupts in the gate at every third one, others in each run. SIGTERM is made the
# same interrupt as SIGINT, and what an archive replaces is moved away as a directory is.
GATE = [("SIGKILL", "model", OLD, 1), ("SIGINT", "model", NOTHING, 3), ("SIGTERM", "model.tar.gz", OLD, 3)]
SOAK = itertools.product(("SIGKILL", "SIGINT", "SIGTERM"), ("model", "model.tar.gz"), (NOTHING, OLD), [1])


@pytest.mark.parametrize(
    ("number", "place", "old", "step"),
    [*GATE, *(pytest.param(*case, marks=pytest.mark.soak) for case in SOAK if case not in GATE)],
)
def test_every_line(number: str, place: str, old: bool, step: int, tmp_path: Path, cache: Path) -> None:
    model = models.write_tree(tmp_path / "model", models.example_files())
    room = tmp_path / "room"
    room.mkdir()
    if old:
        models.write_tree(room / place, {"old": b"old"})
    force = ["--force"] if old else []
    found = interrupted(
        number, step, room / place, "export", str(model), str(room / place), *force, cache=cache
    )
    require_all_or_nothing(found, number, step, old=old)


# The move into place is that of any export: of the lines before it the gate takes every third one.
@pytest.mark.parametrize(
    ("number", "old", "step"),
    [
        ("SIGKILL", OLD, 3),
        pytest.param("SIGKILL", OLD, 1, marks=pytest.mark.soak),
        pytest.param("SIGKILL", NOTHING, 1, marks=pytest.mark.soak),
        pytest.param("SIGINT", NOTHING, 1, marks=pytest.mark.soak),
    ],
)
def test_every_line_of_a_fine_tuned_export(
    number: str, old: bool, step: int, tmp_path: Path, cache: Path
) -> None:
    model = models.write_tree(tmp_path / "model", models.example_files())
    weights = models.write_safetensors(tmp_path / "tuned.safetensors", v=[3.0])
    room = tmp_path / "room"
    room.mkdir()
    if old:
        models.write_tree(room / "tuned", {"old": b"old"})
    command = ["finetune-export", str(model), str(room / "tuned"), "--weights", str(weights)]
    command += ["--method", "rewrite", *(["--force"] if old else [])]
    found = interrupted(number, step, room / "tuned", *command, cache=cache)
    require_all_or_nothing(found, number, step, old=old)
