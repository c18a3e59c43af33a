"""The object of a SavedModel, drawn as a tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hubcli.cli.output import printable
from hubcli.cli.render import Style
from hubcli.quantity import plural
from hubcli.savedmodel.info import SavedModelInfo
from hubcli.savedmodel.shapes import shape_text
from hubcli.savedmodel.tree import Branch, model_tree

__all__ = ["tree_lines"]

_BAR_CELLS = 10
_EIGHTHS = " ▏▎▍▌▋▊▉"
_NARROW = 60
_ALL_LEVELS = 1 << 30


@dataclass(frozen=True, slots=True)
class _Strokes:
    """What a tree is drawn with."""

    fork: str
    last: str
    pass_by: str
    full: str


_UNICODE = _Strokes("├── ", "└── ", "│   ", "█")
_ASCII = _Strokes("|-- ", "`-- ", "|   ", "#")


def tree_lines(
    info: SavedModelInfo, style: Style, *, in_full: bool, depth: int | None = None
) -> Iterator[str]:
    """A line for each object; those that hold parameters have a bar for their share.

    With a `depth`, objects on that level below the root say how many are below them.
    """
    root = model_tree(info, in_full=in_full)
    drawing = _Drawing(style, _UNICODE if style.has_unicode else _ASCII, root.parameters)
    rows = list(drawing.rows(root, _ALL_LEVELS if depth is None else depth))
    width = max(len(text) for text, _ in rows)
    if style.width is not None:
        width = min(width, max(20, style.width - drawing.share_width - 2))
    for text, branch in rows:
        shown = text if len(text) <= width else text[: width - 1] + ("…" if style.has_unicode else "~")
        yield drawing.line(shown, branch, width)


@dataclass(frozen=True, slots=True)
class _Drawing:
    style: Style
    strokes: _Strokes
    total: int

    @property
    def share_width(self) -> int:
        """Columns of the bar and the numbers."""
        is_narrow = self.style.width is not None and self.style.width < _NARROW
        return (0 if is_narrow else _BAR_CELLS + 1) + len(f"{self.total:,}") + 8

    def rows(
        self, branch: Branch, levels: int, ahead: str = "", behind: str = ""
    ) -> Iterator[tuple[str, Branch]]:
        """Each branch with its drawn name, depth first, down to so many levels below this one."""
        hidden = 0 if levels > 0 else _count_below(branch)
        yield f"{ahead}{_title(branch)}" + (f"  +{hidden}" if hidden else ""), branch
        if levels <= 0:
            return
        children = list(branch.children.values())
        for child in children:
            is_last = child is children[-1]
            stroke = self.strokes.last if is_last else self.strokes.fork
            below = "    " if is_last else self.strokes.pass_by
            yield from self.rows(child, levels - 1, behind + stroke, behind + below)

    def line(self, text: str, branch: Branch, width: int) -> str:
        """The drawn name with the share of the parameters, where there are any."""
        if not branch.parameters or not self.total:
            return text
        share = branch.parameters / self.total
        numbers = f"{branch.parameters:>{len(f'{self.total:,}')},} {100 * share:5.1f} %"
        if self.style.width is not None and self.style.width < _NARROW:
            return f"{text:<{width}}  {numbers}"
        return f"{text:<{width}}  {self.style.paint(self._bar(share), 'cyan')} {numbers}"

    def _bar(self, share: float) -> str:
        eighths = round(share * _BAR_CELLS * 8)
        bar = self.strokes.full * (eighths // 8)
        if self.style.has_unicode and eighths % 8:
            bar += _EIGHTHS[eighths % 8]
        return f"{bar:<{_BAR_CELLS}}"


def _count_below(branch: Branch) -> int:
    return sum(1 + _count_below(child) for child in branch.children.values())


def _title(branch: Branch) -> str:
    name = printable(branch.name)
    if branch.function is not None:
        traces = plural(len(branch.function.variants), "trace")
        return f"{name}{printable(branch.function.python_signature)}  {traces}"
    variable = branch.variable
    if variable is not None:
        frozen = "" if variable.trainable else "  not trainable"
        return f"{name}  {variable.dtype or ''}{shape_text(variable.shape)}{frozen}"
    return f"{name}  {printable(branch.label)}".rstrip()
