"""A local directory as a stream of members: read in one order, copied, hashed; and which names may be paths.

Windows' rules of names are kept everywhere: a cache may lie on a share, and what unpacks differently on two
systems is a model that differs. Source: "Naming Files, Paths, and Namespaces", Microsoft's Windows
documentation.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from hubcli.archive import FileRecord, Limits, Member, MemberStream
from hubcli.durability import UNSYNCED, Durability, WriteBack
from hubcli.errors import NotFoundError, TruncatedError, UnsafeArchiveError
from hubcli.regular_file import open_regular
from hubcli.units import format_size

__all__ = ["NameRules", "Tree", "TreeNode", "copy_tree", "hashed_files", "tree_digest", "walk_tree"]

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
                f"Cannot pack {top}. {error.message}", hint="Rename it, or move it elsewhere."
            ) from error
        if total > limits.unpacked_bytes:
            raise UnsafeArchiveError(
                f"{top} contains {format_size(total)}, which is more than an archive may hold",
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
    """The digest in hex. Every file must have its hash."""
    digest = hashlib.sha256()
    for path, file in sorted((file.path.encode("utf-8", "surrogateescape"), file) for file in files):
        assert file.sha256 is not None, file.path
        digest.update(f"{file.sha256} {file.size_bytes} ".encode() + path + b"\0")
    return digest.hexdigest()


def hashed_files(top: Path, on_bytes: Callable[[int], None] = lambda size: None) -> tuple[FileRecord, ...]:
    """The files below `top` as they are now, each read and hashed; `on_bytes` hears of each piece.

    Links to files are followed. Raises NotFoundError, UnsafeArchiveError for what is neither a file
    nor a directory.
    """
    records = []
    for member, pieces in walk_tree(top):
        if member.is_directory:
            continue
        digest, size_bytes = hashlib.sha256(), 0
        for piece in pieces:
            digest.update(piece)
            size_bytes += len(piece)
            on_bytes(len(piece))
        records.append(FileRecord(member.name, size_bytes, digest.hexdigest()))
    return tuple(records)


_COPY_BYTES = 64 << 20
# What copy_file_range(2) says where these two files can't be copied so.
_UNABLE = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM)

OnBytes = Callable[[int], None]


def copy_tree(
    tree: Tree,
    destination: Path,
    on_bytes: OnBytes = lambda size: None,
    durability: Durability = UNSYNCED,
) -> None:
    """Copies the tree into the new directory `destination`, with modes as new files have them.

    On Linux, file systems with shared blocks (btrfs, XFS) copy nothing at all.
    Where `durability` is on, large files go to the disk while they are written; the sync is
    the caller's. Raises TruncatedError for a file that isn't as long as it was,
    NotFoundError, OSError; what was written until then is the caller's to remove.
    """
    destination.mkdir()
    for node in tree.nodes:
        target = destination / node.path.relative_to(tree.top)  # As the system has the name.
        if node.is_directory:
            target.mkdir()
        else:
            _copy(node, target, on_bytes, durability)


def _copy(node: TreeNode, target: Path, on_bytes: OnBytes, durability: Durability) -> None:
    try:
        source = open_regular(node.path)
    except OSError as error:
        raise NotFoundError(
            f"Cannot read {node.path}: {error.strerror}", hint="Check its permissions."
        ) from error
    with source, target.open("xb", buffering=0) as target_file:
        write_back = WriteBack(target_file.fileno(), durability)
        copied = (
            _copy_in_kernel(source, target_file, on_bytes, write_back)
            if hasattr(os, "copy_file_range")
            else 0
        )
        while piece := source.read(_READ_BYTES):
            rest = memoryview(piece)
            while rest:
                rest = rest[target_file.write(rest) :]
            copied += len(piece)
            write_back.wrote(len(piece))
            on_bytes(len(piece))
    if copied != node.size_bytes:
        raise TruncatedError(f"{node.path} changed while it was read", hint="Run the command again.")


def _copy_in_kernel(source: BinaryIO, target: BinaryIO, on_bytes: OnBytes, write_back: WriteBack) -> int:
    """How many bytes the file system copied; what is left after them can be read on."""
    copied = 0
    try:
        while size := os.copy_file_range(source.fileno(), target.fileno(), _COPY_BYTES):
            copied += size
            write_back.wrote(size)
            on_bytes(size)
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
    return copied


_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:")
_FORBIDDEN = frozenset(':<>"|?*')
_MAX_SEGMENT_BYTES = 255


class NameRules:
    """Turns member names into safe relative paths, and remembers them to find collisions."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        # Folded path → (path as written, whether it is a directory).
        self._taken: dict[str, tuple[str, bool]] = {}
        # Whether the file that was accepted last had been there before: its bytes must be the same.
        self.is_repeated = False

    def accept(self, name: str, *, is_directory: bool) -> tuple[str, ...]:
        """The segments of the path below the destination; none for the destination itself.

        Raises UnsafeArchiveError for a name that would leave the destination,
        that some system can't hold, or that meets another one.
        """
        segments, self.is_repeated = self._segments(name), False
        if not segments and not is_directory:
            raise _refuse(name, "has no name")
        for depth in range(1, len(segments)):
            self._take(name, segments[:depth], is_directory=True)
        if segments:
            self._take(name, segments, is_directory=is_directory)
        return segments

    def _segments(self, name: str) -> tuple[str, ...]:
        limits = self._limits
        if name.startswith("/") or _DRIVE.match(name):
            raise _refuse(name, "has an absolute path")
        if "\\" in name:
            raise _refuse(name, "has a backslash in its name")
        if any(unicodedata.category(character) == "Cc" for character in name):
            raise _refuse(name, "has a control character in its name")
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise _refuse(name, "has a name that is not UTF-8")
        segments = tuple(part for part in name.split("/") if part not in ("", "."))
        if ".." in segments:
            raise _refuse(name, "leads outside of the archive")
        if len(name.encode()) > limits.path_bytes:
            raise _refuse(name, f"has a path of more than {limits.path_bytes} bytes", "--max-path-length N")
        if len(segments) > limits.path_depth:
            raise _refuse(name, f"is nested more than {limits.path_depth} directories deep", "--max-depth N")
        for segment in segments:
            if len(segment.encode()) > _MAX_SEGMENT_BYTES:
                raise _refuse(name, f"has a name of more than {_MAX_SEGMENT_BYTES} bytes")
            if _RESERVED.fullmatch(segment) or segment.endswith((".", " ")) or _FORBIDDEN & set(segment):
                raise _refuse(name, "has a name that is invalid on Windows")
        return segments

    def _take(self, name: str, segments: tuple[str, ...], *, is_directory: bool) -> None:
        path = "/".join(segments)
        folded = unicodedata.normalize("NFC", path).casefold()
        known = self._taken.get(folded)
        if known is None:
            if len(self._taken) >= self._limits.members:
                raise _refuse(
                    name,
                    f"exceeds the limit of {self._limits.members} files and directories",
                    "--max-members N",
                )
            self._taken[folded] = (path, is_directory)
        elif known[0] != path:
            raise _refuse(name, f"differs from {known[0]!r} only in case or accents")
        elif is_directory != known[1]:
            raise _refuse(name, "is both a file and a directory")
        elif not is_directory:
            self.is_repeated = True


def _refuse(name: str, what: str, option: str = "") -> UnsafeArchiveError:
    short_name = name if len(name) < 200 else name[:200] + "…"
    hint = (
        f"If you trust the archive, add {option}." if option else "Report it to the publisher of the archive."
    )
    return UnsafeArchiveError(f"The archive's member {short_name!r} {what}", hint=hint)
