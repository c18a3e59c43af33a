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
    from collections.abc import Iterable

    from hubcli.cache.record_index import ManifestSummary

__all__ = [
    "CachedModel",
    "LastUse",
    "Look",
    "RecordedModel",
    "UseSource",
    "accessed_at_s",
    "fetched_at_s",
    "last_use",
    "look_at",
]


class UseSource(str, Enum):
    """Where a model's last use is known from: hubcli's own records, or the access time of its main file."""

    RECORD = "record"
    ACCESS_TIME = "access-time"


# To read a member of an Enum takes 0.1 µs in Python 3.11, and a listing has one for each model.
_BY_RECORD, _BY_ACCESS_TIME = UseSource.RECORD, UseSource.ACCESS_TIME


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


def last_use(recorded_at_s: float | None, accessed_at_s: float | None) -> LastUse | None:
    """The later of the two, or None; see `RecordedModel.last_use_with`."""
    if accessed_at_s is not None and (recorded_at_s is None or accessed_at_s > recorded_at_s):
        return LastUse(accessed_at_s, _BY_ACCESS_TIME)
    return None if recorded_at_s is None else LastUse(recorded_at_s, _BY_RECORD)


class RecordedModel:
    """A model by its names and records; of its manifest possibly only a summary."""

    __slots__ = ()

    paths: EntryPaths
    descriptor: Descriptor | None

    if TYPE_CHECKING:  # At run time it would be the default of a field of that name.

        @property
        def record(self) -> Manifest | ManifestSummary | None:
            """The manifest or what is known of it; None if it is absent."""

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
        if self.record is not None:
            return self.record.handle
        return self.descriptor.handle if self.descriptor is not None else None

    @property
    def title(self) -> str:
        """What a person calls it: the handle, or the key where it is unknown."""
        return self.handle or self.paths.key

    @property
    def aliases(self) -> tuple[str, ...]:
        """The other spellings of its handle that are recorded."""
        return self.record.aliases if self.record is not None else ()

    def last_use_with(self, accessed_at_s: float | None) -> LastUse | None:
        """The last use by record or access, whichever is later, or None.

        hubcli records what it does itself. `hub.load` records nothing, but reads saved_model.pb:
        `accessed_at_s` is what `look` found. A mount with noatime keeps the time of the download,
        one with relatime moves it once a day.
        """
        return last_use(fetched_at_s(self) if self.record is None else self.record.used_at_s, accessed_at_s)


@dataclass(frozen=True, slots=True)
class CachedModel(RecordedModel):
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
    def record(self) -> Manifest | None:
        """The manifest."""
        return self.manifest

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
        return None if self.manifest is None else self._look(top, self.manifest, is_measured=False).problem

    def look(self, top: Path | None = None) -> Look:
        """`difference`, last access and footprint; of a model without a manifest only the last access."""
        if self.manifest is None:
            return Look(None, accessed_at_s(self.paths.model_text if top is None else f"{top}"), Footprint())
        return self._look(top, self.manifest, is_measured=True)

    def _look(self, top: Path | None, manifest: Manifest, *, is_measured: bool) -> Look:
        folder = self.paths.model_text if top is None else f"{top}"
        files = ((file.path, file.size_bytes) for file in manifest.files)
        return look_at(folder, files, is_measured=is_measured)

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


_NOT_MEASURED = Footprint()


def look_at(
    folder: str, files: Iterable[tuple[str, int]], *, is_measured: bool = True, directory: int | None = None
) -> Look:
    """The first difference between paths with sizes and the files below the folder, and what these tell.

    Without `is_measured` the footprint stays empty. With the descriptor of a `directory`, the folder is a
    path from there.
    """
    accessed, problem = None, None
    lstat, statuses = os.lstat, []  # A listing comes here for every file of the cache.
    for path, size_bytes in files:
        try:
            name = path if path.isascii() else on_disk(path)
            status = lstat(f"{folder}/{name}", dir_fd=directory)
        except (FileNotFoundError, NotADirectoryError):
            problem = f"{path} is missing"
            break
        except OSError as error:
            problem = f"{path} cannot be accessed: {error.strerror}"
            break
        except ValueError:  # A record of others may have NUL or half a surrogate pair in a name.
            problem = f"{path} is not a file name"
            break
        if status.st_size != size_bytes or not stat.S_ISREG(status.st_mode):
            problem = f"{path} has {status.st_size} bytes instead of {size_bytes}"
            break
        if is_measured:
            statuses.append(status)
        if path in MAIN_FILES:
            accessed = status.st_atime
    if not is_measured:
        return Look(problem, accessed, _NOT_MEASURED)
    counter = FootprintCounter()
    counter.add_all(statuses)
    return Look(problem, accessed, counter.footprint())


def accessed_at_s(folder: str) -> float | None:
    """When the main file in the folder was last read, in seconds since 1970; None without one."""
    for name in MAIN_FILES:
        with suppress(OSError):
            return os.lstat(f"{folder}/{name}").st_atime
    return None


def fetched_at_s(model: RecordedModel) -> float | None:
    """When the model was downloaded, in seconds since 1970, as the records or else the directory tell."""
    if model.record is not None:
        return model.record.fetched_at_s
    if model.descriptor is not None and model.descriptor.downloaded_at_s is not None:
        return model.descriptor.downloaded_at_s
    return _modified_at_s(model.path)


def _modified_at_s(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


if not TYPE_CHECKING:  # The type checker reports the old names.

    def __getattr__(name: str) -> object:
        return renamed(__name__, name)
