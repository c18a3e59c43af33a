"""Runs a command; turns every failure into a message, a suggestion and an exit status."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from shutil import get_terminal_size

import typer
from typer.main import get_command

from hubcli.cli.app import COMMANDS, app_of
from hubcli.cli.help import help_output
from hubcli.cli.output import Output, error_document
from hubcli.cli.signals import turn_signals_into_interrupts
from hubcli.errors import BrokenPipe, ExitStatus, HubcliError, Interrupted, OutputError, UsageError
from hubcli.suggestions import did_you_mean, nearest

__all__ = ["run", "usage_error"]

_SHELL_OPTIONS = ("--install-completion", "--show-completion")
_HELP = ("-h", "--help")
_NARROW = 60  # columns, of which the help in panels needs more


def run(argv: Sequence[str]) -> int:
    """Runs the command line and returns the exit status of the process."""
    _prepare_streams()
    turn_signals_into_interrupts()
    argv = _without_help_command(argv)
    try:
        with help_output(argv):
            return _run(argv)
    except HubcliError as error:
        return _report(error, argv)
    except KeyboardInterrupt:
        return _report(Interrupted("Interrupted"), argv)
    except UnicodeEncodeError as error:
        locale_error = UsageError(
            f"This locale's encoding, {error.encoding}, can't hold {error.object[error.start : error.end]!a}",
            hint="Set a locale of UTF-8: export LC_ALL=C.UTF-8",
        )
        locale_error.__cause__ = error
        return _report(locale_error, argv)
    except Exception as error:  # noqa: BLE001 - the last line of defence: no traceback without --debug
        fault = HubcliError(
            f"hubcli has a fault: {type(error).__name__}: {error}",
            hint="Run it again with --debug and report what it prints.",
        )
        fault.__cause__ = error
        return _report(fault, argv)


def _run(argv: Sequence[str]) -> int:
    from hubcli.cli.app import COMMANDS

    if argv and not set(_HELP) & set(argv):
        return _run_app(argv)
    columns = get_terminal_size().columns
    name = next((word for word in argv if word[:1] != "-"), "")
    if columns < _NARROW and (not name or name in COMMANDS):
        from hubcli.cli.help import narrow_help

        Output().payload(narrow_help(name, columns))
        return int(ExitStatus.DONE if argv else ExitStatus.USAGE)
    with _help_colored(_colors_output(argv)):
        return _run_app(argv)


def _without_help_command(argv: Sequence[str]) -> list[str]:
    """`hubcli help COMMAND` is `hubcli COMMAND --help`, as in git and cargo."""
    if argv[:1] != ["help"]:
        return list(argv)
    command = [word for word in argv[1:] if word not in ("help", *_HELP)]
    return [*command[:1], "--help", *command[1:]]


def _run_app(argv: Sequence[str]) -> int:
    import typer

    from hubcli.cli.app import COMMANDS, app_of

    app = app_of(*argv[:1]) if argv and argv[0] in COMMANDS else app_of()
    try:
        status = app(args=_with_shell(argv), prog_name="hubcli", standalone_mode=False)
    except typer.TyperException as error:
        if not error.format_message():  # No arguments: the help has been shown.
            return int(ExitStatus.USAGE)

        raise usage_error(error, argv) from error
    if status == ExitStatus.INTERRUPTED:
        raise Interrupted("Interrupted")
    return int(status or 0)


def _with_shell(argv: Sequence[str]) -> list[str]:
    """The words, with a shell behind an option that may stand alone: Typer's options always take theirs."""
    if len(argv) != 1 or argv[0] not in _SHELL_OPTIONS:
        return list(argv)
    from hubcli.cli.completion import THIS_SHELL

    return [*argv, THIS_SHELL]


def _report(error: HubcliError, argv: Sequence[str]) -> int:
    if isinstance(error, BrokenPipe):
        return int(error.exit_status)
    # The command line may not have been parsed: these are looked up in its words.
    output = Output(as_json="--json" in argv, color=_color(argv))
    with suppress(BrokenPipe, OutputError):
        if "--debug" in argv:
            output.trace(error)
        output.error(error)
        if output.as_json:
            partial = error.partial if isinstance(error, Interrupted) else {}
            output.document({**partial, "error": error_document(error)})
    return int(error.exit_status)


def _color(argv: Sequence[str]) -> str:
    """The choice of the words, variables and config file, as far as they can be understood."""
    from hubcli.config.config_file import COLORS
    from hubcli.config.settings import color_choice, environment, read_config

    named = [word for before, word in pairwise(argv) if before == "--color"]
    named += [word.partition("=")[2] for word in argv if word.startswith("--color=")]
    option = next((word for word in reversed(named) if word in COLORS), None)
    default = read_config().get("color", "auto")
    return color_choice(environment(), "never" if "--no-color" in argv else option, default=default)


def _colors_output(argv: Sequence[str]) -> bool:
    return Output(color=_color(argv)).has_color


@contextmanager
def _help_colored(is_colored: bool) -> Iterator[None]:
    """Within, rich colours the help or doesn't: its variables are the one switch that Typer leaves."""
    from hubcli.config.environment import variables_set

    variables = {"NO_COLOR": None, "FORCE_COLOR": "1" if is_colored else None}
    variables["_TYPER_FORCE_DISABLE_TERMINAL"] = None if is_colored else "1"
    with variables_set(variables):
        yield


def _prepare_streams() -> None:
    """Lets paths that are no valid text pass through as the bytes that they are."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="surrogateescape")


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
    "run": ("call", "eval", "execute", "infer", "predict", "serve"),
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
    near = nearest(option.lstrip("-"), bare)
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
