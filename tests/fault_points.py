"""What file systems over a network do otherwise, in a process of its own: calls that fail or come late."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["FAULT_POINTS", "NFS", "activate_fault_points"]

_HOUR_S = 3600.0


def _refuse(code: int) -> Callable[..., NoReturn]:
    def refuse(*_arguments: Any, **_options: Any) -> NoReturn:
        raise OSError(code, os.strerror(code))

    return refuse


def _no_locks() -> None:
    """No lock of the system's: as where the host's lock daemon doesn't run."""
    for name in ("flock", "lockf", "fcntl"):
        setattr(fcntl, name, _refuse(errno.ENOLCK))


def _no_hard_links() -> None:
    os.link = _refuse(errno.EPERM)


def _late_answers() -> None:
    """The link is made, but the answer is lost: the client asks again, and is told that it exists."""
    link = os.link

    def link_twice(source: Any, target: Any) -> None:
        link(source, target)
        link(source, target)

    os.link = link_twice  # type: ignore[assignment]


def _no_exchange() -> None:
    from hubcli import atomic_files as disk

    disk.exchange_at_once = lambda new, old: False


def _clock_behind() -> None:
    """The server's clock is an hour behind: so are the times of what is written there."""
    write_text = Path.write_text

    def write_then(path: Path, *arguments: Any, **options: Any) -> int:
        written = write_text(path, *arguments, **options)
        os.utime(path, (time.time() - _HOUR_S, time.time() - _HOUR_S))
        return written

    Path.write_text = write_then  # type: ignore[method-assign,assignment]


def _worthless_lock() -> None:
    """Everybody gets the lock: as where each is told that the other has died."""
    from hubcli.cache import lock

    lock._try_create = lambda path, owner: True  # type: ignore[assignment]


FAULT_POINTS: dict[str, Callable[[], None]] = {
    "no locks": _no_locks,
    "no hard links": _no_hard_links,
    "late answers": _late_answers,
    "no exchange": _no_exchange,
    "clock behind": _clock_behind,
    "worthless lock": _worthless_lock,
}
NFS = ("no locks", "late answers", "no exchange", "clock behind")


def activate_fault_points(names: Iterable[str]) -> None:
    """Has this process live with them from now on."""
    for name in names:
        FAULT_POINTS[name]()
