"""`hubcli verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from hubcli.cli.options import (
    AsJson,
    CacheDir,
    Color,
    Debug,
    NoColor,
    NoProgress,
    NoSync,
    Offline,
    Quiet,
)
from hubcli.cli.output import Output
from hubcli.config.settings import Settings

__all__ = ["verify_command"]


def verify_command(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TARGET...]",
            help="Handles, directories or archives; all of the cache where none is named.",
            show_default=False,
        ),
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Fetch broken entries again.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Don't hash shards: the checksums of their tensors must do.")
    ] = False,
    no_sync: NoSync = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    offline: Offline = False,
    cache_dir: CacheDir = None,
    color: Color = None,
    no_color: NoColor = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Check that models are whole: every file, tensor and asset.

    Files are compared with the record of the download, tensors with their checksums.
    Exits with 9 where something is broken.

    Examples:
    hubcli verify
    hubcli verify example://mul/1 --quick
    hubcli verify --repair
    hubcli verify ./model.tar.gz --json
    """
    from hubcli.cli.signals import disable_garbage_collection

    disable_garbage_collection()
    from hubcli.cli.verify_run import VerifyRun
    from hubcli.commands.verify import VerifyOptions

    settings = Settings.read(
        cache_dir=cache_dir,
        offline=offline,
        color=color,
        no_color=no_color,
        no_progress=no_progress,
        no_sync=no_sync,
    )
    output = Output.of(settings, as_json=as_json, quiet=quiet)
    raise typer.Exit(
        VerifyRun(settings, VerifyOptions(quick, repair), output, debug).verify_all(targets or ())
    )
