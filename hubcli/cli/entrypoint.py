"""Runs a command; turns every failure into a message, a suggestion and an exit status.

Signals that end a run become interrupts, each of which cleans up as Ctrl-C does.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from itertools import pairwise
from types import FrameType
from typing import Any, NoReturn

import typer
from typer.main import get_command

from hubcli.cli.app import COMMANDS, app_of
from hubcli.cli.main import DeferredClasses, LazyImports
from hubcli.cli.options import GLOBAL_OPTIONS, VALUED_GLOBAL_OPTIONS
from hubcli.cli.output import Output, discard_unwritten_messages, error_document
from hubcli.config.environment import COLORS
from hubcli.config.process_variables import variables_set
from hubcli.config.settings import color_choice, environment, read_config
from hubcli.errors import BrokenPipe, ExitStatus, HubcliError, Interrupted, OutputError, UsageError

with LazyImports():
    from hubcli.cli.completion import with_this_shell
    from hubcli.cli.help_pages import app_for_help, help_output, narrow_help
    from hubcli.cli.usage_errors import usage_error

__all__ = ["command_of", "held_interrupts", "run", "turn_signals_into_interrupts"]

_SHELL_OPTIONS = ("--install-completion", "--show-completion")
_HELP = ("-h", "--help")
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
    finally:
        discard_unwritten_messages()


def _run_reported(argv: Sequence[str]) -> int:
    try:
        if not _may_ask_for_help(argv):
            return _run(argv)
        with help_output():
            return _run(argv)
    except HubcliError as error:
        return _report(error, argv)
    except UnicodeEncodeError as error:
        letters = f"{error.object[error.start : error.end]!a}"
        is_utf8 = error.encoding.lower().replace("_", "-") in ("utf-8", "utf8")
        locale_error = UsageError(
            f"Invalid text: {letters} is not UTF-8"
            if is_utf8
            else f"The locale's encoding {error.encoding} cannot represent {letters}",
            hint="Type it again on a terminal that uses UTF-8."
            if is_utf8
            else "Use a UTF-8 locale: export LC_ALL=C.UTF-8",
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
    from shutil import get_terminal_size  # Help alone needs it: the module brings three compressions.

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
        argv[end] in GLOBAL_OPTIONS or argv[end].partition("=")[0] in VALUED_GLOBAL_OPTIONS
    ):
        end += 2 if argv[end] in VALUED_GLOBAL_OPTIONS else 1
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
    return command_of(*named) if named[:1] == argv[:1] else command_of(*named, others="names")


@cache
def command_of(*names: str, others: str | None = None) -> Any:
    """The application of `app_of` as a command, built once a process: in 7 ms, and each run needs it."""
    return get_command(app_of(*names, others=others))


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
    """Sets whether rich colors the help: Typer leaves no other switch than rich's variables."""
    variables = {"NO_COLOR": None, "FORCE_COLOR": "1" if is_colored else None}
    variables["_TYPER_FORCE_DISABLE_TERMINAL"] = None if is_colored else "1"
    with variables_set(variables):
        yield


def _prepare_streams() -> None:
    """Lets paths that are not valid text pass through as their bytes."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        with suppress(OSError):  # It writes what waits, as a version that a full disk didn't take.
            reconfigure(errors="surrogateescape")


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
        # The second signal interrupts anyway: a write to a stopped terminal may hang.
        if not self._holds or self._is_due:
            self._interrupt()
        self._is_due = True

    def _interrupt(self) -> NoReturn:
        for number in self._numbers:
            signal.signal(number, signal.SIG_IGN)  # Nothing interrupts the clean-up.
        self._is_due = False
        raise KeyboardInterrupt

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within the context, nothing is raised but for a second signal; at the end, what came meanwhile."""
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
