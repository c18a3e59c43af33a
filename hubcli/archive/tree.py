"""A local directory as files in one order, and as a stream of members that takes the path of an archive."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from hubcli.archive.limits import Limits
from hubcli.archive.members import Member, MemberStream
from hubcli.archive.names import NameRules
from hubcli.errors import NotFoundError, UnsafeArchiveError
from hubcli.quantity import format_size
from hubcli.regular_file import open_regular

__all__ = ["Tree", "TreeNode", "walk_tree"]

_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class TreeNode:
    """A file or a directory below the top: where it is, and its relative name with `/`.

    `stamp` changes when the file is written or replaced: inode and time of
    modification; it is 0, 0 for a directory.
    """

    path: Path
    name: str
    is_directory: bool
    size_bytes: int = 0
    stamp: tuple[int, int] = (0, 0)

    @property
    def member(self) -> Member:
        """The node as an archive holds it."""
        return Member(self.name, self.is_directory, self.size_bytes)


@dataclass(frozen=True, slots=True)
class Tree:
    """All that lies below `top`, looked at once: each directory before what it holds, by name.

    Names are ordered by their code points, on every system and in every locale.
    Two trees are equal where nothing changed between the looks.
    """

    top: Path
    nodes: tuple[TreeNode, ...]

    @classmethod
    def read(cls, top: Path, limits: Limits) -> Tree:
        """The tree, with names that every system can hold.

        Links to files are followed. Raises UnsafeArchiveError for what an
        archive must not hold, NotFoundError for what can't be read.
        """
        rules, total, nodes = NameRules(limits), 0, []
        try:
            for node in _walk_below(top):
                rules.accept(node.name, is_directory=node.is_directory)
                total += node.size_bytes
                nodes.append(node)
        except UnsafeArchiveError as error:
            raise UnsafeArchiveError(
                f"{top} can't be packed. {error.message}", hint="Rename it, or take it out of there."
            ) from error
        if total > limits.unpacked_bytes:
            raise UnsafeArchiveError(
                f"{top} holds {format_size(total)}: more than what is unpacked again",
                hint=f"Take out what isn't the model's, down to {format_size(limits.unpacked_bytes)}.",
            )
        return cls(top, tuple(nodes))

    @property
    def size_bytes(self) -> int:
        """Sum of the sizes of the files."""
        return sum(node.size_bytes for node in self.nodes)

    @property
    def file_count(self) -> int:
        """How many files there are, directories not counted."""
        return sum(not node.is_directory for node in self.nodes)


def walk_tree(top: Path) -> MemberStream:
    """Directories and files below `top`, each directory before what it holds, by name.

    Links to files are followed, as `cp -L` does. Raises UnsafeArchiveError for
    a link to a directory, a broken link, a device, a FIFO or a socket.
    """
    for node in _walk_below(top):
        yield node.member, iter(()) if node.is_directory else _read(node.path)


def _walk_below(folder: Path, prefix: str = "") -> Iterator[TreeNode]:
    with _reading(folder):
        children = sorted(((_utf_8(path.name), path) for path in folder.iterdir()), key=itemgetter(0))
    for name, path in children:
        node = _node(path, prefix + name)
        yield node
        if node.is_directory:
            yield from _walk_below(path, f"{node.name}/")


def _utf_8(name: str) -> str:
    """The name as its bytes spell it in UTF-8: the locale's encoding may be another."""
    return os.fsencode(name).decode("utf-8", "surrogateescape")


def _node(path: Path, name: str) -> TreeNode:
    with _reading(path):
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode) and path.is_file():
            status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        return TreeNode(path, name, is_directory=True)
    if stat.S_ISREG(status.st_mode):
        return TreeNode(path, name, False, status.st_size, (status.st_ino, status.st_mtime_ns))
    raise UnsafeArchiveError(f"{path} is neither a file nor a directory")


def _read(path: Path) -> Iterator[memoryview]:
    with _reading(path), open_regular(path) as file:
        while piece := file.read(_READ_BYTES):
            yield memoryview(piece)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NotFoundError(f"{path} can't be read: {error.strerror}", hint="Check its mode.") from error
