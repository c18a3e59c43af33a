"""The catalog: every entry of the cache at one moment, from one look at the root."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from hubcli.cache.disk import cache_errors, directory_size_bytes
from hubcli.cache.entry import Entry, LastUse
from hubcli.cache.footprint import Footprint
from hubcli.cache.layout import EntryPaths
from hubcli.cache.names import RootNames
from hubcli.cache.owner import LockOwner
from hubcli.formats.files import MAIN_FILES

__all__ = ["Catalog", "CatalogRow", "EntryState", "model_row", "read_catalog"]


class EntryState(str, Enum):
    """What a row of the catalog is, in words that scripts may rely on."""

    OK = "ok"
    GUTTED = "gutted"
    DOWNLOADING = "downloading"
    UNKNOWN = "unknown"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class CatalogRow:
    """One entry with its state. `problem` says what is wrong with a gutted one.

    `footprint` is that of an entry whose files are those of its manifest, None for any other.
    """

    name: str
    state: EntryState
    size_bytes: int | None = None
    entry: Entry | None = None
    owner: LockOwner | None = None
    problem: str | None = None
    last_use: LastUse | None = None
    is_pinned: bool = False
    footprint: Footprint | None = None


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
    names = RootNames.read(root)
    models = names.models | names.moved
    with cache_errors(root):
        rows = [model_row(names, key) for key in models]
        rows += _downloads(root, names.locked - models)
        rows += [CatalogRow(name, EntryState.FOREIGN) for name in names.foreign]
    leftovers = names.fragments.keys() - models - {row.name for row in rows}
    return Catalog(root, tuple(rows), len(leftovers))


def model_row(names: RootNames, key: str) -> CatalogRow:
    """The row of a model's directory."""
    paths = EntryPaths(names.root, key)
    is_locked, is_pinned = key in names.locked, key in names.pinned
    entry = Entry.read(paths)
    problem, accessed_at_s, footprint = entry.look()
    last_use = entry.last_use(accessed_at_s)
    if entry.manifest is not None and problem is None and not is_locked:
        return CatalogRow(
            key, EntryState.OK, footprint.size_bytes, entry, None, None, last_use, is_pinned, footprint
        )
    if entry.manifest is None and not _has_main_file(paths):
        problem = "saved_model.pb is missing"
    owner = _live_owner(paths) if is_locked else None
    state = _state(entry, problem, owner)
    # A link may lead anywhere, to the whole disk too: none is followed but to a model.
    size = None if problem is not None and key in names.moved else directory_size_bytes(paths.model)
    if state is EntryState.FOREIGN:
        return CatalogRow(key, state, size)
    return CatalogRow(key, state, size, entry, owner, problem, last_use, is_pinned)


def _has_main_file(paths: EntryPaths) -> bool:
    for name in MAIN_FILES:
        with suppress(OSError):
            status = os.lstat(f"{paths.model_text}/{name}")
            if stat.S_ISREG(status.st_mode) and status.st_size:
                return True
    return False


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
