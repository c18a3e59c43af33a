"""A command line that can't be understood: what was meant, and what to type next."""

from __future__ import annotations

import re
from collections.abc import Sequence

import typer
from typer.main import get_command

from hubcli.cli.app import app_of
from hubcli.errors import UsageError
from hubcli.spelling import did_you_mean, near_miss

__all__ = ["usage_error"]

# What other tools call it.
_SYNONYMS = {
    "cat": "inspect",
    "check": "verify",
    "clean": "gc",
    "delete": "rm",
    "download": "fetch",
    "get": "fetch",
    "info": "inspect",
    "list": "ls",
    "prune": "gc",
    "pull": "fetch",
    "remove": "rm",
    "save": "export",
    "show": "inspect",
}
_UNKNOWN_OPTION = re.compile(r"No such option: (\S+)")
_UNKNOWN_COMMAND = re.compile(r"No such command '(.+)'\.")
_NO_CHOICE = re.compile(r".*: '(.*)' is not one of (.+)\.", re.DOTALL)


def usage_error(error: typer.TyperException, argv: Sequence[str]) -> UsageError:
    """The same error with the near miss in its message, and the help to read in its hint."""
    options = _options()
    context = getattr(error, "ctx", None)
    is_root = context is not None and context.parent is None
    name = "" if is_root else next((word for word in argv if word in options), "")
    message, hint = error.format_message(), f"See: hubcli{' ' * bool(name)}{name} --help"
    if match := _UNKNOWN_OPTION.match(message):
        known = options[name]
        message = match[0] + _meant_option(match[1], known)
        owners = [owner for owner, theirs in options.items() if match[1] in theirs]
        if owners and match[1] not in known:
            used = [owner for owner in owners if owner in argv] or owners
            place = f"behind a command: hubcli {used[0]}" if used[0] else "before the command: hubcli"
            message, hint = match[0], f"It stands {place} {match[1]}. {hint}"
    elif match := _UNKNOWN_COMMAND.fullmatch(message):
        meant = _SYNONYMS.get(match[1].lower())
        message = message.rstrip(".") + (f". Did you mean '{meant}'?" if meant else "")
    elif match := _NO_CHOICE.fullmatch(message):
        message = message.rstrip(".") + did_you_mean(match[1], re.findall(r"'([^']*)'", match[2]))
    return UsageError(message, hint=hint)


def _meant_option(option: str, known: Sequence[str]) -> str:
    """The question of `did_you_mean`; the dashes, which all have, make no two options alike."""
    bare = {one.lstrip("-"): one for one in known}
    near = near_miss(option.lstrip("-"), bare)
    return "" if near is None else f". Did you mean '{bare[near]}'?"


def _options() -> dict[str, list[str]]:
    """The options of each command by its name, those of hubcli itself by an empty one."""
    root = get_command(app_of())
    commands = {"": root, **getattr(root, "commands", {})}
    return {
        name: [option for parameter in command.params for option in parameter.opts if option[:1] == "-"]
        + ["--help", "-h"]
        for name, command in commands.items()
    }
