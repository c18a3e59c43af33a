"""`hubcli gc`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, TypeAlias

import typer

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
    Yes,
)
from hubcli.cli.output import Output
from hubcli.config.settings import Settings
from hubcli.errors import UsageError
from hubcli.units import parse_duration_s, parse_size_bytes

__all__ = ["gc_command"]

_POLICY = "Models that may go, by any of these"

Patterns: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PATTERN...]", help="Only what fits one of these globs or handles.", show_default=False
    ),
]
OlderThan: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="Those not used for so long.", show_default=False, rich_help_panel=_POLICY
    ),
]
MaxSize: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="The least recently used, until the cache takes no more than this.",
        show_default=False,
        rich_help_panel=_POLICY,
    ),
]
MinFree: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="The least recently used, until the disk has so much free.",
        show_default=False,
        rich_help_panel=_POLICY,
    ),
]
KeepVersions: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="All but the newest N versions of each model.",
        show_default=False,
        rich_help_panel=_POLICY,
    ),
]
Broken: TypeAlias = Annotated[
    bool, typer.Option("--broken", help="Those that hubcli verify finds broken.", rich_help_panel=_POLICY)
]
Grace: TypeAlias = Annotated[
    str, typer.Option(metavar="TIME", help="Whatever was used or changed within so long stays.")
]
KeepPartial: TypeAlias = Annotated[
    str, typer.Option(metavar="TIME", help="Downloads that can be resumed stay for so long.")
]


def gc_command(
    patterns: Patterns = None,
    older_than: OlderThan = None,
    max_size: MaxSize = None,
    min_free: MinFree = None,
    keep_versions: KeepVersions = None,
    broken: Broken = False,
    grace: Grace = "1h",
    keep_partial: KeepPartial = "7d",
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
    """Collect what is of no use, and the models that you give up.

    Alone it removes what interrupted downloads left, and gutted models, and never asks.
    Pinned, locked and fresh models stay, and all that isn't the cache's.

    Examples:
    hubcli gc --dry-run
    hubcli gc --older-than 90d --max-size 20GB --dry-run
    hubcli gc --keep-versions 1 --yes '*bert*'
    """
    from hubcli.cache.gc.policy import Policy
    from hubcli.cli.gc_run import GcRun

    policy = Policy(
        older_than_s=None if older_than is None else _duration_s("--older-than", older_than),
        max_size_bytes=None if max_size is None else _size_bytes("--max-size", max_size),
        min_free_bytes=None if min_free is None else _size_bytes("--min-free", min_free),
        keep_versions=keep_versions,
        is_broken_wanted=broken,
        grace_s=_duration_s("--grace", grace),
        keep_partial_s=_duration_s("--keep-partial", keep_partial),
    )
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
    raise typer.Exit(run.collect(policy, patterns or ()))


def _duration_s(option: str, text: str) -> float:
    with _named(option):
        return parse_duration_s(text, needs_unit=True)


def _size_bytes(option: str, text: str) -> int:
    with _named(option):
        return parse_size_bytes(text, needs_unit=True)


@contextmanager
def _named(option: str) -> Iterator[None]:
    """Within, an error tells the option whose value it is about."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{option}: {error.message}", hint=error.hint) from error
