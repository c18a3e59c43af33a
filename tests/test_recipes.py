"""The recipes of the documentation, run as they are written."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests import models
from tests.documentation import Block, blocks_of
from tests.forkserver import forked_commands
from tests.recipes import ROOT, Image, recipe, run_shell
from tests.server import HubServer, Reply

HANDLE = "https://tfhub.dev/google/nnlm-en-dim50/2"
# It compiles nothing: each process of an environment compiles what it imports of it.
OF_PIP = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_COMPILE": "0"}
SUPPORTED = ("3.10", "3.11", "3.12", "3.13")


@pytest.fixture
def variables(server: HubServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A user whose PATH has hubcli, and for whom a local server plays tfhub.dev."""
    server.serve("/google/nnlm-en-dim50/2", Reply(models.archive()))
    commands, scripts = forked_commands(tmp_path_factory.mktemp("bin")), Path(sys.executable).parent
    return {
        **os.environ,
        "HUBCLI_MIRRORS": f"https://tfhub.dev={server.url}",
        "PATH": os.pathsep.join((str(commands), str(scripts), os.environ["PATH"])),
    }


@pytest.fixture
def project(tmp_path: Path, variables: dict[str, str]) -> Path:
    """A directory with a list of models and its lock file."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "models.txt").write_text(f"{HANDLE}\n")
    locking = "hubcli fetch -r models.txt --lock models.lock --cache-dir elsewhere && rm -r elsewhere"
    run_shell(locking, folder, variables)
    return folder


@pytest.fixture(scope="module")
def new_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of an empty environment of Python."""
    folder = tmp_path_factory.mktemp("environment")
    # With the pip of this interpreter, as the gate has it: one of its own takes three seconds to install.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    words = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
    pip = folder / "bin" / "pip"
    pip.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    pip.chmod(0o755)
    return folder / "bin"


