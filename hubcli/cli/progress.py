"""Progress of a fetch or a check: bars on a terminal, a line every few seconds elsewhere, nothing with -q."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hubcli.cli.output import Output, printable
from hubcli.commands.listener import Listener
from hubcli.quantity import format_duration, format_size

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["listener_for"]

_LINE_EVERY_S = 5.0
_BAR_EVERY_S = 0.1
_WIDE = 100


@contextmanager
def listener_for(output: Output, *, patience_s: float = 0.0) -> Iterator[Listener]:
    """The listener that suits the output; what it shows is cleared when the context ends.

    A bar comes only after so many seconds: what is done before needs none.
    """
    if not output.shows_progress:
        yield _LineListener(output)
        return
    listener = _BarListener(output, patience_s)
    try:
        yield listener
    finally:
        listener.close()


class _TextListener(Listener):
    """Says notes and waits, as both kinds do."""

    def __init__(self, output: Output) -> None:
        self.output = output

    def note(self, text: str) -> None:
        self.output.note(text)

    def waiting(self, handle: str, holder: str) -> None:
        self.output.say(f"Waiting for {holder}, which is fetching {handle}")


class _LineListener(_TextListener):
    """A line every few seconds: for logs."""

    def __init__(self, output: Output) -> None:
        super().__init__(output)
        self._handle = ""
        self._size_bytes: int | None = None
        self._received = 0
        self._started_at = self._said_at = time.monotonic()

    def started(self, handle: str, source: str, size_bytes: int | None) -> None:
        self._handle, self._size_bytes, self._received = handle, size_bytes, 0
        self._started_at = self._said_at = time.monotonic()

    def received(self, size_bytes: int) -> None:
        self._received += size_bytes
        now = time.monotonic()
        if now - self._said_at < _LINE_EVERY_S:
            return
        self._said_at = now
        rate = self._received / (now - self._started_at)
        of = f" of {format_size(self._size_bytes)}" if self._size_bytes else ""
        self.output.say(f"{self._handle}: {format_size(self._received)}{of}, {format_size(int(rate))}/s")


class _BarListener(_TextListener):
    """A bar with bytes, rate and time left, and the bytes unpacked so far."""

    def __init__(self, output: Output, patience_s: float) -> None:
        super().__init__(output)
        self._patience_s = patience_s
        self._handle = ""
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._total_bytes: int | None = None
        self._received = self._unpacked = 0
        self._started_at = self._shown_at = time.monotonic()

    def started(self, handle: str, source: str, size_bytes: int | None) -> None:
        self._take_off()  # The bar of what was done before.
        self._handle, self._total_bytes = handle, size_bytes
        self._received = self._unpacked = 0
        self._started_at = self._shown_at = time.monotonic()
        if self._patience_s <= 0:
            self._open()

    def _open(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        # 80 columns hold the line.
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            TextColumn("{task.fields[counts]}", justify="right"),
            console=self.output.console(sys.stderr),
            transient=True,
        )
        self._task = self._progress.add_task(_short(self._handle), total=self._total_bytes, counts="")
        self._progress.start()

    def received(self, size_bytes: int) -> None:
        self._received += size_bytes
        now = time.monotonic()
        if self._progress is None and now - self._started_at >= self._patience_s:
            self._open()
        if self._progress is None or self._task is None:
            return
        if now - self._shown_at >= _BAR_EVERY_S or self._received == self._total_bytes:
            self._shown_at = now
            self._progress.update(self._task, completed=self._received, counts=self._counts(now))

    def _counts(self, now: float) -> str:
        """Bytes, rate, time left, and, where there is room, the bytes unpacked."""
        rate = self._received / max(now - self._started_at, 0.001)
        parts = [format_size(self._received), f"{format_size(int(rate))}/s"]
        if self._total_bytes:
            parts[0] += f" of {format_size(self._total_bytes)}"
            parts.append(f"{format_duration((self._total_bytes - self._received) / max(rate, 1))} left")
        if self._unpacked and self._progress is not None and self._progress.console.width >= _WIDE:
            parts.append(f"unpacked {format_size(self._unpacked)}")
        return "  ".join(parts)

    def unpacked(self, size_bytes: int) -> None:
        self._unpacked += size_bytes

    def note(self, text: str) -> None:
        if self._progress is None:
            super().note(text)
        elif not self.output.quiet:
            self._progress.console.print(f"Note: {printable(text)}", markup=False, soft_wrap=True)

    def close(self) -> None:
        """Takes the bar off the screen; a thread that still works brings no other."""
        self._patience_s = math.inf
        self._take_off()

    def _take_off(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _short(handle: str) -> str:
    """The end of the handle, which tells models apart."""
    name = handle.split("://", 1)[-1].partition("/")[2] or handle
    return name if len(name) <= 24 else "…" + name[-23:]
