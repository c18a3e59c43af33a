"""The digest of a tree of files: one hash that tells whether two models are the same to the byte.

It is the SHA-256 of a record for each file, in the order of the paths' bytes in UTF-8. A record is
the file's SHA-256 in hex, a space, its size in decimal, a space, its path with `/`, and a NUL, which
no path holds. Directories, modes and times don't count. The README shows the same in shell.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from hubcli.archive.members import FileRecord
from hubcli.archive.tree import walk_tree

__all__ = ["hashed_files", "tree_digest"]


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
