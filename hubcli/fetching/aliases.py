"""The handles that lead to one entry, as they turn out while it is fetched, and the versions they mean."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hubcli.cache.cached_model import CachedModel
from hubcli.cache.layout import EntryPaths, RootNames
from hubcli.cache.other_caches import other_caches
from hubcli.cache.store import Store
from hubcli.config.settings import Settings
from hubcli.fetching.addresses import is_mirrored, latest_of
from hubcli.fetching.cached import problem_of
from hubcli.net.retries import RetryPolicy
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle, key_of

if TYPE_CHECKING:
    from hubcli.net.byte_source import ByteSource

__all__ = ["AliasRecord", "Aliases", "versioned"]


@dataclass(frozen=True, slots=True)
class AliasRecord:
    """What a manifest names: the handle of the entry and its other spellings."""

    handle: str
    aliases: tuple[str, ...]


class Aliases:
    """The handle that is fetched, and the others of the same model.

    `unversioned` is the one that was asked for, where it means the handle now. Equivalents of other
    hosts are known once the handle's has redirected to them.
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
        """The entry that holds already what the source would send, None where that must come.

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
                    f"{other} has a copy of its own in the cache, which hub.load goes on to find: "
                    f"hubcli rm {paths.key} removes it"
                )
        return complete

    def show_to(self, tools: Collection[str], entry: CachedModel) -> None:
        """Lets the other tools find the entry in their caches, by names that they know."""
        for cache in other_caches(self._settings) if tools else ():
            if cache.name in tools:
                why_not = cache.link((str(self.handle), *spellings_of(entry)), entry.path)
                if why_not is not None:
                    self._listener.note(f"{cache.name} isn't shown {self.handle}: {why_not}")


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

    That is the version which was the latest when it was fetched; where there is none, or with `refresh`,
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
            listener.note(f"Offline, {newest} is the newest version that is cached: {title} isn't asked")
        return newest or handle
    if _has_own_entry(handle, store):
        return handle
    cached = None if refresh else _cached_version(handle, store)
    return cached or latest_of(handle, settings, RetryPolicy.of(settings, retries, listener.retrying))


def _cached_version(handle: Handle, store: Store) -> Handle | None:
    """The handle of the version that the unversioned one leads to, None where none is cached whole."""
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
