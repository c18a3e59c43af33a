"""Progress of a fetch or a check: bars on a terminal, a line every few seconds elsewhere, nothing with -q."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from hubcli.cli.entrypoint import held_interrupts
from hubcli.cli.output import Output, printable
from hubcli.progress import ProgressListener
from hubcli.units import format_duration, format_size
from hubcli.urls import redacted

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = [
    "ROOMY",
    "CountingListener",
    "MultiProgress",
    "Transferred",
    "listener_for",
    "multi_progress_for",
    "short",
]

ROOMY = 80  # Columns for name, bar and counts; with fewer the bar is left out, below 60 the rate too.
_NARROW = 60


class Transferred(NamedTuple):
    """Bytes of one body or of several.

    Of those `received`, in order or ahead of it, `resumed` were on the disk before.
    `total` is None if no size was announced; it is a lower bound where `is_open`.
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
_WIDE = 100


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
    finally:  # An interrupt may come just before the inner block begins.
        listener.close()


class MultiProgress:
    """The display while models are fetched; this one shows only what their listeners print."""

    def __init__(self, output: Output, models: int) -> None:
        self.output = output
        self.models = models

    def listener(self, name: str) -> AbstractContextManager[ProgressListener]:
        """A listener for one model, as long as the context lasts. From any thread."""
        return listener_for(self.output, name=name if self.models > 1 else "")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within the context, the screen is free for lines."""
        yield

    def reported(self, *, failed: bool) -> None:
        """Called once for each model that is done."""


@contextmanager
def multi_progress_for(output: Output, models: int) -> Iterator[MultiProgress]:
    """The progress display for the output and number of models; removed when the context ends."""
    if models == 1 or not output.shows_progress:
        yield MultiProgress(output, models)
        return
    from hubcli.cli.multi_progress import ModelBars  # Imported only for several models on a terminal.

    bars = ModelBars(output, models)
    try:
        try:
            bars.show()
            yield bars
        finally:
            bars.close()
    finally:  # An interrupt may come just before the inner block begins.
        bars.close()


class TextListener(ProgressListener):
    """Prints notes and waits, as all listeners do; with a name, each note begins with it."""

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


class CountingListener(TextListener):
    """Counts the bytes of one model: those on this machine, resumed and unpacked, since `started_at`."""

    def __init__(self, output: Output, name: str = "") -> None:
        super().__init__(output, name)
        self._begin("", None)

    def _begin(self, handle: str, total_bytes: int | None) -> None:
        self.handle, self.total_bytes = handle, total_bytes
        self.received_bytes = self.arrived_bytes = self.resumed_bytes = self.unpacked_bytes = 0
        self.started_at = self.shown_at = time.monotonic()

    @property
    def transferred(self) -> Transferred:
        """The bytes of the body."""
        there = max(self.received_bytes, self.arrived_bytes)
        return Transferred(there, self.resumed_bytes, self.total_bytes)

    def counts(self, columns: int) -> str:
        """The text after its bar."""
        unpacked = self.unpacked_bytes if columns >= _WIDE else 0
        return self.transferred.counts(time.monotonic() - self.started_at, unpacked, columns=columns)

    def started(self, handle: str, source: str, size_bytes: int | None) -> None:
        """Counts from 0 again."""
        self._begin(handle, size_bytes)

    def resumed(self, size_bytes: int) -> None:
        """Counts what was on the disk before."""
        self.resumed_bytes = size_bytes

    def arrived(self, total_bytes: int) -> None:
        """Counts what is on this machine, ahead of what was received."""
        self.arrived_bytes = total_bytes

    def received(self, size_bytes: int) -> None:
        """Counts what was received in order."""
        self.received_bytes += size_bytes

    def unpacked(self, size_bytes: int) -> None:
        """Counts what was written."""
        self.unpacked_bytes += size_bytes


class _LineListener(CountingListener):
    """A line every few seconds: for logs."""

    def received(self, size_bytes: int) -> None:
        super().received(size_bytes)
        now = time.monotonic()
        if now - self.shown_at < _LINE_EVERY_S or not self.output.progress:
            return
        self.shown_at = now
        rate = format_size(int(self.transferred.rate(now - self.started_at)))
        of = f" of {format_size(self.total_bytes)}" if self.total_bytes else ""
        self.output.say(f"{self.handle}: {format_size(self.transferred.there)}{of}, {rate}/s")


class _BarListener(CountingListener):
    """A bar with bytes, rate and time left, and the bytes unpacked so far."""

    def __init__(self, output: Output, patience_s: float) -> None:
        super().__init__(output)
        self._patience_s = patience_s
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def started(self, handle: str, source: str, size_bytes: int | None) -> None:
        self._take_off()  # The bar of what was done before.
        super().started(handle, source, size_bytes)
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
            # rich would print on the terminal what goes to a file or a pipe.
            redirect_stdout=self.output.is_terminal,
        )
        name = short(self.handle, console.width)
        self._task = self._progress.add_task(name, total=self.total_bytes, counts="")
        with held_interrupts():  # An interrupted start would leave a display that can't be removed.
            self._progress.start()

    def received(self, size_bytes: int) -> None:
        super().received(size_bytes)
        now = time.monotonic()
        if self._progress is None and now - self.started_at >= self._patience_s:
            self._open()
        if self._progress is None or self._task is None:
            return
        if now - self.shown_at >= _BAR_EVERY_S or self.received_bytes == self.total_bytes:
            self.shown_at = now
            counts = self.counts(self._progress.console.width)
            self._progress.update(self._task, completed=self.transferred.there, counts=counts)

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
        """Takes the bar off the screen; a thread that still runs draws no other."""
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
