"""The completion script for fish."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hubcli.cli.options import CompletionHint
from tools.command_line import Argument, Command, CommandLine, Option
from tools.templates import filled

__all__ = ["fish_script"]


def fish_script(line: CommandLine) -> str:
    """The text of hubcli.fish."""
    return filled(
        "hubcli.fish",
        VALUES=_values((line.root, *line.commands)),
        ROOT="\n".join(_option(option, "__hubcli_at_root") for option in line.root.options),
        COMMANDS="\n".join(
            f"complete -c hubcli -n __hubcli_at_root -a {command.name} -d {_quoted(command.summary)}"
            for command in line.commands
        ),
        OPTIONS="\n".join(_options(line.commands)),
        ARGUMENTS="\n".join(
            _argument(command, argument, number)
            for command in line.commands
            for number, argument in enumerate(command.arguments, start=1)
        ),
    )


def _values(commands: tuple[Command, ...]) -> str:
    places = [
        _quoted(f"{command.name} {name}")
        for command in commands
        for option in command.options
        if not option.is_flag
        for name in option.names
    ]
    rows = [" ".join(places[start : start + 4]) for start in range(0, len(places), 4)]
    return "        case " + " \\\n            ".join(rows)


def _options(commands: tuple[Command, ...]) -> Iterator[str]:
    """Options that several commands have alike are told once."""
    owners: dict[Option, list[str]] = {}
    for command in commands:
        for option in command.options:
            owners.setdefault(option, []).append(command.name)
    for option, names in owners.items():
        yield _option(option, _quoted(f"__hubcli_at {' '.join(names)}"))


def _option(option: Option, condition: str) -> str:
    names = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names]
    value = "" if option.is_flag else f" {_value(option.offered)}"
    help_text = _quoted(option.help.rstrip("."))
    return f"complete -c hubcli -n {condition} {' '.join(names)}{value} -d {help_text}"


def _argument(command: Command, argument: Argument, number: int) -> str:
    place = 0 if argument.repeatable else number
    condition = f"__hubcli_at_argument {command.name} {place}"
    offers = _offers(argument.offered)
    rows = [f"complete -c hubcli -n {_quoted(condition)}{offers}"] if offers else []
    if argument.offered.files:
        if offers:
            condition += "; and __hubcli_is_no_handle"
        rows.append(f"complete -c hubcli -n {_quoted(condition)} -F")
    return "\n".join(rows)


def _value(offered: CompletionHint) -> str:
    """The value is required; files stand beside what else is offered."""
    return ("-r -F" if offered.files else "-x") + _offers(offered)


def _offers(offered: CompletionHint) -> str:
    parts = [_word(word) for word in offered.words]
    parts += ["(__hubcli_handles)"] if offered.handles else []
    parts += [f"(__hubcli_of_model {offered.of_model})"] if offered.of_model else []
    parts += ["(__fish_complete_directories)"] if offered.directories and not offered.files else []
    return f" -a {_quoted(' '.join(parts))}" if parts else ""


def _word(word: str) -> str:
    """The word for a list that fish reads as it reads a command line."""
    return word if re.fullmatch(r"[\w:.-]+", word, re.ASCII) else _quoted(word)


def _quoted(text: str) -> str:
    """The text in single quotes, in which fish knows two escapes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
