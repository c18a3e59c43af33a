"""Shell completion: the scripts, their installation, and what each argument is completed with."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import hubcli
from hubcli.config.user_directories import ShellHomes
from hubcli.errors import OutputError, UsageError, did_you_mean
from hubcli.regular_file import open_at_once, read_regular

__all__ = [
    "SHELLS",
    "Installed",
    "install_completion",
    "option_names",
    "script_of",
    "shell_called",
    "with_this_shell",
]

_THIS_SHELL = "this"
_FILES = {
    "bash": "hubcli.bash",
    "zsh": "_hubcli",
    "fish": "hubcli.fish",
    "powershell": "hubcli.ps1",
    "pwsh": "hubcli.ps1",
}
SHELLS = tuple(_FILES)
_MARK = "  # hubcli completion"
_PROFILE_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Installed:
    """Where a script was put, and the start-up file that names it, None if the shell needs none."""

    shell: str
    script: Path
    startup: Path | None


def with_this_shell(words: Sequence[str]) -> list[str]:
    """The words with a shell behind the option that stands alone, since Typer's options take a value."""
    return [*words, _THIS_SHELL]


def shell_called(name: str) -> str:
    """The shell of that name, or the one that runs this process for `this`.

    Raises UsageError for a shell without a script.
    """
    if name == _THIS_SHELL:
        name = _running_shell()
    if name not in _FILES:
        raise UsageError(
            f"Unsupported shell '{name}'{did_you_mean(name, SHELLS)}",
            hint=f"Use one of {', '.join(SHELLS)}.",
        )
    return name


def script_of(shell: str) -> str:
    """The text of the shell's script."""
    package = Path(hubcli.__file__).parent
    # Inside an installed package, beside that of a checkout.
    folders = (package / "completions", package.parent / "completions")
    for folder in folders:
        file = folder / _FILES[shell]
        if file.is_file():
            return file.read_text(encoding="utf-8")
    raise OutputError(f"The completion script {_FILES[shell]} is missing", hint="Reinstall hubcli.")


_OPTIONS_LINE = r"^ +(?:''|([a-z-]+))\) options=\(([^)]*)\) ;;$"


def option_names() -> dict[str, tuple[str, ...]]:
    """The options of each command by its name, those of hubcli itself by an empty one.

    Read from the script for bash, in 1 ms: the application, of which that was made, takes 30 to build.
    Raises OutputError if it is missing.
    """
    lines = re.findall(_OPTIONS_LINE, script_of("bash"), re.MULTILINE)
    return {name: tuple(options.split()) for name, options in lines}


def install_completion(shell: str, homes: ShellHomes) -> Installed:
    """Writes the script, and a line in the shell's start-up file that reads it, once.

    Raises OutputError if a file can't be written, or PowerShell doesn't print its profile path.
    """
    place: Callable[[str, ShellHomes], Installed] = {
        "bash": _place_for_bash,
        "zsh": _place_for_zsh,
        "fish": _place_for_fish,
    }.get(shell, _place_for_powershell)
    installed = place(shell, homes)
    try:
        installed.script.parent.mkdir(parents=True, exist_ok=True)
        with open(installed.script, "w", encoding="utf-8", opener=open_at_once) as file:
            file.write(script_of(shell))
        if installed.startup is not None:
            _name_in(installed.startup, _line_of(installed))
    except OSError as error:
        raise OutputError(
            f"Cannot write {error.filename or installed.script}: {error.strerror}",
            hint=f"Install it manually: hubcli --show-completion {shell}",
        ) from error
    return installed


def _running_shell() -> str:
    import shellingham

    try:
        name, _ = shellingham.detect_shell()
    except shellingham.ShellDetectionFailure as error:
        raise UsageError(
            "Cannot detect the shell",
            hint=f"Specify it, such as: hubcli --show-completion bash. Supported: {', '.join(SHELLS)}.",
        ) from error
    return str(name)


def _place_for_bash(shell: str, homes: ShellHomes) -> Installed:
    # Where bash-completion looks; the line is for shells without it.
    return Installed(shell, homes.data / "bash-completion" / "completions" / "hubcli", homes.home / ".bashrc")


def _place_for_zsh(shell: str, homes: ShellHomes) -> Installed:
    return Installed(shell, homes.data / "zsh" / "site-functions" / "_hubcli", homes.zsh / ".zshrc")


def _place_for_fish(shell: str, homes: ShellHomes) -> Installed:
    return Installed(shell, homes.config / "fish" / "completions" / "hubcli.fish", None)


def _place_for_powershell(shell: str, homes: ShellHomes) -> Installed:
    """PowerShell prints where its profile is: nothing else knows."""
    command = [shell, "-NoProfile", "-NonInteractive", "-Command", "$PROFILE.CurrentUserAllHosts"]
    try:
        answer = subprocess.run(  # noqa: S603 - one of two names, no text of a user's
            command, capture_output=True, text=True, check=True, timeout=_PROFILE_TIMEOUT_S
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise OutputError(
            f"Cannot read the profile path of {shell}: {error}",
            hint=f"Add it to your profile manually: hubcli --show-completion {shell}",
        ) from error
    profile = Path(answer.stdout.strip())
    return Installed(shell, profile.parent / "hubcli-completion.ps1", profile)


def _line_of(installed: Installed) -> str:
    """The line of the start-up file. It must not fail once the script is removed."""
    path, quoted = str(installed.script), shlex.quote(str(installed.script))
    if installed.shell == "bash":
        return f"[ ! -r {quoted} ] || . {quoted}{_MARK}"
    if installed.shell == "zsh":
        ready = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }"
        return f"{ready}; [[ ! -r {quoted} ]] || . {quoted}{_MARK}"
    literal = "'" + path.replace("'", "''") + "'"
    return f"if (Test-Path -LiteralPath {literal}) {{ . {literal} }}{_MARK}"


def _name_in(startup: Path, line: str) -> None:
    """Adds the line to the file, which may be a link, unless it is there."""
    startup.parent.mkdir(parents=True, exist_ok=True)
    content = read_regular(startup).decode("utf-8", "surrogateescape") if startup.exists() else ""
    if line in content.splitlines():
        return
    gap = "" if not content or content.endswith("\n") else "\n"
    with open(startup, "a", encoding="utf-8", errors="surrogateescape", opener=open_at_once) as file:
        file.write(f"{gap}{line}\n")
