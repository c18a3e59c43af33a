"""The Typer application: one command a file, put together here."""

from __future__ import annotations

from typing import Annotated

import typer

from hubcli import __version__
from hubcli.cli.doctor import doctor_command
from hubcli.cli.export import export_command
from hubcli.cli.fetch import fetch_command
from hubcli.cli.finetune_export import finetune_export_command
from hubcli.cli.gc import gc_command
from hubcli.cli.inspect import inspect_command
from hubcli.cli.ls import ls_command
from hubcli.cli.pin import pin_command, unpin_command
from hubcli.cli.rm import rm_command
from hubcli.cli.verify import verify_command

__all__ = ["app"]

app = typer.Typer(
    name="hubcli",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hubcli {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Fetch, inspect, check, export, fine-tune and collect SavedModels, in the cache that hub.load reads."""


app.command("fetch")(fetch_command)
app.command("ls")(ls_command)
app.command("inspect")(inspect_command)
app.command("verify")(verify_command)
app.command("export")(export_command)
app.command("finetune-export")(finetune_export_command)
app.command("gc")(gc_command)
app.command("rm")(rm_command)
app.command("pin")(pin_command)
app.command("unpin")(unpin_command)
app.command("doctor")(doctor_command)
