"""Versions and addresses: which version a handle without one means, and where its archive is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hubcli.cache.cached_model import CachedModel
from hubcli.cache.kagglehub import KaggleHub
from hubcli.cache.layout import EntryPaths, RootNames
from hubcli.cache.store import Store
from hubcli.config.settings import Settings
from hubcli.fetching.addresses import is_mirrored, latest_of
from hubcli.fetching.cached import problem_of
from hubcli.net.retries import RetryPolicy
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle, HandleKind
from hubcli.providers.kaggle import KaggleModel

__all__ = ["kaggle_equivalent", "spellings_of", "versioned"]


def versioned(
    handle: Handle, store: Store, settings: Settings, listener: ProgressListener, *, retries: int, asks: bool
) -> Handle:
    """The handle with the version that it means, where it is one of Kaggle without any; itself else.

    That is the version which was the latest when it was fetched; where there is none, or with `asks`,
    the one that Kaggle says is the latest; offline the newest that is cached. An entry under the
    unversioned name itself, as `hub.load` makes it, is renewed in its place. Raises NotFoundError,
    NetworkError.
    """
    if handle.kaggle is None or handle.version is not None or is_mirrored(handle, settings):
        return handle
    if settings.offline:
        newest = _newest_cached(handle, store, settings)
        if newest is not None:
            listener.note(f"Offline, {newest} is the newest version that is cached: Kaggle isn't asked")
        return newest or handle
    if _has_own_entry(handle, store):
        return handle
    cached = None if asks else _cached_version(handle, store)
    return cached or latest_of(handle, settings, RetryPolicy.of(settings, retries, listener.retrying))


def _cached_version(handle: Handle, store: Store) -> Handle | None:
    """The handle of the version that the unversioned one leads to, None where none is cached whole."""
    entry = store.find(handle)
    if entry is None or problem_of(entry) is not None:
        return None
    model = next((one for one in KaggleModel.versions_of(spellings_of(entry)) if _is_same(one, handle)), None)
    return None if model is None else Handle.of_kaggle(model)


def _has_own_entry(handle: Handle, store: Store) -> bool:
    paths = store.paths(handle)
    return paths.key in (handle.cache_key, *handle.alias_keys) and paths.model.is_dir()


def _newest_cached(handle: Handle, store: Store, settings: Settings) -> Handle | None:
    """The handle of the newest version that is whole in this cache or in kagglehub's, None without any."""
    assert handle.kaggle is not None
    found = [
        model
        for entry in _entries(store)
        for model in KaggleModel.versions_of(spellings_of(entry))
        if _is_same(model, handle) and problem_of(entry) is None
    ]
    found += KaggleHub.of(settings).versions(handle.kaggle)
    return Handle.of_kaggle(max(found, key=lambda one: int(one.version or 0))) if found else None


def kaggle_equivalent(handle: Handle, hops: Iterable[str], settings: Settings) -> Handle | None:
    """The versioned handle on Kaggle that a handle of tfhub.dev was redirected through, None without one.

    tfhub.dev says so itself that both are one model. Version numbers differ between the two, and
    other hosts may say what they like: theirs is no proof.
    """
    if handle.kind is not HandleKind.TFHUB:
        return None
    model = next(KaggleModel.versions_of(hops, settings.access.kaggle.endpoint), None)
    return None if model is None else Handle.of_kaggle(model)


def spellings_of(entry: CachedModel) -> tuple[str, ...]:
    """The handle and the other spellings that the entry's records name."""
    aliases = entry.manifest.aliases if entry.manifest is not None else ()
    return (*([entry.handle] if entry.handle is not None else []), *aliases)


def _is_same(model: KaggleModel, handle: Handle) -> bool:
    return handle.kaggle == model.at_version(None)


def _entries(store: Store) -> Iterator[CachedModel]:
    for key in RootNames.read(store.root).models:
        yield CachedModel.read(EntryPaths(store.root, key))
