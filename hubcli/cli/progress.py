"""Progress of a fetch or a check: bars on a terminal, a line every few seconds elsewhere, nothing with -q."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from hubcli.cli.entrypoint import held_interrupts
from hubcli.cli.output import Output, printable
from hubcli.progress import ProgressListener
from hubcli.units import format_duration, format_size
from hubcli.urls import redacted

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["ROOMY", "WIDE", "TextListener", "Transferred", "listener_for", "short"]

ROOMY = 80  # Columns, which hold name, bar and counts; with fewer there is no bar, below 60 no rate.
_NARROW = 60


class Transferred(NamedTuple):
    """Bytes of one body or of several.

    Of those `received`, in order or ahead of it, `resumed` were on the disk before.
    `total` is None where no size was announced; it is a lower bound where `is_open`.
    """

    received: int = 0
    resumed: int = 0
    total: int | None = None
    is_open: bool = False

    @property
    def there(self) -> int:
        """The bytes that are on this machine."""
        return max(self.received, self.resumed)

    def rate(self, seconds: float) -> float:
        """Bytes a second over the network."""
        return max(self.received - self.resumed, 0) / max(seconds, 0.001)

    def counts(self, seconds: float, unpacked: int = 0, *, columns: int = ROOMY) -> str:
        """Bytes, rate, time left where it is known, and the bytes unpacked unless they are 0."""
        rate, more = self.rate(seconds), "+" * self.is_open
        parts = [format_size(self.there)]
        if columns >= _NARROW or not self.total:
            parts.append(f"{format_size(int(rate))}/s")
        if self.total:
            parts[0] += f" of {format_size(self.total)}{more}"
            if rate >= 1:
                left = max(self.total - self.there, 0) / rate
                parts.append(f"{format_duration(left)}{more} left")
        if unpacked:
            parts.append(f"unpacked {format_size(unpacked)}")
        return "  ".join(parts)


_LINE_EVERY_S = 5.0
_BAR_EVERY_S = 0.1
WIDE = 100


@contextmanager
def listener_for(output: Output, *, patience_s: float = 0.0, name: str = "") -> Iterator[ProgressListener]:
    """The listener that suits the output; what it shows is cleared when the context ends.

    A bar comes only after this many seconds: what is done before needs none.
    With a `name`, each note tells whose it is.
    """
    if not output.shows_progress:
        yield _LineListener(output, name)
        return
    listener = _BarListener(output, patience_s)
    try:
        try:
            yield listener
        finally:
            listener.close()
    finally:  # The one interrupt of a run may come just before the other begins.
        listener.close()


class TextListener(ProgressListener):
    """Says notes and waits, as every kind does; with a name, each note tells whose it is."""

    def __init__(self, output: Output, name: str = "") -> None:
        self.output = output
        self.name = name

    def note(self, text: str) -> None:
        """A line, with the name where the text hasn't got it."""
        self.output.note(text if self.name in text else f"{self.name}: {text}")

    def retrying(self, text: str) -> None:
        """A note."""
        self.note(text)

    def step(self, text: str) -> None:
        """A line."""
        self.output.say(f"{text} …")

    def waiting(self, handle: str, holder: str) -> None:
        """A line."""
        self.output.say(f"Waiting for {holder}, which is fetching {handle}")


class _LineListener(TextListener):
    """A line every few seconds: for logs."""

    def __init__(self, output: Output, name: str = "") -> None:
        super().__init__(output, name)
        self._handle = ""
        self._size_bytes: int | None = None
        self._received = self._arrived = self._resumed = 0
        self._started_at = self._said_at = time.monotonic()

    def started(self, handle: str, source: str, size_bytes: int | None) -> None:
        self._handle, self._size_bytes = handle, size_bytes
        self._received = self._arrived = self._resumed = 0
        self._started_at = self._said_at = time.monotonic()

    def resumed(self, size_bytes: int) -> None:
        self._resumed = size_bytes

    def arrived(self, total_bytes: int) -> None:
        self._arrived = total_bytes

    def received(self, size_bytes: int) -> None:
        self._received += size_bytes
        now = time.monotonic()
        if now - self._said_at < _LINE_EVERY_S or not self.output.progress:
            return
        self._said_at = now
        transferred = Transferred(max(self._received, self._arrived), self._resumed, self._size_bytes)
        rate = format_size(int(transferred.rate(now - self._started_at)))
        of = f" of {format_size(self._size_bytes)}" if self._size_bytes else ""
        self.output.say(f"{self._handle}: {format_size(transferred.there)}{of}, {rate}/s")


