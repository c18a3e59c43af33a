"""Regular files opened without waiting, and optionally without a change of their access time.

A FIFO, device or socket in place of a file blocks no run.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mmap import mmap

__all__ = [
    "AT_ONCE",
    "NotRegularError",
    "contents",
    "file_sha256",
    "is_hidden",
    "list_noatime",
    "open_at_once",
    "open_noatime",
    "open_regular",
    "open_stream",
    "read_record",
    "read_regular",
    "read_stream",
    "require_regular",
    "write_all",
]

_MAX_READ_BYTES = 1 << 31
_PIECE_BYTES = 1 << 20
_NEW_MODE = 0o666  # As `open` makes a file.
# open(2): a FIFO without a writer would never open, and a terminal become the process's own.
AT_ONCE = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_CLOEXEC", 0)
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFSOCK: "a socket",
}


class NotRegularError(OSError):
    """What stands there is a FIFO or a device: `strerror` says which."""


def open_at_once(path: str, flags: int) -> int:
    """An opener for `open` that never waits and opens regular files alone, links followed.

    A file may become a FIFO between the look at it and its opening, so the look comes after it.
    Raises OSError, IsADirectoryError.
    """
    return require_regular(os.open(path, flags | AT_ONCE, _NEW_MODE), path)


def open_regular(path: Path | str, *, is_buffered: bool = False) -> BinaryIO:
    """The regular file, opened for reading without waiting; by default without a buffer.

    Raises OSError, IsADirectoryError.
    """
    return open(path, "rb", buffering=-1 if is_buffered else 0, opener=open_at_once)


def read_regular(path: Path | str, max_bytes: int = _MAX_READ_BYTES) -> bytes:
    """What the regular file holds, `max_bytes` of it at most, 2 GiB by default. Raises OSError."""
    with open_regular(path, is_buffered=True) as file:
        return file.read(min(max_bytes, os.fstat(file.fileno()).st_size + 1))


def file_sha256(path: Path | str) -> str:
    """The SHA-256 of the regular file in hex, read in pieces. Raises OSError."""
    import hashlib  # Few commands hash a file by itself.

    digest = hashlib.sha256()
    with open_regular(path) as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def require_regular(descriptor: int, path: str) -> int:
    """The descriptor, which is closed where it isn't that of a regular file; raises OSError."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    kind = _KINDS.get(stat.S_IFMT(mode), "no file")
    raise NotRegularError(errno.ENOTSUP, f"it is {kind}, not a regular file", path)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Writes all of the bytes: one write(2) may take fewer, at 2 GiB or at a signal. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def open_stream(path: Path, wait_s: float) -> BinaryIO:
    """A regular file, a FIFO such as a shell's `<(command)`, or a terminal, opened without a buffer.

    For a stream of bytes that the user names; the reader must bound how many it takes. Raises OSError;
    where no byte comes within `wait_s` seconds TimeoutError, for other kinds NotRegularError.
    """

    def opener(name: str, flags: int) -> int:
        return _require_stream(os.open(name, flags | AT_ONCE), name, wait_s)

    return open(path, "rb", buffering=0, opener=opener)


def read_stream(path: Path, max_bytes: int, wait_s: float) -> bytes:
    """What a regular file, FIFO, or device such as `/dev/null` holds, `max_bytes` of it at most.

    For a small file that the user names. Raises OSError; where it does not end within `wait_s` seconds
    TimeoutError, for other kinds NotRegularError.
    """
    ends_at_s, content = time.monotonic() + wait_s, b""
    with open_stream(path, wait_s) as file:
        is_regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        while len(content) < max_bytes:
            if not is_regular and not _has_bytes(file.fileno(), max(0.0, ends_at_s - time.monotonic())):
                raise TimeoutError(errno.ETIMEDOUT, f"it does not end within {wait_s:g} s", str(path))
            piece = file.read(max_bytes - len(content))
            if not piece:
                break
            content += piece
    return content


def _require_stream(descriptor: int, path: str, wait_s: float) -> int:
    """The descriptor of a regular file, or of a stream that has bytes in time; closed where it is neither."""
    mode = os.fstat(descriptor).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)):
        return require_regular(descriptor, path)
    if _has_bytes(descriptor, wait_s):
        os.set_blocking(descriptor, True)
        return descriptor
    os.close(descriptor)
    raise TimeoutError(errno.ETIMEDOUT, f"no data for {wait_s:g} s", path)


def _has_bytes(descriptor: int, wait_s: float) -> bool:
    """Whether a byte, or the end of a writer's bytes, comes in time."""
    from select import POLLHUP, POLLIN, poll  # Few runs name a FIFO.

    waiting = poll()
    waiting.register(descriptor, POLLIN | POLLHUP)
    return bool(waiting.poll(wait_s * 1000))


# Truncating a mapped file kills the process that reads it: only large files are mapped.
_MAPPED_FROM_BYTES = 64 << 20
# Of an outline a few pages are looked at, which must not cost the reading of the whole file.
_OUTLINED_FROM_BYTES = 1 << 18
_MAX_RECORD_BYTES = 1 << 20


def open_noatime(path: str, flags: int) -> int:
    """As `open_at_once`, but leaves the file's access time as it is, where the system lets us.

    For a cached model that time says when `hub.load` last read it: a check or a listing
    must not look like a use. Linux, open(2): O_NOATIME is for the file's owner.
    """
    return require_regular(_open_noatime(path, flags | AT_ONCE), path)


def _open_noatime(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | getattr(os, "O_NOATIME", 0))
    except PermissionError:
        return os.open(path, flags)


@contextmanager
def list_noatime(folder: str) -> Iterator[Iterator[os.DirEntry[str]]]:
    """What the directory holds, without a change of its access time; only the names of entries are whole.

    Raises OSError.
    """
    descriptor = _open_noatime(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with os.scandir(descriptor) as children:
            yield children
    finally:
        os.close(descriptor)


@contextmanager
def contents(path: Path | str, *, for_outline: bool = False) -> Iterator[bytes | mmap]:
    """All bytes of the file: read, or mapped where it is large.

    `for_outline` says that little of them will be looked at. Raises OSError.
    """
    with open(path, "rb", opener=open_noatime) as file:
        if os.fstat(file.fileno()).st_size < (_OUTLINED_FROM_BYTES if for_outline else _MAPPED_FROM_BYTES):
            yield file.read()
            return
        import mmap as mapping  # Few files are so large.

        with mapping.mmap(file.fileno(), 0, access=mapping.ACCESS_READ) as mapped:
            yield mapped


def read_record(path: Path | str, max_bytes: int = _MAX_RECORD_BYTES) -> bytes:
    """What a small file holds, `max_bytes` of it at most; a pipe or a device is not waited for.

    A cache is a directory where others write: a pipe would never answer, a device never end.
    Raises OSError.
    """
    descriptor = open_at_once(os.fspath(path), os.O_RDONLY)
    try:
        return os.read(descriptor, max_bytes)
    finally:
        os.close(descriptor)


def is_hidden(path: Path) -> bool:
    """Whether a directory above the path may not be searched, as in the home of another account.

    Containers that run as any user often keep HOME=/root: what is there is none of that user's files.
    """
    try:
        os.lstat(path)
    except PermissionError:
        return True
    except OSError:
        return False
    return False
