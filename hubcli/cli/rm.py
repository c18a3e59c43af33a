"""`hubcli rm`."""

from __future__ import annotations

from typing import Annotated

import typer

from hubcli.cli.main import LazyImports, disable_garbage_collection
from hubcli.cli.options import (
    AsJson,
    CacheDir,
    Color,
    Debug,
    DryRun,
    NoColor,
    NoProgress,
    NoSync,
    Offline,
    Quiet,
    Targets,
    Yes,
)
from hubcli.cli.output import Output
from hubcli.config.settings import Settings

with LazyImports():
    from hubcli.cli.gc import GcRun

__all__ = ["rm_command"]


def rm_command(
    targets: Targets,
    force: Annotated[bool, typer.Option("--force", help="Remove pinned models too.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
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
    """Remove models from the cache.

    Examples:
    hubcli rm example://mul/1
    hubcli rm '*bert*' --dry-run
    hubcli rm '*elmo*' --force --yes
    """
    disable_garbage_collection()
    settings = Settings.read(
        cache_dir=cache_dir,
        offline=offline,
        color=color,
        no_color=no_color,
        no_progress=no_progress,
        no_sync=no_sync,
    )
    output = Output.of(settings, as_json=as_json, quiet=quiet)
    run = GcRun(settings, output, dry_run=dry_run, yes=yes, debug=debug)
    raise typer.Exit(run.remove(targets, force=force))
