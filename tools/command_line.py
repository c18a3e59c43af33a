"""The command line as values, read from the Typer application: what completion and man page are made of."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, get_args

import typer
from typer.main import get_command

from hubcli import __version__
from hubcli.cli.options import GLOBAL_PANEL, CompletionHint, CompletionWords

__all__ = ["Argument", "Command", "CommandLine", "Option", "read_command_line"]

_MARKUP = re.compile(r"(?<!\\)\[/?[a-z ]+\]")


@dataclass(frozen=True, slots=True)
class Option:
    """An option. `metavar` is empty for a flag; `names` has the long name first."""

    names: tuple[str, ...]
    metavar: str
    help: str
    default: str
    repeatable: bool
    panel: str
    offered: CompletionHint

    @property
    def is_flag(self) -> bool:
        """Whether it takes no value."""
        return not self.metavar

    @property
    def ends_all(self) -> bool:
        """Whether nothing else makes sense beside it."""
        return self.names[0] in ("--help", "--version", "--install-completion", "--show-completion")


@dataclass(frozen=True, slots=True)
class Argument:
    """A positional argument, or all from there on where it is `repeatable`."""

    metavar: str
    help: str
    required: bool
    repeatable: bool
    offered: CompletionHint


@dataclass(frozen=True, slots=True)
class Command:
    """A command; the root of all has an empty name. `paragraphs` begin with the summary."""

    name: str
    paragraphs: tuple[str, ...]
    examples: tuple[str, ...]
    options: tuple[Option, ...]
    arguments: tuple[Argument, ...]

    @property
    def summary(self) -> str:
        """What it does, without the last period."""
        return self.paragraphs[0].rstrip(".")


@dataclass(frozen=True, slots=True)
class CommandLine:
    """Everything that can be typed."""

    name: str
    version: str
    root: Command
    commands: tuple[Command, ...]


def read_command_line(app: typer.Typer) -> CommandLine:
    """The command line of the application."""
    group: Any = get_command(app)
    assert app.registered_callback is not None
    callbacks = {info.name: info.callback for info in app.registered_commands}
    context = typer.Context(group, info_name=group.name, **group.context_settings)
    commands = tuple(
        _command(str(name), typer.Context(command, parent=context), callbacks[name])
        for name, command in group.commands.items()
    )
    root = _command("", context, app.registered_callback.callback)
    # Global options may stand before the command, too.
    shared = tuple(option for option in commands[0].options if option.panel == GLOBAL_PANEL)
    root = replace(root, options=(*root.options, *shared))
    return CommandLine(str(group.name), __version__, root, commands)


def _command(name: str, context: typer.Context, callback: Any) -> Command:
    signature_parameters = inspect.signature(callback, eval_str=True).parameters
    command: Any = context.command
    parameters = [*command.params, command.get_help_option(context)]
    options, arguments = [], []
    for parameter in parameters:
        if getattr(parameter, "hidden", False):
            continue
        annotation = (
            signature_parameters[parameter.name].annotation
            if parameter.name in signature_parameters
            else None
        )
        if parameter.param_type_name == "argument":
            arguments.append(_argument(parameter, annotation))
        else:
            options.append(_option(parameter, annotation))
    return Command(name, *_texts(command), tuple(options), tuple(arguments))


def _texts(command: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The paragraphs and the examples of a help."""
    paragraphs = tuple(" ".join(paragraph.split()) for paragraph in _plain(command.help or "").split("\n\n"))
    lines = [line.strip() for line in _plain(command.epilog or "").splitlines() if line.strip()]
    return paragraphs, tuple(lines[1:])


def _option(parameter: Any, annotation: Any) -> Option:
    metavar = "" if parameter.is_flag else _metavar(parameter)
    names = sorted(parameter.opts, key=lambda name: not name.startswith("--"))
    has_default = parameter.default not in (None, False, ()) and parameter.show_default
    return Option(
        names=tuple(names),
        metavar=metavar,
        help=_plain(parameter.help or ""),
        default=str(getattr(parameter.default, "value", parameter.default)) if has_default else "",
        repeatable=bool(parameter.multiple),
        panel=getattr(parameter, "rich_help_panel", None) or "",
        offered=_offered(parameter, annotation, metavar),
    )


def _argument(parameter: Any, annotation: Any) -> Argument:
    metavar = _metavar(parameter)
    return Argument(
        metavar=metavar,
        help=_plain(parameter.help or ""),
        required=bool(parameter.required),
        repeatable=parameter.nargs == -1,
        offered=_offered(parameter, annotation, metavar),
    )


def _choices(parameter: Any) -> tuple[str, ...]:
    """The words of an enumeration."""
    choices: Iterable[Any] = getattr(parameter.type, "choices", ())
    return tuple(str(getattr(choice, "value", choice)) for choice in choices)


def _metavar(parameter: Any) -> str:
    if parameter.metavar:
        return str(parameter.metavar)
    choices = _choices(parameter)
    return "|".join(choices) if choices else str(parameter.name).upper()


def _offered(parameter: Any, annotation: Any, metavar: str) -> CompletionHint:
    """What the annotation says, or else the enumeration, or else the metavar."""
    for metadata in get_args(annotation)[1:]:
        if isinstance(metadata, CompletionHint):
            return metadata
        if isinstance(metadata, CompletionWords):
            return CompletionHint(words=tuple(metadata.look_up()))
    if getattr(parameter, "is_flag", False):
        return CompletionHint()
    choices = _choices(parameter)
    return CompletionHint(words=choices) if choices else hint_by_metavar(metavar)


_NAME = re.compile(r"[A-Z]{2,}")
_BY_NAME = {
    "DEST": CompletionHint(files=True),
    "DIR": CompletionHint(directories=True),
    "FILE": CompletionHint(files=True),
    "HANDLE": CompletionHint(handles=True),
    "OTHER": CompletionHint(handles=True, files=True),
    "PATTERN": CompletionHint(handles=True),
    "SOURCE": CompletionHint(handles=True, files=True),
    "TARGET": CompletionHint(handles=True, files=True),
}


def hint_by_metavar(metavar: str) -> CompletionHint:
    """What the names in a metavar call for, such as `FILE|-`; nothing for names that call for nothing.

    >>> hint_by_metavar("HANDLE|PATTERN...").handles, hint_by_metavar("[HANDLE...]").files
    (True, False)
    """
    hints = [_BY_NAME[name] for name in _NAME.findall(metavar) if name in _BY_NAME]
    return CompletionHint(
        handles=any(hint.handles for hint in hints),
        files=any(hint.files for hint in hints),
        directories=any(hint.directories for hint in hints),
        words=("-",) * metavar.endswith("|-"),
    )


def _plain(text: str) -> str:
    """The text without rich's markup."""
    return _MARKUP.sub("", text).replace("\\[", "[")
