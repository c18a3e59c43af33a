"""Names: the handles that lead to one entry, as they turn out while it is fetched."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hubcli.cache.cached_model import CachedModel
from hubcli.cache.kagglehub import KaggleHub
from hubcli.cache.store import Store
from hubcli.config.settings import Settings
from hubcli.fetching.cached import problem_of
from hubcli.fetching.sources import Source
from hubcli.fetching.versions import kaggle_equivalent, spellings_of
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle, key_of
from hubcli.providers.kaggle import KaggleModel

__all__ = ["AliasRecord", "Aliases"]


@dataclass(frozen=True, slots=True)
class AliasRecord:
    """What a manifest names: the handle of the entry and its other spellings."""

    handle: str
    aliases: tuple[str, ...]


class Aliases:
    """The handle that is fetched, and the others of the same model.

    `unversioned` is the one of Kaggle that was asked for, where it means the handle now. The
    equivalent on Kaggle is known once the host has redirected to it.
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
        self._equivalent: Handle | None = None

    def entry_of(self, source: Source, cached: CachedModel | None) -> CachedModel | None:
        """The entry that holds already what the source would send, None where that must come.

        `cached` is the handle's own, where it is whole.
        """
        self._equivalent = kaggle_equivalent(self.handle, source.hops, self._settings)
        if source.is_known:
            return cached
        if self._equivalent is None:
            return None
        entry, own = self._store.find(self._equivalent), self._store.find(self.handle)
        is_whole = entry is not None and problem_of(entry) is None
        if entry is None or not is_whole or (own is not None and own.paths != entry.paths):
            return None
        entry.touch()  # So that a collection sees that it is used.
        return entry if entry.path.is_dir() else None

    def record(self) -> AliasRecord:
        """What the manifest of the handle's entry is to name.

        What never changes its bytes keeps its names: an entry of a tfhub.dev handle stays that, though
        its equivalent on Kaggle is fetched over it. What may change is named as what it is now.
        """
        handles = [self.handle, *([self._equivalent] if self._equivalent is not None else [])]
        every = dict.fromkeys(spelling for one in handles for spelling in (one.canonical, *one.aliases))
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
        for other in filter(None, (self._equivalent, self._unversioned)):
            complete &= self._store.link_aliases(other, entry)
            paths = self._store.paths(other)
            if paths.key != entry.paths.key and paths.model.is_dir():
                self._listener.note(
                    f"{other} has a copy of its own in the cache, which hub.load goes on to find: "
                    f"hubcli rm {paths.key} removes it"
                )
        return complete

    def show_to_kagglehub(self, entry: CachedModel) -> None:
        """Lets kagglehub find the entry under the version on Kaggle that it is, where it is one."""
        spellings = (str(self.handle), *spellings_of(entry))
        model = next(KaggleModel.versions_of(spellings), None)
        why_not: str | None = "it isn't known under a version on Kaggle"
        if model is not None:
            kagglehub = replace(KaggleHub.of(self._settings), durability=self._settings.durability)
            why_not = kagglehub.link(model, entry.path)
        if why_not is not None:
            self._listener.note(f"kagglehub isn't shown {self.handle}: {why_not}")
