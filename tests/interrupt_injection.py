"""Interrupts injected at a line of the source: a signal to this process at one line after the other."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any

__all__ = ["InterruptInjection"]


class InterruptInjection:
    """Sends the signal to this process once a number of lines of the watched files have been reached.

    `watched` are the ends of their paths. A line that runs again isn't counted again.
    """

    def __init__(self, number: signal.Signals, lines: int, watched: tuple[str, ...]) -> None:
        self.number = number
        self.lines = lines
        self.watched = watched
        self.seen: set[tuple[str, int]] = set()

    def __call__(self, frame: FrameType, event: str, argument: Any) -> InterruptInjection | None:
        if not frame.f_code.co_filename.endswith(self.watched):
            return None
        place = frame.f_code.co_filename, frame.f_lineno
        if event == "line" and place not in self.seen:
            self.seen.add(place)
            if len(self.seen) == self.lines:
                os.kill(os.getpid(), self.number)
        return self
