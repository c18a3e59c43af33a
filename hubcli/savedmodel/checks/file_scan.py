"""The scan of a model's files: code in assets, and in the Keras metadata.

TensorFlow runs none of it; a program that uses the model may. Every read is bounded and never waits. In the
metadata of a Keras 2 SavedModel the config of every node is read, of any identifier, since Keras
revives each. Source: tf_keras/protobuf/saved_metadata.proto.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, NamedTuple, cast

from hubcli.errors import BrokenModelError
from hubcli.formats.wire import LENGTH_DELIMITED, Bytes, scan
from hubcli.issues import Issue, Severity
from hubcli.regular_file import open_regular
from hubcli.savedmodel.checks.file_signatures import (
    HEAD_BYTES,
    Budget,
    TooMuchError,
    goes_on,
    kind_of,
    names_code,
)
from hubcli.savedmodel.layout import KERAS_METADATA
from hubcli.savedmodel.model import ModelFiles

if TYPE_CHECKING:
    from hubcli.savedmodel.checks.keras_config import ConfigIssue, KerasConfig

__all__ = [
    "MAX_METADATA_BYTES",
    "MemberKind",
    "code_in_archive",
    "metadata_configs",
    "metadata_issues",
    "scan_files",
]

MAX_METADATA_BYTES = 256 << 20
_MAX_NODES, _MAX_ISSUES = 100_000, 100
_NODES, _METADATA = 1, 5
# Keras ignores it with `compile=False`: custom losses and metrics of the training don't matter.
_METADATA_NOT_READ = "training_config"


def metadata_configs(data: Bytes) -> Iterator[KerasConfig]:
    """The config of each node, in the order of the file. Raises BrokenModelError."""
    if len(data) > MAX_METADATA_BYTES:
        raise BrokenModelError(f"its {KERAS_METADATA} is larger than 256 MiB")
    for node in scan(data, max_fields=_MAX_NODES):
        if node.number != _NODES:
            continue
        if node.wire_type != LENGTH_DELIMITED:
            raise BrokenModelError(f"its {KERAS_METADATA} cannot be read")
        # Protobuf takes the last of several; all are walked.
        for text in scan(data, node.start, node.end):
            if text.number == _METADATA and text.wire_type == LENGTH_DELIMITED:
                yield _parsed(bytes(data[text.start : text.end]))


def metadata_issues(data: Bytes) -> tuple[ConfigIssue, ...]:
    """What needs trust in any of the configs, about 100 issues at most. Raises BrokenModelError."""
    # Most models have no such file, and the lists of names take time to load.
    from hubcli.savedmodel.checks.keras_config import walk_config

    found: dict[ConfigIssue, None] = {}
    for config in metadata_configs(data):
        found.update(dict.fromkeys(walk_config(config)))
        if len(found) >= _MAX_ISSUES:
            break
    return tuple(found)


def _parsed(text: bytes) -> KerasConfig:
    from hubcli.savedmodel.checks.keras_config import KerasConfig

    try:
        config = KerasConfig.parse(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BrokenModelError(f"its {KERAS_METADATA} is not UTF-8") from error
    value = {key: value for key, value in config.value.items() if key != _METADATA_NOT_READ}
    return KerasConfig(value, config.repeated_key, config.classed)


_FOLDERS = ("assets", "assets.extra")
_MAX_FILES, _MAX_FINDINGS = 10_000, 200
# Files that may be pickles by their first bytes are read further.
_MORE_BYTES, _SHORT_BYTES = 256 << 10, 512


def scan_files(files: ModelFiles) -> Iterator[Issue]:
    """Code in `assets/`, `assets.extra/` and `keras_metadata.pb`, in the order of the paths.

    Of more than 10,000 files, one issue says that the rest wasn't scanned. None for an archive that isn't
    unpacked.
    """
    if files.has(KERAS_METADATA):
        yield from _about_keras(files)
    paths = sorted(path for path in files.sizes_bytes if path.partition("/")[0] in _FOLDERS and "/" in path)
    if not paths:
        return
    count, budget = 0, Budget()
    for path in paths[:_MAX_FILES]:
        finding = _about_file(files, path, budget)
        if finding is not None:
            count += 1
            if count > _MAX_FINDINGS:
                message = f"More than {_MAX_FINDINGS} files contain code; the rest is not listed"
                yield Issue.of_part(Severity.MEDIUM, "more-findings", message, "assets")
                return
            yield finding
    if len(paths) > _MAX_FILES:
        message = f"Of {len(paths)} files, {_MAX_FILES} were scanned"
        yield Issue.of_part(Severity.MEDIUM, "not-scanned", message, "assets")


def _about_file(files: ModelFiles, path: str, budget: Budget) -> Issue | None:
    try:
        with open_regular(files.top / path, is_buffered=True) as file:
            head = file.read(HEAD_BYTES)
            is_whole = len(head) < HEAD_BYTES
            if _needs_more(head, budget):
                head += file.read(_MORE_BYTES)
                is_whole = len(head) < HEAD_BYTES + _MORE_BYTES
            budget.charge(head)
            kind = kind_of(path, head, is_whole=is_whole)
            if kind is not None:
                return Issue.of_part(Severity.MEDIUM, kind.code, f"It is {kind.noun}", path)
            member = code_in_archive(file, head, budget)
    except FileNotFoundError:  # It is in an archive, of which only the first bytes were read.
        return None
    except TooMuchError:
        message = "It is not scanned: too many files before it look like pickles and archives"
        return Issue.of_part(Severity.MEDIUM, "not-scanned", message, path)
    except OSError as error:
        return Issue.of_part(
            Severity.MEDIUM, "not-scanned", f"It cannot be read: {error.strerror or error}", path
        )
    return None if member is None else _about_member(path, member)


def _needs_more(head: bytes, budget: Budget) -> bool:
    """Whether more bytes are needed to detect the kind. Raises TooMuchError if the budget is used up."""
    if budget.left <= 0 and len(head) > _SHORT_BYTES and goes_on(head[:_SHORT_BYTES]):
        raise TooMuchError
    return len(head) == HEAD_BYTES and goes_on(head)


def _about_member(path: str, member: MemberKind) -> Issue:
    if member.code == "not-scanned":
        return Issue.of_part(Severity.MEDIUM, member.code, f"It is an archive that {member.noun}", path)
    return Issue.of_part(
        Severity.MEDIUM,
        member.code,
        f"It is an archive; {member.name} in it is {member.noun}",
        path,
    )


def _about_keras(files: ModelFiles) -> Iterator[Issue]:
    # Imported here: most models have no such file, and the lists of names take time to load.
    from hubcli.savedmodel.checks.keras_config import IssueKind

    where = KERAS_METADATA
    try:
        with open_regular(files.top / where, is_buffered=True) as file:
            issues = metadata_issues(file.read(MAX_METADATA_BYTES + 1))
    except FileNotFoundError:
        return
    except (OSError, BrokenModelError) as error:
        reason = error.message if isinstance(error, BrokenModelError) else str(error.strerror or error)
        yield Issue.of_part(Severity.MEDIUM, "not-scanned", f"It cannot be read: {reason}", where)
        return
    for issue in issues:
        place = f"{where}, layer {issue.layer}" if issue.layer else where
        if issue.kind is IssueKind.CODE:
            message = f"Keras 2 would run Python code: {issue.reason}"
            yield Issue.of_part(Severity.HIGH, "keras-code", message, place)
        elif issue.kind in (IssueKind.OP, IssueKind.FILE):
            message = f"Keras 2 would access something outside of the model: {issue.reason}"
            yield Issue.of_part(Severity.MEDIUM, "keras-op", message, place)


_MAX_MEMBERS, _MAX_INDEX_BYTES = 5_000, 8 << 20
_MAX_DEPTH, _MAX_INNER_BYTES = 3, 8 << 20
_HEAD, _ZIP_END_BYTES = 4096, 22
_GZIP, _BZIP2, _XZ, _ZSTD, _ZIP = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"
_SEVEN, _RAR = b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07"
_LZ4, _LZMA = b"\x04\x22\x4d\x18", b"\x5d\0\0"
_ZLIB_HEADS = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_UNREADABLE = (_SEVEN, _RAR, _ZSTD, _LZ4)
_ARCHIVES = (_ZIP, _GZIP, _BZIP2, _XZ, _LZMA, *_UNREADABLE, *_ZLIB_HEADS)
_DATA_PICKLE = r"(?i)(?:^|/)data\.pkl$|\.(?:pkl|pickle|joblib)$"


class MemberKind(NamedTuple):
    """A member that is code: its name ("" for the archive itself), a code and a noun phrase."""

    name: str
    code: str
    noun: str


_NOT_READ = MemberKind("", "not-scanned", "cannot be scanned")


def code_in_archive(file: IO[bytes], head: bytes, budget: Budget, *, depth: int = 0) -> MemberKind | None:
    """The first member that is code; None if no member is, or if the file is not an archive.

    `head` are the file's first bytes; `budget` is that of the whole scan.
    """
    import tarfile  # Few models have such files: the others need none of these.
    import zipfile
    import zlib

    try:
        if head.startswith(_UNREADABLE):
            return _NOT_READ
        # Python imports from a zip with anything before it.
        if head.startswith(_ZIP) or len(_end_of_zip(file)) >= _ZIP_END_BYTES:
            return _first_code(_zip_members(file), depth, budget)
        if _is_tar(head):
            file.seek(0)
            return _first_code(_tar_members(io.BufferedReader(_Bounded(file, budget))), depth, budget)
        opened = _decompressed(file, head)
        return None if opened is None else _in_compressed(opened, depth, budget)
    except (TooMuchError, NotImplementedError):
        return _NOT_READ
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, ValueError, RuntimeError):
        # It only looks like an archive, or is truncated: a loader finds no more in it either.
        return None


def _first_code(members: Iterator[tuple[str, IO[bytes]]], depth: int, budget: Budget) -> MemberKind | None:
    for name, member in members:
        found = _code_in_member(name, member, depth, budget)
        if found is not None:
            return found
    return None


def _code_in_member(name: str, member: IO[bytes], depth: int, budget: Budget) -> MemberKind | None:
    name_text = ascii(name)[1:-1][:200]
    head = budget.read(member, _HEAD)
    is_whole = len(head) < _HEAD
    if not is_whole and goes_on(head):
        head += budget.read(member, HEAD_BYTES)
        is_whole = len(head) < _HEAD + HEAD_BYTES
    budget.charge(head)
    kind = kind_of(name, head, is_whole=is_whole)
    if kind is not None:
        return MemberKind(name_text, kind.code, kind.noun)
    if names_code(name):
        return MemberKind(name_text, "archive-code", "code by its name")
    if re.search(_DATA_PICKLE, name) and head[:1] == b"\x80":
        return MemberKind(name_text, "pickle", "a pickle")
    inner = _in_inner(head, member, depth, budget)
    if inner is None or inner.code != "not-scanned":
        return inner and MemberKind(name_text, inner.code, f"an archive with {inner.name or inner.noun}")
    return MemberKind("", inner.code, f"contains {name_text}, which cannot be scanned")


def _in_inner(head: bytes, stream: IO[bytes], depth: int, budget: Budget) -> MemberKind | None:
    """The first member that is code in an archive within the archive, which is read into memory."""
    if not head.startswith(_ARCHIVES) and not _is_tar(head):
        return None
    if depth >= _MAX_DEPTH:
        return _NOT_READ
    content = head + budget.read(stream, _MAX_INNER_BYTES)
    if len(content) >= _MAX_INNER_BYTES:
        return _NOT_READ
    return code_in_archive(io.BytesIO(content), content[:HEAD_BYTES], budget, depth=depth + 1)


def _in_compressed(opened: IO[bytes], depth: int, budget: Budget) -> MemberKind | None:
    """The first member that is code in a compressed tar, or the compressed file itself if it is code."""
    stream = io.BufferedReader(_Bounded(opened, budget), HEAD_BYTES)
    head = stream.peek(HEAD_BYTES)[:HEAD_BYTES]
    if _is_tar(head):
        return _first_code(_tar_members(stream), depth, budget)
    budget.charge(head)
    kind = kind_of("", head, is_whole=len(head) < _HEAD)
    if kind is not None:
        return MemberKind("what is compressed", kind.code, kind.noun)
    return _in_inner(stream.read(len(head)), stream, depth, budget)


def _zip_members(file: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    import zipfile

    # The size that the record gives of the index, which zipfile reads whole.
    if int.from_bytes(_end_of_zip(file)[12:16], "little") > _MAX_INDEX_BYTES:
        raise TooMuchError
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        if len(infos) > _MAX_MEMBERS:
            raise TooMuchError
        for info in infos:
            if info.is_dir():
                continue
            if info.flag_bits & 1:  # Encrypted: only its name is known.
                yield info.filename, io.BytesIO()
                continue
            with archive.open(info) as member:
                yield info.filename, member


def _end_of_zip(file: IO[bytes]) -> bytes:
    """The file from the last "end of central directory" record on; empty without one.

    It is 22 bytes and a comment of up to 64 KiB. Source: PKWARE's APPNOTE.TXT, 4.3.16.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - (1 << 16) - _ZIP_END_BYTES))
    tail = file.read()
    place = tail.rfind(b"PK\x05\x06")
    return tail[place:] if place >= 0 else b""


