"""A directory copied file by file: by the file system itself where it knows how."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from hubcli.archive.tree import Tree, TreeNode
from hubcli.durability import UNSYNCED, Durability, WriteBack
from hubcli.errors import NotFoundError, TruncatedError
from hubcli.regular_file import open_regular

__all__ = ["copy_tree"]

_COPY_BYTES = 64 << 20
_READ_BYTES = 1 << 20
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
        raise NotFoundError(f"{node.path} can't be read: {error.strerror}", hint="Check its mode.") from error
    with source, target.open("xb", buffering=0) as made:
        write_back = WriteBack(made.fileno(), durability)
        copied = _copy_in_kernel(source, made, on_bytes, write_back) if hasattr(os, "copy_file_range") else 0
        while piece := source.read(_READ_BYTES):
            rest = memoryview(piece)
            while rest:
                rest = rest[made.write(rest) :]
            copied += len(piece)
            write_back.wrote(len(piece))
            on_bytes(len(piece))
    if copied != node.size_bytes:
        raise TruncatedError(f"{node.path} changed while it was read", hint="Once it stays as it is: again.")


def _copy_in_kernel(source: BinaryIO, made: BinaryIO, on_bytes: OnBytes, write_back: WriteBack) -> int:
    """How many bytes the file system copied; what is left after them can be read on."""
    copied = 0
    try:
        while size := os.copy_file_range(source.fileno(), made.fileno(), _COPY_BYTES):
            copied += size
            write_back.wrote(size)
            on_bytes(size)
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
    return copied
