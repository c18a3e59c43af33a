"""All that is in the cache: each model with what one look at its files tells, and foreign names.

`CachedModelInfo` is the full view of a `CachedModel`: it opens the model itself for
the `kind` and `format` that no record tells, when it is asked for them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from hubcli.cache.cached_model import (
    CachedModel,
    LastUse,
    RecordedModel,
    UseSource,
    accessed_at_s,
    fetched_at_s,
    last_use,
    look_at,
)
from hubcli.cache.disk_usage import Footprint, directory_size_bytes, measure
from hubcli.cache.layout import EntryPaths, RootNames, cache_errors
from hubcli.cache.record_index import ManifestSummary, RecordReader
from hubcli.cache.records import Descriptor, LockOwner, Manifest
from hubcli.errors import BrokenModelError
from hubcli.formats import MAIN_FILES

TYPE_CHECKING = False  # Each listing would pay for typing.
if TYPE_CHECKING:
    from hubcli.savedmodel.layout import ModelFormat

__all__ = ["CachedModelInfo", "Catalog", "EntryState", "read_catalog"]


class EntryState(str, Enum):
    """What stands under a name of the cache, in words that scripts may rely on."""

    OK = "ok"
    GUTTED = "gutted"
    DOWNLOADING = "downloading"
    UNKNOWN = "unknown"
    FOREIGN = "foreign"


_OK = EntryState.OK  # To read a member of an Enum takes 0.1 µs in Python 3.11.


@dataclass(frozen=True, slots=True)
class CachedModelInfo(RecordedModel):
    """A cached model with the state of its files; or a name in the root that belongs to no model.

    `record` is what its manifest tells a listing; where there is one, the descriptor is not read.
    `size_bytes` is None if unknown, `owner` who downloads it now, `problem` what is wrong
    with one that is incomplete. A snapshot for a collection has the `footprint` of each, the inode, which
    tells it from one that takes its place, the access time of its directory, which `hub.load` lists first
    of all, in nanoseconds, and the links of other spellings. `is_moved` says that it stands elsewhere, and
    only a link is here.
    """

    paths: EntryPaths
    record: ManifestSummary | None
    descriptor: Descriptor | None
    state: EntryState = EntryState.FOREIGN
    size_bytes: int | None = None
    owner: LockOwner | None = None
    problem: str | None = None
    last_use: LastUse | None = None
    is_pinned: bool = False
    is_moved: bool = False
    footprint: Footprint = Footprint()  # noqa: RUF009 - a frozen value
    inode: int = 0
    listed_at_ns: int = 0
    links: tuple[str, ...] = ()
    _detected: ModelFormat | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def look_up(cls, names: RootNames, key: str, records: RecordReader) -> CachedModelInfo:
        """What is known of the model's directory now, by its records and one look at its files."""
        facts, _ = _look_up(names, key, records, is_measured=False)
        return cls(*facts)

    @classmethod
    def for_collection(
        cls, names: RootNames, key: str, links: tuple[str, ...], records: RecordReader
    ) -> CachedModelInfo | None:
        """The same with all that a collection needs to know of it; None if it is gone.

        With an index of records it has no inode, and no collection removes it.
        """
        facts, footprint = _look_up(names, key, records)
        if records.with_index and footprint.size_bytes:
            return cls(*facts, footprint, links=links)
        path = f"{names.root}/{key}"
        try:
            status = os.lstat(path)
        except OSError:
            return None
        if not footprint.size_bytes and key not in names.moved:
            footprint = measure(Path(path)).footprint
        return cls(*facts, footprint, status.st_ino, status.st_atime_ns, links)

    @property
    def manifest(self) -> Manifest | None:
        """The whole manifest, read now; None if it is absent or invalid."""
        return Manifest.read(self.paths.manifest_text) if self.record is not None else None

    @property
    def is_model(self) -> bool:
        """Whether it is a model, and not a person's file or directory that is named like one."""
        return self.state is not EntryState.FOREIGN

    @property
    def name(self) -> str:
        """Its name in the root: for a model, its key."""
        return self.paths.key

    @property
    def fetched_at_s(self) -> float | None:
        """When it was downloaded, in seconds since 1970; None for what is foreign."""
        return fetched_at_s(self) if self.is_model else None

    @property
    def last_used_at_s(self) -> float | None:
        """When it was last used, in seconds since 1970; None if unknown."""
        return None if self.last_use is None else self.last_use.at_s

    @property
    def last_used_by(self) -> UseSource | None:
        """The source: hubcli's record, or the access time of saved_model.pb, which `hub.load` moves."""
        return None if self.last_use is None else self.last_use.source

    @property
    def pinned(self) -> bool:
        """Whether it is protected from collection, as listings call it."""
        return self.is_pinned

    @property
    def holder(self) -> str | None:
        """The process that downloads it, as a person reads it."""
        return None if self.owner is None else str(self.owner)

    @property
    def recorded_format(self) -> str | None:
        """The format as `inspect` names it, where a record tells."""
        return None if self.record is None else self.record.format

    @property
    def kind(self) -> str | None:
        """The kind as its record or else the model itself tells; None if that can't be read."""
        if self.record is not None:
            return self.record.kind
        found = self._detected_format()
        return None if found is None else found.kind

    @property
    def format(self) -> str | None:
        """The format as `inspect` names it, read from the model if its record doesn't say."""
        if self.recorded_format is not None:
            return self.recorded_format
        found = self._detected_format()
        return None if found is None else found.value

    def _detected_format(self) -> ModelFormat | None:
        """By the recorded kind, else the outline of the main file; None if it can't be read.

        Records of 0.1.0 have a kind and no format.
        """
        if self._detected is not None or self.state not in (EntryState.OK, EntryState.UNKNOWN):
            return self._detected
        from hubcli.savedmodel.layout import detect_format, format_of_kind

        with suppress(BrokenModelError, OSError):
            kind = None if self.record is None else self.record.kind
            found = detect_format(self.path) if kind is None else format_of_kind(kind, self.paths.model_text)
            object.__setattr__(self, "_detected", found)
        return self._detected


