"""What the cache has of a handle: a usable entry, the names that lead to it, or part of a download.

The names are those that turn out while it is fetched, with the version that a handle without one means.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hubcli.archive import FileRecord
from hubcli.cache.cached_model import CachedModel
from hubcli.cache.disk_usage import file_sizes
from hubcli.cache.layout import EntryPaths, RootNames
from hubcli.cache.other_caches import other_caches
from hubcli.cache.records import Manifest
from hubcli.cache.store import Store
from hubcli.config.settings import Settings
from hubcli.errors import BrokenModelError, CacheError, NotFoundError, UsageError
from hubcli.fetching.model_ref import is_mirrored, latest_of
from hubcli.fetching.options import FetchOptions, FetchResult
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle, key_of
from hubcli.regular_file import open_regular
from hubcli.units import format_size, plural

if TYPE_CHECKING:
    from hubcli.net.byte_source import ByteSource
    from hubcli.savedmodel.layout import ModelFormat

__all__ = [
    "AliasRecord",
    "Aliases",
    "PartialDownload",
    "archive_changed",
    "link_spellings",
    "local_directory",
    "manifest_of_adopted",
    "problem_of",
    "resume_notes",
    "versioned",
]


def _structure_of(path: Path) -> ModelFormat:
    """The format of the model, whose structure is checked; raises BrokenModelError."""
    # 5 ms, which a fetch of a cached model needn't take: its record lists the files.
    from hubcli.savedmodel.layout import check_structure

    return check_structure(path)


def problem_of(entry: CachedModel) -> str | None:
    """Why the entry can't be used, or None if it can."""
    if entry.manifest is not None:
        return entry.difference()
    try:
        _structure_of(entry.path)
    except BrokenModelError as error:
        return error.message
    return None


def archive_changed(handle: Handle, entry: CachedModel) -> bool:
    """Whether a local archive was changed since it was unpacked into the entry."""
    path, manifest = handle.path, entry.manifest
    if path is None or manifest is None or not path.is_file():
        return False
    stat = path.stat()
    return stat.st_size != manifest.archive_bytes or stat.st_mtime > manifest.fetched_at_s


def manifest_of_adopted(handle: Handle, entry: CachedModel) -> Manifest:
    """A manifest with what the files of another tool's entry tell: no hashes."""
    fetched_at_s = entry.fetched_at_s or time.time()
    found = _structure_of(entry.path)
    sizes = sorted(file_sizes(entry.path).items())
    return Manifest(
        handle=str(handle),
        aliases=handle.aliases,
        source="tensorflow_hub",
        kind=found.kind,
        files=tuple(FileRecord(path, size, None) for path, size in sizes),
        fetched_at_s=fetched_at_s,
        last_used_at_s=fetched_at_s,
        format=found.value,
    )


def local_directory(handle: Handle, options: FetchOptions, on_bytes: Callable[[int], None]) -> FetchResult:
    """A local directory as the result of its fetch: it stays where it is, and is checked.

    Raises UsageError for options that need the cache, NotFoundError, BrokenModelError, IntegrityError.
    """
    began_s, path = time.monotonic(), handle.path
    assert path is not None
    _require_model(handle, path, options)
    options.expected.check_directory(str(path), path, None, on_bytes)
    sizes = file_sizes(path)
    return FetchResult(
        handle=str(path),
        path=path,
        source=None,
        size_bytes=sum(sizes.values()),
        file_count=len(sizes),
        archive_sha256=None,
        seconds=time.monotonic() - began_s,
        was_cached=True,
    )


def _require_model(handle: Handle, path: Path, options: FetchOptions) -> None:
    if options.pin:
        raise UsageError(
            f"Cannot pin {handle}: it is a local directory",
            hint="Pin cached models only: gc never removes anything else.",
        )
    if options.local is not None:
        raise UsageError(
            f"Cannot import as {handle}: it is a local directory",
            hint="Use the handle that is passed to hub.load.",
        )
    try:
        if not path.is_dir():
            raise NotFoundError(f"{path} does not exist", hint="Check the path.")
    except OSError as error:
        raise NotFoundError(f"Cannot open {path}: {error.strerror}", hint="Check its permissions.") from error
    try:
        _structure_of(path)
    except BrokenModelError as error:
        raise BrokenModelError(f"{path}: {error.message}", hint=error.hint) from error


class AliasRecord(NamedTuple):
    """What a manifest names: the handle of the entry and its other spellings."""

    handle: str
    aliases: tuple[str, ...]


