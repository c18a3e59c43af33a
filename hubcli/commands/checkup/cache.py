"""The cache as a place: which directory, whether it can be written, what its disk has left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from hubcli.cache.guard import require_collectable
from hubcli.commands.checkup.case import ROOT_SOURCES, Case
from hubcli.commands.checkup.check import Check, Section, Status
from hubcli.commands.checkup.mounts import FileSystem
from hubcli.commands.checkup.writing import is_directory, nearest_directory, try_writing
from hubcli.errors import UsageError
from hubcli.quantity import format_size

__all__ = ["check_disk", "check_lifetime", "check_root", "check_writing", "temporary_directory"]

_check = partial(Check, Section.CACHE)

_LITTLE_BYTES = 1_000_000_000
_TOO_LITTLE_BYTES = 50_000_000
_TEMPORARY = ("/tmp", "/var/tmp", "/usr/tmp", "/dev/shm")  # noqa: S108 - named, not written
_ELSEWHERE = "Name another directory: --cache-dir DIR, or export TFHUB_CACHE_DIR=DIR"


def check_root(case: Case) -> Iterator[Check]:
    """Which directory it is, and who says so."""
    for source in ROOT_SOURCES:
        if source in case.faults:
            fault = case.faults[source]
            yield _check("root", Status.PROBLEM, fault.message, None, fault.hint)
            return
    root = case.settings.cache_root
    value = {"path": str(root), "source": case.settings.cache_root_source, "exists": is_directory(root)}
    where = f"{root} ({case.settings.cache_root_source})"
    if is_directory(root):
        yield _check("root", Status.OK, where, value)
    elif os.path.lexists(root):
        what = "a link to nothing" if root.is_symlink() else "no directory"
        yield _check("root", Status.PROBLEM, f"{where} is {what}", value, _ELSEWHERE)
    else:
        yield _check("root", Status.OK, f"{where}, not there yet: the first fetch makes it", value)
    if is_directory(root):
        try:
            require_collectable(root)
        except UsageError as error:
            yield _check("collectable", Status.WARNING, error.message, None, error.hint)


def check_writing(case: Case) -> Iterator[Check]:
    """Whether a download can put a model there."""
    root = case.settings.cache_root
    if not case.has_root or (os.path.lexists(root) and not is_directory(root)):
        return
    try:
        if is_directory(root):
            os.listdir(root)  # noqa: PTH208 - whether it can be read
        try_writing(root)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        message = f"no: {reason} ({error.filename or root})"
        hint = f"Check its owner and mode. {_ELSEWHERE}"
        yield _check("writable", Status.PROBLEM, message, value=False, hint=hint)
    else:
        tried = "yes: a file was written, renamed and removed"
        yield _check("writable", Status.OK, tried, value=True)


def check_disk(case: Case) -> Iterator[Check]:
    """Its file system, and what that has left."""
    if not case.has_root:
        return
    disk = FileSystem.of(nearest_directory(case.settings.cache_root))
    kind = disk.kind or "file system of unknown kind"
    message = f"{kind}, {format_size(disk.free_bytes)} of {format_size(disk.total_bytes)} free"
    value = {
        "type": disk.kind or None,
        "free_bytes": disk.free_bytes,
        "total_bytes": disk.total_bytes,
        "free_files": disk.free_files,
        "read_only": disk.is_read_only,
    }
    hint = f"Free some space: hubcli gc --older-than 30d. {_ELSEWHERE}"
    if disk.free_files == 0:
        yield _check("disk", Status.PROBLEM, f"{message}, but no file can be made more", value, hint)
    elif disk.free_bytes < _LITTLE_BYTES:
        status = Status.PROBLEM if disk.free_bytes < _TOO_LITTLE_BYTES else Status.WARNING
        yield _check("disk", status, f"{message}: too little for many models", value, hint)
    elif disk.is_of_network:
        message += "; of a network: a process on another host is known by its silence alone"
        yield _check("disk", Status.INFO, message, value)
    else:
        yield _check("disk", Status.OK, message, value)


def check_lifetime(case: Case) -> Iterator[Check]:
    """Whether something empties the directory: a cleaner of temporary files, or a restart."""
    if not case.has_root:
        return
    root = case.settings.cache_root
    real = Path(os.path.realpath(root))
    held = [one for one in _temporary_directories(case) if one == real or one in real.parents]
    hint = "Keep models elsewhere: export TFHUB_CACHE_DIR=~/.cache/tfhub_modules"
    if held:
        message = f"{root} is in {held[0]}: cleaners of temporary files empty it, and leave models gutted"
        yield _check("lifetime", Status.WARNING, message, str(held[0]), hint)
    elif FileSystem.of(nearest_directory(real)).is_in_memory:
        message = f"{root} is in memory: a restart empties it"
        yield _check("lifetime", Status.WARNING, message, "memory", hint)


def temporary_directory(case: Case) -> Path:
    """The system's, as Python's tempfile chooses it."""
    named = _temporary_directories(case)
    return next((one for one in named if is_directory(one) and os.access(one, os.W_OK | os.X_OK)), named[0])


def _temporary_directories(case: Case) -> list[Path]:
    named = [case.surroundings.get(name) for name in ("TMPDIR", "TEMP", "TMP")]
    return [Path(os.path.realpath(name)) for name in (*filter(None, named), *_TEMPORARY)]
