"""Durable writes: what survives a power loss.

A rename is atomic for other processes, but not on the disk: a file system with delayed
allocation (ext4, XFS, btrfs, APFS) may write the rename before the data of the file. After a power
loss the name is there, with zeros or nothing behind it. So data is synced first, then the directory
that names it, then the record that counts on both.

Sources: fsync(2), sync_file_range(2) of Linux; fcntl(2) of macOS, F_FULLFSYNC.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from hubcli.regular_file import open_at_once

__all__ = [
    "SYNCED",
    "UNSYNCED",
    "Durability",
    "WriteBack",
    "allocate",
    "booted_at_s",
]

# What a file system says that knows no sync of such a file or directory (FUSE, 9p, some NFS servers).
_UNABLE = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF)
_NO_FOLLOW, _DIRECTORY = getattr(os, "O_NOFOLLOW", 0), getattr(os, "O_DIRECTORY", 0)
_UNREADABLE = (errno.EACCES, errno.EPERM)
# Syncs of several files at a time share one commit of the file system's journal: 1,000 small files
# take 0.3 s by eight threads and 4 s by one (ext4).
_THREADS = 8
_MIN_FILES_FOR_THREADS = 8
_WRITE_BACK_BYTES = 8 << 20
_SYNC_FILE_RANGE_WRITE = 2


class Durability(NamedTuple):
    """Whether writes are synced to the disk: where `is_on` is False, for `--no-sync`, no method syncs.

    Every method raises OSError where the disk fails (EIO, ENOSPC, EDQUOT); a file system that can't sync a
    directory, or a file that is open for reading, is not an error.
    """

    is_on: bool = True

    def file(self, descriptor: int) -> None:
        """Syncs data and size of the open file."""
        if self.is_on:
            with _if_able():
                _sync(descriptor)

    def path(self, path: Path | str) -> None:
        """Syncs the regular file at the path; follows no link. Raises FileNotFoundError."""
        if self.is_on:
            with _opened(path, _NO_FOLLOW) as descriptor:
                if stat.S_ISREG(os.fstat(descriptor).st_mode):
                    self.file(descriptor)

    def directory(self, folder: Path | str) -> None:
        """Syncs the names in the directory: what was made, renamed or removed there stays so.

        Raises FileNotFoundError.
        """
        if not self.is_on or os.name == "nt":
            return
        try:
            with _opened(folder, _DIRECTORY) as descriptor:
                self.file(descriptor)
        except OSError as error:  # A directory that may be written but not read can't be opened.
            if error.errno not in _UNREADABLE:
                raise

    def tree(self, top: Path) -> None:
        """Syncs a file, or a directory with all files and directories in it; follows no link.

        Raises FileNotFoundError if something vanishes meanwhile.
        """
        if not self.is_on:
            return
        if not top.is_dir():
            self.path(top)
            return
        folders, files = _names_below(top)
        if len(files) < _MIN_FILES_FOR_THREADS:
            for file in files:
                self.path(file)
        else:
            from hubcli.concurrency import run_in_threads  # 2 ms, which every start would take.

            jobs = [partial(self._paths, files[number::_THREADS]) for number in range(_THREADS)]
            run_in_threads(jobs, _THREADS)
        for folder in reversed(folders):  # The deepest first.
            self.directory(folder)

    def _paths(self, files: list[str]) -> None:
        for file in files:
            self.path(file)

    def make_directory(self, folder: Path) -> None:
        """Makes the directory and those above it that are missing, and syncs the name of each."""
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for path in reversed(missing):
            self.directory(path.parent)

    def write_file(self, path: Path, text: str) -> None:
        """Writes the text file anew and syncs its data; its name is the caller's to sync.

        Follows no link, and waits for no FIFO that somebody put there.
        """
        with open(path, "w", encoding="utf-8", opener=_open_unlinked) as file:
            file.write(text)
        self.path(path)


SYNCED, UNSYNCED = Durability(), Durability(is_on=False)


class WriteBack:
    """Has the system write a file to the disk while it is still being written.

    Without it, all of a large file would wait in memory until the sync at its end. Promises
    nothing: `Durability` does. Linux alone; elsewhere it does nothing.
    """

    def __init__(self, descriptor: int, durability: Durability) -> None:
        self._descriptor = descriptor
        self._is_on = durability.is_on and sys.platform == "linux"
        self._started_bytes = self._end = 0

    def wrote(self, size_bytes: int) -> None:
        """Notes that the next bytes were written, in order; starts the write-back of every 8 MiB."""
        self._end += size_bytes
        if self._is_on and self._end - self._started_bytes >= _WRITE_BACK_BYTES:
            self._is_on = _start_write_back(
                self._descriptor, self._started_bytes, self._end - self._started_bytes
            )
            self._started_bytes = self._end


_ALLOCATED_FROM_BYTES = 16 << 20
_MOUNTS = Path("/proc/self/mountinfo")


def allocate(descriptor: int, size_bytes: int) -> None:
    """Has ext4 allocate the blocks of a new large file before it is written: it takes a quarter less time.

    Else ext4 reserves a block for each page. The file has that size at once, and reads as zeros until it is
    written. Other file systems are left alone: there, files share blocks, are compressed, or are filled with
    zeros first.
    """
    if size_bytes < _ALLOCATED_FROM_BYTES or not hasattr(os, "posix_fallocate"):
        return
    with suppress(OSError):  # Where the disk is full, writing says so.
        device = os.fstat(descriptor).st_dev
        if _file_system_of(f"{os.major(device)}:{os.minor(device)}") == "ext4":
            os.posix_fallocate(descriptor, 0, size_bytes)


def _file_system_of(device: str) -> str | None:
    """The kind of the file system on a device `MAJOR:MINOR`. Source: proc(5), /proc/PID/mountinfo."""
    with _MOUNTS.open(encoding="utf-8", errors="surrogateescape") as mounts:
        for line in mounts:
            mount, _, source = line.partition(" - ")
            if mount.split()[2:3] == [device]:
                return source.split(" ", 1)[0]
    return None


def booted_at_s() -> float | None:
    """When this machine was started, in seconds since 1970; None if the system doesn't say."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    if clock is None:
        # macOS: this clock counts from the boot, sleep included. Source: clock_gettime(3).
        clock = getattr(time, "CLOCK_MONOTONIC", None) if sys.platform == "darwin" else None
    return None if clock is None else time.time() - time.clock_gettime(clock)


