"""Runs a command; turns every failure into a message, a suggestion and an exit status.

Signals that end a run become interrupts, each of which cleans up as Ctrl-C does.
"""

from __future__ import annotations

import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from shutil import get_terminal_size
from types import FrameType
from typing import Any, NoReturn

import typer
from typer.main import get_command

from hubcli.cli.app import COMMANDS, app_of
from hubcli.cli.main import DeferredClasses, LazyImports
from hubcli.cli.output import Output, error_document
from hubcli.config.config_file import COLORS
from hubcli.config.process_variables import variables_set
from hubcli.config.settings import color_choice, environment, read_config
from hubcli.errors import (
    BrokenPipe,
    ExitStatus,
    HubcliError,
    Interrupted,
    OutputError,
    UsageError,
    did_you_mean,
    nearest,
)

with LazyImports():
    from hubcli.cli.app import app_for_help, help_output, narrow_help
    from hubcli.cli.completion import option_names, with_this_shell

__all__ = ["GLOBAL_OPTIONS", "held_interrupts", "run", "turn_signals_into_interrupts", "usage_error"]

_SHELL_OPTIONS = ("--install-completion", "--show-completion")
_HELP = ("-h", "--help")
# The global options that take no value, and those that take one.
_FLAGS = ("--json", "--quiet", "-q", "--offline", "--no-color", "--no-progress", "--debug")
_VALUES = ("--cache-dir", "--color")
GLOBAL_OPTIONS = (*_FLAGS, *_VALUES)
# What typer.rich_utils imports for help in Markdown and for tracebacks: ours has neither.
_UNUSED_IN_HELP = {"rich.markdown": "Markdown", "rich.traceback": "Traceback"}
_NARROW = 60  # columns, of which the help in panels needs more


def run(argv: Sequence[str]) -> int:
    """Runs the command line and returns the exit status of the process."""
    _prepare_streams()
    turn_signals_into_interrupts()
    argv = _with_options_behind(_without_app_for_help(argv))
    try:
        return _run_reported(argv)
    except KeyboardInterrupt:  # It may come while an error is reported: a closed terminal is both.
        return _report(Interrupted("Interrupted"), argv)


def _run_reported(argv: Sequence[str]) -> int:
    try:
        if not _may_ask_for_help(argv):
            return _run(argv)
        with help_output():
            return _run(argv)
    except HubcliError as error:
        return _report(error, argv)
    except UnicodeEncodeError as error:
        locale_error = UsageError(
            f"The locale's encoding {error.encoding} cannot represent "
            f"{error.object[error.start : error.end]!a}",
            hint="Use a UTF-8 locale: export LC_ALL=C.UTF-8",
        )
        locale_error.__cause__ = error
        return _report(locale_error, argv)
    except Exception as error:  # noqa: BLE001 - the last line of defence: no traceback without --debug
        fault = HubcliError(
            f"Internal error: {type(error).__name__}: {error}",
            hint="Run it again with --debug, and report the traceback.",
        )
        fault.__cause__ = error
        return _report(fault, argv)


def _may_ask_for_help(argv: Sequence[str]) -> bool:
    """Whether Typer may write help: to standard output, as it is, which may be closed or full."""
    # A closed one is None, and nothing but help is written to it that doesn't see so by itself.
    if sys.stdout is not None and any(word[:1] == "-" and "h" in word for word in argv):
        return True
    return not argv or bool(set(_HELP) & set(argv))


def _run(argv: Sequence[str]) -> int:
    if argv and not set(_HELP) & set(argv):
        return _run_app(argv)
    columns = get_terminal_size().columns
    name = next((word for word in argv if word[:1] != "-"), "")
    if columns < _NARROW and (not name or name in COMMANDS):
        Output().payload(narrow_help(name, columns, is_short="--help" not in argv))
        return int(ExitStatus.DONE if argv else ExitStatus.USAGE)
    with _help_colored(_colors_output(argv)), DeferredClasses(_UNUSED_IN_HELP):
        return _run_app(argv)


def _without_app_for_help(argv: Sequence[str]) -> list[str]:
    """`hubcli help COMMAND` is `hubcli COMMAND --help`, as in git and cargo."""
    if argv[:1] != ["help"]:
        return list(argv)
    command = [word for word in argv[1:] if word not in ("help", *_HELP)]
    return [*command[:1], "--help", *command[1:]]