class _BarListener(TextListener):
    """A bar with bytes, rate and time left, and the bytes unpacked so far."""

    def __init__(self, output: Output, patience_s: float) -> None:
        super().__init__(output)
        self._patience_s = patience_s
        self._handle = ""
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._total_bytes: int | None = None
        self._received = self._arrived = self._resumed = self._unpacked = 0
        self._started_at = self._shown_at = time.monotonic()

    def started(self, handle: str, source: str, size_bytes: int | None) -> None:
        self._take_off()  # The bar of what was done before.
        self._handle, self._total_bytes = handle, size_bytes
        self._received = self._arrived = self._resumed = self._unpacked = 0
        self._started_at = self._shown_at = time.monotonic()
        if self._patience_s <= 0:
            self._open()

    def _open(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        console = self.output.console()
        bar = [BarColumn(bar_width=12)] if console.width >= ROOMY else []
        self._progress = Progress(
            TextColumn("{task.description}"),
            *bar,
            TextColumn("{task.fields[counts]}", justify="right"),
            console=console,
            transient=True,
        )
        name = short(self._handle, console.width)
        self._task = self._progress.add_task(name, total=self._total_bytes, counts="")
        with held_interrupts():  # Half put up, it couldn't be taken off.
            self._progress.start()

    def resumed(self, size_bytes: int) -> None:
        self._resumed = size_bytes

    def arrived(self, total_bytes: int) -> None:
        self._arrived = total_bytes

    def received(self, size_bytes: int) -> None:
        self._received += size_bytes
        now = time.monotonic()
        if self._progress is None and now - self._started_at >= self._patience_s:
            self._open()
        if self._progress is None or self._task is None:
            return
        if now - self._shown_at >= _BAR_EVERY_S or self._received == self._total_bytes:
            self._shown_at = now
            self._progress.update(self._task, completed=self._transferred.there, counts=self._counts(now))

    @property
    def _transferred(self) -> Transferred:
        return Transferred(max(self._received, self._arrived), self._resumed, self._total_bytes)

    def _counts(self, now: float) -> str:
        columns = ROOMY if self._progress is None else self._progress.console.width
        unpacked = self._unpacked if columns >= WIDE else 0
        return self._transferred.counts(now - self._started_at, unpacked, columns=columns)

    def unpacked(self, size_bytes: int) -> None:
        self._unpacked += size_bytes

    def finished(self) -> None:
        self._take_off()

    def step(self, text: str) -> None:
        self._take_off()
        super().step(text)

    def note(self, text: str) -> None:
        if self._progress is None:
            super().note(text)
        elif not self.output.quiet:
            self._progress.console.print(f"Note: {printable(redacted(text))}", markup=False, soft_wrap=True)

    def close(self) -> None:
        """Takes the bar off the screen; a thread that still works brings no other."""
        self._patience_s = math.inf
        self._take_off()

    def _take_off(self) -> None:
        if self._progress is not None:
            with held_interrupts():
                self._progress.stop()
            self._progress = None


def short(handle: str, columns: int = ROOMY) -> str:
    """The end of the handle, which tells models apart, as long as a line of `columns` has room for."""
    name = redacted(handle).split("://", 1)[-1].partition("/")[2] or handle
    longest = 24 if columns >= ROOMY else max(min(24, columns - (46 if columns >= 60 else 34)), 6)
    return name if len(name) <= longest else "…" + name[1 - longest :]
