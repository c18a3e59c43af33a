"""What a command is asked to look at: a cached model, a directory, an archive, or a model elsewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hubcli.errors import NotFoundError
from hubcli.handle import Handle, HandleKind
from hubcli.settings import Settings

if TYPE_CHECKING:
    from hubcli.cache.entry import Entry

__all__ = ["Target"]


_KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
_KEY = re.compile(r"[0-9a-f]{40}")


class Target(NamedTuple):
    """A TARGET of the command line, resolved.

    `name` is the canonical handle or the path. One of `directory` (with `entry`
    where it is a cached model) and `archive` (a local file) is set; neither is
    for a handle that isn't cached.
    """

    name: str
    handle: Handle | None
    directory: Path | None = None
    archive: Path | None = None
    entry: Entry | None = None

    @property
    def is_keras_file(self) -> bool:
        """Whether it is a file of Keras's own kinds, by its name."""
        return self.archive is not None and self.archive.name.lower().endswith(_KERAS_SUFFIXES)

    @classmethod
    def resolve(cls, text: str, settings: Settings) -> Target:
        """The target that the text names: any spelling of a handle, a cache key, a path.

        Raises HandleError, NotFoundError for a path that isn't there, CacheError.
        """
        handle = None if _KEY.fullmatch(text) and not Path(text).exists() else Handle.parse(text)
        if handle is not None and handle.kind is HandleKind.PATH:
            directory = _existing(handle)
            return cls(str(handle), handle, directory=directory, entry=_entry_at(directory, settings))
        if handle is not None and handle.path is not None:
            return cls(str(handle), handle, archive=_existing(handle))
        return cls._cached(text, handle, settings)

    @classmethod
    def _cached(cls, text: str, handle: Handle | None, settings: Settings) -> Target:
        # Imported here: a directory or an archive needs no cache, which takes 10 ms to load.
        from hubcli.cache.entry import Entry
        from hubcli.cache.layout import EntryPaths
        from hubcli.cache.store import Store

        store = Store(settings.cache_root)
        if handle is not None:
            cached = store.find(handle)
            return cls(str(handle), handle, directory=cached.path if cached else None, entry=cached)
        paths = EntryPaths(store.root, text)
        if not paths.model.is_dir():
            raise NotFoundError(f"Nothing is cached under the key {text}", hint="See: hubcli ls")
        entry = Entry.read(EntryPaths(store.root, paths.model.resolve().name))
        return cls(entry.handle or text, None, directory=entry.path, entry=entry)


def _entry_at(directory: Path, settings: Settings) -> Entry | None:
    """The entry whose printed path names the directory; most directories are none, and need no cache."""
    if not _KEY.fullmatch(directory.name):
        return None
    from hubcli.cache.entry import Entry

    return Entry.at(directory, settings.cache_root)


def _existing(handle: Handle) -> Path:
    path = handle.path
    assert path is not None
    try:
        if path.exists():
            return path
    except OSError as error:
        raise NotFoundError(f"{path} can't be opened: {error.strerror}", hint="Check its mode.") from error
    raise NotFoundError(f"{path} doesn't exist", hint="Check the path.")
