"""The names in a cache root, sorted by what they are: one look, nothing opened."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from hubcli.cache.disk import cache_errors, not_a_directory
from hubcli.cache.layout import CacheName, NameKind, is_key

__all__ = ["RootNames", "leads_out"]


@dataclass(frozen=True, slots=True)
class RootNames:
    """The names of the root at one moment.

    `models` are the keys of directories, `moved` those of links that lead out of
    the root and have records here: models that somebody moved to another disk.
    `links` are the keys of all other links. `fragments` is everything else with a
    key, by that key; `foreign` is what isn't the cache's.
    """

    root: Path
    models: set[str] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)
    links: set[str] = field(default_factory=set)
    fragments: dict[str, list[CacheName]] = field(default_factory=dict)
    locked: set[str] = field(default_factory=set)
    pinned: set[str] = field(default_factory=set)
    foreign: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, root: Path) -> RootNames:
        """The names in `root`; none where there is no such directory.

        Raises CacheError where it can't be read.
        """
        names = cls(root)
        with cache_errors(root):
            if not os.path.lexists(root):
                return names
            if not root.is_dir():
                raise not_a_directory(root)
            links, others = names._sort()
            for name in others:
                names._add(CacheName.parse(name))
            # Most names of a cache are links from other spellings.
            names.links.update(filter(is_key, links))
            for name in links - names.links:
                names._add(CacheName.parse(name))
            for key in names.links & names.fragments.keys():
                if leads_out(root / key) and (root / key).is_dir():
                    names.moved.add(key)
            names.links.difference_update(names.moved)
        return names

    def _sort(self) -> tuple[set[str], list[str]]:
        """The links, and what is neither a link nor a model's directory."""
        links: set[str] = set()
        others: list[str] = []
        with os.scandir(self.root) as children:
            for child in children:
                if child.is_symlink():
                    links.add(child.name)
                elif is_key(child.name) and child.is_dir():
                    self.models.add(child.name)
                else:
                    others.append(child.name)
        return links, others

    def _add(self, name: CacheName) -> None:
        if name.key is not None and name.kind is not NameKind.MODEL:
            self.fragments.setdefault(name.key, []).append(name)
            if name.kind is NameKind.LOCK:
                self.locked.add(name.key)
            elif name.kind is NameKind.PIN:
                self.pinned.add(name.key)
        elif name.kind is not NameKind.TAG:
            self.foreign.add(name.text)


def leads_out(link: Path) -> bool:
    """Whether the link names something outside of its own directory."""
    try:
        target = os.readlink(link)  # noqa: PTH115 - a Path would tidy it
    except OSError:
        return False
    folder, separator, name = target.rpartition("/")
    is_beside = not separator or folder == "." or Path(folder or "/") == link.parent
    return name in ("", ".", "..") or not is_beside