class Catalog(NamedTuple):
    """The models and foreign names, in no order, and how many names interrupted downloads left behind."""

    root: Path
    models: tuple[CachedModelInfo, ...]
    leftovers: int


def read_catalog(root: Path, *, with_index: bool = True) -> Catalog:
    """The catalog of the cache at `root`; empty without the directory.

    Reads names, sizes and records, never a model; of a large cache, it writes an index of the
    records if that spares the next listing much reading. Raises CacheError if the root can't be read.
    """
    names = RootNames.read(root)
    keys = names.models | names.moved
    with cache_errors(root), RecordReader(names, with_index=with_index) as records:
        models = [CachedModelInfo.look_up(names, key, records) for key in keys]
        records.save(keys)
        models += _downloads(root, names.locked - keys)
        models += [CachedModelInfo(EntryPaths(root, name), None, None) for name in names.foreign]
    leftovers = names.fragments.keys() - keys - {model.key for model in models}
    return Catalog(root, tuple(models), len(leftovers))


def _has_main_file(paths: EntryPaths) -> bool:
    for name in MAIN_FILES:
        with suppress(OSError):
            status = os.lstat(f"{paths.model_text}/{name}")
            if stat.S_ISREG(status.st_mode) and status.st_size:
                return True
    return False


if TYPE_CHECKING:
    _Facts = tuple[
        EntryPaths, ManifestSummary | None, Descriptor | None, EntryState, int | None, LockOwner | None,
        str | None, LastUse | None, bool, bool,
    ]  # fmt: skip


def _look_up(
    names: RootNames, key: str, records: RecordReader, *, is_measured: bool = True
) -> tuple[_Facts, Footprint]:
    """The first fields of a CachedModelInfo, and the footprint where the files are those of the manifest."""
    paths = EntryPaths(names.root, key)
    is_locked, is_pinned, is_moved = key in names.locked, key in names.pinned, key in names.moved
    record = records.read(key)
    if record is not None:
        descriptor, pairs = None, zip(record.shape.paths, record.sizes_bytes, strict=True)
        problem, accessed_s, footprint = look_at(
            records.folder + key, pairs, is_measured=is_measured, directory=records.directory
        )
        used = last_use(record.used_at_s, accessed_s)
        if problem is None and not is_locked:
            return (
                paths, record, None, _OK, sum(record.sizes_bytes), None, None, used, is_pinned,
                is_moved,
            ), Footprint() if is_moved else footprint  # fmt: skip
    else:
        descriptor = Descriptor.read(paths.descriptor)
        model = CachedModel(paths, None, descriptor)
        used = model.last_use_with(accessed_at_s(paths.model_text))
        problem = None if _has_main_file(paths) else "saved_model.pb is missing"
    has_handle = record is not None or descriptor is not None
    owner = _live_owner(paths) if is_locked else None
    state = _state(problem, owner, has_handle=has_handle)
    # A link may lead anywhere, to the whole disk too: none is followed but to a model.
    size_bytes = None if problem is not None and is_moved else directory_size_bytes(paths.model)
    if state is EntryState.FOREIGN:
        return (paths, None, None, state, size_bytes, None, None, None, False, is_moved), Footprint()
    return (
        paths, record, descriptor, state, size_bytes, owner, problem, used, is_pinned, is_moved,
    ), Footprint()  # fmt: skip


def _state(problem: str | None, owner: LockOwner | None, *, has_handle: bool) -> EntryState:
    if problem is not None and owner is not None:
        return EntryState.DOWNLOADING
    if not has_handle:
        return EntryState.UNKNOWN if problem is None else EntryState.FOREIGN
    return EntryState.OK if problem is None else EntryState.GUTTED


def _downloads(root: Path, keys: Iterable[str]) -> list[CachedModelInfo]:
    """The models that aren't there yet, by the locks that live processes hold on them."""
    models = []
    for key in keys:
        paths = EntryPaths(root, key)
        owner = _live_owner(paths)
        if owner is not None:
            size = directory_size_bytes(paths.staging(owner.uid))
            model = CachedModel.read(paths)
            record = None if model.manifest is None else ManifestSummary.of(model.manifest, {})
            models.append(
                CachedModelInfo(paths, record, model.descriptor, EntryState.DOWNLOADING, size, owner)
            )
    return models


def _live_owner(paths: EntryPaths) -> LockOwner | None:
    owner = LockOwner.read(paths.lock)
    return None if owner is None or owner.is_dead(paths.lock) else owner