def _with_options_behind(argv: Sequence[str]) -> list[str]:
    """The words with the global options that stand before the command behind it: each command has them.

    >>> _with_options_behind(["--offline", "--cache-dir", "x", "ls", "-q"])
    ['ls', '--offline', '--cache-dir', 'x', '-q']
    >>> _with_options_behind(["--offline", "--version"])
    ['--offline', '--version']
    """
    end = 0
    while end < len(argv) and (
        argv[end] in _FLAGS or argv[end] in _VALUES or argv[end].partition("=")[0] in _VALUES
    ):
        end += 2 if argv[end] in _VALUES else 1
    if end < len(argv) and argv[end][:1] != "-":
        return [argv[end], *argv[:end], *argv[end + 1 :]]
    return list(argv)


def _run_app(argv: Sequence[str]) -> int:
    words = with_this_shell(argv) if len(argv) == 1 and argv[0] in _SHELL_OPTIONS else list(argv)
    try:
        status = _command_for(argv).main(args=words, prog_name="hubcli", standalone_mode=False)
    except typer.TyperException as error:
        if not error.format_message():  # No arguments: the help has been shown.
            return int(ExitStatus.USAGE)

        raise usage_error(error, argv) from error
    if status == ExitStatus.INTERRUPTED:
        raise Interrupted("Interrupted")
    return int(status or 0)


def _command_for(argv: Sequence[str]) -> Any:
    """The application as a command, with no more of it built than the words need."""
    # A command may stand behind an option or `--`.
    named = argv[:1] if argv and argv[0] in COMMANDS else [word for word in argv if word in COMMANDS]
    if not argv or set(_HELP) & set(argv):
        name = named[0] if named else ""
        return app_for_help(name, is_short="--help" not in argv)
    if named[:1] == argv[:1]:
        return get_command(app_of(argv[0]))
    return get_command(app_of(*named, others="names"))


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
# Groups of commands that others have, and what their own words mean that stand alone for something else.
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


def usage_error(error: typer.TyperException, argv: Sequence[str]) -> UsageError:
    """The same error with the near miss in its message, and the help to read in its hint."""
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
    return UsageError(message, hint=hint)


def _meant_command(word: str, argv: Sequence[str]) -> str | None:
    """What the unknown command is here, by its name in other tools; of a group, by the word behind it."""
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
    """The question of `did_you_mean`; the dashes, which all have, make no two options alike."""
    if _OPTION_SYNONYMS.get(option) in known:
        return f". Did you mean '{_OPTION_SYNONYMS[option]}'?"
    bare = {name.lstrip("-"): name for name in known}
    near = nearest(option.lstrip("-"), bare)
    return "" if near is None else f". Did you mean '{bare[near]}'?"


def _options() -> dict[str, tuple[str, ...]]:
    """The options of each command by its name, those of hubcli itself by an empty one."""
    try:
        return option_names()
    except OutputError:  # An installation without completion: the application itself tells, in 30 ms more.
        root = get_command(app_of())
    commands = {"": root, **getattr(root, "commands", {})}
    return {name: (*_names_of(command), "--help", "-h") for name, command in commands.items()}


def _names_of(command: Any) -> list[str]:
    return [name for parameter in command.params for name in parameter.opts if name[:1] == "-"]


_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class _Interrupts:
    """The signal that arrived, and whether it has to wait. For the main thread, which alone gets signals."""

    def __init__(self) -> None:
        self._numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
        self._holds = 0
        self._is_due = False

    def install(self) -> None:
        """Handles the signals from now on, but those that the caller of this process ignores."""
        with suppress(ValueError):  # Not on the main thread: a test or an embedding program.
            for number in self._numbers:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    signal.signal(number, self._on_signal)

    def _on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        if not self._holds or self._is_due:  # What is held may hang, at a terminal that takes nothing.
            self._interrupt()
        self._is_due = True

    def _interrupt(self) -> NoReturn:
        for number in self._numbers:
            signal.signal(number, signal.SIG_IGN)  # Nothing interrupts the cleaning.
        self._is_due = False
        raise KeyboardInterrupt

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within, nothing is raised but for a second signal; at the end, what came meanwhile."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            if self._is_due and not self._holds:
                self._interrupt()


_interrupts = _Interrupts()  # Signals belong to the whole process.


def turn_signals_into_interrupts() -> None:
    """SIGTERM and SIGHUP clean up as Ctrl-C does; once they do, nothing interrupts the cleaning."""
    _interrupts.install()


@contextmanager
def held_interrupts() -> Iterator[None]:
    """Holds interrupts off until the context ends: for a few lines of others' that must not be cut in two."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _interrupts.held():
        yield
