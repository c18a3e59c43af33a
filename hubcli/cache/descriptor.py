"""The descriptor beside a cached model: tensorflow_hub's only map from key to handle.

Form: `tensorflow_hub/resolver.py`, `_write_module_descriptor_file` (0.16.1).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from hubcli.formats.files import read_record

__all__ = ["Descriptor"]

_FORM = re.compile(
    r"Module: (?P<handle>.*)\n"
    r"Download Time: (?P<time>.*)\n"
    r"Downloader Hostname: (?P<host>.*) \(PID:(?P<pid>[0-9]{1,20})\)\s*"
)
_MAX_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Which handle an entry was downloaded for, when (seconds since 1970), and by whom."""

    handle: str
    downloaded_at_s: float | None
    host: str
    pid: int

    @classmethod
    def of_this_process(cls, handle: str, downloaded_at_s: float) -> Descriptor:
        """The descriptor of a download made here."""
        import socket  # Who only reads the cache doesn't wait for it.

        return cls(handle, downloaded_at_s, socket.gethostname(), os.getpid())

    @classmethod
    def read(cls, path: Path) -> Descriptor | None:
        """The descriptor in the file, or None where there is none that can be understood."""
        try:
            match = _FORM.fullmatch(read_record(path, _MAX_BYTES).decode("utf-8", "replace"))
        except OSError:
            return None
        if match is None:
            return None
        try:
            # tensorflow_hub writes local time without an offset.
            moment: float | None = datetime.fromisoformat(match["time"]).astimezone(timezone.utc).timestamp()
        except (ValueError, OverflowError, OSError):
            moment = None
        return cls(match["handle"], moment, match["host"], int(match["pid"]))

    def to_text(self) -> str:
        """The content of the file."""
        moment = datetime.fromtimestamp(self.downloaded_at_s or 0)  # noqa: DTZ006 - local, as tensorflow_hub's
        return (
            f"Module: {self.handle}\nDownload Time: {moment}\n"
            f"Downloader Hostname: {self.host} (PID:{self.pid})"
        )
