"""Variables of this process that libraries, such as TensorFlow, read by themselves.

A file of its own, since what starts the process of a run reads one before anything else is imported.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["library_variable", "set_unless_there", "variables_set"]


def library_variable(name: str) -> str:
    """What this process's variable of TensorFlow, Keras or rich says now; empty where it isn't set."""
    return os.environ.get(name, "")


def set_unless_there(name: str, value: str) -> None:
    """Sets the variable for this process and those that it starts, unless somebody has."""
    os.environ.setdefault(name, value)


@contextmanager
def variables_set(variables: Mapping[str, str | None]) -> Iterator[None]:
    """Sets variables of this process within the context, unset for None; restores them at its end."""
    before = {name: os.environ.get(name) for name in variables}
    _set(variables)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
