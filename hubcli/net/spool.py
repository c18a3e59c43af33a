"""The spool: a body on the disk while it comes, in segments, and a journal of which bytes are there.

The journal is text: a line of JSON with the body's size and validator, then a
line `start end` for each stretch that has been written. A stretch is noted
after it was written, so that whatever kills the process, the journal names no
byte that isn't there. (A machine that loses power may lose bytes: checksums
and the archive's own tell.)
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

from hubcli.errors import CacheError, DiskFullError, LockLostError, means_full
from hubcli.regular_file import read_regular

__all__ = ["Segment", "Spool", "discard_spool", "resumable_bytes"]

_NOTED_BYTES = 4 << 20  # So much of a segment at most is written again after a kill.
_READ_BYTES = 256 << 10
_MAX_JOURNAL_BYTES = 16 << 20
_VERSION = 1
_PATIENCE_S = 0.1


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
    ) -> None:
        """Goes on with what is at `path`, if its journal tells of the same body; else begins anew.

        A segment begins at `position`; `segment_bytes_at` tells how large one is by where it begins.
        Begun anew it is a new file: another process that lost its lock may still write into the old
        one. Raises DiskFullError, CacheError, LockLostError.
        """
        self.path = path
        self.size_bytes = size_bytes
        self._changed = threading.Condition()
        self._failure: BaseException | None = None
        self._is_closed = False
        self._users = 0  # Threads that are at the open file right now.
        with _disk_errors(path):
            there = _journaled(path, size_bytes, validator)
            if not there:
                discard_spool(path)
            self._file = _opened(path, os.O_RDWR, is_new=not there)
            self._journal = _opened(_journal(path), os.O_WRONLY | os.O_APPEND, is_new=not there)
            if not there:
                os.ftruncate(self._file, size_bytes)
                head = {"version": _VERSION, "size": size_bytes, "validator": validator}
                os.write(self._journal, f"{json.dumps(head)}\n".encode())
        self.segments = _segments(there, size_bytes, segment_bytes_at, position)
        self.resumed_bytes = _summed(there)

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Notes what was written; writers and the reader that are still at it find it closed."""
        with self._changed:
            if self._is_closed:
                return
            self._is_closed = True
            self._changed.notify_all()
            # The number of a closed file may be another file's in the next moment.
            self._changed.wait_for(lambda: not self._users)
            with suppress(OSError):
                for segment in self.segments:
                    self._note(segment)
            os.close(self._file)
            os.close(self._journal)

    def write(self, segment: Segment, data: bytes) -> bool:
        """Writes the segment's next bytes; False where the spool was closed meanwhile.

        What is more than the segment is left out. Raises DiskFullError, CacheError.
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
        """Writes the bytes from the position on, where a segment begins."""
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
            is_worth_noting = segment.is_done or segment.position - segment.noted >= _NOTED_BYTES
            if is_worth_noting and not self._is_closed:
                with _disk_errors(self.path):
                    self._note(segment)
            self._changed.notify_all()

    def _note(self, segment: Segment) -> None:
        if segment.position > segment.noted:
            os.write(self._journal, f"{segment.noted} {segment.position}\n".encode())
            segment.noted = segment.position

    def fail(self, error: BaseException) -> None:
        """Lets the reader raise the error once it has read what is there before."""
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()

    def chunks(
        self, position: int = 0, on_hunger: Callable[[float], None] = lambda seconds: None
    ) -> Iterator[bytes]:
        """The body from the position on, as it comes. Raises what a writer failed with, CacheError.

        `on_hunger` hears how long the reader waited for bytes, whenever it did.
        """
        for segment in self.segments:
            while position < segment.end:
                available = self._wait_for(segment, position, on_hunger)
                while position < available:
                    chunk = self._read(position, min(_READ_BYTES, available - position))
                    position += len(chunk)
                    yield chunk

    def _read(self, position: int, size_bytes: int) -> bytes:
        with self._open_file() as file:
            chunk = b"" if file is None else os.pread(file, size_bytes, position)
        if not chunk:
            raise CacheError(f"{self.path} was cut while it was read", hint="Fetch it again.")
        return chunk

    def _wait_for(self, segment: Segment, position: int, on_hunger: Callable[[float], None]) -> int:
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
                self._changed.wait(_PATIENCE_S)
            on_hunger(time.monotonic() - began_s)


def discard_spool(path: Path) -> None:
    """Removes the spool at the path, and its journal first: without it the rest is no spool."""
    with _disk_errors(path):
        _journal(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _opened(path: Path, flags: int, *, is_new: bool) -> int:
    flags |= getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        return os.open(path, flags | (os.O_CREAT | os.O_EXCL if is_new else 0), 0o666)
    except FileExistsError as error:
        raise LockLostError(f"Another process is at {path}") from error


def _journal(path: Path) -> Path:
    return path.with_name(f"{path.name}.journal")


def _journaled(path: Path, size_bytes: int, validator: str) -> list[tuple[int, int]]:
    """The stretches that are there of that body, sorted and apart; none where the journal is of another."""
    try:
        if path.is_symlink() or path.stat().st_size != size_bytes:
            return []
        if _journal(path).stat().st_size > _MAX_JOURNAL_BYTES:
            return []
        head, *lines = read_regular(_journal(path), _MAX_JOURNAL_BYTES).split(b"\n")
        told = json.loads(head)
    except (OSError, ValueError, RecursionError):
        return []
    wanted = {"version": _VERSION, "size": size_bytes, "validator": validator}
    if told != wanted:
        return []
    found = sorted(_stretches(lines[:-1], size_bytes))  # The last line is empty, or cut off.
    merged: list[tuple[int, int]] = []
    for start, end in found:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _stretches(lines: list[bytes], size_bytes: int) -> Iterator[tuple[int, int]]:
    for line in lines:
        start, _, end = line.partition(b" ")
        if start.isdigit() and end.isdigit() and int(start) < int(end) <= size_bytes:
            yield int(start), int(end)


def _segments(
    there: list[tuple[int, int]], size_bytes: int, segment_bytes_at: Callable[[int], int], position: int
) -> list[Segment]:
    """Segments that make up the body: those that are there, and what is missing, cut, at `position` too."""
    cuts = sorted({0, position, size_bytes, *(place for stretch in there for place in stretch)})
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
    """How much of that body is in the spool at the path."""
    return _summed(_journaled(path, size_bytes, validator))


def _summed(stretches: list[tuple[int, int]]) -> int:
    return sum(end - start for start, end in stretches)


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Turns errors of the disk at the spool into ours."""
    try:
        yield
    except OSError as error:
        if means_full(error):
            raise DiskFullError(
                f"No room for the download: {error.strerror}",
                hint="Free some space, or name another --cache-dir.",
            ) from error
        raise CacheError(
            f"{path} can't be written: {error.strerror or error}", hint="Check the cache's mode."
        ) from error
