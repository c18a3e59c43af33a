"""A request to end, to work on several threads; and what becomes of work that can't hear it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hubcli.errors import Interrupted

__all__ = ["Stop"]


class Stop:
    """Asked for once, by any thread; work hears of it when it looks.

    A thread that waits for a host can't look. What it holds meanwhile it leaves
    here, and who stops it undoes that in its place.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_asked = False
        self._undos: list[Callable[[], None]] = []

    def check(self) -> None:
        """Raises Interrupted where the end was asked for."""
        if self._is_asked:
            raise Interrupted("Interrupted")

    def ask(self) -> None:
        """From now on `check` raises."""
        with self._lock:
            self._is_asked = True

    @contextmanager
    def undoing(self, undo: Callable[[], None]) -> Iterator[None]:
        """Leaves `undo` here as long as the context lasts; it may run beside the owner's thread.

        Raises Interrupted where the end was asked for.
        """
        with self._lock:
            self.check()
            self._undos.append(undo)
        try:
            yield
        finally:
            with self._lock:
                if undo in self._undos:
                    self._undos.remove(undo)

    def undo(self) -> None:
        """Undoes what is still left here, the last first."""
        while True:
            with self._lock:
                if not self._undos:
                    return
                last = self._undos.pop()
            last()
