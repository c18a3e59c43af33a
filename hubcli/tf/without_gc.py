"""Garbage collection while TensorFlow creates objects that stay: disabled."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["without_gc"]


@contextmanager
def without_gc() -> Iterator[None]:
    """Disables garbage collection within the context.

    Importing, loading and saving create a million objects that stay: scanning them again and again takes
    a sixth of the time.
    """
    if not gc.isenabled():
        yield
        return
    try:
        gc.disable()
        yield
    finally:
        gc.enable()
