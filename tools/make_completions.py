"""Writes completions/ anew from the Typer application.

Run it from the top of the repository: `python -m tools.make_completions`. With `--check` it writes
nothing, and fails where a file isn't what it would write.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from hubcli.cli.app import app_of
from tools.command_line import read_command_line
from tools.completion_bash import bash_script
from tools.completion_fish import fish_script
from tools.completion_powershell import powershell_script
from tools.completion_zsh import zsh_script
from tools.generated import write_or_check

_FOLDER = Path(__file__).parent.parent / "completions"
_SCRIPTS = {
    "hubcli.bash": bash_script,
    "_hubcli": zsh_script,
    "hubcli.fish": fish_script,
    "hubcli.ps1": powershell_script,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the scripts, or compares them; 1 where one differs."""
    line = read_command_line(app_of())
    return write_or_check({_FOLDER / name: make(line) for name, make in _SCRIPTS.items()}, arguments, __doc__)


if __name__ == "__main__":
    sys.exit(main())
