"""`push`: cached models into a shared tier, verified before."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hubcli.cache.cached_model import CachedModel
from hubcli.commands.fetch import fetch
from hubcli.commands.verify import verify
from hubcli.config.settings import Settings
from hubcli.errors import BrokenModelError, HandleError, TierError, UsageError
from hubcli.fetching.lock_file import LockedModel
from hubcli.fetching.model_ref import ModelRef, naming_target
from hubcli.fetching.options import ExpectedDigests, FetchOptions
from hubcli.progress import ProgressListener
from hubcli.providers.handle import Handle
from hubcli.tiers.push import PushedModel, push_model, require_allowed

if TYPE_CHECKING:
    from hubcli.tiers.tier import SharedTier

__all__ = ["PushedModel", "push", "push_locked"]


def push(
    target: ModelRef | str,
    tier: SharedTier,
    settings: Settings,
    listener: ProgressListener | None = None,
    *,
    force: bool = False,
) -> PushedModel:
    """Puts a model into the tier; one that isn't cached is fetched first, and the origin's archive is put.

    With `force` the cached model takes the place of what the tier has of the handle. Raises UsageError for
    what no host has, BrokenModelError for a corrupt copy, TierConflictError, NetworkError.
    """
    listener = listener or ProgressListener()
    ref = ModelRef.resolve(target, settings) if isinstance(target, str) else target
    with naming_target(ref, settings):
        if ref.entry is None:
            handle = _pushable(ref.handle, ref.name)
            return _fetched(handle, tier, settings, FetchOptions(), listener)
        handle = _pushable(_handle_of(ref.entry, ref.handle), ref.name)
        verification = verify(ref, settings, listener=listener)
        if not verification.is_whole:
            raise BrokenModelError(
                f"The cached copy of {handle} is corrupt: {verification.faults[0]}",
                hint="Run: hubcli verify --repair",
            )
        entry = CachedModel.read(ref.entry.paths)
        listener.started(str(handle), str(entry.path), verification.size_bytes)
        return push_model(tier, handle, entry, force=force, on_bytes=listener.received)


def push_locked(
    model: LockedModel, tier: SharedTier, settings: Settings, listener: ProgressListener | None = None
) -> PushedModel:
    """Puts exactly the archive that the lock file records, from its origin where the tier hasn't got it.

    One that was locked without its archive is pushed as it is cached, if its files are those.
    """
    listener = listener or ProgressListener()
    handle, expected = _pushable(model.to_fetch, model.handle), model.expected
    options = FetchOptions(sha256=expected.archive_sha256, tree_sha256=expected.tree_sha256)
    if expected.archive_sha256 is None:
        fetch(handle, settings, options, listener)
        return push(str(handle), tier, settings, listener)
    return _fetched(handle, tier, settings, replace(options, force=True), listener)


def _fetched(
    handle: Handle, tier: SharedTier, settings: Settings, options: FetchOptions, listener: ProgressListener
) -> PushedModel:
    """The model by a fetch that puts it into the tier, where every fault is an error."""
    tier.require_writable()
    there = tier.find(handle, options.expected)
    if there is not None and options.force and tier.has(there):
        return PushedModel(str(handle), tier.name, there.archive_sha256, there.archive_bytes, True)
    through = replace(settings, tiers=(tier.config,), require_tier=True)
    result = fetch(handle, through, options, listener)
    fetched = Handle.parse(result.handle)
    found = tier.find(fetched, ExpectedDigests(result.archive_sha256))
    if found is None:
        entry = CachedModel.at(result.path, settings.cache_root)
        if entry is not None:
            require_allowed(tier, fetched, entry)
        raise TierError(f"{tier.name} does not have {fetched} after it was fetched")
    return PushedModel(
        str(fetched),
        tier.name,
        found.archive_sha256,
        found.archive_bytes,
        there is not None,
        result.seconds,
    )


def _handle_of(entry: CachedModel, named: Handle | None) -> Handle | None:
    """The handle under which the entry is recorded, which other machines ask for, else as it was named."""
    if entry.handle is None:
        return named
    try:
        return Handle.parse(entry.handle)
    except HandleError:
        return named


def _pushable(handle: Handle | None, name: str) -> Handle:
    if handle is None or not handle.is_remote:
        raise UsageError(
            f"Cannot push {name}: it has no handle that other machines can fetch",
            hint="Import it under a handle first: hubcli fetch HANDLE --from FILE",
        )
    return handle
