"""The small objects of a tier: the manifest of an archive, and what a handle means now. Parsed strictly.

They come from whoever may write to the tier: each text, number and list is bounded, and what they tell of
an archive is compared with its bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from hubcli.archive import FileRecord
from hubcli.archive.compression import ARCHIVE_FORMATS
from hubcli.archive.tree import tree_digest
from hubcli.errors import IntegrityError, UnsupportedError
from hubcli.providers.handle import key_of
from hubcli.tiers.layout import ManifestKey, parse_object, written_by
from hubcli.units import format_size, to_iso_utc
from hubcli.urls import stored_url

__all__ = ["MAX_MANIFEST_BYTES", "Current", "TierManifest"]

MAX_MANIFEST_BYTES = 16 << 20  # A hundred thousand files with paths of 45 characters.
_SCHEMA = 1
_MAX_TEXT = 4096
_MAX_FILES = 150_000
_MAX_ARCHIVES = 16
_MAX_VALUES = 500_000  # Three for each file. A value of one byte takes a hundred once it is parsed.
_SHA256 = re.compile(r"[0-9a-f]{64}")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TierManifest:
    """What a tier tells of one archive: a claim, until the archive has been unpacked and compared.

    `source` is the address of the origin without secrets, `etag` what it said of these bytes.
    `is_private` says that it was fetched with credentials.
    """

    handle: str
    archive_sha256: str
    archive_bytes: int
    archive_format: str
    tree_sha256: str
    files: tuple[FileRecord, ...] = field(repr=False)
    source: str = ""
    etag: str | None = None
    written_at: str = ""
    is_private: bool = False

    @property
    def key(self) -> ManifestKey:
        """The key under which it belongs."""
        return ManifestKey(key_of(self.handle), self.archive_sha256)

    def without_files(self) -> TierManifest:
        """The manifest without its files, which may be a hundred thousand."""
        return replace(self, files=())

    @property
    def size_bytes(self) -> int:
        """What the files take, unpacked."""
        return sum(file.size_bytes for file in self.files)

    @classmethod
    def of(
        cls,
        handle: str,
        archive: tuple[str, int, str],
        files: Sequence[FileRecord],
        *,
        source: str,
        etag: str | None,
        now_s: float,
        is_private: bool = False,
    ) -> TierManifest:
        """The manifest of an archive, SHA-256, size and format, whose files are all hashed."""
        sha256, size_bytes, form = archive
        tree = tree_digest(files)
        source = stored_url(source)[:_MAX_TEXT] if "://" in source else ""
        written_at = to_iso_utc(now_s)
        return cls(handle, sha256, size_bytes, form, tree, tuple(files), source, etag, written_at, is_private)

    @classmethod
    def parse(cls, content: bytes, name: str) -> TierManifest:
        """The manifest in the object of that name. Raises IntegrityError."""
        if max(map(content.count, (b"{", b"[", b","))) > _MAX_VALUES:
            raise IntegrityError(f"{name} is not a manifest: it has too many values")
        document = parse_object(content, name)
        try:
            _require_schema(document)
            archive, tree = _typed(document["archive"], dict), _typed(document["tree"], dict)
            origin = _typed(document["origin"], dict)
            listed = _typed(document["files"], list)
            _require(len(listed) <= _MAX_FILES, "it lists too many files")
            form = _text(archive["format"])
            _require(form in ARCHIVE_FORMATS, "its format is unknown")
            files, digest = tuple(_file(file) for file in listed), _sha256(tree["sha256"])
            _require(tree_digest(files) == digest, "the digest of its file list differs from its tree digest")
            return cls(
                handle=_text(document["handle"]),
                archive_sha256=_sha256(archive["sha256"]),
                archive_bytes=_size(archive["bytes"]),
                archive_format=form,
                tree_sha256=digest,
                files=files,
                source=_text(origin["address"]),
                etag=None if origin["etag"] is None else _text(origin["etag"]),
                written_at=_text(document["written_at"]),
                is_private=_typed(document.get("private", False), bool),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError(f"Invalid manifest {name}: {_reason(error)}") from error

    def to_bytes(self) -> bytes:
        """The content of the object. Raises UnsupportedError for more files than a reader accepts."""
        document = {
            "schema": _SCHEMA,
            "handle": self.handle,
            "archive": {
                "sha256": self.archive_sha256,
                "bytes": self.archive_bytes,
                "format": self.archive_format,
            },
            "origin": {"address": self.source, "etag": self.etag},
            **({"private": True} if self.is_private else {}),
            "tree": {"sha256": self.tree_sha256, "bytes": self.size_bytes, "files": len(self.files)},
            "files": [
                {"path": file.path, "bytes": file.size_bytes, "sha256": file.sha256} for file in self.files
            ],
            "written_by": written_by(),
            "written_at": self.written_at,
        }
        content = (json.dumps(document, indent=1) + "\n").encode()
        if len(content) > MAX_MANIFEST_BYTES or len(self.files) > _MAX_FILES:
            raise UnsupportedError(
                f"{self.handle} has too many files for a shared tier: {len(self.files):,}, and a manifest of "
                f"{format_size(len(content))}, more than {format_size(MAX_MANIFEST_BYTES)}"
            )
        return content


@dataclass(frozen=True, slots=True)
class Current:
    """Which archives a handle means now, the newest last; `resolved` is the version that it means.

    A handle whose bytes never change has one archive: several are a conflict.
    """

    handle: str
    archives: tuple[str, ...] = ()
    resolved: str | None = None
    written_at: str = ""

    @classmethod
    def parse(cls, content: bytes, name: str) -> Current:
        """What the object of that name tells. Raises IntegrityError."""
        document = parse_object(content, name)
        try:
            _require_schema(document)
            archives = _typed(document["archives"], list)
            _require(len(archives) <= _MAX_ARCHIVES, "it lists too many archives")
            resolved = document["resolved"]
            return cls(
                handle=_text(document["handle"]),
                archives=tuple(dict.fromkeys(map(_sha256, archives))),
                resolved=None if resolved is None else _text(resolved),
                written_at=_text(document["written_at"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError(f"Invalid {name}: {_reason(error)}") from error

    def means_the_same(self, other: Current) -> bool:
        """Whether both tell the same, no matter when they were written."""
        return (self.archives, self.resolved) == (other.archives, other.resolved)

    def to_bytes(self) -> bytes:
        """The content of the object."""
        document = {
            "schema": _SCHEMA,
            "handle": self.handle,
            "archives": list(self.archives),
            "resolved": self.resolved,
            "written_by": written_by(),
            "written_at": self.written_at,
        }
        return (json.dumps(document, indent=1) + "\n").encode()


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


def _require_schema(document: dict[str, Any]) -> None:
    _require(type(document["schema"]) is int and document["schema"] == _SCHEMA, "its schema is unknown")


def _typed(value: Any, kind: type[T]) -> T:
    if type(value) is not kind:
        raise TypeError(f"a value is not of type {kind.__name__}")
    return value


def _text(value: Any) -> str:
    text = _typed(value, str)
    _require(len(text) <= _MAX_TEXT and text.isprintable(), "a text is too long or not printable")
    return text


def _sha256(value: Any) -> str:
    _require(_SHA256.fullmatch(_typed(value, str)) is not None, "a SHA-256 is invalid")
    return str(value)


def _size(value: Any) -> int:
    _require(0 <= _typed(value, int) < 1 << 63, "a size is invalid")
    return int(value)


def _file(document: Any) -> FileRecord:
    file = _typed(document, dict)
    path = _typed(file["path"], str)
    _require(len(path) <= _MAX_TEXT, "a path is too long")
    return FileRecord(path, _size(file["bytes"]), _sha256(file["sha256"]))


def _reason(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
