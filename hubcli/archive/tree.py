"""A local directory as a stream of members, so that it takes the same path as an archive."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hubcli.archive.members import Member, MemberStream
from hubcli.errors import NotFoundError, UnsafeArchiveError

__all__ = ["walk_tree"]

_READ_BYTES = 1 << 20


def walk_tree(top: Path) -> MemberStream:
    """Directories and files below `top`, each directory before what it holds, by name.

    Links to files are followed, as `cp -L` does. Raises UnsafeArchiveError for
    a link to a directory, a broken link, a device, a FIFO or a socket.
    """
    with _reading(top):
        children = sorted(top.iterdir())
    for path in children:
        yield from _walk(path, path.name)


def _walk(path: Path, name: str) -> MemberStream:
    with _reading(path):
        status = path.lstat()
        children = sorted(path.iterdir()) if stat.S_ISDIR(status.st_mode) else None
        if stat.S_ISLNK(status.st_mode) and path.is_file():
            status = path.stat()
    if children is not None:
        yield Member(name, is_directory=True), iter(())
        for child in children:
            yield from _walk(child, f"{name}/{child.name}")
    elif stat.S_ISREG(status.st_mode):
        yield Member(name, is_directory=False, size_bytes=status.st_size), _read(path)
    else:
        raise UnsafeArchiveError(f"{path} is neither a file nor a directory")


def _read(path: Path) -> Iterator[memoryview]:
    with _reading(path), path.open("rb", buffering=0) as file:
        while piece := file.read(_READ_BYTES):
            yield memoryview(piece)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NotFoundError(f"{path} can't be read: {error.strerror}", hint="Check its mode.") from error
