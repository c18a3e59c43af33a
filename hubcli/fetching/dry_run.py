"""What a fetch would do, and how much would come. Nothing is written, not even the cache's root."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from hubcli.cache.disk_usage import directory_size_bytes
from hubcli.cache.store import Store
from hubcli.config.settings import Settings
from hubcli.fetching.addresses import archive_address, latest_of, naming
from hubcli.fetching.byte_sources import size_of
from hubcli.fetching.cached import archive_changed, local_directory, problem_of
from hubcli.fetching.options import FetchOptions
from hubcli.fetching.sources import open_source, require_source
from hubcli.net.retries import RetryPolicy
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle

__all__ = ["DryRun", "PlannedAction", "dry_run"]


class PlannedAction(str, Enum):
    """What a fetch would do with a model."""

    CACHED = "cached"
    WOULD_FETCH = "would-fetch"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class DryRun:
    """A model that a fetch would find or bring.

    `size_bytes` is that of its files where they are here already, of the
    archive where that would come; None where the host doesn't tell.
    """

    handle: str
    action: PlannedAction
    size_bytes: int | None


def dry_run(
    handle: Handle, settings: Settings, options: FetchOptions, listener: ProgressListener | None = None
) -> DryRun:
    """Looks, and asks the host for the size of what would come. Raises what `fetch` would."""
    listener = listener or ProgressListener()
    if handle.is_directory:
        with naming(handle, settings):  # As a fetch of it does.
            local = local_directory(handle, options, listener.received)
        return DryRun(str(handle), PlannedAction.LOCAL, local.size_bytes)
    entry = None if options.force else Store(settings.cache_root).find(handle)
    if entry is not None and not archive_changed(handle, entry) and problem_of(entry) is None:
        options.expected.check_entry(str(handle), entry, listener.received)
        manifest = entry.manifest
        size_bytes = directory_size_bytes(entry.path) if manifest is None else manifest.size_bytes
        return DryRun(str(handle), PlannedAction.CACHED, size_bytes)
    require_source(handle, settings, options.local)
    return DryRun(str(handle), PlannedAction.WOULD_FETCH, _size_bytes(handle, settings, options, listener))


def _size_bytes(
    handle: Handle, settings: Settings, options: FetchOptions, listener: ProgressListener
) -> int | None:
    if options.local is None:
        retries = RetryPolicy.of(settings, options.completed(settings).retries, listener.retrying)
        return size_of(archive_address(latest_of(handle, settings, retries), settings), settings, retries)
    if options.local == "-":
        return None
    with open_source(handle, settings, options.local) as source:
        return source.size_bytes
