"""Limits that keep a hostile archive from filling a disk or a memory."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may hold at most. The command line has an option for each."""

    unpacked_bytes: int = 64 * 10**9
    members: int = 100_000
    path_bytes: int = 1024
    path_depth: int = 32
