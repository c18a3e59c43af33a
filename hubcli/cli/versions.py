"""`hubcli versions`: options, run, and what it shows."""

from __future__ import annotations

import time
from typing import Annotated, Any, TypeAlias

from hubcli.cli.main import LazyImports, disable_garbage_collection
from hubcli.cli.options import CaFile, CompletionHint, GlobalOptions, Timeout, argument, option
from hubcli.cli.output import Output, printable
from hubcli.cli.search import Refresh, note_age, time_or_none
from hubcli.config.settings import Settings
from hubcli.units import format_age, format_size, plural

with LazyImports():
    from hubcli.cli.progress import listener_for
    from hubcli.cli.tables import Column, Style, render_table
    from hubcli.commands.versions import ModelVersion, VersionList, versions

__all__ = ["versions_command"]

HandleArgument: TypeAlias = Annotated[
    str,
    argument("HANDLE", "A model on Kaggle, or on a host with an index."),
    CompletionHint(handles=True, directories=True),
]
Limit: TypeAlias = Annotated[int, option("Show at most N versions.", metavar="N", min=1, max=1000)]


def versions_command(
    shared: GlobalOptions,
    handle: HandleArgument,
    limit: Limit = 20,
    refresh: Refresh = False,
    timeout: Timeout = None,
    cacert: CaFile = None,
) -> None:
    """List the versions of a model, and which are cached.

    Examples:
    hubcli versions google/universal-sentence-encoder/tensorFlow2/lite
    hubcli versions https://models.example.com/maker/model
    """
    disable_garbage_collection()
    settings = shared.settings(timeout=timeout, ca_file=cacert)
    output = shared.output(settings)
    with listener_for(output, patience_s=0.5) as listener:
        found = versions(handle, settings, listener, limit=limit, refresh=refresh)
    if shared.as_json:
        output.document(_document(found))
    elif shared.quiet:
        if found.versions:
            output.payload("\n".join(printable(version.handle) for version in found.versions))
    else:
        _show(found, output, settings)


def _show(found: VersionList, output: Output, settings: Settings) -> None:
    note_age(found.cached_at_s, output, settings)
    if found.count is None:
        output.note("Offline: showing cached versions only")
    if not found.versions:
        output.note(f"No versions: {found.handle}")
        return
    columns = (
        Column("VERSION", right=True),
        Column("SIZE", right=True),
        Column("PUBLISHED", right=True),
        Column("CACHED", styles={"yes": "green"}),
        Column("HANDLE", stretches=True),
    )
    now_s = time.time()
    rows = [_row(version, now_s) for version in found.versions]
    output.payload(render_table(columns, rows, Style.of(output)))
    listed = sum(version.is_listed for version in found.versions)
    if found.count is not None and found.count > listed:
        output.note(f"Not shown: {plural(found.count - listed, 'older version')}. Use --limit N")


def _row(version: ModelVersion, now_s: float) -> tuple[str, ...]:
    cached = "-" if version.path is None else "yes" if version.is_listed else "yes, not listed by the host"
    return (
        version.version,
        "-" if version.size_bytes is None else format_size(version.size_bytes),
        "-" if version.published_s is None else format_age(now_s - version.published_s),
        cached,
        printable(version.handle),
    )


def _document(found: VersionList) -> dict[str, Any]:
    """`hubcli versions --json`."""
    return {
        "handle": found.handle,
        "versions": [
            {
                "handle": version.handle,
                "version": version.version,
                "bytes": version.size_bytes,
                "published_at": time_or_none(version.published_s),
                "cached": version.path is not None,
                "path": None if version.path is None else str(version.path),
                "listed": version.is_listed,
            }
            for version in found.versions
        ],
        "count": found.count,
        "cached_at": time_or_none(found.cached_at_s),
    }
