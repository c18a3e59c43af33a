"""Progress of several models at a time on a terminal: a bar for each that runs, and one for all."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hubcli.cli.entrypoint import held_interrupts
from hubcli.cli.output import Output
from hubcli.cli.progress import ROOMY, CountingListener, MultiProgress, Transferred, short
from hubcli.progress import ProgressListener
from hubcli.units import format_size

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

__all__ = ["ModelBars"]

_BAR_COLUMNS = 12
_REFRESHES_PER_SECOND = 10


class ModelBars(MultiProgress):
    """A table of bars on a terminal, drawn by a thread of rich's from what the listeners recorded."""

    def __init__(self, output: Output, models: int) -> None:
        super().__init__(output, models)
        self._rows: dict[int, _Row] = {}
        self._finished = self._failed = self._started_count = 0
        self._before = Transferred()  # Of those that don't run any more.
        self._started_at = time.monotonic()
        self._console = output.console()
        self._live: Live | None = None
        self._is_closed = False
        self._lock = threading.RLock()

    @contextmanager
    def listener(self, name: str) -> Iterator[ProgressListener]:
        """A listener with a bar, as long as the context lasts. From any thread."""
        row = _Row(self, name)
        with self._lock:
            self._started_count += 1
            number = self._started_count
            self._rows[number] = row
        try:
            yield row
        finally:
            with self._lock:
                del self._rows[number]
                before = self._before
                there = row.transferred.there
                self._before = Transferred(before.received + there, before.resumed + row.resumed_bytes)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within the context, the table is off the screen."""
        with self._lock:
            self._take_off()
            try:
                yield
            finally:
                self.show()

    def reported(self, *, failed: bool) -> None:
        """Counts one more that is done."""
        with self._lock:
            self._finished += 1
            self._failed += failed

    def show(self) -> None:
        """Puts the table on the screen."""
        from rich.live import Live

        if self._is_closed:
            return
        # Standard output may go elsewhere: rich must not catch what is written there.
        self._live = Live(
            get_renderable=self._table,
            console=self._console,
            transient=True,
            refresh_per_second=_REFRESHES_PER_SECOND,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        with held_interrupts():  # An interrupted start would leave a display that can't be removed.
            self._live.start(refresh=True)

    def close(self) -> None:
        """Takes the table off the screen; a thread that still runs does not draw it again."""
        with self._lock:
            self._is_closed = True
            self._take_off()

    @property
    def is_closed(self) -> bool:
        """Whether the table is gone for good."""
        return self._is_closed

    def _take_off(self) -> None:
        if self._live is not None:
            with held_interrupts():
                self._live.stop()
            self._live = None

    def _table(self) -> Table:
        """The rows as they are now. Takes no lock: its holder may be waiting for the drawing thread."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        rows = list(self._rows.values())
        columns = self._console.width
        with_bar = columns >= ROOMY
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_column(no_wrap=True)
        if with_bar:
            table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis")

        def add(name: Text, completed: float, total: float, counts: str) -> None:
            bar = [ProgressBar(total=total, completed=completed, width=_BAR_COLUMNS)] * with_bar
            table.add_row(name, *bar, Text(counts))

        for row in rows:
            add(Text(short(row.name, columns)), row.fraction, 1.0, row.counts(columns))
        completed = self._finished + sum(row.fraction for row in rows)
        name = f"{self._finished} of {self.models}" + " models" * with_bar
        add(Text(name, style="bold"), completed, self.models, self._total(rows))
        return table

    def _total(self, rows: list[_Row]) -> str:
        """All bytes, with the sum of the sizes that are known: a lower bound until each has begun."""
        before = self._before
        is_open = self._finished + len(rows) < self.models or any(row.total_bytes is None for row in rows)
        there = [row.transferred.there for row in rows]
        transferred = Transferred(
            before.received + sum(there),
            before.resumed + sum(row.resumed_bytes for row in rows),
            before.received + sum(row.total_bytes or so_far for row, so_far in zip(rows, there, strict=True)),
            is_open,
        )
        failed = f"{self._failed} failed" if self._failed else ""
        seconds = time.monotonic() - self._started_at
        counts = transferred.counts(seconds, columns=self._console.width)
        return "  ".join(part for part in (counts, failed) if part)


class _Row(CountingListener):
    """One model that is fetched: its thread counts, and the screen's reads. Notes go above the table."""

    def __init__(self, bars: ModelBars, name: str) -> None:
        super().__init__(bars.output, name)
        self._bars = bars
        self.state = "connecting"

    @property
    def fraction(self) -> float:
        """How much of it is here."""
        return min(1.0, self.transferred.there / self.total_bytes) if self.total_bytes else 0.0

    def counts(self, columns: int) -> str:
        """The text after its bar."""
        if self.state:
            return self.state
        if self.total_bytes and self.received_bytes >= self.total_bytes:
            return f"{format_size(self.received_bytes)}  checking"
        return super().counts(columns)

    def started(self, handle: str, source: str, size_bytes: int | None) -> None:
        super().started(handle, source, size_bytes)
        self.state = ""

    def waiting(self, handle: str, holder: str) -> None:
        self.state = f"waiting for {holder}"

    def step(self, text: str) -> None:
        self.state = text

    def note(self, text: str) -> None:
        if not self._bars.is_closed:
            with self._bars.paused():
                super().note(text)
