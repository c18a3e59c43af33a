"""A local directory as a stream of members: read in one order, copied, hashed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from hubcli.archive import FileRecord, Limits, Member, MemberStream
from hubcli.archive.unpack import NameRules
from hubcli.concurrency import CancellationToken, running_beside
from hubcli.durability import UNSYNCED, Durability, WriteBack, allocate
from hubcli.errors import NotFoundError, TruncatedError, UnsafeArchiveError, means_full
from hubcli.regular_file import open_regular, write_all
from hubcli.units import format_size

__all__ = ["Tree", "TreeNode", "copy_tree", "copying", "hashed_files", "tree_digest", "walk_tree"]

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
    """Everything below `top` at one time: each directory before its content, sorted by name.

    Names are sorted by their code points, on every system and in every locale. Two trees are equal if
    nothing changed between their reads.
    """

    top: Path
    nodes: tuple[TreeNode, ...]

    @classmethod
    def read(cls, top: Path, limits: Limits) -> Tree:
        """The tree, with names that every system can hold.

        Links to files are followed. Raises UnsafeArchiveError for what an archive must not contain,
        NotFoundError for what can't be read.
        """
        rules, total, nodes = NameRules(limits), 0, []
        try:
            for node in _walk_below(top):
                rules.accept(node.name, is_directory=node.is_directory)
                total += node.size_bytes
                nodes.append(node)
        except UnsafeArchiveError as error:
            raise UnsafeArchiveError(
                f"Cannot pack {top}: {error.message}", hint="Rename it, or move it elsewhere."
            ) from error
        if total > limits.unpacked_bytes:
            raise UnsafeArchiveError(
                f"Cannot pack {top}: it contains {format_size(total)}, more than the limit for archives",
                hint=(
                    "Remove files that are not part of the model, down to "
                    f"{format_size(limits.unpacked_bytes)}."
                ),
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
    """Directories and files below `top`, each directory before its content, sorted by name.

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
    """The name decoded from its bytes as UTF-8: the locale may have another encoding."""
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
    raise UnsafeArchiveError(f"{path} is not a regular file or directory")


def _read(path: Path) -> Iterator[memoryview]:
    with _reading(path), open_regular(path) as file:
        while piece := file.read(_READ_BYTES):
            yield memoryview(piece)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NotFoundError(f"Cannot read {path}: {error.strerror}", hint="Check its permissions.") from error


def tree_digest(files: Iterable[FileRecord]) -> str:
    """The SHA-256 in hex of path, size and hash of the files, sorted by path. Each must have its hash."""
    from hashlib import sha256  # OpenSSL takes 3 ms to load, which a copy has no use for.

    digest = sha256()
    for path, file in sorted((file.path.encode("utf-8", "surrogateescape"), file) for file in files):
        assert file.sha256 is not None, file.path
        digest.update(f"{file.sha256} {file.size_bytes} ".encode() + path + b"\0")
    return digest.hexdigest()


def hashed_files(top: Path, on_bytes: Callable[[int], None] = lambda size: None) -> tuple[FileRecord, ...]:
    """The files below `top` as they are now, each read and hashed; `on_bytes` is called for each piece.

    Links to files are followed. Raises NotFoundError, UnsafeArchiveError for what is neither a file
    nor a directory.
    """
    from hashlib import sha256

    records = []
    for member, pieces in walk_tree(top):
        if member.is_directory:
            continue
        digest, size_bytes = sha256(), 0
        for piece in pieces:
            digest.update(piece)
            size_bytes += len(piece)
            on_bytes(len(piece))
        records.append(FileRecord(member.name, size_bytes, digest.hexdigest()))
    return tuple(records)


# A copy can be cancelled between two pieces of this size: some milliseconds each, on a slow disk a second.
_COPY_BYTES = 16 << 20

OnBytes = Callable[[int], None]


def copy_tree(
    tree: Tree,
    destination: Path,
    on_bytes: OnBytes = lambda size: None,
    durability: Durability = UNSYNCED,
    *,
    is_new: bool = True,
) -> None:
    """Copies the tree into the new directory `destination`, with the modes of new files.

    On Linux, file systems with shared blocks (btrfs, XFS) copy no bytes. With `durability` on, write-back
    of large files begins while they are written; the caller syncs them. With `is_new` off the directory
    exists, with files of other names. Raises TruncatedError for a file whose size changed, NotFoundError,
    OSError; the caller removes what was written until then.
    """
    destination.mkdir(exist_ok=not is_new)
    for node in tree.nodes:
        target = destination / node.path.relative_to(tree.top)  # As the system has the name.
        if node.is_directory:
            target.mkdir()
        else:
            _copy(node, target, on_bytes, durability)


@contextmanager
def copying(
    tree: Tree,
    destination: Path,
    on_bytes: OnBytes = lambda size: None,
    durability: Durability = UNSYNCED,
) -> Iterator[None]:
    """Copies the tree as `copy_tree` does, on another thread: it is complete when the context ends.

    The kernel copies without the interpreter lock, so that checks of the source and imports can run in the
    context. If the context raises, the copy is cancelled.
    """
    stop = CancellationToken()

    def count(size: int) -> None:
        stop.check()
        on_bytes(size)

    with running_beside(partial(copy_tree, tree, destination, count, durability), stop):
        yield


def _copy(node: TreeNode, target: Path, on_bytes: OnBytes, durability: Durability) -> None:
    with _reading(node.path):
        source = open_regular(node.path)
    copied = 0
    with source, target.open("xb", buffering=0) as target_file:
        allocate(target_file.fileno(), node.size_bytes)
        write_back = WriteBack(target_file.fileno(), durability)
        # One byte more: growth is noticed, and the copy of a file that keeps growing ends.
        left = node.size_bytes + 1
        while size := _copy_piece(node.path, source, target_file, left):
            copied += size
            left -= size
            write_back.wrote(size)
            on_bytes(size)
    if copied != node.size_bytes:
        raise TruncatedError(f"{node.path} changed while it was read", hint="Run the command again.")


def _copy_piece(path: Path, source: BinaryIO, target: BinaryIO, max_bytes: int) -> int:
    """Copies the next bytes, by the kernel if it can; returns how many, 0 at the end of the file.

    Raises NotFoundError if the source can't be read, OSError if the target can't be written.
    """
    if hasattr(os, "copy_file_range"):
        try:
            size = os.copy_file_range(source.fileno(), target.fileno(), min(_COPY_BYTES, max_bytes))
        except OSError as error:
            # File systems have many errors for files that they can't copy. If it is a failure of a disk,
            # reading and writing fails, too, and shows which disk it is.
            if means_full(error):
                raise
        else:
            if size:  # Some file systems return 0 for files that they can't copy, too: only a read is sure.
                return size
    with _reading(path):
        piece = source.read(min(_READ_BYTES, max_bytes))
    write_all(target.fileno(), piece)
    return len(piece)