@pytest.fixture(scope="module")
def wheel(new_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that the README's command makes of this project."""
    folder = tmp_path_factory.mktemp("wheel")
    command = recipe("wheel").splitlines()[0]
    assert command == ".venv/bin/pip wheel --no-deps --wheel-dir . ."
    script = f"{new_environment}/pip wheel --no-deps --wheel-dir . {ROOT}"
    run_shell(script, folder, {**os.environ, **OF_PIP})
    (wheel_file,) = folder.glob("hubcli-*.whl")
    return wheel_file


def in_environment(scripts: Path, variables: dict[str, str]) -> dict[str, str]:
    return {
        **variables,
        "PATH": os.pathsep.join((str(scripts), variables["PATH"])),
        **OF_PIP,
    }


@pytest.mark.soak
def test_a_dockerfile_fills_the_cache_of_an_image(
    project: Path,
    tmp_path: Path,
    variables: dict[str, str],
    new_environment: Path,
    wheel: Path,
    server: HubServer,
) -> None:
    shutil.copy(wheel, project)
    image = Image(tmp_path / "image", in_environment(new_environment, variables))
    image.build(recipe("dockerfile"), project)
    assert re.fullmatch(r"python:(\d\.\d+)-slim", image.base)[1] in SUPPORTED  # type: ignore[index]
    request_count = len(server.requests)
    path = run_shell(f"hubcli fetch {HANDLE}", image.root, image.variables).strip()
    assert Path(path).is_relative_to(image.root / "models")
    assert len(server.requests) == request_count
    assert image.variables["HUBCLI_OFFLINE"] == "1"


@pytest.mark.slow
def test_a_ci_job_fetches_what_is_locked_and_keeps_it_by_the_lock_file(
    project: Path, variables: dict[str, str], new_environment: Path, wheel: Path, server: HubServer
) -> None:
    shutil.copy(wheel, project)
    (project / "requirements.txt").write_text("pytest\n")
    (project / "test_model.py").write_text(
        f"import hubcli\n\ndef test_the_model_is_here():\n    assert hubcli.fetch({HANDLE!r}).was_cached\n"
    )
    job = yaml.safe_load((ROOT / "docs" / "github-workflow.yml").read_text())["jobs"]["test"]
    cache = next(step["with"] for step in job["steps"] if step.get("uses", "").startswith("actions/cache@"))
    assert "hashFiles('models.lock')" in cache["key"]
    variables = in_environment(new_environment, {**variables, **in_workspace(job["env"], project)})
    for _ in range(2):  # The second run finds what the first has left.
        for step in job["steps"]:
            if "run" in step:
                run_shell(step["run"], project, {**variables, **step.get("env", {})})
    assert (
        len([request for request in server.requests if request.method == "GET"]) == 2
    )  # With that of the lock file.
    assert (project / cache["path"]).is_dir()


def in_workspace(values: dict[str, str], folder: Path) -> dict[str, str]:
    return {name: value.replace("${{ github.workspace }}", str(folder)) for name, value in values.items()}


@pytest.mark.slow
def test_models_are_carried_to_a_machine_without_a_network(
    project: Path, tmp_path: Path, variables: dict[str, str], server: HubServer
) -> None:
    (project / "models.lock").unlink()
    run_shell(recipe("connected"), project, variables)
    island = tmp_path / "island"
    island.mkdir()
    (project / "models.tar").rename(island / "models.tar")
    request_count = len(server.requests)
    printed = run_shell(recipe("air-gapped"), island, variables)
    assert len(server.requests) == request_count
    assert Path(printed.strip()).parent == island / "models"


@pytest.mark.slow
def test_carried_models_that_changed_on_the_way_are_found(
    project: Path, tmp_path: Path, variables: dict[str, str]
) -> None:
    run_shell(recipe("connected"), project, variables)
    shard = next(project.glob("models/*/variables/variables.data*"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    run_shell("tar -cf models.tar models models.lock", project, variables)
    island = tmp_path / "island"
    island.mkdir()
    (project / "models.tar").rename(island / "models.tar")
    script = f"{recipe('air-gapped')}\n"
    with pytest.raises(AssertionError, match="Error: "):
        run_shell(script, island, variables)


@pytest.mark.slow
def test_a_shared_cache_is_kept_in_bounds(project: Path, tmp_path: Path, variables: dict[str, str]) -> None:
    shared = tmp_path / "srv" / "models"
    script = recipe("shared-cache").replace("/srv/models", str(shared))
    run_shell(f"hubcli fetch {HANDLE} example://mul/1 --cache-dir {shared}", project, variables)
    run_shell(script, project, variables)
    assert HANDLE in run_shell(f"hubcli ls -q --filter pinned=yes --cache-dir {shared}", project, variables)


@pytest.mark.slow
def test_the_hooks_run_what_they_say(project: Path, variables: dict[str, str]) -> None:
    hooks = yaml.safe_load((ROOT / "docs" / "pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    models.write_tree(project / "export" / "model", models.example_files())
    for hook in hooks:
        assert hook["language"] == "system"
        run_shell(hook["entry"], project, variables)


@pytest.mark.tensorflow
@pytest.mark.soak  # In the one below, too.
def test_a_model_is_fine_tuned_and_shared(
    tmp_path: Path, variables: dict[str, str], server: HubServer
) -> None:
    from hubcli.commands.export import export
    from tests.interop import hub_models

    hub_models.save("text", tmp_path / "text")
    export(str(tmp_path / "text"), tmp_path / "text.tar.gz")
    server.serve("/google/nnlm-en-dim50/2", Reply((tmp_path / "text.tar.gz").read_bytes()))
    (tmp_path / "train.py").write_text(recipe("train.py"))
    run_shell(recipe("fine-tune"), tmp_path, variables)
    shared = tmp_path / "www" / "me" / "film-embedding" / "1"
    server.serve("/me/film-embedding/1", Reply(shared.read_bytes()))
    assert run_shell(f"hubcli fetch {server.url}/me/film-embedding/1", tmp_path, variables)


# The pages of one story, in the order in which someone may follow them.
STORY = (
    *("containers", "air-gap", "fine-tune", "shared-cache"),
    "../reference/completion",
    "../../README",
)
RUNS_HERE = ("", "TensorFlow")  # The other blocks need what a test can't have.
SKIPPED = ("dockerfile", "wheel")


@pytest.mark.tensorflow
@pytest.mark.slow
def test_all_of_it_works_in_order_in_one_directory(
    tmp_path: Path, variables: dict[str, str], server: HubServer
) -> None:
    from hubcli.commands.export import export
    from tests.interop import hub_models

    hub_models.save("text", tmp_path / "text")
    export(str(tmp_path / "text"), tmp_path / "text.tar.gz")
    server.serve("/google/nnlm-en-dim50/2", Reply((tmp_path / "text.tar.gz").read_bytes()))
    here = tmp_path / "here"
    here.mkdir()
    # One shell's variables, as whoever types all of it has them: what one recipe exports, the next one finds.
    variables = {**variables, "HOME": str(here), "XDG_DATA_HOME": str(here / "share"), "SHELL": "/bin/bash"}
    result = []
    for block in (block for name in STORY for block in blocks_of(f"docs/how-to/{name}.md")):
        if block.recipe in SKIPPED or block.needs not in RUNS_HERE or is_set_up(block):
            continue
        before = snapshot(here)
        follow(block, here, variables, tmp_path / "srv")
        changed = {path for path, text in before.items() if snapshot(here).get(path) != text}
        # Each export adds itself to the index of its tree.
        unexpected = {path for path in changed if path.name != "index.json"}
        assert {
            path for path in unexpected if path.parts[0] in ("tuned", "www", "train.py", "mul-tuned")
        } == set()
        result.append(block.recipe or block.language)
    assert result == [
        *("lock", "connected", "air-gapped", "train.py", "fine-tune", "shared-cache"),
        *("crontab", "sh", "console", "sh", "sh", "python"),
    ]
    shared = here / "www" / "me" / "film-embedding"
    server.serve("/me/film-embedding/1", Reply((shared / "1").read_bytes()))
    assert run_shell(f"hubcli fetch {server.url}/me/film-embedding/1", here, variables)
    assert (shared / "index.html").read_bytes() == (shared / "1").read_bytes()
    assert (here / "mul-tuned" / "saved_model.pb").is_file()


def is_set_up(block: Block) -> bool:
    """Whether the block installs hubcli, which the tests have, or runs them."""
    return "-m venv" in block.text


def follow(block: Block, here: Path, variables: dict[str, str], srv: Path) -> None:
    """Does what a reader does with the block: saves a named file, runs the rest."""
    text = block.text.replace("/srv/models", str(srv / "models"))
    if block.recipe.endswith(".py"):
        (here / block.recipe).write_text(text)
    elif block.language == "sh":
        run_shell(text, here, variables)
    elif block.language == "crontab":
        run_shell(text.split(maxsplit=5)[5], here, variables)
    elif block.language == "console":
        typed = [line[2:].partition("  #")[0] for line in text.splitlines() if line.startswith("$ ")]
        for line in typed:
            if "<TAB>" not in line:
                run_shell(line.replace("--install-completion", "--install-completion bash"), here, variables)
    else:
        assert block.language == "python"
        run_shell(f"python - <<'EOF'\n{text}EOF", here, variables)


def snapshot(folder: Path) -> dict[Path, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and "cache" not in str(path))
    return {path.relative_to(folder): path.read_bytes() for path in found}
