"""What checks the repository itself: the gate, the workflow that runs it, the hooks before a commit."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
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


def test_the_licence_is_the_one_that_the_project_names() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text()
    assert re.search(r"Apache License\s+Version 2\.0, January 2004", text)
    assert "END OF TERMS AND CONDITIONS" in text


@pytest.mark.parametrize("form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=str)
def test_an_issue_form_has_what_github_wants(form: Path) -> None:
    content = yaml.safe_load(form.read_text())
    assert {"name", "description", "body"} <= set(content)
    ids = [field["id"] for field in content["body"] if field["type"] != "markdown"]
    assert len(ids) == len(set(ids))
    for field in content["body"]:
        assert field["type"] in ("markdown", "textarea", "input", "dropdown", "checkboxes")
        assert field["type"] == "markdown" or field["attributes"]["label"]


def test_the_addresses_of_the_project_have_one_host() -> None:
    urls = re.findall(r'^\w+ = "(https://[^"/]+)/', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert len(urls) == 4
    assert len(set(urls)) == 1
