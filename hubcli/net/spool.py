"""The spool: a body on the disk while it comes, in segments, and a journal of which bytes are there.

The journal is text: a line of JSON with the body's size and validator, then a
line `start end` for each range that is there. A range is noted once it is synced to
the disk, by a thread of its own, so that neither a kill nor a power loss leaves a journal
that names bytes which aren't there: zeros in their place would be unpacked as the model
where the server sends no checksum.

Version 1 of the journal is that of hubcli 0.1.0, and of `--no-sync`: a range is noted once
it was written. It outlives the process, but not the machine, so it is valid until the next boot.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType

from hubcli.durability import SYNCED, Durability, booted_at_s
from hubcli.errors import CacheError, DiskFullError, HubcliError, LockLostError, means_full
from hubcli.regular_file import read_regular

__all__ = ["Segment", "Spool", "discard_spool", "resumable_bytes"]

_NOTED_BYTES = 4 << 20  # The least that is written between two notes.
_READ_BYTES = 256 << 10
_MAX_JOURNAL_BYTES = 16 << 20
_SYNCED_VERSION, _WRITTEN_VERSION = 2, 1
_MAX_UNNOTED_S = 1.0  # So that a killed process loses little of a slow download, too.
_MAX_WAIT_S = 0.1  # Of the reader, before it reports that it waits.


@dataclass
class Segment:
    """Bytes `start` to `end` of the body, of which those before `position` are there."""

    start: int
    end: int
    position: int
    noted: int

    @property
    def is_done(self) -> bool:
        """Whether all of it is there."""
        return self.position >= self.end


class Spool:
    """A body of `size_bytes` on the disk. Writers fill segments, one reader follows the growing prefix."""

    def __init__(
        self,
        path: Path,
        size_bytes: int,
        validator: str,
        segment_bytes_at: Callable[[int], int],
        *,
        position: int = 0,
        durability: Durability = SYNCED,
    ) -> None:
        """Resumes the spool at `path` if its journal is of the same body; else starts a new one.

        A segment begins at `position`; `segment_bytes_at` gives the size of one by where it begins. A new
        spool is a new file: another process that lost its lock may still write into the old one. A spool
        that was started with `durability` is resumed with it. Raises DiskFullError, CacheError,
        LockLostError.
        """
        self.path = path
        self.size_bytes = size_bytes
        self._changed = threading.Condition()
        self._failure: BaseException | None = None
        self._is_closed = False
        self._unnoted_bytes = 0
        self._users = 0  # Threads that are at the open file right now.
        self._noting: threading.Thread | None = None
        with _disk_errors(path):
            version, there = _journaled(path, size_bytes, validator)
            if there:
                durability = Durability(version == _SYNCED_VERSION)
            else:
                discard_spool(path)
            self._file = _opened(path, os.O_RDWR, is_new=not there)
            self._journal = _opened(_journal(path), os.O_WRONLY | os.O_APPEND, is_new=not there)
            if not there:
                os.ftruncate(self._file, size_bytes)
                version = _SYNCED_VERSION if durability.is_on else _WRITTEN_VERSION
                head = {"version": version, "size": size_bytes, "validator": validator}
                os.write(self._journal, f"{json.dumps(head)}\n".encode())
                durability.directory(path.parent)  # The journal must not outlive this very file.
        self._durability = durability
        self.segments = _segments(there, size_bytes, segment_bytes_at, position)
        self.resumed_bytes = _summed(there)

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Notes what was written; threads that still write or read find it closed.

        A complete body isn't synced once more: it is unpacked, and the spool removed next.
        """
        with self._changed:
            if self._is_closed:
                return
            self._is_closed = True
            self._changed.notify_all()
            # The system may reuse the number of a closed file at once.
            self._changed.wait_for(lambda: not self._users)
        if self._noting is not None:
            self._noting.join()
        is_whole = all(segment.is_done for segment in self.segments)
        with suppress(OSError, HubcliError):
            if not (is_whole and self._durability.is_on):
                self._note()
        os.close(self._file)
        os.close(self._journal)

    def write(self, segment: Segment, data: bytes) -> bool:
        """Writes the segment's next bytes; False if the spool was closed meanwhile.

        Bytes beyond the segment are left out. Raises DiskFullError, CacheError.
        """
        view = memoryview(data)[: segment.end - segment.position]
        while view:
            with self._open_file() as file:
                if file is None:
                    return False
                written = os.pwrite(file, view, segment.position)
            view = view[written:]
            self._count(segment, written)
        return True

    def put(self, position: int, chunks: Iterable[bytes]) -> None:
        """Writes the bytes from `position` on, where a segment begins."""
        data = iter(chunks)
        rest = next(data, b"")
        for segment in self.segments:
            if segment.start >= position:
                while rest and not segment.is_done:
                    room = segment.end - segment.position
                    self.write(segment, rest[:room])
                    rest = rest[room:] or next(data, b"")

    @contextmanager
    def _open_file(self) -> Iterator[int | None]:
        """The file's number, which stays its own within the context; None once it is closed."""
        with self._changed:
            is_closed = self._is_closed
            self._users += not is_closed
        try:
            with _disk_errors(self.path):
                yield None if is_closed else self._file
        finally:
            with self._changed:
                self._users -= not is_closed
                if self._is_closed:
                    self._changed.notify_all()

    def _count(self, segment: Segment, written: int) -> None:
        with self._changed:
            segment.position += written
            self._unnoted_bytes += _NOTED_BYTES if segment.is_done else written
            if self._noting is None and not self._is_closed:
                self._noting = threading.Thread(target=self._keep_noting, name="hubcli-journal", daemon=True)
                self._noting.start()
            self._changed.notify_all()

    def _keep_noting(self) -> None:
        """Records progress until the spool is closed, on a thread of its own, since it waits for the disk."""
        try:
            while self._is_to_be_noted():
                self._note()
        except BaseException as error:  # noqa: BLE001 - any error is handed to the reader
            self.fail(error)

    def _is_to_be_noted(self) -> bool:
        """Waits until enough bytes came, for a second at most; False once the spool is closed."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_closed or self._unnoted_bytes >= _NOTED_BYTES, _MAX_UNNOTED_S
            )
            return not self._is_closed

    def _note(self) -> None:
        """Syncs what was written until now, then says so in the journal. Raises DiskFullError, CacheError."""
        with self._changed:
            self._unnoted_bytes = 0
            reached = [(segment, segment.position) for segment in self.segments]
        lines = "".join(
            f"{segment.noted} {position}\n" for segment, position in reached if position > segment.noted
        )
        if not lines:
            return
        with _disk_errors(self.path):
            self._durability.file(self._file)
            os.write(self._journal, lines.encode())
        for segment, position in reached:
            segment.noted = position

    def fail(self, error: BaseException) -> None:
        """Has the reader raise the error once it has read the bytes before it."""
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    def chunks(
        self, position: int = 0, on_wait: Callable[[float], None] = lambda seconds: None
    ) -> Iterator[bytes]:
        """The body from `position` on, as it comes. Raises the error of a writer, CacheError.

        `on_wait` is called with the seconds that the reader waited for bytes, each time.
        """
        for segment in self.segments:
            while position < segment.end:
                available = self._wait_for(segment, position, on_wait)
                while position < available:
                    chunk = self._read(position, min(_READ_BYTES, available - position))
                    position += len(chunk)
                    yield chunk

    def _read(self, position: int, size_bytes: int) -> bytes:
        with self._open_file() as file:
            chunk = b"" if file is None else os.pread(file, size_bytes, position)
        if not chunk:
            raise CacheError(f"{self.path} was truncated while it was read", hint="Fetch it again.")
        return chunk

    def _wait_for(self, segment: Segment, position: int, on_wait: Callable[[float], None]) -> int:
        """How far the segment has been written, once that is beyond the position."""
        while True:
            with self._changed:
                if segment.position > position:
                    return segment.position
                if self._failure is not None:
                    raise self._failure
                if self._is_closed:
                    raise CacheError(f"{self.path} was closed while it was read")
                began_s = time.monotonic()
                self._changed.wait(_MAX_WAIT_S)
            on_wait(time.monotonic() - began_s)


def discard_spool(path: Path) -> None:
    """Removes the spool at the path, its journal first: a file without a journal is not a spool."""
    with _disk_errors(path):
        _journal(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _opened(path: Path, flags: int, *, is_new: bool) -> int:
    flags |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        return os.open(path, flags | (os.O_CREAT | os.O_EXCL if is_new else 0), 0o666)
    except FileExistsError as error:
        raise LockLostError(f"Another process is using {path}") from error


def _journal(path: Path) -> Path:
    return path.with_name(f"{path.name}.journal")


def _journaled(path: Path, size_bytes: int, validator: str) -> tuple[int, list[tuple[int, int]]]:
    """The journal's version, and the ranges that are there of that body, sorted and merged.

    There are none if the journal is of another body, or may name bytes that a power loss took.
    """
    try:
        if path.is_symlink() or path.stat().st_size != size_bytes:
            return 0, []
        status = _journal(path).stat()
        if status.st_size > _MAX_JOURNAL_BYTES:
            return 0, []
        head, *lines = read_regular(_journal(path), _MAX_JOURNAL_BYTES).split(b"\n")
        header = json.loads(head)
    except (OSError, ValueError, RecursionError):
        return 0, []
    body = {"size": size_bytes, "validator": validator}
    versions = [_SYNCED_VERSION, *([_WRITTEN_VERSION] if _is_of_this_boot(status.st_mtime) else [])]
    version = next(
        (version_number for version_number in versions if header == {"version": version_number, **body}), 0
    )
    if not version:
        return 0, []
    found = sorted(_ranges(lines[:-1], size_bytes))  # The last line is empty, or cut off.
    merged: list[tuple[int, int]] = []
    for start, end in found:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return version, merged


def _is_of_this_boot(changed_at_s: float) -> bool:
    booted = booted_at_s()
    return booted is not None and booted < changed_at_s


def _ranges(lines: list[bytes], size_bytes: int) -> Iterator[tuple[int, int]]:
    for line in lines:
        start, _, end = line.partition(b" ")
        if start.isdigit() and end.isdigit() and int(start) < int(end) <= size_bytes:
            yield int(start), int(end)


def _segments(
    there: list[tuple[int, int]], size_bytes: int, segment_bytes_at: Callable[[int], int], position: int
) -> list[Segment]:
    """Segments that make up the body: ranges that are there, and missing ones, which are split."""
    cuts = sorted({0, position, size_bytes, *(place for own in there for place in own)})
    segments = list[Segment]()
    for start, end in pairwise(cuts):
        if any(first <= start and end <= last for first, last in there):
            segments.append(Segment(start, end, end, end))
            continue
        while start < end:
            cut = min(start + segment_bytes_at(start), end)
            segments.append(Segment(start, cut, start, start))
            start = cut
    return segments


def resumable_bytes(path: Path, size_bytes: int, validator: str) -> int:
    """How many bytes of that body are in the spool at the path."""
    return _summed(_journaled(path, size_bytes, validator)[1])


def _summed(ranges: list[tuple[int, int]]) -> int:
    return sum(end - start for start, end in ranges)


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Turns errors of the disk at the spool into ours."""
    try:
        yield
    except OSError as error:
        if means_full(error):
            raise DiskFullError(
                f"Not enough disk space for the download: {error.strerror}",
                hint="Free some space, or use another --cache-dir.",
            ) from error
        raise CacheError(
            f"Cannot write {path}: {error.strerror or error}", hint="Check the permissions of the cache."
        ) from error
