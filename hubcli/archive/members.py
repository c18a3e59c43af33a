"""Members of an archive, which of their names may become paths, and limits; light, as every listing needs it.

Windows' rules of names are kept everywhere: a cache may lie on a share, and what unpacks differently on two
systems is a model that differs. Source: "Naming Files, Paths, and Namespaces", Microsoft's Windows
documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from hubcli.errors import UnsafeArchiveError, UsageError

__all__ = ["FileRecord", "Limits", "Member", "MemberStream", "NameRules"]

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
            raise UsageError("--max-depth goes to 256", hint="Deeper trees can't be removed again.")


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


_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE)
_DRIVE = re.compile(r"[A-Za-z]:")
_FORBIDDEN = frozenset(':<>"|?*')
_MAX_SEGMENT_BYTES = 255


class NameRules:
    """Turns member names into safe relative paths, and remembers them to find collisions."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        # Folded path → (path as written, whether it is a directory).
        self._taken: dict[str, tuple[str, bool]] = {}
        # Whether the file that was accepted last had been there before: its bytes must be the same.
        self.is_repeated = False

    def accept(self, name: str, *, is_directory: bool) -> tuple[str, ...]:
        """The segments of the path below the destination; none for the destination itself.

        Raises UnsafeArchiveError for a name that would leave the destination,
        that some system can't hold, or that meets another one.
        """
        segments, self.is_repeated = self._segments(name), False
        if not segments and not is_directory:
            raise _refuse(name, "has no name")
        for depth in range(1, len(segments)):
            self._take(name, segments[:depth], is_directory=True)
        if segments:
            self._take(name, segments, is_directory=is_directory)
        return segments

    def _segments(self, name: str) -> tuple[str, ...]:
        from unicodedata import category  # Listings load this module and unpack nothing.

        limits = self._limits
        if name.startswith("/") or _DRIVE.match(name):
            raise _refuse(name, "has an absolute path")
        if "\\" in name:
            raise _refuse(name, "has a backslash in its name")
        if any(category(character) == "Cc" for character in name):
            raise _refuse(name, "has a control character in its name")
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise _refuse(name, "has a name that is not UTF-8")
        segments = tuple(part for part in name.split("/") if part not in ("", "."))
        if ".." in segments:
            raise _refuse(name, "climbs out of the archive")
        if len(name.encode()) > limits.path_bytes:
            raise _refuse(name, f"has a path of more than {limits.path_bytes} bytes", "--max-path-length N")
        if len(segments) > limits.path_depth:
            raise _refuse(name, f"lies deeper than {limits.path_depth} directories", "--max-depth N")
        for segment in segments:
            if len(segment.encode()) > _MAX_SEGMENT_BYTES:
                raise _refuse(name, f"has a name of more than {_MAX_SEGMENT_BYTES} bytes")
            if _RESERVED.fullmatch(segment) or segment.endswith((".", " ")) or _FORBIDDEN & set(segment):
                raise _refuse(name, "has a name that Windows can't hold")
        return segments

    def _take(self, name: str, segments: tuple[str, ...], *, is_directory: bool) -> None:
        from unicodedata import normalize

        path = "/".join(segments)
        folded = normalize("NFC", path).casefold()
        known = self._taken.get(folded)
        if known is None:
            if len(self._taken) >= self._limits.members:
                raise _refuse(
                    name, f"is one more than {self._limits.members}, directories counted", "--max-members N"
                )
            self._taken[folded] = (path, is_directory)
        elif known[0] != path:
            raise _refuse(name, f"differs from {known[0]!r} by case or accents alone")
        elif is_directory != known[1]:
            raise _refuse(name, "is both a file and a directory")
        elif not is_directory:
            self.is_repeated = True


def _refuse(name: str, what: str, option: str = "") -> UnsafeArchiveError:
    shown = name if len(name) < 200 else name[:200] + "…"
    hint = f"If you trust it: {option}." if option else "It was not unpacked. Ask whoever packed it."
    return UnsafeArchiveError(f"The archive's member {shown!r} {what}", hint=hint)
