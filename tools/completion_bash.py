"""The completion script for bash."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from hubcli.cli.options import CompletionHint
from tools.command_line import Command, CommandLine
from tools.templates import filled

__all__ = ["bash_script"]

_COLUMNS = 110


def bash_script(line: CommandLine) -> str:
    """The text of hubcli.bash."""
    every = (line.root, *line.commands)
    return filled(
        "hubcli.bash",
        COMMANDS=" ".join(command.name for command in line.commands),
        VALUES=_arms(_values(every)),
        ARGUMENTS=_arms(_arguments(line.commands)),
        OPTIONS="\n".join(_options(command) for command in every),
        REPEATABLE=_repeatable(every),
    )


def _values(commands: tuple[Command, ...]) -> Iterator[tuple[str, CompletionHint]]:
    for command in commands:
        for option in command.options:
            if not option.is_flag:
                for name in option.names:
                    yield f"'{command.name} {name}'", option.offered


def _arguments(commands: tuple[Command, ...]) -> Iterator[tuple[str, CompletionHint]]:
    for command in commands:
        for number, argument in enumerate(command.arguments, start=1):
            place = f"'{command.name} '*" if argument.repeatable else f"'{command.name} {number}'"
            yield place, argument.offered


def _arms(places: Iterator[tuple[str, CompletionHint]]) -> str:
    """The branches of a case: those with the same outcome are one."""
    by_outcome: dict[str, list[str]] = {}
    for pattern, offered in places:
        by_outcome.setdefault(_assignments(offered), []).append(pattern)
    lines = []
    for outcome, patterns in by_outcome.items():
        *others, last = _wrapped(patterns)
        lines += [f"    {row} |\\" for row in others] + [f"    {last})", f"      {outcome} ;;"]
    return "\n".join(lines)


def _wrapped(patterns: list[str]) -> list[str]:
    rows = [patterns[0]]
    for pattern in patterns[1:]:
        if len(rows[-1]) + len(pattern) < _COLUMNS - 10:
            rows[-1] += f" | {pattern}"
        else:
            rows.append(pattern)
    return rows


def _assignments(offered: CompletionHint) -> str:
    assignments = []
    if offered.words:
        assignments.append(f"words=({' '.join(map(shlex.quote, offered.words))})")
    assignments += [f"{name}=1" for name in ("handles", "files", "directories") if getattr(offered, name)]
    if offered.of_model:
        assignments.append(f"model={offered.of_model}")
    return " ".join(assignments) or ":"


def _options(command: Command) -> str:
    names = " ".join(name for option in command.options for name in option.names)
    return f"    {command.name or shlex.quote('')}) options=({names}) ;;"


def _repeatable(commands: tuple[Command, ...]) -> str:
    patterns = [
        f"'{command.name} {name}'"
        for command in commands
        for option in command.options
        if option.repeatable
        for name in option.names
    ]
    return f"          {' | '.join(patterns)}) ;;"
