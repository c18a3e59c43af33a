"""Usage errors of the command line, with suggestions: near misses, and the words of other tools."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

import typer
from typer.main import get_command

from hubcli.cli.app import COMMANDS, app_of
from hubcli.cli.options import GLOBAL_OPTIONS
from hubcli.errors import OutputError, UsageError, did_you_mean, nearest

__all__ = ["usage_error"]

# What other tools call it: hf, uv, pip, git, docker, kagglehub and saved_model_cli.
_SYNONYMS = {
    "search": ("browse", "explore", "find", "query"),
    "versions": ("history", "releases", "revisions", "tags"),
    "info": ("card", "license", "model-card", "readme"),
    "publish": ("model_upload", "share", "upload"),
    "fetch": ("add", "clone", "download", "dl", "get", "install", "model_download", "pull"),
    "fetch --from": ("import", "load"),
    "fetch --lock": ("freeze", "lock"),
    "fetch --locked": ("restore", "sync"),
    "fetch --refresh": ("outdated", "refresh", "update", "upgrade"),
    "ls": ("dir-list", "images", "index", "list", "list-cache", "models", "scan-cache"),
    "ls --path": ("dir", "locate", "path", "where", "which"),
    "ls --size": ("df", "du", "size"),
    "inspect": ("cat", "describe", "print", "show", "signatures", "view"),
    "inspect --check": ("lint",),
    "inspect --scan": ("audit", "scan"),
    "inspect --diff": ("cmp", "compare", "diff"),
    "inspect --tree": ("tree",),
    "run": ("call", "eval", "execute", "infer", "predict", "serve"),
    "verify": ("check", "fsck", "hash", "test", "validate"),
    "verify --repair": ("fix", "repair"),
    "export": ("archive", "convert", "pack", "package", "save"),
    "finetune-export": ("fine-tune", "tune", "train"),
    "gc": ("autoremove", "clean", "cleanup", "prune", "purge", "vacuum"),
    "rm": ("del", "delete", "delete-cache", "drop", "erase", "remove", "rmi", "uninstall"),
    "pin": ("hold", "keep", "protect"),
    "unpin": ("unhold", "unprotect"),
    "doctor": ("auth", "config", "debug", "diagnose", "env", "login", "settings", "status", "whoami"),
    "help": ("man", "usage"),
    "--version": ("about", "ver", "version"),
    "--show-completion": ("completion", "completions", "generate-shell-completion"),
}
_COMMAND_OF_WORD = {word: command for command, words in _SYNONYMS.items() for word in words}
# Command groups of other tools; subcommands of `cache` whose words alone mean another command here.
_GROUPS_OF_OTHERS = ("cache", "model", "models", "repo", "saved_model", "self")
_OF_CACHE = {"": "ls", "dir": "ls --path", "info": "ls", "path": "ls --path", "scan": "ls"}
_OPTION_SYNONYMS = {
    "--verbose": "--debug",
    "--silent": "--quiet",
    "-s": "--quiet",
    "--colour": "--color",
    "--no-colour": "--no-color",
    "--force-download": "--force",
    "--force-reinstall": "--force",
    "-f": "--force",
    "--max-workers": "--jobs",
    "--workers": "--jobs",
    "--parallel": "--jobs",
    "-j": "--jobs",
    "-n": "--dry-run",
    "--index-url": "--mirror",
    "--signature_def": "--signatures",
    "--input_exprs": "--input",
    "--input_examples": "--input",
    "--outdir": "--output",
    "--no-progress-bar": "--no-progress",
    "--local-files-only": "--offline",
    "--no-network": "--offline",
    "--directory": "--cache-dir",
    "--path": "--cache-dir",
    "--max-age": "--older-than",
    "--max-depth": "--depth",
    "-L": "--depth",
    "-v": "--version",
}
_UNKNOWN_OPTION = r"No such option: (\S+)"
_UNKNOWN_COMMAND = r"No such command '(.+?)'\.(?: Did you mean .*)?"
_NO_CHOICE = r".*: '(.*)' is not one of (.+)\."
_NO_NUMBER = r"(.*: '.*' is not a) valid (int|float)(?: range)?\."
_EXTRA_ARGUMENT = r"Got unexpected extra argument\(s\) \((\S+)\)"
_OUT_OF_RANGE = r"(.*: .+) is not in the range (?:(\d+)<=)?x(?:>=(\d+)|<=(\d+))\."


def usage_error(error: typer.TyperException, argv: Sequence[str]) -> UsageError:
    """The same error, with a suggestion in its message, and the command's help in its hint."""
    context = getattr(error, "ctx", None)
    is_root = context is not None and context.parent is None
    name = "" if is_root else next((word for word in argv if word in COMMANDS), "")
    message, hint = error.format_message(), f"See: hubcli{' ' * bool(name)}{name} --help"
    if match := re.match(_UNKNOWN_OPTION, message):
        if is_root and match[1] in GLOBAL_OPTIONS:
            return UsageError("Missing command", hint=hint)
        options = _options()
        known = options[name]
        message = match[0] + _meant_option(match[1], known)
        owners = [owner for owner, theirs in options.items() if match[1] in theirs]
        if owners and match[1] not in known:
            used = [owner for owner in owners if owner in argv] or owners
            message, hint = match[0], f"Use it with: {f'hubcli {used[0]}'.rstrip()} {match[1]}"
    elif match := re.fullmatch(_UNKNOWN_COMMAND, message, re.DOTALL):
        suggestion = _meant_command(match[1], argv)
        near = re.search(r"Did you mean '(.*)'", message)
        message = f"No such command '{match[1]}'" + (f". Did you mean '{suggestion}'?" if suggestion else "")
        if suggestion is None and near:
            message = match[0].rstrip(".")
    elif match := re.fullmatch(_NO_CHOICE, message, re.DOTALL):
        message = message.rstrip(".") + did_you_mean(match[1], re.findall(r"'([^']*)'", match[2]))
    elif match := re.fullmatch(_NO_NUMBER, message, re.DOTALL):
        message = f"{match[1]} {'whole ' if match[2] == 'int' else ''}number"
    elif match := re.fullmatch(_OUT_OF_RANGE, message, re.DOTALL):
        message = f"{match[1]} is out of range"
        hint = f"Use {match[2]} to {match[4]}." if match[2] else f"Use {match[3]} or more."
    elif name == "tier" and (match := re.fullmatch(_EXTRA_ARGUMENT, message, re.DOTALL)):
        hint = f"Specify the tier as an option: --tier {shlex.quote(match[1])}"
    return UsageError(message, hint=hint)


