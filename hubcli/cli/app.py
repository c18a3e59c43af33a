"""The Typer application, one command a file, put together here."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from inspect import getdoc
from types import MappingProxyType
from typing import Annotated

import typer

from hubcli import __version__
from hubcli.cli.main import LazyImports, restore_garbage_collection
from hubcli.cli.options import CompletionWords, value_option, with_option_groups
from hubcli.cli.output import Output

with LazyImports():
    from hubcli.cli.completion import SHELLS, install_completion, script_of, shell_called
    from hubcli.config.user_directories import ShellHomes

__all__ = ["COMMANDS", "GROUPS", "app_of"]

# The commands in their order, under the titles of the help of hubcli, with the first line of their own help:
# to import them all for it would take 8 ms.
GROUPS = MappingProxyType(
    {
        "Find models": {
            "search": "Find SavedModels on Kaggle or on another host.",
            "versions": "List the versions of a model, and which are cached.",
            "info": "Show description, license and usage of a model.",
        },
        "Get models": {"fetch": "Fetch models into the cache and print their paths."},
        "Look inside models": {
            "inspect": "Show signatures, functions and variables of a model.",
            "run": "Run a signature or function of a model.",
            "verify": "Check models against their checksums.",
        },
        "Make models": {
            "export": "Export a model as a directory, an archive, LiteRT or ONNX.",
            "finetune-export": "Export a fine-tuned model as a drop-in replacement.",
            "publish": "Publish a model on Kaggle, in a directory or in a bucket.",
        },
        "Manage the cache": {
            "ls": "List cached models.",
            "gc": "Remove leftovers, and models by age, size or free space.",
            "rm": "Remove models from the cache.",
            "pin": "Protect models from gc.",
            "unpin": "Remove the protection of pinned models.",
        },
        "Share models": {
            "push": "Push models to a shared tier.",
            "tier": "List, verify, clean up or measure a shared tier.",
        },
        "Diagnose problems": {"doctor": "Diagnose download and load problems."},
    }
)
# Each with its module; the function there has its name, and _command behind it.
_OTHER_MODULES = {"rm": "gc", "unpin": "pin"}
COMMANDS = MappingProxyType(
    {name: _OTHER_MODULES.get(name, name.replace("-", "_")) for names in GROUPS.values() for name in names}
)
_GROUP_OF = {name: group for group, names in GROUPS.items() for name in names}

_EXAMPLES = """\
Examples:
hubcli fetch https://tfhub.dev/spotify/basic-pitch/1
hubcli inspect example://mul/1
hubcli finetune-export example://mul/1 ./tuned --weights w.npz
"""


def app_of(*names: str, others: str | None = None) -> typer.Typer:
    """The application with these commands, or with all. A run needs one: each other costs it 3 ms.

    `others` has the other commands there too, without their options: with "summaries", which the help of
    hubcli itself shows, or with "names" alone, which tell a command that isn't known from one that is.
    """
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
    for name in COMMANDS:
        if name in names or (others is None and not names):
            _add(app, name)
        elif others is not None:
            _announce(app, name, with_summary=others == "summaries")
    return app


def _print_version(is_requested: bool) -> None:
    if is_requested:
        Output().payload(f"hubcli {__version__}")
        raise typer.Exit


def _show_completion(name: str | None) -> None:
    if name is not None:
        Output().payload(script_of(shell_called(name)))
        raise typer.Exit


def _install_completion(name: str | None) -> None:
    if name is not None:
        installed = install_completion(shell_called(name), ShellHomes.read())
        output = Output()
        if installed.startup is not None:
            output.say(f"Added to {installed.startup}")
        output.say("Restart the shell to use it")
        output.payload(str(installed.script))
        raise typer.Exit


def root(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", help="Print the version.", callback=_print_version, is_eager=True),
    ] = False,
    install_completion: Annotated[
        str | None,
        value_option(
            "[SHELL]",
            "Install completion for the current shell, or for SHELL.",
            callback=_install_completion,
            is_eager=True,
        ),
        CompletionWords(lambda: SHELLS),
    ] = None,
    show_completion: Annotated[
        str | None,
        value_option(
            "[SHELL]",
            "Print the completion script of the current shell, or of SHELL.",
            callback=_show_completion,
            is_eager=True,
        ),
        CompletionWords(lambda: SHELLS),
    ] = None,
) -> None:
    """Find, fetch, inspect, run, verify, export and fine-tune TensorFlow SavedModels."""
    restore_garbage_collection()


def _add(app: typer.Typer, name: str) -> None:
    """The docstring is the help; the lines behind `Examples:` in it come last, as they are typed."""
    command = _function(name)
    text, _, examples = (getdoc(command) or "").partition("\n\nExamples:\n")
    # A line break within a paragraph would be kept at every width of the terminal.
    text = "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    lines = [line.strip().replace("[", "\\[") for line in examples.splitlines() if line.strip()]
    epilog = "\n".join(["Examples:", *lines]) if lines else None
    app.command(name, help=text, epilog=epilog, rich_help_panel=_GROUP_OF[name])(with_option_groups(command))


def _announce(app: typer.Typer, name: str, *, with_summary: bool) -> None:
    group = _GROUP_OF[name]
    app.command(name, help=GROUPS[group][name] if with_summary else None, rich_help_panel=group)(lambda: None)


def _function(name: str) -> Callable[..., None]:
    command: Callable[..., None] = getattr(
        import_module(f"hubcli.cli.{COMMANDS[name]}"), f"{name.replace('-', '_')}_command"
    )
    return command
