"""A directory as an object store: keys are files below it; it may be on NFS, shared by many machines.

What is written is complete before it has its name. An object is created by a hard link that must be new
(link(2) is atomic on NFS), and the comparison before a swap is guarded by a lock that the kernel, or the
NFS server, releases when its process dies.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO

from hubcli.atomic_files import unique_number
from hubcli.durability import SYNCED, Durability, WriteBack
from hubcli.errors import (
    AuthenticationError,
    HubcliError,
    IntegrityError,
    NetworkError,
    NotFoundError,
    UnsupportedError,
    means_full,
)
from hubcli.net.byte_source import ByteSource
from hubcli.net.file_source import FileSource
from hubcli.net.object_store import ObjectInfo, ObjectStore
from hubcli.regular_file import NotRegularError, open_at_once, open_regular, write_all
from hubcli.units import to_utc

__all__ = ["DirectoryStore", "require_key"]

_MAX_KEY_BYTES = 1024
_COPY_BYTES = 1 << 20
_ATTEMPTS = 10
# What opening raises where no object is.
_NO_OBJECT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_LOCK_NAME = ".hubcli-lock"
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.hubcli-tmp")
_STALE_S = 86400.0
_LOCK_S, _LOCK_POLL_S = 30.0, 0.01
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)
_MOUNTS = Path("/proc/self/mountinfo")
# Of NFS mounts whose locks hold on this machine alone; see nfs(5).
_LOCAL_LOCKS = re.compile(r"\b(?:nolock|local_lock=(?:all|posix))\b")
# POSIX locks are a process's: its threads exclude each other by this one.
_threads = threading.Lock()


def require_key(key: str) -> str:
    """The key; raises UnsupportedError for one that isn't a relative path of plain segments."""
    segments = key.split("/")
    if (
        not all(segments)
        or any(segment[0] == "." or "\0" in segment for segment in segments)
        or len(key.encode("utf-8", "surrogateescape")) > _MAX_KEY_BYTES
    ):
        raise UnsupportedError(f"Invalid key of an object: {key!r}")
    return key


