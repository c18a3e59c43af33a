"""Variables that turn something on or off, such as HUBCLI_OFFLINE.

What is none of the words that mean off has always counted as on. A user who writes `n` or `none` means
something else, and is told.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["FLAGS", "OFF", "is_on", "unclear_flags"]

OFF = ("", "0", "false", "no", "off")
_ON = ("1", "true", "yes", "on", "t", "y")
FLAGS = (
    "HUBCLI_OFFLINE",
    "HUBCLI_NO_PROGRESS",
    "HUBCLI_NO_SYNC",
    "HUBCLI_BUCKET_ANONYMOUS",
    "HUBCLI_BUCKET_REQUESTER_PAYS",
)
_MAX_SHOWN = 60


def is_on(env: Mapping[str, str], variable: str, default: bool) -> bool:
    """Whether the variable is on; the default if it is not set, or empty."""
    text = env.get(variable, "").strip().lower()
    return text not in OFF if text else default


def unclear_flags(env: Mapping[str, str]) -> dict[str, str]:
    """The values, shortened, of the variables that have another word than those for on and off, by name."""
    found = {name: env.get(name, "").strip() for name in FLAGS}
    return {name: text[:_MAX_SHOWN] for name, text in found.items() if text.lower() not in (*OFF, *_ON)}
