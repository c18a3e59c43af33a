"""`pin` and `unpin`: which models are protected from gc."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hubcli.cache.cached_model import CachedModel
from hubcli.cache.layout import EntryPaths, cache_errors, is_key
from hubcli.cache.lock import hold_lock
from hubcli.cache.store import Store
from hubcli.config.settings import Settings
from hubcli.errors import HandleError, NotFoundError
from hubcli.fetching.model_ref import ModelRef, Pattern

__all__ = ["Pinning", "pin", "unpin"]


@dataclass(frozen=True, slots=True)
class Pinning:
    """A model that is pinned now, or isn't any more; `name` is its handle, or its key."""

    name: str
    handle: str | None
    path: Path
    is_pinned: bool
    was_pinned: bool


def pin(target: str, settings: Settings | None = None) -> list[Pinning]:
    """Protects cached models from gc: that of a handle in any spelling, or all that match a glob.

    Waits where a process is just removing or fetching the model. Raises HandleError,
    NotFoundError where nothing is cached, CacheError.
    """
    settings = settings or Settings.read()
    return [_pin(entry, settings) for entry in _entries(target, settings)]


def unpin(target: str, settings: Settings | None = None) -> list[Pinning]:
    """Removes the protection from gc; raises as `pin` does."""
    settings = settings or Settings.read()
    store = Store(settings.cache_root, settings.durability)
    return [
        _pinning(entry, is_pinned=False, was_pinned=store.unpin(entry.paths))
        for entry in _entries(target, settings)
    ]


def _pin(entry: CachedModel, settings: Settings) -> Pinning:
    store, paths = Store(settings.cache_root, settings.durability), entry.paths
    _sync(entry, settings)
    is_new = store.pin(paths)
    if not paths.model.is_dir():
        # A collection took it away at the same time, and puts it back or not; or it is being fetched.
        with cache_errors(store.root), hold_lock(paths, timeout_s=settings.lock_timeout_s):
            if not paths.model.is_dir():
                store.unpin(paths)
                raise _not_cached(entry.handle or paths.key)
            store.pin(paths)
    return _pinning(entry, is_pinned=True, was_pinned=not is_new)


def _sync(entry: CachedModel, settings: Settings) -> None:
    """Has the model outlast its pin: tensorflow_hub, and hubcli before 0.2, synced nothing.

    Whether it is there is looked at afterwards.
    """
    with cache_errors(settings.cache_root), suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        settings.durability.tree(entry.path.resolve())


def _pinning(entry: CachedModel, *, is_pinned: bool, was_pinned: bool) -> Pinning:
    return Pinning(entry.handle or entry.paths.key, entry.handle, entry.path, is_pinned, was_pinned)


def _entries(target: str, settings: Settings) -> Iterator[CachedModel]:
    """The entries that are meant. Raises NotFoundError for a target without one."""
    root, found = settings.cache_root, False
    if not any(character in target for character in "*["):
        # A handle or a key is looked up directly, without reading the root.
        entry = _entry(target, settings)
        if entry is not None:
            yield entry
            return
    from hubcli.cache.catalog import EntryState, read_catalog  # A handle needs no list of all.

    pattern = Pattern.parse(target, root)
    for model in sorted(read_catalog(root, with_index=False).models, key=lambda model: model.key):
        if model.state in (EntryState.FOREIGN, EntryState.DOWNLOADING):
            continue
        if pattern.fits(model.key, model.handle, model.aliases):
            found = True
            yield CachedModel.read(model.paths)
    if not found:
        raise _not_cached(target)


def _entry(target: str, settings: Settings) -> CachedModel | None:
    """The entry of a handle, a key or a path; None for what may be a glob still."""
    key = EntryPaths(settings.cache_root, target)
    if is_key(target) and key.model.is_dir() and not key.model.is_symlink():
        return CachedModel.read(key)  # Even where a file in the working directory has that name.
    may_be_glob = "?" in target  # Or a query that was left in.
    try:
        resolved = ModelRef.resolve(target, settings)
    except (HandleError, NotFoundError) as error:
        if may_be_glob:
            return None
        if isinstance(error, HandleError):
            raise Pattern.refusal(target, error) from error
        raise
    entry = resolved.entry
    if entry is None and resolved.directory is not None:
        entry = CachedModel.at(resolved.directory, settings.cache_root)
    if entry is None and not may_be_glob:
        raise _not_cached(resolved.name)
    return entry


def _not_cached(name: str) -> NotFoundError:
    return NotFoundError(f"Not in the cache: {name}", hint="See: hubcli ls")