class DirectoryStore(ObjectStore):
    """The files below `root`, which is made with the first object. Hidden names are not objects.

    An ETag is made of inode, size and time of modification: each write makes a new file.
    """

    is_local = True

    def __init__(self, root: Path, durability: Durability = SYNCED) -> None:
        self.root = root
        self.address = str(root).rstrip("/") or "/"
        self._durability = durability

    def head(self, key: str) -> ObjectInfo | None:
        """What is under the key now; None if nothing is."""
        with self._errors(key):
            try:
                with open_regular(self._path(key)) as file:  # NFS refreshes attributes at an open.
                    return _info(key, os.fstat(file.fileno()))
            except _NO_OBJECT:
                return None

    def read(self, key: str, limit_bytes: int) -> tuple[bytes, ObjectInfo] | None:
        """A small object as a whole; None if nothing is. Raises IntegrityError beyond the limit."""
        with self._errors(key):
            try:
                with open_regular(self._path(key), is_buffered=True) as file:
                    info = _info(key, os.fstat(file.fileno()))
                    content = file.read(limit_bytes + 1)
            except _NO_OBJECT:
                return None
        if len(content) > limit_bytes:
            raise IntegrityError(f"{self.address}/{key} is larger than {limit_bytes} bytes")
        return content, info

    @contextmanager
    def open(self, key: str, spool: Path | None = None) -> Iterator[ByteSource]:
        """The bytes of an object, in parts; nothing is spooled. Raises NotFoundError."""
        path = self._path(key)
        try:
            file = open_regular(path)
        except _NO_OBJECT as error:
            raise NotFoundError(f"{self.address}/{key} does not exist") from error
        except OSError as error:
            raise self._failed(key, error) from error
        with file:
            yield FileSource(path.as_uri(), file, os.fstat(file.fileno()).st_size, path)

    def list_objects(self, prefix: str = "", start_after: str | None = None) -> Iterator[ObjectInfo]:
        """The objects whose keys begin with the prefix, in order of their keys, a directory at a time."""
        folder, slash, name = prefix.rpartition("/")
        with self._errors(prefix):
            self._require_no_symlinks(folder)
            yield from self._below(f"{folder}{slash}", name, start_after or "")

    def _require_no_symlinks(self, folder: str) -> None:
        """Raises UnsupportedError for a folder below a link: gc would remove files elsewhere."""
        path = self.root
        for segment in filter(None, folder.split("/")):
            path /= segment
            if path.is_symlink():
                raise UnsupportedError(f"{path} is a symbolic link", hint="Use a bind mount instead.")

    def _below(self, folder: str, name: str, start_after: str) -> Iterator[ObjectInfo]:
        for child, is_directory in self._children(folder):
            key = folder + child
            if not child.startswith(name) or len(os.fsencode(key)) > _MAX_KEY_BYTES:
                continue  # No key can name an object in there; so the depth is bounded, too.
            if is_directory:
                # Its keys come after `start_after`, or that is one of them.
                if key > start_after or start_after.startswith(key):
                    yield from self._below(key, "", start_after)
            elif key > start_after:
                info = self.head(key)
                if info is not None:
                    yield info

    def _children(self, folder: str) -> list[tuple[str, bool]]:
        """Names in the folder in the order of keys: a directory's ends in a slash, which counts."""
        try:
            with os.scandir(self.root / folder) as found:
                names = [
                    (f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name)
                    for entry in found
                    if entry.name[0] != "."
                    and (entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False))
                ]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [(name, name[-1] == "/") for name in sorted(names)]

    def create(self, key: str, data: bytes) -> bool:
        """Writes a small object where none is; False if one is already. Exactly one of many wins."""
        path = self._path(key)
        with self._errors(key), self._written(path, data) as temporary:
            try:
                os.link(temporary, path)
            except FileExistsError:
                # The answer to a link that was made may be lost on NFS, and the retry fails: open(2).
                return temporary.stat().st_nlink == 2
            except OSError as error:
                if error.errno in _NO_LINKS:
                    raise UnsupportedError(
                        f"{self.address} is on a file system without hard links",
                        hint="Use it with ?mode=read, or move it to another file system.",
                    ) from error
                raise
            return True

    def replace(self, key: str, data: bytes, expected: ObjectInfo) -> bool:
        """Replaces the object if it is the one that `expected` describes; False if it was changed or removed.

        Raises UnsupportedError if locks don't hold between machines.
        """
        path = self._path(key)
        with self._errors(key), self._written(path, data) as temporary, self._locked():
            now = self.head(key)
            if now is None or now.etag != expected.etag:
                return False
            temporary.replace(path)
            return True

    def put(self, key: str, data: bytes) -> None:
        """Writes a small object, over what is there."""
        path = self._path(key)
        with self._errors(key), self._written(path, data) as temporary:
            temporary.replace(path)

    def upload(
        self, key: str, path: Path, on_sent: Callable[[int], None] = lambda size_bytes: None
    ) -> ObjectInfo:
        """Copies a file of any size; nothing is seen before its end."""
        target = self._path(key)
        with self._errors(key), self._temporary(target) as temporary:
            with path.open("rb", buffering=0) as source, _new_file(temporary) as copy:
                write_back = WriteBack(copy.fileno(), self._durability)
                while piece := source.read(_COPY_BYTES):
                    write_all(copy.fileno(), piece)
                    write_back.wrote(len(piece))
                    on_sent(len(piece))
                self._durability.file(copy.fileno())
                info = _info(key, os.fstat(copy.fileno()))
            temporary.replace(target)
            self._durability.directory(target.parent)
            return info

    def delete(self, key: str) -> bool:
        """Removes an object, and the folders that become empty; False if none was there."""
        path = self._path(key)
        with self._errors(key):
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError):
                return False
            for folder in path.parents:
                if folder == self.root:
                    break
                try:
                    folder.rmdir()
                except OSError:  # Not empty, or another writer is about to use it.
                    break
            return True

    def now(self) -> datetime:
        """The clock of the file system, which on NFS is the server's; that of this machine else."""
        try:
            with self._temporary(self.root / "clock") as temporary, temporary.open("xb") as file:
                return _moment(os.fstat(file.fileno()))
        except OSError:
            return datetime.now(timezone.utc)

    def sweep(self) -> None:
        """Removes temporary files of killed writers that are older than a day."""
        before_s = self.now().timestamp() - _STALE_S
        for folder, _, names in os.walk(self.root):
            for path in (Path(folder, name) for name in names if _TEMPORARY.fullmatch(name)):
                with suppress(OSError):
                    if path.lstat().st_mtime < before_s:
                        path.unlink()

    def _path(self, key: str) -> Path:
        return self.root / require_key(key)

    @contextmanager
    def _temporary(self, path: Path) -> Iterator[Path]:
        """A hidden name in the same folder; a file that has it at the end is removed."""
        temporary = path.with_name(f".{unique_number()}.hubcli-tmp")
        try:
            yield temporary
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    @contextmanager
    def _written(self, path: Path, data: bytes) -> Iterator[Path]:
        with self._temporary(path) as temporary:
            self._write(temporary, data)
            yield temporary
            self._durability.directory(path.parent)

    def _write(self, temporary: Path, data: bytes) -> None:
        with _new_file(temporary) as file:
            write_all(file.fileno(), data)
            self._durability.file(file.fileno())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Holds the one lock of the directory. Raises UnsupportedError without shared locks, NetworkError."""
        self._require_shared_locks()
        with _threads, open(self.root / _LOCK_NAME, "ab", opener=open_at_once) as file:
            until_s = time.monotonic() + _LOCK_S
            while not self._takes_lock(file):
                # A lock is held only for a comparison and a rename, unless its holder is suspended.
                if time.monotonic() > until_s:
                    raise NetworkError(
                        f"{self.address} is locked by a process that does not release it",
                        hint=f"Find the process: fuser {self.root / _LOCK_NAME}",
                    )
                time.sleep(_LOCK_POLL_S)
            yield  # Closing the file releases the lock.

    def _takes_lock(self, file: BinaryIO) -> bool:
        """Whether the lock is held now; False if another process has it."""
        try:
            import fcntl
        except ImportError as error:  # Windows.
            raise self._without_locks() from error
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            if error.errno in _NO_LOCKS:
                raise self._without_locks() from error
            raise
        return True

    def _require_shared_locks(self) -> None:
        """Raises UnsupportedError for a mount of NFS whose locks no other machine sees."""
        try:
            device = self.root.stat().st_dev
            mounts = _MOUNTS.read_text(errors="replace")
        except OSError:
            return
        number = f" {os.major(device)}:{os.minor(device)} "
        for line in mounts.splitlines():
            if number in line[:64] and " - nfs" in line and _LOCAL_LOCKS.search(line):
                raise self._without_locks()

    def _without_locks(self) -> UnsupportedError:
        return UnsupportedError(
            f"{self.address} is on a file system without locks between machines",
            hint="Mount it without nolock and local_lock.",
        )

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._failed(key, error) from error

    def _failed(self, key: str, error: OSError) -> HubcliError:
        name = f"{self.address}/{key}".rstrip("/")
        if isinstance(error, NotRegularError):
            return NetworkError(f"{name} is not a regular file")
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return AuthenticationError(
                f"Access to {name} is denied: {error.strerror}", hint="Check its owner and permissions."
            )
        hint = "Free some space there." if means_full(error) else "Check that it is mounted."
        return NetworkError(f"Cannot access {name}: {error.strerror or error}", hint=hint)


def _new_file(path: Path) -> BinaryIO:
    """The file, in a folder that is made; another process may be about to remove it as an empty one."""
    for _ in range(_ATTEMPTS):
        with suppress(FileNotFoundError):
            path.parent.mkdir(parents=True, exist_ok=True)
            return path.open("xb", buffering=0)
    return path.open("xb", buffering=0)


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    if not stat.S_ISREG(status.st_mode):
        raise NotRegularError(errno.EINVAL, "not a regular file")
    etag = f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"
    return ObjectInfo(key, status.st_size, _moment(status), etag)


def _moment(status: os.stat_result) -> datetime:
    return to_utc(status.st_mtime)  # Anyone who may write there sets any time.
