"""Tables as text: aligned columns, coloured and folded for a terminal, plain for a pipe."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hubcli.cli.output import Output

__all__ = ["Column", "render_table"]

# rich lays out some 5,000 rows a second: beyond this a person scrolls or greps.
_MAX_STYLED_ROWS = 500


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its title, alignment, the terminal width from which it is shown, styles by first word."""

    title: str
    right: bool = False
    stretches: bool = False
    min_width: int = 0
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
    return "\n".join(form.format(*cells).rstrip() for cells in titled)


def _styled(columns: Sequence[Column], rows: Sequence[Sequence[str]], output: Output) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

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
        table.add_row(
            *(
                Text(
                    cells[index],
                    style=columns[index].styles.get(
                        cells[index].split(",")[0].split(":")[0].split(" ")[0], ""
                    ),
                )
                for index in shown
            )
        )
    buffer = io.StringIO()
    console = Console(
        file=buffer, width=width, force_terminal=True, no_color=output.no_color or None, highlight=False
    )
    console.print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())
