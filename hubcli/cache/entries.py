"""A cached model, as its files and records tell, and the list of all of them."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from hubcli.cache.atomic_files import cache_errors, directory_size_bytes
from hubcli.cache.disk_usage import Footprint, FootprintCounter
from hubcli.cache.layout import EntryPaths, RootNames, is_key
from hubcli.cache.lock_owner import LockOwner
from hubcli.cache.records import Descriptor, Manifest
from hubcli.config.environment import on_disk
from hubcli.formats.files import MAIN_FILES

__all__ = [
    "Catalog",
    "CatalogRow",
    "Entry",
    "EntryState",
    "LastUse",
    "Look",
    "UseSource",
    "model_row",
    "read_catalog",
]


class UseSource(str, Enum):
    """What told of an entry's last use: hubcli's own records, or the access time of its main file."""

    RECORD = "record"
    ACCESS_TIME = "access-time"


class LastUse(NamedTuple):
    """When an entry was last used, in seconds since 1970, and what told it."""

    at_s: float
    source: UseSource


class Look(NamedTuple):
    """What one look at an entry's files found.

    `problem` is what differs from the manifest, None where nothing does.
    `accessed_at_s` is the access time of the main file, where there is one.
    `footprint` is complete where there is no problem.
    """

    problem: str | None
    accessed_at_s: float | None
    footprint: Footprint


@dataclass(frozen=True, slots=True)
class Entry:
    """A model's directory with what is recorded about it.

    An entry of tensorflow_hub has no manifest, and may have no descriptor;
    where there is a manifest, the descriptor is not read.
    """

    paths: EntryPaths
    manifest: Manifest | None
    descriptor: Descriptor | None

    @classmethod
    def read(cls, paths: EntryPaths) -> Entry:
        """The entry with its records as they are now."""
        manifest = Manifest.read(paths.manifest_text)
        # The manifest tells all that the descriptor does.
        return cls(paths, manifest, Descriptor.read(paths.descriptor) if manifest is None else None)

    @classmethod
    def at(cls, directory: Path, root: Path) -> Entry | None:
        """The entry whose directory was named by its path, as `hubcli fetch` prints it; None for others."""
        try:
            resolved = directory.resolve()
            is_ours = is_key(resolved.name) and resolved.parent == root.resolve()
        except (OSError, RuntimeError):
            return None
        return cls.read(EntryPaths(root, resolved.name)) if is_ours else None

    @property
    def path(self) -> Path:
        """The model's directory."""
        return self.paths.model

    @property
    def handle(self) -> str | None:
        """The handle that the records name, None where there are no records."""
        if self.manifest is not None:
            return self.manifest.handle
        return self.descriptor.handle if self.descriptor is not None else None

    def difference(self, top: Path | None = None) -> str | None:
        """What differs between the manifest's list and the files below `top`; None where nothing does.

        `top` is the model's directory if it isn't given. Compared are names and
        sizes; what was added beside them does no harm. Without a manifest
        nothing can differ.
        """
        return None if self.manifest is None else self.look(top).problem

    def look(self, top: Path | None = None) -> Look:
        """The same, with what the files tell besides; of an entry without a manifest only its last access."""
        folder = self.paths.model_text if top is None else top
        if self.manifest is None:
            return Look(None, _accessed_at_s(f"{folder}"), Footprint())
        accessed_at_s, tally, problem = None, FootprintCounter(), None
        for file in self.manifest.files:
            try:
                status = os.lstat(f"{folder}/{on_disk(file.path)}")
            except (FileNotFoundError, NotADirectoryError):
                problem = f"{file.path} is missing"
                break
            except OSError as error:
                problem = f"{file.path} can't be looked at: {error.strerror}"
                break
            if status.st_size != file.size_bytes or not stat.S_ISREG(status.st_mode):
                problem = f"{file.path} has {status.st_size} bytes instead of {file.size_bytes}"
                break
            tally.add(status)
            if file.path in MAIN_FILES:
                accessed_at_s = status.st_atime
        return Look(problem, accessed_at_s, tally.footprint())

    def fetched_at_s(self) -> float | None:
        """When it was downloaded, in seconds since 1970, as the records or else the directory tell."""
        if self.manifest is not None:
            return self.manifest.fetched_at_s
        if self.descriptor is not None and self.descriptor.downloaded_at_s is not None:
            return self.descriptor.downloaded_at_s
        return _modified_at_s(self.path)

    def last_use(self, accessed_at_s: float | None) -> LastUse | None:
        """The last use by record or access, whichever is later; None where nothing tells.

        hubcli records what it does itself. `hub.load` records nothing, but reads saved_model.pb:
        `accessed_at_s` is what `look` found. A mount with noatime keeps the time of the download,
        one with relatime moves it once a day.
        """
        recorded = self.fetched_at_s() if self.manifest is None else self.manifest.used_at_s
        if accessed_at_s is not None and (recorded is None or accessed_at_s > recorded):
            return LastUse(accessed_at_s, UseSource.ACCESS_TIME)
        return None if recorded is None else LastUse(recorded, UseSource.RECORD)

    def touch(self) -> None:
        """Remembers that the entry was used now; does nothing in a cache that can't be written.

        An entry of tensorflow_hub has no record: there it is the access time that is set.
        """
        now = time.time()
        with suppress(OSError):
            if self.manifest is not None:
                os.utime(self.paths.manifest, (now, now))
                return
            for name in MAIN_FILES:
                main = self.path / name
                if main.is_file():
                    os.utime(main, ns=(int(now * 1e9), main.stat().st_mtime_ns))


def _accessed_at_s(folder: str) -> float | None:
    for name in MAIN_FILES:
        with suppress(OSError):
            return os.lstat(f"{folder}/{name}").st_atime
    return None


def _modified_at_s(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


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
