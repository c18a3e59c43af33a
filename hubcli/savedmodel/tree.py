"""The object as a tree: submodules, functions and variables, with the parameters that each holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import takewhile

from hubcli.savedmodel.functions import Function
from hubcli.savedmodel.info import SavedModelInfo
from hubcli.savedmodel.variables import Variable

__all__ = ["Branch", "model_tree"]

_MAX_DEPTH = 64  # Beyond it, names are told as they are.


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
