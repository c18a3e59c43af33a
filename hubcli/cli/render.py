"""Tables as text: aligned columns, coloured and folded for a terminal, plain for a pipe."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hubcli.cli.output import Output

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["Column", "render_table"]

# rich lays out some 5,000 rows a second: beyond this a person scrolls or greps.
_MAX_STYLED_ROWS = 500


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title and alignment, the terminal width from which it is shown or shown in full.

    Below `full_width` a cell ends where a colon and a space stand. A cell's first word chooses among
    `styles`.
    """

    title: str
    right: bool = False
    stretches: bool = False
    min_width: int = 0
    full_width: int = 0
    styles: Mapping[str, str] = field(default_factory=dict)


def render_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], output: Output) -> str:
    """The table as text, laid out for where the output goes."""
    if output.is_terminal and len(rows) <= _MAX_STYLED_ROWS:
        return _styled(columns, rows, output)
    return _plain(columns, rows)


def _plain(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    titled = [tuple(column.title for column in columns), *rows]
    widths = [max(map(len, cells)) for cells in zip(*titled, strict=True)]
    form = "  ".join(
        f"{{:{'>' if column.right else '<'}{width}}}" for column, width in zip(columns, widths, strict=True)
    )
    line = form.format
    return "\n".join([line(*cells).rstrip() for cells in titled])


def _styled(columns: Sequence[Column], rows: Sequence[Sequence[str]], output: Output) -> str:
    from rich.console import Console
    from rich.table import Table

    width = shutil.get_terminal_size().columns
    shown = [index for index, column in enumerate(columns) if width >= column.min_width]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in (columns[index] for index in shown):
        table.add_column(
            column.title,
            justify="right" if column.right else "left",
            overflow="fold",
            no_wrap=column.right,
            ratio=1 if column.stretches else None,
        )
    for cells in rows:
        table.add_row(*(_cell(columns[index], cells[index], width) for index in shown))
    buffer = io.StringIO()
    console = Console(
        file=buffer, width=width, force_terminal=True, no_color=output.no_color or None, highlight=False
    )
    console.print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())


def _cell(column: Column, text: str, width: int) -> Text:
    from rich.text import Text

    word = re.split(r"\W", text, maxsplit=1)[0]
    shown = text if width >= column.full_width else text.partition(": ")[0]
    return Text(shown, style=column.styles.get(word, ""))
