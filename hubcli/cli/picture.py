"""What a terminal shows, as a picture."""

from __future__ import annotations

import io
from pathlib import Path

from hubcli.errors import OutputError

__all__ = ["PICTURE_COLUMNS", "write_svg"]

PICTURE_COLUMNS = 100


def write_svg(text: str, title: str, file: Path) -> None:
    """Writes the styled text as an SVG file; raises OutputError where it can't be written."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, file=io.StringIO(), width=PICTURE_COLUMNS, force_terminal=True)
    console.print(Text.from_ansi(text), soft_wrap=False)
    picture = console.export_svg(title=title, unique_id="hubcli")
    try:
        file.write_text(picture, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{file} can't be written: {error.strerror}", hint="Name another file.") from error
