"""`hubcli search`: options, run, and what it shows: the columns of the table and the keys of the JSON."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from hubcli.cli.main import LazyImports, disable_garbage_collection
from hubcli.cli.options import (
    CaFile,
    CompletionHint,
    CompletionWords,
    GlobalOptions,
    Timeout,
    argument,
    option,
    value_option,
)
from hubcli.cli.output import Output, printable
from hubcli.config.settings import Settings
from hubcli.units import format_age, format_size, parse_size_bytes, to_iso_utc

with LazyImports():
    from hubcli.cli.progress import listener_for
    from hubcli.cli.tables import Column, Style, render_table
    from hubcli.commands.search import ORDERS, SearchQuery, SearchResult, framework_named, search
    from hubcli.publishing.listings import ModelHit

__all__ = ["Refresh", "note_age", "search_command", "time_or_none"]


Words: TypeAlias = Annotated[list[str] | None, argument("[QUERY...]", "Words to search for; all must match.")]
Owner: TypeAlias = Annotated[str | None, value_option("NAME", "Show only models of this publisher.")]
Framework: TypeAlias = Annotated[
    str | None,
    value_option("NAME", "Show only models of tensorFlow2 or tensorFlow1. \\[default: both]"),
    CompletionHint(words=("tensorFlow2", "tensorFlow1")),
]
MaxSize: TypeAlias = Annotated[str | None, value_option("SIZE", "Show only models up to this size.")]
Sort: TypeAlias = Annotated[
    str | None,
    value_option(
        "KEY",
        "Sort by hotness, downloads, votes, created, updated, name or size. "
        "\\[default: hotness; name with --host]",
    ),
    CompletionWords(lambda: ORDERS),
]
Limit: TypeAlias = Annotated[int, option("Show at most N models.", metavar="N", min=1, max=1000)]
Host: TypeAlias = Annotated[
    str | None,
    value_option("URL|DIR", "Search the index of this host or directory instead of Kaggle."),
    CompletionHint(directories=True),
]
Refresh: TypeAlias = Annotated[
    bool, option("Ask the host again, even if a recent answer is cached.", "--refresh")
]


def search_command(
    shared: GlobalOptions,
    query: Words = None,
    owner: Owner = None,
    framework: Framework = None,
    max_size: MaxSize = None,
    sort: Sort = None,
    limit: Limit = 20,
    host: Host = None,
    refresh: Refresh = False,
    timeout: Timeout = None,
    cacert: CaFile = None,
) -> None:
    """Find SavedModels on Kaggle or on another host.

    Answers are cached for 10 minutes; with --offline, older ones are used, too.

    Examples:
    hubcli search text embedding
    hubcli search --owner google --sort downloads --max-size 50MB
    hubcli search mobilenet -q --limit 3
    hubcli search bert --host https://models.example.com
    """
    disable_garbage_collection()
    settings = shared.settings(timeout=timeout, ca_file=cacert)
    output = shared.output(settings)
    search_query = SearchQuery(
        " ".join(query or ()),
        owner,
        None if framework is None else framework_named(framework),
        None if max_size is None else parse_size_bytes(max_size, needs_unit=True),
        sort,
        limit,
        _host(host),
    )
    with listener_for(output, patience_s=0.5) as listener:
        result = search(search_query, settings, listener, refresh=refresh)
    if shared.as_json:
        output.document(_document(search_query, result))
    elif shared.quiet:
        if result.hits:
            output.payload("\n".join(printable(hit.handle) for hit in result.hits))
    else:
        _show(result, search_query, output, settings)


def _host(text: str | None) -> str | None:
    """The address, or the absolute path of a directory."""
    return text if text is None or "://" in text else str(Path(text).expanduser().absolute())


def _show(result: SearchResult, search_query: SearchQuery, output: Output, settings: Settings) -> None:
    """Writes the table; notes say if it comes from the cache, and what it leaves out."""
    note_age(result.cached_at_s, output, settings)
    if not result.hits:
        output.note(f"No matching models on {result.source}")
    else:
        now_s = time.time()
        rows = [_row(hit, now_s, in_full=search_query.host is not None) for hit in result.hits]
        # A host's index tells less than Kaggle.
        filled = [place for place in range(len(_COLUMNS)) if any(row[place] != "-" for row in rows)]
        columns = [Column(_COLUMNS[place][0], **_COLUMNS[place][1]) for place in filled]
        cells = [[row[place] for place in filled] for row in rows]
        output.payload(render_table(columns, cells, Style.of(output)))
    if result.is_complete:
        return
    if len(result.hits) < search_query.limit:
        output.note("Not all models were searched: add words, or use --owner NAME")
    else:
        output.note("More models match: use --limit N, or add words")


_COLUMNS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("HANDLE", {"stretches": True}),
    ("TITLE", {"min_width": 100}),
    ("SIZE", {"right": True}),
    ("LICENSE", {"min_width": 120}),
    ("VOTES", {"right": True}),
    ("DOWNLOADS", {"right": True, "min_width": 110}),
    ("UPDATED", {"right": True}),
)


def note_age(cached_at_s: float | None, output: Output, settings: Settings) -> None:
    """Notes the age of a cached answer that is shown offline."""
    if settings.offline and cached_at_s is not None:
        output.note(f"Offline: showing an answer from {to_iso_utc(cached_at_s)}")


def _row(hit: ModelHit, now_s: float, *, in_full: bool) -> tuple[str, ...]:
    """The cells of a model; `in_full` shows the handle of another host, whose short name no command takes."""
    return (
        printable(hit.handle if in_full else hit.name),
        printable(_shortened(hit.title)) or "-",
        "-" if hit.size_bytes is None else format_size(hit.size_bytes),
        printable(_shortened(hit.license or "-")),
        _count(hit.votes),
        _count(hit.downloads),
        "-" if hit.updated_s is None else format_age(now_s - hit.updated_s),
    )


_MAX_SHOWN = 40


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…"


def _count(number: int | None) -> str:
    return "-" if number is None else str(number)


def _document(search_query: SearchQuery, result: SearchResult) -> dict[str, Any]:
    """`hubcli search --json`."""
    return {
        "query": search_query.words,
        "source": result.source,
        "models": [
            {
                "handle": hit.handle,
                "title": hit.title,
                "subtitle": hit.subtitle,
                "owner": hit.owner,
                "framework": hit.framework,
                "version": hit.version,
                "bytes": hit.size_bytes,
                "license": hit.license,
                "votes": hit.votes,
                "downloads": hit.downloads,
                "updated_at": time_or_none(hit.updated_s),
            }
            for hit in result.hits
        ],
        "complete": result.is_complete,
        "cached_at": time_or_none(result.cached_at_s),
    }


def time_or_none(moment_s: float | None) -> str | None:
    """The time as documents have it."""
    return None if moment_s is None else to_iso_utc(moment_s)
