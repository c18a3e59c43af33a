"""A check: what was looked at, how it stands, and what mends it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

__all__ = ["Check", "Section", "Status"]


class Status(str, Enum):
    """How it stands, in words that scripts may rely on. `info` is neither good nor bad."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    PROBLEM = "problem"


class Section(str, Enum):
    """What a check is about, in the order of the screen."""

    CACHE = "cache"
    NETWORK = "network"
    CREDENTIALS = "credentials"
    PACKAGES = "packages"
    SETTINGS = "settings"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the screen. `name` is for scripts, `value` what was found, as JSON can hold it.

    The message tells it in words; the hint says what to type or change. None of them holds a secret.
    """

    section: Section
    name: str
    status: Status
    message: str
    value: Any = None
    hint: str = ""
