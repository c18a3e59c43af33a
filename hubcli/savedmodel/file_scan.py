"""The scan of a model's files: code that stands in assets, and in the Keras metadata.

TensorFlow runs none of them; a program that uses the model may. Every read is
bounded, and nothing is waited for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hubcli.errors import BrokenModelError
from hubcli.regular_file import open_regular
from hubcli.savedmodel.file_signatures import HEAD_BYTES, Budget, TooMuchError, goes_on, kind_of
from hubcli.savedmodel.files import ModelFiles
from hubcli.savedmodel.info import Finding, Severity

if TYPE_CHECKING:
    from hubcli.savedmodel.archive_members import MemberKind

__all__ = ["scan_files"]

_FOLDERS = ("assets", "assets.extra")
_KERAS_METADATA = "keras_metadata.pb"
_MAX_FILES, _MAX_FINDINGS = 10_000, 200
_MAX_METADATA_BYTES = 256 << 20
# Files that may be pickles by their first bytes are read further.
_MORE_BYTES, _SHORT_BYTES = 256 << 10, 512


def scan_files(files: ModelFiles) -> Iterator[Finding]:
    """Code in `assets/`, `assets.extra/` and `keras_metadata.pb`, in the order of the paths.

    Of more than 10,000 files the rest is told as not looked at. An archive
    that isn't unpacked shows none of them.
    """
    if files.has(_KERAS_METADATA):
        yield from _about_keras(files)
    paths = sorted(path for path in files.sizes_bytes if path.partition("/")[0] in _FOLDERS and "/" in path)
    told, budget = 0, Budget()
    for path in paths[:_MAX_FILES]:
        finding = _about_file(files, path, budget)
        if finding is not None:
            told += 1
            if told > _MAX_FINDINGS:
                message = f"More than {_MAX_FINDINGS} files hold code; the rest isn't told"
                yield Finding(Severity.MEDIUM, "more-findings", message, "assets")
                return
            yield finding
    if len(paths) > _MAX_FILES:
        message = f"Of {len(paths)} files, {_MAX_FILES} were looked at"
        yield Finding(Severity.MEDIUM, "not-scanned", message, "assets")


def _about_file(files: ModelFiles, path: str, budget: Budget) -> Finding | None:
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
                return Finding(Severity.MEDIUM, kind.code, f"It is {kind.noun}", path)
            # Imported here: it takes archives' modules along, which a model without assets never needs.
            from hubcli.savedmodel.archive_members import code_in_archive

            member = code_in_archive(file, head, budget)
    except FileNotFoundError:  # An archive's, of which the first bytes alone are here.
        return None
    except TooMuchError:
        message = "It isn't looked at: the files before it look like too many pickles and archives"
        return Finding(Severity.MEDIUM, "not-scanned", message, path)
    except OSError as error:
        return Finding(Severity.MEDIUM, "not-scanned", f"It can't be read: {error.strerror or error}", path)
    return None if member is None else _about_member(path, member)


def _needs_more(head: bytes, budget: Budget) -> bool:
    """Whether the first bytes don't tell. Raises TooMuchError where telling costs more than is left."""
    if budget.left <= 0 and len(head) > _SHORT_BYTES and goes_on(head[:_SHORT_BYTES]):
        raise TooMuchError
    return len(head) == HEAD_BYTES and goes_on(head)


def _about_member(path: str, member: MemberKind) -> Finding:
    if member.code == "not-scanned":
        return Finding(Severity.MEDIUM, member.code, f"It is an archive that {member.noun}", path)
    return Finding(
        Severity.MEDIUM, member.code, f"It is an archive; {member.name} in it is {member.noun}", path
    )


def _about_keras(files: ModelFiles) -> Iterator[Finding]:
    # Imported here: most models have no such file, and the lists of names take time to load.
    from hubcli.savedmodel.keras_config import IssueKind
    from hubcli.savedmodel.keras_metadata import metadata_issues

    where = _KERAS_METADATA
    try:
        with open_regular(files.top / where, is_buffered=True) as file:
            issues = metadata_issues(file.read(_MAX_METADATA_BYTES + 1))
    except FileNotFoundError:
        return
    except (OSError, BrokenModelError) as error:
        said = error.message if isinstance(error, BrokenModelError) else str(error.strerror or error)
        yield Finding(Severity.MEDIUM, "not-scanned", f"It can't be read: {said}", where)
        return
    for issue in issues:
        place = f"{where}, layer {issue.layer}" if issue.layer else where
        if issue.kind is IssueKind.CODE:
            message = f"Keras 2 would run Python code: {issue.reason}"
            yield Finding(Severity.HIGH, "keras-code", message, place)
        elif issue.kind in (IssueKind.OP, IssueKind.FILE):
            message = f"Keras 2 would reach beyond the model: {issue.reason}"
            yield Finding(Severity.MEDIUM, "keras-op", message, place)
