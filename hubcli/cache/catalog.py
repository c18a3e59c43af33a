"""The catalog: every entry of the cache at one moment, from one look at the root."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from hubcli.cache.disk import cache_errors, directory_size_bytes, file_sizes, not_a_directory
from hubcli.cache.entry import Entry
from hubcli.cache.layout import CacheName, EntryPaths, NameKind, is_key
from hubcli.cache.lock import LockOwner
from hubcli.formats.files import MAIN_FILES

__all__ = ["Catalog", "CatalogRow", "EntryState", "read_catalog"]


class EntryState(str, Enum):
    """What a row of the catalog is, in words that scripts may rely on."""

    OK = "ok"
    GUTTED = "gutted"
    DOWNLOADING = "downloading"
    UNKNOWN = "unknown"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class CatalogRow:
    """One entry with its state. `problem` says what is wrong with a gutted one."""

    name: str
    state: EntryState
    size_bytes: int | None = None
    entry: Entry | None = None
    owner: LockOwner | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Catalog:
    """The rows, in no order, and how many names interrupted downloads left behind."""

    root: Path
    rows: tuple[CatalogRow, ...]
    leftovers: int


def read_catalog(root: Path) -> Catalog:
    """The catalog of the cache at `root`; empty where there is no such directory.

    Reads names, sizes and records, never a model. Raises CacheError where the
    root can't be read.
    """
    with cache_errors(root):
        if not os.path.lexists(root):
            return Catalog(root, (), 0)
        if not root.is_dir():
            raise not_a_directory(root)
        names = _Names.read(root)
        rows = [_model_row(EntryPaths(root, key), key in names.locks) for key in names.models]
        rows += _downloads(root, names.locks - names.models)
        rows += [CatalogRow(name, EntryState.FOREIGN) for name in names.foreign]
        leftovers = names.records - names.models - {row.name for row in rows}
        return Catalog(root, tuple(rows), len(leftovers))


@dataclass(frozen=True, slots=True)
class _Names:
    """The names in the root: keys of models, of locks, and of whatever is recorded; the rest as they are."""

    models: set[str] = field(default_factory=set)
    locks: set[str] = field(default_factory=set)
    records: set[str] = field(default_factory=set)
    foreign: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, root: Path) -> _Names:
        links: list[str] = []
        folders: list[str] = []
        files: list[str] = []
        with os.scandir(root) as children:
            for child in children:
                kind = links if child.is_symlink() else folders if child.is_dir() else files
                kind.append(child.name)
        names = cls()
        names.models.update(filter(is_key, folders))
        for name in (*files, *(set(folders) - names.models)):
            names._add(CacheName.parse(name))
        # Most names of a cache are links from other spellings: they are no rows. One with
        # records of its own is a model that somebody moved to another disk.
        keys = set(filter(is_key, links))
        names.foreign.update(set(links) - keys)
        names.models.update(key for key in keys & names.records if (root / key).is_dir())
        return names

    def _add(self, name: CacheName) -> None:
        if name.key is not None and name.kind is not NameKind.MODEL:
            self.records.add(name.key)
            if name.kind is NameKind.LOCK:
                self.locks.add(name.key)
        elif name.kind is not NameKind.TAG:
            self.foreign.add(name.text)


def _model_row(paths: EntryPaths, is_locked: bool) -> CatalogRow:
    entry = Entry.read(paths)
    problem = entry.difference()
    if entry.manifest is not None and problem is None and not is_locked:
        return CatalogRow(paths.key, EntryState.OK, entry.manifest.size_bytes, entry)
    sizes = file_sizes(paths.model)
    if entry.manifest is None and not any(sizes.get(name) for name in MAIN_FILES):
        problem = "saved_model.pb is missing"
    owner = _live_owner(paths) if is_locked else None
    state = _state(entry, problem, owner)
    size = sum(sizes.values())
    if state is EntryState.FOREIGN:
        return CatalogRow(paths.key, state, size)
    return CatalogRow(paths.key, state, size, entry, owner, problem)


def _state(entry: Entry, problem: str | None, owner: LockOwner | None) -> EntryState:
    if problem is not None and owner is not None:
        return EntryState.DOWNLOADING
    if entry.handle is None:
        return EntryState.UNKNOWN if problem is None else EntryState.FOREIGN
    return EntryState.OK if problem is None else EntryState.GUTTED


def _downloads(root: Path, keys: Iterable[str]) -> list[CatalogRow]:
    """Rows of the locks that live processes hold on models that aren't there yet."""
    rows = []
    for key in keys:
        paths = EntryPaths(root, key)
        owner = _live_owner(paths)
        if owner is not None:
            size = directory_size_bytes(paths.staging(owner.uid))
            rows.append(CatalogRow(key, EntryState.DOWNLOADING, size, Entry.read(paths), owner))
    return rows


def _live_owner(paths: EntryPaths) -> LockOwner | None:
    owner = LockOwner.read(paths.lock)
    return None if owner is None or owner.is_dead(paths.lock) else owner
