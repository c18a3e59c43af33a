"""A command line that can't be understood: what was meant, and what to type next."""

from __future__ import annotations

import re
from collections.abc import Sequence

import typer
from typer.main import get_command

from hubcli.cli.app import COMMANDS, app_of
from hubcli.errors import UsageError
from hubcli.spelling import did_you_mean, near_miss

__all__ = ["usage_error"]

# What other tools call it: hf, uv, pip, git, docker, kagglehub and saved_model_cli.
_SYNONYMS = {
    "fetch": ("add", "clone", "download", "dl", "get", "install", "model_download", "pull"),
    "fetch --from": ("import", "load"),
    "fetch --lock": ("freeze", "lock"),
    "fetch --locked": ("restore", "sync"),
    "fetch --refresh": ("outdated", "refresh", "update", "upgrade"),
    "ls": ("dir-list", "images", "index", "list", "list-cache", "models", "scan-cache"),
    "ls --path": ("dir", "locate", "path", "where", "which"),
    "ls --size": ("df", "du", "size"),
    "inspect": ("cat", "describe", "info", "print", "show", "signatures", "view"),
    "inspect --check": ("lint",),
    "inspect --scan": ("audit", "scan"),
    "inspect --diff": ("cmp", "compare", "diff"),
    "inspect --tree": ("tree",),
    "verify": ("check", "fsck", "hash", "test", "validate"),
    "verify --repair": ("fix", "repair"),
    "export": ("archive", "convert", "pack", "package", "publish", "push", "save", "upload"),
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
_MEANT = {word: meant for meant, words in _SYNONYMS.items() for word in words}
# Groups of commands that others have, and what their own words mean that stand alone for something else.
_GROUPS = ("cache", "model", "models", "repo", "saved_model", "self")
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
_UNKNOWN_OPTION = re.compile(r"No such option: (\S+)")
_UNKNOWN_COMMAND = re.compile(r"No such command '(.+?)'\.(?: Did you mean .*)?", re.DOTALL)
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
        meant = _meant_command(match[1], argv)
        near = re.search(r"Did you mean '(.*)'", message)
        message = f"No such command '{match[1]}'" + (f". Did you mean '{meant}'?" if meant else "")
        if meant is None and near:
            message = match[0].rstrip(".")
    elif match := _NO_CHOICE.fullmatch(message):
        message = message.rstrip(".") + did_you_mean(match[1], re.findall(r"'([^']*)'", match[2]))
    return UsageError(message, hint=hint)


def _meant_command(word: str, argv: Sequence[str]) -> str | None:
    """What the unknown command is here, by its name in other tools; of a group, by the word behind it."""
    if "/" in word:
        return "inspect" if word.startswith((".", "/", "~")) else "fetch"
    name = word.lower()
    words = [one.lower() for one in argv if one[:1] != "-"]
    behind = words[words.index(name) + 1 :] if name in words else []
    if name not in _GROUPS:
        return _MEANT.get(name)
    following = behind[0] if behind else ""
    if name == "cache" and following in _OF_CACHE:
        return _OF_CACHE[following]
    return _MEANT.get(following, following if following in COMMANDS else "ls")


def _meant_option(option: str, known: Sequence[str]) -> str:
    """The question of `did_you_mean`; the dashes, which all have, make no two options alike."""
    if _OPTION_SYNONYMS.get(option) in known:
        return f". Did you mean '{_OPTION_SYNONYMS[option]}'?"
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
