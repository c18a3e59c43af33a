"""The completion script for zsh."""

from __future__ import annotations

import re
import shlex

from hubcli.cli.options import CompletionHint
from tools.command_line import Argument, Command, CommandLine, Option
from tools.templates import filled

__all__ = ["zsh_script"]


def zsh_script(line: CommandLine) -> str:
    """The text of _hubcli."""
    return filled(
        "_hubcli",
        COMMANDS="\n".join(
            f"    {_quoted(f'{command.name}:{command.summary}')}" for command in line.commands
        ),
        FUNCTIONS="\n\n".join(map(_function, line.commands)),
        ROOT="\n".join(f"    {_option_spec(option)} \\" for option in line.root.options),
        CASES="\n".join(f"      {command.name}) {_name(command)} ;;" for command in line.commands),
    )


def _name(command: Command) -> str:
    return f"_hubcli_{command.name.replace('-', '_')}"


def _function(command: Command) -> str:
    specs = [_option_spec(option) for option in command.options]
    specs += [_argument_spec(argument, number) for number, argument in enumerate(command.arguments, start=1)]
    return f"{_name(command)}() {{\n  _arguments -s -S \\\n    " + " \\\n    ".join(specs) + "\n}"


def _option_spec(option: Option) -> str:
    """One word, or several in braces, for _arguments."""
    excluded = "(- *)" if option.ends_all else "" if option.repeatable else f"({' '.join(option.names)})"
    spec = f"[{_escaped(option.help.rstrip('.'))}]"
    if not option.is_flag:
        spec += f":{_escaped(option.metavar)}:{_action(option.offered)}"
    star = "*" if option.repeatable else ""
    # A long option takes its value behind = too.
    names = [name + ("" if option.is_flag else "=" if name[:2] == "--" else "+") for name in option.names]
    if len(names) == 1:
        return _quoted(f"{excluded}{star}{names[0]}{spec}")
    head = _quoted(excluded) if excluded else ""
    return f"{head}{{{','.join(_quoted(star + name) for name in names)}}}{_quoted(spec)}"


def _argument_spec(argument: Argument, number: int) -> str:
    place = "*" if argument.repeatable else str(number)
    optional = "" if argument.required or argument.repeatable else ":"
    name = re.sub(r"[^A-Z|]", "", argument.metavar)
    return _quoted(f"{place}{optional}:{_escaped(name)}:{_action(argument.offered)}")


def _action(offered: CompletionHint) -> str:
    """What completes the value; the space before it keeps _arguments from adding words of its own."""
    handles = " ".join(("_hubcli_handles", *offered.words)) if offered.handles else ""
    words = f"_hubcli_words {' '.join(map(shlex.quote, offered.words))}" if offered.words else ""
    words = f"_hubcli_of_model {offered.of_model}" if offered.of_model else words
    files = "_files" if offered.files else "_files -/" if offered.directories else ""
    first = (handles or words).replace(":", "\\:")
    if first and files:
        return f' _alternative "values\\: \\: {first}" "files\\:file\\:{files}"'
    return f" {first or files}"


def _escaped(text: str) -> str:
    return re.sub(r"([\[\]:\\])", r"\\\1", text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
