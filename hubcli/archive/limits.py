"""Limits that keep a hostile archive from filling a disk or a memory."""

from __future__ import annotations

from dataclasses import dataclass

from hubcli.errors import UsageError

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may hold at most. The command line has an option for each."""

    unpacked_bytes: int = 64 * 10**9
    members: int = 100_000
    path_bytes: int = 1024
    path_depth: int = 32

    def __post_init__(self) -> None:
        if self.path_depth > 256:
            raise UsageError("--max-depth goes to 256", hint="Deeper trees can't be removed again.")
