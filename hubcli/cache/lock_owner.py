"""Who holds a lock, as tensorflow_hub 0.16.1 writes it: `host.pid.uid`."""

from __future__ import annotations

import os
import re
import uuid
from dataclasses import dataclass
from pathlib import Path

from hubcli.formats.files import read_record

__all__ = ["LockOwner"]

_FORM = re.compile(r"(?P<host>.*)\.(?P<pid>[0-9]{1,20})\.(?P<uid>[0-9a-f]{1,64})", re.DOTALL)
_CLOCK_SLACK_S = 2.0


@dataclass(frozen=True, slots=True)
class LockOwner:
    """Who holds a lock: host name, process id, and the id of its staging directory."""

    host: str
    pid: int
    uid: str

    @classmethod
    def of_this_process(cls) -> LockOwner:
        """An owner with a new uid."""
        return cls(_host(), os.getpid(), uuid.uuid4().hex)

    @classmethod
    def read(cls, lock: Path) -> LockOwner | None:
        """The owner that the file names, or None where it is gone or names none."""
        try:
            match = _FORM.fullmatch(read_record(lock).decode("utf-8", "replace"))
        except OSError:
            return None
        return cls(match["host"], int(match["pid"]), match["uid"]) if match else None

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"

    @property
    def text(self) -> str:
        """What the lock file holds."""
        return f"{self.host}.{self.pid}.{self.uid}"

    @property
    def is_here(self) -> bool:
        """Whether its process runs, or ran, on this host."""
        return self.host == _host()

    def is_dead(self, lock: Path) -> bool:
        """Whether its process is known to be gone; False where it is on another host.

        A process that is younger than the lock file inherited the number, as
        happens in containers, where every first process is number 1.
        """
        if not self.is_here or os.name == "nt":  # os.kill would end the process on Windows.
            return False
        if self.pid == 0:  # No process; to os.kill it means this one and its brothers.
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OverflowError:  # A number that no process has.
            return True
        except OSError:
            return False
        started = _process_start_s(self.pid)
        try:
            return started is not None and started > lock.stat().st_mtime + _CLOCK_SLACK_S
        except OSError:
            return False


def _host() -> str:
    import socket  # Who only reads the cache doesn't wait for it.

    return socket.gethostname()


def _process_start_s(pid: int) -> float | None:
    """When the process started, in seconds since 1970; None where the system has no /proc."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = re.search(r"^btime (\d+)$", Path("/proc/stat").read_text(), re.MULTILINE)
    except OSError:
        return None
    if boot is None or len(after_name) < 20:
        return None
    # Field 22 of proc_pid_stat(5), counted from the one after the name, in clock ticks.
    return int(boot[1]) + int(after_name[19]) / os.sysconf("SC_CLK_TCK")
