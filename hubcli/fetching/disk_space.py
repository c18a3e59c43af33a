"""Room on the disk: asked for before a model is written, and again while it grows."""

from __future__ import annotations

from pathlib import Path

from hubcli.archive.unpack import require_room

__all__ = ["DiskSpaceGuard"]

_EVERY_BYTES = 8 << 20


class DiskSpaceGuard:
    """Whether there is room for what is left of an archive: unpacked it takes its own size at least.

    What the whole takes is so an estimate that grows with what came out larger than it was packed; an
    archive whose size isn't told has none, and each file asks for its own. Raises DiskFullError, when it
    is made too. `received` and `unpacked` may be called from two threads.
    """

    def __init__(self, folder: Path, name: str, size_bytes: int | None) -> None:
        self._folder = folder
        self._what = name
        self._left_bytes = size_bytes
        self._unasked_bytes = 0
        self._require()
        self._what = f"the rest of {name}"

    def received(self, size_bytes: int) -> None:
        """So many more bytes of the archive have come."""
        if self._left_bytes is not None:
            self._left_bytes -= size_bytes

    def unpacked(self, size_bytes: int) -> None:
        """So many more bytes have been written: the disk is asked now and then. Raises DiskFullError."""
        self._unasked_bytes += size_bytes
        if self._unasked_bytes >= _EVERY_BYTES:
            self._unasked_bytes = 0
            self._require()

    def _require(self) -> None:
        if self._left_bytes is not None and self._left_bytes > 0:
            require_room(self._folder, self._left_bytes, self._what)
