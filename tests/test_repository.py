"""What checks the repository itself: the gate, the workflow that runs it, the hooks before a commit."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import hubcli

pytestmark = pytest.mark.sources

ROOT = Path(__file__).parent.parent
GATE = ROOT / ".ci" / "run"

# Pieces of sentences, which say what happened to a thing and not what it is.
FRAGMENTS = re.compile(
    "_*(asked|asks|begun|borne|came|done|goes|gone|gut|heard|hears?|kept|made|meant|one|ran|said|saw|seams"
    "|shown|stays|told|took|trap|wanted|ways?|whom|wish(es)?|zygote)_*",
    re.IGNORECASE,
)
NAME_FIELDS: dict[type[ast.AST], str] = {
    ast.FunctionDef: "name",
    ast.AsyncFunctionDef: "name",
    ast.ClassDef: "name",
    ast.ExceptHandler: "name",
    ast.MatchAs: "name",
    ast.MatchStar: "name",
    ast.arg: "arg",
    ast.alias: "asname",
    ast.Name: "id",
    ast.Attribute: "attr",
}
# Old names of attributes, which work for one more release with a warning, and words of the output.
EXCEPTIONS = {
    "ActionResult.GONE",  # A word of `gc --json`.
    "BudgetShortfall.kept",
    "Candidate.wanted",
    "Collection.done",
    "ExitStatus.DONE",
    "FinetuneResult.made",
    "RewriteReport.kept",
    "StagedModel.kept",
    "WeightMapping.kept",
}


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


def test_the_files_that_a_contributor_is_sent_to_are_there() -> None:
    package = Path(hubcli.__file__).parent
    files = {path.relative_to(package.parent).as_posix() for path in package.rglob("*.[pt][ys]*")}
    files |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "tools").rglob("*.[pt][ys]*")}
    files |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py")}
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = {
        name for name in re.findall(r"`([\w/.]+\.(?:py|tsv))`", text) if not re.search(r"[A-Z]{4}", name)
    }
    assert len(named) > 40
    assert not [name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in files)]


def test_a_file_is_a_concept_of_400_lines_at_most() -> None:
    sizes = {
        str(path): len(path.read_text(encoding="utf-8").splitlines())
        for path in Path(hubcli.__file__).parent.rglob("*.py")
    }
    assert len(sizes) > 100
    assert not {name: lines for name, lines in sizes.items() if lines > 400}


def test_options_are_frozen_dataclasses_that_no_protocol_declares_again() -> None:
    classes = [
        (file, node)
        for file in Path(hubcli.__file__).parent.rglob("*.py")
        if "Options" in (text := file.read_text(encoding="utf-8"))
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef) and node.name.strip("_").endswith("Options")
    ]

    assert len({node.name for _, node in classes}) == len(classes) > 5
    for file, node in classes:
        made_by = [ast.unparse(part) for part in (*node.decorator_list, *node.bases)]
        # Those that all commands share are a tuple, since every start defines them.
        expected = "NamedTuple" if node.name == "GlobalOptions" else "dataclass(frozen=True, slots=True)"
        assert made_by == [expected], file


def defined_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every name that the code gives to something, with its line; a member's behind that of its class."""
    owners: dict[ast.AST, str] = {}
    for node in ast.walk(tree):
        owner = owners.get(node, "")
        if isinstance(node, ast.ClassDef):
            owners.update((child, f"{node.name}.") for child in node.body)
        elif owner and isinstance(node, (ast.Assign, ast.AnnAssign)):
            owners.update((child, owner) for child in ast.iter_child_nodes(node))
        name = getattr(node, NAME_FIELDS.get(type(node), ""), None)
        if name is not None and isinstance(getattr(node, "ctx", None), (ast.Store, type(None))):
            yield f"{owner}{name}", getattr(node, "lineno", 0)


@pytest.mark.parametrize("room", ["hubcli", "tests", "tools", "benchmarks", "examples"])
def test_names_are_nouns_and_no_pieces_of_sentences(room: str) -> None:
    found = {
        f"{file.relative_to(ROOT)}:{line}: {name}"
        for file in (ROOT / room).rglob("*.py")
        for name, line in defined_names(ast.parse(file.read_text(encoding="utf-8")))
        if FRAGMENTS.fullmatch(name.rpartition(".")[2]) and name not in EXCEPTIONS
    }

    assert found == set()


def test_a_name_is_found_wherever_it_is_given() -> None:
    code = """
import json as made
class Kept:
    told: int
    def said(self, asked, *heard, done=1, **gone): self.shown = 1
for one, (way, *ways) in (): pass
with open("") as wanted, open("") as (came, saw): pass
try: ran = [meant for meant in ()]
except OSError as begun: pass
key = lambda wish: (trap := wish)
"""
    names = {name.rpartition(".")[2] for name, _ in defined_names(ast.parse(code))}
    assert names >= (
        {"made", "Kept", "told", "said", "asked", "heard", "done", "gone", "shown", "one", "way", "ways"}
        | {"wanted", "came", "saw", "ran", "meant", "begun", "wish", "trap"}
    )
