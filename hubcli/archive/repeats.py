"""Members that an archive holds more than once: one file where their bytes are the same, else refused.

Some packers write each file anew for each directory above it, and tensorflow_hub takes such archives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from hubcli.archive.members import Member
from hubcli.errors import UnsafeArchiveError

__all__ = ["Repeats"]


class Repeats:
    """Size and SHA-256 of each file that came, by its path; nothing that comes again is written."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[int, str]] = {}

    def note(self, path: str, size_bytes: int, sha256: str) -> None:
        """Takes down a file that came for the first time."""
        self._first[path] = (size_bytes, sha256)

    def require_same(self, path: str, member: Member, pieces: Iterator[memoryview]) -> None:
        """Reads the member and raises UnsafeArchiveError where it isn't the file that came as that path."""
        size_bytes, sha256 = self._first[path]
        if member.size_bytes != size_bytes or _sha256(pieces) != sha256:
            shown = member.name[:200]
            raise UnsafeArchiveError(
                f"The archive's member {shown!r} is there twice, and the copies differ",
                hint="It was not unpacked. Ask whoever packed it.",
            )


def _sha256(pieces: Iterator[memoryview]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
