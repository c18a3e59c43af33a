"""What is cached of a handle: whether it can be used, and what is recorded of what another tool made."""

from __future__ import annotations

import time

from hubcli.archive.members import FileRecord
from hubcli.cache.disk import file_sizes
from hubcli.cache.entry import Entry
from hubcli.cache.manifest import Manifest
from hubcli.errors import BrokenModelError
from hubcli.handle import Handle
from hubcli.savedmodel.structure import check_structure

__all__ = ["archive_changed", "manifest_of_adopted", "problem_of"]


def problem_of(entry: Entry) -> str | None:
    """Why the entry can't be used, or None where it can."""
    if entry.manifest is not None:
        return entry.difference()
    try:
        check_structure(entry.path)
    except BrokenModelError as error:
        return error.message
    return None


def archive_changed(handle: Handle, entry: Entry) -> bool:
    """Whether a local archive was changed since it was unpacked into the entry."""
    path, manifest = handle.path, entry.manifest
    if path is None or manifest is None or not path.is_file():
        return False
    stat = path.stat()
    return stat.st_size != manifest.archive_bytes or stat.st_mtime > manifest.fetched_at_s


def manifest_of_adopted(handle: Handle, entry: Entry) -> Manifest:
    """A manifest with what the files of another tool's entry tell: no hashes."""
    fetched_at_s = entry.fetched_at_s() or time.time()
    sizes = sorted(file_sizes(entry.path).items())
    return Manifest(
        handle=str(handle),
        aliases=handle.aliases,
        source="tensorflow_hub",
        kind=check_structure(entry.path).value,
        files=tuple(FileRecord(path, size, None) for path, size in sizes),
        fetched_at_s=fetched_at_s,
        last_used_at_s=fetched_at_s,
    )
