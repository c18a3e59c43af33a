"""The Typer application: one command a file, put together here."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from inspect import getdoc
from types import MappingProxyType
from typing import Annotated

import typer

from hubcli import __version__
from hubcli.cli.completion_hints import CompletionWords
from hubcli.cli.output import Output

__all__ = ["COMMANDS", "app_of"]

# The commands in their order, each with its module; the function there has its name, and _command behind it.
COMMANDS = MappingProxyType(
    {
        "fetch": "fetch",
        "ls": "ls",
        "inspect": "inspect",
        "run": "run",
        "verify": "verify",
        "export": "export",
        "finetune-export": "finetune_export",
        "gc": "gc",
        "rm": "rm",
        "pin": "pin",
        "unpin": "pin",
        "doctor": "doctor",
    }
)

_EXAMPLES = """\
Examples:
hubcli fetch https://tfhub.dev/spotify/basic-pitch/1
hubcli inspect example://mul/1
hubcli fetch --help
"""


def app_of(*names: str) -> typer.Typer:
    """The application with these commands, or with all. A run needs one: each other costs it 5 ms."""
    app = typer.Typer(
        name="hubcli",
        epilog=_EXAMPLES,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
        add_completion=False,  # The scripts are our own: see completions/.
        rich_markup_mode="rich",
    )
    app.callback()(root)
    for name in names or COMMANDS:
        _add(app, name)
    return app


def _shells() -> tuple[str, ...]:
    from hubcli.cli.completion import SHELLS

    return SHELLS


def _print_version(wanted: bool) -> None:
    if wanted:
        Output().payload(f"hubcli {__version__}")
        raise typer.Exit


def _show_completion(name: str | None) -> None:
    if name is not None:
        from hubcli.cli.completion import script_of, shell_called

        Output().payload(script_of(shell_called(name)))
        raise typer.Exit


def _install_completion(name: str | None) -> None:
    if name is not None:
        from hubcli.cli.completion import install_completion, shell_called
        from hubcli.config.settings import ShellHomes

        installed = install_completion(shell_called(name), ShellHomes.read())
        output = Output()
        if installed.startup is not None:
            output.say(f"{installed.startup} reads it")
        output.say("It works in each shell that is started from now on")
        output.payload(str(installed.script))
        raise typer.Exit


def root(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", help="Print the version.", callback=_print_version, is_eager=True),
    ] = False,
    install_completion: Annotated[
        str | None,
        typer.Option(
            metavar="[SHELL]",
            help="Install completion for the shell that runs this, or for the one named.",
            callback=_install_completion,
            is_eager=True,
            show_default=False,
        ),
        CompletionWords(_shells),
    ] = None,
    show_completion: Annotated[
        str | None,
        typer.Option(
            metavar="[SHELL]",
            help="Print that shell's completion script.",
            callback=_show_completion,
            is_eager=True,
            show_default=False,
        ),
        CompletionWords(_shells),
    ] = None,
) -> None:
    """Fetch, inspect, check, export, fine-tune and collect SavedModels, in the cache that hub.load reads."""


def _add(app: typer.Typer, name: str) -> None:
    """The docstring is the help; the lines behind `Examples:` in it come last, as they are typed."""
    module = import_module(f"hubcli.cli.{COMMANDS[name]}")
    command: Callable[..., None] = getattr(module, f"{name.replace('-', '_')}_command")
    text, _, examples = (getdoc(command) or "").partition("\n\nExamples:\n")
    lines = [line.strip().replace("[", "\\[") for line in examples.splitlines() if line.strip()]
    app.command(name, help=text, epilog="\n".join(["Examples:", *lines]) if lines else None)(command)
