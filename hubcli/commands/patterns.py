"""Patterns, by which entries of the cache are named on the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path
from typing import TYPE_CHECKING

from hubcli.cache.entry import Entry
from hubcli.errors import HandleError
from hubcli.handle import Handle

if TYPE_CHECKING:
    from hubcli.cache.snapshot import ModelFacts

__all__ = ["Pattern"]

_MEANT = re.compile(r"Did you mean https://\S+ \?")
_WORD = re.compile(r"[\w.-]+")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A glob over the whole handle (`*` crosses slashes), any spelling of a handle, or a name in the root."""

    text: str
    keys: frozenset[str]
    spellings: frozenset[str]
    glob: re.Pattern[str] | None

    @classmethod
    def parse(cls, text: str, root: Path | None = None) -> Pattern:
        """The pattern of a text; a path, as `hubcli fetch` prints it, is understood where `root` is given."""
        keys, spellings = {text}, {text}
        with suppress(HandleError):  # "?" stands in globs, and in handles with a query left in.
            handle = Handle.parse(text)
            keys |= {handle.cache_key, *handle.alias_keys}
            spellings |= {handle.canonical, *handle.aliases}
            entry = Entry.at(handle.path, root) if handle.path is not None and root is not None else None
            if entry is not None:
                keys.add(entry.paths.key)
        is_glob = any(character in text for character in "*?[")
        return cls(
            text, frozenset(keys), frozenset(spellings), re.compile(translate(text)) if is_glob else None
        )

    @staticmethod
    def suggestion(text: str) -> str:
        """The question whether another pattern is meant, for one that fits nothing; "" where none is near."""
        if any(character in text for character in "*?["):
            return ""
        try:
            Handle.parse(text)
        except HandleError as error:
            meant = _MEANT.match(error.hint)
            if meant:
                return f". {meant[0]}"
            return f". Did you mean '*{text}*'?" if _WORD.fullmatch(text) else ""
        return ""

    def means(self, model: ModelFacts) -> bool:
        """Whether the cached model is meant, by its handle or that of a link to it."""
        is_linked = not self.keys.isdisjoint(model.aliases)
        return is_linked or self.fits(model.key, model.handle, model.spellings)

    def fits(self, name: str, handle: str | None, spellings: Iterable[str] = ()) -> bool:
        """Whether the entry of that name in the root, with that handle and its other spellings, is meant."""
        spellings = tuple(spellings)
        if name in self.keys or handle in self.spellings or not self.spellings.isdisjoint(spellings):
            return True
        return self.glob is not None and any(map(self.glob.match, (handle or name, *spellings)))
