"""`hubcli ls`: options, run, and what it shows: the columns of the table and the keys of the JSON."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

import typer

from hubcli.cli.main import LazyImports, disable_garbage_collection
from hubcli.cli.options import CompletionWords, GlobalOptions, argument, option, value_option
from hubcli.cli.output import Output, errors_document, printable
from hubcli.config.settings import Settings
from hubcli.errors import HubcliError, NotFoundError, UsageError

with LazyImports():
    from hubcli.cache.catalog import CachedModelInfo, EntryState
    from hubcli.cli.tables import Column, Style, render_table
    from hubcli.commands.ls import Filter, Listing, SortOrder, cached_path, ls
    from hubcli.fetching.model_ref import Pattern
    from hubcli.units import format_age, format_size, plural, to_iso_utc

__all__ = ["listing_document", "ls_command", "show_listing"]


Patterns: TypeAlias = Annotated[
    list[str] | None, argument("[PATTERN...]", "Handles or globs such as '*bert*'.")
]
Sort: TypeAlias = Annotated[
    str,
    option("Sort by name, size, fetched or used.", metavar="KEY[:asc|:desc]"),
    CompletionWords(lambda: SortOrder.words()),
]
Filters: TypeAlias = Annotated[
    list[str] | None,
    value_option(
        "CONDITION",
        "Filter such as 'size>1GB', 'used>30d', 'kind=TF2' or 'state!=ok'. Repeatable.",
        "--filter",
    ),
    CompletionWords(lambda: Filter.words()),
]
Limit: TypeAlias = Annotated[int | None, value_option("N", "Show at most N models.", min=0)]
OnlyPath: TypeAlias = Annotated[bool, option("Print only the path of the model or the cache.", "--path")]
OnlySize: TypeAlias = Annotated[bool, option("Print only the total size (with -q: in bytes).", "--size")]


def ls_command(
    shared: GlobalOptions,
    patterns: Patterns = None,
    sort: Sort = "name",
    filters: Filters = None,
    limit: Limit = None,
    path: OnlyPath = False,
    size: OnlySize = False,
) -> None:
    """List cached models.

    Examples:
    hubcli ls
    hubcli ls '*bert*' --sort size
    hubcli ls --filter 'size>1GB' --filter 'used>30d'
    hubcli ls -q --filter state=incomplete
    hubcli ls --path example://mul/1
    hubcli ls --size '*bert*'
    """
    disable_garbage_collection()
    settings = shared.settings()
    output = shared.output(settings)
    if path:
        _require_alone(size, filters, limit)
        raise typer.Exit(_PathRun(settings, output).show(patterns or ()))
    listing = ls(
        settings,
        patterns or (),
        filters=[Filter.parse(text) for text in filters or ()],
        sort=SortOrder.parse(sort),
        limit=limit,
    )
    if size:
        _show_size(listing, output)
    elif shared.as_json:
        output.document(listing_document(listing))
    elif shared.quiet:
        _show_names(listing, output)
    else:
        suggestion = Pattern.suggestion(patterns[0]) if patterns and len(patterns) == 1 else ""
        show_listing(listing, output, narrowed=bool(patterns or filters), suggestion=suggestion)


def _require_alone(size: bool, filters: list[str] | None, limit: int | None) -> None:
    """Raises UsageError for options that --path has no use for."""
    others = {"--size": size, "--filter": bool(filters), "--limit": limit is not None}
    for name, is_given in others.items():
        if is_given:
            raise UsageError(f"--path and {name} cannot be used together", hint="Use only one of them.")


class _PathRun:
    """A run of `hubcli ls --path`: directories of cached models alone; a glob may name several models."""

    def __init__(self, settings: Settings, output: Output) -> None:
        self.settings = settings
        self.output = output
        self.paths: list[str] = []
        self.errors: list[tuple[str | None, HubcliError]] = []

    def show(self, targets: Sequence[str]) -> int:
        """Prints a path for each, or that of the cache without any; the first failure's status, or 0."""
        for target in targets:
            self._look_up(target)
        root = str(self.settings.cache_root)
        if self.output.as_json:
            errors = errors_document(self.errors)
            self.output.document({"cache_dir": root, "paths": self.paths, **errors})
        elif self.paths or not targets:
            self.output.payload("\n".join(self.paths or [root]))
        return int(self.errors[0][1].exit_status) if self.errors else 0

    def _look_up(self, target: str) -> None:
        try:
            self.paths += self._paths_of(target)
        except HubcliError as error:
            self.errors.append((target, error))
            self.output.error(error)

    def _paths_of(self, target: str) -> list[str]:
        is_glob = any(character in target for character in "*[") or target.endswith("?")
        if not is_glob:
            return [str(cached_path(target, self.settings))]
        models = ls(self.settings, [target]).models
        paths = [str(model.path) for model in models if model.state in (EntryState.OK, EntryState.UNKNOWN)]
        if not paths:
            raise NotFoundError(f"Not in the cache: {target}", hint="See: hubcli ls")
        return paths


