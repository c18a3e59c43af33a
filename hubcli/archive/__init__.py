"""Archives as streams: detected by magic bytes, walked strictly, unpacked in one pass.

Members of an archive, files of a model, and limits stand here, which every listing and fetch makes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from hubcli.errors import UsageError

__all__ = ["FileRecord", "Limits", "Member", "MemberStream"]

_RECORD_BYTES = 100  # With less, the time that records take would count more than their bytes.


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may hold at most. The command line has an option for each.

    `header_bytes` are those of extension headers: long names, times, owners, comments. A member has a
    MiB of them at most, and the archive a record for every 100 bytes of the limit.
    """

    unpacked_bytes: int = 64 * 10**9
    members: int = 100_000
    path_bytes: int = 1024
    path_depth: int = 32
    header_bytes: int = 32 * 10**6

    @property
    def header_records(self) -> int:
        """How many records the extension headers may have together: each takes time, however short."""
        return self.header_bytes // _RECORD_BYTES

    def __post_init__(self) -> None:
        if self.path_depth > 256:
            raise UsageError("--max-depth must be at most 256", hint="Use --max-depth 256 or less.")


class Member(NamedTuple):
    """A regular file or a directory of an archive, under its name as stored."""

    name: str
    is_directory: bool
    size_bytes: int


class FileRecord(NamedTuple):
    """A file of a model: relative path with `/`, size in bytes, SHA-256 in hex if it is known."""

    path: str
    size_bytes: int
    sha256: str | None


MemberStream: TypeAlias = Iterator[tuple[Member, Iterator[memoryview]]]
"""Members with their bytes, which must be taken before the next member is."""
