"""`hubcli --show-completion` and `--install-completion`, and the shells that start afterwards."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hubcli.cli.completion import SHELLS
from tests.cases import each_of
from tests.cli.shells import ENTER, TAB, home_of, require, shell_at_work
from tests.conftest import Run
from tests.entries import hubcli_entry
from tests.forkserver import run_python

HANDLE = "https://tfhub.dev/google/elmo/3"
MARKS = {"bash": "complete -F _hubcli hubcli", "zsh": "#compdef hubcli", "fish": "complete -c hubcli"}
HUBCLI = f"{shlex.quote(sys.executable)} -m hubcli"


def install(shell: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HOME": str(home), **variables}
    return run_python(["-m", "hubcli", "--install-completion", shell], env=environment)


@each_of("shell", SHELLS)
@each_of("form", ["{0} {1}", "{0}={1}"])
def test_the_script_of_a_shell_is_shown(shell: str, form: str, hubcli_in_turn: Run) -> None:
    result = hubcli_in_turn(*form.format("--show-completion", shell).split())
    assert (result.returncode, result.stderr) == (0, "")
    assert MARKS.get(shell, "Register-ArgumentCompleter") in result.stdout
    assert result.stdout.endswith("\n")


@each_of("shell", MARKS)
def test_the_shell_that_runs_it_is_known(shell: str) -> None:
    # Another command follows: a shell puts the last one in its own place.
    result = subprocess.run(
        [require(shell), "-c", f"{HUBCLI} --show-completion; echo done"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert MARKS[shell] in result.stdout


def test_another_shell_is_refused_and_the_near_miss_named(hubcli: Run) -> None:
    for option in ("--show-completion", "--install-completion"):
        result = hubcli(option, "bsh")
        assert result.returncode == 2
        assert result.stderr.startswith("Error: Unsupported shell 'bsh'. Did you mean 'bash'?")


@each_of("shell", MARKS)
def test_what_is_installed_completes_in_the_next_shell(shell: str, tmp_path: Path) -> None:
    require(shell)
    cache, home = tmp_path / "cache", home_of(shell, tmp_path)
    hubcli_entry(cache, HANDLE)
    for _ in range(2):
        result = install(shell, home, ZDOTDIR=str(home), XDG_CONFIG_HOME=str(home / ".config"))
        assert result.returncode == 0, result.stderr
        assert MARKS[shell] in Path(result.stdout.strip()).read_text()
    startup = {"bash": ".bashrc", "zsh": ".zshrc"}.get(shell)
    if startup is not None:
        assert (home / startup).read_text().count("# hubcli completion") == 1
        assert f"Added to {home / startup}" in result.stderr
    with shell_at_work(shell, tmp_path, cache, home=home) as running:
        running.type(f"hubcli rm https://tfhub.dev/google/e{TAB}{ENTER}")
        assert running.arguments() == ["rm", HANDLE]


def test_a_startup_file_keeps_what_it_holds(tmp_path: Path) -> None:
    home, dotfiles = tmp_path / "home of 'me'", tmp_path / "dotfiles"
    home.mkdir()
    dotfiles.mkdir()
    (dotfiles / "bashrc").write_bytes(b"alias \xe9=true")
    (home / ".bashrc").symlink_to(dotfiles / "bashrc")
    assert install("bash", home).returncode == 0
    content = (dotfiles / "bashrc").read_bytes()
    assert content.startswith(b"alias \xe9=true\n[ ! -r ")
    assert (home / ".bashrc").is_symlink()
    checked = subprocess.run(
        [require("bash"), "-c", '. "$0" && declare -F _hubcli', home / ".bashrc"],
        capture_output=True,
        check=False,
    )
    assert checked.stdout == b"_hubcli\n"


def test_a_startup_file_is_no_trouble_once_the_script_is_gone(tmp_path: Path) -> None:
    for shell, startup in (("bash", ".bashrc"), ("zsh", ".zshrc")):
        Path(install(shell, tmp_path).stdout.strip()).unlink()
        result = subprocess.run(
            [require(shell), "-c", f". {tmp_path / startup}"], capture_output=True, text=True, check=True
        )
        assert result.stderr == ""


def test_the_places_come_from_the_environment(tmp_path: Path) -> None:
    result = install("bash", tmp_path / "home", XDG_DATA_HOME=str(tmp_path / "data"))
    assert result.stdout.strip() == str(tmp_path / "data" / "bash-completion" / "completions" / "hubcli")
    result = install("fish", tmp_path / "home", XDG_CONFIG_HOME=str(tmp_path / "config"))
    assert result.stdout.strip() == str(tmp_path / "config" / "fish" / "completions" / "hubcli.fish")


@pytest.mark.parametrize("shell", ["pwsh", "powershell"])
def test_powershell_is_asked_for_its_profile(shell: str, tmp_path: Path) -> None:
    """A script in PowerShell's place: none is to be had here."""
    profile = tmp_path / "it's config" / "profile.ps1"
    program = tmp_path / shell
    program.write_text(f'#!/bin/sh\necho "{profile}"\n')
    program.chmod(0o755)
    for _ in range(2):
        result = install(shell, tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}")
        assert result.returncode == 0, result.stderr
    script = Path(result.stdout.strip())
    assert "Register-ArgumentCompleter" in script.read_text()
    quoted = "'" + str(script).replace("'", "''") + "'"
    assert profile.read_text() == (
        f"if (Test-Path -LiteralPath {quoted}) {{ . {quoted} }}  # hubcli completion\n"
    )


def test_what_cannot_be_installed_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / ".local").touch()
    result = install("bash", tmp_path)
    assert result.returncode == 8
    assert "hubcli --show-completion bash" in result.stderr
    assert "Traceback" not in result.stderr
    result = install("pwsh", tmp_path, PATH=str(tmp_path))
    assert result.returncode == 8
    assert "hubcli --show-completion pwsh" in result.stderr
    result = run_python(["-m", "hubcli", "--show-completion", "tcsh", "--json"])
    assert json.loads(result.stdout)["error"]["code"] == "usage"


@pytest.mark.parametrize("name", [".bashrc", ".local/share/bash-completion/completions/hubcli"])
def test_a_fifo_in_place_of_a_file_is_not_waited_for(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(tmp_path / name)
    result = install("bash", tmp_path, XDG_DATA_HOME="")
    assert result.returncode == 8
    assert re.search(f"Cannot write .*{name}: ", result.stderr)


def test_a_start_up_file_that_is_made_can_not_be_run(tmp_path: Path) -> None:
    assert install("bash", tmp_path, XDG_DATA_HOME="").returncode == 0
    assert (tmp_path / ".bashrc").stat().st_mode & 0o111 == 0
