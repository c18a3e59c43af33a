"""Signals that end a run, each cleaning up as Ctrl-C does; and garbage collection, tuned for short runs."""

from __future__ import annotations

import atexit
import gc
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

__all__ = [
    "disable_garbage_collection",
    "held_interrupts",
    "reduce_garbage_collection",
    "turn_signals_into_interrupts",
]

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
                    signal.signal(number, self._hear)

    def _hear(self, _signal: int, _frame: FrameType | None) -> None:
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


_MANY_OBJECTS = 50_000  # A failed download leaves some hundred, in a cycle of error and frames.


def disable_garbage_collection() -> None:
    """Keeps Python from looking for garbage until the process ends, and as it ends.

    For commands that make many objects, none of them in a cycle, and are done
    soon: the search would take a tenth of the time of `inspect`, a fifth of
    that of a long listing.
    """
    gc.disable()
    _leave_out_the_last_search()


def reduce_garbage_collection() -> None:
    """Has Python look for garbage rarely, and not as the process ends.

    For commands that may run for long, without TensorFlow: most of what they make
    is modules, which stay. The searches take a tenth of the time of a small fetch.
    """
    gc.set_threshold(_MANY_OBJECTS)
    _leave_out_the_last_search()


def _leave_out_the_last_search() -> None:
    atexit.register(gc.freeze)  # What is frozen isn't searched.
