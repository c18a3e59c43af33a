"""`hubcli ls`."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from hubcli.cli.main import LazyImports, disable_garbage_collection
from hubcli.cli.options import (
    AsJson,
    CacheDir,
    Color,
    CompletionWords,
    Debug,
    NoColor,
    NoProgress,
    Offline,
    Quiet,
)
from hubcli.cli.output import Output, errors_document
from hubcli.config.settings import Settings
from hubcli.errors import HubcliError, NotFoundError, UsageError

with LazyImports():
    from hubcli.cache.catalog import EntryState
    from hubcli.cli.views.models import listing_document, show_listing, show_names, show_size
    from hubcli.commands.ls import Filter, SortOrder, cached_path, ls
    from hubcli.fetching.model_ref import Pattern

__all__ = ["ls_command"]


def _sort_orders() -> list[str]:
    return SortOrder.words()


def _filters() -> list[str]:
    return Filter.words()


def ls_command(
    patterns: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PATTERN...]", help="Handles or globs such as '*bert*'.", show_default=False),
    ] = None,
    sort: Annotated[
        str,
        typer.Option(metavar="KEY[:asc|:desc]", help="Sort by name, size, fetched or used."),
        CompletionWords(_sort_orders),
    ] = "name",
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="CONDITION",
            help="Filter such as 'size>1GB', 'used>30d', 'kind=TF2' or 'state!=ok'. Repeatable.",
            show_default=False,
        ),
        CompletionWords(_filters),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Show at most N models.", show_default=False)
    ] = None,
    path: Annotated[
        bool, typer.Option("--path", help="Print only the path of the model or the cache.")
    ] = False,
    size: Annotated[
        bool, typer.Option("--size", help="Print only the total size (with -q: in bytes).")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    offline: Offline = False,
    cache_dir: CacheDir = None,
    color: Color = None,
    no_color: NoColor = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
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
    settings = Settings.read(
        cache_dir=cache_dir, offline=offline, color=color, no_color=no_color, no_progress=no_progress
    )
    output = Output.of(settings, as_json=as_json, quiet=quiet)
    if path:
        _require_alone(size, filters, limit)
        raise typer.Exit(_PathRun(settings, output, debug).show(patterns or ()))
    listing = ls(
        settings,
        patterns or (),
        filters=[Filter.parse(text) for text in filters or ()],
        sort=SortOrder.parse(sort),
        limit=limit,
    )
    if size:
        show_size(listing, output)
    elif as_json:
        output.document(listing_document(listing))
    elif quiet:
        show_names(listing, output)
    else:
        suggestion = Pattern.suggestion(patterns[0]) if patterns and len(patterns) == 1 else ""
        show_listing(listing, output, narrowed=bool(patterns or filters), suggestion=suggestion)


def _require_alone(size: bool, filters: list[str] | None, limit: int | None) -> None:
    """Raises UsageError for options that --path has no use for."""
    others = {"--size": size, "--filter": bool(filters), "--limit": limit is not None}
    for option, is_given in others.items():
        if is_given:
            raise UsageError(f"--path and {option} cannot be used together", hint="Use only one of them.")


class _PathRun:
    """A run of `hubcli ls --path`: directories of cached models alone; a glob may name several models."""

    def __init__(self, settings: Settings, output: Output, debug: bool) -> None:
        self.settings = settings
        self.output = output
        self.debug = debug
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
            if self.debug:
                traceback.print_exception(error)
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
