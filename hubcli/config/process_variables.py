"""Variables of this process that libraries, such as TensorFlow, read by themselves.

A file of its own, since the process that runs a model reads one before anything else is imported.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["library_variable", "set_unless_there", "variables_set"]


def library_variable(name: str) -> str:
    """The current value of a variable that TensorFlow, Keras or rich reads; "" if it isn't set."""
    return os.environ.get(name, "")


def set_unless_there(name: str, value: str) -> None:
    """Sets the variable for this process and those that it starts, unless it is set already."""
    os.environ.setdefault(name, value)


@contextmanager
def variables_set(variables: Mapping[str, str | None]) -> Iterator[None]:
    """Sets variables of this process while the context lasts, or unsets them for None; then restores them."""
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