def _meant_command(word: str, argv: Sequence[str]) -> str | None:
    """The command for one of another tool; for a group of commands, that for the word behind it."""
    if "/" in word:
        return "inspect" if word.startswith((".", "/", "~")) else "fetch"
    name = word.lower()
    words = [word.lower() for word in argv if word[:1] != "-"]
    behind = words[words.index(name) + 1 :] if name in words else []
    if name not in _GROUPS_OF_OTHERS:
        return _COMMAND_OF_WORD.get(name)
    following = behind[0] if behind else ""
    if name == "cache" and following in _OF_CACHE:
        return _OF_CACHE[following]
    return _COMMAND_OF_WORD.get(following, following if following in COMMANDS else "ls")


def _meant_option(option: str, known: Sequence[str]) -> str:
    """The question of `did_you_mean`; leading dashes, which all options have, do not count as similar."""
    if _OPTION_SYNONYMS.get(option) in known:
        return f". Did you mean '{_OPTION_SYNONYMS[option]}'?"
    bare = {name.lstrip("-"): name for name in known}
    near = nearest(option.lstrip("-"), bare)
    return "" if near is None else f". Did you mean '{bare[near]}'?"


def _options() -> dict[str, tuple[str, ...]]:
    """The options of each command by its name; those of hubcli itself under an empty name."""
    from hubcli.cli.completion import option_names  # Imported for an unknown option only.

    try:
        return option_names()
    except OutputError:  # Without the table of completions the whole application is built, which takes 30 ms.
        root = get_command(app_of())
    commands = {"": root, **getattr(root, "commands", {})}
    return {name: (*_names_of(command), "--help", "-h") for name, command in commands.items()}


def _names_of(command: Any) -> list[str]:
    return [name for parameter in command.params for name in parameter.opts if name[:1] == "-"]
