"""What an interrupted fetch leaves of a model: the cached one as it was, and bytes to resume from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hubcli.cache.store import Store
from hubcli.errors import CacheError
from hubcli.net.spool import resumable_bytes
from hubcli.providers.handle import Handle
from hubcli.regular_file import open_regular
from hubcli.units import format_size, plural

__all__ = ["PartialDownload", "resume_notes"]

_NOTHING = "Interrupted"
_MAX_HEAD_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class PartialDownload:
    """One model whose fetch was interrupted. `size_bytes` is that of its body, 0 where nothing was kept."""

    handle: Handle
    is_cached: bool
    kept_bytes: int = 0
    size_bytes: int = 0

    @classmethod
    def of(cls, handle: Handle, root: Path) -> PartialDownload:
        """As the cache has it now; nobody may be at it."""
        if handle.is_directory:
            return cls(handle, is_cached=False)
        store = Store(root)
        try:
            is_cached, spool = store.find(handle) is not None, store.paths(handle).spool
        except CacheError:
            return cls(handle, is_cached=False)
        return cls(handle, is_cached, *_resumable_bytes(spool))


def resume_notes(models: Sequence[PartialDownload], not_begun: int = 0) -> tuple[str, str]:
    """Message and hint about them and those not begun; no hint where the next fetch begins at the start."""
    absent = [download for download in models if not download.is_cached]
    cached = [download for download in models if download.is_cached]
    parts = []
    if absent:
        parts.append(f"{_named(absent)} {_is(absent)} not in the cache")
    if cached:
        what = "copy" if len(cached) == 1 else "copies"
        parts.append(f"the cached {what} of {_named(cached)} {_is(cached)} kept")
    if not_begun:
        count = str(not_begun) if parts else plural(not_begun, "model")
        parts.append(f"{count} {'was' if not_begun == 1 else 'were'} not begun")
    message = (
        f"Interrupted: {', '.join(parts[:-1])}{' and ' * (len(parts) > 1)}{parts[-1]}" if parts else _NOTHING
    )
    resumable = sum(download.kept_bytes for download in models)
    if not resumable:
        return message, ""
    size = sum(download.size_bytes for download in models)
    return (
        message,
        f"Run the same command again: it resumes from {format_size(resumable)} of {format_size(size)}",
    )


def _named(models: Sequence[PartialDownload]) -> str:
    return str(models[0].handle) if len(models) == 1 else plural(len(models), "model")


def _is(models: Sequence[PartialDownload]) -> str:
    return "is" if len(models) == 1 else "are"


def _resumable_bytes(spool: Path) -> tuple[int, int]:
    """How many bytes of how many are in the spool; 0 of 0 where the next fetch can't go on with it."""
    try:
        with open_regular(spool.with_name(f"{spool.name}.journal"), is_buffered=True) as file:
            head = json.loads(file.readline(_MAX_HEAD_BYTES))
        size, validator = head["size"], head["validator"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return 0, 0
    if not isinstance(size, int) or not isinstance(validator, str):
        return 0, 0
    resumable = resumable_bytes(spool, size, validator)
    return (resumable, size) if resumable else (0, 0)
