"""The object of a SavedModel as a tree: its branches, and how they are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile

from hubcli.cli.output import printable
from hubcli.cli.tables import Style
from hubcli.savedmodel.functions import Function
from hubcli.savedmodel.model import SavedModelInfo
from hubcli.savedmodel.types import shape_text
from hubcli.savedmodel.variables import Variable
from hubcli.units import plural

__all__ = ["Branch", "model_tree", "tree_lines"]

_MAX_DEPTH = 64  # Beyond it, names are printed as they are.


@dataclass(slots=True)
class Branch:
    """An object by the last part of its path: what hangs on it, and how many numbers below it.

    `variable` or `function` is set where the object is one.
    """

    name: str
    parameters: int = 0
    children: dict[str, Branch] = field(default_factory=dict)
    variable: Variable | None = None
    function: Function | None = None

    @property
    def label(self) -> str:
        """What the variables below have in common in their names, such as a layer's; "" if nothing."""
        names = [variable.name.split("/")[:-1] for variable in self.variables()]
        same = takewhile(lambda parts: len(set(parts)) == 1, zip(*names, strict=False))
        common = "/".join(parts[0] for parts in same)
        return "" if common == self.name else common

    def variables(self) -> list[Variable]:
        """The variables below, in order."""
        own = [self.variable] if self.variable is not None else []
        return own + [variable for child in self.children.values() for variable in child.variables()]


def model_tree(info: SavedModelInfo, *, in_full: bool) -> Branch:
    """The root, with a branch for each variable and function that was read, and for what holds them.

    Variables are those of the root's list, where it has one; with `in_full` all
    but those of optimizers' slots. Parameters count once, though objects may
    share them.
    """
    root = Branch("obj")
    for function in info.functions:
        _branch(root, function.path, 0).function = function
    for variable in info.variables:
        is_own = variable.is_listed or info.lists.variables is None
        if is_own or (in_full and not variable.is_slot):
            _branch(root, variable.path, variable.parameters or 0).variable = variable
    return root


def _branch(root: Branch, path: str, parameters: int) -> Branch:
    """The branch at the path, made where it isn't there; every one on the way gets the parameters."""
    branch = root
    branch.parameters += parameters
    for name in path.split(".", _MAX_DEPTH):
        branch = branch.children.setdefault(name, Branch(name))
        branch.parameters += parameters
    return branch


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
        line = text if len(text) <= width else text[: width - 1] + ("…" if style.has_unicode else "~")
        yield drawing.line(line, branch, width)


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
        """Each branch with its drawn name, depth first, down to `depth` levels below this one."""
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
