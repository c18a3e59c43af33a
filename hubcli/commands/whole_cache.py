"""Every model of the cache as a target, for commands that take all of it when none is named."""

from __future__ import annotations

from dataclasses import dataclass

from hubcli.cache.catalog import EntryState, read_catalog
from hubcli.commands.targets import Target
from hubcli.settings import Settings

__all__ = ["CachedTargets", "cached_targets"]


@dataclass(frozen=True, slots=True)
class CachedTargets:
    """The models in the order of their handles, and the names of those that are being downloaded."""

    targets: tuple[Target, ...]
    downloading: tuple[str, ...]


def cached_targets(settings: Settings | None = None) -> CachedTargets:
    """What is cached, foreign names left out. Raises CacheError."""
    catalog = read_catalog((settings or Settings.read()).cache_root)
    targets, downloading = [], []
    for row in catalog.rows:
        name = row.entry.handle or row.name if row.entry is not None else row.name
        if row.state is EntryState.DOWNLOADING:
            downloading.append(name)
        elif row.entry is not None and row.state is not EntryState.FOREIGN:
            targets.append(Target(name, None, directory=row.entry.path, entry=row.entry))
    return CachedTargets(tuple(sorted(targets, key=lambda one: one.name)), tuple(sorted(downloading)))