def show_listing(listing: Listing, output: Output, *, narrowed: bool, suggestion: str = "") -> None:
    """Writes the table and its total; `narrowed` says that patterns or filters left something out.

    The suggestion, where there is one, is behind the note that nothing fits.
    """
    if not listing.models:
        what = "No matches in the cache" if narrowed and listing.matched == 0 else "The cache is empty"
        output.note(f"{what}: {listing.root}{suggestion if listing.matched == 0 else ''}")
    else:
        now_s = time.time()
        rows = [_row(model, now_s) for model in listing.models]
        output.payload(render_table(_columns(), rows, Style.of(output)))
        output.payload(_total(listing))
    if listing.leftovers:
        others = plural(listing.leftovers, "more model")
        output.note(f"Interrupted downloads left files of {others}")


def _show_names(listing: Listing, output: Output) -> None:
    """Writes handles, and the keys of entries whose handle is unknown; not what is foreign."""
    names = [
        printable(model.handle or model.name)
        for model in listing.models
        if model.state is not EntryState.FOREIGN
    ]
    if names:
        output.payload("\n".join(names))


def _show_size(listing: Listing, output: Output) -> None:
    """Writes the size of all that fit, and nothing else: for a person, with `--quiet` in bytes."""
    if output.as_json:
        document = listing_document(listing)
        output.document({key: value for key, value in document.items() if key != "models"})
    else:
        output.payload(str(listing.size_bytes) if output.quiet else format_size(listing.size_bytes))


def _columns() -> tuple[Column, ...]:
    return (
        Column("HANDLE", stretches=True),
        Column("SIZE", right=True),
        Column("KIND"),
        Column("FETCHED", right=True, min_width=100),
        Column("USED", right=True),
        Column("STATE", full_width=120, styles={"ok": "green", "incomplete": "red", "downloading": "cyan"}),
    )


def _row(model: CachedModelInfo, now_s: float) -> tuple[str, ...]:
    record, use, size_bytes = model.record, model.last_use, model.size_bytes
    handle: str | None
    kind: str | None
    fetched_at_s: float | None
    if record is not None:  # The usual case, without properties: a large cache has ten thousand rows.
        handle, kind, fetched_at_s = record.handle, record.shape.kind, record.fetched_at_s
    else:
        handle, kind, fetched_at_s = model.handle, model.kind, model.fetched_at_s
    return (
        printable(handle or model.name),
        "-" if size_bytes is None else format_size(size_bytes),
        printable(kind or "-"),
        "-" if fetched_at_s is None else format_age(now_s - fetched_at_s),
        "-" if use is None else format_age(now_s - use.at_s),
        _state(model),
    )


def _state(model: CachedModelInfo) -> str:
    pinned = ", pinned" if model.is_pinned else ""
    if model.state is EntryState.OK:
        return f"ok{pinned}"
    if model.state is EntryState.DOWNLOADING:
        return printable(f"downloading{pinned} by {model.holder}")
    if model.state is EntryState.GUTTED:
        return printable(f"incomplete{pinned}: {model.problem}")
    if model.state is EntryState.UNKNOWN:
        return f"unknown handle{pinned}"
    return f"{model.state.value}{pinned}"


def _total(listing: Listing) -> str:
    part = f"{len(listing.models)} of " if len(listing.models) < listing.matched else ""
    noun = "entry" if listing.matched == 1 else "entries"  # Of which some may be foreign names.
    return f"{part}{listing.matched} {noun}, {format_size(listing.size_bytes)}"


def listing_document(listing: Listing) -> dict[str, Any]:
    """`hubcli ls --json`."""
    return {
        "cache_dir": str(listing.root),
        "models": [_model_document(model) for model in listing.models],
        "matched": listing.matched,
        "bytes": listing.size_bytes,
        "leftovers": listing.leftovers,
    }


def _model_document(model: CachedModelInfo) -> dict[str, Any]:
    return {
        "handle": model.handle,
        "aliases": list(model.aliases),
        "path": str(model.path),
        "state": model.state.value,
        "problem": model.problem,
        "holder": model.holder,
        "kind": model.kind,
        "format": model.format,
        "bytes": model.size_bytes,
        "fetched_at": None if model.fetched_at_s is None else to_iso_utc(model.fetched_at_s),
        "last_used_at": None if model.last_used_at_s is None else to_iso_utc(model.last_used_at_s),
        "last_used_by": None if model.last_used_by is None else model.last_used_by.value,
        "pinned": model.pinned,
        "tier": None if model.record is None else model.record.tier,
    }
