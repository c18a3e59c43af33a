"""What mkdocstrings does with docstrings before it renders them: examples become blocks of code.

The package's docstrings have doctests as paragraphs of their own, which Markdown would take for quotations.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

__all__ = ["Doctests", "with_code_blocks"]

_DOCTEST = re.compile(r"(^|\n\n)(>>> .+?)(?=\n\n|\Z)", re.DOTALL)


def with_code_blocks(text: str) -> str:
    r"""The docstring with a fence around each paragraph that begins with a prompt.

    >>> with_code_blocks("What it gives.\n\n>>> 1 + 1\n2\n\nRaises nothing.")
    'What it gives.\n\n```pycon\n>>> 1 + 1\n2\n```\n\nRaises nothing.'
    """
    return _DOCTEST.sub(lambda found: f"{found[1]}```pycon\n{found[2].rstrip()}\n```", text)


class Doctests(griffe.Extension):
    """Changes every docstring that is read; nothing of the package is imported."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = with_code_blocks(obj.docstring.value)
