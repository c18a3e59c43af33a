"""Tables as text: aligned columns, coloured and folded for a terminal, plain for a pipe."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from hubcli.cli.output import Output

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["Column", "Style", "render_table"]

# rich lays out some 5,000 rows a second: beyond this a person scrolls or greps.
_MAX_STYLED_ROWS = 500
_ANY_WIDTH = 100_000
# Below it a column for handles has no room beside others.
_NARROW = 60


class Column(NamedTuple):
    """A column: its title and alignment, the terminal width from which it is shown or shown in full.

    Below `full_width` a cell ends where a colon and a space stand. A cell's first word chooses among
    `styles`.
    """

    title: str
    right: bool = False
    stretches: bool = False
    min_width: int = 0
    full_width: int = 0
    styles: Mapping[str, str] = MappingProxyType({})


class Style(NamedTuple):
    """How text is laid out: for how many columns (None: any), and whether control sequences may be in it."""

    width: int | None
    is_styled: bool
    has_color: bool
    has_unicode: bool = True

    @classmethod
    def of(cls, output: Output) -> Style:
        """The style that suits where the payload goes."""
        width = _terminal_columns() if output.is_terminal else None
        return cls(width, output.has_color, output.has_color, output.has_unicode)

    def paint(self, text: str, style: str) -> str:
        """The text in that style: `bold`, `dim`, or a colour."""
        if not self.is_styled or not text or (style in _COLORS and not self.has_color):
            return text
        return f"\x1b[{_COLORS.get(style) or _WEIGHTS[style]}m{text}\x1b[0m"

    def fold(self, text: str, indent: int, hanging: int = 2) -> list[str]:
        """The text in lines that fit, indented; further lines hang by some more columns."""
        first = " " * indent
        if self.width is None:
            return [first + text]
        import textwrap  # For a terminal alone, as is what measures it.

        lines = textwrap.wrap(
            re.sub(_KEPT_TOGETHER, lambda found: found[0].replace(" ", "\xa0"), text),
            max(self.width, indent + 20),
            initial_indent=first,
            subsequent_indent=" " * (indent + hanging),
            break_on_hyphens=False,
        )
        return [line.replace("\xa0", " ") for line in lines]

    def hang(self, begin: str, text: str) -> list[str]:
        """The text behind its beginning, in lines that fit; words, as paths are, aren't cut, however long."""
        if self.width is None:
            return [begin + text]
        import textwrap

        lines = textwrap.wrap(
            text,
            max(self.width, len(begin) + 20),
            initial_indent=begin,
            subsequent_indent=" " * len(begin),
            break_long_words=False,
            break_on_hyphens=False,
        )
        return [line.replace("\xa0", " ") for line in lines] or [begin]

    def hang_hint(self, begin: str, hint: str) -> list[str]:
        """The hint behind its beginning, in lines that fit; a command stays on one, so that it can be copied.

        Where it is longer than the line, the terminal breaks it, which copies such lines as one.
        """
        if self.width is None:
            return [begin + hint]
        return self.hang(begin, re.sub(_COMMAND, lambda found: found[0].replace(" ", "\xa0"), hint))

    @property
    def arrow(self) -> str:
        """From what goes in to what comes out."""
        return "→" if self.has_unicode else "->"


def _terminal_columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns


# Shapes, and a key with its value.
_KEPT_TOGETHER = r"\[[^\[\]]*\]|: "
# From the name of a program to where the sentence goes on.
_COMMAND = (
    r"\b(?:hubcli|pip|python(?= -)|rm|export(?= \w+=)|unset|chmod|openssl|timedatectl) "
    r"[^;,]+?(?=$|[;,] |\. | and | or )"
)
_COLORS = {"red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_WEIGHTS = {"bold": "1", "dim": "2"}


def render_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], style: Style) -> str:
    """The table as text, laid out for where it goes."""
    if style.width is not None and style.width < _NARROW and any(column.stretches for column in columns):
        return "\n".join(line for cells in rows for line in _stacked(columns, cells, style))
    if (style.is_styled or style.width is not None) and len(rows) <= _MAX_STYLED_ROWS:
        return _laid_out(columns, rows, style)
    return _plain(columns, rows)


def _plain(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    titled = [tuple(column.title for column in columns), *rows]
    widths = [max(map(len, cells)) for cells in zip(*titled, strict=True)]
    form = "  ".join(
        f"{{:{'>' if column.right else '<'}{width}}}" for column, width in zip(columns, widths, strict=True)
    )
    line = form.format
    return "\n".join([line(*cells).rstrip() for cells in titled])


def _stacked(columns: Sequence[Column], cells: Sequence[str], style: Style) -> Iterator[str]:
    """The row on lines of its own: what stretches, and below it the rest; a number tells its title."""
    assert style.width is not None
    painted_cells = []
    for column, text in zip(columns, cells, strict=True):
        if column.stretches:
            yield from _broken(text, style.width)
        elif text != "-" and style.width >= column.min_width:
            short_text = text.partition(": ")[0]
            title = f"{column.title.lower()} " if column.right and column.title != "SIZE" else ""
            word = re.split(r"\W", short_text, maxsplit=1)[0]
            painted_cells.append((f"{title}{short_text}", column.styles.get(word, "")))
    import textwrap

    # Colours take no room on the line.
    for line in textwrap.wrap(
        "  ".join(text.replace(" ", "\xa0") for text, _ in painted_cells), style.width - 2
    ):
        yield "  " + _painted(line.replace("\xa0", " "), painted_cells, style)


def _painted(line: str, painted_cells: Sequence[tuple[str, str]], style: Style) -> str:
    for text, name in painted_cells:
        if name and text in line:
            return line.replace(text, style.paint(text, name))
    return line


def _broken(text: str, width: int) -> Iterator[str]:
    """The text in lines that fit, broken behind a slash where there is one; further ones hang."""
    indent = ""
    while len(text) > width - len(indent):
        room = width - len(indent)
        end = text.rfind("/", 1, room) + 1 or room
        yield indent + text[:end]
        text, indent = text[end:], "    "
    yield indent + text


def _laid_out(columns: Sequence[Column], rows: Sequence[Sequence[str]], style: Style) -> str:
    from rich.console import Console
    from rich.table import Table

    # Coloured output to a pipe isn't wrapped.
    width = style.width or _ANY_WIDTH
    visible = [index for index, column in enumerate(columns) if width >= column.min_width]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in (columns[index] for index in visible):
        table.add_column(
            column.title,
            justify="right" if column.right else "left",
            overflow="fold",
            no_wrap=column.right,
            ratio=1 if column.stretches else None,
        )
    for cells in rows:
        table.add_row(*(_cell(columns[index], cells[index], width) for index in visible))
    buffer = io.StringIO()
    console = Console(
        file=buffer,
        width=width,
        force_terminal=True,
        no_color=not style.has_color,
        color_system="standard" if style.is_styled else None,
        highlight=False,
    )
    console.print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())


def _cell(column: Column, text: str, width: int) -> Text:
    from rich.text import Text

    word = re.split(r"\W", text, maxsplit=1)[0]
    cell_text = text if width >= column.full_width else text.partition(": ")[0]
    return Text(cell_text, style=column.styles.get(word, ""))
