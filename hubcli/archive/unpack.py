"""Unpacks members: checks their names and sizes, and writes and hashes new files below one directory.

Windows' rules for names apply on every system: a cache may be on a network share, and a model must unpack
to the same files everywhere. Source: "Naming Files, Paths, and Namespaces", Microsoft's Windows
documentation.
"""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from hubcli.archive import FileRecord, Limits, Member, MemberStream
from hubcli.atomic_files import unique_number
from hubcli.config.environment import on_disk
from hubcli.durability import UNSYNCED, Durability, WriteBack
from hubcli.errors import DiskFullError, TruncatedError, UnsafeArchiveError
from hubcli.regular_file import write_all
from hubcli.units import format_size

__all__ = ["MemberCheck", "NameRules", "lift_wrapping_folder", "require_room", "unpack"]


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
        # Whether the last accepted file is a repeated one, whose bytes must be the same.
        self.is_repeated = False

    def accept(self, name: str, *, is_directory: bool) -> tuple[str, ...]:
        """The segments of the path below the destination; none for the destination itself.

        Raises UnsafeArchiveError for a name that would leave the destination, is invalid on some system, or
        collides with another one.
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
        limits = self._limits
        if name.startswith("/") or _DRIVE.match(name):
            raise _refuse(name, "has an absolute path")
        if "\\" in name:
            raise _refuse(name, "has a backslash in its name")
        if any(unicodedata.category(character) == "Cc" for character in name):
            raise _refuse(name, "has a control character in its name")
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise _refuse(name, "has a name that is not UTF-8")
        segments = tuple(part for part in name.split("/") if part not in ("", "."))
        if ".." in segments:
            raise _refuse(name, "leads outside of the archive")
        if len(name.encode()) > limits.path_bytes:
            raise _refuse(name, f"has a path of more than {limits.path_bytes} bytes", "--max-path-length N")
        if len(segments) > limits.path_depth:
            raise _refuse(name, f"is nested more than {limits.path_depth} directories deep", "--max-depth N")
        for segment in segments:
            if len(segment.encode()) > _MAX_SEGMENT_BYTES:
                raise _refuse(name, f"has a name of more than {_MAX_SEGMENT_BYTES} bytes")
            if _RESERVED.fullmatch(segment) or segment.endswith((".", " ")) or _FORBIDDEN & set(segment):
                raise _refuse(name, "has a name that is invalid on Windows")
        return segments

    def _take(self, name: str, segments: tuple[str, ...], *, is_directory: bool) -> None:
        path = "/".join(segments)
        folded = unicodedata.normalize("NFC", path).casefold()
        known = self._taken.get(folded)
        if known is None:
            if len(self._taken) >= self._limits.members:
                raise _refuse(
                    name,
                    f"exceeds the limit of {self._limits.members} files and directories",
                    "--max-members N",
                )
            self._taken[folded] = (path, is_directory)
        elif known[0] != path:
            raise _refuse(name, f"differs from {known[0]!r} only in case or accents")
        elif is_directory != known[1]:
            raise _refuse(name, "is both a file and a directory")
        elif not is_directory:
            self.is_repeated = True


def _refuse(name: str, what: str, option: str = "") -> UnsafeArchiveError:
    short_name = name if len(name) < 200 else name[:200] + "…"
    hint = (
        f"If you trust the archive, add {option}." if option else "Report it to the publisher of the archive."
    )
    return UnsafeArchiveError(f"The archive's member {short_name!r} {what}", hint=hint)


class MemberCheck:
    """Checks the members of an archive: their names, limits, and that repeated files are the same.

    `hint` is that of the error for an archive larger than the limit.
    """

    def __init__(self, limits: Limits, hint: str) -> None:
        self._rules = NameRules(limits)
        self._limits = limits
        self._hint = hint
        self._total_bytes = 0
        self._first: dict[str, tuple[int, str]] = {}

    def accept(self, member: Member, pieces: Iterator[memoryview]) -> tuple[str, ...] | None:
        """The segments of the member's path; None for a repeated file, which is read and compared.

        Raises UnsafeArchiveError for a name or a size that isn't allowed, and for repeated files that differ.
        """
        segments = self._rules.accept(member.name, is_directory=member.is_directory)
        if member.is_directory:
            return segments
        self._total_bytes += member.size_bytes
        if self._total_bytes > self._limits.unpacked_bytes:
            raise UnsafeArchiveError(
                f"The archive unpacks to more than {format_size(self._limits.unpacked_bytes)}",
                hint=self._hint,
            )
        if not self._rules.is_repeated:
            return segments
        size_bytes, sha256 = self._first["/".join(segments)]
        if member.size_bytes != size_bytes or _sha256(pieces) != sha256:
            raise UnsafeArchiveError(
                f"The archive contains {member.name[:200]!r} twice, with different content",
                hint="Report it to the publisher of the archive.",
            )
        return None

    def note(self, path: str, size_bytes: int, sha256: str) -> None:
        """Records a file that came for the first time."""
        self._first[path] = (size_bytes, sha256)


def _sha256(pieces: Iterator[memoryview]) -> str:
    from hashlib import sha256  # OpenSSL takes 3 ms to load, which an export to a directory has no use for.

    digest = sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
# The space that stays free on the disk: a full file system fails for every process.
_RESERVE_BYTES = 16 << 20


def unpack(
    members: MemberStream,
    destination: Path,
    limits: Limits,
    on_bytes: Callable[[int], None] = lambda size: None,
    durability: Durability = UNSYNCED,
) -> tuple[FileRecord, ...]:
    """Writes the members below the empty directory `destination`; the files, sorted by path.

    A file that is repeated with the same bytes is one file. Stored owners, modes and times are ignored.
    `on_bytes` is called with the size of each piece written. With `durability` on, write-back of large files
    begins while they are written; the caller syncs them. Raises UnsafeArchiveError, TruncatedError,
    IntegrityError or DiskFullError; the caller removes what was written until then.
    """
    check = MemberCheck(limits, "If you trust the archive, add --max-unpacked SIZE.")
    records = list[FileRecord]()
    for member, pieces in members:
        segments = check.accept(member, pieces)
        if segments is None:
            continue
        names = tuple(map(on_disk, segments))
        _make_folders(destination, names if member.is_directory else names[:-1])
        if member.is_directory:
            continue
        require_room(destination, member.size_bytes, repr(member.name))
        digest = _write(destination.joinpath(*names), member, pieces, on_bytes, durability)
        records.append(FileRecord("/".join(segments), member.size_bytes, digest))
        check.note(records[-1].path, member.size_bytes, digest)
    return tuple(sorted(records, key=lambda record: record.path))


def require_room(folder: Path, size_bytes: int, what: str, way_out: str = "use another --cache-dir") -> None:
    """Raises DiskFullError if `what`, of that size, would fill the disk of the folder."""
    free = shutil.disk_usage(folder).free
    if size_bytes + _RESERVE_BYTES > free:
        raise DiskFullError(
            f"Not enough disk space for {what}: it needs {format_size(size_bytes)}, "
            f"{format_size(free)} are free",
            hint=f"Free some space, or {way_out}.",
        )


def _make_folders(destination: Path, segments: tuple[str, ...]) -> None:
    """Makes each folder below the destination, but never the destination itself.

    If another process removed that, the files written afterwards would be a part of a model.
    """
    folder = destination
    for segment in segments:
        folder = folder / segment
        folder.mkdir(exist_ok=True)


def _write(
    path: Path,
    member: Member,
    pieces: Iterator[memoryview],
    on_bytes: Callable[[int], None],
    durability: Durability,
) -> str:
    """Writes one file and returns its SHA-256."""
    from hashlib import sha256

    digest, written = sha256(), 0
    descriptor = os.open(path, _CREATE, 0o666)
    write_back = WriteBack(descriptor, durability)
    try:
        for piece in pieces:
            digest.update(piece)
            written += len(piece)
            write_all(descriptor, piece)
            write_back.wrote(len(piece))
            on_bytes(len(piece))
    finally:
        os.close(descriptor)
    if written != member.size_bytes:
        raise TruncatedError(f"{member.name!r} changed while it was read")
    return digest.hexdigest()


def lift_wrapping_folder(
    destination: Path, records: tuple[FileRecord, ...]
) -> tuple[str | None, tuple[FileRecord, ...]]:
    """Moves the content up if one folder wraps it all; returns that folder's name, and the new records.

    The name is None if nothing was wrapped.
    """
    tops = list(destination.iterdir())
    if len(tops) != 1 or not tops[0].is_dir():
        return None, records
    wrapping = os.fsencode(tops[0].name).decode("utf-8", "surrogateescape")  # As the records have it.
    # Under another name first: the folder may hold a member of its own name.
    aside = tops[0].rename(destination / f".{unique_number()}")
    for child in aside.iterdir():
        child.rename(destination / child.name)
    aside.rmdir()
    lifted = tuple(record._replace(path=record.path.removeprefix(f"{wrapping}/")) for record in records)
    return wrapping, lifted
