"""Help in two lengths, with the global options in one place: on the page of hubcli itself.

`-h` is for those who know the command: one sentence, the usual options. `--help` has all of it, and examples.
Typer has one help for both and repeats each option that commands share. The commands that it builds are
changed here before they are shown, by public attributes alone: `params`, `hidden`, `help`, `epilog`.
"""

from __future__ import annotations

from typing import Any

from hubcli.cli.options import GLOBAL_PANEL, RARE_PANELS

__all__ = ["shape_help"]

_GLOBAL_OPTIONS = "Global options such as --json, --quiet and --cache-dir: hubcli --help"
_DOCUMENTATION = "Documentation: https://hubcli.example/docs/"


def shape_help(command: Any, *, name: str, is_short: bool, shared_by: Any = None) -> None:
    """Changes what the command, hubcli itself for an empty name, shows as its help.

    `shared_by` is a command whose global options hubcli itself shows, at length.
    """
    if is_short:
        command.help = (command.help or "").partition("\n\n")[0]
    lines = [] if is_short else [command.epilog.rstrip("\n"), " "] if command.epilog else []
    if name:
        for parameter in command.params:
            panel = getattr(parameter, "rich_help_panel", None)
            if panel == GLOBAL_PANEL or (is_short and panel in RARE_PANELS):
                parameter.hidden = True
        lines += [f"All options and examples: hubcli {name} --help"] * is_short + [_GLOBAL_OPTIONS]
    elif is_short:
        lines.append("Global options and examples: hubcli --help")
    else:
        command.params += [
            parameter
            for parameter in shared_by.params
            if getattr(parameter, "rich_help_panel", None) == GLOBAL_PANEL
        ]
        lines += ["Help of a command: hubcli COMMAND --help, or -h for less", _DOCUMENTATION]
    command.epilog = "\n".join(lines)
