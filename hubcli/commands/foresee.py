"""What a fetch would do, and how much would come. Nothing is written, not even the cache's root."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from hubcli.cache.disk import directory_size_bytes
from hubcli.cache.store import Store
from hubcli.commands.addresses import archive_address, latest_of
from hubcli.commands.cached import archive_changed, problem_of
from hubcli.commands.fetch import FetchOptions, fetch
from hubcli.commands.listener import Listener
from hubcli.commands.sources import open_source, require_source
from hubcli.handle import Handle, HandleKind
from hubcli.net.retries import Retries
from hubcli.settings import Settings

__all__ = ["Fate", "Foreseen", "foresee"]


class Fate(str, Enum):
    """What a fetch would do with a model."""

    CACHED = "cached"
    WOULD_FETCH = "would-fetch"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A model that a fetch would find or bring.

    `size_bytes` is that of its files where they are here already, of the
    archive where that would come; None where the host doesn't tell.
    """

    handle: str
    fate: Fate
    size_bytes: int | None


def foresee(
    handle: Handle, settings: Settings, options: FetchOptions, listener: Listener | None = None
) -> Foreseen:
    """Looks, and asks the host for the size of what would come. Raises what `fetch` would."""
    listener = listener or Listener()
    if handle.kind is HandleKind.PATH:
        local = fetch(handle, settings, options, listener)  # Its own place: nothing is written.
        return Foreseen(str(handle), Fate.LOCAL, local.size_bytes)
    entry = None if options.force else Store(settings.cache_root).find(handle)
    if entry is not None and not archive_changed(handle, entry) and problem_of(entry) is None:
        options.promise.check_entry(str(handle), entry, listener.received)
        manifest = entry.manifest
        size_bytes = directory_size_bytes(entry.path) if manifest is None else manifest.size_bytes
        return Foreseen(str(handle), Fate.CACHED, size_bytes)
    require_source(handle, settings, options.local)
    return Foreseen(str(handle), Fate.WOULD_FETCH, _size_bytes(handle, settings, options, listener))


def _size_bytes(handle: Handle, settings: Settings, options: FetchOptions, listener: Listener) -> int | None:
    if options.local is None and handle.archive_url is not None:
        from hubcli.net.probe import probe_size  # httpx takes 80 ms to load.

        retries = Retries.of(settings, options.completed(settings).retries, listener.retrying)
        url = archive_address(latest_of(handle, settings, retries), settings)
        return probe_size(url, settings.timeout_s, retries, settings.access)
    if options.local == "-":
        return None
    with open_source(handle, settings, options.local) as source:
        return source.size_bytes
