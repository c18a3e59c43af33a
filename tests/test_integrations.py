"""What other projects use of the repository: hooks of pre-commit, the GitHub action, the container image."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import models
from tests.forkserver import forked_commands
from tests.recipes import ROOT, instructions_of, run_shell
from tests.savedmodel.protos import call_signature, findings_of, graph, meta_graph, node
from tests.server import HubServer, Reply

SUPPORTED = tuple(re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text()))
HOOKS = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())


def run_hook(name: str, project: Path) -> subprocess.CompletedProcess[str]:
    """Runs the hook as pre-commit does, with every file that its pattern selects."""
    files = sorted(str(path.relative_to(project)) for path in project.rglob("*") if path.is_file())
    selected = [file for file in files if re.search(HOOKS[name]["files"], file)]
    commands, scripts = str(forked_commands(project.parent / "bin")), str(Path(sys.executable).parent)
    return subprocess.run(
        [*shlex.split(HOOKS[name]["entry"]), *selected],
        cwd=project,
        env={**os.environ, "PATH": os.pathsep.join((commands, scripts, os.environ["PATH"]))},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with two models, one of them in a directory whose name has a space."""
    folder = tmp_path / "project"
    models.write_tree(folder / "models" / "first", models.example_files())
    models.write_tree(
        folder / "models" / "a second", {**models.example_files(), "assets/words.txt": b"a\nb\n"}
    )
    return folder


@pytest.mark.parametrize("name", sorted(HOOKS))
def test_a_hook_passes_where_every_model_is_sound(name: str, project: Path) -> None:
    result = run_hook(name, project)
    assert result.returncode == 0, result.stdout + result.stderr
    assert all(model in result.stdout for model in ("models/first", "models/a second"))


def test_a_model_at_the_top_of_a_repository_is_checked_too(tmp_path: Path) -> None:
    files = models.example_files()
    shard = "variables/variables.data-00000-of-00001"
    models.write_tree(tmp_path / "top", {**files, shard: files[shard][:-1]})
    assert run_hook("hubcli-verify", tmp_path / "top").returncode == 1


def test_the_scan_hook_fails_for_one_risky_model_of_several(project: Path) -> None:
    risky = project / "models" / "a risky one"
    graph_def = graph(node("read", "ReadFile", "path"))
    findings_of(risky, meta_graph(graph_def, signature_def={"serving_default": call_signature("read:0")}))
    result = run_hook("hubcli-scan", project)
    assert result.returncode == 1
    assert "reads-files" in result.stdout or "ReadFile" in result.stdout
    assert "models/first" in result.stdout


def test_the_verify_hook_fails_where_bytes_changed(project: Path) -> None:
    shard = project / "models" / "first" / "variables" / "variables.data-00000-of-00001"
    shard.write_bytes(bytes(byte ^ 1 for byte in shard.read_bytes()))
    result = run_hook("hubcli-verify", project)
    assert result.returncode == 1
    assert "variables.data-00000-of-00001" in result.stdout


def test_hooks_run_in_an_environment_that_pre_commit_makes() -> None:
    for hook in HOOKS.values():
        assert hook["language"] == "python"
        assert hook["require_serial"] is True
        assert set(hook) == {"id", "name", "description", "entry", "language", "files", "require_serial"}


def test_no_input_of_the_action_becomes_part_of_a_script() -> None:
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step.get("run", "")
        assert ("run" in step) == ("shell" in step)
    named_inputs = set(re.findall(r"inputs\.([a-z-]+)", (ROOT / "action.yml").read_text()))
    assert named_inputs == set(ACTION["inputs"])


def run_action(folder: Path, variables: dict[str, str], **inputs: str) -> dict[str, str]:
    """Runs the steps of the action as a runner does, but for those of other actions; gives its variables."""
    values = {name: details["default"] for name, details in ACTION["inputs"].items()} | inputs
    files = {name: folder / name for name in ("GITHUB_ENV", "GITHUB_PATH", "GITHUB_OUTPUT")}
    for file in files.values():
        file.write_text("")
    variables = {
        **variables,
        **{name: str(file) for name, file in files.items()},
        "RUNNER_TEMP": str(folder / "temp"),
        "GITHUB_WORKSPACE": str(folder / "workspace"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_COMPILE": "0",
    }
    known = {f"inputs.{name}": value for name, value in values.items()} | {"github.action_path": str(ROOT)}
    for step in ACTION["runs"]["steps"]:
        if "run" not in step or not applies(step.get("if", ""), known):
            continue
        given = {name: expanded(text, known) for name, text in step.get("env", {}).items()}
        run_shell(step["run"], folder / "workspace", {**variables, **given})
        for line in files["GITHUB_ENV"].read_text().splitlines():
            name, _, value = line.partition("=")
            variables[name] = value
        for line in files["GITHUB_PATH"].read_text().splitlines():
            variables["PATH"] = os.pathsep.join((line, variables["PATH"]))
    return variables


def applies(condition: str, known: dict[str, str]) -> bool:
    if not condition:
        return True
    name, operator, value = condition.split()
    return (known[name] == value.strip("'")) is (operator == "==")


def expanded(text: str, known: dict[str, Any]) -> str:
    return re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda found: known[found[1]], text)


