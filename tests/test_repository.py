"""What checks the repository itself: the gate, the workflow that runs it, the hooks before a commit."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
GATE = ROOT / ".ci" / "run"


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


def test_the_gate_is_a_script_that_bash_can_read() -> None:
    assert subprocess.run(["bash", "-n", GATE], check=False).returncode == 0


def test_the_workflow_runs_the_gate_on_each_python_that_is_promised() -> None:
    (job,) = read(".github/workflows/ci.yml")["jobs"].values()
    matrix = job["strategy"]["matrix"]
    promised = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    assert matrix["python"] == promised
    assert matrix["os"] == ["ubuntu-latest", "macos-latest"]
    assert [step["run"] for step in job["steps"] if "run" in step][-1] == ".ci/run"
    (with_others,) = matrix["include"]
    assert sorted([with_others["python"], *with_others["others"].split()]) == promised


def test_before_a_commit_the_gates_own_checks_run() -> None:
    (repository,) = read(".pre-commit-config.yaml")["repos"]
    hooks = [hook["entry"].replace(" --force-exclude", "") for hook in repository["hooks"]]
    assert [hook.split()[0] for hook in hooks] == ["ruff", "ruff", "mypy", "lint-imports"]
    gate = GATE.read_text()
    for hook in hooks:
        assert f'"$bin/{hook.split()[0]}"{hook.removeprefix(hook.split()[0])}' in gate, hook


def test_options_are_frozen_dataclasses_that_no_protocol_declares_again() -> None:
    classes = [
        (file, node)
        for file in (ROOT / "hubcli").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and node.name.strip("_").endswith("Options")
    ]

    assert len({node.name for _, node in classes}) == len(classes) > 5
    for file, node in classes:
        assert [ast.unparse(decorator) for decorator in node.decorator_list] == [
            "dataclass(frozen=True, slots=True)"
        ], file
        assert not node.bases, file
