"""The options that every command has, defined once, and the settings that they give."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

__all__ = ["AsJson", "CacheDir", "Debug", "NoColor", "Offline", "Quiet"]

_PANEL = "Options of every command"

AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON document.", rich_help_panel=_PANEL)
]
Quiet: TypeAlias = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print paths or handles alone.", rich_help_panel=_PANEL)
]
Offline: TypeAlias = Annotated[
    bool, typer.Option("--offline", help="Send nothing. \\[env: HUBCLI_OFFLINE=1]", rich_help_panel=_PANEL)
]
CacheDir: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--cache-dir",
        metavar="DIR",
        help="The cache. \\[env: HUBCLI_CACHE_DIR, TFHUB_CACHE_DIR]",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
NoColor: TypeAlias = Annotated[
    bool, typer.Option("--no-color", help="No colours. \\[env: NO_COLOR]", rich_help_panel=_PANEL)
]
Debug: TypeAlias = Annotated[
    bool, typer.Option("--debug", help="Show tracebacks of errors.", rich_help_panel=_PANEL)
]
