"""The lock on an entry, as tensorflow_hub 0.16.1 understands it.

A file `<sha1>.lock` holds `host.pid.uid`. Its holder makes bytes grow in
`<sha1>.<uid>.tmp/`; tensorflow_hub breaks the lock of a holder whose directory stands still
for ten minutes. The lock saves work: correctness rests on the one rename that
publishes, so a holder that lost its lock does no harm.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hubcli.atomic_files import remove_tree, temporary_beside
from hubcli.cache.disk_usage import directory_size_bytes, measure
from hubcli.cache.layout import EntryPaths
from hubcli.cache.records import LockOwner
from hubcli.errors import LockTimeoutError, means_full

__all__ = ["MIN_SILENCE_S", "Lock", "hold_lock", "last_activity_s", "lock_at_once"]

# tensorflow_hub breaks the lock of a holder without progress for this long; hubcli does so no sooner.
MIN_SILENCE_S = 600.0

_FIRST_POLL_S, _LAST_POLL_S = 0.05, 1.0
_REPORT_EVERY_S = 30.0
# A process that makes a lock writes its name into it at once, unless it is killed in between.
_NAMELESS_S = 5.0


class Lock:
    """A lock that is held, until `release`.

    `was_broken` says that a former holder left it behind, and perhaps more.
    """

    def __init__(self, paths: EntryPaths, owner: LockOwner, *, was_broken: bool = False) -> None:
        self.paths = paths
        self.owner = owner
        self.was_broken = was_broken

    @property
    def staging(self) -> Path:
        """Where the holder unpacks."""
        return self.paths.staging(self.owner.uid)

    def release(self) -> None:
        """Removes the lock file, unless another process took the lock over meanwhile."""
        if LockOwner.read(self.paths.lock) == self.owner:
            self.paths.lock.unlink(missing_ok=True)


@contextmanager
def hold_lock(
    paths: EntryPaths,
    *,
    timeout_s: float,
    on_wait: Callable[[LockOwner | None], None] = lambda owner: None,
) -> Iterator[Lock]:
    """Holds the entry's lock; waits for another holder as long as its bytes grow.

    The lock of a dead holder on this host is taken over at once, a lock without a holder
    after five seconds, a holder of another host when nothing grew for `timeout_s`
    seconds. `on_wait` is called with the holder, at first and every 30 seconds. Raises
    LockTimeoutError where a live process of this host holds the lock and nothing
    grew for `timeout_s`; OSError where the root can't be written.
    """
    owner, was_broken = LockOwner.of_this_process(), False
    while not _try_create(paths.lock, owner):
        was_broken |= _wait(paths, timeout_s, on_wait)
    lock = Lock(paths, owner, was_broken=was_broken)
    try:
        yield lock
    finally:
        lock.release()


@contextmanager
def lock_at_once(paths: EntryPaths, *, silence_s: float) -> Iterator[Lock | None]:
    """Holds the entry's lock if it can be had without waiting; gives None if another holds it.

    The lock of a dead process of this host is taken over, and that of an unknown holder
    if neither the lock nor what is unpacked under it has changed for `silence_s` seconds,
    MIN_SILENCE_S at least. Raises OSError if the root can't be written, but not
    for a full disk.
    """
    lock = _at_once(paths, silence_s)
    try:
        yield lock
    finally:
        if lock is not None:
            lock.release()


def _at_once(paths: EntryPaths, silence_s: float) -> Lock | None:
    owner, was_broken = LockOwner.of_this_process(), False
    if _try_take(paths.lock, owner):
        return Lock(paths, owner)
    holder = LockOwner.read(paths.lock)
    if os.path.lexists(paths.lock):  # Otherwise its holder has just released it.
        if not _is_abandoned(paths, holder, silence_s):
            return None
        was_broken = _break(paths.lock, holder)
    return Lock(paths, owner, was_broken=was_broken) if _try_take(paths.lock, owner) else None


def _try_take(lock: Path, owner: LockOwner) -> bool:
    """As `_try_create`; but on a full disk, where nobody can make a lock, it is enough that there is none.

    Otherwise, a collection that is to make room could not begin.
    """
    try:
        return _try_create(lock, owner)
    except OSError as error:
        if not means_full(error):
            raise
        return not os.path.lexists(lock)


def _is_abandoned(paths: EntryPaths, holder: LockOwner | None, silence_s: float) -> bool:
    if holder is not None and holder.is_here:
        return holder.is_dead(paths.lock)
    silent_s = time.time() - last_activity_s(paths, holder)
    return silent_s > max(silence_s, MIN_SILENCE_S)


def last_activity_s(paths: EntryPaths, holder: LockOwner | None) -> float:
    """When the lock, or anything that its holder unpacks, last changed, in seconds since 1970."""
    at_s = measure(paths.lock).changed_at_s
    return at_s if holder is None else max(at_s, measure(paths.staging(holder.uid)).changed_at_s)


def _try_create(lock: Path, owner: LockOwner) -> bool:
    """Whether the lock file was created, with its whole content at once.

    It uses no lock of the system: network file systems may have none.
    """
    temporary = temporary_beside(lock)
    try:
        temporary.write_text(owner.text, encoding="utf-8")
        # By the clock of this host, which tells when the owner's process began: a file server has another.
        os.utime(temporary, (time.time(), time.time()))
        try:
            os.link(temporary, lock)
        except FileExistsError:
            # NFS repeats a request whose answer was lost, and the second answer is that the link exists.
            return LockOwner.read(lock) == owner
        except OSError:  # A file system without hard links.
            return _try_create_exclusively(lock, owner)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _try_create_exclusively(lock: Path, owner: LockOwner) -> bool:
    try:
        file = lock.open("x", encoding="utf-8")
    except FileExistsError:
        return False
    try:
        with file:
            file.write(owner.text)
    except BaseException:
        lock.unlink(missing_ok=True)
        raise
    return True


def _wait(paths: EntryPaths, timeout_s: float, on_wait: Callable[[LockOwner | None], None]) -> bool:
    """Returns when the lock is gone; whether it had to be broken."""
    poll_s, reported_at = _FIRST_POLL_S, float("-inf")
    seen, still_since = _progress(paths), time.monotonic()
    while os.path.lexists(paths.lock):
        progress, now = _progress(paths), time.monotonic()
        owner = progress[0]
        if progress != seen:
            seen, still_since = progress, now
        is_dead = owner is not None and owner.is_dead(paths.lock)
        patience_s = timeout_s if owner is not None else min(timeout_s, _NAMELESS_S)
        if is_dead or now - still_since >= patience_s:
            if owner is not None and owner.is_here and not is_dead:
                raise _timed_out(paths, owner, timeout_s)
            if _break(paths.lock, owner):
                return True
        if now - reported_at >= _REPORT_EVERY_S:
            on_wait(owner)
            reported_at = now
        time.sleep(poll_s)
        poll_s = min(poll_s * 1.5, _LAST_POLL_S)
    return False


def _progress(paths: EntryPaths) -> tuple[LockOwner | None, int]:
    """The holder, and how many bytes it has unpacked."""
    owner = LockOwner.read(paths.lock)
    return owner, directory_size_bytes(paths.staging(owner.uid)) if owner else 0


def _timed_out(paths: EntryPaths, owner: LockOwner, timeout_s: float) -> LockTimeoutError:
    return LockTimeoutError(
        f"Process {owner.pid} on {owner.host} holds {paths.lock.name} and has "
        f"made no progress for {timeout_s:.0f} s",
        hint=f"Check the process (ps -p {owner.pid}), or wait longer: --lock-timeout TIME",
    )


def _break(lock: Path, dead_owner: LockOwner | None) -> bool:
    """Removes the lock file of `dead_owner`; False if it is gone, or that of a new holder by now.

    Two processes may find the same holder dead: without care, the slower one would remove the lock
    that the faster one has made since. So a process that breaks a lock holds flock(2) on that very
    file, and checks once more that it is still there.
    """
    aside = temporary_beside(lock)
    try:
        with _opened(lock) as descriptor:
            if not _may_break(lock, descriptor, dead_owner):
                return False
            lock.rename(aside)  # Anything, also a directory that holds files.
    except FileNotFoundError:
        return False
    remove_tree(aside)
    return True


def _may_break(lock: Path, descriptor: int | None, dead_owner: LockOwner | None) -> bool:
    """Whether the file is that of `dead_owner`, and stays there until `descriptor` is closed.

    On file systems without flock, and for a link, nothing guarantees that.
    """
    if descriptor is not None and not _is_claimed(descriptor):
        return False  # Another process is breaking it right now.
    if LockOwner.read(lock) != dead_owner:
        return False
    return descriptor is None or os.path.samestat(os.fstat(descriptor), lock.lstat())


@contextmanager
def _opened(lock: Path) -> Iterator[int | None]:
    """Its descriptor, None if it can't be opened. Raises FileNotFoundError."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError:  # A link, or another user's file.
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_claimed(descriptor: int) -> bool:
    from fcntl import LOCK_EX, LOCK_NB, flock

    with suppress(OSError):  # A file system that has none.
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            return False
    return True