def _is_tar(head: bytes) -> bool:
    """Whether a tar of any format begins there: the checksum of its header is right."""
    import tarfile

    try:
        tarfile.TarInfo.frombuf(head[:512], "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError):
        return head[257:262] == b"ustar"
    return True


def _tar_members(file: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    import tarfile

    with tarfile.open(fileobj=file, mode="r|") as archive:
        for count, member in enumerate(archive):
            if count >= _MAX_MEMBERS:
                raise TooMuchError
            opened = archive.extractfile(member) if member.isreg() else None
            yield member.name, io.BytesIO() if opened is None else opened


def _decompressed(file: IO[bytes], head: bytes) -> IO[bytes] | None:
    """The decompressed stream of a file; None for a file without a known compression."""
    file.seek(0)
    if head.startswith(_GZIP):
        import gzip

        return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    if head.startswith(_BZIP2):
        import bz2

        return bz2.BZ2File(file)
    if head.startswith((_XZ, _LZMA)):
        import lzma

        return lzma.LZMAFile(file)
    if head.startswith(_ZLIB_HEADS):
        import zlib

        return io.BytesIO(zlib.decompressobj().decompress(head, HEAD_BYTES))
    return None


class _Bounded(io.RawIOBase):
    """A stream whose reads are charged to the budget. Raises TooMuchError when it is used up."""

    def __init__(self, file: IO[bytes], budget: Budget) -> None:
        super().__init__()
        self._file, self._budget = file, budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        found = self._budget.read(self._file, min(len(buffer), 1 << 20))
        buffer[: len(found)] = found
        return len(found)
