"""Collection after a fetch, once a day, where the user asks for it. Light: every fetch looks if it is due."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hubcli.config.settings import Settings, UpkeepRules

if TYPE_CHECKING:
    from hubcli.cache.gc.policy import Policy
    from hubcli.commands.gc import Collection

__all__ = ["AutoGc"]

_EVERY_S = 86400.0


@dataclass(frozen=True, slots=True)
class AutoGc:
    """The policy, and where it stands."""

    policy: Policy
    source: str

    @classmethod
    def of_environment(cls) -> AutoGc | None:
        """What HUBCLI_GC or the config file ask for, None where they ask for nothing.

        Raises UsageError for rules that can't be understood.
        """
        rules = UpkeepRules.read()
        if rules is None:
            return None
        from hubcli.cache.gc.policy import Policy

        return cls(Policy.parse(rules.text, rules.source), rules.source)

    def run(self, settings: Settings, fetched: Iterable[Path]) -> Collection | None:
        """Collects, but nothing of what was just fetched; None where it was done within a day.

        Raises CacheError, UsageError for a root that is no cache's alone.
        """
        if not _claim(settings.cache_root):
            return None
        from hubcli.commands.gc import gc  # Once a day.

        return gc(settings, self.policy, spared=frozenset(path.name for path in fetched))


def _claim(root: Path) -> bool:
    """Whether an upkeep is due; from now on it isn't, whatever comes of it."""
    from hubcli.cache.layout import UPKEEP_NAME

    stamp = root / UPKEEP_NAME
    try:
        if 0 <= time.time() - stamp.lstat().st_mtime < _EVERY_S:
            return False
        os.utime(stamp, follow_symlinks=False)
    except FileNotFoundError:
        return _create(stamp)
    except OSError:  # A cache that can't be written can't be collected either.
        return False
    return True


def _create(stamp: Path) -> bool:
    try:
        stamp.touch(exist_ok=False)
    except OSError:  # Another fetch was faster, or there is no cache that can be written.
        return False
    return True
