"""The nouns of an archive: its members, and the files that they became."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

__all__ = ["FileRecord", "Member", "MemberStream"]


class Member(NamedTuple):
    """A regular file or a directory of an archive, under its name as stored."""

    name: str
    is_directory: bool
    size_bytes: int = 0


class FileRecord(NamedTuple):
    """A file of a model: relative path with `/`, size in bytes, SHA-256 in hex if it is known."""

    path: str
    size_bytes: int
    sha256: str | None


MemberStream: TypeAlias = Iterator[tuple[Member, Iterator[memoryview]]]
"""Members with their bytes, which must be taken before the next member is."""
