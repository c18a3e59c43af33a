"""The completion scripts without what the command line tells: `@NAME@` stands for a part of it."""

from __future__ import annotations

import re
from pathlib import Path

from tools.cached_handles import AWK_PROGRAM, CONFIG_PROGRAM, SH_PROGRAM

__all__ = ["filled"]

_PLACE = re.compile(r"@([A-Z_]+)@")


def filled(name: str, **parts: str) -> str:
    """The template of that name with its places filled; each place must have a part."""
    text = (Path(__file__).parent / name).read_text(encoding="utf-8")
    every = {"SH_PROGRAM": SH_PROGRAM, "AWK_PROGRAM": AWK_PROGRAM, "CONFIG_PROGRAM": CONFIG_PROGRAM, **parts}
    return _PLACE.sub(lambda match: every[match[1]], text)
