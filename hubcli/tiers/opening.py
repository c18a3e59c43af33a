"""The shared tiers of the settings, opened; nothing is asked of them yet."""

from __future__ import annotations

from collections.abc import Sequence

from hubcli.config.settings import Settings
from hubcli.config.tiers import TierConfig
from hubcli.errors import UsageError
from hubcli.progress import ProgressListener
from hubcli.tiers.tier import SharedTier

__all__ = ["open_tier", "open_tiers", "writable_tier"]


def open_tiers(settings: Settings, listener: ProgressListener | None = None) -> Sequence[SharedTier]:
    """The tiers in their order. Raises UsageError where obstore isn't installed for one, HandleError."""
    return tuple(open_tier(config, settings, listener) for config in settings.tiers)


def open_tier(config: TierConfig, settings: Settings, listener: ProgressListener | None = None) -> SharedTier:
    """The tier of that configuration."""
    from hubcli.net.bucket_store import open_store

    listener = listener or ProgressListener()
    return SharedTier(open_store(config.address, settings, listener.retrying), config)


def writable_tier(settings: Settings, listener: ProgressListener | None = None) -> SharedTier:
    """The first tier that may be written. Raises UsageError where the settings have none."""
    config = next((config for config in settings.tiers if config.is_writable), None)
    if config is None:
        raise UsageError(
            "No writable shared tier", hint="Specify one, such as --tier 's3://models/hub?mode=read-write'"
        )
    return open_tier(config, settings, listener)
