"""The tool that shows the way of a command through the package."""

from __future__ import annotations

import pytest

from tests.forkserver import ROOT, run_python


def test_the_way_of_a_command_begins_in_cli_and_shows_calls_that_go_up() -> None:
    ran = run_python(["-m", "tools.call_path", "fetch", "example://mul/1"], cwd=ROOT, check=True)
    rows = [line.split() for line in ran.stderr.splitlines() if line.split()[0].isdigit()]
    entered = [row[1] for row in rows if "->" not in row]
    assert entered[0] == "cli/main.py"
    assert "commands/fetch.py" in entered
    # What a module does when it is imported is no call; the registry of providers has functions.
    assert [file for file in entered if file.endswith("__init__.py")] == ["providers/__init__.py"]
    assert ["concurrency.py", "->", "cli/fetch_run.py"] in [row[1:] for row in rows]


def test_layers_are_those_of_the_import_contract() -> None:
    levels = pytest.importorskip("tools.call_path").layers()
    assert levels["cli"] < levels["commands"] < levels["cache"] == levels["savedmodel"] < levels["errors"]
