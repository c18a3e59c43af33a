"""The completion script for PowerShell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hubcli.cli.options import CompletionHint
from tools.command_line import Argument, Command, CommandLine
from tools.templates import filled

__all__ = ["powershell_script"]


def powershell_script(line: CommandLine) -> str:
    """The text of hubcli.ps1."""
    every = (line.root, *line.commands)
    return filled(
        "hubcli.ps1",
        COMMANDS=_rows(
            f", @({_quoted(command.name)}, {_quoted(command.summary)})" for command in line.commands
        ),
        OPTIONS=_rows(map(_options, every)),
        VALUES=_rows(
            f"{_quoted(f'{command.name} {name}')} = {_offered(option.offered)}"
            for command in every
            for option in command.options
            if not option.is_flag
            for name in option.names
        ),
        ARGUMENTS=_rows(
            f"{_quoted(f'{command.name} {place}')} = {_offered(argument.offered)}"
            for command in line.commands
            for place, argument in _places(command)
        ),
        REPEATABLE=", ".join(
            _quoted(f"{command.name} {name}")
            for command in every
            for option in command.options
            if option.repeatable
            for name in option.names
        ),
    )


def _places(command: Command) -> Iterator[tuple[int, Argument]]:
    """The arguments by their number, 0 for one that takes all from there on."""
    for number, argument in enumerate(command.arguments, start=1):
        yield 0 if argument.repeatable else number, argument


def _rows(rows: Iterable[str]) -> str:
    return "\n".join(f"        {row}" for row in rows)


def _options(command: Command) -> str:
    pairs = [
        f"@({_quoted(name)}, {_quoted(option.help.rstrip('.'))})"
        for option in command.options
        for name in option.names
    ]
    rows = ",\n".join(f"            {pair}" for pair in pairs)
    return f"{_quoted(command.name)} = @(\n{rows}\n        )"


def _offered(offered: CompletionHint) -> str:
    words = ", ".join(map(_quoted, offered.words))
    flags = "".join(
        f"; {name.capitalize()} = $true"
        for name in ("handles", "files", "directories")
        if getattr(offered, name)
    )
    model = f"; Model = {_quoted(offered.of_model)}" if offered.of_model else ""
    return f"@{{ Words = @({words}){flags}{model} }}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
