"""`hubcli pin` and `hubcli unpin`."""

from __future__ import annotations

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
    Targets,
)
from hubcli.cli.output import Output
from hubcli.config.settings import Settings

__all__ = ["pin_command", "unpin_command"]


def pin_command(
    targets: Targets,
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
    """Keep models from hubcli gc, whatever its rules say; hubcli rm then needs --force.

    Examples:
    hubcli pin example://mul/1
    hubcli pin '*elmo*'
    """
    from hubcli.cli.pin_run import PinRun
    from hubcli.commands.pin import pin

    settings = Settings.read(
        cache_dir=cache_dir,
        offline=offline,
        color=color,
        no_color=no_color,
        no_progress=no_progress,
        no_sync=no_sync,
    )
    output = Output.of(settings, as_json=as_json, quiet=quiet)
    raise typer.Exit(PinRun(pin, settings, output, debug).run(targets))


def unpin_command(
    targets: Targets,
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
    """Let hubcli gc take the models again.

    Examples:
    hubcli unpin example://mul/1
    hubcli unpin '*bert*'
    """
    from hubcli.cli.pin_run import PinRun
    from hubcli.commands.pin import unpin

    settings = Settings.read(
        cache_dir=cache_dir,
        offline=offline,
        color=color,
        no_color=no_color,
        no_progress=no_progress,
        no_sync=no_sync,
    )
    output = Output.of(settings, as_json=as_json, quiet=quiet)
    raise typer.Exit(PinRun(unpin, settings, output, debug).run(targets))
