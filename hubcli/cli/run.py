"""Runs a command, turns every failure into a message and an exit status."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress

from hubcli.cli.help_output import help_output
from hubcli.cli.interrupts import turn_signals_into_interrupts
from hubcli.cli.output import Output, error_document
from hubcli.errors import BrokenPipe, ExitStatus, HubcliError, Interrupted, OutputError, UsageError

__all__ = ["run"]

_SHELL_OPTIONS = ("--install-completion", "--show-completion")


def run(argv: Sequence[str]) -> int:
    """Runs the command line and returns the exit status of the process."""
    _prepare_streams()
    turn_signals_into_interrupts()
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
    # The command line may not have been parsed: these two are looked up in its words.
    output = Output(as_json="--json" in argv, no_color="--no-color" in argv)
    with suppress(BrokenPipe, OutputError):
        if "--debug" in argv:
            output.trace(error)
        output.error(error)
        if output.as_json:
            partial = error.partial if isinstance(error, Interrupted) else {}
            output.document({**partial, "error": error_document(error)})
    return int(error.exit_status)


def _prepare_streams() -> None:
    """Lets paths that are no valid text pass through as the bytes that they are."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="surrogateescape")
