"""Archives as streams: detected by magic bytes, walked strictly, unpacked in one pass.

Members of an archive, files of a model, and limits are defined here: every listing and fetch needs them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from hubcli.errors import UsageError

__all__ = ["FileRecord", "Limits", "Member", "MemberStream"]

_RECORD_BYTES = 100  # Shorter records would cost more by their number than by their bytes.


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits for an archive. The command line has an option for each.

    `header_bytes` are those of extension headers: long names, times, owners, comments. A member may have
    1 MiB of them, and the archive one record for every 100 bytes of the limit.
    """

    unpacked_bytes: int = 64 * 10**9
    members: int = 100_000
    path_bytes: int = 1024
    path_depth: int = 32
    header_bytes: int = 32 * 10**6

    @property
    def header_records(self) -> int:
        """How many records the extension headers may have together: short ones take time, too."""
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
"""Members with their bytes, which must be read before the next member."""
