"""What a command is asked to look at: a cached model, a directory, an archive, or a model elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hubcli.cache.entry import Entry
from hubcli.cache.layout import EntryPaths, is_key
from hubcli.cache.store import Store
from hubcli.errors import NotFoundError
from hubcli.handle import Handle, HandleKind
from hubcli.settings import Settings

__all__ = ["Target"]


@dataclass(frozen=True, slots=True)
class Target:
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

    @classmethod
    def resolve(cls, text: str, settings: Settings) -> Target:
        """The target that the text names: any spelling of a handle, a cache key, a path.

        Raises HandleError, NotFoundError for a path that isn't there, CacheError.
        """
        store = Store(settings.cache_root)
        if is_key(text) and not Path(text).exists():
            paths = EntryPaths(store.root, text)
            if not paths.model.is_dir():
                raise NotFoundError(f"Nothing is cached under the key {text}", hint="See: hubcli ls")
            entry = Entry.read(EntryPaths(store.root, paths.model.resolve().name))
            return cls(entry.handle or text, None, directory=entry.path, entry=entry)
        handle = Handle.parse(text)
        if handle.kind is HandleKind.PATH:
            return cls(str(handle), handle, directory=_existing(handle))
        if handle.path is not None:
            return cls(str(handle), handle, archive=_existing(handle))
        cached = store.find(handle)
        if cached is not None:
            return cls(str(handle), handle, directory=cached.path, entry=cached)
        return cls(str(handle), handle)


def _existing(handle: Handle) -> Path:
    path = handle.path
    assert path is not None
    try:
        if path.exists():
            return path
    except OSError as error:
        raise NotFoundError(f"{path} can't be opened: {error.strerror}", hint="Check its mode.") from error
    raise NotFoundError(f"{path} doesn't exist", hint="Check the path.")
