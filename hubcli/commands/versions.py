"""`versions`: which versions of a model its host has, and which are cached."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hubcli.cache.catalog import CachedModelInfo, EntryState, read_catalog
from hubcli.config.settings import Settings
from hubcli.errors import OfflineError, UsageError
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle
from hubcli.providers.kaggle import KaggleModel
from hubcli.publishing.answer_cache import AnswerCache
from hubcli.publishing.kaggle_api import open_kaggle
from hubcli.publishing.listings import VersionHit, index_of_model, kaggle_versions

__all__ = ["DEFAULT_LIMIT", "ModelVersion", "VersionList", "versions"]

DEFAULT_LIMIT = 20


class ModelVersion(NamedTuple):
    """A version of a model: what its host tells, and its directory where it is cached.

    `is_listed` is False for one that is cached, and that the host doesn't list or was not queried for.
    """

    version: str
    handle: str
    size_bytes: int | None
    published_s: float | None
    path: Path | None
    is_listed: bool


@dataclass(frozen=True, slots=True)
class VersionList:
    """The versions, the newest first; `count` of all that the host has, None if it was not queried.

    `cached_at_s` is when the oldest cached answer came, in seconds since 1970; None if none was used.
    """

    handle: str
    versions: tuple[ModelVersion, ...]
    count: int | None
    cached_at_s: float | None = None


def versions(
    target: str,
    settings: Settings | None = None,
    listener: ProgressListener | None = None,
    *,
    limit: int = DEFAULT_LIMIT,
    refresh: bool = False,
) -> VersionList:
    """The newest versions of the model; a version in the handle is ignored.

    Offline, and without a cached answer, those that are cached. Raises HandleError, UsageError for a
    handle without versions, NotFoundError for a host without an index, NetworkError, OfflineError.
    """
    settings, listener = settings or Settings.read(), listener or ProgressListener()
    handle = Handle.parse(target)
    if not handle.is_remote and handle.path is None:
        raise UsageError(
            f"{handle} is built in and has no versions", hint="Use a model on Kaggle or on a host."
        )
    answers = AnswerCache.of(settings, is_refreshed=refresh)
    base = _without_version(handle)
    cached = dict(_cached_versions(handle, base, settings))
    paths = {version: model.path for version, model in cached.items()}
    count: int | None
    try:
        base, found, count = _listed(handle, base, settings, answers, listener, limit)
    except OfflineError:
        if not cached:
            raise
        found, count = [], None
    listed = {hit.version for hit in found}
    rows = [
        ModelVersion(hit.version, hit.handle, hit.size_bytes, hit.published_s, paths.get(hit.version), True)
        for hit in found
    ]
    rows += [
        ModelVersion(version, model.handle or base, model.size_bytes, None, model.path, False)
        for version, model in cached.items()
        if version not in listed
    ]
    rows.sort(key=lambda row: (int(row.version), row.is_listed), reverse=True)
    return VersionList(base, tuple(rows[:limit] if count is not None else rows), count, answers.oldest_s)


def _listed(
    handle: Handle,
    base: str,
    settings: Settings,
    answers: AnswerCache,
    listener: ProgressListener,
    limit: int,
) -> tuple[str, list[VersionHit], int]:
    """The model's name, the newest versions that its host has, and how many it has."""
    model = KaggleModel.of(handle)
    if model is not None:
        with open_kaggle(settings, listener.retrying, answers) as api:
            return (base, *kaggle_versions(api, model, limit))
    index, name = index_of_model(handle, settings, answers, listener.retrying)
    found = index.versions(name)
    return f"{index.address}/{name}", found[:limit], len(found)


def _without_version(handle: Handle) -> str:
    text = handle.canonical
    return text.removesuffix(f"/{handle.version}") if handle.version is not None else text


def _cached_versions(handle: Handle, base: str, settings: Settings) -> Iterator[tuple[str, CachedModelInfo]]:
    """The versions of the model that are in the cache, under any of their spellings."""
    for model in read_catalog(settings.cache_root).models:
        if model.state is not EntryState.OK:
            continue
        texts = [text for text in (model.handle, *model.aliases) if text]
        version = next(handle.provider.versions(handle, texts), None)
        if version is not None and version.version is not None:
            yield version.version, model
            continue
        for text in texts:
            rest = text.removeprefix(f"{base}/")
            if rest != text and rest.isascii() and rest.isdecimal() and len(rest) <= 18:
                yield rest, model
                break