class Aliases:
    """The handle that is fetched, and the others of the same model.

    `unversioned` is the handle as it was given, without a version, if it means this one now. Equivalents of
    other hosts are known once the handle's has redirected to them.
    """

    def __init__(
        self,
        handle: Handle,
        store: Store,
        settings: Settings,
        listener: ProgressListener,
        unversioned: Handle | None = None,
    ) -> None:
        self.handle = handle
        self._store = store
        self._settings = settings
        self._listener = listener
        self._unversioned = unversioned
        self._equivalents: tuple[Handle, ...] = ()

    def entry_of(self, source: ByteSource, cached: CachedModel | None) -> CachedModel | None:
        """The entry that holds already what the source would send, None if that must come.

        `cached` is the handle's own, where it is whole.
        """
        provider, access = self.handle.provider, self._settings.access
        self._equivalents = provider.equivalents(self.handle, source.redirects, access)
        if source.is_known:
            return cached
        own = self._store.find(self.handle)
        for equivalent in self._equivalents:
            entry = self._store.find(equivalent)
            if entry is None or problem_of(entry) is not None or (own and own.paths != entry.paths):
                continue
            entry.touch()  # So that a collection sees that it is used.
            if entry.path.is_dir():
                return entry
        return None

    def record(self) -> AliasRecord:
        """What the manifest of the handle's entry is to name.

        What never changes its bytes keeps its names: an entry of a tfhub.dev handle stays that, though
        its equivalent of another host is fetched over it. What may change is named as what it is now.
        """
        handles = (self.handle, *self._equivalents)
        every = dict.fromkeys(text for handle in handles for text in (handle.canonical, *handle.aliases))
        name, before = self.handle.canonical, self._store.find(self.handle)
        if before is not None and before.manifest is not None and self.handle.is_immutable:
            every |= dict.fromkeys(spellings_of(before))
            if key_of(before.manifest.handle) == before.paths.key:
                name = before.manifest.handle
        return AliasRecord(name, tuple(spelling for spelling in every if spelling != name))

    def withdraw_others(self, record: AliasRecord) -> None:
        """Takes the links away that lead to the handle's entry by names which what comes now hasn't."""
        before = self._store.find(self.handle)
        if before is not None and before.manifest is not None:
            self._store.unlink_aliases({*before.manifest.aliases} - {*record.aliases}, before)

    def link(self, entry: CachedModel) -> bool:
        """Lets `hub.load` find the entry under every name; whether all links stand."""
        complete = self._store.link_aliases(self.handle, entry)
        for other in (*self._equivalents, *([self._unversioned] if self._unversioned is not None else [])):
            complete &= self._store.link_aliases(other, entry)
            paths = self._store.paths(other)
            if paths.key != entry.paths.key and paths.model.is_dir():
                self._listener.note(
                    f"{other} has a separate copy in the cache, which hub.load still uses. "
                    f"Remove it: hubcli rm {paths.key}"
                )
        return complete

    def show_to(self, tools: Collection[str], entry: CachedModel) -> None:
        """Lets the other tools find the entry in their caches, by names that they know."""
        for cache in other_caches(self._settings) if tools else ():
            if cache.name in tools:
                why_not = cache.link((str(self.handle), *spellings_of(entry)), entry.path)
                if why_not is not None:
                    self._listener.note(f"{cache.name} cannot find {self.handle}: {why_not}")


def link_spellings(spellings: Iterable[Handle], settings: Settings, key: str) -> None:
    """Lets `hub.load` find the entry of that key under these handles too."""
    entry = CachedModel.read(EntryPaths(settings.cache_root, key))
    store = Store(settings.cache_root, settings.durability)
    for handle in spellings:
        if not handle.is_directory:
            store.link_aliases(handle, entry)


def spellings_of(entry: CachedModel) -> tuple[str, ...]:
    """The handle and the other spellings that the entry's records name."""
    aliases = entry.manifest.aliases if entry.manifest is not None else ()
    return (*([entry.handle] if entry.handle is not None else []), *aliases)


def versioned(
    handle: Handle,
    store: Store,
    settings: Settings,
    listener: ProgressListener,
    *,
    retries: int,
    refresh: bool,
) -> Handle:
    """The handle with the version that it means, where its host knows which; itself else.

    That is the version which was the latest when it was fetched; if none is cached, or with `refresh`,
    the one that the host says is the latest; offline the newest that is cached. An entry under the
    unversioned name itself, as `hub.load` makes it, is renewed in its place. Raises NotFoundError,
    NetworkError.
    """
    if not handle.needs_version or is_mirrored(handle, settings):
        return handle
    if settings.offline:
        newest = _newest_cached(handle, store, settings)
        if newest is not None:
            title = handle.provider.title
            listener.note(f"Offline: using {newest}, the newest cached version; not checking {title}")
        return newest or handle
    if _has_own_entry(handle, store):
        return handle
    cached = None if refresh else _cached_version(handle, store)
    if cached is not None:
        return cached
    from hubcli.net.retries import RetryPolicy  # A cached version needs no host.

    return latest_of(handle, settings, RetryPolicy.of(settings, retries, listener.retrying))


