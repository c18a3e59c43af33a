"""`hubcli rm`."""

from __future__ import annotations

from typing import Annotated

import typer

from hubcli.cli.main import LazyImports, disable_garbage_collection
from hubcli.cli.options import DryRun, GlobalOptions, NoSync, Targets, Yes, option

with LazyImports():
    from hubcli.cli.gc import GcRun

__all__ = ["rm_command"]


def rm_command(
    shared: GlobalOptions,
    targets: Targets,
    force: Annotated[bool, option("Remove pinned models too.", "--force")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    no_sync: NoSync = False,
) -> None:
    """Remove models from the cache.

    Examples:
    hubcli rm example://mul/1
    hubcli rm '*bert*' --dry-run
    hubcli rm '*elmo*' --force --yes
    """
    disable_garbage_collection()
    settings = shared.settings(no_sync=no_sync)
    output = shared.output(settings)
    run = GcRun(settings, output, dry_run=dry_run, yes=yes)
    raise typer.Exit(run.remove(targets, force=force))
