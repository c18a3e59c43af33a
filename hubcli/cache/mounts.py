"""The file system that a directory is on, and what it has left."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FileSystem"]

_TABLE = Path("/proc/self/mountinfo")
_OCTAL = re.compile(r"\\([0-7]{3})")
_IN_MEMORY = ("tmpfs", "ramfs")
_OF_NETWORK = (
    "9p",
    "afs",
    "ceph",
    "cifs",
    "fuse.s3fs",
    "fuse.sshfs",
    "gfs2",
    "lustre",
    "nfs",
    "nfs4",
    "smb3",
)


@dataclass(frozen=True, slots=True)
class FileSystem:
    """Where a directory is mounted; `kind` and `options` are empty where the system has no such table.

    `free_bytes` is what this user may write; `free_files` None where files aren't counted.
    """

    kind: str
    options: tuple[str, ...]
    free_bytes: int
    total_bytes: int
    free_files: int | None

    @classmethod
    def of(cls, directory: Path) -> FileSystem:
        """That of the directory, which must be there. Raises OSError."""
        kind, options = _mount_of(directory.resolve())
        facts = os.statvfs(directory)
        return cls(
            kind=kind,
            options=options,
            free_bytes=facts.f_bavail * facts.f_frsize,
            total_bytes=facts.f_blocks * facts.f_frsize,
            free_files=facts.f_favail if facts.f_files else None,
        )

    @property
    def is_in_memory(self) -> bool:
        """Whether a restart empties it."""
        return self.kind in _IN_MEMORY

    @property
    def is_of_network(self) -> bool:
        """Whether another machine holds it."""
        return self.kind in _OF_NETWORK

    @property
    def is_read_only(self) -> bool:
        """Whether it is mounted so that nothing can be written."""
        return "ro" in self.options


def _mount_of(directory: Path) -> tuple[str, tuple[str, ...]]:
    """Kind and options of the mount that holds it: the longest, and of those the last. Source: proc(5)."""
    try:
        lines = _TABLE.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return "", ()
    best, kind, options = -1, "", tuple[str, ...]()
    for line in lines:
        before, _, behind = line.partition(" - ")
        fields = before.split(" ")
        point = Path(_OCTAL.sub(lambda code: chr(int(code[1], 8)), fields[4]))
        depth = len(point.parts)
        if depth >= best and (point == directory or point in directory.parents):
            best, kind, options = depth, behind.split(" ")[0], tuple(fields[5].split(","))
    return kind, options