def _cached_version(handle: Handle, store: Store) -> Handle | None:
    """The handle of the version that the unversioned one leads to, None if none is cached whole."""
    entry = store.find(handle)
    if entry is None or problem_of(entry) is not None:
        return None
    return next(handle.provider.versions(handle, spellings_of(entry)), None)


def _has_own_entry(handle: Handle, store: Store) -> bool:
    paths = store.paths(handle)
    return paths.key in (handle.cache_key, *handle.alias_keys) and paths.model.is_dir()


def _newest_cached(handle: Handle, store: Store, settings: Settings) -> Handle | None:
    """The handle of the newest version that is whole in this cache or another tool's, None without any."""
    found = [
        version
        for entry in _entries(store)
        for version in handle.provider.versions(handle, spellings_of(entry))
        if problem_of(entry) is None
    ]
    found += [version for cache in other_caches(settings) for version in cache.versions(handle)]
    return max(found, key=lambda version: int(version.version or 0), default=None)


def _entries(store: Store) -> Iterator[CachedModel]:
    for key in RootNames.read(store.root).models:
        yield CachedModel.read(EntryPaths(store.root, key))


_MAX_HEAD_BYTES = 64 << 10


class PartialDownload(NamedTuple):
    """One model whose fetch was interrupted. `size_bytes` is that of its body, 0 where nothing was kept."""

    handle: Handle
    is_cached: bool
    kept_bytes: int = 0
    size_bytes: int = 0

    @classmethod
    def of(cls, handle: Handle, root: Path) -> PartialDownload:
        """As the cache has it now; no process may be fetching it."""
        if handle.is_directory:
            return cls(handle, is_cached=False)
        store = Store(root)
        try:
            is_cached, spool = store.find(handle) is not None, store.paths(handle).spool
        except CacheError:
            return cls(handle, is_cached=False)
        return cls(handle, is_cached, *_resumable_bytes(spool))


def resume_notes(models: Sequence[PartialDownload], not_begun: int = 0) -> tuple[str, str]:
    """Message and hint about them and those not begun; no hint where the next fetch begins at the start."""
    absent = [download for download in models if not download.is_cached]
    cached = [download for download in models if download.is_cached]
    parts = []
    if absent:
        parts.append(f"{_named(absent)} {_is(absent)} not in the cache")
    if cached:
        what = "copy" if len(cached) == 1 else "copies"
        parts.append(f"the cached {what} of {_named(cached)} {_is(cached)} kept")
    if not_begun:
        count = str(not_begun) if parts else plural(not_begun, "model")
        parts.append(f"{count} {'was' if not_begun == 1 else 'were'} not started")
    message = (
        f"Interrupted: {', '.join(parts[:-1])}{' and ' * (len(parts) > 1)}{parts[-1]}"
        if parts
        else "Interrupted"
    )
    resumable = sum(download.kept_bytes for download in models)
    if not resumable:
        return message, ""
    size = sum(download.size_bytes for download in models)
    return (
        message,
        f"Run the same command again to resume from {format_size(resumable)} of {format_size(size)}",
    )


def _named(models: Sequence[PartialDownload]) -> str:
    return str(models[0].handle) if len(models) == 1 else plural(len(models), "model")


def _is(models: Sequence[PartialDownload]) -> str:
    return "is" if len(models) == 1 else "are"


def _resumable_bytes(spool: Path) -> tuple[int, int]:
    """How many bytes of how many are in the spool; 0 of 0 if the next fetch can't resume it."""
    try:
        with open_regular(spool.with_name(f"{spool.name}.journal"), is_buffered=True) as file:
            head = json.loads(file.readline(_MAX_HEAD_BYTES))
        size, validator = head["size"], head["validator"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return 0, 0
    if not isinstance(size, int) or not isinstance(validator, str):
        return 0, 0
    from hubcli.net.spool import resumable_bytes  # A hit in the cache needs no spool.

    resumable = resumable_bytes(spool, size, validator)
    return (resumable, size) if resumable else (0, 0)
