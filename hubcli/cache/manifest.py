"""The manifest: what hubcli knows of an entry, in `<sha1>.hubcli.json`."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from hubcli.archive.members import FileRecord
from hubcli.timestamp import from_iso_utc, to_iso_utc

__all__ = ["MANIFEST_SCHEMA", "Manifest"]

MANIFEST_SCHEMA = 1
# A model of a hundred thousand files has a tenth of it.
_MAX_BYTES = 1 << 27
T = TypeVar("T")
_TEXT_OR_NONE = (str, type(None))


@dataclass(frozen=True, slots=True)
class Manifest:
    """The record of one entry. Times are seconds since 1970, sizes are bytes.

    `source` is where the bytes came from, without secrets; `archive_sha256`
    and `archive_bytes` are None for what did not come as an archive. An entry
    that tensorflow_hub downloaded and hubcli adopted has files without hashes.

    `touched_at_s` is the modification time of the file that it was read from:
    a use of the entry only touches that file, so that no two processes ever
    write over each other's records.
    """

    handle: str
    aliases: tuple[str, ...]
    source: str
    kind: str
    files: tuple[FileRecord, ...]
    fetched_at_s: float
    last_used_at_s: float
    etag: str | None = None
    archive_sha256: str | None = None
    archive_bytes: int | None = None
    touched_at_s: float = field(default=0.0, compare=False)

    @property
    def size_bytes(self) -> int:
        """Sum of the sizes of the files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def used_at_s(self) -> float:
        """When the entry was last asked for."""
        return max(self.last_used_at_s, self.touched_at_s)

    @classmethod
    def read(cls, path: Path | str) -> Manifest | None:
        """The manifest in the file, or None where there is none that can be understood."""
        try:
            # By hand: a listing of ten thousand spends most of its time here.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # A pipe would never answer.
            try:
                status = os.fstat(descriptor)
                content = os.read(descriptor, min(status.st_size, _MAX_BYTES))
            finally:
                os.close(descriptor)
            return cls._from_document(json.loads(content.decode()), status.st_mtime)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    @classmethod
    def _from_document(cls, document: dict[str, Any], touched_at_s: float) -> Manifest | None:
        if document["schema"] != MANIFEST_SCHEMA:
            return None
        archive = _typed(document["archive"] or {}, dict)
        fetched_at, used_at = document["fetched_at"], document["last_used_at"]
        fetched_at_s = from_iso_utc(fetched_at)
        used_at_s = fetched_at_s if used_at == fetched_at else from_iso_utc(used_at)
        return cls(
            handle=_typed(document["handle"], str),
            aliases=_texts(document["aliases"]),
            source=_typed(document["source"], str),
            kind=_typed(document["kind"], str),
            files=tuple([_file(file) for file in _typed(document["files"], list)]),
            fetched_at_s=fetched_at_s,
            last_used_at_s=used_at_s,
            etag=_text_or_none(document["etag"]),
            archive_sha256=_text_or_none(archive.get("sha256")),
            archive_bytes=_size(archive["size"]) if archive else None,
            touched_at_s=touched_at_s,
        )

    def to_text(self) -> str:
        """The content of the file."""
        archive = None
        if self.archive_sha256 is not None:
            archive = {"sha256": self.archive_sha256, "size": self.archive_bytes}
        document = {
            "schema": MANIFEST_SCHEMA,
            "handle": self.handle,
            "aliases": list(self.aliases),
            "source": self.source,
            "kind": self.kind,
            "etag": self.etag,
            "archive": archive,
            "files": [
                {"path": file.path, "size": file.size_bytes, "sha256": file.sha256} for file in self.files
            ],
            "fetched_at": to_iso_utc(self.fetched_at_s),
            "last_used_at": to_iso_utc(self.last_used_at_s),
        }
        return json.dumps(document, indent=1) + "\n"


def _typed(value: Any, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _typed(value, str)


def _size(value: Any) -> int:
    if _typed(value, int) < 0 or isinstance(value, bool):
        raise ValueError(f"{value} is no size")
    return int(value)


def _texts(values: Any) -> tuple[str, ...]:
    if set(map(type, _typed(values, list))) - {str}:
        raise TypeError(f"{values!r} are no texts")
    return tuple(values)


def _file(document: Any) -> FileRecord:
    path, size, sha256 = document["path"], document["size"], document["sha256"]
    if type(path) is not str or type(size) is not int or size < 0 or type(sha256) not in _TEXT_OR_NONE:
        raise TypeError(f"{document!r} is no file")
    return FileRecord(path, size, sha256)
