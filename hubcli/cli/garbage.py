"""Python's search for garbage, left out where there is none to find."""

from __future__ import annotations

import atexit
import gc

__all__ = ["collect_little_garbage", "collect_no_garbage"]

_MANY_OBJECTS = 50_000  # A failed download leaves some hundred, in a cycle of error and frames.


def collect_no_garbage() -> None:
    """Keeps Python from looking for garbage until the process ends, and as it ends.

    For commands that make many objects, none of them in a cycle, and are done
    soon: the search would take a tenth of the time of `inspect`, a fifth of
    that of a long listing.
    """
    gc.disable()
    _leave_out_the_last_search()


def collect_little_garbage() -> None:
    """Has Python look for garbage rarely, and not as the process ends.

    For commands that may run for long, without TensorFlow: most of what they make
    is modules, which stay. The searches take a tenth of the time of a small fetch.
    """
    gc.set_threshold(_MANY_OBJECTS)
    _leave_out_the_last_search()


def _leave_out_the_last_search() -> None:
    atexit.register(gc.freeze)  # What is frozen isn't searched.
