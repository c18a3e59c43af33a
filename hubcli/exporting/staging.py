"""The staging directory of an export: hidden beside its destination, and locked as long as its process lives.

The lock is flock(2) on a file in the directory. The system gives it up with the process, however that
ends, and two containers on one machine see the same lock, where the same process number means two
processes. Names are `.<destination>.<12 hex digits>.hubcli-tmp`. Version 0.1.0 made none with a lock,
and some file systems have no locks: nothing is known of such a directory, and it is never removed.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType

from hubcli.atomic_files import HIDDEN_NAME, SHOWN_CHARACTERS, hidden_beside, remove_tree, unique_number
from hubcli.config.user_directories import export_records
from hubcli.regular_file import open_at_once, read_regular

__all__ = [
    "REPLACED",
    "Leftover",
    "Staging",
    "StagingState",
    "forget_removed",
    "leftovers_in",
    "recorded_folders",
    "remove_leftovers_of",
]

# What the export replaces stands under this name while it is put aside.
_LOCK, REPLACED = "lock", "old"
_MAX_LOCK_BYTES, _MAX_RECORDS = 1 << 16, 10_000
# A process that removes another's leftover holds its lock for a moment.
_WAIT_S, _POLL_S = 10.0, 0.01
# A directory without a lock and without files: its process was killed between the two, or is there now.
_EMPTY_S = 60.0


class StagingState(str, Enum):
    """Whether the process that made the directory lives."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


class Staging:
    """The staging directory at `path`, once it is made; a context that holds its lock to the end."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._number = unique_number()[:12]
        self.path = hidden_beside(place, self._number)
        self._descriptor = -1

    def __enter__(self) -> Staging:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
        _forget(self._number)

    def make(self) -> None:
        """Makes the directory, with its parents, and locks it. Raises OSError.

        Nothing may be put into it before: until the lock is held it may be taken for a leftover.
        """
        _record(self._number, self.path)
        ends_at = time.monotonic() + _WAIT_S
        while True:
            with suppress(FileExistsError):  # Also if another process removes it between mkdir's two checks.
                self.path.mkdir(parents=True, exist_ok=True)
            if self._is_locked():
                return
            if time.monotonic() > ends_at:
                raise BlockingIOError("another process holds the lock of a directory that is new")
            time.sleep(_POLL_S)

    def remove(self) -> None:
        """Removes the directory with all in it, the lock last."""
        _remove(self.path)

    def _is_locked(self) -> bool:
        """Whether the lock is held, or locks are not supported here; False if it was taken for a leftover."""
        lock = self.path / _LOCK
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            return False
        state = _claim(descriptor)
        if state is StagingState.UNKNOWN:
            # Another machine might get the lock, and take this process for dead.
            lock.unlink(missing_ok=True)
            os.close(descriptor)
            return True
        if state is StagingState.ALIVE or not _is_at(descriptor, lock):
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        os.write(descriptor, json.dumps({"machine": _machine(), "destination": str(self._place)}).encode())
        return True


@dataclass(frozen=True, slots=True)
class Leftover:
    """A staging directory, how its process was found, and how long nothing changed in it, in seconds."""

    path: Path
    state: StagingState
    age_s: float

    def remove(self) -> bool:
        """Removes it if its process is dead, also by now; whether it did.

        What the export had moved aside to replace it, and never put back, goes back to its place.
        """
        descriptor, state = _look(self.path)
        try:
            if state is StagingState.DEAD:
                _put_back(self.path)
                # Under another name: a process that has just begun may be about to lock this one.
                _remove(self.path.rename(hidden_beside(self.path)))
            elif descriptor < 0 and _is_empty(self.path) and self.age_s > _EMPTY_S:
                self.path.rmdir()
            else:
                return False
        except OSError:
            return False
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        match = re.fullmatch(HIDDEN_NAME, self.path.name)
        if match is not None:
            _forget(match[2])
        return not os.path.lexists(self.path)


def leftovers_in(folder: Path, place: Path | None = None) -> Iterator[Leftover]:
    """The staging directories in the folder, or those of exports to `place` alone, but for living ones.

    Empty where the folder can't be read.
    """
    prefix = None if place is None else place.name[:SHOWN_CHARACTERS]
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = re.fullmatch(HIDDEN_NAME, entry.name)
            if match is None or (prefix is not None and match[1] != prefix):
                continue
            if entry.is_dir(follow_symlinks=False):
                leftover = _leftover(Path(folder, entry.name))
                if leftover.state is not StagingState.ALIVE:
                    yield leftover


def remove_leftovers_of(place: Path) -> None:
    """Removes what killed exports to the place left beside it. What can't be removed stays."""
    for leftover in list(leftovers_in(place.parent, place)):
        leftover.remove()


