"""What is cached of a handle: whether it can be used, and what is recorded of what another tool made."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hubcli.archive.members import FileRecord
from hubcli.cache.cached_model import CachedModel
from hubcli.cache.disk_usage import file_sizes
from hubcli.cache.records import Manifest
from hubcli.errors import BrokenModelError, NotFoundError, UsageError
from hubcli.fetching.options import FetchOptions, FetchResult
from hubcli.providers.handle import Handle

if TYPE_CHECKING:
    from hubcli.savedmodel.layout import ModelFormat

__all__ = ["archive_changed", "local_directory", "manifest_of_adopted", "problem_of"]


def _structure_of(path: Path) -> ModelFormat:
    """The format of the model, whose structure is checked; raises BrokenModelError."""
    # 5 ms, which a fetch of a cached model would pay: its record says what is to be there.
    from hubcli.savedmodel.layout import check_structure

    return check_structure(path)


def problem_of(entry: CachedModel) -> str | None:
    """Why the entry can't be used, or None where it can."""
    if entry.manifest is not None:
        return entry.difference()
    try:
        _structure_of(entry.path)
    except BrokenModelError as error:
        return error.message
    return None


def archive_changed(handle: Handle, entry: CachedModel) -> bool:
    """Whether a local archive was changed since it was unpacked into the entry."""
    path, manifest = handle.path, entry.manifest
    if path is None or manifest is None or not path.is_file():
        return False
    stat = path.stat()
    return stat.st_size != manifest.archive_bytes or stat.st_mtime > manifest.fetched_at_s


def manifest_of_adopted(handle: Handle, entry: CachedModel) -> Manifest:
    """A manifest with what the files of another tool's entry tell: no hashes."""
    fetched_at_s = entry.fetched_at_s or time.time()
    found = _structure_of(entry.path)
    sizes = sorted(file_sizes(entry.path).items())
    return Manifest(
        handle=str(handle),
        aliases=handle.aliases,
        source="tensorflow_hub",
        kind=found.kind,
        files=tuple(FileRecord(path, size, None) for path, size in sizes),
        fetched_at_s=fetched_at_s,
        last_used_at_s=fetched_at_s,
        format=found.value,
    )


def local_directory(handle: Handle, options: FetchOptions, on_bytes: Callable[[int], None]) -> FetchResult:
    """A local directory as the result of its fetch: it stays where it is, and is checked.

    Raises UsageError for options that need the cache, NotFoundError, BrokenModelError, IntegrityError.
    """
    began_s, path = time.monotonic(), handle.path
    assert path is not None
    _require_model(handle, path, options)
    options.expected.check_directory(str(path), path, None, on_bytes)
    sizes = file_sizes(path)
    return FetchResult(
        handle=str(path),
        path=path,
        source=None,
        size_bytes=sum(sizes.values()),
        file_count=len(sizes),
        archive_sha256=None,
        seconds=time.monotonic() - began_s,
        was_cached=True,
    )


def _require_model(handle: Handle, path: Path, options: FetchOptions) -> None:
    if options.pin:
        raise UsageError(
            f"{handle} is a directory of its own: it can't be pinned",
            hint="Only what is in the cache is ever collected.",
        )
    if options.local is not None:
        raise UsageError(
            f"--from can't put anything under {handle}, which is a directory of its own",
            hint="Give the handle under which hub.load will ask for it.",
        )
    try:
        if not path.is_dir():
            raise NotFoundError(f"{path} doesn't exist", hint="Check the path.")
    except OSError as error:
        raise NotFoundError(f"{path} can't be opened: {error.strerror}", hint="Check its mode.") from error
    try:
        _structure_of(path)
    except BrokenModelError as error:
        raise BrokenModelError(f"{path}: {error.message}", hint=error.hint) from error
