"""Signals that end a run, each cleaning up as Ctrl-C does."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

__all__ = ["held_interrupts", "turn_signals_into_interrupts"]

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class _Interrupts:
    """What came, and whether it has to wait. For the main thread, which alone hears signals."""

    def __init__(self) -> None:
        self._numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
        self._holds = 0
        self._is_due = False

    def install(self) -> None:
        """Hears the signals from now on, but those that the caller of this process ignores."""
        with suppress(ValueError):  # Not on the main thread: a test or an embedding program.
            for number in self._numbers:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    signal.signal(number, self._on_signal)

    def _on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        if not self._holds or self._is_due:  # What is held may hang, at a terminal that takes nothing.
            self._interrupt()
        self._is_due = True

    def _interrupt(self) -> NoReturn:
        for number in self._numbers:
            signal.signal(number, signal.SIG_IGN)  # Nothing interrupts the cleaning.
        self._is_due = False
        raise KeyboardInterrupt

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within, nothing is raised but for a second signal; at the end, what came meanwhile."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            if self._is_due and not self._holds:
                self._interrupt()


_interrupts = _Interrupts()  # Signals belong to the whole process.


def turn_signals_into_interrupts() -> None:
    """SIGTERM and SIGHUP clean up as Ctrl-C does; once they do, nothing interrupts the cleaning."""
    _interrupts.install()


@contextmanager
def held_interrupts() -> Iterator[None]:
    """Holds interrupts off until the context ends: for a few lines of others' that must not be cut in two."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _interrupts.held():
        yield