def recorded_folders() -> tuple[Path, ...]:
    """The directories that hold a staging directory of an export of this user's that hasn't ended."""
    folders = dict[Path, None]()
    for record in _records():
        path = _recorded(record)
        if path is not None and path.is_dir():
            folders[path.parent] = None
    return tuple(folders)


def forget_removed() -> None:
    """Removes the records of staging directories that are gone."""
    for record in _records():
        path = _recorded(record)
        if path is not None and not os.path.lexists(path):
            _forget(record.name)


def _records() -> list[Path]:
    root = export_records()
    with suppress(OSError):
        return sorted(root.iterdir() if root is not None else ())[:_MAX_RECORDS]
    return []


def _recorded(record: Path) -> Path | None:
    """The staging directory that the record names, None if it names none."""
    with suppress(OSError, ValueError):
        path = Path(os.fsdecode(read_regular(record, _MAX_LOCK_BYTES)))
        if path.is_absolute() and re.fullmatch(HIDDEN_NAME, path.name):
            return path
    return None


def _leftover(path: Path) -> Leftover:
    descriptor, state = _look(path)
    if descriptor >= 0:
        os.close(descriptor)
    changed_at_s = time.time()
    with suppress(OSError):
        changed_at_s = max(child.lstat().st_mtime for child in (path, *path.iterdir()))
    return Leftover(path, state, max(0.0, time.time() - changed_at_s))


def _look(path: Path) -> tuple[int, StagingState]:
    """A descriptor of its lock, to be closed, or -1; and the state of its process.

    As long as the descriptor of a dead one is open, no other process finds it dead.
    """
    try:
        descriptor = open_at_once(str(path / _LOCK), os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return -1, StagingState.UNKNOWN
    state = _claim(descriptor)
    if state is StagingState.DEAD and not _is_ours(descriptor, path):
        state = StagingState.UNKNOWN
    return descriptor, state


def _claim(descriptor: int) -> StagingState:
    """ALIVE where another holds the lock, UNKNOWN where there are no locks, DEAD where it is ours now."""
    try:
        from fcntl import LOCK_EX, LOCK_NB, flock

        flock(descriptor, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return StagingState.ALIVE
    except (ImportError, OSError):
        return StagingState.UNKNOWN
    return StagingState.DEAD


def _is_ours(descriptor: int, path: Path) -> bool:
    """Whether the lock is this user's, still stands there, and tells of this machine's processes.

    On a file system of a network, each machine may see its own locks alone.
    """
    if os.fstat(descriptor).st_uid != os.geteuid() or not _is_at(descriptor, path / _LOCK):
        return False
    record = _lock_record(path)
    return record.get("machine") == _machine() or not _is_of_network(path)


def _lock_record(path: Path) -> dict[str, object]:
    """What the lock file says; nothing where it was never written."""
    try:
        found = json.loads(read_regular(path / _LOCK, _MAX_LOCK_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_of_network(path: Path) -> bool:
    from hubcli.cache.disk_usage import FileSystem  # Few leftovers are another machine's.

    try:
        return FileSystem.of(path).is_of_network
    except OSError:
        return True


def _is_at(descriptor: int, lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), lock.lstat())
    except OSError:
        return False


def _machine() -> str:
    """The running system, which all containers on a machine share. Source: random(4), boot_id."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _put_back(path: Path) -> None:
    """Renames what was to be replaced to its place, if nothing has come there since. Raises OSError."""
    place = Path(str(_lock_record(path).get("destination") or ""))
    aside = path / REPLACED
    is_beside = place.parent.resolve() == path.parent.resolve()
    if is_beside and os.path.lexists(aside) and not os.path.lexists(place):
        aside.rename(place)


def _is_empty(path: Path) -> bool:
    return next(path.iterdir(), None) is None and path.lstat().st_uid == os.geteuid()


def _remove(path: Path) -> None:
    """Removes the directory, its lock last: if this process is killed, the lock tells of what is left."""
    with suppress(OSError):
        for child in list(path.iterdir()):
            if child.name != _LOCK:
                remove_tree(child)
    remove_tree(path)


def _record(number: str, path: Path) -> None:
    """Notes the directory in the user's own, where `doctor` looks. An export doesn't depend on it."""
    root = export_records()
    if root is not None:
        with suppress(OSError):
            root.mkdir(parents=True, exist_ok=True)
            (root / number).write_bytes(os.fsencode(path))


def _forget(number: str) -> None:
    root = export_records()
    if root is not None:
        with suppress(OSError):
            (root / number).unlink(missing_ok=True)
