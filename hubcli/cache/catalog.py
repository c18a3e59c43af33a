"""The catalog: every entry of the cache at one moment, from one look at the root."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from hubcli.cache.disk import cache_errors, directory_size_bytes, file_sizes
from hubcli.cache.entry import Entry
from hubcli.cache.layout import CacheName, EntryPaths, NameKind
from hubcli.cache.lock import LockOwner

__all__ = ["Catalog", "CatalogRow", "EntryState", "read_catalog"]

_MAIN_FILES = ("saved_model.pb", "saved_model.pbtxt", "saved_model.cpb")


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
        if not root.is_dir():
            return Catalog(root, (), 0)
        models: set[str] = set()
        names: dict[NameKind, set[str]] = {kind: set() for kind in NameKind}
        with os.scandir(root) as children:
            for child in children:
                name = CacheName.parse(child.name)
                if name.kind is not NameKind.MODEL:
                    names[name.kind].add(name.key or name.text)
                elif child.is_dir(follow_symlinks=False):
                    models.add(child.name)
                elif not child.is_symlink():
                    names[NameKind.FOREIGN].add(child.name)
        rows = [_model_row(EntryPaths(root, key), key in names[NameKind.LOCK]) for key in models]
        rows += _downloads(root, names[NameKind.LOCK] - models)
        rows += [CatalogRow(name, EntryState.FOREIGN) for name in names[NameKind.FOREIGN]]
        return Catalog(root, tuple(rows), _leftovers(names, models, rows))


def _model_row(paths: EntryPaths, is_locked: bool) -> CatalogRow:
    entry, sizes = Entry.read(paths), file_sizes(paths.model)
    size, owner = sum(sizes.values()), _live_owner(paths) if is_locked else None
    problem = _problem(entry, sizes)
    if problem is not None:
        state = EntryState.DOWNLOADING if owner else EntryState.GUTTED
    else:
        state = EntryState.UNKNOWN if entry.handle is None else EntryState.OK
    if problem is not None and entry.handle is None and owner is None:
        return CatalogRow(paths.key, EntryState.FOREIGN, size)
    return CatalogRow(paths.key, state, size, entry, owner, problem)


def _problem(entry: Entry, sizes: dict[str, int]) -> str | None:
    if entry.manifest is not None:
        return entry.difference(sizes)
    if not any(sizes.get(name) for name in _MAIN_FILES):
        return "saved_model.pb is missing"
    return None


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


def _leftovers(names: dict[NameKind, set[str]], models: set[str], rows: list[CatalogRow]) -> int:
    """How many keys have records or staging directories, but neither model nor live download."""
    ours = (NameKind.LOCK, NameKind.STAGING, NameKind.LEFTOVER, NameKind.DESCRIPTOR, NameKind.MANIFEST)
    kept = models | {row.name for row in rows}
    return len(set().union(*(names[kind] for kind in ours)) - kept)
