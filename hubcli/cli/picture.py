"""What a terminal shows, as a picture."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from hubcli.errors import OutputError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["PICTURE_COLUMNS", "svg_of", "write_svg"]

PICTURE_COLUMNS = 100


def write_svg(text: str, title: str, file: Path) -> None:
    """Writes the styled text as an SVG file; raises OutputError where it can't be written."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, file=io.StringIO(), width=PICTURE_COLUMNS, force_terminal=True)
    console.print(Text.from_ansi(text), soft_wrap=False)
    picture = svg_of(console, title, "hubcli")
    try:
        file.write_text(picture, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{file} can't be written: {error.strerror}", hint="Name another file.") from error


def svg_of(console: Console, title: str, name: str) -> str:
    """The SVG of what the console recorded; `name` begins the ids in it.

    rich cuts the picture close below the last line's letters, through what reaches lower, such as an
    underscore, and defines no rectangle for that line to be clipped to: an empty line takes its place.
    """
    console.print()
    return console.export_svg(title=title, unique_id=name)
