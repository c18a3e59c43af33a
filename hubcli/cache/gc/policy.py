"""What may be collected, as a person asks for it, and when that is due where it happens by itself."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from hubcli.cache.layout import UPKEEP_NAME
from hubcli.config.retention import parse_retention_rules
from hubcli.errors import UsageError

__all__ = ["Policy", "claim_auto_gc"]

_AUTO_GC_EVERY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Policy:
    """Rules of collection, each adding to what goes; None where a rule isn't wanted.

    Sizes are bytes on the disk, times are in seconds. `older_than_s` takes what
    wasn't used for so long, `keep_versions` all but the newest so many of each
    model, `is_broken_wanted` what a check condemned. `max_size_bytes` and
    `min_free_bytes` are budgets: then the least recently used go until they are
    met. Nothing goes that was used or changed within `grace_s`.
    """

    older_than_s: float | None = None
    max_size_bytes: int | None = None
    min_free_bytes: int | None = None
    keep_versions: int | None = None
    is_broken_wanted: bool = False
    grace_s: float = 3600.0
    keep_partial_s: float = 7 * 86400.0

    def __post_init__(self) -> None:
        if self.keep_versions is not None and self.keep_versions < 1:
            raise UsageError(
                f"{self.keep_versions} versions can't be kept", hint="Keep one or more: --keep-versions 1."
            )

    @classmethod
    def parse(cls, text: str, source: str) -> Policy:
        """A policy from `max-size=20GB,older-than=90d,broken`; `source` says where that text stands.

        The words are those of the options of `hubcli gc`. Raises UsageError for
        anything else.
        """
        return cls(**parse_retention_rules(text, source))


def claim_auto_gc(root: Path) -> bool:
    """Whether the cache wasn't collected by a fetch within a day; if so, this caller is to do it.

    From now on it isn't due, whatever comes of it. The time of the last is that of a file in the cache.
    """
    stamp = root / UPKEEP_NAME
    try:
        if 0 <= time.time() - stamp.lstat().st_mtime < _AUTO_GC_EVERY_S:
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
