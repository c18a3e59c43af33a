"""What files take on the disk, where hard links and holes count once; and what their file system is."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from hubcli.regular_file import list_noatime

__all__ = [
    "DiskUsage",
    "FileSystem",
    "Footprint",
    "FootprintCounter",
    "SharedFile",
    "TreeUsage",
    "directory_size_bytes",
    "file_sizes",
    "measure",
]

_BLOCK_BYTES = 512  # stat(2): st_blocks counts these, not the file system's own blocks.


class SharedFile(NamedTuple):
    """A file with several names. `names` is how many it has on the whole disk."""

    device: int
    inode: int
    disk_bytes: int
    names: int


class Footprint(NamedTuple):
    """What a tree of files says that it holds, and what the disk holds for it; both in bytes.

    `own_bytes` is the room of files with a single name. A file with several
    stands in `shared` once for each name that is within the tree.
    """

    size_bytes: int = 0
    own_bytes: int = 0
    shared: tuple[SharedFile, ...] = ()

    @property
    def disk_bytes(self) -> int:
        """The room on the disk, each file once."""
        return self.own_bytes + sum(file.disk_bytes for file in set(self.shared))

    @property
    def freed_bytes(self) -> int:
        """The space that removing the tree frees: not that of files with names elsewhere too."""
        within = Counter(self.shared)
        freed_sizes = (file.disk_bytes for file, names in within.items() if names >= file.names)
        return self.own_bytes + sum(freed_sizes)

    @classmethod
    def sum(cls, footprints: Iterable[Footprint]) -> Footprint:
        """All of them together."""
        size_bytes, own_bytes, shared = 0, 0, list[SharedFile]()
        for footprint in footprints:
            size_bytes += footprint.size_bytes
            own_bytes += footprint.own_bytes
            shared += footprint.shared
        return cls(size_bytes, own_bytes, tuple(shared))


class FootprintCounter:
    """Adds files up to a footprint."""

    __slots__ = ("own_bytes", "shared", "size_bytes")

    def __init__(self) -> None:
        self.size_bytes = self.own_bytes = 0
        self.shared: list[SharedFile] = []

    def add(self, status: os.stat_result) -> None:
        """Counts a file by its status, as lstat gives it."""
        self.add_all((status,))

    def add_all(self, statuses: Iterable[os.stat_result]) -> None:
        """Counts files by their statuses: in one loop, as a listing has tens of thousands."""
        size_bytes = own_blocks = 0
        for status in statuses:
            size_bytes += status.st_size
            if status.st_nlink > 1:
                disk_bytes = status.st_blocks * _BLOCK_BYTES
                self.shared.append(SharedFile(status.st_dev, status.st_ino, disk_bytes, status.st_nlink))
            else:
                own_blocks += status.st_blocks
        self.size_bytes += size_bytes
        self.own_bytes += own_blocks * _BLOCK_BYTES

    def footprint(self) -> Footprint:
        """What was counted."""
        return Footprint(self.size_bytes, self.own_bytes, tuple(self.shared))


class DiskUsage:
    """What the cache takes on the disk, while items are removed one by one."""

    def __init__(self, footprints: Iterable[Footprint]) -> None:
        self.usage_bytes = self.freed_bytes = 0
        self._names: Counter[SharedFile] = Counter()
        self._removed: Counter[SharedFile] = Counter()
        for footprint in footprints:
            self.usage_bytes += footprint.own_bytes
            self._names.update(footprint.shared)
        self.usage_bytes += sum(file.disk_bytes for file in self._names)

    def remove(self, footprint: Footprint) -> None:
        """Subtracts the files; one with several names counts until the last of them here is removed."""
        self.usage_bytes -= footprint.own_bytes
        self.freed_bytes += footprint.own_bytes
        for file in footprint.shared:
            self._names[file] -= 1
            self._removed[file] += 1
            if not self._names[file]:
                self.usage_bytes -= file.disk_bytes
            if self._removed[file] == file.names:
                self.freed_bytes += file.disk_bytes


class TreeUsage(NamedTuple):
    """A footprint, and the newest modification of anything in the tree, in seconds since 1970."""

    footprint: Footprint
    changed_at_s: float


def measure(top: Path) -> TreeUsage:
    """What is at `top`: a file, a link itself, or a directory with all files in it. Follows no link.

    What vanishes meanwhile, or can't be looked into, is left out.
    """
    counter, changed_at_s = FootprintCounter(), 0.0
    waiting = [str(top)]
    while waiting:
        path = waiting.pop()
        try:
            status = os.lstat(path)
            changed_at_s = max(changed_at_s, status.st_mtime)
            if not stat.S_ISDIR(status.st_mode):
                counter.add(status)
                continue
            with list_noatime(path) as children:
                waiting += [f"{path}/{child.name}" for child in children]
        except OSError:
            continue
    return TreeUsage(counter.footprint(), changed_at_s)


def file_sizes(top: Path) -> dict[str, int]:
    """Size in bytes of every regular file below `top`, by relative path with `/`.

    What vanishes meanwhile or can't be looked into is left out; links and special files count as size 0.
    """
    sizes: dict[str, int] = {}
    waiting = [("", str(top))]
    while waiting:
        prefix, folder = waiting.pop()
        try:
            with list_noatime(folder) as children:
                for child in children:
                    if child.is_dir(follow_symlinks=False):
                        waiting.append((f"{prefix}{child.name}/", f"{folder}/{child.name}"))
                    else:
                        regular = child.is_file(follow_symlinks=False)
                        sizes[prefix + child.name] = child.stat().st_size if regular else 0
        except (FileNotFoundError, PermissionError):
            continue
    return sizes


def directory_size_bytes(top: Path) -> int:
    """Sum of the sizes of the files below `top`, in bytes; 0 where it doesn't exist."""
    return sum(file_sizes(top).values())


_TABLE = Path("/proc/self/mountinfo")
_OCTAL = r"\\([0-7]{3})"
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


class FileSystem(NamedTuple):
    """Where a directory is mounted; `kind` and `options` are empty where the system has no such table.

    `free_bytes` is what this user may write; `free_files` None if files aren't counted.
    """

    kind: str
    options: tuple[str, ...]
    free_bytes: int
    total_bytes: int
    free_files: int | None

    @classmethod
    def of(cls, directory: Path) -> FileSystem:
        """The file system of the directory, which must exist. Raises OSError."""
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
    def keeps_times(self) -> bool:
        """Whether the times of a file show every change at once.

        Network file systems may show a change by another host late, and FUSE file systems may keep no times.
        """
        return not self.is_of_network and not self.kind.startswith("fuse")

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
        point = Path(re.sub(_OCTAL, lambda code: chr(int(code[1], 8)), fields[4]))
        depth = len(point.parts)
        if depth >= best and (point == directory or point in directory.parents):
            best, kind, options = depth, behind.split(" ")[0], tuple(fields[5].split(","))
    return kind, options
