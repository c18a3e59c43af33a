"""The word that was meant, where one of few was expected and another was typed."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The word that is spelled most alike, in any case; None where none is near.

    >>> nearest("instpect", ["fetch", "inspect", "ls"])
    'inspect'
    """
    from difflib import get_close_matches  # A command line without an error needs none of it.

    known = {word.lower(): word for word in words}
    near = get_close_matches(word.lower(), known, n=1)
    return known[near[0]] if near else None


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """The question that goes behind an error's message, to end it; nothing where no word is near.

    >>> did_you_mean("sise", ["name", "size"])
    ". Did you mean 'size'?"
    """
    near = nearest(word, words)
    return "" if near is None else f". Did you mean '{near}'?"