@pytest.mark.slow
def test_the_action_installs_hubcli_and_fetches_what_is_locked(tmp_path: Path, server: HubServer) -> None:
    server.serve("/maker/model/1", Reply(models.archive()))
    handle = f"{server.url}/maker/model/1"
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    scripts = str(Path(sys.executable).parent)
    path = os.pathsep.join((scripts, os.environ["PATH"]))
    run_shell(
        f"hubcli fetch {handle} --lock models.lock --cache-dir ../elsewhere",
        workspace,
        {**os.environ, "PATH": path},
    )
    variables = run_action(tmp_path, dict(os.environ))
    printed = run_shell(f"hubcli fetch {handle}", workspace, variables).strip()
    assert Path(printed).parent == workspace / ".models"
    assert variables["HUBCLI_OFFLINE"] == "1"
    assert shutil.which("hubcli", path=variables["PATH"]) == str(
        tmp_path / "temp" / "hubcli" / "bin" / "hubcli"
    )


CONTAINERFILE = (ROOT / "Containerfile").read_text()


def test_the_image_is_of_a_python_that_is_promised_and_runs_hubcli_without_rights() -> None:
    steps = list(instructions_of(CONTAINERFILE))
    bases = [rest.split()[0] for name, rest in steps if name == "FROM"]
    for base in bases:
        version = re.fullmatch(r"python:(\d\.\d+)-slim", base)
        assert version is not None
        assert version[1] in SUPPORTED
    last = dict(steps)
    assert last["ENTRYPOINT"] == '["hubcli"]'
    assert last["USER"].split(":")[0] not in ("root", "0")
    assert last["ENV"] == f"TFHUB_CACHE_DIR={last['VOLUME']}"
    assert not any(name == "ADD" for name, _ in steps)


def test_the_image_is_built_from_what_a_wheel_needs_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    taken = {line[1:] for line in lines if line.startswith("!")}
    assert lines[1] == "*"
    assert all((ROOT / name).exists() for name in taken - {"hubcli"})
    project = (ROOT / "pyproject.toml").read_text()
    needed = set(re.findall(r'^"(\w+)/[^"]+" = "(?:hubcli|share)/', project, re.MULTILINE))
    readme = re.search(r'^readme = "(.+)"$', project, re.MULTILINE)
    assert readme is not None
    assert taken >= {*needed, readme[1], "hubcli", "pyproject.toml", "LICENSE"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the image is of Linux")
def test_each_step_of_the_image_works_without_an_engine(tmp_path: Path) -> None:
    """In directories of this test, and without the dependencies of the wheel."""
    places = {"/wheels": tmp_path / "wheels", "/models": tmp_path / "models"}
    ignored = shutil.ignore_patterns("__pycache__")
    commands = []
    for name, rest in instructions_of(CONTAINERFILE):
        if name == "COPY":
            source, destination = rest.split()
            assert (source, destination) == (".", ".")
            for pattern in (ROOT / ".dockerignore").read_text().splitlines():
                if pattern.startswith("!"):
                    if (ROOT / pattern[1:]).is_dir():
                        shutil.copytree(ROOT / pattern[1:], tmp_path / "source" / pattern[1:], ignore=ignored)
                    else:
                        shutil.copy(ROOT / pattern[1:], tmp_path / "source")
        elif name == "WORKDIR":
            (tmp_path / "source").mkdir(exist_ok=True)
        elif name == "RUN":
            line = re.sub(r"--mount=\S+ ", "", rest).replace("65532", str(os.getuid()))
            for place, here in places.items():
                line = line.replace(place, str(here))
            commands.append(shlex.split(line)[:2])
            run_in_place_of_an_image(line, tmp_path)
    assert commands == [["pip", "wheel"], ["pip", "install"], ["install", "-d"]]
    entry = [sys.executable, "-c", "import sys; from hubcli.cli.main import main; sys.exit(main())"]
    result = subprocess.run(
        [*entry, "--version"],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site"), "PYTHONSAFEPATH": "1"},
        cwd=places["/models"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.startswith("hubcli ")


def run_in_place_of_an_image(line: str, folder: Path) -> None:
    """A RUN line, with the pip of this interpreter; skips the test where no index of packages is reached."""
    (folder / "bin").mkdir(exist_ok=True)
    pip = folder / "bin" / "pip"
    # Options, since variables would reach the pip that installs what builds the wheel.
    pip.write_text(
        f"""#!/bin/sh
case $1 in install) set -- "$@" --target {shlex.quote(str(folder / "site"))} ;; esac
exec {shlex.quote(sys.executable)} -m pip "$@" --no-deps
"""
    )
    pip.chmod(0o755)
    result = subprocess.run(
        ["sh", "-ec", line],
        cwd=folder / "source",
        env={**os.environ, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if "No matching distribution found for hatchling" in result.stderr:
        pytest.skip("the index of packages, from which the image is built, is out of reach")
    assert result.returncode == 0, result.stderr


def engine() -> str | None:
    """A container engine that answers, or None."""
    for name in ("podman", "docker"):
        if shutil.which(name) is not None:
            answer = subprocess.run([name, "info"], capture_output=True, timeout=30, check=False)
            if answer.returncode == 0 and b"Cannot connect" not in answer.stdout + answer.stderr:
                return name
    return None


@pytest.mark.slow
def test_an_engine_builds_the_image() -> None:
    program = engine()
    if program is None:
        pytest.skip("no container engine runs on this machine")
    built = subprocess.run(
        [program, "build", "-q", "-f", "Containerfile", "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    result = subprocess.run(
        [program, "run", "--rm", built.stdout.strip(), "--version"],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert result.stdout.startswith("hubcli "), result.stderr
