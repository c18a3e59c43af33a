"""Runs a command, turns every failure into a message and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from shutil import get_terminal_size

from hubcli.cli.help_output import help_output
from hubcli.cli.interrupts import turn_signals_into_interrupts
from hubcli.cli.output import Output, error_document
from hubcli.errors import BrokenPipe, ExitStatus, HubcliError, Interrupted, OutputError, UsageError

__all__ = ["run"]

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
        from hubcli.cli.narrow_help import narrow_help

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
        from hubcli.cli.usage import usage_error

        raise usage_error(error, argv) from error
    if status == ExitStatus.INTERRUPTED:
        raise Interrupted("Interrupted")
    return int(status or 0)


def _with_shell(argv: Sequence[str]) -> list[str]:
    """The words, with a shell behind an option that may stand alone: Typer's options always take theirs."""
    if len(argv) != 1 or argv[0] not in _SHELL_OPTIONS:
        return list(argv)
    from hubcli.cli.shells import THIS_SHELL

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
    from hubcli.config_file import COLORS
    from hubcli.settings import color_choice, environment, read_config

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
    before = {name: os.environ.get(name) for name in variables}
    _set_variables(variables)
    try:
        yield
    finally:
        _set_variables(before)


def _set_variables(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _prepare_streams() -> None:
    """Lets paths that are no valid text pass through as the bytes that they are."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="surrogateescape")
