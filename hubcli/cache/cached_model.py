"""A cached model as its names and records tell: the cheap view, for which no file of the model is opened."""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from hubcli._moved import renamed
from hubcli.cache.disk_usage import Footprint, FootprintCounter
from hubcli.cache.layout import EntryPaths, is_key
from hubcli.cache.records import Descriptor, Manifest
from hubcli.config.environment import on_disk
from hubcli.formats import MAIN_FILES

TYPE_CHECKING = False  # Each listing would pay for typing.
if TYPE_CHECKING:
    from hubcli.archive import FileRecord

__all__ = ["CachedModel", "LastUse", "Look", "UseSource", "fetched_at_s"]


class UseSource(str, Enum):
    """Where a model's last use is known from: hubcli's own records, or the access time of its main file."""

    RECORD = "record"
    ACCESS_TIME = "access-time"


class LastUse(NamedTuple):
    """When a model was last used, in seconds since 1970, and where that is known from."""

    at_s: float
    source: UseSource


class Look(NamedTuple):
    """What one look at a model's files found.

    `problem` is what differs from the manifest, None where nothing does.
    `accessed_at_s` is the access time of the main file, where there is one.
    `footprint` is complete where there is no problem.
    """

    problem: str | None
    accessed_at_s: float | None
    footprint: Footprint


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A model in the cache, as its names and records tell: no file of the model is looked at.

    One of tensorflow_hub has no manifest, and may have no descriptor;
    where there is a manifest, the descriptor is not read.
    """

    paths: EntryPaths
    manifest: Manifest | None
    descriptor: Descriptor | None

    @classmethod
    def read(cls, paths: EntryPaths) -> CachedModel:
        """The model with its records as they are now."""
        manifest = Manifest.read(paths.manifest_text)
        # The manifest tells all that the descriptor does.
        return CachedModel(paths, manifest, Descriptor.read(paths.descriptor) if manifest is None else None)

    @classmethod
    def at(cls, directory: Path, root: Path) -> CachedModel | None:
        """The model whose directory was named by its path, as `hubcli fetch` prints it; None for others."""
        try:
            resolved = directory.resolve()
            is_ours = is_key(resolved.name) and resolved.parent == root.resolve()
        except (OSError, RuntimeError):
            return None
        return cls.read(EntryPaths(root, resolved.name)) if is_ours else None

    @property
    def key(self) -> str:
        """The name of its directory in the root."""
        return self.paths.key

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

    @property
    def title(self) -> str:
        """What a person calls it: the handle, or the key where it is unknown."""
        return self.handle or self.paths.key

    @property
    def aliases(self) -> tuple[str, ...]:
        """The other spellings of its handle that are recorded."""
        return self.manifest.aliases if self.manifest is not None else ()

    @property
    def fetched_at_s(self) -> float | None:
        """When it was downloaded, in seconds since 1970, as the records or else the directory tell."""
        return fetched_at_s(self)

    def difference(self, top: Path | None = None) -> str | None:
        """What differs between the manifest's list and the files below `top`; None where nothing does.

        `top` is the model's directory if it isn't given. Compared are names and
        sizes; what was added beside them does no harm. Without a manifest
        nothing can differ.
        """
        folder = self.paths.model_text if top is None else f"{top}"
        for file in () if self.manifest is None else self.manifest.files:
            found = _compared(folder, file)
            if isinstance(found, str):
                return found
        return None

    def look(self, top: Path | None = None) -> Look:
        """The same, with what the files tell besides; of a model without a manifest only its last access."""
        folder = self.paths.model_text if top is None else f"{top}"
        if self.manifest is None:
            return Look(None, _accessed_at_s(folder), Footprint())
        accessed_at_s, tally, problem = None, FootprintCounter(), None
        for file in self.manifest.files:
            found = _compared(folder, file)
            if isinstance(found, str):
                problem = found
                break
            tally.add(found)
            if file.path in MAIN_FILES:
                accessed_at_s = found.st_atime
        return Look(problem, accessed_at_s, tally.footprint())

    def last_use_with(self, accessed_at_s: float | None) -> LastUse | None:
        """The last use by record or access, whichever is later; None where nothing tells.

        hubcli records what it does itself. `hub.load` records nothing, but reads saved_model.pb:
        `accessed_at_s` is what `look` found. A mount with noatime keeps the time of the download,
        one with relatime moves it once a day.
        """
        recorded = self.fetched_at_s if self.manifest is None else self.manifest.used_at_s
        if accessed_at_s is not None and (recorded is None or accessed_at_s > recorded):
            return LastUse(accessed_at_s, UseSource.ACCESS_TIME)
        return None if recorded is None else LastUse(recorded, UseSource.RECORD)

    def touch(self) -> None:
        """Remembers that the model was used now; does nothing in a cache that can't be written.

        One of tensorflow_hub has no record: there it is the access time that is set.
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


def _compared(folder: str, file: FileRecord) -> os.stat_result | str:
    """The status of the file below the folder, or what differs from its record."""
    try:
        status = os.lstat(f"{folder}/{on_disk(file.path)}")
    except (FileNotFoundError, NotADirectoryError):
        return f"{file.path} is missing"
    except OSError as error:
        return f"{file.path} cannot be accessed: {error.strerror}"
    if status.st_size != file.size_bytes or not stat.S_ISREG(status.st_mode):
        return f"{file.path} has {status.st_size} bytes instead of {file.size_bytes}"
    return status


def _accessed_at_s(folder: str) -> float | None:
    for name in MAIN_FILES:
        with suppress(OSError):
            return os.lstat(f"{folder}/{name}").st_atime
    return None


def fetched_at_s(model: CachedModel) -> float | None:
    """When the model was downloaded, in seconds since 1970, as the records or else the directory tell."""
    if model.manifest is not None:
        return model.manifest.fetched_at_s
    if model.descriptor is not None and model.descriptor.downloaded_at_s is not None:
        return model.descriptor.downloaded_at_s
    return _modified_at_s(model.path)


def _modified_at_s(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


if not TYPE_CHECKING:  # What only runs: to the type checker the old names are gone.

    def __getattr__(name: str) -> object:
        return renamed(__name__, name)