def _sync(descriptor: int) -> None:
    """On macOS to the disk itself, where the file system can: fsync(2) ends at its cache there."""
    if sys.platform == "darwin":
        import fcntl

        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError as error:
            if error.errno not in (*_UNABLE, errno.ENOTTY):
                raise
        else:
            return
    os.fsync(descriptor)


@contextmanager
def _if_able() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _UNABLE:
            raise


@contextmanager
def _opened(path: Path | str, flags: int) -> Iterator[int]:
    """The file or directory, open for reading, without a change of its access time.

    For a cached model that time tells of its use. Linux: O_NOATIME is for the owner alone.
    """
    flags |= os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)  # A pipe would wait for a writer.
    try:
        descriptor = os.open(path, flags | getattr(os, "O_NOATIME", 0))
    except PermissionError:
        descriptor = os.open(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_unlinked(path: str, flags: int) -> int:
    return open_at_once(path, flags | _NO_FOLLOW)


def _names_below(top: Path) -> tuple[list[str], list[str]]:
    """Directories, each before those in it, the top among them; and regular files. Nothing else is synced."""
    folders, files = [str(top)], list[str]()
    for folder in folders:  # The list grows meanwhile.
        with _opened(folder, _DIRECTORY | _NO_FOLLOW) as descriptor, os.scandir(descriptor) as children:
            for child in children:
                path = f"{folder}/{child.name}"
                if child.is_dir(follow_symlinks=False):
                    folders.append(path)
                elif child.is_file(follow_symlinks=False):
                    files.append(path)
    return folders, files


def _start_write_back(descriptor: int, start: int, size_bytes: int) -> bool:
    """Whether the system accepted the request, which it may also ignore, or not know at all."""
    import ctypes  # Small files, and commands that only read, don't need it.

    call: Any = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if call is None:
        return False
    call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return bool(call(descriptor, start, size_bytes, _SYNC_FILE_RANGE_WRITE) == 0)
