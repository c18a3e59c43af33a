"""`hubcli fetch`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from hubcli.archive.members import Limits
from hubcli.cli.completion_hints import BUILT_IN, CompletionHint
from hubcli.cli.options import (
    AsJson,
    CacheDir,
    CaFile,
    Color,
    Debug,
    MinRate,
    Mirrors,
    NoColor,
    NoProgress,
    NoSync,
    Offline,
    Quiet,
    Timeout,
)
from hubcli.cli.output import Output
from hubcli.config.settings import DEFAULT_CONNECTIONS, DEFAULT_JOBS, DEFAULT_RETRIES, Settings
from hubcli.errors import UsageError
from hubcli.units import format_size, parse_duration_s, parse_size_bytes

if TYPE_CHECKING:
    from hubcli.fetching.options import FetchOptions

__all__ = ["fetch_command"]

_LIMITS = "Limits, for archives that you trust"
_DEFAULTS = Limits()
_MAX_UNPACKED = format_size(_DEFAULTS.unpacked_bytes).replace(" ", "")
_MAX_HEADERS = format_size(_DEFAULTS.header_bytes).replace(" ", "")

Handles: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(metavar="[HANDLE...]", help="What to fetch.", show_default=False),
    CompletionHint(handles=True, files=True, words=(BUILT_IN,)),
]
Lists: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--requirement",
        "-r",
        metavar="FILE|-",
        help="Fetch what this list names, a handle a line. Repeatable.",
        show_default=False,
    ),
]
Jobs: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=32,
        metavar="N",
        help=f"So many models at a time. \\[default: {DEFAULT_JOBS}]",
        show_default=False,
    ),
]
LockOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--lock", metavar="FILE", help="Write down which bytes each model has.", show_default=False),
]
Locked: TypeAlias = Annotated[
    bool, typer.Option("--locked", help="Fetch exactly what the lock file says: --lock FILE, or -r FILE.")
]
FetchDryRun: TypeAlias = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be fetched and how large it is, fetch nothing.")
]
Local: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="FILE|DIR|-",
        help="Put this archive or directory under the handle.",
        show_default=False,
    ),
]
Sha256: TypeAlias = Annotated[
    str | None, typer.Option(metavar="HEX", help="The hash the archive must have.", show_default=False)
]
Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Fetch again, replace what is cached.")]
Refresh: TypeAlias = Annotated[
    bool, typer.Option("--refresh", help="Ask whether a handle without a version means another model now.")
]
KaggleHubLink: TypeAlias = Annotated[
    bool, typer.Option("--kagglehub", help="Let kagglehub find it too, if it is on Kaggle.")
]
Pin: TypeAlias = Annotated[bool, typer.Option("--pin", help="Keep it from hubcli gc.")]
Connections: TypeAlias = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=64,
        metavar="N",
        help=f"Fetch a large archive over so many at once. \\[default: {DEFAULT_CONNECTIONS}]",
        show_default=False,
    ),
]
RetriesOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--retries",
        min=0,
        metavar="N",
        help=f"Bear so many failures in a row that may pass. \\[default: {DEFAULT_RETRIES}]",
        show_default=False,
    ),
]
LockTimeout: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Wait so long for another process that makes no progress. \\[default: 10m]",
        show_default=False,
    ),
]
MaxUnpacked: TypeAlias = Annotated[
    str, typer.Option(metavar="SIZE", help="Bytes of all files.", rich_help_panel=_LIMITS)
]
MaxMembers: TypeAlias = Annotated[
    int, typer.Option(min=1, metavar="N", help="Files and directories.", rich_help_panel=_LIMITS)
]
MaxPathLength: TypeAlias = Annotated[
    int, typer.Option(min=1, metavar="N", help="Bytes of a path.", rich_help_panel=_LIMITS)
]
MaxDepth: TypeAlias = Annotated[
    int, typer.Option(min=1, metavar="N", help="Directories within each other.", rich_help_panel=_LIMITS)
]

MaxHeaders: TypeAlias = Annotated[
    str, typer.Option(metavar="SIZE", help="Bytes of extension headers.", rich_help_panel=_LIMITS)
]


def fetch_command(
    handles: Handles = None,
    lists: Lists = None,
    jobs: Jobs = None,
    lock: LockOption = None,
    locked: Locked = False,
    dry_run: FetchDryRun = False,
    local: Local = None,
    sha256: Sha256 = None,
    force: Force = False,
    refresh: Refresh = False,
    pin: Pin = False,
    kagglehub: KaggleHubLink = False,
    mirror: Mirrors = None,
    cacert: CaFile = None,
    connections: Connections = None,
    retries: RetriesOption = None,
    timeout: Timeout = None,
    min_rate: MinRate = None,
    lock_timeout: LockTimeout = None,
    max_unpacked: MaxUnpacked = _MAX_UNPACKED,
    max_members: MaxMembers = _DEFAULTS.members,
    max_path_length: MaxPathLength = _DEFAULTS.path_bytes,
    max_depth: MaxDepth = _DEFAULTS.path_depth,
    max_headers: MaxHeaders = _MAX_HEADERS,
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
    """Fetch models into the cache and print their paths.

    A HANDLE is a tfhub.dev, Kaggle or any other https:// address of a SavedModel,
    a local archive, or example://mul/1, which is built in.

    Examples:
    hubcli fetch example://mul/1
    hubcli fetch https://tfhub.dev/spotify/basic-pitch/1 --pin
    hubcli fetch -r models.txt --lock models.lock --jobs 4
    hubcli fetch --locked -r models.lock --offline
    hubcli fetch https://tfhub.dev/a/b/1 --from ./b-1.tar.gz
    """
    from hubcli.cli.signals import reduce_garbage_collection

    reduce_garbage_collection()
    from hubcli.cli.fetch_run import FetchRun
    from hubcli.commands.fetch import FetchOptions
    from hubcli.fetching.requirements import RequestList, models_of

    settings = Settings.read(
        cache_dir=cache_dir,
        offline=offline,
        mirrors=mirror or (),
        ca_file=cacert,
        timeout_s=None if timeout is None else parse_duration_s(timeout),
        lock_timeout_s=None if lock_timeout is None else parse_duration_s(lock_timeout),
        connections=connections,
        retries=retries,
        jobs=jobs,
        color=color,
        no_color=no_color,
        min_rate=min_rate,
        no_progress=no_progress,
        no_sync=no_sync,
    )
    limits = Limits(
        parse_size_bytes(max_unpacked),
        max_members,
        max_path_length,
        max_depth,
        parse_size_bytes(max_headers),
    )
    options = FetchOptions(
        local=local,
        sha256=sha256.lower() if sha256 else None,
        force=force,
        pin=pin,
        refresh=refresh,
        kagglehub=kagglehub,
        limits=limits,
        connections=settings.connections,
        retries=settings.retries,
    )
    handles, lists = handles or [], lists or []
    _require_fitting(handles, lists, options)
    output = Output.of(settings, as_json=as_json, quiet=quiet)
    order = RequestList.of(handles, lists, options.sha256)
    models, lock_file = models_of(order, lock, locked=locked)
    if dry_run:
        from hubcli.cli.fetch_dry_run import FetchDryRun

        raise typer.Exit(FetchDryRun(settings, options, output, debug, jobs=settings.jobs).run_all(models))
    run = FetchRun(settings, options, output, debug, jobs=settings.jobs, lock=lock_file)
    raise typer.Exit(run.fetch_all(models))


def _require_fitting(handles: Sequence[str], lists: Sequence[str], options: FetchOptions) -> None:
    """Raises UsageError where there is nothing to fetch, or more than the options are for."""
    if not handles and not lists:
        raise UsageError("There is nothing to fetch", hint="Name a HANDLE, or a list of them with -r FILE.")
    if (len(handles) > 1 or lists) and (options.local or options.sha256):
        raise UsageError(
            f"{'--from' if options.local else '--sha256'} takes exactly one handle",
            hint="Run hubcli fetch once for each.",
        )
